"""Boot time: from the exec of the VMM to the byte that completes the ready marker; it never starts a VM.

A mark carries the time at which the chunk with the marker's last byte arrived.
"""

from __future__ import annotations

from collections.abc import Sequence

from guestbench.guest.console import (
    End,
    Watched,
    explain_failure,
    last_words,
    watch,
)
from guestbench.guest.serial import SerialLog
from guestbench.model import Crashed, Mark, Ok, Outcome, Sample, System, TimedOut, TrialResult
from guestbench.vmm import Machine, Meanwhile

FIRST_BYTE = "first byte"
READY = "ready"
EXIT_S = 2.0
"""How long a VMM may take to exit once it has closed the console."""


def watch_boot(
    machine: Machine, system: System, log: SerialLog, meanwhile: Meanwhile | None = None
) -> TrialResult:
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
    outcome = _judge(machine, system, log, watched)
    samples = _to_samples(marks, watched.cpu_ns) if isinstance(outcome, Ok) else ()
    return TrialResult(outcome=outcome, marks=marks, samples=samples)


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


def _to_samples(marks: Sequence[Mark], cpu_ns: int | None) -> tuple[Sample, ...]:
    samples = [Sample(metric="boot.ready", value=m.t_ns / 1e9) for m in marks if m.name == READY]
    samples += [Sample(metric="boot.mark", value=m.t_ns / 1e9, labels={"mark": m.name}) for m in marks]
    if cpu_ns is not None:
        samples.append(Sample(metric="boot.cpu", value=cpu_ns / 1e9))
    return tuple(samples)


def _exited(machine: Machine, log: SerialLog) -> Crashed:
    status = machine.wait(EXIT_S)
    said = machine.complaint()
    words = f"it said: {said.splitlines()[-1]}" if said else last_words(log)
    # With -no-reboot a reset ends QEMU as a power-off does, and both with status 0.
    asked = "" if status else " (the guest powered off or reset itself)"
    how = "closed the console" if status is None else f"exited with status {status}"
    return Crashed(reason=f"the VMM {how} before the guest was ready{asked}; {words}")
