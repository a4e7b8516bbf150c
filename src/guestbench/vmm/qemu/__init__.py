"""QEMU: its command line, its monitor, and all that it says."""

from guestbench.vmm.qemu.machine import start

__all__ = ["start"]
