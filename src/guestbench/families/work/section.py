"""The report's tables of work and network; it looks numbers up and never calculates one."""

from __future__ import annotations

from collections.abc import Sequence

from guestbench.analysis.summary import BUSY_SHARE, find_metric, find_summary
from guestbench.families.work.findings import (
    CLOCK,
    WorkCell,
    WorkRow,
    find_busy,
    find_checks,
    find_work,
)
from guestbench.model import (
    BootWork,
    Header,
    ImageWork,
    Ok,
    Record,
    ShellWork,
    Summary,
    System,
)
from guestbench.page.escape import Markdown, code, escape
from guestbench.page.numbers import (
    NOTHING,
    show_exact,
    show_mean,
    show_rate,
    show_seconds,
    show_share,
)
from guestbench.page.table import Table
from guestbench.report.results import UNKNOWN, list_systems

NET_ROWS: tuple[tuple[str, dict[str, str], str], ...] = (
    ("net.ready", {}, "Network ready"),
    ("net.goodput_in", {}, "TCP into the guest"),
    ("net.goodput_out", {}, "TCP out of the guest"),
    ("net.echo", {"quantile": "0.5"}, "Echo of one byte, median"),
    ("net.echo", {"quantile": "0.99"}, "Echo of one byte, 99th percentile"),
    ("net.http", {}, "HTTP requests on 4 connections"),
)


def work_table(header: Header, rows: Sequence[WorkRow]) -> Table:
    """One row a piece of work, one column a system, and whether the work was the same."""
    names = _columns(header, rows)
    lines = [
        (
            _title(row),
            _verdict(row),
            *(_rate_cell(row, row.cells[name]) for name in names),
        )
        for row in rows
    ]
    head = ("Work, done a second", "Was it the same?", *(code(name) for name in names))
    return Table(head=head, rows=tuple(lines), words=2)


def clock_table(header: Header, rows: Sequence[WorkRow]) -> Table:
    """How long each piece of work took by the host's clock, and by the guest's own beside it."""
    names = _columns(header, rows)
    lines = [
        (_title(row), *(_clock_cell(row.cells[name]) for name in names))
        for row in rows
        if any(row.cells[name].host_s is not None for name in names)
    ]
    return Table(head=("Median time, by host / by guest", *(code(name) for name in names)), rows=tuple(lines))


def program_table(rows: Sequence[WorkRow]) -> Table:
    """The programs: what they were made of, and the digest of the file that Linux guests run."""
    lines: dict[str, tuple[str, ...]] = {}
    for row in rows:
        program, expected = row.work.program, row.work.expected
        if program is None or not expected:
            continue
        made = expected[0]
        lines[row.work.workload.program] = (
            code(row.work.workload.program),
            code(made.source),
            escape(f"{made.compiler} {made.flags.replace(',', ' ')}"),
            code(program.sha256),
            f"{show_exact(program.size_bytes)} bytes",
        )
    head = ("Program", "SHA-256 of its sources (first 16 digits)", "Compiler and flags", "SHA-256", "Size")
    return Table(head=head, rows=tuple(lines.values()), words=4)


def describe_starts(header: Header) -> tuple[Markdown, ...]:
    """A line for each system: how it was given its work."""
    return tuple(
        Markdown(f"{code(system.name)}: {escape(_describe_start(system))}") for system in list_systems(header)
    )


def net_table(header: Header, records: Sequence[Record], summaries: Sequence[Summary]) -> Table:
    """One row a figure of the network, one column a system that was asked."""
    asked = {record.trial.system for record in records if record.trial.purpose == "net"}
    names = [system.name for system in list_systems(header) if system.name in asked]
    if not names or "net" not in header.experiment.metrics:
        return Table(head=(), rows=())
    lines = []
    for metric, labels, title in NET_ROWS:
        if metric == "net.http" and not any(summary.metric == metric for summary in summaries):
            continue  # its client is there only where it was asked for
        cells = []
        for name in names:
            summary = find_summary(summaries, name, metric, labels)
            cells.append(_net_cell(header, records, name, metric, summary))
        lines.append((title, *cells))
    return Table(head=("TCP over the user network", *(code(name) for name in names)), rows=tuple(lines))


def summary_lines(
    header: Header, records: Sequence[Record], summaries: Sequence[Summary]
) -> tuple[tuple[str, str], ...]:
    """For the terminal: each figure of work and network that has a value, and those of all systems."""
    lines = []
    for row in find_work(header, records, summaries):
        cells = [
            f"{name} {_rate_cell(row, cell)}" for name, cell in row.cells.items() if cell.rate is not None
        ]
        if cells:
            lines.append((_title(row), "; ".join((*cells, *(["NOT EQUIVALENT"] if row.differs else [])))))
    for metric, labels, title in NET_ROWS:
        found = [s for s in summaries if s.metric == metric and s.labels == labels and s.n]
        cells = [f"{s.system} {_net_cell(header, records, s.system, metric, s)}" for s in found]
        if cells:
            lines.append((title, "; ".join(cells)))
    return tuple(lines)


def metric_helps(header: Header, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Title and help of those metrics that the run has."""
    present = {metric.name for metric in header.metrics}
    return tuple(
        (find_metric(header, n).title, find_metric(header, n).help)
        for n in dict.fromkeys(names)
        if n in present
    )


def find_warnings(
    header: Header, records: Sequence[Record], summaries: Sequence[Summary]
) -> tuple[Markdown, ...]:
    """What is to be known of the rates: one item for the host, and one for each figure of a system."""
    busy = find_busy(records)
    lines: dict[Markdown, None] = {}
    if busy.trials:
        lines[
            Markdown(
                f"in {busy.trials} of {busy.of} trials of work other processes used more than "
                f"{show_share(BUSY_SHARE)} of the host's CPU time, at most {show_share(busy.most)}"
            )
        ] = None
    for summary in summaries:
        row = find_metric(header, summary.metric)
        if row.family in ("work", "net") and summary.metric != CLOCK:
            labels = [f"{name}={show_parameter(value)}" for name, value in summary.labels.items()]
            what = ", ".join((row.title, *labels))
            for warning in summary.warnings:
                lines[Markdown(f"{code(summary.system)}, {escape(what)}: {escape(warning)}")] = None
    return tuple(lines)


def check_table(header: Header, summaries: Sequence[Summary]) -> Table:
    """Known tools beside our own work: their figures, and ours over theirs."""
    lines = []
    for check in find_checks(header, summaries):
        theirs, ours = check.theirs, check.ours
        unit = find_metric(header, theirs.metric).unit.removesuffix("/s")
        lines.append(
            (
                code(check.system),
                find_metric(header, theirs.metric).title,
                show_rate(theirs.mean, theirs.sd, unit),
                show_rate(ours.mean, ours.sd, unit) if ours else NOTHING,
                f"{check.ratio:.3f}" if check.ratio is not None else NOTHING,
            )
        )
    head = ("System", "Known tool", "Its figure", "Our own for the same", "Ours over the tool's")
    return Table(head=head, rows=tuple(lines), words=2)


def _columns(header: Header, rows: Sequence[WorkRow]) -> list[str]:
    """The systems that did any of the work, or were to."""
    return [
        system.name
        for system in list_systems(header)
        if system.work is not None or any(row.cells[system.name].rate for row in rows)
    ]


def _title(row: WorkRow) -> str:
    labels = [f"{name}={show_parameter(value)}" for name, value in row.labels.items() if value]
    return ", ".join((row.work.workload.title, *labels))


def show_parameter(value: str) -> str:
    """A parameter of work; numbers with their thousands set apart."""
    return show_exact(int(value)) if value.isdecimal() and len(value) < 19 else value


def _verdict(row: WorkRow) -> str:
    if row.same:
        return f"yes: {row.same}"
    if row.differs:
        return f"no, not equivalent: {'; '.join(row.differs)}"
    return "nothing to compare: fewer than two systems did it"


def _rate_cell(row: WorkRow, cell: WorkCell) -> str:
    if cell.rate is None:
        return f"n/a: {cell.reason}" if cell.reason else UNKNOWN
    return show_rate(cell.rate.mean, cell.rate.sd, row.work.workload.unit) + _failed(cell.rate)


def _failed(summary: Summary) -> str:
    return f" ({summary.failed} of {summary.n + summary.failed} failed)" if summary.failed else ""


def _clock_cell(cell: WorkCell) -> str:
    if cell.host_s is None:
        return NOTHING
    return f"{show_seconds(cell.host_s)} / {show_seconds(cell.guest_s)}"


def _describe_start(system: System) -> str:
    match system.work:
        case ShellWork(disk=False):
            return "in its shell, with a program that was sent over the console"
        case ShellWork():
            return "in its shell, with programs of a disk that only these trials attach"
        case BootWork(initrd=True):
            return "as its only program, given as the initial ramdisk"
        case BootWork():
            return "as its only process, by the kernel's command line"
        case ImageWork():
            return "by itself, as its image is configured"
        case None:
            return "none: its definition lists no work"


def _net_cell(
    header: Header, records: Sequence[Record], system: str, metric: str, summary: Summary | None
) -> str:
    if summary is not None and summary.n:
        unit = find_metric(header, metric).unit
        if unit.endswith("/s"):
            return show_rate(summary.mean, summary.sd, unit.removesuffix("/s")) + _failed(summary)
        return _time(summary) + _failed(summary)
    mine = [r for r in records if r.trial.system == system and r.trial.purpose == "net"]
    gaps = [gap.reason for record in mine for gap in record.gaps if gap.metric == metric]
    failed = [f"failed: {r.outcome.reason}" for r in mine if not isinstance(r.outcome, Ok)]
    reason = next(iter((*gaps, *failed)), "")
    return f"n/a: {reason}" if reason else UNKNOWN


def _time(summary: Summary) -> str:
    if summary.mean is not None and summary.mean < 0.01:
        shown = f"{summary.mean * 1e6:,.0f}"
        return f"{shown} ± {summary.sd * 1e6:,.0f} µs" if summary.sd is not None else f"{shown} µs"
    return show_mean(summary.mean, summary.sd)
