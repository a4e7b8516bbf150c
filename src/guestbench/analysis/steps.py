"""What each step of an experiment brings: the system after a change against the one before it."""

from __future__ import annotations

from collections.abc import Iterable

from guestbench.analysis.compare import Pair, compare, settle
from guestbench.analysis.samples import Sampled, collect
from guestbench.analysis.stopping import find_confidence
from guestbench.analysis.summary import sort_records
from guestbench.model import Gain, Header, Record


def find_gains(header: Header, records: Iterable[Record]) -> tuple[Gain, ...]:
    """Every step whose systems are both in the run, in each figure of the headline that is compared.

    `records` have what is derived of several. Metrics come in the run's order, and steps in the
    experiment's. Verdicts heed how many steps there are.
    """
    names = {guest.system.name for guest in header.guests}
    steps = [step for step in header.experiment.steps if {step.before, step.after} <= names]
    if not steps:
        return ()
    samples = collect(header, sort_records(header, records))
    told, pairs = [], []
    for metric in header.metrics:
        if not (metric.compared and metric.headline):
            continue
        key = (metric.name, metric.shown_labels)
        for step in steps:
            after, before = (samples[name].get(key, Sampled()) for name in (step.after, step.before))
            if not after.values and not before.values:
                continue
            found = compare(
                after,
                before,
                key=key,
                names=(step.after, step.before),
                exact=metric.exact,
                confidence=find_confidence(header, metric.name),
            )
            told.append(step)
            pairs.append(Pair(found, after, before))
    return tuple(Gain(step, pair.found) for step, pair in zip(told, settle(pairs), strict=True))
