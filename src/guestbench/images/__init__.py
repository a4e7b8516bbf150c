"""Reads disk images and kernels as files: it never mounts, boots, or changes one, and never needs root."""
