"""Collects each system's values of each metric, for those who compare them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean, geometric_mean, median

import msgspec

from guestbench.analysis.summary import Derived, add_derived, find_metric, group_trials, sort_records
from guestbench.families import ask, list_purposes
from guestbench.model import Header, Key, Record


class Sampled(msgspec.Struct, frozen=True):
    """The values of one metric of one system by block (0 where its trials are in none), and its failures.

    In `by_vmm` of the failures the VMM itself broke. `resolution` is what its instrument can tell apart, in
    the metric's unit; 0 where that is not known. Of the result of a search, `tried` has what was tried, and
    whether it was enough, once for each time.
    """

    values: tuple[tuple[int, float], ...] = ()
    failed: int = 0
    resolution: float = 0.0
    tried: tuple[tuple[float, bool], ...] = ()
    by_vmm: int = 0

    @property
    def numbers(self) -> list[float]:
        """The values alone, in the order of the trials."""
        return [value for _, value in self.values]

    @property
    def trials(self) -> int:
        """How many trials there were."""
        return len(self.values) + self.failed


Samples = Mapping[str, Mapping[Key, Sampled]]
"""By system, then by metric and labels."""


def collect(header: Header, records: Iterable[Record], purposes: Sequence[str] | None = None) -> Samples:
    """The values of every system of the run, of trials that count, in the order planned.

    They include what is derived of several records, whether that was added or not. What trials of several
    purposes brought is one sample; failures are those of the last of them. Values of trials that went on from
    one boot are one value.
    """
    records = sort_records(header, add_derived(header, records))
    found: dict[str, dict[Key, Sampled]] = {guest.system.name: {} for guest in header.guests}
    for (system, _, _), group in group_trials(header, records, purposes).items():
        mine = found.setdefault(system, {})
        for key, values in group.values.items():
            before = mine.get(key, Sampled()).values
            more = _join_origins([(block, float(value), origin) for block, value, origin in values])
            own = (*before, *more)
            finest = find_metric(header, key[0]).read_to(median(abs(value) for _, value in own) if own else 0)
            mine[key] = Sampled(values=own, failed=group.failed, resolution=finest, by_vmm=group.by_vmm)
    for system, key, tried in ask("findings", "tried", header, records):
        if key in found.get(system, {}):
            found[system][key] = msgspec.structs.replace(found[system][key], tried=tried)
    return found


def _join_origins(values: Sequence[tuple[int, float, str]]) -> Iterator[tuple[int, float]]:
    """The values by block, those of one boot that several trials went on from as their mean, in no block.

    They are alike because the boot is one, so that they count as one. The mean is the geometric one, where
    there is one.
    """
    origins: dict[str, list[tuple[int, float]]] = {}
    for place, (block, value, origin) in enumerate(values):
        origins.setdefault(origin or f"trial {place}", []).append((block, value))
    for same in origins.values():
        if len(same) == 1:
            yield same[0]
        else:
            own = [value for _, value in same]
            yield 0, geometric_mean(own) if min(own) > 0 else fmean(own)


def collect_facts(header: Header, records: Iterable[Record]) -> Samples:
    """The facts of every system of the run, of which no statistics are made; one value of each.

    Where two kinds of trial tell one, it is that of the kind which its family names later: it has seen more.
    """
    found: dict[str, dict[Key, Sampled]] = {}
    made = add_derived(header, records)
    for purpose in (each.name for each in list_purposes(header) if each.facts):
        # Of thousands of trials these are a few.
        mine = Derived(record for record in made if record.trial.purpose == purpose)
        for system, samples in collect(header, mine, [purpose]).items():
            known = found.setdefault(system, {})
            for key, sampled in samples.items():
                if sampled.values:
                    last = sampled.values[-1:]
                    known[key] = msgspec.structs.replace(sampled, values=last, failed=0, by_vmm=0)
    return found


def collect_all(
    header: Header, records: Iterable[Record]
) -> tuple[dict[str, dict[Key, Sampled]], frozenset[Key]]:
    """Values and facts of every system of the run, and which of the metrics and labels are facts."""
    made = add_derived(header, records)
    facts = collect_facts(header, made)
    found = {system: dict(samples) for system, samples in collect(header, made).items()}
    for system, samples in facts.items():
        found.setdefault(system, {}).update(samples)
    return found, frozenset(key for samples in facts.values() for key in samples)


def find_pairs(a: Sampled, b: Sampled) -> list[tuple[float, float]]:
    """The values of those blocks in which both have exactly one."""
    mine, theirs = _find_single(a), _find_single(b)
    return [(value, theirs[block]) for block, value in mine.items() if block in theirs]


def _find_single(sampled: Sampled) -> dict[int, float]:
    counts = Counter(block for block, _ in sampled.values)
    return {block: value for block, value in sampled.values if block and counts[block] == 1}
