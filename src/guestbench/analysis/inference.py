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
[Schuirmann] D. J. Schuirmann: A comparison of the two one-sided tests procedure, J. Pharmacokinetics and
Biopharmaceutics 15 (1987).
[HO] L. V. Hedges, I. Olkin: Statistical Methods for Meta-Analysis, Academic Press 1985, ch. 9.
[Sheppard] W. F. Sheppard: On the calculation of the most probable values of frequency-constants for data
arranged according to equidistant divisions of a scale, Proc. London Math. Soc. 29 (1898).
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc, nctdtrinc, stdtrit

from guestbench.model import Interval

CONFIDENCE = 0.95
EXACT_PERMUTATIONS = 1 << 16
"""As many are counted out; of more, as many are drawn."""
BOOTSTRAP_LEAST = 20
"""Below this many values a bootstrap knows too little of the tails to be better than Student's t."""
FEWEST_DISTINCT = 3
"""Fewer different values than these do not show how they scatter."""
LARGE_SAMPLE = 200
"""From so many values on (of both samples, or pairs) p is taken from the normal distribution [WW].

At 200 log-normal values of CV 20% it differs from the p of drawn permutations by less than those do from one
another, and it takes microseconds rather than seconds and hundreds of megabytes.
"""
SMALL_SIDE = 30
"""Unless one sample has fewer than these: then the larger one makes the sum no more normal."""
CHUNK_VALUES = 1 << 21
"""As many values are permuted at a time, which takes 50 MB."""
BOOTSTRAP_MOST = 1000
"""Above this many, Student's t needs no help, and resampling takes seconds."""
RESAMPLES = 9999
MOST_EXPONENT = math.log(sys.float_info.max)
MOST_VALUES = 100_000
"""Whoever needs more than these blocks should not look for so small an effect."""

Values = NDArray[np.float64]
Tried = Sequence[tuple[float, bool]]


class Estimate(NamedTuple):
    """A difference, the variance of this estimate of it, and the degrees of freedom of that."""

    middle: float
    variance: float
    freedom: float


def pair_estimate(differences: Sequence[float], least_variance: float = 0.0) -> Estimate | None:
    """The mean of differences within blocks; None below two of them.

    They scatter by `least_variance` at least, that of what the instrument cannot tell.
    """
    if len(differences) < 2:
        return None
    middle, variance = _describe(differences)
    return Estimate(middle, max(variance, least_variance) / len(differences), len(differences) - 1)


def pair_interval(
    differences: Sequence[float], confidence: float = CONFIDENCE, least_variance: float = 0.0
) -> Interval | None:
    """Student's interval for that mean; None below two differences."""
    found = pair_estimate(differences, least_variance)
    return student_interval(*found, confidence) if found else None


def welch_estimate(
    a: Sequence[float], b: Sequence[float], least_variances: tuple[float, float] = (0.0, 0.0)
) -> Estimate | None:
    """The difference mean(a) - mean(b) [Welch]; None where either has fewer than two values.

    Each side scatters by its least variance at least, as in `pair_estimate`.
    """
    if min(len(a), len(b)) < 2:
        return None
    (first, scatter_a), (second, scatter_b) = _describe(a), _describe(b)
    parts = [max(scatter_a, least_variances[0]) / len(a), max(scatter_b, least_variances[1]) / len(b)]
    total, difference = sum(parts), first - second
    if not 0 < total < math.inf:
        return Estimate(difference, total, min(len(a), len(b)) - 1)
    shares = [(part / total) ** 2 / (len(x) - 1) for part, x in zip(parts, (a, b), strict=True)]
    return Estimate(difference, total, 1 / sum(shares))


def welch_interval(
    a: Sequence[float],
    b: Sequence[float],
    confidence: float = CONFIDENCE,
    least_variances: tuple[float, float] = (0.0, 0.0),
) -> Interval | None:
    """Welch's interval for that difference; None where either has fewer than two values."""
    found = welch_estimate(a, b, least_variances)
    return student_interval(*found, confidence) if found else None


def pool(estimates: Sequence[Estimate]) -> tuple[Estimate, float]:
    """What several groups have in common, and the SD by which it differs from group to group [HO].

    The groups are a sample of all that there may be, and each has an effect of its own: the mean of theirs is
    as well known as they scatter, whatever of that is chance within each. All groups count alike. Weights by
    how well each is known come from few values, and intervals made with them hold in 91 to 94% of cases
    (`benchmarks/hosts.py`).

    Raises:
        ValueError: there are fewer than two groups.
    """
    if len(estimates) < 2:
        raise ValueError("one group does not show how groups differ")
    middle, scatter = _describe([each.middle for each in estimates])
    within = mean([each.variance for each in estimates])
    found = Estimate(middle, scatter / len(estimates), len(estimates) - 1)
    return found, math.sqrt(max(0.0, scatter - within))


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean, also of values whose sum is beyond what numbers can hold."""
    largest = max(map(abs, values), default=0.0) or 1.0
    return largest * (math.fsum(value / largest for value in values) / len(values))


def exp(value: float) -> float:
    """e to this power; infinite beyond what numbers can hold."""
    return math.inf if value > MOST_EXPONENT else math.exp(value)


def _describe(values: Sequence[float]) -> tuple[float, float]:
    """Mean and variance; of values whose squares are beyond what numbers can hold, an infinite variance."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.asarray(values, dtype=np.float64)
        return float(found.mean()), float(found.var(ddof=1))


def resolution_variance(resolution: float, middle: float = 1.0) -> float:
    """Variance of what an instrument cannot tell, relative to `middle`: of a uniform error [Sheppard]."""
    return (resolution / middle) ** 2 / 12


def too_few_distinct(*samples: Sequence[float]) -> bool:
    """Whether the values of all are too much the same to show how they scatter."""
    return len({value for sample in samples for value in sample}) < FEWEST_DISTINCT


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
    # Which of both is permuted is the same; of the smaller one fewer are chosen.
    a, b = sorted((a, b), key=len)
    pooled = np.asarray([*a, *b], dtype=np.float64)
    n, size = len(pooled), len(a)
    if _is_large(n, size):
        difference = float(pooled[:size].sum() - pooled.mean() * size)
        return _normal_p(difference, size * (n - size) / n * float(pooled.var(ddof=1)))
    observed = float(pooled[:size].sum())
    centre = float(pooled.sum()) * size / n
    limit = abs(observed - centre) - 1e-9 * float(np.abs(pooled).sum())
    if math.comb(n, size) <= EXACT_PERMUTATIONS:
        chosen = np.asarray(list(combinations(range(n), size)), dtype=np.intp)
        return _share_beyond(pooled[chosen].sum(axis=1) - centre, limit)
    sums = np.concatenate([pooled[chosen].sum(axis=1) for chosen in _draw_samples(n, size)])
    return _share_beyond(sums - centre, limit, drawn=True)


def _draw_samples(n: int, size: int) -> Iterator[NDArray[np.intp]]:
    """Places of random samples without replacement, `EXACT_PERMUTATIONS` of them or nearly so many."""
    random = np.random.default_rng(0)
    if size**2 < n:
        drawn = np.sort(random.integers(0, n, (EXACT_PERMUTATIONS, size)), axis=1)
        yield drawn[(np.diff(drawn, axis=1) > 0).all(axis=1)]
        return
    rows = max(1, CHUNK_VALUES // n)
    for done in range(0, EXACT_PERMUTATIONS, rows):
        keys = random.random((min(rows, EXACT_PERMUTATIONS - done), n))
        yield keys.argpartition(size, axis=1)[:, :size]


def _is_large(n: int, smaller: int) -> bool:
    """Whether the sum of a sample is normal enough, whichever of all values it holds."""
    return n >= LARGE_SAMPLE and smaller >= SMALL_SIDE


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
    if n_a >= LARGE_SAMPLE if paired else _is_large(n_a + n_b, min(n_a, n_b)):
        return 0.0
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


def search_p(smaller: Tried, least: float, larger: Tried, failed: float) -> float:
    """At most how likely chance makes one guest pass so often where another one, that is the same, failed.

    Each of `Tried` is a size, and whether it was enough. `least` is the one found for the smaller one, and
    `failed` the largest that failed of the other. For a size s between them let the smaller one have passed k
    of its n boots with sizes from `least` to s, and the larger one failed in l of its m with sizes from s to
    `failed`. If success with s has the chance p for both, and with more memory no less, then this has at most
    the chance P(Bin(n, p) >= k) P(Bin(m, 1 - p) >= l); p and s are those for which it is worst and best. For
    either of the two being the smaller one it is doubled.
    """
    found = 1.0
    for size in {size for size, _ in (*smaller, *larger) if least <= size <= failed}:
        passes = [well for tried, well in smaller if least <= tried <= size]
        fails = [not well for tried, well in larger if size <= tried <= failed]
        if passes and fails:
            found = min(found, 2 * _bound_chance(len(passes), sum(passes), len(fails), sum(fails)))
    return found


@lru_cache(maxsize=1024)
def _bound_chance(n: int, k: int, m: int, l: int) -> float:  # noqa: E741
    shares = np.linspace(0.005, 0.995, 199)
    return float((bdtrc(k - 1, n, shares) * bdtrc(l - 1, m, 1 - shares)).max())


def needed_values(sd: float, effect: float, power: float = 0.8, confidence: float = CONFIDENCE) -> int:
    """In how many blocks two that are alike are found to be so, within `effect`, in a share `power` of cases.

    Single differences have this SD. The mean has to come so near to 0 that the whole interval lies within the
    effect on both sides [Schuirmann]: its half width and the quantile of (1 + power) / 2 have to fit into it.
    A true difference of just the effect is not decided by any number of blocks. At most `MOST_VALUES`.
    """
    if sd <= 0 or effect <= 0:
        return 2

    def reach(n: int) -> float:
        quantiles = stdtrit(n - 1, (1 + confidence) / 2) + stdtrit(n - 1, (1 + power) / 2)
        return float(quantiles) * sd / math.sqrt(n)

    return bisect_left(range(MOST_VALUES), -effect, lo=2, key=lambda n: -reach(n))


def least_effect(sd: float, n: int, power: float = 0.9, confidence: float = CONFIDENCE) -> float:
    """The mean difference whose interval leaves out 0 with that `power`, in `n` differences of this SD.

    Exactly, by the noncentral t distribution; that the interval may also lie on the wrong side is left out.
    """
    quantile = stdtrit(n - 1, (1 + confidence) / 2)
    return float(nctdtrinc(n - 1, 1 - power, quantile)) * sd / math.sqrt(n)


def student_interval(
    middle: float, variance: float, freedom: float, confidence: float = CONFIDENCE
) -> Interval:
    """Student's interval about an estimate of this variance; without ends where numbers cannot hold them."""
    reach = float(stdtrit(freedom, (1 + confidence) / 2)) * math.sqrt(variance)
    if not math.isfinite(middle) or not math.isfinite(reach):
        return Interval(low=-math.inf, high=math.inf, confidence=confidence)
    return Interval(low=middle - reach, high=middle + reach, confidence=confidence)
