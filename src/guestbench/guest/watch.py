"""Watches a guest boot: from the exec of the VMM to the byte that completes the ready marker.

A mark carries the time at which the chunk with the marker's last byte arrived.
"""

from __future__ import annotations

import signal

import msgspec

from guestbench.guest.console import End, Watched, judge_failure, last_words, watch
from guestbench.guest.serial import SerialLog
from guestbench.model import (
    FIRST_BYTE,
    READY,
    Crashed,
    Frozen,
    Mark,
    Ok,
    Outcome,
    System,
    TimedOut,
    TrialResult,
    VmmFailed,
)
from guestbench.vmm import Machine, Meanwhile

AFTER_S = 0.25
"""How long a guest is watched after it was ready: a panic or a reset that undoes it follows at once."""
STARTS = 3
"""A guest whose first milestone came so often starts again and again."""
EXIT_S = 2.0
"""How long a VMM may take to exit once it has closed the console."""


class Booted(Frozen):
    """How a boot went.

    `cpu_ns` is the CPU time that the VMM had used when the guest was ready, and `ready_at` the length of the
    log before the bytes came that made it so.
    """

    outcome: Outcome
    marks: tuple[Mark, ...]
    cpu_ns: int | None = None
    ready_at: int = 0

    @property
    def lost(self) -> TrialResult | None:
        """The result of a trial that cannot be made, because the guest did not get ready; None if it did."""
        return None if isinstance(self.outcome, Ok) else TrialResult(outcome=self.outcome, marks=self.marks)


def list_texts(system: System) -> dict[str, bytes]:
    """The texts on the console that end the phases of a boot, by the names of its milestones and `READY`."""
    return {each.name: each.pattern.encode() for each in system.milestones} | {READY: system.ready.encode()}


def watch_boot(
    machine: Machine, system: System, log: SerialLog, meanwhile: Meanwhile | None = None
) -> Booted:
    """Read the serial console until the guest is ready, lost, or out of time. All bytes go into `log`."""
    watched = watch(
        machine,
        log,
        texts=list_texts(system),
        until=READY,
        failures=system.failures,
        deadline_ns=round(system.timeout_s * 1e9),
        meanwhile=meanwhile,
        behind=system.required,
    )
    marks = watched.marks
    if log.first_ns is not None:
        marks = (Mark(name=FIRST_BYTE, t_ns=log.first_ns), *marks)
    outcome = _judge(machine, system, log, watched)
    return Booted(outcome=outcome, marks=marks, cpu_ns=watched.cpu_ns, ready_at=watched.ended_at)


def _judge(machine: Machine, system: System, log: SerialLog, watched: Watched) -> Outcome:
    match watched.end:
        case End.FOUND:
            return Ok()
        case End.LOST:
            return judge_failure(machine, system.failures, log, watched)
        case End.CLOSED:
            return _exited(machine, log)
        case End.FLOOD:
            flood = f"it flooded the console: {len(log.data):,} bytes and no {system.ready!r}"
            return Crashed(reason=f"{flood}; {last_words(log)}")
        case End.LATE:
            passed = {mark.name for mark in watched.marks}
            missing = " and ".join(repr(name) for name in system.required if name not in passed)
            too_early = missing and system.ready.encode() in log.data
            unmet = f"it came, but not behind the milestone {missing}, as it must; " if too_early else ""
            words = f"{_count_starts(system, log)}{unmet}{last_words(log, system.ready)}"
            return TimedOut(reason=f"no {system.ready!r} within {system.timeout_s:g} s; {words}")


def _count_starts(system: System, log: SerialLog) -> str:
    """That the guest began again and again, with a comma behind it; empty if it did not."""
    first = system.milestones[0] if system.milestones else None
    times = log.data.count(first.pattern.encode()) if first else 0
    return f"it reached {first.name!r} {times} times; " if first and times >= STARTS else ""


def watch_after(machine: Machine, system: System, log: SerialLog, ready: Booted) -> str:
    """What became of a guest just after it was ready, in words; empty if it stayed well."""
    watched = watch(
        machine,
        log,
        texts={},
        until=None,
        failures=system.failures,
        deadline_ns=machine.now_ns() + round(AFTER_S * 1e9),
    )
    # The chunk that made it ready may have had the failure as well.
    said = bytes(log.data[ready.ready_at : watched.began_at])
    known = next((each.pattern for each in system.failures if each.pattern.encode() in said), None)
    if known is not None:
        began = msgspec.structs.replace(watched, failures=(known,), began_at=ready.ready_at)
        return judge_failure(machine, system.failures, log, began).reason
    if watched.end is End.LOST:
        return judge_failure(machine, system.failures, log, watched).reason
    if watched.end is not End.CLOSED:
        return ""
    broken = find_vmm_failure(machine)
    return broken.reason if broken else "the guest powered off or reset itself"


def find_vmm_failure(machine: Machine) -> VmmFailed | None:
    """How the VMM ended that has closed the console, if by a signal or a limit; None if not, or it runs."""
    status = machine.wait(EXIT_S)
    if status is None:
        return None
    said = machine.complaint()
    if machine.limits is not None and (reached := machine.limits.find_reached(status, said)):
        return VmmFailed(reason=f"the VMM was stopped: {reached}")
    if status >= 0:
        return None
    words = f"it said: {said.splitlines()[-1]}" if said else "it said nothing"
    return VmmFailed(reason=f"the VMM itself ended by {signal.Signals(-status).name}; {words}")


def _exited(machine: Machine, log: SerialLog) -> Outcome:
    if broken := find_vmm_failure(machine):
        return broken
    status = machine.exit_status()
    said = machine.complaint()
    words = f"it said: {said.splitlines()[-1]}" if said else last_words(log)
    # With -no-reboot a reset ends QEMU as a power-off does, and both with status 0.
    asked = "" if status else " (the guest powered off or reset itself)"
    how = "closed the console" if status is None else f"exited with status {status}"
    return Crashed(reason=f"the VMM {how} before the guest was ready{asked}; {words}")
