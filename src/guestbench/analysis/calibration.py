"""What a run says of its own instruments: what pairs of a known ratio came out at, and planted quantities.

A family tells which of its trials those are (`findings.known_ratios` and `findings.planted`).
The line through planted quantities is fitted within blocks: each block has a level of its own, which is
subtracted with its means, so that a host that grows slower does not tilt it. Its interval is Student's
[Weisberg].

[Weisberg] S. Weisberg: Applied Linear Regression, 4th ed., Wiley 2014, section 2.6.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from statistics import fmean, stdev

from guestbench.analysis import inference
from guestbench.analysis.compare import compare
from guestbench.analysis.samples import Sampled, find_pairs
from guestbench.analysis.summary import find_metric
from guestbench.families import ask
from guestbench.model import REPLAYING_VMM, Header, Key, KnownRatio, Record, Recovery, Told

LEAST_PAIRS = 3
"""Fewer say nothing of how they scatter."""
BLOCKS = (10, 20, 40, 80)
"""Of so many it is told what they would tell apart."""
Points = Sequence[tuple[int, float, float]]
"""Values: the block of each, what was planted, and what was measured."""


def find_known_ratios(header: Header, records: Sequence[Record]) -> Iterator[KnownRatio]:
    """What the run's pairs of a known ratio came out at; pairs without a value are left out."""
    if header.platform.vmm == REPLAYING_VMM:
        return
    for system, key, second, first, expected in ask("findings", "known_ratios", header, records):
        if find_pairs(second, first):
            yield _compare_known(header, system, key, second, first, expected)


def _compare_known(
    header: Header, system: str, key: Key, second: Sampled, first: Sampled, expected: float
) -> KnownRatio:
    pairs = find_pairs(second, first)
    metric = find_metric(header, key[0])
    found = compare(second, first, key=key, names=(system, system))
    sd = None
    told: list[Told] = []
    if len(pairs) >= LEAST_PAIRS and min(map(min, pairs)) > 0:
        # Values that are all alike scatter still, by less than the instrument tells apart.
        middle = fmean(value for _, value in pairs)
        variance = 2 * inference.resolution_variance(metric.read_to(middle), middle)
        sd = max(stdev(math.log(a / b) for a, b in pairs), math.sqrt(variance))
        sizes = dict.fromkeys((len(pairs), *BLOCKS))
        told = [Told(blocks=n, effect=math.expm1(inference.least_effect(sd, n))) for n in sizes]
    return KnownRatio(
        system=system,
        metric=metric.name,
        labels=dict(key[1]),
        expected=expected,
        n=len(pairs),
        ratio=found.ratio,
        interval=found.ratio_ci,
        sd=sd,
        told=tuple(told),
    )


def find_recoveries(header: Header, records: Sequence[Record]) -> Iterator[Recovery]:
    """How what was planted was recovered; what was not planted in two amounts at least is left out."""
    for system, metric, points in ask("findings", "planted", header, records):
        recovered = recover(system, metric, points)
        if recovered is not None:
            yield recovered


def recover(system: str, metric: str, points: Points) -> Recovery | None:
    """The line through values of known quantities, within blocks; None where no block has two quantities."""
    centred = [each for block in {at for at, _, _ in points} for each in _centre(block, points)]
    square = sum(x * x for x, _ in centred)
    if not square:
        return None
    blocks = len({at for at, _, _ in points})
    slope = sum(x * y for x, y in centred) / square
    freedom = len(centred) - blocks - 1
    sd = interval = None
    if freedom > 0:
        sd = math.sqrt(sum((y - slope * x) ** 2 for x, y in centred) / freedom)
        interval = inference.student_interval(slope, sd**2 / square, freedom)
    return Recovery(
        system=system,
        metric=metric,
        n=len(centred),
        blocks=blocks,
        slope=slope,
        interval=interval,
        residual_sd=sd,
    )


def _centre(block: int, points: Points) -> list[tuple[float, float]]:
    """The values of a block less the block's means."""
    own = [(x, y) for at, x, y in points if at == block]
    mean_x, mean_y = fmean(x for x, _ in own), fmean(y for _, y in own)
    return [(x - mean_x, y - mean_y) for x, y in own]
