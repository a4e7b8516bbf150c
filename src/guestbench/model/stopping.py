"""When a run of blocks is enough: the rule, which is fixed before the first block, and the looks it took."""

from __future__ import annotations

from enum import StrEnum

from guestbench.model.base import Frozen
from guestbench.model.summary import Interval


class Goal(StrEnum):
    """What a run is to reach."""

    CI = "ci"
    """Intervals that are narrow enough, whatever they say."""
    VERDICT = "verdict"
    """A verdict on every system."""


class StopRule(Frozen):
    """Blocks are made until a look at one of the numbers of `looks` finds the goal reached, `most` at most.

    `width` is how far an interval may reach from its ratio, 0.03 for 3%, where the goal is that; `effect` the
    least difference that matters, where it is a verdict. Intervals of a look hold with 1 - `alpha`.
    """

    goal: Goal
    looks: tuple[int, ...]
    most: int
    alpha: float
    width: float = 0.0
    effect: float = 0.0


class Look(Frozen):
    """What was seen after `blocks` whole blocks of a system's ratio to the baseline in a metric.

    `pairs` is of how many blocks both have a value. `p` is of a permutation test, made only where the
    interval does not decide without it. `reached` says whether that is enough of this system.
    """

    blocks: int
    metric: str
    system: str
    pairs: int
    ratio: float
    interval: Interval | None
    p: float | None
    reached: bool


class Looks(Frozen):
    """The looks that were taken, and after how many blocks the last one ended the run; None if none did."""

    taken: tuple[Look, ...] = ()
    end: int | None = None
