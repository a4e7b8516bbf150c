"""The rule by which a run stops, as users write it."""

from __future__ import annotations

import pytest

from guestbench.analysis.compare import LEAST_EFFECT
from guestbench.definition import until
from guestbench.errors import UsageError
from guestbench.model import Goal


def test_a_width_is_looked_at_by_a_factor_of_the_root_of_two() -> None:
    """A run would look so often that the interval no longer covers what it says."""
    rule = until.parse_until("ci=2.5%")
    assert (rule.goal, rule.width) == (Goal.CI, 0.025)
    assert rule.looks == (10, 14, 20, 28, 40, 56, 80, 112, 160)


def test_a_verdict_is_looked_for_five_times() -> None:
    """A level that is for five looks would be used for another number of them."""
    rule = until.parse_until("verdict")
    assert (rule.goal, rule.looks, rule.alpha) == (Goal.VERDICT, (10, 20, 40, 80, 160), 0.0158)
    assert rule.effect == LEAST_EFFECT


@pytest.mark.parametrize(
    "text", ["", "ci", "ci=3", "ci=0%", "ci=100%", "ci=-3%", "ci=nan%", "Verdict", "ci=3%\x1b"]
)
def test_what_is_no_rule_is_refused(text: str) -> None:
    """A mistyped rule would make a run of another length, or none that ends."""
    with pytest.raises(UsageError, match="--until") as caught:
        until.parse_until(text)
    assert "\x1b" not in caught.value.message
    assert until.parse_until(caught.value.hint.split()[-1])


@pytest.mark.parametrize(("text", "most", "looks"), [("ci=3%", 12, (10, 12)), ("verdict", 40, (10, 20, 40))])
def test_the_last_block_is_looked_at(text: str, most: int, looks: tuple[int, ...]) -> None:
    """A run would end at its cap without anybody having asked whether it has reached its goal."""
    rule = until.limit(until.parse_until(text), most)
    assert (rule.looks, rule.most) == (looks, most)


@pytest.mark.parametrize(("text", "most"), [("ci=3%", 9), ("verdict", 9), ("verdict", 161)])
def test_a_cap_without_a_valid_look_is_refused(text: str, most: int) -> None:
    """A run would stop at a width that is narrow by chance, or look more often than its level allows."""
    with pytest.raises(UsageError, match="--cycles"):
        until.limit(until.parse_until(text), most)
