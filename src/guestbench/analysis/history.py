"""Puts many runs of the same guests into series over time, and says where a level changed; it gates nothing.

What is shown of a run is the median of its trials. What scatters within a run has no part in where a level
changes: that is found from how the runs scatter among one another.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Collection, Sequence
from itertools import pairwise
from statistics import fmean, median

from guestbench.analysis.changes import find_changes
from guestbench.analysis.diff_setting import find_mismatches
from guestbench.analysis.samples import collect_all
from guestbench.analysis.summary import find_metric, find_other_method, median_interval, rank_metrics
from guestbench.model import Better, Frozen, Guest, Header, Interval, Key, Metric, Record

LEAST_FREE = 4
"""Runs beyond those that the levels take, below which nothing is said of how runs scatter."""
Run = tuple[Header, Sequence[Record]]
Wanted = Callable[[str, Metric, dict[str, str]], bool]
"""Whether a figure of a system, with these labels, is to be shown."""


class Stage(Frozen):
    """A run as part of a series: its figure, `image` being a digest of what the system was booted from.

    `besides` names what else than the system differs from the run before, which may be what a change is of.
    """

    run: str
    created: str
    tool: str
    image: str
    besides: tuple[str, ...]
    n: int
    failed: int
    value: float | None = None
    interval: Interval | None = None


class Turn(Frozen):
    """A new level: the stage at which it begins, and the ratio to the level before.

    There is none where that was 0, nor where the figure was measured in another way until then.
    """

    stage: int
    ratio: float | None


class Series(Frozen):
    """A figure of a system in all runs, oldest first. `run_sd` is how runs scatter about their level.

    It is the SD of logarithms, and missing where there are too few runs or values that are not above 0.
    """

    system: str
    metric: str
    labels: dict[str, str]
    title: str
    unit: str
    better: Better
    stages: tuple[Stage, ...]
    turns: tuple[Turn, ...]
    run_sd: float | None


class History(Frozen):
    """All series of some runs; `left_out` says of each run that could not be read why."""

    runs: int
    left_out: tuple[str, ...]
    series: tuple[Series, ...]


class _Figures:
    """A run and all its values, those that are facts included."""

    def __init__(self, header: Header, records: Sequence[Record], besides: tuple[str, ...]) -> None:
        self.header, self.besides = header, besides
        self.values, self.facts = collect_all(header, records)


def trace_runs(runs: Sequence[Run], wanted: Wanted, left_out: Sequence[str] = ()) -> History:
    """The series of all figures that are wanted, in the order of the last run, then of those before."""
    ordered = sorted(runs, key=lambda run: (run[0].created, run[0].run))
    figures: list[_Figures] = []
    for n, (header, records) in enumerate(ordered):
        before = ordered[n - 1][0] if n else header
        besides = tuple(each.what for each in find_mismatches(before, header))
        figures.append(_Figures(header, records, besides))
    systems = dict.fromkeys(name for each in reversed(figures) for name in each.values)
    found: list[Series] = []
    for system in systems:
        keys = {key: each.header for each in figures for key in each.values.get(system, {})}
        rank = rank_metrics(figures[-1].header)
        for key in sorted(keys, key=lambda key: (rank(key[0]), key)):
            metric = find_metric(keys[key], key[0])
            if wanted(system, metric, dict(key[1])):
                found.append(_trace(system, key, metric, figures))
    return History(runs=len(runs), left_out=tuple(left_out), series=tuple(found))


def _trace(system: str, key: Key, metric: Metric, figures: Sequence[_Figures]) -> Series:
    found = [each for each in figures if key in each.values.get(system, {})]
    others = ["", *(find_other_method(key[0], one.header, two.header) for one, two in pairwise(found))]
    stages = tuple(_describe(system, key, each, other) for each, other in zip(found, others, strict=False))
    facts = any(key in each.facts for each in figures)
    breaks = {n for n, other in enumerate(others) if other}
    turns, run_sd = _find_turns(stages, breaks, exact=metric.exact or facts)
    return Series(
        system=system,
        metric=metric.name,
        labels=dict(key[1]),
        title=metric.title,
        unit=metric.unit,
        better=metric.better,
        stages=stages,
        turns=turns,
        run_sd=run_sd,
    )


def _describe(system: str, key: Key, figures: _Figures, other_method: str) -> Stage:
    header, sampled = figures.header, figures.values[system][key]
    numbers = sampled.numbers
    return Stage(
        run=header.run,
        created=header.created,
        tool=header.tool,
        image=_digest(header.find_guest(system)),
        besides=(*([other_method] if other_method else []), *figures.besides),
        n=len(numbers),
        failed=sampled.failed,
        value=median(numbers) if numbers else None,
        interval=median_interval(numbers),
    )


def _digest(guest: Guest) -> str:
    """Of the files a system is booted from: that of the file, or one of all their digests."""
    digests = [image.sha256 for _, image in sorted(guest.pristine.items())]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest() if digests else ""


def _find_turns(
    stages: Sequence[Stage], breaks: Collection[int], *, exact: bool
) -> tuple[tuple[Turn, ...], float | None]:
    """The changes of level, and the SD of runs about it; what does not scatter changes where it differs.

    At `breaks`, stages from which on it was measured in another way, there is a new level in any case.
    """
    known = [(n, stage.value) for n, stage in enumerate(stages) if stage.value is not None]
    values = [value for _, value in known]
    positive = bool(values) and min(values) > 0
    series = [math.log(value) for value in values] if positive else values
    broken = [n for n in range(1, len(known)) if any(known[n - 1][0] < at <= known[n][0] for at in breaks)]
    if exact:
        found = [n for n, (one, next_one) in enumerate(pairwise(values), 1) if one != next_one]
    else:
        ways = pairwise([0, *broken, len(series)])
        found = [low + place for low, high in ways for place in find_changes(series[low:high])]
    places = sorted({*found, *broken})
    edges = [0, *places, len(series)]
    parts = [series[low:high] for low, high in pairwise(edges)]
    levels = [fmean(part) if part else 0.0 for part in parts]
    turns = tuple(
        Turn(
            stage=known[place][0],
            ratio=None if place in broken else _find_ratio(before, after, positive),
        )
        for place, before, after in zip(places, levels, levels[1:], strict=False)
    )
    free = len(series) - len(parts)
    if exact or not positive or free < LEAST_FREE:
        return turns, None
    squares = sum((x - level) ** 2 for part, level in zip(parts, levels, strict=True) for x in part)
    return turns, math.sqrt(squares / free)


def _find_ratio(before: float, after: float, logarithms: bool) -> float | None:
    if logarithms:
        return math.exp(min(after - before, 700.0))
    return after / before if before > 0 and after >= 0 else None
