"""QEMU: its command line, its machine types, its monitor. See `guestbench.vmm.Vmm`."""

from functools import cache

from guestbench.host import facts, process
from guestbench.model import Platform
from guestbench.vmm import Identity, Traits
from guestbench.vmm.qemu.command import build_argv as describe
from guestbench.vmm.qemu.command import build_interactive_argv as describe_interactive
from guestbench.vmm.qemu.machine import start
from guestbench.vmm.qemu.machines import find_machine

__all__ = ["TRAITS", "check", "describe", "describe_interactive", "identify", "start"]

TRAITS = Traits(replays=False, snapshots=True, accelerates=True)


@cache
def identify() -> Identity:
    """Its version and its program. Raises ToolMissing or ToolFailed."""
    return Identity(facts.find_qemu_version(), str(process.find_tool(facts.QEMU).resolve()))


def check(platform: Platform) -> None:
    """Refuse a machine that is not known. Raises UsageError."""
    find_machine(platform.machine)
