"""Compares runs that were made at different times; it pairs nothing, and takes no run for its trials.

A run as a whole may be off: the host was warmer, a neighbour was busy, memory lay elsewhere. How trials
scatter within it says nothing of that, and more of them do not help. So runs are the unit where a side has
several: their means are compared. Where each side has one, what scatters between runs is not known, and is
assumed.

Then a difference has to show twice: in the figures themselves, and in their ratio to the null guest within
blocks, from which what the host did to both has gone (a difference of differences). The interval spans both,
so that it holds the true ratio at its confidence if either of the two does [Berger].

Sources of the choices made here:
[S] F. E. Satterthwaite: An approximate distribution of estimates of variance components, Biometrics
    Bulletin 2 (1946).
[Berger] R. L. Berger: Multiparameter hypothesis testing and acceptance sampling, Technometrics 24 (1982), on
    tests that reject only where each of several does.
[KJ13] T. Kalibera, R. Jones: Rigorous benchmarking in reasonable time, ISMM 2013, on levels of repetition.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from statistics import fmean, median, variance
from typing import NamedTuple

import msgspec

from guestbench.analysis import inference
from guestbench.analysis.compare import LEAST_EFFECT, Pair, begin, compare, decide, judge_nothing, replace
from guestbench.analysis.samples import Sampled, find_pairs
from guestbench.model import Comparison, Interval, Key, Method

RUN_SD = 0.03
"""The assumed SD of what runs of the same thing are off by, as a share; other than assumed if it is known."""
RUN_FREEDOM = 10
"""The assumption counts as if it had been found in so many runs, since it is none that was measured here."""
LARGEST = sys.float_info.max
"""Stands for what is beyond all numbers, for which JSON has no word."""


class Estimate(NamedTuple):
    """The logarithm of a ratio, and the parts of its variance, each with its degrees of freedom."""

    middle: float
    parts: tuple[tuple[float, float], ...]

    def interval(self, confidence: float) -> Interval:
        """Student's for the ratio, with the degrees of freedom of [S]."""
        # In shares of the whole, so that no square is too large or too small for a number.
        total = sum(part for part, _ in self.parts)
        squares = sum((part / total) ** 2 / degrees for part, degrees in self.parts) if total > 0 else 1.0
        return inference.student_interval(self.middle, total, 1 / squares, confidence).through(to_ratio)


class RunPair(Pair, frozen=True, kw_only=True):
    """A figure of NEW's runs with the same of OLD's: `a` and `b` are the values of all their trials.

    `new` and `old` have those of each run, `floors` those of the null guest where one run a side is compared,
    `run_sd` what is assumed of such runs.
    """

    new: tuple[Sampled, ...]
    old: tuple[Sampled, ...]
    floors: tuple[Sampled, Sampled] | None = None
    run_sd: float = 0.0

    def interval(self, confidence: float) -> Interval | None:
        """The interval of the ratio at any confidence; None where it has none."""
        return _span(self.estimate(), confidence) if self.found.ratio_ci is not None else None

    def estimate(self) -> list[Estimate]:
        """Of the ratio, and of that to the null guest if there is one; empty where no scatter is known.

        Both sides have values, all above 0.
        """
        if len(self.new) > 1 or len(self.old) > 1:
            return _estimate_by_runs(_level(self.new), _level(self.old), _find_least(self.a, self.b))
        new, old = _logs(self.new[0]), _logs(self.old[0])
        if min(len(new), len(old)) < 2:
            return []
        found = [_estimate_by_trials(new, old, self.run_sd)]
        if self.floors is not None:
            above = [_ratios(run, floor) for run, floor in zip((self.a, self.b), self.floors, strict=True)]
            if min(map(len, above)) > 1:
                found.append(_estimate_by_trials(above[0], above[1], self.run_sd))
        return found


def _span(estimates: Sequence[Estimate], confidence: float) -> Interval | None:
    """From the least end of all intervals to the greatest."""
    if not estimates:
        return None
    each = [one.interval(confidence) for one in estimates]
    low, high = min(one.low for one in each), max(one.high for one in each)
    return Interval(low=low, high=high, confidence=confidence)


def to_ratio(log: float) -> float:
    """The ratio with this logarithm, or the largest number if it is beyond that."""
    return LARGEST if log >= math.log(LARGEST) else math.exp(log)


def _logs(sampled: Sampled) -> list[float]:
    return [math.log(value) for value in sampled.numbers]


def _ratios(sampled: Sampled, floor: Sampled) -> list[float]:
    """Logarithms of the ratio to the null guest, of the blocks that have both."""
    return [math.log(a) - math.log(b) for a, b in find_pairs(sampled, floor) if b > 0]


def _estimate_by_trials(new: Sequence[float], old: Sequence[float], run_sd: float) -> Estimate:
    """Of one run a side, either of which may be off by a share of this SD."""
    parts = [(variance(each) / len(each), len(each) - 1.0) for each in (new, old)]
    return Estimate(fmean(new) - fmean(old), (*parts, (2 * run_sd**2, RUN_FREEDOM)))


def _estimate_by_runs(new: Sequence[float], old: Sequence[float], least: float) -> list[Estimate]:
    """Of means of runs, which scatter by the variance `least` at least. One run scatters as the others do.

    Nothing is estimated where there are too few different means to show how they scatter.
    """
    if not least and inference.too_few_distinct(new, old):
        return []
    middle = fmean(new) - fmean(old)
    if min(len(new), len(old)) > 1:
        parts = [(max(variance(each), least) / len(each), len(each) - 1.0) for each in (new, old)]
        return [Estimate(middle, tuple(parts))]
    several = max(new, old, key=len)
    part = max(variance(several), least) * (1 + 1 / len(several))
    return [Estimate(middle, ((part, len(several) - 1.0),))]


def _level(runs: Sequence[Sampled]) -> list[float]:
    """The mean of each run, of logarithms."""
    return [fmean(_logs(run)) for run in runs]


def _find_least(a: Sampled, b: Sampled) -> float:
    """The relative variance of what the instrument cannot tell, of the side of which it tells least."""
    sides = ((each.resolution, inference.mean(each.numbers)) for each in (a, b))
    return max(inference.resolution_variance(*each) for each in sides)


# --- from values to a comparison --------------------------------------------------------------------------


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """What is compared: a metric with its labels, of a system; `exact` and `timed` say how it scatters."""

    key: Key
    system: str
    exact: bool
    timed: bool


def compare_sides(
    new: Sequence[Sampled],
    old: Sequence[Sampled],
    figure: Figure,
    *,
    floors: tuple[Sampled, Sampled] | None = None,
    run_sd: float = RUN_SD,
    effect: float = LEAST_EFFECT,
    obstacle: str = "",
) -> Pair:
    """Compare a figure of one run or several a side; the verdict is that of this comparison alone.

    Only of times and rates is anything assumed: in the others nothing shows that the host does besides.
    """
    names = figure.system, figure.system
    if figure.exact:
        a, b = _pool(new), _pool(old)
        obstacle = obstacle or _find_disagreement(new, "NEW") or _find_disagreement(old, "OLD")
        found = compare(
            a, b, key=figure.key, names=names, exact=True, same_run=False, effect=effect, obstacle=obstacle
        )
        return Pair(found, a, b)
    if len(new) == len(old) == 1 and not figure.timed:
        a, b = new[0], old[0]
        found = compare(a, b, key=figure.key, names=names, same_run=False, effect=effect, obstacle=obstacle)
        return Pair(found, a, b)
    a, b = _pool(new), _pool(old)
    found = begin(a, b, key=figure.key, names=names, same_run=False, obstacle=obstacle)
    pair = RunPair(found, a, b, new=_with_values(new), old=_with_values(old), floors=floors, run_sd=run_sd)
    if found.reason:
        return pair
    if min(*a.numbers, *b.numbers) <= 0:
        reason = "there is a value of 0 or below, of which no ratio can be made"
        return replace(pair, found=judge_nothing(replace(found, reason=reason), a, b))
    return replace(pair, found=decide(_infer(pair), effect))


def _infer(pair: RunPair) -> Comparison:
    """The comparison with all that is estimated. Trials of two runs are no sample that a test could be of."""
    found, several = pair.found, max(len(pair.new), len(pair.old)) > 1
    estimates = pair.estimate()
    if several:
        new, old = _level(pair.new), _level(pair.old)
        tested = inference.permutation_p(new, old) if min(len(new), len(old)) > 1 else None
        found = replace(found, method=Method.SAMPLES, n=len(new), n_baseline=len(old), p=tested)
    else:
        found = replace(found, method=Method.RUNS)
        new, old = _logs(pair.a), _logs(pair.b)
    return replace(
        found,
        ratio=to_ratio(fmean(new) - fmean(old)),
        ratio_ci=_span(estimates, inference.CONFIDENCE),
        ratio_floor=to_ratio(estimates[1].middle) if len(estimates) > 1 else None,
        difference=inference.mean(pair.a.numbers) - inference.mean(pair.b.numbers),
        delta=inference.cliffs_delta(pair.a.numbers, pair.b.numbers),
    )


def find_middles(pair: Pair) -> tuple[float | None, float | None]:
    """What is shown of each side, NEW's first: geometric means, or figures that do not scatter themselves."""
    if pair.found.method in (Method.EXACT, Method.SEARCH):
        return pair.a.numbers[0], pair.b.numbers[0]
    sides = (pair.new, pair.old) if isinstance(pair, RunPair) else ((pair.a,), (pair.b,))
    new, old = (_find_middle(side) for side in sides)
    return new, old


def _find_middle(runs: Sequence[Sampled]) -> float | None:
    """The geometric mean of the runs' geometric means; the median where a value is not above 0."""
    numbers = [number for run in runs for number in run.numbers]
    if not numbers:
        return None
    if min(numbers) <= 0:
        return median(numbers)
    return to_ratio(fmean(fmean(_logs(run)) for run in runs))


def _pool(runs: Sequence[Sampled]) -> Sampled:
    """All values of several runs, and all that failed; blocks are those of single runs alone."""
    if len(runs) == 1:
        return runs[0]
    values = tuple((0, value) for run in runs for value in run.numbers)
    tried = tuple(one for run in runs for one in run.tried)
    return Sampled(
        # The size that was enough in every run.
        values=(max(values),) if tried and values else values,
        failed=sum(run.failed for run in runs),
        resolution=max(run.resolution for run in runs),
        tried=tried,
        by_vmm=sum(run.by_vmm for run in runs),
    )


def _with_values(runs: Sequence[Sampled]) -> tuple[Sampled, ...]:
    return tuple(run for run in runs if run.values)


def _find_disagreement(runs: Sequence[Sampled], name: str) -> str:
    """That runs of one side have different figures of what does not scatter."""
    found = sorted({run.numbers[0] for run in runs if run.values and not run.tried})
    if len(found) < 2:
        return ""
    return f"the runs of {name} do not agree: {found[0]:.10g} and {found[-1]:.10g}"
