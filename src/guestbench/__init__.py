"""guestbench measures what a virtual machine guest really costs."""

__version__ = "0.2.0"
