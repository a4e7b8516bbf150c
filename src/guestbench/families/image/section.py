"""Image sizes in the report: rounded and exact, and what images are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from guestbench.analysis.summary import find_summary
from guestbench.families.image.plots import draw_sizes
from guestbench.model import Header, Metric, Ok, Provenance, Record, Summary
from guestbench.page.blocks import Block, Bullets, Paragraph, Section
from guestbench.page.figures import by_system, show_amount, tell_metrics
from guestbench.page.numbers import NOTHING, UNKNOWN, show_exact

Key = tuple[Metric, tuple[tuple[str, str], ...]]


def sections(header: Header, records: Sequence[Record], summaries: Sequence[Summary]) -> Iterator[Section]:
    """The sizes, if any image was measured."""
    names = {summary.metric for summary in summaries if summary.n}
    metrics = [metric for metric in header.metrics if metric.family == "image" and metric.name in names]
    if metrics:
        yield Section(
            id="image-size",
            title="Image size",
            blocks=tuple(_describe(header, records, summaries, metrics)),
            metrics=tuple(metric.name for metric in metrics),
        )


def _describe(
    header: Header, records: Sequence[Record], summaries: Sequence[Summary], metrics: Sequence[Metric]
) -> Iterator[Block]:
    keys: Mapping[Key, None] = {
        (metric, tuple(summary.labels.items())): None
        for metric in metrics
        for summary in summaries
        if summary.metric == metric.name
    }
    measured = {
        record.trial.system
        for record in records
        if record.trial.purpose == "image" and isinstance(record.outcome, Ok)
    }
    kinds = {
        (sample.metric, tuple(sorted(sample.labels.items())), record.trial.system): sample.provenance
        for record in records
        for sample in record.samples
        if sample.provenance is not Provenance.MEASURED
    }

    def show(key: Key, system: str, *, exactly: bool = False) -> str:
        metric, labels = key
        summary = find_summary(summaries, system, metric.name, dict(labels))
        if summary is None:
            return NOTHING if system in measured else UNKNOWN
        if exactly:
            return show_exact(summary.median)
        kind = kinds.get((metric.name, labels, system))
        return show_amount(summary.median, metric.unit) + (f" ({kind.value})" if kind else "")

    names = [system.name for system in header.systems]
    titles = {key: ", ".join((key[0].title, *(value for _, value in key[1]))) for key in keys}
    yield draw_sizes(header, summaries)
    yield by_system(("Size",), names, keys, lambda key: (titles[key],), show)
    yield Paragraph(
        (
            '"–" means not applicable to this system, or not to be read out of its image; "?" not known, '
            "because its measurement failed.",
            "Values are measured unless a cell says otherwise.",
            "One MB is 1,000,000 bytes. The same exactly:",
        )
    )
    yield by_system(
        ("Size", "Unit"),
        names,
        keys,
        lambda key: (titles[key], key[0].unit),
        lambda key, name: show(key, name, exactly=True),
    )
    yield Bullets(tell_metrics(metrics))
