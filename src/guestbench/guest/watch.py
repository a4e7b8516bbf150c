"""Watches a guest boot: from the exec of the VMM to the byte that completes the ready marker.

A mark carries the time at which the chunk with the marker's last byte arrived.
"""

from __future__ import annotations

from guestbench.guest.console import End, Watched, explain_failure, last_words, watch
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
)
from guestbench.vmm import Machine, Meanwhile

EXIT_S = 2.0
"""How long a VMM may take to exit once it has closed the console."""


class Booted(Frozen):
    """How a boot went; `cpu_ns` is the CPU time that the VMM had used when the guest was ready."""

    outcome: Outcome
    marks: tuple[Mark, ...]
    cpu_ns: int | None = None

    @property
    def lost(self) -> TrialResult | None:
        """The result of a trial that cannot be made, because the guest did not get ready; None if it did."""
        return None if isinstance(self.outcome, Ok) else TrialResult(outcome=self.outcome, marks=self.marks)


def watch_boot(
    machine: Machine, system: System, log: SerialLog, meanwhile: Meanwhile | None = None
) -> Booted:
    """Read the serial console until the guest is ready, lost, or out of time. All bytes go into `log`."""
    texts = {milestone.name: milestone.pattern.encode() for milestone in system.milestones}
    watched = watch(
        machine,
        log,
        texts=texts | {READY: system.ready.encode()},
        until=READY,
        failures=system.failures,
        deadline_ns=round(system.timeout_s * 1e9),
        meanwhile=meanwhile,
    )
    marks = watched.marks
    if log.first_ns is not None:
        marks = (Mark(name=FIRST_BYTE, t_ns=log.first_ns), *marks)
    return Booted(outcome=_judge(machine, system, log, watched), marks=marks, cpu_ns=watched.cpu_ns)


def _judge(machine: Machine, system: System, log: SerialLog, watched: Watched) -> Outcome:
    match watched.end:
        case End.FOUND:
            return Ok()
        case End.LOST:
            return Crashed(reason=explain_failure(machine, system.failures, log, watched))
        case End.CLOSED:
            return _exited(machine, log)
        case End.FLOOD:
            flood = f"it flooded the console: {len(log.data):,} bytes and no {system.ready!r}"
            return Crashed(reason=f"{flood}; {last_words(log)}")
        case End.LATE:
            reason = f"no {system.ready!r} within {system.timeout_s:g} s; {last_words(log)}"
            return TimedOut(reason=reason)


def _exited(machine: Machine, log: SerialLog) -> Crashed:
    status = machine.wait(EXIT_S)
    said = machine.complaint()
    words = f"it said: {said.splitlines()[-1]}" if said else last_words(log)
    # With -no-reboot a reset ends QEMU as a power-off does, and both with status 0.
    asked = "" if status else " (the guest powered off or reset itself)"
    how = "closed the console" if status is None else f"exited with status {status}"
    return Crashed(reason=f"the VMM {how} before the guest was ready{asked}; {words}")
