"""Compares two runs, system by system and metric by metric; it reads no folder and decides no exit status.

The runs were made at different times, so that nothing pairs their trials: intervals are Welch's for the
logarithms, tests are unpaired, and Holm's adjustment is over all comparisons of the two runs.

A verdict that the permutation test cannot bear out, for want of values, rests on the interval alone. It then
has to hold at a confidence raised for all comparisons [Bonferroni].

A gate fails if three things hold. The estimate lies beyond its bound. The interval of the ratio leaves out
"no change" on that side, at a confidence raised for the number of decisions that the gates ask for: where
nothing changed, some gate of a diff fails in at most one case of twenty. And the permutation test, where
there are values enough for it to reject anything, agrees. That the whole interval lies beyond the bound is
not asked for: that would let a rise of 10% with an interval of 4% to 16% pass a gate of 5%.

[Bonferroni] O. J. Dunn: Multiple comparisons among means, J. American Statistical Association 56 (1961).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from guestbench.analysis import inference
from guestbench.analysis.compare import (
    ALPHA,
    EXACT,
    LEAST_EFFECT,
    Key,
    Sampled,
    adjust,
    can_reject,
    collect,
    confirm,
    decide,
    estimate_ratio,
    is_compared,
)
from guestbench.analysis.diff_setting import (
    Failed,
    Mismatch,
    RunFacts,
    describe_run,
    find_failed,
    find_mismatches,
    find_same_images,
    find_unlike_work,
)
from guestbench.analysis.gate import Decision, Gate, GateState
from guestbench.analysis.summary import add_derived, find_metric, sort_records
from guestbench.errors import UsageError
from guestbench.families.memory.findings import holds
from guestbench.model import (
    Better,
    Comparison,
    Family,
    Frozen,
    Header,
    Interval,
    Method,
    Metric,
    Record,
    Verdict,
)

Run = tuple[Header, Sequence[Record]]
Samples = Mapping[str, Mapping[Key, Sampled]]


class Change(Frozen):
    """One metric of one system in both runs.

    `old` and `new` are geometric means in the metric's unit, or the figures themselves where these do not
    scatter. In `comparison` the system is that of NEW and the baseline the same of OLD. `floor` is whether
    the system is the null guest, of which a change is one of the host or of QEMU.
    """

    title: str
    unit: str
    better: Better
    old: float | None
    new: float | None
    comparison: Comparison
    floor: bool = False


class Lost(Frozen):
    """What one run has and the other has not: a system (without a metric), or a metric of a system."""

    only_in: str
    system: str
    metric: str = ""
    labels: dict[str, str] = {}
    reason: str = ""


class RunDiff(Frozen):
    """Two runs compared. `mismatches` are what makes them differ besides the systems' images."""

    old: RunFacts
    new: RunFacts
    effect: float
    mismatches: tuple[Mismatch, ...]
    failed: tuple[Failed, ...]
    lost: tuple[Lost, ...]
    same_images: tuple[str, ...]
    changes: tuple[Change, ...]
    decisions: tuple[Decision, ...] = ()


class _Side:
    """What is looked up of one run: its values by system, in the order of its header."""

    def __init__(self, header: Header, records: Sequence[Record]) -> None:
        self.header = header
        self.records = sort_records(header, add_derived(header, records))
        self.floors = {g.system.name for g in header.guests if g.system.family is Family.FLOOR}
        self.samples: dict[str, dict[Key, Sampled]] = {
            guest.system.name: collect(self.records, guest.system.name) for guest in header.guests
        }


def diff_runs(
    old: Run, new: Run, gates: Sequence[Gate] = (), *, effect: float = LEAST_EFFECT, hint: str = ""
) -> RunDiff:
    """Compare two runs in the metrics that decide something, and in those that gates name.

    Raises:
        UsageError: a gate is about something that neither run has.
    """
    before, after = _Side(*old), _Side(*new)
    gates = [_narrow(gate, before, after) for gate in gates]
    changes = _find_changes(before, after, gates, effect)
    found = RunDiff(
        old=describe_run(*old),
        new=describe_run(*new),
        effect=effect,
        mismatches=find_mismatches(old[0], new[0]),
        failed=(*find_failed("old", old[1]), *find_failed("new", new[1])),
        lost=tuple(_find_lost(before, after, gates)),
        same_images=find_same_images(old[0], new[0]),
        changes=changes,
    )
    _refuse_idle_gates(found, gates, hint)
    return msgspec.structs.replace(found, decisions=judge_gates(found, gates, before.samples, after.samples))


# --- what is compared -------------------------------------------------------------------------------------


def _narrow(gate: Gate, *sides: _Side) -> Gate:
    """The gate, about the value without labels alone where it names none and there is such a value."""
    plain = not gate.labels and any(
        (gate.metric, ()) in samples for side in sides for samples in side.samples.values()
    )
    return msgspec.structs.replace(gate, plain=plain)


def _is_wanted(gates: Sequence[Gate], system: str, key: Key) -> bool:
    metric, labels = key[0], dict(key[1])
    return is_compared(metric, labels) or any(gate.is_about(system, metric, labels) for gate in gates)


def _find_changes(old: _Side, new: _Side, gates: Sequence[Gate], effect: float) -> tuple[Change, ...]:
    rank = {metric.name: index for index, metric in enumerate(new.header.metrics)}
    unlike = find_unlike_work((old.header, old.records), (new.header, new.records))
    found: list[Change] = []
    for system, after in new.samples.items():
        before = old.samples.get(system, {})
        keys = [key for key in after if key in before and _is_wanted(gates, system, key)]
        for key in sorted(keys, key=lambda key: (rank.get(key[0], len(rank)), key)):
            change = _compare(find_metric(new.header, key[0]), system, key, before[key], after[key], effect)
            reason = unlike.get((system, key), "")
            found.append(_withdraw(change, reason) if reason else change)
    adjusted = adjust([change.comparison for change in found], effect)
    tests = sum(each.ratio_ci is not None for each in adjusted)
    return tuple(
        msgspec.structs.replace(
            change,
            comparison=_confirm(comparison, old.samples, new.samples, tests),
            floor=comparison.system in new.floors,
        )
        for change, comparison in zip(found, adjusted, strict=True)
    )


def _confirm(each: Comparison, old: Samples, new: Samples, tests: int) -> Comparison:
    if each.ratio_ci is None:
        return each
    before, after = _find_samples(each, old, new)
    return confirm(each, after, before, tests)


def _find_samples(each: Comparison, old: Samples, new: Samples) -> tuple[Sampled, Sampled]:
    key = each.metric, tuple(sorted(each.labels.items()))
    return old[each.system][key], new[each.system][key]


def _interval_of(each: Comparison, old: Samples, new: Samples, confidence: float) -> Interval | None:
    """The interval of a comparison's ratio at another confidence."""
    before, after = _find_samples(each, old, new)
    return estimate_ratio(after, before, paired=False, confidence=confidence)


def _compare(metric: Metric, system: str, key: Key, old: Sampled, new: Sampled, effect: float) -> Change:
    exact = is_exact(metric.name)
    found = compare_samples(old, new, exact=exact, effect=effect)
    values = [each.numbers[0] if exact and each.values else _geometric_mean(each) for each in (old, new)]
    return Change(
        title=metric.title,
        unit=metric.unit,
        better=metric.better,
        old=values[0],
        new=values[1],
        comparison=msgspec.structs.replace(
            found, metric=metric.name, labels=dict(key[1]), system=system, baseline=system
        ),
    )


def is_exact(metric: str) -> bool:
    """Whether a metric does not scatter: sizes in images, and the least of the sizes that were tried."""
    return metric in EXACT or metric.startswith("image.")


def compare_samples(
    old: Sampled, new: Sampled, *, exact: bool = False, effect: float = LEAST_EFFECT
) -> Comparison:
    """Compare NEW with OLD as independent samples; names and Holm's adjustment are left to the caller."""
    found = Comparison(
        metric="",
        labels={},
        system="",
        baseline="",
        n=len(new.values),
        n_baseline=len(old.values),
        failed=new.failed,
        failed_baseline=old.failed,
        method=Method.NONE,
        verdict=Verdict.INCONCLUSIVE,
    )
    reason = _find_obstacle("OLD", old) or _find_obstacle("NEW", new)
    if reason:
        return msgspec.structs.replace(found, reason=reason)
    first, second = new.numbers, old.numbers
    if exact:
        exactly = msgspec.structs.replace(
            found, method=Method.EXACT, ratio=first[0] / second[0], difference=first[0] - second[0]
        )
        return decide(exactly, effect)
    log_new, log_old = list(map(math.log, first)), list(map(math.log, second))
    interval = inference.welch_interval(log_new, log_old)
    sd = math.hypot(_sd(log_new), _sd(log_old))
    inferred = msgspec.structs.replace(
        found,
        method=Method.SAMPLES,
        ratio=math.exp(_mean(log_new) - _mean(log_old)),
        ratio_ci=_exponential(interval),
        difference=_mean(first) - _mean(second),
        difference_ci=inference.welch_interval(first, second),
        p=inference.permutation_p(log_new, log_old) if interval else None,
        delta=inference.cliffs_delta(first, second),
        needed=inference.needed_values(sd, math.log1p(effect)) if interval else None,
    )
    return decide(inferred, effect)


def _find_obstacle(name: str, sampled: Sampled) -> str:
    if not sampled.values:
        return f"{name} has no value" + (f": all {sampled.failed} trials failed" if sampled.failed else "")
    if min(sampled.numbers) <= 0:
        return f"{name} has a value of 0 or below, of which no ratio can be made"
    return ""


def _withdraw(change: Change, reason: str) -> Change:
    """The change without what was inferred: its two sides are not of the same thing."""
    comparison = msgspec.structs.replace(
        change.comparison,
        method=Method.NONE,
        verdict=Verdict.INCONCLUSIVE,
        reason=reason,
        **dict.fromkeys(("ratio", "ratio_ci", "difference", "difference_ci", "p", "delta", "needed")),
    )
    return msgspec.structs.replace(change, comparison=comparison)


def _find_lost(old: _Side, new: _Side, gates: Sequence[Gate]) -> list[Lost]:
    """Systems and metrics of one run alone, those of OLD first."""
    found: list[Lost] = []
    for name, mine, other in (("old", old, new), ("new", new, old)):
        for system, samples in mine.samples.items():
            if system not in other.samples:
                found.append(Lost(only_in=name, system=system))
                continue
            found += [
                Lost(
                    only_in=name,
                    system=system,
                    metric=key[0],
                    labels=dict(key[1]),
                    reason=_explain_loss(system, key, mine.records, other.records),
                )
                for key in samples
                if key not in other.samples[system] and _is_wanted(gates, system, key)
            ]
    return found


def _explain_loss(system: str, key: Key, mine: Sequence[Record], others: Sequence[Record]) -> str:
    """That all trials failed that would have brought the value, or the other run's reason for the gap."""
    metric, labels = key
    origins = {
        (record.trial.purpose, record.trial.workload)
        for record in mine
        if record.trial.system == system
        and any(s.metric == metric and tuple(sorted(s.labels.items())) == labels for s in record.samples)
    }
    tried = [
        record
        for record in others
        if record.trial.system == system and (record.trial.purpose, record.trial.workload) in origins
    ]
    if tried and not any(holds(record.outcome) for record in tried):
        return f"all {len(tried)} trials failed: {tried[0].outcome.reason}"
    gaps = (gap.reason for record in tried for gap in record.gaps if gap.metric == metric)
    return next(gaps, "")


# --- gates ------------------------------------------------------------------------------------------------


def _refuse_idle_gates(found: RunDiff, gates: Sequence[Gate], hint: str) -> None:
    # A gate with a slip of the pen would pass for ever.
    for gate in gates:
        if not any(
            gate.is_about(c.system, c.metric, c.labels) for c in (x.comparison for x in found.changes)
        ):
            if any(gate.is_about(lost.system, lost.metric, lost.labels) for lost in found.lost):
                continue
            if any(not lost.metric and lost.system == gate.system for lost in found.lost):
                continue
            metrics = Counter(change.comparison.metric for change in found.changes)
            have = f"there are {', '.join(metrics)}" if metrics else "there is nothing to compare"
            raise UsageError(f"--fail-on {gate.text!r} is about nothing that both runs have; {have}", hint)


def judge_gates(
    found: RunDiff,
    gates: Sequence[Gate],
    old: Samples,
    new: Samples,
) -> tuple[Decision, ...]:
    """Every gate held against every metric of every system that it is about."""
    pairs = [
        (gate, change.comparison)
        for gate in gates
        for change in found.changes
        if gate.is_about(
            change.comparison.system,
            change.comparison.metric,
            change.comparison.labels,
            floor=change.floor,
        )
    ]
    scattering = sum(each.ratio_ci is not None for _, each in pairs)
    confidence = 1 - ALPHA / max(scattering, 1)
    tests = sum(change.comparison.p_holm is not None for change in found.changes)
    judged = []
    for gate, each in pairs:
        interval = _interval_of(each, old, new, confidence) if each.ratio_ci else None
        judged.append(_judge(gate, each, interval, tests))
    return (*judged, *(_judge_lost(gate, each) for gate in gates for each in _lost_of(gate, found)))


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
        return msgspec.structs.replace(decision, state=GateState.FAILED) if gone else decision
    within = gate.is_passed_by(each.ratio)
    if each.method is Method.EXACT:
        state = GateState.PASSED if within else GateState.FAILED
        return msgspec.structs.replace(decision, state=state, reason="")
    if interval is None:
        return decision
    far, near = (interval.high, interval.low) if gate.above else (interval.low, interval.high)
    if gate.is_passed_by(far):
        return msgspec.structs.replace(decision, state=GateState.PASSED, reason="")
    if within:
        return msgspec.structs.replace(decision, reason="the interval reaches beyond the bound")
    if not (near > 1 if gate.above else near < 1):
        return msgspec.structs.replace(decision, reason="beyond the bound, but the interval holds no change")
    if each.p_holm is not None and can_reject(each, tests) and each.p_holm > ALPHA:
        reason = "beyond the bound, but the permutation test does not bear it out"
        return msgspec.structs.replace(decision, reason=reason)
    return msgspec.structs.replace(decision, state=GateState.FAILED, reason="")


def _lost_of(gate: Gate, found: RunDiff) -> list[Lost]:
    return [
        lost
        for lost in found.lost
        if (gate.is_about(lost.system, lost.metric, lost.labels))
        or (not lost.metric and gate.system == lost.system)
    ]


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


def _geometric_mean(sampled: Sampled) -> float | None:
    numbers = sampled.numbers
    if not numbers or min(numbers) <= 0:
        return None
    return math.exp(_mean([math.log(number) for number in numbers]))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _sd(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    middle = _mean(values)
    return math.sqrt(math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1))


def _exponential(interval: Interval | None) -> Interval | None:
    if interval is None:
        return None
    return Interval(low=math.exp(interval.low), high=math.exp(interval.high), confidence=interval.confidence)
