"""The report's tables of the attack surface; it looks figures up and never calculates or scores one."""

from __future__ import annotations

from collections.abc import Sequence

from guestbench.families.surface.findings import UNDIVIDED, Cell, Row
from guestbench.model import Header, Provenance
from guestbench.page.escape import Markdown, code, escape
from guestbench.page.numbers import show_bytes, show_exact
from guestbench.page.table import Table
from guestbench.report.results import UNKNOWN, list_systems

SHORT = 40
"""A detail up to this length stands in its cell; a longer one below the table."""

GROUPS = (
    ("network", "Reachable from the network"),
    ("inside", "Inside, after a compromise"),
    ("host", "Towards the host"),
    ("supply", "What it is made of"),
    ("lacks", "What each gives up"),
)

SEED_ROWS = (
    ("System calls available", "surface.syscalls"),
    ("Running processes", "surface.processes"),
    ("Open TCP ports", "surface.open_tcp"),
    ("Open UDP ports", "surface.open_udp"),
    ("Shells", "surface.shells"),
    ("Package managers", "surface.package_managers"),
    ("Users", "surface.users"),
    ("SUID binaries", "surface.suid"),
    ("Kernel modules", "surface.modules"),
)
"""The rows of the table that the seed experiment filled in by hand."""


def seed_table(header: Header, rows: Sequence[Row]) -> Table:
    """The rows that the seed experiment asks for, one column a system."""
    names = [system.name for system in list_systems(header)]
    by_metric = {row.metric.name: row for row in rows if not row.labels}
    found = [(title, by_metric[metric]) for title, metric in SEED_ROWS if metric in by_metric]
    return Table(
        head=("Figure", *(code(name) for name in names)),
        rows=tuple((title, *(show_cell(row, row.cells[name]) for name in names)) for title, row in found),
    )


def group_tables(header: Header, rows: Sequence[Row]) -> tuple[tuple[str, Table, tuple[Markdown, ...]], ...]:
    """For each group: its title, its table with the files of evidence, and the details below it."""
    found = []
    for group, title in GROUPS:
        chosen = [row for row in rows if row.metric.group == group]
        if chosen:
            found.append((title, _table(header, chosen), _details(header, chosen)))
    return tuple(found)


def show_cell(row: Row, cell: Cell) -> str:
    """A figure with its provenance where it was not measured, or why there is none."""
    if cell.value is None:
        plain = cell.reason.startswith("unknown") or cell.reason == UNDIVIDED
        return cell.reason if plain else f"n/a: {cell.reason}" if cell.reason else UNKNOWN
    shown = _show_value(row.metric.unit, cell.value)
    if cell.detail and len(cell.detail) <= SHORT and cell.provenance is not Provenance.DECLARED:
        shown = f"{shown} ({cell.detail})"
    return shown if cell.provenance is Provenance.MEASURED else f"{shown}, {cell.provenance.value}"


def _show_value(unit: str, value: int | float) -> str:
    if unit == "yes/no":
        return "yes" if value else "no"
    return show_bytes(value) if unit == "bytes" else show_exact(value)


def _title(row: Row) -> str:
    return ", ".join((row.metric.title, *row.labels.values()))


def _table(header: Header, rows: Sequence[Row]) -> Table:
    names = [system.name for system in list_systems(header)]
    lines = []
    for row in rows:
        files = dict.fromkeys(
            cell.evidence.rpartition("/")[2] for cell in row.cells.values() if cell.evidence
        )
        evidence = Markdown(", ".join(code(name) for name in files))
        lines.append((_title(row), evidence, *(show_cell(row, row.cells[name]) for name in names)))
    return Table(head=("Figure", "Evidence", *(code(name) for name in names)), rows=tuple(lines), words=2)


def _details(header: Header, rows: Sequence[Row]) -> tuple[Markdown, ...]:
    """What is too long for a cell: one item a figure and system, declared reasons among them."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for system in list_systems(header):
            cell = row.cells[system.name]
            long = len(cell.detail) > SHORT or cell.provenance is Provenance.DECLARED
            if cell.value is not None and cell.detail and long:
                found.setdefault((system.name, cell.detail), []).append(_title(row))
    return tuple(
        Markdown(f"{code(name)}, {escape(', '.join(titles))}: {code(detail, in_table=False)}")
        for (name, detail), titles in found.items()
    )


def folders(header: Header, rows: Sequence[Row]) -> tuple[Markdown, ...]:
    """Where each system's evidence lies, below the folder of the report."""
    lines = []
    for system in list_systems(header):
        places = dict.fromkeys(
            row.cells[system.name].evidence.rpartition("/")[0]
            for row in rows
            if row.cells[system.name].evidence
        )
        if places:
            lines.append(Markdown(f"{code(system.name)}: {', '.join(code(place) for place in places)}"))
    return tuple(lines)
