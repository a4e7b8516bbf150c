"""Compares two runs, system by system and metric by metric.

The runs were made at different times, so that nothing pairs their trials: intervals are Welch's for the
logarithms, tests are unpaired, and Holm's adjustment is over all comparisons of the two runs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from guestbench.analysis.compare import LEAST_EFFECT, Pair, compare, geometric_mean, settle
from guestbench.analysis.diff_setting import (
    Mismatch,
    RunFacts,
    describe_run,
    find_mismatches,
    find_same_images,
)
from guestbench.analysis.gate import Decision, Gate, Lost, judge_gates
from guestbench.analysis.quality import Failed, find_failures
from guestbench.analysis.samples import collect
from guestbench.analysis.summary import add_derived, find_metric, rank_metrics, sort_records
from guestbench.errors import UsageError
from guestbench.families import ask
from guestbench.model import Better, Comparison, Frozen, GuestFamily, Header, Key, Record, to_key

Run = tuple[Header, Sequence[Record]]


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
        self.floors = {g.system.name for g in header.guests if g.system.family is GuestFamily.FLOOR}
        self.samples = collect(header, self.records)


def diff_runs(
    old: Run, new: Run, gates: Sequence[Gate] = (), *, effect: float = LEAST_EFFECT, hint: str = ""
) -> RunDiff:
    """Compare two runs in the metrics that decide something, and in those that gates name.

    Raises:
        UsageError: a gate is about something that neither run has.
    """
    before, after = _Side(*old), _Side(*new)
    gates = [_narrow(gate, before, after) for gate in gates]
    pairs = _compare_sides(before, after, gates, effect)
    lost = tuple(_find_lost(before, after, gates))
    _refuse_idle_gates([pair.found for pair in pairs], lost, gates, hint)
    return RunDiff(
        old=describe_run(*old),
        new=describe_run(*new),
        effect=effect,
        mismatches=find_mismatches(old[0], new[0]),
        failed=(*find_failures(*old, "old"), *find_failures(*new, "new")),
        lost=lost,
        same_images=find_same_images(old[0], new[0]),
        changes=tuple(_describe(pair, after) for pair in pairs),
        decisions=judge_gates(gates, pairs, lost, after.floors),
    )


def _narrow(gate: Gate, *sides: _Side) -> Gate:
    """The gate, about the value without labels alone where it names none and there is such a value."""
    plain = not gate.labels and any(
        (gate.metric, ()) in samples for side in sides for samples in side.samples.values()
    )
    return msgspec.structs.replace(gate, plain=plain)


def _is_wanted(header: Header, gates: Sequence[Gate], system: str, key: Key) -> bool:
    metric, labels = find_metric(header, key[0]), dict(key[1])
    return metric.is_compared_with(labels) or any(
        gate.is_about(system, metric.name, labels) for gate in gates
    )


def _compare_sides(old: _Side, new: _Side, gates: Sequence[Gate], effect: float) -> tuple[Pair, ...]:
    """What both runs have of what is wanted, NEW with OLD. What is not of the same work is not inferred."""
    rank = rank_metrics(new.header)
    unlike = dict(ask("findings", "changed", (old.header, old.records), (new.header, new.records)))
    found: list[Pair] = []
    for system, after in new.samples.items():
        before = old.samples.get(system, {})
        keys = [key for key in after if key in before and _is_wanted(new.header, gates, system, key)]
        for key in sorted(keys, key=lambda key: (rank(key[0]), key)):
            compared = compare(
                after[key],
                before[key],
                key=key,
                names=(system, system),
                exact=find_metric(new.header, key[0]).exact,
                same_run=False,
                effect=effect,
                obstacle=unlike.get((system, key), ""),
            )
            found.append(Pair(compared, after[key], before[key]))
    return settle(found, effect)


def _describe(pair: Pair, new: _Side) -> Change:
    metric = find_metric(new.header, pair.found.metric)
    old, changed = (
        each.numbers[0] if metric.exact and each.values else geometric_mean(each) for each in (pair.b, pair.a)
    )
    return Change(
        title=metric.title,
        unit=metric.unit,
        better=metric.better,
        old=old,
        new=changed,
        comparison=pair.found,
        floor=pair.found.system in new.floors,
    )


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
                if key not in other.samples[system] and _is_wanted(mine.header, gates, system, key)
            ]
    return found


def _explain_loss(system: str, key: Key, mine: Sequence[Record], others: Sequence[Record]) -> str:
    """That all trials failed that would have brought the value, or the other run's reason for the gap."""
    origins = {
        (record.trial.purpose, record.trial.workload)
        for record in mine
        if record.trial.system == system
        and any(to_key(sample.metric, sample.labels) == key for sample in record.samples)
    }
    tried = [
        record
        for record in others
        if record.trial.system == system and (record.trial.purpose, record.trial.workload) in origins
    ]
    if tried and not any(record.holds for record in tried):
        return f"all {len(tried)} trials failed: {tried[0].outcome.reason}"
    return next(filter(None, (record.find_gap(key[0]) for record in tried)), "")


def _refuse_idle_gates(
    found: Sequence[Comparison], lost: Sequence[Lost], gates: Sequence[Gate], hint: str
) -> None:
    # A gate with a slip of the pen would pass for ever.
    for gate in gates:
        if any(gate.is_about(each.system, each.metric, each.labels) for each in found):
            continue
        if not any(gate.is_lost_with(each) for each in lost):
            metrics = Counter(each.metric for each in found)
            have = f"there are {', '.join(metrics)}" if metrics else "there is nothing to compare"
            raise UsageError(f"--fail-on {gate.text!r} is about nothing that both runs have; {have}", hint)
