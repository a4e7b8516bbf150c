"""Collects each system's values of each metric, for those who compare them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from guestbench.analysis.summary import group_trials
from guestbench.model import Header, Key, Record


class Sampled(msgspec.Struct, frozen=True):
    """The values of one metric of one system by block (0 where its trials are in none), and its failures."""

    values: tuple[tuple[int, float], ...] = ()
    failed: int = 0

    @property
    def numbers(self) -> list[float]:
        """The values alone, in the order of the trials."""
        return [value for _, value in self.values]


Samples = Mapping[str, Mapping[Key, Sampled]]
"""By system, then by metric and labels."""


def collect(header: Header, records: Iterable[Record], purposes: Sequence[str] | None = None) -> Samples:
    """The values of every system of the run, of trials that count, in the order planned.

    What trials of several purposes brought is one sample; failures are those of the last of them.
    """
    found: dict[str, dict[Key, Sampled]] = {guest.system.name: {} for guest in header.guests}
    for (system, _, _), group in group_trials(header, records, purposes).items():
        mine = found.setdefault(system, {})
        for key, values in group.values.items():
            before = mine.get(key, Sampled()).values
            more = tuple((block, float(value)) for block, value in values)
            mine[key] = Sampled(values=(*before, *more), failed=group.failed)
    return found


def find_pairs(a: Sampled, b: Sampled) -> list[tuple[float, float]]:
    """The values of those blocks in which both have exactly one."""
    mine, theirs = _find_single(a), _find_single(b)
    return [(value, theirs[block]) for block, value in mine.items() if block in theirs]


def _find_single(sampled: Sampled) -> dict[int, float]:
    counts = Counter(block for block, _ in sampled.values)
    return {block: value for block, value in sampled.values if block and counts[block] == 1}
