"""What the families of metrics have to say in the reports, as their `section` modules say it.

Figures that no section of their family shows, be it because it has no such module, are put into a plain table
and into lines of the terminal's summary, so that nothing that was measured is left out.

A `section` module may have these functions, each of which yields what it is called for: `sections(header,
records, summaries)`; `headline(header, summaries)`, columns in place of those that the metrics ask for;
`summary_lines(header, records, summaries)`, titles and texts for the terminal; `opening(header, records)`,
sentences of the page's first paragraph; `method(header)`, items on how trials were planned;
`conditions(header, records)` and `order(records)`, blocks on what the host did meanwhile and on the order of
trials; and `trial_columns()`, titles and metrics for the table of every trial.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from guestbench.analysis.reasons import find_reason
from guestbench.analysis.summary import find_summary, summarise
from guestbench.families import AXIS, list_families
from guestbench.model import Header, Metric, Record, Summary
from guestbench.page.blocks import Bullets, Notice, Section
from guestbench.page.figures import by_system, name_figure, show_amount, show_summary, tell_metrics
from guestbench.page.headline import Column
from guestbench.page.numbers import NOTHING, first_sentence

Key = tuple[Metric, tuple[tuple[str, str], ...]]
"""A figure: a metric with labels."""
Figures = dict[Key, dict[str, Summary]]
"""Summaries by the systems' names."""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What all families say: their sections of the page, and their lines of the terminal's summary."""

    sections: tuple[Section, ...]
    lines: tuple[tuple[str, str], ...]


def hear_all(header: Header, records: Sequence[Record], summaries: Sequence[Summary]) -> Said:
    """The sections and lines of all families, and behind each one's what is in none of its sections."""
    sections: list[Section] = []
    lines: list[tuple[str, str]] = []
    notices: set[Notice] = set()
    purposes = {family.name: {each.name for each in family.purposes} for family in list_families()}
    for name, title in _name_families(header).items():
        own: tuple[Section, ...] = _ask(name, "sections", header, records, summaries)
        left = _find_left(header, records, summaries, name, own)
        sections += (_drop_repeated(section, notices) for section in own)
        if left:
            title = f"{title}: other figures" if own else title
            mine = [record for record in records if record.trial.purpose in purposes.get(name, ())]
            sections.append(_tabulate(f"figures-of-{name}", title, header, mine, left))
        lines += _ask(name, "summary_lines", header, records, summaries)
        lines += _tell(left)
    return Said(sections=tuple(sections), lines=tuple(lines))


def _drop_repeated(section: Section, notices: set[Notice]) -> Section:
    """The section without the notices that stand in sections before it."""
    blocks = tuple(block for block in section.blocks if block not in notices)
    notices |= {block for block in blocks if isinstance(block, Notice)}
    return msgspec.structs.replace(section, blocks=blocks)


def ask_all(hook: str, *arguments: object) -> tuple[Any, ...]:
    """What the families that have a function of this name in their section say, in their order."""
    return tuple(said for family in list_families() for said in _ask(family.name, hook, *arguments))


def find_columns(header: Header, summaries: Sequence[Summary]) -> tuple[Column, ...]:
    """The columns of the headline: those of each family's section, or those that its metrics ask for."""
    columns: list[Column] = []
    for name in _name_families(header):
        own: tuple[Column, ...] = _ask(name, "headline", header, summaries)
        columns += own or (
            _to_column(header, metric, summaries)
            for metric in header.metrics
            if metric.family == name and metric.headline
        )
    return tuple(columns)


def _to_column(header: Header, metric: Metric, summaries: Sequence[Summary]) -> Column:
    labels = dict(metric.shown_labels)
    found = (find_summary(summaries, system.name, metric.name, labels) for system in header.systems)
    return Column(
        title=metric.headline,
        cells={each.system: show_amount(each.median, metric.unit) for each in found if each},
        notes=(f"{metric.headline.partition(',')[0]}: {first_sentence(metric.help)}.",),
    )


def _name_families(header: Header) -> dict[str, str]:
    """Names and titles of the families that there are, and then of those that only the run knows."""
    known = {family.name: family.title for family in list_families()}
    return known | {m.family: m.family for m in header.metrics if m.family not in known}


def _ask(family: str, hook: str, *arguments: object) -> tuple[Any, ...]:
    section = AXIS.find_part(family, "section") if family in AXIS.names() else None
    function = getattr(section, hook, None)
    return tuple(function(*arguments)) if function else ()


# --- what is in no section --------------------------------------------------------------------------------


def _find_left(
    header: Header,
    records: Sequence[Record],
    summaries: Sequence[Summary],
    family: str,
    sections: Sequence[Section],
) -> Figures:
    """The figures of a family that have values and that its sections do not show."""
    shown = {metric for section in sections for metric in section.metrics}
    wanted = {m.name: m for m in header.metrics if m.family == family and m.name not in shown}
    counted = [each for each in summaries if each.metric in wanted and each.n]
    missing = wanted.keys() - {each.metric for each in counted}
    sampled = {s.metric for r in records for s in r.samples if s.metric in missing} if missing else set()
    if sampled:
        # Of trials that do not enter the statistics, which are all that has these.
        purposes = tuple(dict.fromkeys(record.trial.purpose for record in records))
        others = summarise(header, records, purposes)
        counted += (each for each in others if each.metric in sampled and each.n)
    found: Figures = {}
    for metric in wanted.values():
        for each in counted:
            if each.metric == metric.name:
                found.setdefault((metric, tuple(each.labels.items())), {})[each.system] = each
    return found


def _tabulate(name: str, title: str, header: Header, records: Sequence[Record], figures: Figures) -> Section:
    """A table of figures for each group of metrics, one column a system, and what the metrics are."""
    systems = [system.name for system in header.systems]
    metrics = dict.fromkeys(metric for metric, _ in figures)

    def show(key: Key, system: str) -> str:
        metric, labels = key
        if system in figures[key]:
            return show_summary(figures[key][system], metric.unit)
        reason = find_reason(records, system, metric.name, dict(labels))
        return f"n/a: {reason}" if reason else NOTHING

    tables = [
        by_system(
            (group.capitalize() or "Figure",),
            systems,
            [key for key in figures if key[0].group == group],
            lambda key: (name_figure(key[0].title, dict(key[1])),),
            show,
        )
        for group in dict.fromkeys(metric.group for metric in metrics)
    ]
    return Section(id=name, title=title, blocks=(*tables, Bullets(tell_metrics(metrics))))


def _tell(figures: Figures) -> Iterator[tuple[str, str]]:
    for (metric, labels), cells in figures.items():
        told = (f"{system} {show_summary(each, metric.unit)}" for system, each in cells.items())
        yield name_figure(metric.title, dict(labels)), "; ".join(told)
