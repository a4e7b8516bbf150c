"""The attack surface in the report: every figure with its evidence, and where it comes from."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from guestbench.analysis.findings import Findings
from guestbench.families.surface.findings import BASE, UNDIVIDED, Cell, Row, find_rows
from guestbench.model import Provenance
from guestbench.page.blocks import Block, Bullets, Code, Section, Table, Text, join, read_words, say
from guestbench.page.figures import by_system, show_amount, tell_metrics
from guestbench.page.numbers import UNKNOWN

tell = read_words(__file__)

SHORT = 40
"""A detail up to this length stands in its cell; a longer one below the table."""

_TABLES = tomllib.loads(Path(__file__).with_name("tables.toml").read_text("utf-8"))
GROUPS: dict[str, str] = _TABLES["groups"]
SEED_ROWS: dict[str, str] = _TABLES["seed"]


def sections(found: Findings) -> Iterator[Section]:
    """The figures, if there are any: those of the seed experiment, then all of them in groups."""
    rows = [row for row in find_rows(found.header, found.records) if row.metric.group in GROUPS]
    parts = [
        Section(f"surface-{group}", title, tuple(_describe(found.names, chosen)))
        for group, title in GROUPS.items()
        if (chosen := [row for row in rows if row.metric.group == group])
    ]
    if not parts:
        return
    metrics = dict.fromkeys(row.metric for row in rows)
    end = (
        say("The files of evidence lie beside this file, in:"),
        Bullets(tuple(_find_folders(found.names, rows))),
        say("What the figures are:"),
        Bullets(tell_metrics(metrics)),
    )
    parts[-1] = msgspec.structs.replace(parts[-1], blocks=(*parts[-1].blocks, *end))
    about = tell("about")
    # Of the bases of kernels there is what differs between them.
    shown = (BASE, *(metric.name for metric in metrics))
    blocks = about, seed_table(found.names, rows)
    yield Section("attack-surface", "Attack surface", blocks, tuple(parts), shown)


def seed_table(names: Sequence[str], rows: Sequence[Row]) -> Table:
    """The rows that the seed experiment asks for, one column a system."""
    by_metric = {row.metric.name: row for row in rows if not row.labels}
    found = {title: by_metric[metric] for title, metric in SEED_ROWS.items() if metric in by_metric}
    return by_system(
        ("Figure",),
        names,
        found,
        lambda title: (title,),
        lambda title, name: show_cell(found[title], found[title].cells[name]),
    )


def _describe(names: Sequence[str], rows: Sequence[Row]) -> Iterator[Block]:
    """A group's table with the files of evidence, and the details below it."""
    yield by_system(
        ("Figure", "Evidence"),
        names,
        rows,
        lambda row: (_title(row), join(Code(name) for name in row.files)),
        lambda row, name: show_cell(row, row.cells[name]),
    )
    details: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for name in names:
            cell = row.cells[name]
            long = len(cell.detail) > SHORT or cell.provenance is Provenance.DECLARED
            if cell.value is not None and cell.detail and long:
                details.setdefault((name, cell.detail), []).append(_title(row))
    items = ((Code(name), f", {', '.join(rows)}: ", Code(detail)) for (name, detail), rows in details.items())
    yield Bullets(tuple(items))


def show_cell(row: Row, cell: Cell) -> str:
    """A figure with its provenance where it was not measured, or why there is none."""
    if cell.value is None:
        plain = cell.reason.startswith("unknown") or cell.reason == UNDIVIDED
        return cell.reason if plain else f"n/a: {cell.reason}" if cell.reason else UNKNOWN
    # What is counted stands in the title.
    unit = row.metric.unit if row.metric.unit in ("bytes", "yes/no") else ""
    shown = show_amount(cell.value, unit)
    if cell.detail and len(cell.detail) <= SHORT and cell.provenance is not Provenance.DECLARED:
        shown = f"{shown} ({cell.detail})"
    return shown if cell.provenance is Provenance.MEASURED else f"{shown}, {cell.provenance.value}"


def _title(row: Row) -> str:
    return ", ".join((row.metric.title, *row.labels.values()))


def _find_folders(names: Sequence[str], rows: Sequence[Row]) -> Iterator[Text]:
    """Where each system's evidence lies, below the folder of the report."""
    for name in names:
        evidence = [row.cells[name].evidence for row in rows if row.cells[name].evidence]
        places = dict.fromkeys(each.rpartition("/")[0] for each in evidence)
        if places:
            yield (Code(name), ": ", *join(Code(place) for place in places))
