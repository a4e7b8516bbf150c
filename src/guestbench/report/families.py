"""What the families of metrics have to say in the reports, as their `section` modules say it.

Figures that no section of their family shows, be it because it has no such module, are put into a plain table
and into lines of the terminal's summary, so that nothing that was measured is left out.

A `section` module may have these functions, each of which is given `Findings` and yields what it is called
for: `sections`; `headline`, columns in place of those that the metrics ask for; `summary_lines`, titles and
texts for the terminal; `opening`, sentences of the page's first paragraph; `method`, items on how trials were
planned; `conditions` and `order`, blocks on what the host did meanwhile and on the order of trials; and
`trial_columns`, titles and metrics for the table of every trial, which is given nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from guestbench.analysis.findings import Findings
from guestbench.analysis.reasons import find_reason
from guestbench.analysis.summary import summarise
from guestbench.families import ask, list_families
from guestbench.model import LabelSet, Metric, Summary
from guestbench.page.blocks import Block, Bullets, Column, Section
from guestbench.page.figures import by_system, name_figure, show_amount, show_summary, tell_metrics
from guestbench.page.numbers import NOTHING

Key = tuple[Metric, LabelSet]
"""A figure: a metric with labels."""
Figures = dict[Key, dict[str, Summary]]
"""Summaries by the systems' names."""


def hear_all(found: Findings) -> tuple[list[Section], list[tuple[str, str]]]:
    """All families' sections of the page and lines for the terminal, each with what is in none of its own."""
    sections: list[Section] = []
    lines: list[tuple[str, str]] = []
    notices: set[Block] = set()
    for name, title in _name_families(found).items():
        own: list[Section] = [*ask("section", "sections", found, names=(name,))]
        left = _find_left(found, name, own)
        for section in own:
            # A notice that stands in a section before it is not said again.
            blocks = tuple(block for block in section.blocks if block not in notices)
            notices |= {block for block in blocks if isinstance(block, Bullets) and block.title}
            sections.append(msgspec.structs.replace(section, blocks=blocks))
        if left:
            sections.append(_tabulate(name, f"{title}: other figures" if own else title, found, left))
        lines += ask("section", "summary_lines", found, names=(name,))
        for (metric, labels), cells in left.items():
            told = (f"{system} {show_summary(each, metric.unit)}" for system, each in cells.items())
            lines.append((name_figure(metric.title, dict(labels)), "; ".join(told)))
    return sections, lines


def find_columns(found: Findings) -> tuple[Column, ...]:
    """The columns of the terminal's headline: of each family's section, or those its metrics ask for."""
    columns: list[Column] = []
    for name in _name_families(found):
        own: list[Column] = [*ask("section", "headline", found, names=(name,))]
        columns += own
        for metric in () if own else found.header.metrics:
            if metric.family == name and metric.headline:
                summaries = found.find_all(metric.name, metric.shown_labels)
                cells = {each.system: show_amount(each.median, metric.unit) for each in summaries}
                columns.append(Column(metric.headline, cells))
    return tuple(columns)


def _name_families(found: Findings) -> dict[str, str]:
    """Names and titles of the families that there are, and then of those that only the run knows."""
    known = {family.name: family.title for family in list_families()}
    return known | {each.family: each.family for each in found.header.metrics if each.family not in known}


# --- what is in no section --------------------------------------------------------------------------------


def _find_left(found: Findings, family: str, sections: Sequence[Section]) -> Figures:
    """The figures of a family that have values and that its sections do not show."""
    shown = {metric for section in sections for metric in section.metrics}
    mine = (each for each in found.header.metrics if each.family == family)
    wanted = {each.name: each for each in mine if each.name not in shown}
    counted = [each for each in found.summaries if each.metric in wanted and each.n]
    missing = wanted.keys() - {each.metric for each in counted}
    if missing and any(sample.metric in missing for record in found.records for sample in record.samples):
        # Of trials that do not enter the statistics, which are all that has these.
        purposes = tuple(dict.fromkeys(record.trial.purpose for record in found.records))
        others = summarise(found.header, found.records, purposes)
        counted += (each for each in others if each.metric in missing and each.n)
    left: Figures = {}
    for metric in wanted.values():
        for each in counted:
            if each.metric == metric.name:
                left.setdefault((metric, tuple(each.labels.items())), {})[each.system] = each
    return left


def _tabulate(name: str, title: str, found: Findings, figures: Figures) -> Section:
    """A table of figures for each group of metrics, one column a system, and what the metrics are."""
    purposes = [each.name for family in list_families() if family.name == name for each in family.purposes]
    trials = found.find_trials(purposes)
    metrics = dict.fromkeys(metric for metric, _ in figures)

    def show(key: Key, system: str) -> str:
        metric, labels = key
        if system in figures[key]:
            return show_summary(figures[key][system], metric.unit)
        reason = find_reason(trials, system, metric.name, dict(labels))
        return f"n/a: {reason}" if reason else NOTHING

    tables = [
        by_system(
            (group.capitalize() or "Figure",),
            found.names,
            [key for key in figures if key[0].group == group],
            lambda key: (name_figure(key[0].title, dict(key[1])),),
            show,
        )
        for group in dict.fromkeys(metric.group for metric in metrics)
    ]
    return Section(f"figures-of-{name}", title, (*tables, Bullets(tell_metrics(metrics))))
