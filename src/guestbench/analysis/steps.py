"""What each step of an experiment brings: the system after a change against the one before it."""

from __future__ import annotations

from collections.abc import Iterable

from guestbench.analysis.compare import compare_systems, settle
from guestbench.analysis.samples import collect
from guestbench.model import Gain, Header, Record


def find_gains(header: Header, records: Iterable[Record]) -> tuple[Gain, ...]:
    """Every step whose systems are both in the run, in each figure of the headline that is compared.

    Metrics come in the run's order, and steps in the experiment's. Verdicts heed how many steps there are.
    """
    names = {guest.system.name for guest in header.guests}
    steps = [step for step in header.experiment.steps if {step.before, step.after} <= names]
    if not steps:
        return ()
    samples = collect(header, records)
    told, pairs = [], []
    for metric in header.metrics:
        if not (metric.compared and metric.headline):
            continue
        key = (metric.name, metric.shown_labels)
        for step in steps:
            pair = compare_systems(header, samples, key, (step.after, step.before))
            if pair.found.n or pair.found.n_baseline:
                told.append(step)
                pairs.append(pair)
    return tuple(Gain(step, pair.found) for step, pair in zip(told, settle(pairs), strict=True))
