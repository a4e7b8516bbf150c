"""One boot that is listened to."""

from __future__ import annotations

from chatter import BYTES, LINES, Settings
from guestbench.guest.console import watch
from guestbench.guest.serial import SerialLog
from guestbench.guest.watch import watch_boot
from guestbench.model import Job, Ok, Sample, TrialResult, find_settings
from guestbench.vmm import Machine


def measure(job: Job, machine: Machine, log: SerialLog) -> TrialResult:
    """Boot a guest, and go on listening."""
    settings = find_settings(job.settings, "chatter", Settings)
    booted = watch_boot(machine, job.system, log)
    if booted.lost:
        return booted.lost
    booting = log.data.count(b"\n")
    deadline_ns = machine.now_ns() + round(settings.after_s * 1e9)
    watch(machine, log, texts={}, until=None, failures=job.system.failures, deadline_ns=deadline_ns)
    lines = {"booting": booting, "ready": log.data.count(b"\n") - booting}
    samples = [Sample(metric=LINES, value=count, labels={"state": state}) for state, count in lines.items()]
    return TrialResult(
        outcome=Ok(),
        marks=booted.marks,
        samples=(Sample(metric=BYTES, value=len(log.data)), *samples),
    )
