"""Looks for what makes a series of repetitions doubtful; it flags values, and never drops or changes one.

Sources of the choices made here:
[Kendall] M. Kendall, J. D. Gibbons: Rank Correlation Methods, 5th ed., Oxford 1990, chapter 4.
[Tukey] J. W. Tukey: Exploratory Data Analysis, Addison-Wesley 1977, chapter 2: "far out" values.
[DW] J. Durbin, G. S. Watson: Testing for serial correlation in least squares regression I, Biometrika 37
(1950).
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise

FEWEST = 10
"""Below so many values, chance alone makes any pattern."""
LIMIT = 2.576
"""Standard deviations that chance exceeds once in a hundred, in either direction."""
UPPER = 2.326
"""The same, for one direction alone."""
TRIFLE = 0.01
"""A spread below this share of the median matters to no one, whatever its pattern."""
FAR_OUT = 3.0
"""Interquartile ranges beyond the quartiles [Tukey]."""
GAP_SHARE = 0.5
"""Of the range of the values: so wide a gap between two groups of them makes two modes."""
GROUP_SHARE = 0.2


def find_concerns(values: Sequence[float]) -> dict[str, str]:
    """What is doubtful about values in the order they were measured; nothing below `FEWEST` of them.

    By the kind of concern: what is wrong, in words, and what to do about it.
    """
    middle = statistics.median(values) if values else 0.0
    if len(values) < FEWEST or max(values) - min(values) <= TRIFLE * abs(middle):
        return {}
    found = {
        "drift": _find_drift(values),
        "serial correlation": _find_serial(values),
        "two modes": _find_modes(values),
        **_find_far_out(values),
    }
    return {kind: told for kind, told in found.items() if told}


def _find_drift(values: Sequence[float]) -> str:
    """Kendall's rank correlation of the values with their order; ties count for neither direction."""
    n, score = len(values), 0
    earlier: list[float] = []
    for value in values:
        # How many before it are smaller, less how many are larger.
        place = bisect_left(earlier, value)
        score += place - (len(earlier) - bisect_right(earlier, value))
        earlier.insert(place, value)
    deviation = math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    if abs(score) <= LIMIT * deviation:
        return ""
    ends = statistics.median(values[: n // 2]), statistics.median(values[-(n // 2) :])
    change = ends[1] / ends[0] - 1 if ends[0] else 0.0
    return (
        f"drift: the second half is {abs(change):.1%} {'above' if change > 0 else 'below'} the first; "
        "let the host come to rest, and compare within blocks only"
    )


def _find_serial(values: Sequence[float]) -> str:
    """Whether neighbours are alike beyond what a trend makes of them, at a level of 1%."""
    n = len(values)
    slope, start = statistics.linear_regression(range(n), values)
    rest = [value - start - slope * place for place, value in enumerate(values)]
    total = math.fsum(r * r for r in rest)
    if total == 0:
        return ""
    r = math.fsum(a * b for a, b in pairwise(rest)) / total
    mean, deviation = find_serial_moments(n)
    if r <= mean + UPPER * deviation:
        return ""
    return (
        f"each value is like the one before it (serial correlation {r:.2f}); "
        "the interval is too narrow: spread the blocks over a longer time"
    )


def find_serial_moments(n: int) -> tuple[float, float]:
    """Mean and SD of the correlation of `n` neighbouring residuals of a line, of independent values.

    It is r = e'Ae / e'e for residuals e = Mx, with A half the sum of both shifts and M = I - P, and its
    moments follow from the traces of MA and of its square [DW]. P has two dimensions, which are gone through.
    """
    line = [place - (n - 1) / 2 for place in range(n)]
    length = math.sqrt(math.fsum(t * t for t in line))
    basis = [[1 / math.sqrt(n)] * n, [t / length for t in line]]
    shifted = [
        [((q[k - 1] if k else 0.0) + (q[k + 1] if k + 1 < n else 0.0)) / 2 for k in range(n)] for q in basis
    ]
    within = [[_dot(q, s) for s in shifted] for q in basis]
    trace = -(within[0][0] + within[1][1])
    squares = (n - 1) / 2 - 2 * sum(_dot(s, s) for s in shifted)
    squares += sum(value * value for row in within for value in row)
    free = n - 2
    return trace / free, math.sqrt(2 * (free * squares - trace**2) / (free + 2)) / free


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def _find_modes(values: Sequence[float]) -> str:
    ordered = sorted(values)
    least = max(2, math.ceil(GROUP_SHARE * len(ordered)))
    gaps = [(ordered[i] - ordered[i - 1], i) for i in range(least, len(ordered) - least + 1)]
    width, at = max(gaps)
    if width <= GAP_SHARE * (ordered[-1] - ordered[0]):
        return ""
    return (
        f"two modes: {at} values below a wide gap, and {len(ordered) - at} above it; "
        "look for what differs between them; neither mean nor median describes both"
    )


def _find_far_out(values: Sequence[float]) -> dict[str, str]:
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    reach = FAR_OUT * (high - low)
    out = [number for number, value in enumerate(values, 1) if not low - reach <= value <= high + reach]
    others = [str(number) for number in out if number != 1]
    found = {}
    if 1 in out:
        found["first run"] = "the first value lies far from the others; raise --warmups if this repeats"
    if others:
        listed = f"{'value' if len(others) == 1 else 'values'} {', '.join(others)}"
        found["outliers"] = f"far from the others: {listed}; kept; look at the host's load in those trials"
    return found
