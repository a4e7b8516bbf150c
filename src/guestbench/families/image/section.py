"""Image sizes in the report: rounded and exact, and what images are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guestbench.analysis.findings import Findings
from guestbench.families.image.plots import draw_sizes
from guestbench.model import LabelSet, Metric, Ok, Provenance
from guestbench.page.blocks import Block, Bullets, Section, say
from guestbench.page.figures import by_system, show_amount, tell_metrics
from guestbench.page.numbers import NOTHING, UNKNOWN, show_exact

IMAGE = "image"
Key = tuple[Metric, LabelSet]


def sections(found: Findings) -> Iterator[Section]:
    """The sizes, if any image was measured."""
    names = {summary.metric for summary in found.summaries if summary.n}
    metrics = [each for each in found.header.metrics if each.family == IMAGE and each.name in names]
    if metrics:
        shown = tuple(metric.name for metric in metrics)
        yield Section("image-size", "Image size", tuple(_describe(found, metrics)), metrics=shown)


def _describe(found: Findings, metrics: Sequence[Metric]) -> Iterator[Block]:
    keys: dict[Key, None] = {
        (metric, tuple(summary.labels.items())): None
        for metric in metrics
        for summary in found.summaries
        if summary.metric == metric.name
    }
    trials = found.find_trials((IMAGE,))
    measured = {record.trial.system for record in trials if isinstance(record.outcome, Ok)}
    kinds = {
        (sample.metric, tuple(sorted(sample.labels.items())), record.trial.system): sample.provenance
        for record in trials
        for sample in record.samples
        if sample.provenance is not Provenance.MEASURED
    }

    def name(key: Key) -> str:
        return ", ".join((key[0].title, *(value for _, value in key[1])))

    def show_exactly(key: Key, system: str) -> str:
        summary = found.find(system, key[0].name, key[1])
        return show_exact(summary.median) if summary else NOTHING if system in measured else UNKNOWN

    def show(key: Key, system: str) -> str:
        metric, labels = key
        summary = found.find(system, metric.name, labels)
        kind = kinds.get((metric.name, labels, system))
        note = f" ({kind.value})" if kind else ""
        return f"{show_amount(summary.median, metric.unit)}{note}" if summary else show_exactly(key, system)

    yield draw_sizes(found)
    yield by_system(("Size",), found.names, keys, lambda key: (name(key),), show)
    yield say("""
        "–" means not applicable to this system, or not to be read out of its image; "?" not known, because
          its measurement failed.
        Values are measured unless a cell says otherwise.
        One MB is 1,000,000 bytes. The same exactly:
    """)
    yield by_system(("Size", "Unit"), found.names, keys, lambda key: (name(key), key[0].unit), show_exactly)
    yield Bullets(tell_metrics(metrics))
