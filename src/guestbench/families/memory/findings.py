"""Describes what records say of memory: the least RAM, and what is derived of several; it tries no size."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from guestbench.families.memory import LEAST, MEMORY, VMM, VMM_ABOVE_FLOOR, Settings, search
from guestbench.model import (
    NOT_OF_GUEST,
    Frozen,
    Gap,
    GuestFamily,
    Header,
    Key,
    Ok,
    Record,
    Sample,
    find_settings,
    to_key,
)


class Evidence(Frozen):
    """The boots with one memory size: `passed` of `boots` got ready and stayed well.

    `reasons` has each reason why one did not, with how often it was given; reasons that differ in their
    numbers alone, such as the time since boot, are one.
    """

    memory_mib: int
    boots: int
    passed: int
    reasons: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        return f"{self.memory_mib} MiB: {self.passed} of {self.boots}"


def find_least(header: Header, records: Sequence[Record], system: str) -> search.Minimum | None:
    """What the search for a system's least RAM found; None in a run that does not search."""
    if "memory" not in header.experiment.metrics:
        return None
    groups = search.group_boots(records, system)
    least = search.Search(
        search.to_tried(groups),
        header.platform.memory_mib,
        known=search.boots_with_platform(records, system),
        boots=find_settings(header.experiment.settings, "memory", Settings).boots,
    ).find_minimum()
    return replace(least, vmm_failed=_tell_vmm_limit(groups))


def _tell_vmm_limit(groups: Mapping[int, Sequence[Record]]) -> str:
    """How the VMM or we failed with the largest size that was not enough; empty where the guest did, too."""
    for size, boots in groups.items():
        if failed := [record.outcome for record in boots if not isinstance(record.outcome, Ok)]:
            by_vmm = all(isinstance(outcome, NOT_OF_GUEST) for outcome in failed)
            return f"with {size} MiB {failed[0].reason}" if by_vmm else ""
    return ""


def find_all_least(header: Header, records: Sequence[Record]) -> dict[str, search.Minimum]:
    """The same of every system of the run by its name, if the run searches."""
    found = {guest.system.name: find_least(header, records, guest.system.name) for guest in header.guests}
    return {name: least for name, least in found.items() if least}


def find_evidence(records: Iterable[Record], system: str) -> tuple[Evidence, ...]:
    """The boots of the search for a system's least RAM, by size from the largest down."""
    found = []
    for size, boots in search.group_boots(records, system).items():
        failed = [record.outcome.reason for record in boots if not isinstance(record.outcome, Ok)]
        alike: dict[str, list[str]] = {}
        for reason in failed:
            alike.setdefault(re.sub(r"[\d\s]+", "#", reason), []).append(reason)
        reasons = tuple((same[0], len(same)) for same in sorted(alike.values(), key=len, reverse=True))
        passed = len(boots) - len(failed)
        found.append(Evidence(memory_mib=size, boots=len(boots), passed=passed, reasons=reasons))
    return tuple(found)


def derive(header: Header, records: Sequence[Record]) -> Iterator[tuple[int, Sample | Gap]]:
    """`memory.min` for the last boot with the least size, and `memory.vmm_above_floor`.

    A size below which only the VMM failed is no figure of the guest's, but a gap that names it. The memory
    above the floor is for boots that count memory, in each state in which the floor was counted too.
    """
    last = {(each.trial.system, each.trial.memory_mib): place for place, each in enumerate(records)}
    for name, least in find_all_least(header, records).items():
        if least.least_mib and (name, least.least_mib) in last:
            place, size = last[name, least.least_mib], least.least_mib
            reason = f"at most {size} MiB: {least.vmm_failed}; the limit may not be the guest's"
            sample = Sample(metric=LEAST, value=size)
            yield place, Gap(metric=LEAST, reason=reason) if least.vmm_failed else sample
    floors = [guest.system.name for guest in header.guests if guest.system.family is GuestFamily.FLOOR]
    floor: dict[str, list[float]] = {}
    for record in records:
        if record.trial.system in floors[:1]:
            for sample in _find_own(record):
                floor.setdefault(sample.labels.get("state", ""), []).append(sample.value)
    for place, record in enumerate(records):
        for sample in _find_own(record) if record.trial.system not in floors else ():
            if values := floor.get(sample.labels.get("state", "")):
                above = sample.value - statistics.median(values)
                yield place, Sample(metric=VMM_ABOVE_FLOOR, value=above, labels=sample.labels)


def tried(
    header: Header, records: Sequence[Record]
) -> Iterator[tuple[str, Key, tuple[tuple[float, bool], ...]]]:
    """The sizes tried in the search for the least RAM, and whether the guest was well.

    Boots that failed for no reason of the guest's are left out.
    """
    of_guests = [record for record in records if not isinstance(record.outcome, NOT_OF_GUEST)]
    for guest in header.guests:
        boots = search.to_tried(search.group_boots(of_guests, guest.system.name))
        sizes = tuple((float(size), well) for size, results in boots.items() for well in results)
        yield guest.system.name, to_key(LEAST, {}), sizes


def _find_own(record: Record) -> Iterator[Sample]:
    """The VMM's own memory in a boot that counts memory."""
    if record.trial.purpose == MEMORY and record.holds:
        yield from (sample for sample in record.samples if sample.metric == VMM)


def unanswered(header: Header, records: Sequence[Record]) -> Iterator[str]:
    """That some systems do not always boot with any size."""
    found = find_all_least(header, records).items()
    if without := [name for name, least in found if least.least_mib is None]:
        yield f"no memory size was found with which it always boots: {', '.join(without)}"


def unfinished(header: Header, records: Sequence[Record]) -> Iterator[str]:
    """That the least RAM of some systems is still to be searched for."""
    found = find_all_least(header, records).items()
    if left := [name for name, least in found if not least.finished]:
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
            f"Huge pages are on for shared memory ({huge!r}), and {header.vmm} asks for them: one touched "
            "byte of guest RAM may count for a whole huge page. Memory figures of this run hold for hosts of "
            "this setting only."
        )
    if policy and policy.ksm == "1":
        yield "Kernel same-page merging runs on the host: the VMM's own memory may seem smaller than it is."
