"""Claims about one system: what decides them, and what they do not conclude from."""

from __future__ import annotations

import pytest
from diff_factories import judge_boots
from verdicts_between_runs import rate_claims

from guestbench.model import Claim, Ruling


@pytest.mark.parametrize(
    ("values", "failed", "ruling", "reason"),
    [
        ([1, 1, 1, 9, 9, 9], 0, Ruling.UNDECIDED, "the interval reaches beyond what was claimed"),
        ([1.0] * 6, 0, Ruling.CONFIRMED, ""),
        ([1.0] * 5, 0, Ruling.UNDECIDED, "5 values: from 6 on the median has an interval"),
        ([1.0] * 18, 2, Ruling.CONFIRMED, ""),
        ([1.0] * 8, 2, Ruling.UNDECIDED, "uk: 2 of 10 failed (6% to 51%), and the others say nothing "
         "of those"),
        ([], 4, Ruling.UNDECIDED, "uk has no value: all 4 trials failed"),
    ],
)  # fmt: skip
def test_a_claim_about_one_system_is_decided_by_its_interval(
    values: list[float], failed: int, ruling: Ruling, reason: str
) -> None:
    """A claim would be confirmed by the middle of a few values, or by the two boots that did not crash."""
    claim = Claim(text="fast", metric="boot.ready", system="uk", most=5)
    found = judge_boots(claim, [*values, *([0.0] * failed)])
    assert (found.ruling, found.reason) == (ruling, reason)


@pytest.mark.parametrize("boots", [1, 10])
def test_a_claim_that_is_a_little_off_is_seldom_confirmed(boots: int) -> None:
    """A system that is 1% slower than claimed would be confirmed in every fifth run."""
    assert rate_claims(200, boots) <= 0.05
