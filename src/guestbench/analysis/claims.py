"""Holds what was expected before measuring against what was found; it neither softens nor adds a claim.

A claim about a ratio is decided by the interval of that ratio: confirmed if all of it lies within what was
claimed, refuted if none of it does. Figures that do not scatter decide by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guestbench.analysis.compare import compare
from guestbench.analysis.samples import Sampled, Samples, collect
from guestbench.analysis.summary import add_derived, find_metric, sort_records
from guestbench.families import list_purposes
from guestbench.model import (
    Claim,
    GuestFamily,
    Header,
    Interval,
    Judgement,
    Key,
    Record,
    Ruling,
    to_key,
)


def judge_claims(header: Header, records: Sequence[Record]) -> tuple[Judgement, ...]:
    """Every claim of the experiment, once for each system of the run that it is about.

    A claim about a system that the run does not have is undecided, and says so.
    """
    ordered = sort_records(header, add_derived(header, records))
    purposes = [each.name for each in list_purposes() if each.counted or each.facts]
    samples = collect(header, ordered, purposes)
    return tuple(
        _judge(header, claim, system, samples, ordered)
        for claim in header.experiment.claims
        for system in _find_systems(header, claim)
    )


def _find_systems(header: Header, claim: Claim) -> Sequence[str]:
    if claim.system != GuestFamily.UNIKERNEL:
        return [claim.system]
    found = [g.system.name for g in header.guests if g.system.family is GuestFamily.UNIKERNEL]
    return found or [claim.system]


def _judge(
    header: Header, claim: Claim, system: str, samples: Samples, records: Sequence[Record]
) -> Judgement:
    missing = [name for name in (system, claim.against) if name and name not in samples]
    if missing:
        return Judgement(
            claim=claim, system=system, ruling=Ruling.UNDECIDED, reason=f"{missing[0]} is not in this run"
        )
    mine = _find(samples[system], claim)
    if not mine.values:
        return Judgement(
            claim=claim, system=system, ruling=Ruling.UNDECIDED, reason=_explain(claim, system, records)
        )
    if not claim.against:
        values = mine.numbers
        return _decide(claim, system, sorted(values)[len(values) // 2], None)
    theirs = _find(samples[claim.against], claim)
    if not theirs.values:
        reason = _explain(claim, claim.against, records)
        return Judgement(claim=claim, system=system, ruling=Ruling.UNDECIDED, reason=reason)
    exact = find_metric(header, claim.metric).exact
    found = compare(theirs, mine, exact=exact)
    if found.ratio is None or (found.ratio_ci is None and not exact):
        return Judgement(
            claim=claim, system=system, ruling=Ruling.UNDECIDED, value=found.ratio, reason=found.reason
        )
    return _decide(claim, system, found.ratio, found.ratio_ci)


def _decide(claim: Claim, system: str, value: float, interval: Interval | None) -> Judgement:
    low, high = (interval.low, interval.high) if interval else (value, value)
    least = claim.least if claim.least is not None else float("-inf")
    most = claim.most if claim.most is not None else float("inf")
    if least <= low and high <= most:
        ruling = Ruling.CONFIRMED
    elif high < least or low > most:
        ruling = Ruling.REFUTED
    else:
        ruling = Ruling.UNDECIDED
    reason = "the interval reaches beyond what was claimed" if ruling is Ruling.UNDECIDED else ""
    return Judgement(claim=claim, system=system, ruling=ruling, value=value, interval=interval, reason=reason)


def _find(samples: Mapping[Key, Sampled], claim: Claim) -> Sampled:
    """The values of the claim's metric; of one with labels only, the sum of the first of each."""
    exactly = samples.get(to_key(claim.metric, claim.labels))
    if exactly is not None or claim.labels:
        return exactly or Sampled()
    parts = [sampled.numbers[0] for (metric, _), sampled in samples.items() if metric == claim.metric]
    return Sampled(values=((0, sum(parts)),) if parts else ())


def _explain(claim: Claim, system: str, records: Sequence[Record]) -> str:
    """Why a system has no value of a claim's metric."""
    mine = [record for record in records if record.trial.system == system]
    gaps = [gap.reason for record in mine for gap in record.gaps if gap.metric == claim.metric]
    return f"{system}: {gaps[0]}" if gaps else f"{system} has no value of {claim.metric} in this run"
