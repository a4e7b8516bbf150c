"""QEMU: its command line, its machine types, its monitor. See `guestbench.vmm.Vmm`."""

from functools import cache

from guestbench.errors import HostError
from guestbench.host import facts, process
from guestbench.model import Platform
from guestbench.vmm import Identity, Traits
from guestbench.vmm.qemu.command import build_argv as describe
from guestbench.vmm.qemu.command import build_interactive_argv as describe_interactive
from guestbench.vmm.qemu.command import wants_sandbox
from guestbench.vmm.qemu.machine import start
from guestbench.vmm.qemu.machines import find_machine

__all__ = ["TRAITS", "check", "describe", "describe_interactive", "identify", "start"]

TRAITS = Traits(replays=False, snapshots=True, accelerates=True)


@cache
def identify() -> Identity:
    """Its version and its program. Raises ToolMissing or ToolFailed."""
    return Identity(facts.find_qemu_version(), str(process.find_tool(facts.QEMU).resolve()))


def check(platform: Platform) -> None:
    """Refuse a machine that is not known, and a sandbox where QEMU was built without.

    Raises:
        UsageError: no such machine.
        HostError: no sandbox.
        ToolMissing: no QEMU.
    """
    find_machine(platform.machine)
    if wants_sandbox(platform) and (trouble := _try_sandbox()):
        raise HostError(f"QEMU has no such sandbox: {trouble}", "guestbench run --set platform.sandbox=false")


@cache
def _try_sandbox() -> str:
    """What QEMU says against its sandbox; empty if it takes it."""
    argv = [facts.QEMU, "-sandbox", facts.SANDBOX, "-version"]
    done = process.run(argv, check=False, timeout_s=facts.TOOL_TIMEOUT_S)
    return "" if done.status == 0 else " ".join(process.tail(done.stderr).split()) or f"status {done.status}"
