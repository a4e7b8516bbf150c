"""Boot time: a guest is started and watched until it is ready."""

from __future__ import annotations

from guestbench.families.boot import COUNTED, CPU, ENERGY, MARK
from guestbench.families.boot import READY as READY_METRIC
from guestbench.guest.serial import SerialLog
from guestbench.guest.watch import watch_after, watch_boot
from guestbench.model import READY, Gap, Job, Ok, Sample, TrialResult, Unknown
from guestbench.vmm import Lacking, Machine


def measure(job: Job, machine: Machine, log: SerialLog) -> TrialResult:
    """Boot a guest. There are no samples unless it gets ready."""
    booted = watch_boot(machine, job.system, log)
    if not isinstance(booted.outcome, Ok):
        return TrialResult(outcome=booted.outcome, marks=booted.marks)
    counted, gaps = count_host(machine)
    remark = watch_after(machine, job.system, log, booted)
    seconds = {mark.name: mark.t_ns / 1e9 for mark in booted.marks}
    samples = [Sample(metric=READY_METRIC, value=seconds[READY])]
    samples += [Sample(metric=MARK, value=value, labels={"mark": name}) for name, value in seconds.items()]
    if booted.cpu_ns is not None:
        samples.append(Sample(metric=CPU, value=booted.cpu_ns / 1e9))
    return TrialResult(
        outcome=booted.outcome,
        marks=booted.marks,
        samples=(*samples, *counted),
        gaps=tuple(gaps),
        remark=remark,
    )


def count_host(machine: Machine) -> tuple[list[Sample], list[Gap]]:
    """What the host's CPU has counted of the VMM so far; the energy is always that of everything."""
    counters = machine.counters
    samples: list[Sample] = []
    gaps: list[Gap] = []
    if isinstance(counters, Lacking):
        return samples, gaps
    scope = {"of": counters.scope} if counters.scope else {}
    for name, value in counters.read().items():
        if isinstance(value, Unknown):
            gaps.append(Gap(metric=COUNTED[name], reason=value.reason))
        else:
            samples.append(Sample(metric=COUNTED[name], value=value, labels={} if name == ENERGY else scope))
    return samples, gaps
