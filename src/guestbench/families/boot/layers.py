"""What each layer of a system's stack costs: its time in boots, its size in the image; it compares none."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from guestbench.analysis.summary import find_summary, sort_records, summarise
from guestbench.families.boot.milestones import times_of
from guestbench.model import (
    Frozen,
    Header,
    Layer,
    Ok,
    Record,
)


class LayerCost(Frozen):
    """A layer with its mean time in seconds over the `n` boots that passed it, and its bytes in the image."""

    layer: Layer
    n: int = 0
    mean: float | None = None
    sd: float | None = None
    size_bytes: float | None = None


def find_layers(header: Header, records: Sequence[Record]) -> dict[str, tuple[LayerCost, ...]]:
    """The layers of every system of the run that names any, from the firmware up."""
    ordered = sort_records(header, records)
    sizes = summarise(header, records)
    found = {}
    for guest in header.guests:
        name = guest.system.name
        trials = [
            times_of(record)
            for record in ordered
            if record.trial.system == name
            and record.trial.purpose == "boot"
            and isinstance(record.outcome, Ok)
        ]
        costs = []
        for layer in guest.system.layers:
            size = find_summary(sizes, name, layer.size) if layer.size else None
            costs.append(_describe(layer, trials, size.median if size else None))
        if costs:
            found[name] = tuple(costs)
    return found


def _describe(layer: Layer, trials: Sequence[dict[str, float]], size_bytes: float | None) -> LayerCost:
    differences = [
        times[layer.until] - (times[layer.since] if layer.since else 0.0)
        for times in trials
        if layer.until in times and (not layer.since or layer.since in times)
    ]
    return LayerCost(
        layer=layer,
        n=len(differences),
        mean=statistics.mean(differences) if differences else None,
        sd=statistics.stdev(differences) if len(differences) > 1 else None,
        size_bytes=size_bytes,
    )
