"""Describes each system's values of each metric; never compares systems and never judges a difference.

Sources of the choices made here:
[Conover] W. J. Conover, Practical Nonparametric Statistics, 3rd ed., Wiley 1999, section 3.2.
[Hyndman] R. J. Hyndman, Y. Fan: Sample quantiles in statistical packages, American Statistician 50 (1996).
[pyperf] the `check` command of the pyperf benchmark runner, which warns from an SD of a tenth of the mean.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from itertools import count

import msgspec

from guestbench import model
from guestbench.analysis.stability import find_concerns
from guestbench.families import ask, list_purposes

CONFIDENCE = 0.95
"""Least coverage of an interval."""

NOISY_CV = 0.10
"""Coefficient of variation from which a result is called noisy [pyperf]."""

BUSY_CORES = 0.2
"""CPU time used by others, in cores, above which a trial counts as disturbed.

A neighbour that keeps a core busy shows as 1 on a host of any size; a fifth is above what an idle one shows.
"""


def summarise(
    header: model.Header, records: Iterable[model.Record], purposes: Sequence[str] | None = None
) -> tuple[model.Summary, ...]:
    """One Summary per system, metric and labels, in the order of the header's systems and metrics.

    Values are those of successful trials, in the order the trials were planned, whatever the order of
    `records`. `failed` counts the system's trials of the same purpose that did not succeed. `purposes` are
    those that count, unless others are named.
    """
    groups = group_trials(header, records, purposes)
    return tuple(
        summary
        for purpose in list_purposes(header)
        for guest in header.guests
        for (system, name, _), group in groups.items()
        if (system, name) == (guest.system.name, purpose.name)
        for summary in _summarise_group(header, system, purpose, group)
    )


class Group(msgspec.Struct):
    """The trials of one system, purpose and workload: that one piece of work fails says nothing of another.

    `values` has those of successful trials, each with its block and the state that the trial went on from,
    by metric and labels; `passed` is those trials, and `failed` the number of the others, in `by_vmm` of
    which the VMM itself broke. What a search tries is no sample of anything: only what is derived of it is a
    value, and that something is not enough is an answer rather than a failure. Where every trial failed, the
    main metric of their purpose stands without a value.
    """

    values: dict[model.Key, list[tuple[int, int | float, str]]] = {}
    passed: list[model.Record] = []
    failed: int = 0
    by_vmm: int = 0


def group_trials(
    header: model.Header, records: Iterable[model.Record], purposes: Sequence[str] | None = None
) -> dict[tuple[str, str, str], Group]:
    """The trials of these purposes, what is derived of several included, in the order they were planned."""
    wanted = _find_wanted(header, purposes)
    groups: dict[tuple[str, str, str], Group] = {}
    for record in sort_records(header, add_derived(header, records)):
        trial = record.trial
        purpose = wanted.get(trial.purpose)
        if purpose is None:
            continue
        group = groups.setdefault((trial.system, trial.purpose, trial.workload), Group())
        if not record.holds:
            group.failed += not purpose.search
            group.by_vmm += not purpose.search and isinstance(record.outcome, model.VmmFailed)
            continue
        group.passed.append(record)
        for sample in record.samples:
            if _is_value(purpose, sample):
                key = model.to_key(sample.metric, sample.labels)
                group.values.setdefault(key, []).append((trial.block, sample.value, record.origin))
    for (_, name, _), group in groups.items():
        if group.failed and not group.passed and wanted[name].main:
            group.values[wanted[name].main, ()] = []
    return groups


def _find_wanted(header: model.Header, purposes: Sequence[str] | None) -> dict[str, model.Purpose]:
    return {
        each.name: each
        for each in list_purposes(header)
        if (each.counted if purposes is None else each.name in purposes)
    }


def _is_value(purpose: model.Purpose, sample: model.Sample) -> bool:
    return not purpose.search or sample.provenance is model.Provenance.DERIVED


def find_counted(header: model.Header) -> Callable[[model.Record, model.Sample], bool]:
    """What tells whether a record's sample is among the values that are summarised."""
    wanted = _find_wanted(header, None)

    def is_counted(record: model.Record, sample: model.Sample) -> bool:
        purpose = wanted.get(record.trial.purpose)
        return purpose is not None and record.holds and _is_value(purpose, sample)

    return is_counted


def find_summary(
    summaries: Iterable[model.Summary], system: str, metric: str, labels: dict[str, str] | None = None
) -> model.Summary | None:
    """The Summary of exactly these labels (none by default), or None."""
    wanted = labels or {}
    return next(
        (s for s in summaries if s.system == system and s.metric == metric and s.labels == wanted), None
    )


def find_metric(header: model.Header, name: str) -> model.Metric:
    """The run's row for a metric; a name the run does not describe gets a row without a unit."""
    family = name.partition(".")[0]
    unknown = model.Metric(
        name=name, title=name, family=family, unit="", better=model.Better.NEITHER, help=""
    )
    return next((row for row in header.metrics if row.name == name), unknown)


def find_other_method(name: str, first: model.Header, *others: model.Header) -> str:
    """In what other way one of these runs measured that metric than the first; empty if none did."""
    was = find_metric(first, name).method
    for other in others:
        if (now := find_metric(other, name).method) != was:
            ways = f"{was or 'an earlier one'} and {now or 'an earlier one'}"
            return f"the runs measured {name} in other ways: {ways}"
    return ""


def rank_metrics(header: model.Header) -> Callable[[str], int]:
    """At which place of the run's metrics one stands; those that the run does not describe come last."""
    rank = {metric.name: index for index, metric in enumerate(header.metrics)}
    return lambda name: rank.get(name, len(rank))


def sort_records(header: model.Header, records: Iterable[model.Record]) -> tuple[model.Record, ...]:
    """The records in the order in which their trials were planned."""
    position = {trial.id: index for index, trial in enumerate(header.trials)}
    ordered = sorted(
        records,
        key=lambda r: (position.get(r.trial.id, len(position)), r.trial.cycle, r.trial.id, r.started),
    )
    return Derived(ordered) if isinstance(records, Derived) else tuple(ordered)


class Derived(tuple[model.Record, ...]):
    """Records that have what is derived of several, so that it need not be derived again."""

    __slots__ = ()


def add_derived(header: model.Header, records: Iterable[model.Record]) -> Derived:
    """The records with what families derive of several added; one that has a sample keeps it."""
    if isinstance(records, Derived):
        return records
    found = list(records)
    for place, each in ask("findings", "derive", header, tuple(found)):
        record = found[place]
        if isinstance(each, model.Gap):
            found[place] = msgspec.structs.replace(record, gaps=(*record.gaps, each))
        elif not any((s.metric, s.labels) == (each.metric, each.labels) for s in record.samples):
            derived = msgspec.structs.replace(each, provenance=model.Provenance.DERIVED)
            found[place] = msgspec.structs.replace(record, samples=(*record.samples, derived))
    return Derived(found)


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> model.Interval | None:
    """An interval for the median from order statistics, distribution-free; None where n is too small.

    [x(k), x(n+1-k)] misses the median with probability 2 P(Bin(n, 1/2) < k), whatever the distribution
    [Conover]; k is the largest for which the coverage is still at least `confidence`, and the interval says
    what that coverage is. At 95% this needs n >= 6.
    """
    n, ordered = len(values), sorted(values)
    # Counted in whole numbers, of 2**n equally likely cases: no rounding, and no large fraction to shorten.
    cases, missed, chosen = 2**n, 0, 1
    found = None
    for k in range(1, n // 2 + 1):
        missed += 2 * chosen
        chosen = chosen * (n - k + 1) // k
        coverage = (cases - missed) / cases
        if coverage < confidence:
            break
        found = model.Interval(low=ordered[k - 1], high=ordered[n - k], confidence=coverage)
    return found


def smallest_sample(confidence: float = CONFIDENCE) -> int:
    """The least number of values for which `median_interval` finds an interval."""
    return next(n for n in count(2) if median_interval([0.0] * n, confidence))


def variation(summary: model.Summary) -> float | None:
    """Coefficient of variation, the SD over the mean; None below two values or for a mean of 0."""
    if summary.sd is None or not summary.mean:
        return None
    return summary.sd / abs(summary.mean)


def _summarise_group(
    header: model.Header, system: str, purpose: model.Purpose, group: Group
) -> list[model.Summary]:
    rank = rank_metrics(header)
    disturbed = _disturbances(group.passed, header.host.cpus)
    found = []
    for (name, labels), values in sorted(
        group.values.items(), key=lambda item: (rank(item[0][0]), item[0][0])
    ):
        summary = _describe(system, name, dict(labels), [value for _, value, _ in values], group.failed)
        warnings = _find_warnings(find_metric(header, name), purpose, summary, disturbed)
        found.append(msgspec.structs.replace(summary, warnings=warnings))
    return found


def _describe(
    system: str, metric: str, labels: dict[str, str], values: Sequence[float], failed: int
) -> model.Summary:
    # Between the two values nearest to the place, as most programs do it: type 7 of [Hyndman].
    quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else None
    # statistics.mean and stdev calculate exactly and round once, so the order of the values cannot matter.
    return model.Summary(
        system=system,
        metric=metric,
        labels=labels,
        n=len(values),
        failed=failed,
        values=tuple(values),
        mean=statistics.mean(values) if values else None,
        sd=statistics.stdev(values) if len(values) > 1 else None,
        median=statistics.median(values) if values else None,
        minimum=min(values, default=None),
        maximum=max(values, default=None),
        median_ci=median_interval(values),
        lower_quartile=quartiles[0] if quartiles else None,
        upper_quartile=quartiles[2] if quartiles else None,
    )


def _find_warnings(
    metric: model.Metric, purpose: model.Purpose, summary: model.Summary, disturbed: Sequence[str]
) -> tuple[str, ...]:
    """What makes a summary doubtful; times and rates scatter with whatever else the host does."""
    found, trials = [], summary.n + summary.failed
    if summary.failed and summary.n:
        found.append(f"{summary.failed} of {trials} trials failed; the statistics are of the others")
    elif summary.failed:
        found.append(f"all {trials} trials failed; there is nothing to describe")
    if metric.exact and summary.minimum != summary.maximum:
        found.append("the value changed between measurements of the same image")
    if not metric.is_timed:
        return tuple(found)
    repeated = purpose.counted and not purpose.works
    if repeated and summary.n == 1:
        found.append("one value only: no spread and no interval; measure more cycles")
    cv = variation(summary)
    if not metric.difference and cv is not None and cv >= NOISY_CV:
        found.append(f"noisy: CV {cv:.0%}; rerun on a quiet host")
    if repeated:
        found += find_concerns(summary.values).values()
    return (*found, *(() if purpose.works else disturbed))


def _disturbances(records: Sequence[model.Record], cpus: int) -> tuple[str, ...]:
    found = []
    for share, what in (
        ([r.conditions.cpu_others for r in records], "other processes used"),
        ([r.conditions.cpu_steal for r in records], "the hypervisor below took"),
    ):
        over = [value * cpus for value in share if value * cpus > BUSY_CORES]
        if over:
            found.append(
                f"the host was busy: {what} more than {BUSY_CORES:g} of its {cpus} cores "
                f"in {len(over)} of {len(share)} trials, at most {max(over):.2g}"
            )
    return tuple(found)
