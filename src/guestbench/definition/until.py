"""Reads `--until`: the rule by which a run stops, and the looks that it takes."""

from __future__ import annotations

import re

import msgspec

from guestbench.errors import UsageError
from guestbench.model import Goal, StopRule
from guestbench.text import visible

MOST_BLOCKS = 160
"""The cap, unless the user names another: four doublings of the first look."""
FEWEST = 10
"""Blocks before the first look: an interval of fewer may be narrow by chance."""
LOOKS = {
    Goal.CI: tuple(sorted(start << times for start in (10, 14) for times in range(14))),
    Goal.VERDICT: (10, 20, 40, 80, 160),
}
"""Ten blocks, and then by a factor of about the square root of 2, or as often doubled as POCOCK allows."""
ALPHA = 0.05
POCOCK = 0.0158
"""The two-sided level of each of five looks, which leaves 5% for all of them if they are equally far apart.

S. J. Pocock: Group sequential methods in the design and analysis of clinical trials, Biometrika 64 (1977).
Looks that double have less in common: they leave 6.3% (simulated, see `analysis.stopping.CHANCE`). Of fewer
looks, which a lower cap makes, it is less.
"""
LEAST_EFFECT = 0.03
_CI = re.compile(r"ci=(\d+(?:\.\d+)?)%")
_HINT = "guestbench run --until ci=3%"


def parse_until(text: str) -> StopRule:
    """The rule that `ci=3%` or `verdict` asks for, without a cap of the user's.

    Raises:
        UsageError: it is neither.
    """
    if text == Goal.VERDICT:
        return StopRule(
            goal=Goal.VERDICT,
            looks=LOOKS[Goal.VERDICT],
            most=MOST_BLOCKS,
            alpha=POCOCK,
            effect=LEAST_EFFECT,
        )
    found = _CI.fullmatch(text)
    width = float(found[1]) / 100 if found else 0.0
    if not 0 < width < 1:
        raise UsageError(f"--until {visible(text)!r} is neither ci=PERCENT% nor verdict", _HINT)
    looks = tuple(n for n in LOOKS[Goal.CI] if n <= MOST_BLOCKS)
    return StopRule(goal=Goal.CI, looks=looks, most=MOST_BLOCKS, alpha=ALPHA, width=width)


def show_until(rule: StopRule) -> tuple[str, ...]:
    """The options of `guestbench run` that ask for a rule and its cap."""
    goal = f"ci={rule.width * 100:.12g}%" if rule.goal is Goal.CI else str(rule.goal)
    return "--until", goal, "--cycles", str(rule.most)


def limit(rule: StopRule, most: int) -> StopRule:
    """The rule with another cap, at which it looks as well: five looks for a verdict are then no more.

    Raises:
        UsageError: that is before the first look, or beyond what five looks may be.
    """
    cap = f"--cycles is the most blocks that --until may take, and {most}"
    if most < FEWEST:
        raise UsageError(f"{cap} is before its first look at {FEWEST}", f"{_HINT} --cycles {MOST_BLOCKS}")
    if rule.goal is Goal.VERDICT and most > MOST_BLOCKS:
        raise UsageError(
            f"{cap} is beyond the last look for a verdict at {MOST_BLOCKS}",
            f"guestbench run --until verdict --cycles {MOST_BLOCKS}",
        )
    looks = (*(n for n in LOOKS[rule.goal] if n < most), most)
    return msgspec.structs.replace(rule, looks=looks, most=most)
