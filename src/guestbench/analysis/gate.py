"""Gates: the changes that a user will not have, read from the command line, and held against what was found.

A gate is written

    [SYSTEM:]METRIC[{LABEL=VALUE,…}]>PERCENT%      it fails if NEW is that much above OLD
    [SYSTEM:]METRIC[{LABEL=VALUE,…}]<-PERCENT%     it fails if NEW is that much below OLD

Without a system it is about all but the floors. Labels that are not named may have any value; where none is
named, the value without labels is meant, if there is one.

A gate fails if three things hold. The estimate lies beyond its bound. The interval of the ratio leaves out
"no change" on that side, at a confidence raised for the number of decisions that the gates ask for: where
nothing changed, some gate of a diff fails in at most one case of twenty. And the permutation test, where
there are values enough for it to reject anything, agrees. That the whole interval lies beyond the bound is
not asked for: that would let a rise of 10% with an interval of 4% to 16% pass a gate of 5%.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

from guestbench.analysis.compare import ALPHA, Pair, can_reject, replace
from guestbench.errors import UsageError
from guestbench.model import Comparison, Frozen, Interval, Method

_GATE = re.compile(
    r"""\s*(?:(?P<system>[^\s:{}<>]+)\s*:\s*)?
    (?P<metric>[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+)\s*
    (?:\{(?P<labels>[^{}]*)\}\s*)?
    (?P<sign>[<>])\s*(?P<percent>[+-]?\d+(?:\.\d+)?)\s*%\s*""",
    re.VERBOSE,
)


class Lost(Frozen):
    """What one run has and the other has not: a system (without a metric), or a metric of a system."""

    only_in: str
    system: str
    metric: str = ""
    labels: dict[str, str] = {}
    reason: str = ""


class Gate(Frozen):
    """A bound on the change of a metric: `bound` is NEW / OLD - 1, above which (or below) it must not be.

    `plain` is whether only the value without labels is meant.
    """

    text: str
    system: str
    metric: str
    labels: dict[str, str]
    above: bool
    bound: float
    plain: bool = False

    def is_about(self, system: str, metric: str, labels: Mapping[str, str], *, floor: bool = False) -> bool:
        """Whether the gate judges this metric with these labels of this system."""
        wanted = system == self.system if self.system else not floor
        if not wanted or metric != self.metric or (self.plain and labels):
            return False
        return self.labels.items() <= labels.items()

    def is_lost_with(self, lost: Lost) -> bool:
        """Whether it judges what only one of the runs has."""
        whole = not lost.metric and self.system == lost.system
        return whole or self.is_about(lost.system, lost.metric, lost.labels)

    def is_passed_by(self, ratio: float) -> bool:
        """Whether a ratio NEW / OLD keeps within the bound."""
        # Times 100, so that 1.05 of a file of 100 bytes is 5% and not more by the last bit.
        change, bound = round((ratio - 1) * 100, 9), round(self.bound * 100, 9)
        return change <= bound if self.above else change >= bound


class GateState(StrEnum):
    """What the data say of a gate."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


class Decision(Frozen):
    """A gate held against one metric of one system; `interval` is the one that decided, if there was one."""

    gate: str
    system: str
    metric: str
    labels: dict[str, str]
    state: GateState
    ratio: float | None = None
    interval: Interval | None = None
    reason: str = ""


def parse_gate(text: str) -> Gate:
    """Read a gate.

    Raises:
        UsageError: it is not of the form above, or its sign and its percentage contradict each other.
    """
    found = _GATE.fullmatch(text)
    if found is None:
        raise _refuse(text, " is not of the form METRIC>5% or METRIC<-5%, as in 'boot.ready>5%'")
    percent, above = float(found["percent"]), found["sign"] == ">"
    if above and percent < 0:
        raise _refuse(text, ": after '>' a rise is needed, as in '>5%'")
    if not above and (percent > 0 or percent <= -100):
        raise _refuse(text, ": after '<' a fall of less than 100% is needed, as in '<-5%'")
    labels: dict[str, str] = {}
    for pair in filter(str.strip, (found["labels"] or "").split(",")):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not (name and equals) or name in labels:
            raise _refuse(text, f": {pair.strip()!r} is not a label of the form NAME=VALUE")
        labels[name] = value
    return Gate(
        text=text,
        system=found["system"] or "",
        metric=found["metric"],
        labels=labels,
        above=above,
        bound=percent / 100,
    )


def _refuse(text: str, why: str) -> UsageError:
    return UsageError(f"--fail-on {text!r}{why}", "guestbench diff --help")


# --- held against what was found --------------------------------------------------------------------------


def judge_gates(
    gates: Sequence[Gate], pairs: Sequence[Pair], lost: Sequence[Lost], floors: Collection[str]
) -> tuple[Decision, ...]:
    """Every gate held against every metric of every system that it is about."""
    judged = [
        (gate, pair)
        for gate in gates
        for pair in pairs
        for found in (pair.found,)
        if gate.is_about(found.system, found.metric, found.labels, floor=found.system in floors)
    ]
    scattering = sum(pair.found.ratio_ci is not None for _, pair in judged)
    confidence = 1 - ALPHA / max(scattering, 1)
    tests = sum(pair.found.p_holm is not None for pair in pairs)
    return (
        *(_judge(gate, pair.found, pair.interval(confidence), tests) for gate, pair in judged),
        *(_judge_lost(gate, each) for gate in gates for each in lost if gate.is_lost_with(each)),
    )


def _judge(gate: Gate, each: Comparison, interval: Interval | None, tests: int) -> Decision:
    decision = Decision(
        gate=gate.text,
        system=each.system,
        metric=each.metric,
        labels=each.labels,
        state=GateState.INCONCLUSIVE,
        ratio=each.ratio,
        interval=interval,
        reason=each.reason,
    )
    if each.ratio is None:
        gone = not each.n and each.failed and each.n_baseline
        return replace(decision, state=GateState.FAILED) if gone else decision
    within = gate.is_passed_by(each.ratio)
    if each.method is Method.EXACT:
        state = GateState.PASSED if within else GateState.FAILED
        return replace(decision, state=state, reason="")
    if interval is None:
        return decision
    far, near = (interval.high, interval.low) if gate.above else (interval.low, interval.high)
    if gate.is_passed_by(far):
        return replace(decision, state=GateState.PASSED, reason="")
    if within:
        return replace(decision, reason="the interval reaches beyond the bound")
    if not (near > 1 if gate.above else near < 1):
        return replace(decision, reason="beyond the bound, but the interval holds no change")
    if each.p_holm is not None and can_reject(each, tests) and each.p_holm > ALPHA:
        reason = "beyond the bound, but the permutation test does not bear it out"
        return replace(decision, reason=reason)
    return replace(decision, state=GateState.FAILED, reason="")


def _judge_lost(gate: Gate, lost: Lost) -> Decision:
    """Nothing is decided where one run has no value; a guest that can no longer do it has failed."""
    fails = lost.only_in == "old" and lost.reason.startswith("all ")
    missing = "NEW" if lost.only_in == "old" else "OLD"
    what = "value" if lost.metric else "such system"
    return Decision(
        gate=gate.text,
        system=lost.system,
        metric=gate.metric,
        labels=lost.labels,
        state=GateState.FAILED if fails else GateState.INCONCLUSIVE,
        reason=f"{missing} has no {what}" + (f": {lost.reason}" if lost.reason else ""),
    )
