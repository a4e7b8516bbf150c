"""What a comparison of two samples says; no type here knows how a figure was computed."""

from __future__ import annotations

from enum import StrEnum

from guestbench.model.base import Frozen
from guestbench.model.experiment import Claim, Step
from guestbench.model.summary import Interval


class Verdict(StrEnum):
    """What the data say of a metric of one system against another; always of the first of the two.

    `PENDING` is of a run that is not whole, and says nothing yet.
    """

    SMALLER = "smaller"
    LARGER = "larger"
    EQUIVALENT = "equivalent"
    INCONCLUSIVE = "inconclusive"
    PENDING = "not yet"


class Method(StrEnum):
    """How two samples were compared."""

    BLOCKS = "blocks"
    """Value by value within the blocks that have both."""
    SAMPLES = "samples"
    """As two independent samples."""
    RUNS = "runs"
    """As two runs, each of which may be off as a whole."""
    EXACT = "exact"
    """As figures that do not scatter, such as sizes of files."""
    SEARCH = "search"
    """As results of a search, which lie between what was tried and failed and what was tried and passed."""
    NONE = "none"
    """Not at all: a value is missing, or not positive."""


class Comparison(Frozen):
    """One metric of `system` against `baseline`, of those trials that succeeded; failures are counted.

    `pairs` is in how many blocks both have a value, where these were compared. `ratio` is of geometric means,
    system over baseline, or of the figures themselves where these do not scatter; `ratio_median` is of the
    medians. `difference` is of the means, in the metric's unit. `ratio_bca` is a bootstrap interval beside
    `ratio_ci`; of results of a search `ratio_ci` is what the sizes tried leave open. `p` is two-sided, of a
    permutation test; `p_holm` the same adjusted for all comparisons of the report; `delta` is Cliff's: how
    much more often a value of the system exceeds one of the baseline than the other way round. `ratio_floor`
    is the ratio of two runs with what the null guest changed by taken out; then `ratio_ci` spans the
    intervals of both. `reason` says why a verdict is not more than it is; `needed` in how many blocks two
    that are alike would be found to be.
    """

    metric: str
    labels: dict[str, str]
    system: str
    baseline: str
    n: int
    n_baseline: int
    failed: int
    failed_baseline: int
    method: Method
    verdict: Verdict
    pairs: int | None = None
    ratio: float | None = None
    ratio_median: float | None = None
    ratio_ci: Interval | None = None
    ratio_bca: Interval | None = None
    ratio_floor: float | None = None
    difference: float | None = None
    difference_ci: Interval | None = None
    p: float | None = None
    p_holm: float | None = None
    delta: float | None = None
    reason: str = ""
    needed: int | None = None


class Gain(Frozen):
    """What a step of the experiment brings in one figure: the system after it against the one before."""

    step: Step
    found: Comparison


class Ruling(StrEnum):
    """What became of a claim; `PENDING` is of a run that has not all of its figure."""

    CONFIRMED = "confirmed"
    REFUTED = "refuted"
    UNDECIDED = "undecided"
    PENDING = "not yet"


class Judgement(Frozen):
    """A claim held against what was found of one system.

    `value` is in the claim's terms: a ratio, or a figure in the metric's unit; `interval` is what decided,
    and missing where figures do not scatter. `reason` says why nothing is decided.
    """

    claim: Claim
    system: str
    ruling: Ruling
    value: float | None = None
    interval: Interval | None = None
    reason: str = ""


class Beside(Frozen):
    """What stands beside the comparison of `metric` of `system` with `baseline`, to hold like to like.

    `what` says in words what the two do not share, `found` compares them without it; None where the run has
    not what that takes.
    """

    metric: str
    system: str
    baseline: str
    what: str
    found: Comparison | None = None
