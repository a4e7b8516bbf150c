"""How a program comes to run in a guest: as its boot, from a disk of tools, or sent over its shell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from guestbench.errors import ShellError
from guestbench.guest.console import quote
from guestbench.guest.sending import send_program
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import Shell, go_on, open_shell
from guestbench.guest.watch import watch_boot
from guestbench.model import (
    TOOL_DRIVERS,
    BootWork,
    Guest,
    Image,
    Job,
    Kernel,
    Kit,
    OpenShell,
    Role,
    ShellWork,
    Start,
    System,
    TrialResult,
)
from guestbench.vmm import TOOLS_SERIAL, LaunchSpec, Machine

SHELL_S = 120.0
TOOLS = "/run/guestbench"
"""Where the tools disk is mounted in a guest."""
MOUNT = f"""for module in $(cat /{TOOL_DRIVERS} 2>/dev/null); do insmod $module 2>/dev/null; done
found=
for file in /sys/block/*/serial; do
    [ "$(cat $file 2>/dev/null)" = {TOOLS_SERIAL} ] && found=${{file%/serial}}
done
[ -n "$found" ] || {{ echo "no disk has the serial number {TOOLS_SERIAL}" >&2; exit 3; }}
mkdir -p {TOOLS} && mount -t ext4 -o ro /dev/${{found##*/}} {TOOLS}"""


def boot_with(
    spec: LaunchSpec, system: System, name: str, arguments: Sequence[str], program: Image | None
) -> LaunchSpec:
    """How a guest is booted that is given its work so: as an argument of its kernel.

    The program is its initial ramdisk, where it has none of its own. A guest that is given work in another
    way is booted as before.
    """
    work, boot = system.work, spec.boot
    if not isinstance(work, BootWork) or not isinstance(boot, Kernel):
        return spec
    cmdline = work.cmdline.format(program=name, arguments=" ".join(arguments))
    images = {**spec.images, Role.INITRD: program} if work.initrd and program is not None else spec.images
    return msgspec.structs.replace(spec, boot=msgspec.structs.replace(boot, cmdline=cmdline), images=images)


def start_in_shell(guest: Guest, disk: Image | None, settle_s: float, variant: int) -> Start | None:
    """An idle guest with an open shell, and the disk if it is given work from one; None without a shell."""
    work = guest.system.work
    if not isinstance(work, ShellWork):
        return None
    return Start(settle_s=settle_s, tools=disk if work.disk else None, with_shell=True, variant=variant)


def with_disk(spec: LaunchSpec, job: Job, disk: Image | None) -> LaunchSpec:
    """The guest has this disk, if it is given work from one."""
    work = job.system.work
    if disk is None or not (isinstance(work, ShellWork) and work.disk):
        return spec
    return msgspec.structs.replace(spec, tools=Path(disk.path))


def find_kit(job: Job) -> Kit:
    """What the run has to give work to guests."""
    if job.kit is None:
        raise RuntimeError("a trial of work came without its kit")
    return job.kit


def boot_to_shell(job: Job, machine: Machine, log: SerialLog) -> TrialResult | None:
    """Boot a guest with a shell, where there is no state to go on from; what came of it if it is lost."""
    if job.resume is not None or not isinstance(job.system.work, ShellWork):
        return None
    return watch_boot(machine, job.system, log).lost


def open_tools(machine: Machine, system: System, log: SerialLog, shell: OpenShell | None = None) -> Shell:
    """A shell in the guest, with the tools disk mounted on `TOOLS` if it has one; `shell` if that is open.

    Raises:
        ShellError: there is no shell, or no such disk.
    """
    if shell is not None:
        return go_on(machine, log, shell)
    login = system.login
    if login is None:
        raise ShellError("the system has no login on its console", f"guestbench systems show {system.name}")
    opened = open_shell(machine, login, log, timeout_s=SHELL_S)
    if not (isinstance(system.work, ShellWork) and system.work.disk):
        return opened
    answer = opened.run(MOUNT)
    if answer.status != 0:
        raise ShellError(
            f"the tools disk cannot be mounted in the guest: {quote(answer.stderr) or 'no reason given'}",
            "guestbench doctor",
        )
    return opened


def bring_program(shell: Shell, system: System, program: Image) -> str:
    """Where in the guest the program lies: on the tools disk, or where it is sent to.

    Raises:
        ShellError: the guest did not take it.
    """
    if isinstance(system.work, ShellWork) and not system.work.disk:
        return send_program(shell, Path(program.path))
    return f"{TOOLS}/{Path(program.path).name}"
