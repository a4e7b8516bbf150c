"""Gates: what a user will not have of a new version, read from the command line and held against the figures.

A gate is written

    [SYSTEM:]METRIC[{LABEL=VALUE,…}]>PERCENT%      it fails if NEW is that much above OLD
    [SYSTEM:]METRIC[{LABEL=VALUE,…}]<-PERCENT%     it fails if NEW is that much below OLD
    [SYSTEM:]METRIC[{LABEL=VALUE,…}]>VALUE[UNIT]   it fails if NEW itself is above; with `<` if it is below
    [SYSTEM:]failures[{purpose=PURPOSE}]           it fails if more trials of NEW failed than of OLD

Without a system it is about all but the floors. Labels that are not named may have any value; where none is
named, the value without labels is meant, if there is one.

A gate on a change fails if three things hold. The estimate lies beyond its bound, also with the change of the
null guest taken out where that is known. The interval of the ratio leaves out "no change" on that side, at a
confidence raised for the number of decisions that the gates ask for: where nothing changed, some gate fails
in at most one case of twenty. And the permutation test, where there are values enough for it to reject
anything, agrees. That the whole interval lies beyond the bound is not asked for: that would let a rise of 10%
with an interval of 4% to 16% pass a gate of 5%.

A gate on a value fails if the whole interval of NEW's median lies beyond the bound. Figures that do not
scatter are held against a bound as they are.

Whatever a gate is about, it fails where more trials of NEW failed than chance explains, by Fisher's exact
test: the boots that got ready say nothing of those that did not. Failures are adjusted for as many systems as
have any, for the test of a system without could not reject [Tarone, see `failures`].
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from statistics import median

from guestbench.analysis.compare import ALPHA, Pair, can_reject, replace
from guestbench.analysis.failures import FailedShare, more_failed_p, tell_failures, worst_rank_p
from guestbench.analysis.summary import find_metric, median_interval
from guestbench.errors import UsageError
from guestbench.model import Comparison, Frozen, Header, Interval, Key, Method, Verdict

FAILURES = "failures"
"""What a gate names instead of a metric that is about how many trials fail."""
MULTIPLES = {
    "us": ("s", 1e-6),
    "ms": ("s", 1e-3),
    "kB": ("bytes", 1e3),
    "MB": ("bytes", 1e6),
    "GB": ("bytes", 1e9),
    "MiB": ("KiB", 1024.0),
    "GiB": ("KiB", 1024.0**2),
}
"""Units that a value may be given in: the metric's unit for which each stands, and how many of it."""
_GATE = re.compile(
    r"""\s*(?:(?P<system>[^\s:{}<>]+)\s*:\s*)?
    (?P<metric>failures|[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)+)\s*
    (?:\{(?P<labels>[^{}]*)\}\s*)?
    (?:(?P<sign>[<>])\s*(?P<number>[+-]?\d+(?:\.\d+)?)\s*(?P<unit>%|[A-Za-z][A-Za-z/ -]*)?\s*)?""",
    re.VERBOSE,
)


class Lost(Frozen):
    """What one run has and the other has not: a system (without a metric), or a metric of a system."""

    only_in: str
    system: str
    metric: str = ""
    labels: dict[str, str] = {}
    reason: str = ""


class GateKind(StrEnum):
    """What a gate has a bound on."""

    CHANGE = "change"
    VALUE = "value"
    FAILURES = "failures"


class Gate(Frozen):
    """A bound on the change of a metric, `bound` being NEW / OLD - 1, or on its value, in its unit.

    `above` is whether it must not be above the bound, else it must not be below. `plain` is whether only the
    value without labels is meant; `exact` whether the figure does not scatter. Both are as `fit_gate` finds.
    """

    text: str
    system: str
    metric: str
    labels: dict[str, str]
    kind: GateKind = GateKind.CHANGE
    above: bool = True
    bound: float = 0.0
    unit: str = ""
    plain: bool = False
    exact: bool = False

    def is_about(self, system: str, metric: str, labels: Mapping[str, str], *, floor: bool = False) -> bool:
        """Whether the gate judges this metric with these labels of this system."""
        wanted = system == self.system if self.system else not floor
        if not wanted or metric != self.metric or (self.plain and labels):
            return False
        return self.labels.items() <= labels.items()

    def is_lost_with(self, lost: Lost, *, floor: bool = False) -> bool:
        """Whether it judges what only one of the runs has; a value of NEW's alone is none that is lost."""
        if self.kind is GateKind.VALUE and lost.only_in == "new":
            return False
        whole = not lost.metric and self.system == lost.system
        return whole or self.is_about(lost.system, lost.metric, lost.labels, floor=floor)

    def is_passed_by(self, found: float) -> bool:
        """Whether a ratio NEW / OLD, or a value, keeps within the bound."""
        if self.kind is GateKind.VALUE:
            return found <= self.bound if self.above else found >= self.bound
        # Times 100, so that 1.05 of a file of 100 bytes is 5% and not more by the last bit.
        change, bound = round((found - 1) * 100, 9), round(self.bound * 100, 9)
        return change <= bound if self.above else change >= bound


class GateState(StrEnum):
    """What the data say of a gate."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


class Decision(Frozen):
    """A gate held against one metric of one system; `interval` is the one that decided, if there was one.

    `ratio` is NEW over OLD; a gate on a value has NEW's `value` in its place, in `unit`, as its interval is.
    """

    gate: str
    system: str
    metric: str
    labels: dict[str, str]
    state: GateState
    ratio: float | None = None
    value: float | None = None
    unit: str = ""
    interval: Interval | None = None
    reason: str = ""


def parse_gate(text: str) -> Gate:
    """Read a gate.

    Raises:
        UsageError: it is not of the form above, or its sign and its percentage contradict each other.
    """
    found = _GATE.fullmatch(text)
    if found is None or (found["metric"] == FAILURES) == bool(found["sign"]):
        raise _refuse(text, " is not of the form METRIC>5%, METRIC<-5%, METRIC>0 or failures")
    number, above = float(found["number"] or 0), found["sign"] != "<"
    kind = GateKind.CHANGE if found["unit"] == "%" else GateKind.VALUE
    if kind is GateKind.CHANGE and above and number < 0:
        raise _refuse(text, ": after '>' a rise is needed, as in '>5%'")
    if kind is GateKind.CHANGE and not above and (number > 0 or number <= -100):
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
        kind=GateKind.FAILURES if found["metric"] == FAILURES else kind,
        above=above,
        bound=number / 100 if kind is GateKind.CHANGE else number,
        unit=(found["unit"] or "").strip() if kind is GateKind.VALUE else "",
    )


def fit_gate(gate: Gate, header: Header, keys: Collection[Key], facts: Collection[Key] = ()) -> Gate:
    """The gate as it is meant of a run that has these figures, those among them that are facts named again.

    Where it names no labels and there is a value without, it is about that alone. A bound gets to be in the
    metric's unit.

    Raises:
        UsageError: its unit is not one of the metric, or is missing where a percentage may have been meant.
    """
    metric = find_metric(header, gate.metric)
    exact = metric.exact or any(name == gate.metric for name, _ in facts)
    plain = not gate.labels and (gate.metric, ()) in keys
    fitted = replace(gate, plain=plain, exact=exact)
    if gate.kind is not GateKind.VALUE or not any(name == gate.metric for name, _ in keys):
        return fitted
    return replace(fitted, bound=gate.bound * _find_factor(gate, metric.unit), unit=metric.unit)


def _find_factor(gate: Gate, unit: str) -> float:
    """What the bound is to be multiplied by to be in this unit, which is the metric's."""
    if gate.unit == unit:
        return 1.0
    base, factor = MULTIPLES.get(gate.unit, ("", 1.0))
    if base == unit:
        return factor
    mistakable = unit == "s" or unit.endswith("/s") or unit in {base for base, _ in MULTIPLES.values()}
    if not gate.unit and not mistakable:
        return 1.0
    bound = f"{gate.metric}{'>' if gate.above else '<'}{gate.bound:g}"
    either = f"say {bound}{unit} or {bound}%"
    given = f"{gate.unit!r} is none of its units" if gate.unit else either
    raise _refuse(gate.text, f": {gate.metric} is in {unit or 'no unit'}; {given}")


def _refuse(text: str, why: str) -> UsageError:
    return UsageError(f"--fail-on {text!r}{why}", "guestbench diff --help")


# --- held against what was found --------------------------------------------------------------------------


def judge_gates(
    gates: Sequence[Gate],
    pairs: Sequence[Pair],
    lost: Sequence[Lost] = (),
    floors: Collection[str] = (),
    failures: Sequence[FailedShare] = (),
    alpha: float = ALPHA,
) -> tuple[Decision, ...]:
    """Every gate held against every metric of every system that it is about, NEW being `a` of each pair.

    `floors` names the systems that are null guests; `failures` is what gates on failures are held against.
    `alpha` is how often some gate may fail where nothing changed.
    """
    judged = [
        (gate, pair)
        for gate in gates
        for pair in pairs
        for found in (pair.found,)
        if gate.is_about(found.system, found.metric, found.labels, floor=found.system in floors)
    ]
    scattering = sum(
        pair.found.ratio_ci is not None if gate.kind is GateKind.CHANGE else not gate.exact
        for gate, pair in judged
    )
    confidence = 1 - alpha / max(scattering, 1)
    tests = sum(pair.found.p_holm is not None for pair in pairs)
    of_failures = alpha / max(len({pair.found.system for _, pair in judged if pair.a.failed}), 1)
    return (
        *(_judge(gate, pair, confidence, tests, of_failures) for gate, pair in judged),
        *(
            _judge_lost(gate, each)
            for gate in gates
            for each in lost
            if gate.is_lost_with(each, floor=each.system in floors)
        ),
        *(
            decision
            for gate in gates
            if gate.kind is GateKind.FAILURES
            for decision in _judge_failures(gate, failures, floors, alpha)
        ),
    )


def _judge(gate: Gate, pair: Pair, confidence: float, tests: int, alpha: float) -> Decision:
    """What the figures say, unless failures do: `alpha` is of the test of these."""
    p = more_failed_p(pair.a.failed, pair.a.trials, pair.b.failed, pair.b.trials)
    held = _judge_value if gate.kind is GateKind.VALUE else _judge_change
    decision = held(gate, pair, confidence, tests)
    if p <= alpha:
        reason = f"{tell_failures(pair.a)}, of OLD {tell_failures(pair.b)}: Fisher's exact test p = {p:.2g}"
        return replace(decision, state=GateState.FAILED, reason=reason)
    if not pair.a.values and pair.a.failed and pair.b.values:
        return replace(decision, state=GateState.FAILED)
    if decision.state is not GateState.PASSED or not pair.a.failed:
        return decision
    ranks = worst_rank_p(pair.a, pair.b, larger_is_worse=gate.above)
    if min(p, ranks) > ALPHA:
        return decision
    reason = f"{tell_failures(pair.a)}: with those as the worst of all, more than chance"
    return replace(decision, state=GateState.INCONCLUSIVE, reason=reason)


def _judge_change(gate: Gate, pair: Pair, confidence: float, tests: int) -> Decision:
    each, interval = pair.found, pair.interval(confidence)
    decision = replace(_begin(gate, each), ratio=each.ratio, interval=interval)
    if each.ratio is None:
        # A rise from nothing is one by any percentage, and nothing that remains nothing is none.
        wrong = Verdict.LARGER if gate.above else Verdict.SMALLER
        if each.verdict is Verdict.INCONCLUSIVE:
            return decision
        return replace(decision, state=GateState.FAILED if each.verdict is wrong else GateState.PASSED)
    within = any(gate.is_passed_by(one) for one in (each.ratio, each.ratio_floor) if one is not None)
    if each.method is Method.EXACT:
        state = GateState.PASSED if within else GateState.FAILED
        return replace(decision, state=state, reason="")
    if interval is None:
        return decision
    if each.method is Method.SEARCH:
        return _judge_search(gate, decision, each, within)
    far, near = (interval.high, interval.low) if gate.above else (interval.low, interval.high)
    if gate.is_passed_by(far):
        return replace(decision, state=GateState.PASSED, reason="")
    if within:
        return replace(decision, reason=_explain_within(gate, each))
    if not (near > 1 if gate.above else near < 1):
        return replace(decision, reason="beyond the bound, but the interval holds no change")
    if each.p_holm is not None and can_reject(each, tests) and each.p_holm > ALPHA:
        reason = "beyond the bound, but the permutation test does not bear it out"
        return replace(decision, reason=reason)
    return replace(decision, state=GateState.FAILED, reason="")


def _judge_search(gate: Gate, decision: Decision, each: Comparison, within: bool) -> Decision:
    """A search fails a gate if the boots that it made tell the two apart."""
    wrong = Verdict.LARGER if gate.above else Verdict.SMALLER
    if each.verdict is wrong and not within:
        return replace(decision, state=GateState.FAILED, reason="")
    ends = decision.interval
    if ends is not None and gate.is_passed_by(ends.high if gate.above else ends.low):
        return replace(decision, state=GateState.PASSED, reason="")
    return decision


def _explain_within(gate: Gate, each: Comparison) -> str:
    if each.ratio is not None and not gate.is_passed_by(each.ratio):
        return "beyond the bound, but not more than the null guest changed by and the bound"
    return "the interval reaches beyond the bound"


def _judge_value(gate: Gate, pair: Pair, confidence: float, _: int) -> Decision:
    """NEW itself: figures that do not scatter as they are, others by the interval of their median."""
    values = sorted(pair.a.numbers)
    if not values:
        return replace(_begin(gate, pair.found), reason="NEW has no value")
    interval = None if gate.exact else median_interval(values, confidence)
    value = values[-1 if gate.above else 0] if gate.exact else median(values)
    begun = _begin(gate, pair.found)
    decision = replace(begun, value=value, unit=gate.unit, interval=interval, reason="")
    ends = (interval.low, interval.high) if interval else (value, value)
    if not gate.exact and interval is None:
        return replace(decision, reason=f"{len(values)} values have no interval at {confidence:.4%}")
    passed = [gate.is_passed_by(end) for end in ends]
    if all(passed):
        return replace(decision, state=GateState.PASSED)
    if not any(passed):
        return replace(decision, state=GateState.FAILED)
    return replace(decision, reason="the interval reaches beyond the bound")


def _begin(gate: Gate, each: Comparison) -> Decision:
    """A decision that nothing has decided yet."""
    return Decision(
        gate=gate.text,
        system=each.system,
        metric=each.metric,
        labels=each.labels,
        state=GateState.INCONCLUSIVE,
        reason=each.reason,
    )


def _judge_failures(
    gate: Gate, shares: Sequence[FailedShare], floors: Collection[str], alpha: float
) -> Iterator[Decision]:
    """One decision for each system and purpose of which a trial failed, and one for each system of none."""
    mine = [
        each
        for each in shares
        if gate.is_about(each.system, FAILURES, {"purpose": each.purpose}, floor=each.system in floors)
    ]
    some = [each for each in mine if each.failed or each.failed_baseline]
    alpha /= max(sum(each.failed > 0 for each in some), 1)
    for each in some:
        more = each.failed * each.of_baseline > each.failed_baseline * each.of
        state = GateState.INCONCLUSIVE if more else GateState.PASSED
        new, old = each.tell()
        yield Decision(
            gate=gate.text,
            system=each.system,
            metric=FAILURES,
            labels={"purpose": each.purpose},
            state=GateState.FAILED if each.p <= alpha else state,
            reason=f"{new}, of OLD {old}: Fisher's exact test p = {each.p:.2g}",
        )
    for system in dict.fromkeys(each.system for each in mine if each.system not in {s.system for s in some}):
        yield Decision(
            gate=gate.text,
            system=system,
            metric=FAILURES,
            labels=gate.labels,
            state=GateState.PASSED,
            reason="no trial failed",
        )


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
