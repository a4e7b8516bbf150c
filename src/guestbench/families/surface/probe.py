"""The attack surface of a guest: which room looks at what. See `seen` for what they bring back."""

from __future__ import annotations

from pathlib import Path

import msgspec

from guestbench import model
from guestbench.errors import ShellError
from guestbench.families.surface import RUNNING
from guestbench.families.surface.host.figures import find_host_side
from guestbench.families.surface.linux import hardening, inventory
from guestbench.families.surface.linux.hardening import ask_hardening
from guestbench.families.surface.linux.inventory import ask_inventory
from guestbench.families.surface.network.figures import find_ports
from guestbench.families.surface.network.link_host import LinkHost
from guestbench.families.surface.paging.figures import find_busy_stacks, find_protection, find_text_base
from guestbench.families.surface.seen import Seen
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import open_shell
from guestbench.guest.watch import watch_boot
from guestbench.vmm import Lacking, LaunchSpec, Machine, Need

SHELL_S = 120.0
SHELL_METRICS = ("surface.stack_guard", *inventory.METRICS, *hardening.METRICS)


def equip(job: model.Job, spec: LaunchSpec) -> LaunchSpec:
    """The machine can be looked at; where a running guest is probed, we are the end of its network link."""
    link = {Need.LINK} if job.trial.purpose == RUNNING else set()
    return msgspec.structs.replace(spec, needs=spec.needs | {Need.INTROSPECTION, *link})


def measure(job: model.Job, machine: Machine, log: SerialLog) -> model.TrialResult:
    """Probe a guest, or boot it to see where its kernel's code is."""
    if job.trial.purpose == RUNNING:
        return measure_running(machine, job.system, log, resumed=job.resume is not None)
    return measure_boot(machine, job.system, log)


def look(job: model.Job, machine: Machine) -> model.TrialResult:
    """See where the kernel's code is in a guest that was booted for another family."""
    del job
    return find_text_base(machine.introspection).to_result(model.Ok())


def measure_files(job: model.Job, scratch: Path) -> model.TrialResult:
    """Look into the images."""
    return measure_images(job.guest, scratch, job.kit)


def measure_running(
    machine: Machine, system: model.System, log: SerialLog, *, resumed: bool
) -> model.TrialResult:
    """Probe a guest that was started to be looked at, and on a link of its own if it has a network.

    One that was `resumed` is ready; another is booted first. A guest that fails is an outcome.
    """
    host = None if isinstance(machine.link, Lacking) else LinkHost(machine.link)
    marks: tuple[model.Mark, ...] = ()
    if not resumed:
        boot = watch_boot(machine, system, log, host)
        if boot.lost:
            return boot.lost
        marks = boot.marks
    seen = Seen()
    seen.take(
        find_protection(machine.introspection, with_stack=system.login is None),
        find_text_base(machine.introspection),
        find_host_side(machine),
        find_ports(machine, log, host),
    )
    outcome: model.Outcome = model.Ok()
    if system.login is None:
        seen.take(declare(system))
    else:
        outcome = _look_inside(seen, machine, system.login, log, host)
    return seen.to_result(outcome, marks)


def _look_inside(
    seen: Seen, machine: Machine, login: model.Login, log: SerialLog, host: LinkHost | None
) -> model.Outcome:
    """Add what a Linux guest tells over its shell."""
    try:
        shell = open_shell(machine, login, log, timeout_s=SHELL_S, meanwhile=host)
        seen.take(ask_inventory(shell))
        seen.take(ask_hardening(shell))
        seen.take(find_busy_stacks(machine.introspection, shell))
    except ShellError as error:
        answered = {sample.metric for sample in seen.samples}
        seen.miss([metric for metric in SHELL_METRICS if metric not in answered], error.message)
        return model.Incomplete(reason=error.message)
    return model.Ok()


def measure_boot(machine: Machine, system: model.System, log: SerialLog) -> model.TrialResult:
    """Boot a guest that was started to be looked at, and see where its kernel's code is."""
    boot = watch_boot(machine, system, log)
    if not isinstance(boot.outcome, model.Ok):
        return model.TrialResult(outcome=boot.outcome, marks=boot.marks)
    return find_text_base(machine.introspection).to_result(model.Ok(), boot.marks)


def measure_images(guest: model.Guest, scratch: Path, kit: model.Kit | None) -> model.TrialResult:
    """Inspect a guest's pristine images. `scratch` has room for a disk's contents.

    Raises:
        ImageError: an image cannot be inspected.
        HostError: a program is missing or fails, or there is no room in `scratch`.
    """
    from guestbench.families.surface.image.figures import inspect_files

    return inspect_files(guest, scratch, kit).to_result(model.Ok())


def declare(system: model.System) -> Seen:
    """What is so by construction in a guest that is one program, and cannot be asked."""
    seen = Seen()
    if system.family is model.GuestFamily.LINUX:
        seen.miss(SHELL_METRICS, "unknown: the system has no [login], so nothing can be asked inside it")
        return seen
    reason = "one program with its kernel in one address space: there is no such thing in it"
    for metric in ("surface.users", "surface.suid", "surface.sgid", "surface.modules"):
        seen.add(metric, 0, detail=reason, provenance=model.Provenance.DECLARED)
    one = "the program itself"
    seen.add("surface.processes", 1, detail=one, provenance=model.Provenance.DECLARED)
    seen.miss(["surface.listening_tcp", "surface.listening_udp"], "the guest cannot be asked; see the scan")
    seen.miss(["surface.passwords"], "there are no users")
    seen.miss(hardening.METRICS, "a setting of Linux")
    return seen
