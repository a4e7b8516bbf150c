"""QEMU."""
