"""This machine: its facts and conditions, its accelerators, and the only place that starts a process."""
