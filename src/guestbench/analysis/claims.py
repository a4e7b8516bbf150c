"""Holds what was expected before measuring against what was found; it neither softens nor adds a claim.

A claim about a ratio is decided by the interval of that ratio: confirmed if all of it lies within what was
claimed, refuted if none of it does. Figures that do not scatter decide by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guestbench.analysis.compare import compare, replace
from guestbench.analysis.samples import Sampled, Samples, collect
from guestbench.analysis.summary import add_derived, find_metric, sort_records
from guestbench.families import list_purposes
from guestbench.model import Claim, GuestFamily, Header, Interval, Judgement, Key, Record, Ruling, to_key


def judge_claims(header: Header, records: Sequence[Record]) -> tuple[Judgement, ...]:
    """Every claim of the experiment, once for each system of the run that it is about.

    A claim about a system that the run does not have is undecided, and says so.
    """
    ordered = sort_records(header, add_derived(header, records))
    purposes = [each.name for each in list_purposes(header) if each.counted or each.facts]
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
    undecided = Judgement(claim=claim, system=system, ruling=Ruling.UNDECIDED)
    sides = [name for name in (system, claim.against) if name]
    for name in sides:
        if name not in samples:
            return replace(undecided, reason=f"{name} is not in this run")
    found = [_find(samples[name], claim) for name in sides]
    for name, sampled in zip(sides, found, strict=True):
        if not sampled.values:
            return replace(undecided, reason=_explain(claim, name, records))
    if not claim.against:
        values = found[0].numbers
        return _decide(undecided, sorted(values)[len(values) // 2], None)
    exact = find_metric(header, claim.metric).exact
    ratio = compare(found[1], found[0], exact=exact)
    if ratio.ratio is None or (ratio.ratio_ci is None and not exact):
        return replace(undecided, value=ratio.ratio, reason=ratio.reason)
    return _decide(undecided, ratio.ratio, ratio.ratio_ci)


def _decide(undecided: Judgement, value: float, interval: Interval | None) -> Judgement:
    claim = undecided.claim
    low, high = (interval.low, interval.high) if interval else (value, value)
    least = claim.least if claim.least is not None else float("-inf")
    most = claim.most if claim.most is not None else float("inf")
    found = replace(undecided, value=value, interval=interval)
    if least <= low and high <= most:
        return replace(found, ruling=Ruling.CONFIRMED)
    if high < least or low > most:
        return replace(found, ruling=Ruling.REFUTED)
    return replace(found, reason="the interval reaches beyond what was claimed")


def _find(samples: Mapping[Key, Sampled], claim: Claim) -> Sampled:
    """The values of the claim's metric; of one with labels only, the sum of the first of each."""
    exactly = samples.get(to_key(claim.metric, claim.labels))
    if exactly is not None or claim.labels:
        return exactly or Sampled()
    parts = [sampled.numbers[0] for (metric, _), sampled in samples.items() if metric == claim.metric]
    return Sampled(values=((0, sum(parts)),) if parts else ())


def _explain(claim: Claim, system: str, records: Sequence[Record]) -> str:
    """Why a system has no value of a claim's metric."""
    gaps = (record.find_gap(claim.metric) for record in records if record.trial.system == system)
    gap = next(filter(None, gaps), "")
    return f"{system}: {gap}" if gap else f"{system} has no value of {claim.metric} in this run"
