"""Counts what a guest executes while it boots, and while it does a workload that it was booted with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from guestbench import model
from guestbench.families.cost import ALL, BOOT, FAMILY, GUEST, OF_WORK, WAITING, Settings
from guestbench.families.cost.counts import Count, Counts, read_counts
from guestbench.families.cost.entry import find_entry
from guestbench.guest.console import last_words, place_texts, watch
from guestbench.guest.contract import find_reports
from guestbench.guest.programs import boot_with, find_kit
from guestbench.guest.serial import SerialLog
from guestbench.guest.watch import list_texts, watch_after, watch_boot
from guestbench.vmm import Lacking, LaunchSpec, Machine, Need

WORK_TEXTS = (b"[work begin ", b"[work end ")
SLOWER = 4
"""Counting makes a boot two to four times as long where others count beside it."""


def equip(job: model.Job, spec: LaunchSpec) -> LaunchSpec:
    """The VMM emulates the CPU, and counts; the clock goes on with what it counts where that is asked for."""
    kit, needs = find_kit(job), {Need.TOTALS}
    texts = tuple(list_texts(job.system).values())
    if job.trial.purpose != BOOT:
        texts = WORK_TEXTS
        work = kit.find(job.trial.workload)
        assert work is not None
        workload = work.workload
        spec = boot_with(spec, job.system, workload.program, workload.arguments, work.program)
    if _settings(job).icount and not isinstance(job.system.boot, model.Disk):
        needs.add(Need.VIRTUAL_TIME)
    entry = find_entry(spec.images)
    return msgspec.structs.replace(
        spec,
        platform=msgspec.structs.replace(spec.platform, accel=model.Accel.TCG),
        needs=frozenset(needs) if kit.plugin else frozenset(),
        plugin=Path(kit.plugin.path) if kit.plugin else None,
        cuts=tuple(dict.fromkeys(texts)),
        entry=entry.address if entry else None,
    )


def measure(job: model.Job, machine: Machine, log: SerialLog) -> model.TrialResult:
    """Boot a guest to ready, or to the end of its work, and read how many instructions that took."""
    kit = find_kit(job)
    metrics = (GUEST, WAITING, ALL) if job.trial.purpose == BOOT else (OF_WORK,)
    obstacle = kit.no_plugin or _find_obstacle(machine)
    if obstacle or isinstance(machine.histogram, Lacking):
        reason = f"instructions cannot be counted: {obstacle}"
        return model.TrialResult(
            outcome=model.Ok(), gaps=tuple(model.Gap(metric=each, reason=reason) for each in metrics)
        )
    patient = msgspec.structs.replace(job.system, timeout_s=SLOWER * job.system.timeout_s)
    if job.trial.purpose != BOOT:
        outcome = _watch_work(job, machine, log)
        counts = read_counts(machine.histogram.finish())
        samples = tuple(_count_work(job, log, counts)) if isinstance(outcome, model.Ok) else ()
        return model.TrialResult(outcome=outcome, samples=samples)
    booted = watch_boot(machine, patient, log)
    if booted.lost:
        return booted.lost
    remark = watch_after(machine, patient, log, booted)
    counts = read_counts(machine.histogram.finish())
    return _count_boot(job, log, counts, remark, booted.marks)


def _find_obstacle(machine: Machine) -> str:
    """Why the VMM does not count, in its own words where it has ended; empty if it does."""
    if not isinstance(machine.histogram, Lacking):
        return ""
    said = machine.complaint() if machine.exit_status() is not None else ""
    return f"the VMM said: {said.splitlines()[-1]}" if said else machine.histogram.reason


def _count_boot(
    job: model.Job, log: SerialLog, counts: Counts, remark: str, marks: tuple[model.Mark, ...]
) -> model.TrialResult:
    """The samples of a boot: to ready, and to each milestone of it with its name as a label."""
    texts = list_texts(job.system)
    ends = [*counts.ends, len(log.data)]
    found = place_texts(bytes(log.data), ends, texts, model.READY, job.system.required)
    samples: list[model.Sample] = []
    gaps: list[model.Gap] = []
    if counts.entry is None:
        told = find_entry(job.guest.images)
        where = f"{told.what} at {told.address:#x} was not seen to run" if told else "its entry is not known"
        gaps += [
            model.Gap(metric=metric, reason=f"{where}, where its own code begins")
            for metric in (GUEST, WAITING)
        ]
    for name, number in found.items():
        if number >= len(counts.at_ends):
            continue
        at = counts.at_ends[number]
        labels = {} if name == model.READY else {"until": name}
        samples.append(model.Sample(metric=ALL, value=at.total, labels=labels))
        if counts.entry is not None and at.total >= counts.entry.total:
            own = at.since(counts.entry)
            samples.append(model.Sample(metric=GUEST, value=own.worked, labels=labels))
            samples.append(model.Sample(metric=WAITING, value=own.waited, labels=labels))
    if not any(sample.metric == ALL and not sample.labels for sample in samples):
        reason = "the marker of ready was not written to the serial port byte by byte"
        gaps += [model.Gap(metric=metric, reason=reason) for metric in (GUEST, WAITING, ALL)]
    return model.TrialResult(
        outcome=model.Ok(), marks=marks, samples=tuple(samples), gaps=tuple(gaps), remark=remark
    )


def _watch_work(job: model.Job, machine: Machine, log: SerialLog) -> model.Outcome:
    """Watch a guest that was booted with a workload until it powers off; whether it did what the host did."""
    work = find_kit(job).find(job.trial.workload)
    assert work is not None
    seconds = SLOWER * (job.system.timeout_s + work.workload.timeout_s)
    failures, deadline_ns = job.system.failures, round(seconds * 1e9)
    watch(machine, log, texts={}, until=None, failures=failures, deadline_ns=deadline_ns)
    done = [
        (each.done, each.digest) for each in find_reports(log.data, lambda _: 0) if each.end_ns is not None
    ]
    if done == [(each.done, each.digest) for each in work.expected]:
        return model.Ok()
    return model.Crashed(reason=f"it did not do the work that the host did; {last_words(log)}")


def _count_work(job: model.Job, log: SerialLog, counts: Counts) -> Iterator[model.Sample]:
    """The instructions of each piece of work, from the word that it begins to the word that it has ended."""
    kit = find_kit(job)
    begun: dict[int, Count] = {}

    def place(at: int) -> int:
        begun[at] = counts.find_last(at + 1)
        return at

    for report in find_reports(log.data, place):
        known = kit.find(report.workload)
        if known is None or report.end_ns is None:
            continue
        spent = begun[report.end_ns].since(begun[report.begin_ns])
        parts = {name: report.parameters.get(name, "") for name in known.workload.labels}
        yield model.Sample(metric=OF_WORK, value=spent.worked, labels={"workload": report.workload, **parts})


def _settings(job: model.Job) -> Settings:
    return model.find_settings(job.settings, FAMILY.name, Settings)
