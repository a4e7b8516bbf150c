"""Holds like against like beside what was compared: packed the same way, and without a wait of one side only.

It changes no comparison and no claim. What a metric is to be held against says its row, and what a system
waits for says its definition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guestbench.analysis.compare import compare
from guestbench.analysis.samples import Sampled, Samples, collect
from guestbench.analysis.stopping import find_confidence
from guestbench.analysis.summary import add_derived, find_metric, sort_records
from guestbench.model import Beside, Comparison, Header, Judgement, Record, to_key


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
    samples = collect(header, sort_records(header, add_derived(header, records)))
    return tuple(each for pair in dict.fromkeys(pairs) for each in _find(header, samples, *pair))


def _find(header: Header, samples: Samples, metric: str, system: str, baseline: str) -> Iterator[Beside]:
    row = find_metric(header, metric)
    known = {each.name: each for each in header.systems}
    if not {system, baseline} <= known.keys():
        return

    def hold(figure: str, name: str, against: str) -> Comparison | None:
        mine, theirs = (samples[each].get(to_key(figure, {}), Sampled()) for each in (name, against))
        if not mine.values or not theirs.values:
            return None
        exact = find_metric(header, figure).exact
        found = compare(
            mine,
            theirs,
            key=(figure, ()),
            names=(name, against),
            exact=exact,
            confidence=find_confidence(header, figure),
        )
        return found if found.ratio is not None else None

    if row.like and (found := hold(row.like, system, baseline)):
        title = find_metric(header, row.like).title.lower()
        yield Beside(metric=metric, system=system, baseline=baseline, what=f"both {title}", found=found)
    wait = known[baseline].wait
    if wait is not None and wait.metric == metric:
        there = wait.without in known and wait.without != system
        without = hold(metric, system, wait.without) if there else None
        yield Beside(metric=metric, system=system, baseline=baseline, what=wait.what, found=without)
