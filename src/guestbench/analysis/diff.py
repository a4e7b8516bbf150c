"""Compares the runs of two versions, system by system and metric by metric.

The runs were made at different times, so that nothing pairs their trials: `between_runs` says what is made of
that. Holm's adjustment is over all comparisons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from guestbench.analysis.between_runs import RUN_SD, Figure, compare_sides, find_middles
from guestbench.analysis.compare import ALPHA, LEAST_EFFECT, Pair, compare, settle
from guestbench.analysis.diff_setting import (
    Mismatch,
    RunFacts,
    describe_run,
    find_mismatches,
    find_mixed_images,
    find_same_images,
)
from guestbench.analysis.failures import FailedShare, compare_failures, fails_more
from guestbench.analysis.gate import FAILURES, Decision, Gate, GateKind, Lost, fit_gate, judge_gates
from guestbench.analysis.quality import Failed, find_failures
from guestbench.analysis.samples import Sampled, Samples, collect_all
from guestbench.analysis.summary import (
    add_derived,
    find_metric,
    find_other_method,
    rank_metrics,
    sort_records,
)
from guestbench.errors import UsageError
from guestbench.families import ask
from guestbench.model import Better, Comparison, Frozen, GuestFamily, Header, Key, Record, to_key

Run = tuple[Header, Sequence[Record]]


class Change(Frozen):
    """One metric of one system in OLD and in NEW.

    `old` and `new` are geometric means in the metric's unit, or the figures themselves where these do not
    scatter. In `comparison` the system is that of NEW and the baseline the same of OLD. `floor` is whether
    the system is the null guest, of which a change is one of the host or of the VMM. `fails` says how many of
    NEW's trials failed where these are more than chance explains.
    """

    title: str
    unit: str
    better: Better
    old: float | None
    new: float | None
    comparison: Comparison
    floor: bool = False
    fails: str = ""


class RunDiff(Frozen):
    """Two versions compared, by one run each or several.

    `mismatches` are what makes runs differ besides the systems' images; `mixed` names those systems of a side
    of which its runs have not the same images. `run_sd` is what was assumed where a side has a single run.
    With `paired` both sides are of the same blocks of one run, so that nothing need be assumed. Where nothing
    changed, some gate fails with `alpha`.
    """

    old: tuple[RunFacts, ...]
    new: tuple[RunFacts, ...]
    effect: float
    run_sd: float
    mismatches: tuple[Mismatch, ...]
    failed: tuple[Failed, ...]
    failures: tuple[FailedShare, ...]
    lost: tuple[Lost, ...]
    same_images: tuple[str, ...]
    mixed: tuple[str, ...]
    changes: tuple[Change, ...]
    decisions: tuple[Decision, ...] = ()
    paired: bool = False
    alpha: float = ALPHA


class _Side:
    """What is looked up of a version's runs: their values by system, in the order of the first header."""

    def __init__(self, name: str, runs: Sequence[Run]) -> None:
        self.name = name
        self.runs = [(header, sort_records(header, add_derived(header, records))) for header, records in runs]
        self.header = runs[0][0]
        self.records = [record for _, records in self.runs for record in records]
        self.floors = {g.system.name for g in self.header.guests if g.system.family is GuestFamily.FLOOR}
        found = [collect_all(header, records) for header, records in self.runs]
        self.facts = {key for _, facts in found for key in facts}
        self.samples = _join([samples for samples, _ in found])

    @property
    def keys(self) -> set[Key]:
        """Metrics and labels of any system."""
        return {key for found in self.samples.values() for key in found}


def _join(runs: Sequence[Samples]) -> dict[str, dict[Key, tuple[Sampled, ...]]]:
    """What each run has of a figure, by system; empty samples for those that have none."""
    systems = dict.fromkeys(system for run in runs for system in run)
    return {
        system: {
            key: tuple(run.get(system, {}).get(key, Sampled()) for run in runs)
            for key in dict.fromkeys(key for run in runs for key in run.get(system, {}))
        }
        for system in systems
    }


def diff_runs(
    old: Sequence[Run],
    new: Sequence[Run],
    gates: Sequence[Gate] = (),
    *,
    effect: float = LEAST_EFFECT,
    run_sd: float = RUN_SD,
    alpha: float = ALPHA,
    paired: bool = False,
    hint: str = "",
) -> RunDiff:
    """Compare the runs of two versions in the metrics that decide something, and in those that gates name.

    Where they are `paired`, OLD and NEW are one run each, which were the same one before it was split. Some
    gate fails where nothing changed as often as `alpha` says.

    Raises:
        UsageError: a gate is about something that neither version has, or its unit is none of the metric's.
    """
    before, after = _Side("old", old), _Side("new", new)
    keys, facts = before.keys | after.keys, before.facts | after.facts
    gates = [fit_gate(gate, after.header, keys, facts) for gate in gates]
    pairs = _compare_sides(before, after, gates, effect, None if paired else run_sd)
    lost = tuple(_find_lost(before, after, gates))
    failures = compare_failures(old, new)
    _refuse_idle_gates([pair.found for pair in pairs], lost, failures, gates, hint)
    first, *others = (header for header, _ in (*old, *new))
    mismatches = dict.fromkeys(each for other in others for each in find_mismatches(first, other))
    return RunDiff(
        old=tuple(describe_run(*run) for run in old),
        new=tuple(describe_run(*run) for run in new),
        effect=effect,
        run_sd=run_sd,
        mismatches=tuple(mismatches),
        failed=tuple(_find_failed(before, after)),
        failures=tuple(each for each in failures if paired or each.failed or each.failed_baseline),
        lost=lost,
        same_images=find_same_images(before.header, after.header),
        mixed=tuple(
            f"{name}: {system}"
            for name, runs in (("old", old), ("new", new))
            for system in find_mixed_images([header for header, _ in runs])
        ),
        changes=tuple(_describe(pair, after) for pair in pairs),
        decisions=judge_gates(gates, pairs, lost, before.floors | after.floors, failures, alpha),
        paired=paired,
        alpha=alpha,
    )


def _find_failed(*sides: _Side) -> Iterator[Failed]:
    for side in sides:
        for number, run in enumerate(side.runs, 1):
            yield from find_failures(*run, f"{side.name} {number}" if len(side.runs) > 1 else side.name)


def _is_wanted(header: Header, gates: Sequence[Gate], system: str, key: Key) -> bool:
    metric, labels = find_metric(header, key[0]), dict(key[1])
    return metric.is_compared_with(labels) or any(
        gate.is_about(system, metric.name, labels) for gate in gates
    )


def _is_judged_alone(gates: Sequence[Gate], system: str, key: Key, floor: bool) -> bool:
    """Whether a gate asks for NEW's own value, for which it takes no OLD."""
    return any(
        gate.kind is GateKind.VALUE and gate.is_about(system, key[0], dict(key[1]), floor=floor)
        for gate in gates
    )


def _compare_sides(
    old: _Side, new: _Side, gates: Sequence[Gate], effect: float, run_sd: float | None
) -> tuple[Pair, ...]:
    """What both have of what is wanted, NEW with OLD. What is not of the same work is not inferred.

    Without `run_sd` both are of the same blocks.
    """
    rank = rank_metrics(new.header)
    unlike = _find_unlike(old, new)
    headers = [header for header, _ in (*old.runs, *new.runs)]
    found: list[Pair] = []
    for system, after in new.samples.items():
        before = old.samples.get(system, {})
        keys = [
            key
            for key in after
            if _is_judged_alone(gates, system, key, system in new.floors)
            or (key in before and _is_wanted(new.header, gates, system, key))
        ]
        for key in sorted(keys, key=lambda key: (rank(key[0]), key)):
            metric = find_metric(new.header, key[0])
            exact = metric.exact or key in new.facts
            theirs = before.get(key, (Sampled(),))
            obstacle = unlike.get((system, key), "") or find_other_method(key[0], *headers)
            if run_sd is None:
                a, b = after[key][0], theirs[0]
                names = (system, system)
                compared = compare(a, b, key=key, names=names, exact=exact, effect=effect, obstacle=obstacle)
                found.append(Pair(compared, a, b))
                continue
            found.append(
                compare_sides(
                    after[key],
                    theirs,
                    Figure(key=key, system=system, exact=exact, timed=metric.is_timed),
                    floors=_find_floors(old, new, key) if system not in new.floors else None,
                    run_sd=run_sd,
                    effect=effect,
                    obstacle=obstacle,
                )
            )
    return settle(found, effect)


def _find_unlike(old: _Side, new: _Side) -> dict[tuple[str, Key], str]:
    """Figures that are not of the same thing in all runs, and why; each run is held against the first."""
    first, *others = (*old.runs, *new.runs)
    return {
        key: reason for other in reversed(others) for key, reason in ask("findings", "changed", first, other)
    }


def _find_floors(old: _Side, new: _Side, key: Key) -> tuple[Sampled, Sampled] | None:
    """NEW's and OLD's values of the null guest, where there is one run of each."""
    if len(old.runs) > 1 or len(new.runs) > 1:
        return None
    for system in new.header.systems:
        if system.name in old.floors & new.floors:
            sides = [side.samples.get(system.name, {}).get(key) for side in (new, old)]
            if sides[0] and sides[1]:
                return sides[0][0], sides[1][0]
    return None


def _describe(pair: Pair, new: _Side) -> Change:
    metric = find_metric(new.header, pair.found.metric)
    changed, old = find_middles(pair)
    return Change(
        title=metric.title,
        unit=metric.unit,
        better=metric.better,
        old=old,
        new=changed,
        comparison=pair.found,
        floor=pair.found.system in new.floors,
        fails=f"{pair.a.failed} of {pair.a.trials}" if fails_more(pair.a, pair.b) else "",
    )


def _find_lost(old: _Side, new: _Side, gates: Sequence[Gate]) -> Iterator[Lost]:
    """Systems and metrics of one version alone, those of OLD first."""
    for mine, other in ((old, new), (new, old)):
        for system, samples in mine.samples.items():
            if system not in other.samples:
                yield Lost(only_in=mine.name, system=system)
                continue
            for key in samples:
                if key in other.samples[system] or not _is_wanted(mine.header, gates, system, key):
                    continue
                reason = _explain_loss(system, key, mine.records, other.records)
                yield Lost(
                    only_in=mine.name, system=system, metric=key[0], labels=dict(key[1]), reason=reason
                )


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
    found: Sequence[Comparison],
    lost: Sequence[Lost],
    failures: Sequence[FailedShare],
    gates: Sequence[Gate],
    hint: str,
) -> None:
    # A gate with a slip of the pen would pass for ever.
    for gate in gates:
        if any(gate.is_about(each.system, each.metric, each.labels) for each in found):
            continue
        if any(gate.is_about(each.system, FAILURES, {"purpose": each.purpose}) for each in failures):
            continue
        if not any(gate.is_lost_with(each) for each in lost):
            metrics = Counter(each.metric for each in found)
            have = f"there are {', '.join(metrics)}" if metrics else "there is nothing to compare"
            raise UsageError(f"--fail-on {gate.text!r} is about nothing that both runs have; {have}", hint)
