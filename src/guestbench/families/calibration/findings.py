"""What records say of calibration: pairs whose ratio is known, and what was planted beside what was found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean

from guestbench.analysis.samples import Sampled, collect
from guestbench.families import calibration
from guestbench.model import Header, Key, Record

ABOUT = 0.03
"""The known difference that is shown is the planted one nearest to this, the least effect of interest."""

Known = tuple[str, Key, Sampled, Sampled, float]
Planted = tuple[str, str, list[tuple[int, float, float]]]


def known_ratios(header: Header, records: Sequence[Record]) -> Iterator[Known]:
    """The kernel against itself, and against itself with the planted delay that is nearest to 3% of it."""
    for system, found in collect(header, records, (calibration.CALIBRATION,)).items():
        first = found.get((calibration.READY, calibration.label_plant(calibration.DELAY, 0)), Sampled())
        if not first.values or min(first.numbers) <= 0:
            continue
        base_s = math.exp(fmean(map(math.log, first.numbers)))
        nearest = min(calibration.DELAYS_MS[1:], key=lambda ms: abs(ms / 1000 / base_s - ABOUT))
        for kind, amount in ((calibration.AGAIN, 0), (calibration.DELAY, nearest)):
            key = (calibration.READY, calibration.label_plant(kind, amount))
            if key in found:
                yield system, key, found[key], first, 1 + amount / 1000 / base_s


def planted(header: Header, records: Sequence[Record]) -> Iterator[Planted]:
    """What was planted, in the metric's unit, and the values that it gave."""
    for kinds, metric, unit in (
        ((calibration.DELAY, calibration.AGAIN), calibration.READY, 0.001),
        ((calibration.MEMORY,), calibration.TOUCHED, 1024.0),
    ):
        points: dict[str, list[tuple[int, float, float]]] = {}
        for record in records:
            trial = record.trial
            if trial.purpose == calibration.CALIBRATION and record.holds:
                kind, amount = calibration.read_plant(trial.workload)
                values = [sample.value for sample in record.samples if sample.metric == metric]
                if kind in kinds and values:
                    points.setdefault(trial.system, []).append((trial.block, amount * unit, values[0]))
        yield from ((system, metric, found) for system, found in points.items())
