"""Boot time: a guest is started and watched until it is ready."""

from __future__ import annotations

from guestbench.families.boot import CPU, MARK
from guestbench.families.boot import READY as READY_METRIC
from guestbench.guest.serial import SerialLog
from guestbench.guest.watch import watch_after, watch_boot
from guestbench.model import READY, Job, Ok, Sample, TrialResult
from guestbench.vmm import Machine


def measure(job: Job, machine: Machine, log: SerialLog) -> TrialResult:
    """Boot a guest. There are no samples unless it gets ready."""
    booted = watch_boot(machine, job.system, log)
    samples: list[Sample] = []
    remark = ""
    if isinstance(booted.outcome, Ok):
        remark = watch_after(machine, job.system, log, booted)
        seconds = {mark.name: mark.t_ns / 1e9 for mark in booted.marks}
        samples.append(Sample(metric=READY_METRIC, value=seconds[READY]))
        samples += [
            Sample(metric=MARK, value=value, labels={"mark": name}) for name, value in seconds.items()
        ]
        if booted.cpu_ns is not None:
            samples.append(Sample(metric=CPU, value=booted.cpu_ns / 1e9))
    return TrialResult(outcome=booted.outcome, marks=booted.marks, samples=tuple(samples), remark=remark)
