"""What a run says of its own instruments: pairs of a known ratio, and planted quantities recovered."""

from __future__ import annotations

from guestbench.model.base import Frozen
from guestbench.model.summary import Interval


class Told(Frozen):
    """The difference, as a share (0.02: a ratio of 1.02), that so many blocks show in nine runs of ten."""

    blocks: int
    effect: float


class KnownRatio(Frozen):
    """A system measured twice in each block, in `metric` with `labels`, where the true ratio is `expected`.

    It is 1 where it is the same thing twice. `n` blocks have both values. `ratio` is the second over the
    first, of geometric means; `interval` is missing where there are too few values for one. `sd` is that of a
    block's logarithm of the ratio. `told` is what such values tell apart: in as many blocks as there
    are, and in other numbers of them. It is empty, and `sd` missing, of fewer than three blocks.
    """

    system: str
    metric: str
    labels: dict[str, str]
    expected: float
    n: int
    ratio: float | None = None
    interval: Interval | None = None
    sd: float | None = None
    told: tuple[Told, ...] = ()

    @property
    def is_same(self) -> bool:
        """Whether it is the same thing twice."""
        return self.expected == 1

    @property
    def holds(self) -> bool:
        """Whether the interval has the true ratio in it; true where there is no interval."""
        return self.interval is None or self.interval.low <= self.expected <= self.interval.high


class Recovery(Frozen):
    """How a system's values of `metric` followed a quantity that was planted, both in the metric's unit.

    `slope` is that of the least-squares line through `n` values in `blocks` blocks, each of which may lie
    higher or lower as a whole; `residual_sd` is of single values around that line.
    """

    system: str
    metric: str
    n: int
    blocks: int
    slope: float
    interval: Interval | None
    residual_sd: float | None
