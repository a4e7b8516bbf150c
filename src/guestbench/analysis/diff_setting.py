"""What two runs have in common besides the systems compared, and what not; it compares no measurement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from guestbench.analysis import quality
from guestbench.analysis.quality import count_missing, find_failures
from guestbench.analysis.summary import Key, to_key
from guestbench.families import memory, work
from guestbench.model import (
    Frozen,
    Guest,
    Header,
    Outcome,
    Record,
    Vmm,
    find_settings,
)

Done = tuple[tuple[tuple[str, str], ...], int | None, str]
"""What a piece of work was: its parameters, its amount, and the digest of its result."""


class RunFacts(Frozen):
    """Which run it is; `missing` counts its trials that were planned and not made.

    `notices` has a sentence for each way in which its records do not belong together.
    """

    run: str
    created: str
    tool: str
    records: int
    missing: int
    notices: tuple[str, ...] = ()


class Mismatch(Frozen):
    """Something other than the guests' images in which two runs differ."""

    what: str
    old: str
    new: str


class Failed(Frozen):
    """Trials of one run (`old` or `new`) that failed in the same way: `n` of `of`."""

    run: str
    system: str
    purpose: str
    outcome: Outcome
    n: int
    of: int


def describe_run(header: Header, records: Sequence[Record]) -> RunFacts:
    """The run's name, time and tool, how complete it is, and whether its records belong together."""
    replayed = header.platform.vmm is Vmm.FAKE
    return RunFacts(
        run=header.run,
        created=header.created,
        tool=header.tool,
        records=len(records),
        missing=count_missing(header, records),
        notices=(
            *(("it replayed recorded consoles: no time is a measurement",) if replayed else ()),
            *quality.find_mismatches(header, records),
        ),
    )


def find_failed(run: str, records: Sequence[Record]) -> Iterator[Failed]:
    """The failed trials of a run, those alike together."""
    for group in find_failures(records):
        yield Failed(
            run=run,
            system=group.system,
            purpose=group.purpose,
            outcome=group.outcome,
            n=len(group.records),
            of=group.of,
        )


def find_mismatches(old: Header, new: Header) -> tuple[Mismatch, ...]:
    """In what hosts, platforms, tools and settings of two runs differ; nothing if they can be compared."""
    theirs, ours = dict(_facts(old)), dict(_facts(new))
    return tuple(
        Mismatch(what=what, old=theirs.get(what, "none"), new=ours.get(what, "none"))
        for what in dict.fromkeys((*theirs, *ours))
        # What only one of the runs did is not compared, and needs no like setting.
        if what in theirs and what in ours and theirs[what] != ours[what]
    )


def _facts(header: Header) -> Iterator[tuple[str, str]]:
    host, platform, families = header.host, header.platform, header.experiment.metrics
    tables = header.experiment.settings
    yield "host", host.digest[:16]
    yield "CPU", host.cpu_model
    yield "kernel of the host", host.kernel
    yield "QEMU", host.qemu_version
    yield "guestbench", header.tool
    yield "VMM", platform.vmm.value
    yield "accelerator", header.accel.used.value
    yield "machine", platform.machine
    yield "memory", f"{platform.memory_mib} MiB"
    yield "CPUs", str(platform.cpus)
    yield "network", platform.net.value
    yield "options of the VMM", " ".join(platform.extra) or "none"
    if "memory" in families:
        yield "time until idle", f"{find_settings(tables, 'memory', memory.Settings).settle_s:g} s"
        if header.memory_policy is not None:
            policy = header.memory_policy
            yield "huge pages", f"{policy.huge_pages or 'none'}, {policy.shmem_huge_pages or 'none'}"
    if "net" in families:
        yield "bytes of a TCP transfer", f"{find_settings(tables, 'work', work.Settings).transfer_mib} MiB"


def find_same_images(old: Header, new: Header) -> tuple[str, ...]:
    """The systems that are byte for byte the same in both runs, and booted in the same way."""
    before = {guest.system.name: guest for guest in old.guests}
    return tuple(
        guest.system.name
        for guest in new.guests
        if (other := before.get(guest.system.name))
        and (other.system.boot, _digests(other)) == (guest.system.boot, _digests(guest))
    )


def _digests(guest: Guest) -> dict[str, str]:
    return {role: image.sha256 for role, image in guest.pristine.items()}


def find_unlike_work(
    old: tuple[Header, Sequence[Record]], new: tuple[Header, Sequence[Record]]
) -> dict[tuple[str, Key], str]:
    """By system, metric and labels: in what the work that was done differs between the runs.

    The sources may differ, for a faster program is a change to be measured. What was asked for, how much was
    done and what came out may not. Work of which a guest tells none of this is taken to be the same.
    """
    before, after = (dict(_find_done(*run)) for run in (old, new))
    found = {}
    for key, done in after.items():
        differs = _tell_difference(before.get(key, done), done)
        if differs:
            found[key] = f"the runs did other work: {differs}"
    return found


def _find_done(header: Header, records: Iterable[Record]) -> Iterator[tuple[tuple[str, Key], Done]]:
    """The last of each piece of work that each system finished and told of."""
    works = {work.workload.name: work.workload for work in (header.kit.works if header.kit else ())}
    for record in records:
        if record.trial.purpose != "work" or not record.holds:
            continue
        for report in record.work:
            workload = works.get(report.workload)
            if workload is None or report.end_ns is None or not (report.parameters or report.digest):
                continue
            labels = {name: report.parameters.get(name, "") for name in workload.labels}
            done = tuple(sorted(report.parameters.items())), report.done, report.digest
            yield (record.trial.system, to_key(workload.metric, labels)), done


def _tell_difference(old: Done, new: Done) -> str:
    before, after = dict(old[0]), dict(new[0])
    for name in sorted({*before, *after}):
        if before.get(name) != after.get(name):
            return f"{name} was {before.get(name, 'none')} and is {after.get(name, 'none')}"
    if old[1] != new[1]:
        return f"{old[1]} was done and now {new[1]}"
    return "the result has another digest" if old[2] != new[2] else ""
