"""Finds where a series of values changes for good; it knows no runs, and names no cause.

E-divisive [MJ14]: of all places to divide a series, the one where the two sides are the furthest apart by
their energy distance; whether they are further apart than chance makes them is tested by permutation, and
what was divided is divided again. It assumes no distribution, and is used on databases for the same [D20].

[MJ14] D. S. Matteson, N. A. James: A nonparametric approach for multiple change point analysis of
    multivariate data, J. American Statistical Association 109 (2014).
[D20] D. Daly et al.: The use of change point detection to identify software performance regressions in a
    continuous integration system, ICPE 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.01
"""A nightly job asks again every night, and of many figures."""
PERMUTATIONS = 199
SHORTEST = 3
"""As few values may lie between two changes: of fewer, one that is off looks like a change."""
AT_ONCE, BATCH = 1 << 20, 50
"""Distances (8 MB) and permutations that are held at a time; after each it may be known to be chance."""

Values = NDArray[np.float64]


def find_changes(values: Sequence[float] | Values) -> tuple[int, ...]:
    """The indices of the values with which a new level begins, in their order.

    Permutations are drawn from a fixed seed, so that a series has the same changes whenever it is looked at.
    """
    series = np.asarray(values, dtype=np.float64)
    # Only how differences compare with one another counts, and of huge values these are no numbers.
    series = series / max(float(np.abs(series).max(initial=0.0)), 1.0)
    random = np.random.default_rng(0)
    edges = [0, len(series)]
    while True:
        parts = [series[low:high] for low, high in pairwise(edges)]
        found = [_divide(part) for part in parts]
        best = max(range(len(parts)), key=lambda n: found[n][1])
        place, distance = found[best]
        if not place or not _is_more_than_chance(parts, distance, random):
            return tuple(edges[1:-1])
        edges = sorted([*edges, edges[best] + place])


def _divide(part: Values) -> tuple[int, float]:
    """Where a part falls apart the most, 0 if it is too short, and how far."""
    if len(part) < 2 * SHORTEST:
        return 0, 0.0
    distances = _find_distances(part[None, :])[0].max(axis=1)
    place = int(distances.argmax())
    return place + SHORTEST, float(distances[place])


def _is_more_than_chance(parts: Sequence[Values], observed: float, random: np.random.Generator) -> bool:
    """Whether values of these parts seldom fall apart so far in a drawn order; the one observed counts."""
    allowed = int(ALPHA * (PERMUTATIONS + 1)) - 1
    long = [part for part in parts if len(part) >= 2 * SHORTEST]
    step = max(min(AT_ONCE // max(map(len, long)) ** 2, BATCH), 1)
    exceeding = 0
    for begin in range(0, PERMUTATIONS, step):
        size = min(step, PERMUTATIONS - begin)
        most = np.zeros(size)
        for part in long:
            orders = random.permuted(np.tile(part, (size, 1)), axis=1)
            most = np.maximum(most, _find_distances(orders).max(axis=(1, 2)))
        exceeding += int(np.count_nonzero(most >= observed * (1 - 1e-12)))
        if exceeding > allowed:
            return False
    return True


def _find_distances(series: Values) -> Values:
    """For each series, a row: by place and end, how far the values before the place are from the others.

    The others are those until the end. Every end is tried, for a level that comes back would hide among all
    values behind a place [MJ14]. How far is the energy distance times n·m / (n + m), and -inf where place and
    end are too close.
    """
    n = series.shape[1]
    apart = np.abs(series[:, :, None] - series[:, None, :])
    # Sums of the distances of the first i to the first j values, from which all others follow.
    sums = np.zeros((len(series), n + 1, n + 1))
    sums[:, 1:, 1:] = apart.cumsum(axis=1).cumsum(axis=2)
    places, ends = np.arange(SHORTEST, n - SHORTEST + 1), np.arange(2 * SHORTEST, n + 1)
    left, right = places[:, None], ends[None, :] - places[:, None]
    both = sums[:, places[:, None], ends[None, :]]
    before = sums[:, places, places][:, :, None]
    across = both - before
    behind = sums[:, ends, ends][:, None, :] - 2 * both + before
    enough = np.maximum(right, SHORTEST)
    energy = 2 * across / (left * enough) - before / (left * (left - 1)) - behind / (enough * (enough - 1))
    found: Values = np.where(right < SHORTEST, -np.inf, energy * left * enough / (left + enough))
    return found
