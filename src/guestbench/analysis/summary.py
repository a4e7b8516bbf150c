"""Describes each system's values of each metric; never compares systems and never judges a difference.

Sources of the choices made here:
[Conover] W. J. Conover, Practical Nonparametric Statistics, 3rd ed., Wiley 1999, section 3.2.
[Hyndman] R. J. Hyndman, Y. Fan: Sample quantiles in statistical packages, American Statistician 50 (1996).
[pyperf] the `check` command of the pyperf benchmark runner, which warns from an SD of a tenth of the mean.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count

import msgspec

from guestbench.analysis.stability import find_concerns
from guestbench.families.memory.findings import LEAST, add_derived_memory
from guestbench.families.surface.findings import add_derived_surface
from guestbench.model import (
    Better,
    GuestFamily,
    Header,
    Interval,
    Metric,
    Ok,
    Provenance,
    Record,
    Sample,
    Summary,
)

CONFIDENCE = 0.95
"""Least coverage of an interval."""

NOISY_CV = 0.10
"""Coefficient of variation from which a result is called noisy [pyperf]."""

BUSY_SHARE = 0.10
"""Share of the host's CPU time used by others above which a trial counts as disturbed.

On a host of two CPUs a neighbour that keeps one busy shows as half; a tenth is above what an idle host shows.
"""

READY = "boot.ready"
ABOVE_FLOOR = "boot.above_floor"
"""The one metric of boots that is derived here rather than measured by a probe."""

COUNTED = (
    "image",
    "boot",
    "memory",
    "memory-min",
    "work",
    "net",
    "cross-check",
)
"""The purposes that enter the statistics unless others are asked for: no warm-ups, no first boots."""


UNTIMED = ("image", "memory", "memory-min")
WORKING = ("work", "net", "cross-check")
"""Those of them in which a guest is given work."""

Key = tuple[str, tuple[tuple[str, str], ...]]
"""A metric and its labels, sorted by name."""


def summarise(
    header: Header, records: Iterable[Record], purposes: Sequence[str] = COUNTED
) -> tuple[Summary, ...]:
    """One Summary per system, metric and labels, in the order of the header's systems and metrics.

    Values are those of successful trials, in the order the trials were planned, whatever the order of
    `records`. `failed` counts the system's trials of the same purpose that did not succeed. A system none
    of whose boots succeeded gets one Summary of `boot.ready` with n = 0. Derived metrics are included. Of
    the search for the least RAM only its result is: the sizes tried are no sample of anything.
    """
    groups = group_trials(header, records, purposes)
    return tuple(
        summary
        for purpose in purposes
        for guest in header.guests
        for (system, reason, _), group in groups.items()
        if (system, reason) == (guest.system.name, purpose)
        for summary in _summarise_group(header, system, purpose, group)
    )


class Group(msgspec.Struct):
    """The trials of one system, purpose and workload: that one piece of work fails says nothing of another.

    `values` has those of successful trials, each with its block, by metric and labels; `passed` is those
    trials, and `failed` the number of the others. A size that is not enough is an answer of the search for
    the least RAM, and no failure; and of that search only the result is a value: the sizes tried are no
    sample of anything. A system none of whose boots succeeded has `boot.ready` without a value.
    """

    values: dict[Key, list[tuple[int, int | float]]] = {}
    passed: list[Record] = []
    failed: int = 0


def group_trials(
    header: Header, records: Iterable[Record], purposes: Sequence[str] = COUNTED
) -> dict[tuple[str, str, str], Group]:
    """The trials of these purposes, what is derived of several included, in the order they were planned."""
    groups: dict[tuple[str, str, str], Group] = {}
    for record in sort_records(header, add_derived(header, records)):
        trial = record.trial
        if trial.purpose not in purposes:
            continue
        group = groups.setdefault((trial.system, trial.purpose, trial.workload), Group())
        searching = trial.purpose == "memory-min"
        if not record.holds:
            group.failed += not searching
            continue
        group.passed.append(record)
        for sample in record.samples:
            if not searching or sample.metric == LEAST:
                key = to_key(sample.metric, sample.labels)
                group.values.setdefault(key, []).append((trial.block, sample.value))
    for (_, purpose, _), group in groups.items():
        if group.failed and not group.passed and purpose not in (*UNTIMED, *WORKING):
            group.values[READY, ()] = []
    return groups


def to_key(metric: str, labels: Mapping[str, str]) -> Key:
    """A metric and its labels, as what values are looked up by."""
    return metric, tuple(sorted(labels.items()))


def find_summary(
    summaries: Iterable[Summary], system: str, metric: str, labels: dict[str, str] | None = None
) -> Summary | None:
    """The Summary of exactly these labels (none by default), or None."""
    wanted = labels or {}
    return next(
        (s for s in summaries if s.system == system and s.metric == metric and s.labels == wanted), None
    )


def find_metric(header: Header, name: str) -> Metric:
    """The run's row for a metric; a name the run does not describe gets a row without a unit."""
    known = {metric.name: metric for metric in header.metrics}
    prefix = name.partition(".")[0]
    return known.get(name) or Metric(
        name=name, title=name, family=prefix, unit="", better=Better.NEITHER, help=""
    )


def rank_metrics(header: Header) -> Callable[[str], int]:
    """At which place of the run's metrics one stands; those that the run does not describe come last."""
    rank = {metric.name: index for index, metric in enumerate(header.metrics)}
    return lambda name: rank.get(name, len(rank))


def sort_records(header: Header, records: Iterable[Record]) -> tuple[Record, ...]:
    """The records in the order in which their trials were planned."""
    position = {trial.id: index for index, trial in enumerate(header.trials)}
    ordered = sorted(
        records,
        key=lambda r: (position.get(r.trial.id, len(position)), r.trial.cycle, r.trial.id, r.started),
    )
    return Derived(ordered) if isinstance(records, Derived) else tuple(ordered)


class Derived(tuple[Record, ...]):
    """Records that have what is derived of several, so that it need not be derived again."""

    __slots__ = ()


def add_derived(header: Header, records: Iterable[Record]) -> Derived:
    """The records with what is derived of several: see `memory` and `surface` here, and `boot.above_floor`.

    The latter is added to every successful counted boot that has `boot.ready`, but those of the floor. The
    floor's median is taken of the run's successful floor boots; where the run has none, nothing is added,
    and neither is to a record that has the sample already.
    """
    if isinstance(records, Derived):
        return records
    given = add_derived_surface(add_derived_memory(header, tuple(records)))
    floor = floor_median(header, given)
    if floor is None:
        return Derived(given)
    floors = {guest.system.name for guest in header.guests if guest.system.family is GuestFamily.FLOOR}
    return Derived(
        _add_above_floor(record, floor)
        if record.trial.purpose == "boot" and record.trial.system not in floors
        else record
        for record in given
    )


def floor_median(header: Header, records: Iterable[Record]) -> float | None:
    """Median `boot.ready`, in seconds, of the first floor system that got ready at all; None without one."""
    given = tuple(records)
    for guest in header.guests:
        if guest.system.family is not GuestFamily.FLOOR:
            continue
        values = [
            sample.value
            for record in given
            if _is(record, guest.system.name, "boot") and isinstance(record.outcome, Ok)
            for sample in record.samples
            if sample.metric == READY and not sample.labels
        ]
        if values:
            return statistics.median(values)
    return None


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval | None:
    """An interval for the median from order statistics, distribution-free; None where n is too small.

    [x(k), x(n+1-k)] misses the median with probability 2 P(Bin(n, 1/2) < k), whatever the distribution
    [Conover]; k is the largest for which the coverage is still at least `confidence`, and the interval says
    what that coverage is. At 95% this needs n >= 6.
    """
    n = len(values)
    # Counted in whole numbers, of 2**n equally likely cases: no rounding, and no large fraction to shorten.
    cases, missed, chosen = 2**n, 0, 1
    found: tuple[int, float] | None = None
    for k in range(1, n // 2 + 1):
        missed += 2 * chosen
        chosen = chosen * (n - k + 1) // k
        coverage = (cases - missed) / cases
        if coverage < confidence:
            break
        found = (k, coverage)
    if found is None:
        return None
    rank, coverage = found
    ordered = sorted(values)
    return Interval(low=ordered[rank - 1], high=ordered[n - rank], confidence=coverage)


def smallest_sample(confidence: float = CONFIDENCE) -> int:
    """The least number of values for which `median_interval` finds an interval."""
    return next(n for n in count(2) if median_interval([0.0] * n, confidence))


def variation(summary: Summary) -> float | None:
    """Coefficient of variation, the SD over the mean; None below two values or for a mean of 0."""
    if summary.sd is None or not summary.mean:
        return None
    return summary.sd / abs(summary.mean)


def _is(record: Record, system: str, purpose: str) -> bool:
    return record.trial.system == system and record.trial.purpose == purpose


def _add_above_floor(record: Record, floor: float) -> Record:
    if not isinstance(record.outcome, Ok) or any(s.metric == ABOVE_FLOOR for s in record.samples):
        return record
    derived = tuple(
        Sample(metric=ABOVE_FLOOR, value=s.value - floor, provenance=Provenance.DERIVED)
        for s in record.samples
        if s.metric == READY and not s.labels
    )
    return msgspec.structs.replace(record, samples=(*record.samples, *derived))


def _summarise_group(header: Header, system: str, purpose: str, group: Group) -> list[Summary]:
    rank = rank_metrics(header)
    disturbed = _disturbances(group.passed) if purpose not in (*UNTIMED, *WORKING) else ()
    return [
        _describe(
            system, metric, dict(labels), [value for _, value in values], group.failed, purpose, disturbed
        )
        for (metric, labels), values in sorted(
            group.values.items(), key=lambda item: (rank(item[0][0]), item[0][0])
        )
    ]


def _describe(
    system: str,
    metric: str,
    labels: dict[str, str],
    values: Sequence[float],
    failed: int,
    purpose: str,
    disturbed: tuple[str, ...],
) -> Summary:
    # Between the two values nearest to the place, as most programs do it: type 7 of [Hyndman].
    quartiles = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else None
    # statistics.mean and stdev calculate exactly and round once, so the order of the values cannot matter.
    summary = Summary(
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
    if purpose == "image":
        warnings = _image_warnings(summary)
    elif purpose in ("memory", "memory-min"):
        warnings = _failure_warnings(summary)
    else:
        warnings = (*_boot_warnings(summary, purpose), *disturbed)
    return msgspec.structs.replace(summary, warnings=warnings)


def _image_warnings(summary: Summary) -> tuple[str, ...]:
    if summary.minimum != summary.maximum:
        return ("the size changed between measurements of the same image",)
    return ()


def _failure_warnings(summary: Summary) -> tuple[str, ...]:
    trials = summary.n + summary.failed
    if summary.failed and summary.n:
        return (f"{summary.failed} of {trials} trials failed; the statistics are of the others",)
    if summary.failed:
        return (f"all {trials} trials failed; there is nothing to describe",)
    return ()


def _boot_warnings(summary: Summary, purpose: str) -> tuple[str, ...]:
    found = [*_failure_warnings(summary)]
    if summary.n == 1 and purpose == "boot":
        found.append("one value only: no spread and no interval; raise --cycles")
    cv = variation(summary)
    # A difference to the floor can be near 0, where a relative spread means nothing.
    if summary.metric != ABOVE_FLOOR and cv is not None and cv >= NOISY_CV:
        found.append(f"noisy: CV {cv:.0%}; rerun on a quiet host")
    if purpose == "boot":
        found += map(str, find_concerns(summary.values))
    return tuple(found)


def _disturbances(records: Sequence[Record]) -> tuple[str, ...]:
    found = []
    for share, what in (
        ([r.conditions.cpu_others for r in records], "other processes used"),
        ([r.conditions.cpu_steal for r in records], "the hypervisor below took"),
    ):
        over = [value for value in share if value > BUSY_SHARE]
        if over:
            found.append(
                f"the host was busy: {what} more than {BUSY_SHARE:.0%} of its CPU time "
                f"in {len(over)} of {len(share)} trials, at most {max(over):.0%}"
            )
    return tuple(found)
