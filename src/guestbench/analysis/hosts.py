"""Holds against one another what several hosts found of the same systems, and pools ratios, never times.

A host is a block: each ratio is of values of one host, and within its blocks where there are such. What the
hosts have in common is pooled from these, each host counting alike: they are a sample of hosts like them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from guestbench.analysis import inference
from guestbench.analysis.compare import compare_systems
from guestbench.analysis.diff_setting import find_mismatches, find_mixed_images
from guestbench.analysis.samples import Sampled, Samples, collect
from guestbench.analysis.summary import add_derived, find_metric, rank_metrics
from guestbench.errors import UsageError
from guestbench.families import ask, find_purpose
from guestbench.model import Comparison, Frozen, GuestFamily, Header, Host, Interval, Key, Method, Record

Run = tuple[Header, Sequence[Record]]
OF_HOSTS = ("host", "CPU", "kernel of the host")
"""In what runs of different hosts may differ."""
FEWEST_HOSTS = 2
EQUAL = 1e-9


class HostRatio(Frozen):
    """A ratio on one host, by its place among the hosts, with its interval where it has one."""

    host: int
    found: Comparison


class PooledRatio(Frozen):
    """A ratio of a system to the baseline on several hosts, and what these have in common.

    `ratio` is the geometric mean of those of `hosts` that show how their values scatter, and `interval` is of
    that mean over all hosts like them; `spread` is the factor by which hosts differ (1 SD), 1 where all that
    they differ by may be chance. `reason` says why there is no interval.
    """

    metric: str
    labels: dict[str, str]
    system: str
    baseline: str
    hosts: tuple[HostRatio, ...]
    ratio: float | None = None
    interval: Interval | None = None
    spread: float | None = None
    reason: str = ""


class HostValue(Frozen):
    """The median of a figure of a system on each host, by its place; None where it has none there."""

    metric: str
    labels: dict[str, str]
    system: str
    medians: tuple[float | None, ...]


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """Runs of several hosts as one experiment."""

    headers: tuple[Header, ...]
    counts: tuple[int, ...]
    failed: tuple[int, ...]
    ratios: tuple[PooledRatio, ...]
    values: tuple[HostValue, ...]

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The hosts, in their order."""
        return tuple(header.host for header in self.headers)


def refuse_unlike(runs: Sequence[Run], names: Sequence[str]) -> None:
    """Refuse runs that are no parts of one experiment; `names` are what they are called.

    Raises:
        UsageError: they are of one host, or differ in more than their hosts.
    """
    headers = [header for header, _ in runs]
    first = headers[0]
    for number, (header, name) in enumerate(zip(headers, names, strict=True)):
        for before in range(number):
            if headers[before].host.digest == header.host.digest:
                raise UsageError(
                    f"{names[before]} and {name} are of one host", f"guestbench diff {names[before]} {name}"
                )
        unlike = [
            f"{each.what}: {each.old} and {each.new}"
            for each in find_mismatches(first, header)
            if each.what not in OF_HOSTS
        ]
        baselines = first.experiment.baseline, header.experiment.baseline
        if baselines[0] != baselines[1]:
            unlike.append(f"the baseline: {' and '.join(baselines)}")
        if unlike:
            hint = f"guestbench report {name}"
            raise UsageError(f"{names[0]} and {name} differ in {'; '.join(unlike)}", hint)
    mixed = find_mixed_images(headers)
    if mixed:
        raise UsageError(
            f"not of the same images in all runs: {', '.join(mixed)}", f"guestbench report {names[0]}"
        )


def merge(runs: Sequence[Run]) -> Merged:
    """What several hosts found, each of them one run."""
    derived = [(header, add_derived(header, records)) for header, records in runs]
    sampled = [collect(header, records) for header, records in derived]
    unlike = [set(ask("findings", "unlike", header, records)) for header, records in derived]
    first = runs[0][0]
    baseline, rank = first.experiment.baseline, rank_metrics(first)
    named = {guest.system.name: guest.system.family for header, _ in runs for guest in header.guests}
    keys = sorted(
        {key for samples in sampled for mine in samples.values() for key in mine},
        key=lambda key: (rank(key[0]), key),
    )
    keys = [key for key in keys if find_metric(first, key[0]).is_compared_with(dict(key[1]))]
    return Merged(
        headers=tuple(header for header, _ in runs),
        counts=tuple(len(records) for _, records in runs),
        failed=tuple(
            sum(not record.holds and not find_purpose(record.trial.purpose).search for record in records)
            for _, records in runs
        ),
        ratios=tuple(
            pooled
            for key in keys
            for name, family in named.items()
            if family is not GuestFamily.FLOOR and name != baseline
            if not any({(key[0], name), (key[0], baseline)} & each for each in unlike)
            if (pooled := _pool(runs, sampled, key, (name, baseline))).hosts
        ),
        values=tuple(
            HostValue(metric=key[0], labels=dict(key[1]), system=name, medians=medians)
            for key in keys
            for name in named
            if any(medians := tuple(_median(each, name, key) for each in sampled))
        ),
    )


def _median(samples: Samples, name: str, key: Key) -> float | None:
    from statistics import median

    values = samples.get(name, {}).get(key, Sampled()).numbers
    return median(values) if values else None


def _pool(runs: Sequence[Run], sampled: Sequence[Samples], key: Key, names: tuple[str, str]) -> PooledRatio:
    ratios: list[HostRatio] = []
    estimates: list[inference.Estimate] = []
    for number, ((header, _), samples) in enumerate(zip(runs, sampled, strict=True)):
        if not all(key in samples.get(name, {}) for name in names):
            continue
        pair = compare_systems(header, samples, key, names)
        if pair.found.ratio is not None:
            ratios.append(HostRatio(host=number, found=pair.found))
            if (estimate := pair.log_ratio()) is not None:
                estimates.append(estimate)
    pooled = PooledRatio(
        metric=key[0], labels=dict(key[1]), system=names[0], baseline=names[1], hosts=tuple(ratios)
    )
    known = [each.found.ratio for each in ratios if each.found.ratio]
    exact = all(each.found.method in (Method.EXACT, Method.SEARCH) for each in ratios)
    if known and max(known) <= min(known) * (1 + EQUAL) and (exact or len(known) >= FEWEST_HOSTS):
        where = "the same on every host" if len(known) >= FEWEST_HOSTS else "found on one host"
        return msgspec.structs.replace(pooled, ratio=known[0], reason=where)
    if len(estimates) < FEWEST_HOSTS:
        few = f"{len(estimates)} of {len(runs)} hosts have values that show how they scatter"
        return msgspec.structs.replace(pooled, reason=few)
    found, spread = inference.pool(estimates)
    return msgspec.structs.replace(
        pooled,
        ratio=inference.exp(found.middle),
        interval=inference.student_interval(*found).through(inference.exp),
        spread=math.exp(spread),
    )
