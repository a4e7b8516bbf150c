"""Holds like against like beside what was compared: packed the same way, and without a wait of one side only.

It changes no comparison and no claim. What a metric is to be held against says its row, and what a system
waits for says its definition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guestbench.analysis.compare import compare_systems
from guestbench.analysis.samples import Samples, collect
from guestbench.analysis.summary import find_metric
from guestbench.model import Beside, Comparison, Header, Judgement, Record


def find_beside(
    header: Header,
    records: Sequence[Record],
    comparisons: Sequence[Comparison],
    judgements: Sequence[Judgement],
) -> tuple[Beside, ...]:
    """What stands beside these comparisons, and beside the claims about two systems, each pair once."""
    pairs = [(each.metric, each.system, each.baseline) for each in comparisons if not each.labels]
    pairs += [
        (each.claim.metric, each.system, each.claim.against)
        for each in judgements
        if each.claim.against and not each.claim.labels
    ]
    samples = collect(header, records)
    return tuple(each for pair in dict.fromkeys(pairs) for each in _find(header, samples, *pair))


def _find(header: Header, samples: Samples, metric: str, system: str, baseline: str) -> Iterator[Beside]:
    row = find_metric(header, metric)
    known = {each.name: each for each in header.systems}
    if not {system, baseline} <= known.keys():
        return

    def hold(figure: str, name: str, against: str) -> Comparison | None:
        found = compare_systems(header, samples, (figure, ()), (name, against)).found
        return found if found.ratio is not None else None

    if row.like and (found := hold(row.like, system, baseline)):
        title = find_metric(header, row.like).title.lower()
        yield Beside(metric=metric, system=system, baseline=baseline, what=f"both {title}", found=found)
    wait = known[baseline].wait
    if wait is not None and wait.metric == metric:
        there = wait.without in known and wait.without != system
        without = hold(metric, system, wait.without) if there else None
        yield Beside(metric=metric, system=system, baseline=baseline, what=wait.what, found=without)
