"""Calibration, one boot at a time: plants an amount, and measures as the families do that it tries."""

from __future__ import annotations

import time
from collections.abc import Iterator

import msgspec

from guestbench.families import calibration
from guestbench.guest.serial import SerialLog
from guestbench.guest.watch import watch_boot
from guestbench.host import facts as host
from guestbench.model import READY as READY_MARK
from guestbench.model import Gap, Job, Kernel, Ok, Sample, TrialResult
from guestbench.vmm import Lacking, LaunchSpec, Machine, Need

MARKER = "[refuk ready]"
NEEDS = {calibration.MEMORY: Need.MEMORY, calibration.STAMPS: Need.STAMPS}


def equip(job: Job, spec: LaunchSpec) -> LaunchSpec:
    """The kernel alone, told what to take; nothing is told where only the stamps are compared."""
    kind, amount = calibration.read_plant(job.trial.workload)
    needs = frozenset({NEEDS[kind]} if kind in NEEDS else ())
    if kind == calibration.STAMPS:
        return msgspec.structs.replace(spec, needs=needs)
    told = f"refuk.touch-mib={amount} " if kind == calibration.MEMORY else ""
    delay = 0 if kind == calibration.MEMORY else amount
    boot = Kernel(cmdline=f"{told}refuk.ready-after-ms={delay} refuk.halt")
    return msgspec.structs.replace(spec, boot=boot, needs=needs)


def measure(job: Job, machine: Machine, log: SerialLog) -> TrialResult:
    """Boot, and measure what was planted. There are no samples unless the guest gets ready."""
    kind, amount = calibration.read_plant(job.trial.workload)
    age_ns, since_exec_ns, cpu_ns = host.read_own_age_ns(), machine.now_ns(), time.process_time_ns()
    system = job.system
    if kind != calibration.STAMPS:
        system = msgspec.structs.replace(system, ready=MARKER, milestones=())
    booted = watch_boot(machine, system, log)
    cpu_ns = time.process_time_ns() - cpu_ns
    if booted.lost:
        return booted.lost
    labels = dict(calibration.label_plant(kind, amount))
    ready_ns = next(mark.t_ns for mark in booted.marks if mark.name == READY_MARK)
    samples: list[Sample] = []
    gaps: list[Gap] = []
    if kind == calibration.MEMORY:
        footprint = None if isinstance(machine.memory, Lacking) else machine.memory.footprint()
        if footprint:
            samples.append(Sample(metric=calibration.TOUCHED, value=footprint.guest_kib, labels=labels))
        else:
            gaps.append(
                Gap(
                    metric=calibration.TOUCHED, reason="the machine's memory cannot be counted", labels=labels
                )
            )
    elif kind == calibration.STAMPS:
        late_ns = find_late_ns(machine, system.ready.encode(), ready_ns)
        if isinstance(late_ns, Lacking):
            gaps.append(Gap(metric=calibration.STAMP, reason=late_ns.reason))
        else:
            samples.append(Sample(metric=calibration.STAMP, value=late_ns / 1e9))
    else:
        samples.append(Sample(metric=calibration.READY, value=ready_ns / 1e9, labels=labels))
        if kind == calibration.AGAIN:
            samples += _measure_harness(cpu_ns, age_ns, since_exec_ns)
    return TrialResult(outcome=Ok(), marks=booted.marks, samples=tuple(samples), gaps=tuple(gaps))


def _measure_harness(cpu_ns: int, age_ns: int | None, since_exec_ns: int) -> Iterator[Sample]:
    yield Sample(metric=calibration.WORKER_CPU, value=cpu_ns / 1e9)
    if age_ns is not None:
        yield Sample(metric=calibration.WORKER_START, value=max(0, age_ns - since_exec_ns) / 1e9)


def find_late_ns(machine: Machine, marker: bytes, ready_ns: int) -> int | Lacking:
    """How much later than the VMM we had the last byte of `marker`; or why the VMM does not say."""
    silent = Lacking(reason="the VMM stamps no bytes of the console")
    if isinstance(machine.stamps, Lacking):
        return silent
    written = machine.stamps.read()
    if isinstance(written, Lacking):
        return written
    at = b"".join(chunk.data for chunk in written).find(marker)
    return ready_ns - written[at + len(marker) - 1].t_ns if at >= 0 else silent
