"""What is flagged in a series of repetitions: what is wrong with it, and next to nothing where nothing is."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from guestbench.analysis.stability import find_concerns

STEADY = [1.00, 1.03, 0.98, 1.01, 1.02, 0.97, 1.04, 0.99, 1.00, 1.01]


def kinds(values: list[float]) -> set[str]:
    """The kinds of concern about these values."""
    return set(find_concerns(values))


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        (
            [v + n / 50 for n, v in enumerate(STEADY)],
            "drift",
            "above the first; let the host come to rest",
        ),
        ([v - n / 50 for n, v in enumerate(STEADY)], "drift", "below the first"),
        (
            [1, 1.1, 1.2, 1.3, 1.2, 1.1, 1, 0.9, 0.8, 0.7, 0.8, 0.9] * 2,
            "serial correlation",
            "like the one before",
        ),
        ([v + (0.3 if n % 3 == 0 else 0) for n, v in enumerate(STEADY)], "two modes", "6 values below"),
        ([2.0, *STEADY], "first run", "the first value lies far from the others; raise --warmups"),
        ([*STEADY, 2.0, *STEADY, 3.0], "outliers", "values 11, 22; kept"),
    ],
)
def test_a_doubtful_series_is_flagged(values: list[float], kind: str, words: str) -> None:
    """A figure that means nothing would be read as one that does."""
    found = find_concerns(values)
    assert kind in found
    assert words in found[kind]


def test_a_steady_series_is_not() -> None:
    """Every table would come with a warning, and none be read."""
    assert kinds(STEADY) == set()
    assert kinds([*STEADY[:8], 9.0]) == set()
    assert kinds([1.0] * 20) == set() and kinds([]) == set() and kinds([0.0] * 9) == set()
    # A sixth of a percent: whatever its pattern, nobody decides by it.
    assert kinds([1 + n / 6000 for n in range(10)]) == set()


@pytest.mark.parametrize("n", [10, 20, 30])
def test_chance_is_seldom_flagged(n: int) -> None:
    """A sound run would be called doubtful again and again."""
    random = np.random.default_rng(7)
    found: Counter[str] = Counter()
    for _ in range(1000):
        values = random.lognormal(0.0, 0.05, n)
        found.update(kinds([float(value) for value in values]))
    assert max(found.values(), default=0) <= 50, found


def correlated(n: int, correlation: float, sets: int) -> list[list[float]]:
    """Seeded series about 1 of which each value is so much like the one before it."""
    random = np.random.default_rng(5)
    noise = random.normal(0.0, 0.05, (sets, n + 50))
    for place in range(1, n + 50):
        noise[:, place] += correlation * noise[:, place - 1]
    return [[float(value) for value in row] for row in 1 + noise[:, 50:]]


@pytest.mark.parametrize("n", [10, 14, 40])
def test_serial_correlation_is_found_at_its_level(n: int) -> None:
    """A warning at one in a hundred that never comes says that all is well where nothing was looked at."""
    sets = 2000
    chance = sum("serial correlation" in kinds(each) for each in correlated(n, 0.0, sets)) / sets
    assert 0.004 <= chance <= 0.02


@pytest.mark.parametrize(("n", "least"), [(10, 0.08), (20, 0.5), (40, 0.95)])
def test_serial_correlation_is_found_where_it_is(n: int, least: float) -> None:
    """A host whose load comes and goes in minutes would make every interval too narrow without a word."""
    found = sum("serial correlation" in kinds(each) for each in correlated(n, 0.7, 300)) / 300
    assert found >= least
