"""Describes what records say of memory: the least RAM, and what is derived of several; it tries no size."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from guestbench.families.memory import LEAST, VMM, VMM_ABOVE_FLOOR, Settings, search
from guestbench.model import Frozen, Gap, GuestFamily, Header, Ok, Provenance, Record, Sample, find_settings


class Evidence(Frozen):
    """The boots with one memory size: `passed` of `boots` got ready and stayed well.

    `reasons` has each reason why one did not, with how often it was given; reasons that differ in their
    numbers alone, such as the time since boot, are one.
    """

    memory_mib: int
    boots: int
    passed: int
    reasons: tuple[tuple[str, int], ...]


def find_least(header: Header, records: Sequence[Record], system: str) -> search.Minimum | None:
    """What the search for a system's least RAM found; None in a run that does not search."""
    if "memory" not in header.experiment.metrics:
        return None
    return search.find_minimum(
        search.to_tried(search.group_boots(records, system)),
        header.platform.memory_mib,
        known=search.boots_with_platform(records, system),
        boots=find_settings(header.experiment.settings, "memory", Settings).boots,
    )


def find_evidence(records: Iterable[Record], system: str) -> tuple[Evidence, ...]:
    """The boots of the search for a system's least RAM, by size from the largest down."""
    found = []
    for size, boots in search.group_boots(records, system).items():
        failed = [record.outcome.reason for record in boots if not isinstance(record.outcome, Ok)]
        found.append(
            Evidence(
                memory_mib=size,
                boots=len(boots),
                passed=len(boots) - len(failed),
                reasons=_count_alike(failed),
            )
        )
    return tuple(found)


def _count_alike(reasons: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Each reason as it was first given, the most frequent first."""
    first: dict[str, str] = {}
    for reason in reasons:
        first.setdefault(_without_numbers(reason), reason)
    counts = Counter(map(_without_numbers, reasons))
    return tuple((first[alike], count) for alike, count in counts.most_common())


def _without_numbers(reason: str) -> str:
    return re.sub(r"[\d\s]+", "#", reason)


def find_gap(
    records: Iterable[Record], system: str, metric: str, labels: Mapping[str, str] | None = None
) -> Gap | None:
    """Why a system has no value of a metric, if its memory trials say so; a gap without labels is for all."""
    for record in records:
        if record.trial.system == system and record.trial.purpose == "memory":
            for gap in record.gaps:
                if gap.metric == metric and gap.labels in ({}, labels or {}):
                    return gap
    return None


def derive(header: Header, records: Sequence[Record]) -> tuple[Record, ...]:
    """The records with `memory.min` and `memory.vmm_above_floor` added where they can be derived.

    `memory.min` joins the last boot with the least size; the other joins the boots that count memory, for
    each state in which the floor was counted too.
    """
    least = {guest.system.name: find_least(header, records, guest.system.name) for guest in header.guests}
    last: dict[str, str] = {}
    for record in records:
        found = least.get(record.trial.system)
        if found and found.least_mib and record.trial.memory_mib == found.least_mib:
            last[record.trial.system] = record.trial.id
    floors = [guest.system.name for guest in header.guests if guest.system.family is GuestFamily.FLOOR]
    floor = _medians_by_state(records, floors)
    return tuple(_add(record, last, floors, floor) for record in records)


def _medians_by_state(records: Iterable[Record], floors: Sequence[str]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for record in records:
        if record.trial.system in floors[:1] and record.trial.purpose == "memory":
            for sample in record.samples:
                if sample.metric == VMM and record.holds:
                    values.setdefault(sample.labels.get("state", ""), []).append(sample.value)
    return {state: statistics.median(found) for state, found in values.items()}


def _add(
    record: Record, last: Mapping[str, str], floors: Sequence[str], floor: Mapping[str, float]
) -> Record:
    trial = record.trial
    more: list[Sample] = []
    if last.get(trial.system) == trial.id and trial.memory_mib is not None:
        more.append(Sample(metric=LEAST, value=trial.memory_mib, provenance=Provenance.DERIVED))
    if trial.purpose == "memory" and trial.system not in floors and record.holds:
        more += [
            Sample(
                metric=VMM_ABOVE_FLOOR,
                value=sample.value - floor[sample.labels["state"]],
                labels=sample.labels,
                provenance=Provenance.DERIVED,
            )
            for sample in record.samples
            if sample.metric == VMM and sample.labels.get("state") in floor
        ]
    known = {(sample.metric, tuple(sample.labels.items())) for sample in record.samples}
    more = [sample for sample in more if (sample.metric, tuple(sample.labels.items())) not in known]
    return msgspec.structs.replace(record, samples=(*record.samples, *more)) if more else record


def unanswered(header: Header, records: Sequence[Record]) -> Iterator[str]:
    """That some systems do not always boot with any size."""
    found = {g.system.name: find_least(header, records, g.system.name) for g in header.guests}
    without = [name for name, least in found.items() if least is not None and least.least_mib is None]
    if without:
        yield f"no memory size was found with which it always boots: {', '.join(without)}"


def unfinished(header: Header, records: Sequence[Record]) -> Iterator[str]:
    """That the least RAM of some systems is still to be searched for."""
    names = [guest.system.name for guest in header.guests]
    found = {name: find_least(header, records, name) for name in names}
    left = [name for name, least in found.items() if least is not None and not least.finished]
    if left:
        yield f"The search for the least RAM has not ended for {', '.join(left)}."


def settings(header: Header) -> Iterator[tuple[str, str]]:
    """What memory figures of two runs depend on besides the systems."""
    own = find_settings(header.experiment.settings, "memory", Settings)
    yield "time until idle", f"{own.settle_s:g} s"
    policy = header.memory_policy
    if policy is not None:
        yield "huge pages", f"{policy.huge_pages or 'none'}, {policy.shmem_huge_pages or 'none'}"


def notices(header: Header, _: Sequence[Record]) -> Iterator[str]:
    """Settings of the host's kernel under which memory figures do not mean what they seem to."""
    policy = header.memory_policy
    huge = policy.shmem_huge_pages if policy else ""
    if huge not in ("", "never", "deny"):
        yield (
            f"Huge pages are on for shared memory ({huge!r}), and QEMU asks for them: one touched byte of "
            "guest RAM may count for a whole huge page. Memory figures of this run hold for hosts of this "
            "setting only."
        )
    if policy and policy.ksm == "1":
        yield "Kernel same-page merging runs on the host: the VMM's own memory may seem smaller than it is."
