"""Whether a guest boots with a given memory and stays well; it never chooses a size and starts no VM."""

from __future__ import annotations

from pathlib import Path

import msgspec

from guestbench.errors import ShellError
from guestbench.families.memory import Settings
from guestbench.families.memory.search import WORK_DONE, Expectation
from guestbench.families.memory.states import explain_end
from guestbench.guest.console import End, watch
from guestbench.guest.sending import do_little
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import open_shell
from guestbench.guest.watch import Booted, watch_boot
from guestbench.model import READY, Crashed, Login, Ok, Outcome, OwnWork, System, TimedOut, TrialResult
from guestbench.vmm import Machine

PATIENCE = 3.0
"""How many times its usual time a guest is given. Two VMs on two cores slow each other down, and so does want
of memory, but not threefold; a guest that hangs is not to cost minutes."""
PATIENCE_S = 5.0
"""What it is given beyond that at least: a guest that boots in 0.1 s may have to wait for a core."""
SHELL_S = 60.0


def limit_s(usual_s: float) -> float:
    """How long to wait for something that usually takes so long."""
    return round(max(PATIENCE * usual_s, usual_s + PATIENCE_S), 1)


def try_boot(
    machine: Machine,
    system: System,
    log: SerialLog,
    plan: Settings,
    expected: Expectation | None,
    program: Path | None = None,
) -> TrialResult:
    """Boot, and see whether the guest is ready in time and stays well. No sample comes of it.

    A guest with a shell is to do a little work with `program`, the workload program, where there is one.

    `expected` is how the guest behaves with the platform's memory; without it, the system's own limit of
    time holds, and nothing is expected of its work.
    """
    if expected is not None:
        hurried = min(system.timeout_s, limit_s(expected.ready_s))
        system = msgspec.structs.replace(system, timeout_s=hurried)
    boot = watch_boot(machine, system, log)
    outcome = boot.outcome
    if isinstance(outcome, Ok):
        outcome = _stays_well(machine, system, log, plan, expected, boot)
        if isinstance(outcome, Ok) and system.login is not None:
            outcome = _works(machine, system.login, log, program)
    return TrialResult(outcome=outcome, marks=boot.marks, samples=())


def _stays_well(
    machine: Machine,
    system: System,
    log: SerialLog,
    plan: Settings,
    expected: Expectation | None,
    boot: Booted,
) -> Outcome:
    work = system.load if isinstance(system.load, OwnWork) else None
    waits = work is not None and expected is not None and expected.work_ends
    seconds = limit_s(expected.work_s) if waits and expected else plan.well_s
    ready_ns = next(mark.t_ns for mark in boot.marks if mark.name == READY)
    watched = watch(
        machine,
        log,
        texts={WORK_DONE: work.end.encode()} if work else {},
        until=WORK_DONE if waits else None,
        failures=system.failures,
        deadline_ns=ready_ns + round(seconds * 1e9),
    )
    if lost := explain_end(machine, system, log, watched):
        return lost
    if waits and work and watched.end is not End.FOUND:
        if watched.end is End.CLOSED:
            return Crashed(reason=f"ready, but it went off before it printed {work.end!r}")
        return TimedOut(reason=f"ready, but no {work.end!r} within {seconds:.0f} s after that")
    return Ok()


def _works(machine: Machine, login: Login, log: SerialLog, program: Path | None) -> Outcome:
    """Whether one can log in, and a program works."""
    try:
        shell = open_shell(machine, login, log, timeout_s=SHELL_S)
        if program is None:
            shell.run("true", timeout_s=SHELL_S)
        else:
            do_little(shell, program)
    except ShellError as error:
        return Crashed(reason=f"ready, but not well: {error.message}")
    return Ok()
