"""Tells how long trials will take from how long others of their kind took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from statistics import fmean

from guestbench.families import find_purpose
from guestbench.model import Record, Trial


class Forecast:
    """Tells how long the rest of a run will take, from how long its trials have taken so far."""

    def __init__(self, trials: Iterable[Trial]) -> None:
        self._left = {trial.id: kind_of(trial) for trial in trials}
        self._walls: dict[str, list[float]] = defaultdict(list)

    def learn(self, record: Record) -> None:
        """Take a finished trial into account."""
        self._left.pop(record.trial.id, None)
        self._walls[kind_of(record.trial)].append(record.wall_ns / 1e9)

    def count_seconds(self) -> tuple[float, int]:
        """What the trials take of which the like was seen, and how many others there are."""
        known = [fmean(self._walls[kind]) for kind in self._left.values() if kind in self._walls]
        return sum(known), len(self._left) - len(known)


def kind_of(trial: Trial) -> str:
    """What trials that take about as long have in common."""
    like = find_purpose(trial.purpose).like or trial.purpose
    return f"{trial.system}/{trial.definition}/{like}/{trial.workload}"
