"""Which rounds of a run fit into the time that it was given; pure, so that a report finds what the run did.

A round is made if, by what trials have taken so far, it ends within the budget; else it is dropped, and the
next one is tried. So a block is whole or not there. The order of rounds makes one of everything before any
second one, so that cycles are fewer in all families alike. Nothing of this depends on how systems compare.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from statistics import fmean

import msgspec

from guestbench.analysis.forecast import kind_of
from guestbench.families import find_purpose, list_purposes
from guestbench.model import Header, Record, Trial

LONGEST_GAP_S = 300.0
"""Between two trials states are made, and reports; what is longer is a run that was interrupted."""


def fit(header: Header, records: Sequence[Record]) -> Header:
    """The header without the trials that do not fit into its budget, by what is recorded."""
    if header.budget is None:
        return header
    done = {record.trial.id for record in records}
    rounds = [list(each) for _, each in groupby(header.trials, key=lambda trial: trial.round)]
    last = max((n for n, each in enumerate(rounds) if any(t.id in done for t in each)), default=-1)
    left = find_left(header, records)
    estimate = Estimate(header, records)
    kept: list[Trial] = []
    for number, each in enumerate(rounds):
        missing = [trial for trial in each if trial.id not in done]
        if number > last or (number == last and missing):
            needed = estimate.tell(missing)
            if number > last and needed > left:
                continue
            left -= needed
        elif len(missing) == len(each):
            continue  # it did not fit when it was its turn
        kept += each
    return msgspec.structs.replace(header, trials=tuple(kept))


def find_left(header: Header, records: Iterable[Record]) -> float:
    """How many seconds are left of the budget, interruptions of the run aside; infinite without one."""
    if header.budget is None:
        return float("inf")
    spans = sorted((datetime.fromisoformat(r.started).timestamp(), r.wall_ns / 1e9) for r in records)
    used, reached = 0.0, spans[0][0] if spans else 0.0
    for begun, took in spans:
        ended = max(reached, begun + took)
        gap = max(0.0, begun - reached)
        used += ended - max(begun, reached) + (gap if gap <= LONGEST_GAP_S else 0.0)
        reached = ended
    return header.budget.seconds - used


def may_search(header: Header, records: Sequence[Record]) -> bool:
    """Whether there is time for more trials of a search, the longest of which tells how long one takes."""
    searches = {each.name for each in list_purposes(header) if each.search}
    took = (r.wall_ns / 1e9 for r in records if r.trial.purpose in searches)
    return find_left(header, records) > max(took, default=0.0)


class Estimate:
    """How long trials take: as those of their kind did, or else as those of their system that boot."""

    def __init__(self, header: Header, records: Iterable[Record]) -> None:
        self._slots = max(1, header.host.cpus // header.platform.cpus)
        self._before: Mapping[str, float] = header.budget.times if header.budget else {}
        self._kinds: dict[str, list[float]] = defaultdict(list)
        self._systems: dict[str, list[float]] = defaultdict(list)
        for record in records:
            self._kinds[kind_of(record.trial)].append(record.wall_ns / 1e9)
            if find_purpose(record.trial.purpose).boots:
                self._systems[record.trial.system].append(record.wall_ns / 1e9)

    def find(self, trial: Trial) -> float | None:
        """How many seconds a trial takes by others of its kind; None where there were none."""
        kind = kind_of(trial)
        return fmean(self._kinds[kind]) if kind in self._kinds else self._before.get(kind)

    def tell(self, trials: Iterable[Trial]) -> float:
        """How many seconds trials of one round take; what nothing is known of takes none."""
        total = 0.0
        for trial in trials:
            found = self.find(trial)
            if found is None:
                found = fmean(self._systems[trial.system]) if trial.system in self._systems else 0.0
            total += found if find_purpose(trial.purpose).timed else found / self._slots
        return total
