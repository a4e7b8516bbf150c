"""Intervals and tests of two samples: against textbook values, by counting out, and by simulation."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import verdicts
from hypothesis import given
from hypothesis import strategies as st

from guestbench.analysis import inference

FINITE = st.floats(min_value=-1e3, max_value=1e3, allow_nan=False)


def test_interval_within_pairs_is_students() -> None:
    """The interval would be of another distribution than documented.

    Student's sleep data: mean difference 1.58, 95% interval 0.70 to 2.46 (R's documentation of t.test).
    """
    differences = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    found = inference.pair_interval(differences)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)


def test_interval_of_two_samples_is_welchs() -> None:
    """Samples of unequal spread would be compared as if it were one.

    The sleep data as independent samples: Welch's 95% interval -3.3654832 to 0.2054832, df 17.776.
    """
    a = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
    b = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
    found = inference.welch_interval(a, b)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((-3.3654832, 0.2054832), abs=1e-6)


def test_too_few_values_have_no_interval() -> None:
    """One value would be given a certainty that it does not have."""
    assert inference.pair_interval([1.0]) is None
    assert inference.welch_interval([1.0], [2.0, 3.0]) is None
    assert inference.bootstrap_interval([1.0] * 19, [2.0] * 19, paired=True) is None


@given(st.lists(FINITE, min_size=1, max_size=8))
def test_paired_test_counts_all_signs(differences: list[float]) -> None:
    """The p of small samples, where it matters most, would be an approximation."""
    observed = abs(math.fsum(differences))
    slack = 1e-9 * sum(map(abs, differences))
    sums = [
        abs(math.fsum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(differences))
    ]
    expected = sum(value >= observed - slack for value in sums) / len(sums)
    assert inference.paired_permutation_p(differences) == pytest.approx(expected, abs=2 / len(sums))
    assert inference.paired_permutation_p(differences) > 0


def test_tests_of_clear_cases_have_the_least_p_there_is() -> None:
    """A difference as clear as can be would not be called significant, or p be said to be 0."""
    assert inference.paired_permutation_p([1.0 + n / 10 for n in range(10)]) == 2 / 2**10
    assert inference.least_p(10, 10, paired=True) == 2 / 2**10
    assert inference.permutation_p([1, 2, 3, 4], [11, 12, 13, 14]) == pytest.approx(2 / 70)
    assert inference.least_p(4, 4, paired=False) == 2 / 70
    assert 0 < inference.paired_permutation_p([1.0] * 40) < 1e-4
    assert 0 < inference.permutation_p(range(40), range(100, 140)) < 1e-4
    assert inference.paired_permutation_p([0.0, 0.0]) == 1.0


def test_cliffs_delta_counts_pairs() -> None:
    """The size of an effect would not be what its definition says."""
    assert inference.cliffs_delta([1, 2, 3], [4, 5]) == -1
    assert inference.cliffs_delta([1, 2], [1, 2]) == 0
    assert inference.cliffs_delta([2, 5], [1, 5]) == 1 / 4


def test_holm_adjusts_in_steps() -> None:
    """Of many metrics one would be found different by chance alone."""
    assert inference.adjust_holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert inference.adjust_holm([0.5, 0.9]) == pytest.approx((1.0, 1.0))
    assert inference.adjust_holm([]) == ()


def test_bootstrap_is_the_same_each_time_and_near_students() -> None:
    """A report made twice would differ, or its two intervals contradict each other."""
    random = np.random.default_rng(1)
    a, b = random.normal(1.0, 0.1, 25), random.normal(0.9, 0.1, 25)
    found = inference.bootstrap_interval(list(a), list(b), paired=False)
    assert found is not None and found == inference.bootstrap_interval(list(a), list(b), paired=False)
    welch = inference.welch_interval(list(a), list(b))
    assert welch is not None
    assert (found.low, found.high) == pytest.approx((welch.low, welch.high), abs=0.02)


def test_values_needed_grow_with_scatter() -> None:
    """The advice how many cycles would do would be wrong by an order."""
    few, many = (inference.needed_values(sd, 0.03) for sd in (0.05, 0.2))
    # By the normal distribution, (1.96 + 1.28)² · (0.05 / 0.03)² is 29.
    assert 29 <= few <= 33 and 465 <= many <= 475
    assert inference.needed_values(0.0, 0.03) == 2
    assert inference.needed_values(1e9, 0.03) == inference.MOST_VALUES


@pytest.mark.parametrize("drift", [0.0, 0.1])
def test_equal_systems_are_seldom_called_different(drift: float) -> None:
    """A commit that changed nothing would be blamed, above all on a host that slows down."""
    rates = verdicts.simulate(2000, drift=drift)
    assert rates.apart <= 0.05
    assert 0.93 <= rates.covered <= 0.97


def test_a_tenth_is_found() -> None:
    """A commit that made boot a tenth slower would pass."""
    rates = verdicts.simulate(1000, ratio=1.1)
    assert rates.apart >= 0.95
    assert 0.93 <= rates.covered <= 0.97
    assert verdicts.simulate(1000, ratio=1.1, drift=0.1).apart >= 0.95


def test_equal_systems_of_little_scatter_are_called_equivalent() -> None:
    """Nobody could ever be told that two systems are as good as equal."""
    assert verdicts.simulate(300, cv=0.01).equivalent > 0.95


@pytest.mark.parametrize("sd", [0.03, 0.05])
def test_as_many_values_as_are_said_to_be_needed_decide(sd: float) -> None:
    """Whoever measures the blocks that the report asks for would be told again that it cannot tell."""
    effect = math.log1p(0.03)
    n = inference.needed_values(sd, effect)
    random, decided = np.random.default_rng(2), 0
    for _ in range(500):
        ends = inference.pair_interval(list(random.normal(0.0, sd, n)))
        decided += ends is not None and -effect < ends.low and ends.high < effect
    assert 0.74 <= decided / 500 <= 0.88


def test_a_few_values_are_not_called_different_from_many() -> None:
    """Three boots beside two hundred would be judged as if both were many."""
    random, false = np.random.default_rng(4), 0
    for _ in range(150):
        a, b = random.lognormal(0, 0.3, 3), random.lognormal(0, 0.3, 200)
        false += inference.permutation_p(list(np.log(a)), list(np.log(b))) <= 0.01
    assert false <= 6
    assert inference.least_p(3, 200, paired=False) == pytest.approx(2 / math.comb(203, 3))


def test_numbers_beyond_all_bounds_end_in_open_intervals() -> None:
    """A value that a guest made up, or a confidence near 1, would end the command in a traceback."""
    huge = [1e308, 1.5e308]
    assert inference.mean(huge) == pytest.approx(1.25e308)
    assert inference.exp(1e9) == math.inf and inference.exp(-1e9) == 0
    for ends in (
        inference.welch_interval(huge, [1.0, -1e308]),
        inference.pair_interval([1e308, -1e308]),
        inference.pair_interval([0.1, 0.2], 1 - 1e-16),
    ):
        assert ends is not None and ends.low == -math.inf and ends.high == math.inf
