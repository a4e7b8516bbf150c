"""Intervals and tests for two samples of positive values; it knows no systems and no records.

Ratios are of geometric means, and are worked with as differences of logarithms: boot times are skewed to
the right and scatter in proportion to their size, which logarithms make even. In pairs, `a[i]` and `b[i]`
are of the same block, so that what a whole block shares (a host that grows slower) cancels.

Sources of the choices made here:
[Welch] B. L. Welch: The generalization of "Student's" problem, Biometrika 34 (1947).
[Good] P. Good: Permutation, Parametric and Bootstrap Tests of Hypotheses, 3rd ed., Springer 2005, ch. 3.
[PS] B. Phipson, G. K. Smyth: Permutation p-values should never be zero, SAGMB 9 (2010).
[Efron] B. Efron: Better bootstrap confidence intervals, JASA 82 (1987).
[WW] A. Wald, J. Wolfowitz: Statistical tests based on permutations of the observations, AMS 15 (1944).
[Cliff] N. Cliff: Dominance statistics, Psychological Bulletin 114 (1993).
[Holm] S. Holm: A simple sequentially rejective multiple test procedure, Scand. J. Statistics 6 (1979).
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from guestbench.model import Interval

CONFIDENCE = 0.95
EXACT_PERMUTATIONS = 1 << 16
"""As many are counted out; of more, as many are drawn."""
BOOTSTRAP_LEAST = 20
"""Below this many values a bootstrap knows too little of the tails to be better than Student's t."""
LARGE_SAMPLE = 200
"""From so many values on (of both samples, or pairs) p is taken from the normal distribution [WW].

At 200 log-normal values of CV 20% it differs from the p of drawn permutations by less than those do from one
another, and it takes microseconds rather than seconds and hundreds of megabytes.
"""
BOOTSTRAP_MOST = 1000
"""Above this many, Student's t needs no help, and resampling takes seconds."""
RESAMPLES = 9999
MOST_VALUES = 100_000
"""Whoever needs more than these blocks should not look for so small an effect."""

Values = NDArray[np.float64]


def pair_interval(differences: Sequence[float], confidence: float = CONFIDENCE) -> Interval | None:
    """Student's interval for the mean of differences within blocks; None below two of them."""
    values = np.asarray(differences, dtype=np.float64)
    if len(values) < 2:
        return None
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return _interval(float(values.mean()), error, len(values) - 1, confidence)


def welch_interval(a: Sequence[float], b: Sequence[float], confidence: float = CONFIDENCE) -> Interval | None:
    """Welch's interval for mean(a) - mean(b) [Welch]; None where either has fewer than two values."""
    if min(len(a), len(b)) < 2:
        return None
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    parts = [float(x.var(ddof=1)) / len(x) for x in (first, second)]
    total = sum(parts)
    difference = float(first.mean() - second.mean())
    if total == 0:
        return Interval(low=difference, high=difference, confidence=confidence)
    freedom = total**2 / sum(part**2 / (len(x) - 1) for part, x in zip(parts, (a, b), strict=True))
    return _interval(difference, math.sqrt(total), freedom, confidence)


def bootstrap_interval(
    a: Sequence[float], b: Sequence[float], *, paired: bool, confidence: float = CONFIDENCE
) -> Interval | None:
    """The BCa bootstrap interval for mean(a) - mean(b) [Efron]; None for too few or too many.

    The resamples are drawn from a fixed seed, so that a report is the same whenever it is made.
    """
    if not BOOTSTRAP_LEAST <= min(len(a), len(b)) <= max(len(a), len(b)) <= BOOTSTRAP_MOST:
        return None
    from scipy.stats import bootstrap

    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    data = (first - second,) if paired else (first, second)
    if all(np.ptp(part) == 0 for part in data):
        return None  # nothing scatters, so there is nothing to resample

    def statistic(*parts: Values, axis: int = -1) -> Values:
        means = [part.mean(axis=axis) for part in parts]
        return np.asarray(means[0] if paired else means[0] - means[1])

    found = bootstrap(
        data,
        statistic,
        n_resamples=RESAMPLES,
        confidence_level=confidence,
        method="BCa",
        batch=500,
        rng=np.random.default_rng(0),
        vectorized=True,
    ).confidence_interval
    return Interval(low=float(found.low), high=float(found.high), confidence=confidence)


def paired_permutation_p(differences: Sequence[float]) -> float:
    """Two-sided p of "within a block it is chance which system has which value" [Good].

    Signs are flipped in all 2**n ways. Of more than `EXACT_PERMUTATIONS` ways as many are drawn, and the one
    observed is counted with them [PS]; from `LARGE_SAMPLE` values on the normal limit is used.
    """
    values = np.asarray(differences, dtype=np.float64)
    if len(values) >= LARGE_SAMPLE:
        return _normal_p(float(values.sum()), float(np.square(values).sum()))
    observed = abs(float(values.sum()))
    # Sums that are equal but for rounding count as equal.
    limit = observed - 1e-9 * float(np.abs(values).sum())
    if 2 ** len(values) <= EXACT_PERMUTATIONS:
        sums = np.zeros(1)
        for value in values:
            sums = np.concatenate([sums + value, sums - value])
        return _share_beyond(sums, limit)
    signs = np.random.default_rng(0).integers(0, 2, (EXACT_PERMUTATIONS, len(values)), dtype=np.int8)
    return _share_beyond((2.0 * signs - 1.0) @ values, limit, drawn=True)


def permutation_p(a: Sequence[float], b: Sequence[float]) -> float:
    """Two-sided p of "it is chance which value is whose", for samples without blocks [Good]."""
    pooled = np.asarray([*a, *b], dtype=np.float64)
    n, size = len(pooled), len(a)
    if n >= LARGE_SAMPLE:
        difference = float(pooled[:size].sum() - pooled.mean() * size)
        return _normal_p(difference, size * (n - size) / n * float(pooled.var(ddof=1)))
    observed = float(pooled[:size].sum())
    centre = float(pooled.sum()) * size / n
    limit = abs(observed - centre) - 1e-9 * float(np.abs(pooled).sum())
    if math.comb(n, size) <= EXACT_PERMUTATIONS:
        chosen = np.asarray(list(combinations(range(n), size)), dtype=np.intp)
        return _share_beyond(pooled[chosen].sum(axis=1) - centre, limit)
    random = np.random.default_rng(0)
    orders = random.permuted(np.tile(np.arange(n), (EXACT_PERMUTATIONS, 1)), axis=1)[:, :size]
    return _share_beyond(pooled[orders].sum(axis=1) - centre, limit, drawn=True)


def _share_beyond(sums: Values, limit: float, *, drawn: bool = False) -> float:
    """How many of the sums are as far from 0; with those that were drawn the one observed is counted [PS]."""
    return float((np.count_nonzero(np.abs(sums) >= limit) + drawn) / (len(sums) + drawn))


def _normal_p(difference: float, variance: float) -> float:
    """Two-sided p of a sum that is this far from its mean, when permuting gives it this variance."""
    if variance <= 0:
        return 1.0
    # No p is 0, and none is known better than floating-point numbers go.
    return max(math.erfc(abs(difference) / math.sqrt(2 * variance)), sys.float_info.min)


def least_p(n_a: int, n_b: int, *, paired: bool) -> float:
    """The smallest p that a permutation test of so many values can have at all."""
    if (n_a if paired else n_a + n_b) >= LARGE_SAMPLE:
        return 0.0 if n_a and n_b else 1.0
    return 2.0 / 2**n_a if paired else 2.0 / math.comb(n_a + n_b, n_a)


def cliffs_delta(a: Sequence[float], b: Sequence[float]) -> float:
    """How much more often a value of `a` exceeds one of `b` than the other way round, -1 to 1 [Cliff]."""
    first, second = np.asarray(a, dtype=np.float64), np.sort(np.asarray(b, dtype=np.float64))
    above = np.searchsorted(second, first, side="left").sum()
    below = (len(second) - np.searchsorted(second, first, side="right")).sum()
    return float(above - below) / (len(first) * len(second))


def adjust_holm(ps: Sequence[float]) -> tuple[float, ...]:
    """The p values adjusted for how many they are [Holm], in their order; none becomes smaller."""
    adjusted = [0.0] * len(ps)
    worst = 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        worst = max(worst, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = worst
    return tuple(adjusted)


def needed_values(sd: float, effect: float, power: float = 0.8, confidence: float = CONFIDENCE) -> int:
    """How many blocks tell a mean difference of `effect` from 0, when single differences have this SD.

    The interval's half width and the quantile of `power` have to fit into the effect. At most `MOST_VALUES`.
    """
    if sd <= 0 or effect <= 0:
        return 2

    def reach(n: int) -> float:
        quantiles = stdtrit(n - 1, (1 + confidence) / 2) + stdtrit(n - 1, power)
        return float(quantiles) * sd / math.sqrt(n)

    return bisect_left(range(MOST_VALUES), -effect, lo=2, key=lambda n: -reach(n))


def _interval(middle: float, error: float, freedom: float, confidence: float) -> Interval:
    reach = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    return Interval(low=middle - reach, high=middle + reach, confidence=confidence)
