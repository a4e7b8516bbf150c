"""What analysis makes of records; no type here knows how a figure was computed."""

from __future__ import annotations

from collections.abc import Callable

from guestbench.model.base import Frozen


class Interval(Frozen):
    """A closed interval and the probability with which its method covers the true value."""

    low: float
    high: float
    confidence: float

    def through(self, function: Callable[[float], float]) -> Interval:
        """The interval of what a function, which only rises, makes of the value."""
        return Interval(low=function(self.low), high=function(self.high), confidence=self.confidence)


class Summary(Frozen):
    """One system's values of one metric: `n` successes, `failed` trials, every value kept in trial order.

    `sd` is the sample standard deviation (n - 1), and is missing below two values, as the quartiles are;
    `median_ci` is missing where n is too small for the confidence asked for.
    """

    system: str
    metric: str
    labels: dict[str, str]
    n: int
    failed: int
    values: tuple[float, ...]
    mean: float | None
    sd: float | None
    median: float | None
    minimum: float | None
    maximum: float | None
    median_ci: Interval | None
    lower_quartile: float | None = None
    upper_quartile: float | None = None
    warnings: tuple[str, ...] = ()
