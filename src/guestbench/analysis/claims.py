"""Holds what was expected before measuring against what was found; it neither softens nor adds a claim.

A claim is decided by an interval: that of the ratio, or that of the median where it is about one system's
figure [order statistics, see `summary`]. It is confirmed if all of the interval lies within what was claimed,
refuted if none of it does, and undecided where there are too few values for an interval. Figures that do not
scatter, and facts of which there is one value, decide by themselves.

Of a system whose trials fail more often than one in ten nothing is concluded from those that did not.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import median

from guestbench.analysis.compare import compare, replace
from guestbench.analysis.failures import MOST_FAILED, tell_failures
from guestbench.analysis.partial import Waiting
from guestbench.analysis.samples import Sampled, Samples, collect, collect_facts
from guestbench.analysis.stopping import find_confidence
from guestbench.analysis.summary import (
    add_derived,
    find_metric,
    median_interval,
    smallest_sample,
    sort_records,
)
from guestbench.model import Claim, GuestFamily, Header, Interval, Judgement, Key, Record, Ruling, to_key
from guestbench.page.figures import write_key


def judge_claims(
    header: Header, records: Sequence[Record], waiting: Waiting | None = None
) -> tuple[Judgement, ...]:
    """Every claim of the experiment, once for each system of the run that it is about.

    A claim about a system that the run does not have is undecided, and says so; none is judged while it is
    `waiting` for trials of its figure.
    """
    ordered = sort_records(header, add_derived(header, records))
    samples, facts = collect(header, ordered), collect_facts(header, ordered)
    return tuple(
        _hold_back(header, claim, system, waiting) or _judge(header, claim, system, samples, facts, ordered)
        for claim in header.experiment.claims
        for system in _find_systems(header, claim)
    )


def _hold_back(header: Header, claim: Claim, system: str, waiting: Waiting | None) -> Judgement | None:
    names = {guest.system.name for guest in header.guests}
    sides = {system, claim.against or system}
    why = waiting.tell(claim.metric, sides, searched=True) if waiting and sides <= names else ""
    return Judgement(claim=claim, system=system, ruling=Ruling.PENDING, reason=why) if why else None


def _find_systems(header: Header, claim: Claim) -> Sequence[str]:
    if claim.system != GuestFamily.UNIKERNEL:
        return [claim.system]
    found = [g.system.name for g in header.guests if g.system.family is GuestFamily.UNIKERNEL]
    return found or [claim.system]


def _judge(
    header: Header, claim: Claim, system: str, samples: Samples, facts: Samples, records: Sequence[Record]
) -> Judgement:
    undecided = Judgement(claim=claim, system=system, ruling=Ruling.UNDECIDED)
    sides = [name for name in (system, claim.against) if name]
    for name in sides:
        if name not in samples:
            return replace(undecided, reason=f"{name} is not in this run")
    key = to_key(claim.metric, claim.labels)
    exact = find_metric(header, claim.metric).exact or any(key in facts.get(name, {}) for name in sides)
    found = [facts.get(name, {}).get(key) or samples[name].get(key, Sampled()) for name in sides]
    for name, sampled in zip(sides, found, strict=True):
        if not sampled.values:
            others = {each for known in (samples, facts) for each in known.get(name, {})}
            return replace(undecided, reason=_explain(claim, name, others, sampled, records))
        if not exact and sampled.failed > MOST_FAILED * sampled.trials:
            reason = f"{name}: {tell_failures(sampled)}, and the others say nothing of those"
            return replace(undecided, reason=reason)
    if not claim.against:
        return _judge_alone(undecided, found[0].numbers, exact)
    ratio = compare(found[1], found[0], exact=exact, confidence=find_confidence(header, claim.metric))
    if ratio.ratio is None or (ratio.ratio_ci is None and not exact):
        return replace(undecided, value=ratio.ratio, reason=ratio.reason)
    return _decide(undecided, ratio.ratio, ratio.ratio_ci)


def _judge_alone(undecided: Judgement, values: Sequence[float], exact: bool) -> Judgement:
    """By the figure itself: all its values where it does not scatter, else the interval of its median."""
    if exact:
        return _decide(undecided, median(values), None, (min(values), max(values)))
    interval = median_interval(values)
    if interval is None:
        few = f"{len(values)} values: from {smallest_sample()} on the median has an interval"
        return replace(undecided, value=median(values), reason=few)
    return _decide(undecided, median(values), interval)


def _decide(
    undecided: Judgement,
    value: float,
    interval: Interval | None,
    extremes: tuple[float, float] | None = None,
) -> Judgement:
    """By the interval, or where there is none by the least and the greatest value, which seldom differ."""
    claim = undecided.claim
    low, high = (interval.low, interval.high) if interval else extremes or (value, value)
    least = claim.least if claim.least is not None else float("-inf")
    most = claim.most if claim.most is not None else float("inf")
    found = replace(undecided, value=value, interval=interval)
    if least <= low and high <= most:
        return replace(found, ruling=Ruling.CONFIRMED)
    if high < least or low > most:
        return replace(found, ruling=Ruling.REFUTED)
    if interval is None:
        return replace(found, reason=f"the values lie from {low:.10g} to {high:.10g}")
    return replace(found, reason="the interval reaches beyond what was claimed")


def _explain(
    claim: Claim, system: str, known: Collection[Key], found: Sampled, records: Sequence[Record]
) -> str:
    """Why a system has no value of a claim's figure, or that the claim does not say which figure it means."""
    if found.failed:
        named = f", {found.by_vmm} of them by the VMM itself" if found.by_vmm else ""
        return f"{system} has no value: all {found.failed} trials failed{named}"
    gaps = (
        record.find_gap(claim.metric, claim.labels) for record in records if record.trial.system == system
    )
    if gap := next(filter(None, gaps), ""):
        return f"{system}: {gap}"
    others = sorted(key for key in known if key[0] == claim.metric)
    there = ", ".join(write_key(name, dict(labels)) for name, labels in others)
    if others and not claim.labels:
        return f"the claim does not say which figure it is about: {system} has {there}"
    has = f"{system} has no value of {write_key(claim.metric, claim.labels)} in this run"
    return f"{has}, but {there}" if others else has
