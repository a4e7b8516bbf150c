"""Decides when a run of blocks is enough, by the rule in its header; it starts nothing and drops no value.

A look is at the ratio of each system to the baseline within whole blocks, and never at one system's own
interval: that is narrow on a host that happens to be calm, and says nothing of the comparison.

Looking more than once makes a difference appear by chance more often than looking once. Where a verdict is
the goal, each look is therefore held to a stricter level [Pocock], and so is the comparison of the finished
run. Where a width is, the rule does not ask what the ratio is; what remains is that a run ends where a width
is small by chance [CR], which costs the interval about a point of its coverage.

[Pocock] S. J. Pocock: Group sequential methods in the design and analysis of clinical trials, Biometrika 64
(1977).
[CR] Y. S. Chow, H. Robbins: On the asymptotic theory of fixed-width sequential confidence intervals, Annals
of Mathematical Statistics 36 (1965).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean

import msgspec

from guestbench.analysis.budget import fit
from guestbench.analysis.summary import CONFIDENCE, find_metric
from guestbench.families import list_purposes
from guestbench.model import Goal, GuestFamily, Header, Interval, Look, Looks, Record, StopRule, Trial

COVERAGE = 0.94
"""Of the 95% interval of a run that stops by its width, in the worst of the cases simulated."""
CHANCE = 0.063
"""How often equal systems are told apart at any of five looks that double; at Pocock's, equally far, 5.1%."""

Values = dict[str, dict[int, float]]
"""By system, then by block."""


def trim(header: Header, records: Sequence[Record]) -> Header:
    """The header without the trials that the rule made needless, or the budget dropped: none is missing."""
    return fit(trim_to_rule(header, records), records)


def trim_to_rule(header: Header, records: Sequence[Record]) -> Header:
    """The header without the trials that the rule made needless."""
    end = find_looks(header, records).end
    if end is None:
        return header
    steered = find_steered(header, counted=False)
    trials = (trial for trial in header.trials if trial.purpose not in steered or trial.block <= end)
    return msgspec.structs.replace(header, trials=tuple(trials))


def find_steered(header: Header, *, counted: bool = True) -> Mapping[str, str]:
    """The purposes of the trials of which there are as many as the rule wants, each with its main metric.

    Those that are not `counted` are in the same blocks, and have no part in the looks.
    """
    steering = {metric.name for metric in header.metrics if metric.steers}
    purposes = (each for each in list_purposes(header) if each.counted or not counted)
    return {each.name: each.main for each in purposes if each.main in steering}


def find_confidence(header: Header, metric: str) -> float:
    """The confidence of intervals of a metric, by which the run may have been stopped: that of its looks."""
    family = find_metric(header, metric).family
    if header.until is None or not any(each.steers and each.family == family for each in header.metrics):
        return CONFIDENCE
    return 1 - header.until.alpha


def find_looks(header: Header, records: Sequence[Record]) -> Looks:
    """Every look that the records allow, up to the one that ends the run.

    A system that has no pair yet is not waited for; where none has any, there is nothing to go on for.
    """
    rule = header.until
    if rule is None:
        return Looks()
    steered = find_steered(header)
    whole = _count_whole([t for t in header.trials if t.purpose in steered and t.block], records)
    values = {metric: _find_values(records, steered, metric) for metric in steered.values()}
    taken: list[Look] = []
    for blocks in rule.looks:
        if blocks > whole:
            break
        seen = [
            look for metric, known in values.items() for look in _look_at(header, rule, metric, known, blocks)
        ]
        taken += seen
        if all(look.reached for look in seen):
            return Looks(taken=tuple(taken), end=blocks)
    return Looks(taken=tuple(taken))


def _count_whole(planned: Collection[Trial], records: Sequence[Record]) -> int:
    """So many blocks are made whole, from the first on."""
    done = {record.trial.id for record in records}
    left = [trial.block for trial in planned if trial.id not in done]
    return min(left) - 1 if left else max((trial.block for trial in planned), default=0)


def _find_values(records: Sequence[Record], steered: Mapping[str, str], metric: str) -> Values:
    found: Values = {}
    for record in records:
        if record.holds and record.trial.block and steered.get(record.trial.purpose) == metric:
            for sample in record.samples:
                if sample.metric == metric and not sample.labels and sample.value > 0:
                    found.setdefault(record.trial.system, {})[record.trial.block] = sample.value
    return found


def _look_at(header: Header, rule: StopRule, metric: str, values: Values, blocks: int) -> list[Look]:
    baseline = header.experiment.baseline
    theirs = values.get(baseline, {})
    found = []
    for guest in header.guests:
        name = guest.system.name
        mine = values.get(name, {})
        both = [block for block in sorted(mine) if block in theirs and block <= blocks]
        if name == baseline or guest.system.family is GuestFamily.FLOOR or not both:
            continue
        logs = [math.log(mine[block] / theirs[block]) for block in both]
        middles = (fmean(side[block] for block in both) for side in (mine, theirs))
        finest = [find_metric(header, metric).read_to(middle) / middle for middle in middles]
        interval, p, reached = judge(rule, logs, finest)
        found.append(
            Look(
                blocks=blocks,
                metric=metric,
                system=name,
                pairs=len(both),
                ratio=math.exp(math.fsum(logs) / len(logs)),
                interval=interval.through(math.exp) if interval else None,
                p=p,
                reached=reached,
            )
        )
    return found


def judge(
    rule: StopRule, logs: Sequence[float], finest: Sequence[float] = ()
) -> tuple[Interval | None, float | None, bool]:
    """The interval of differences of logarithms within blocks, p if it was needed, and whether they do.

    `finest` is what the instrument can tell apart, as a share of the values of either side.
    """
    # Statistics take half a second to load.
    from guestbench.analysis.inference import pair_interval, paired_permutation_p, resolution_variance

    interval = pair_interval(logs, 1 - rule.alpha, sum(map(resolution_variance, finest)))
    if interval is None or len(logs) < rule.looks[0]:
        return interval, None, False
    low, high = interval.low, interval.high
    if rule.goal is Goal.CI:
        return interval, None, (high - low) / 2 <= math.log1p(rule.width)
    least = math.log1p(rule.effect)
    if -least < low and high < least:
        return interval, None, True
    if low <= 0 <= high or abs(low + high) / 2 < least:
        return interval, None, False
    p = paired_permutation_p(logs)
    return interval, p, p <= rule.alpha
