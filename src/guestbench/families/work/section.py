"""Work in the report: how fast each system did it, and whether it was the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guestbench.analysis.findings import Findings
from guestbench.analysis.reasons import find_work_warnings
from guestbench.families.work import TIME, Settings
from guestbench.families.work.findings import Check, WorkCell, WorkRow, find_checks, find_work
from guestbench.model import BootWork, Header, ImageWork, ShellWork, System, find_settings
from guestbench.page.blocks import Block, Bullets, Cells, Code, Paragraph, Section, Table, read_words, say
from guestbench.page.figures import by_system, name_figure, show_summary, tell_metrics
from guestbench.page.numbers import NOTHING, UNKNOWN, count_things, show_exact, show_rate, show_seconds

tell = read_words(__file__)


def sections(found: Findings) -> Iterator[Section]:
    """Work with its parts, if any was done or known tools were asked for."""
    rows = find_work(found.header, found.records, found.summaries)
    checks = find_checks(found.header, found.summaries)
    parts = (*_find_parts(found.header, rows), *_describe_checks(found, checks))
    if rows or parts:
        blocks = tuple(_describe(found, rows)) if rows else ()
        shown = (*(row.work.workload.metric for row in rows), TIME, *(each.theirs.metric for each in checks))
        yield Section("work", "Work", blocks, parts, shown)


def summary_lines(found: Findings) -> Iterator[tuple[str, str]]:
    """For the terminal: each piece of work that was done, and how fast each system did it."""
    for row in find_work(found.header, found.records, found.summaries):
        cells = [f"{name} {_show_rate(row, name)}" for name, cell in row.cells.items() if cell.rate]
        if cells:
            yield _title(row), "; ".join((*cells, *(["NOT EQUIVALENT"] if row.differs else [])))


def _describe(found: Findings, rows: Sequence[WorkRow]) -> Iterator[Block]:
    tables, systems = found.header.experiment.settings, found.header.systems
    times = count_things(find_settings(tables, "work", Settings).cycles, "time")
    names = dict.fromkeys((*(row.work.workload.metric for row in rows), TIME))
    yield work_table(found.header, rows)
    yield tell("rates", times=times)
    yield Bullets(find_work_warnings(found), "Read with care:")
    yield say("How each system was given its work:")
    yield Bullets(tuple((Code(system.name), f": {_tell_start(system)}") for system in systems))
    if any(isinstance(system.work, ShellWork) for system in systems):
        settle = find_settings(tables, "work", Settings).settle_s
        resumed = tell("resumed", settle=settle)
        emulated = tell("emulated")
        yield Paragraph((*resumed.lines, *(emulated.lines if found.header.is_emulated else ())))
    yield say("What the figures are:")
    metrics = {metric.name: metric for metric in found.header.metrics}
    yield Bullets(tell_metrics(metrics[name] for name in names if name in metrics))


def _find_parts(header: Header, rows: Sequence[WorkRow]) -> Iterator[Section]:
    clocks, programs = clock_table(header, rows), program_table(rows)
    if clocks.rows:
        about = say("The guest's own clock is shown to compare and used for nothing.")
        yield Section("the-two-clocks", "The two clocks", (clocks, about))
    if programs.rows:
        about = tell("programs")
        yield Section("the-programs", "The programs", (programs, about))


def _describe_checks(found: Findings, checks: Sequence[Check]) -> Iterator[Section]:
    kit, title = found.header.kit, "Known tools beside our own work"
    about = tell("checks")
    if kit and kit.no_tools:
        yield Section("known-tools", title, (Paragraph((f"Not run: {kit.no_tools}",)),))
    elif checks:
        yield Section("known-tools", title, (check_table(found, checks), about))


# --- tables -----------------------------------------------------------------------------------------------


def work_table(header: Header, rows: Sequence[WorkRow]) -> Table:
    """One row a piece of work, one column a system, and whether the work was the same."""
    return by_system(
        ("Work, done a second", "Was it the same?"),
        _find_columns(header, rows),
        rows,
        lambda row: (_title(row), _judge(row)),
        _show_rate,
    )


def clock_table(header: Header, rows: Sequence[WorkRow]) -> Table:
    """How long each piece of work took by the host's clock, and by the guest's own beside it."""
    return by_system(
        ("Median time, by host / by guest",),
        _find_columns(header, rows),
        [row for row in rows if any(cell.host_s is not None for cell in row.cells.values())],
        lambda row: (_title(row),),
        lambda row, name: _show_clocks(row.cells[name]),
    )


def program_table(rows: Sequence[WorkRow]) -> Table:
    """The programs: what they were made of, and the digest of the file that Linux guests run."""
    lines: dict[str, Cells] = {}
    for row in rows:
        program, expected = row.work.program, row.work.expected
        if program is None or not expected:
            continue
        made = expected[0]
        lines[row.work.workload.program] = (
            Code(row.work.workload.program),
            Code(made.source),
            f"{made.compiler} {made.flags.replace(',', ' ')}",
            Code(program.sha256),
            f"{show_exact(program.size_bytes)} bytes",
        )
    head = ("Program", "SHA-256 of its sources (first 16 digits)", "Compiler and flags", "SHA-256", "Size")
    return Table(head, tuple(lines.values()), 4)


def check_table(found: Findings, checks: Sequence[Check]) -> Table:
    """Known tools beside our own work: their figures, and ours over theirs."""
    rows = []
    for check in checks:
        metric = found.metric(check.theirs.metric)
        unit = metric.unit.removesuffix("/s")
        theirs, ours = (
            show_rate(each.mean, each.sd, unit) if each else NOTHING for each in (check.theirs, check.ours)
        )
        ratio = f"{check.ratio:.3f}" if check.ratio is not None else NOTHING
        rows.append((Code(check.system), metric.title, theirs, ours, ratio))
    head = ("System", "Known tool", "Its figure", "Our own for the same", "Ours over the tool's")
    return Table(head, tuple(rows), 2)


def _find_columns(header: Header, rows: Sequence[WorkRow]) -> list[str]:
    """The systems that did any of the work, or were to."""
    return [
        system.name
        for system in header.systems
        if system.work is not None or any(row.cells[system.name].rate for row in rows)
    ]


def _title(row: WorkRow) -> str:
    return name_figure(row.work.workload.title, row.labels)


def _judge(row: WorkRow) -> str:
    if row.same:
        return f"yes: {row.same}"
    if row.differs:
        return f"no, not equivalent: {'; '.join(f'{name}: {how}' for name, how in row.differs.items())}"
    return "nothing to compare: fewer than two systems did it"


def _show_rate(row: WorkRow, name: str) -> str:
    cell = row.cells[name]
    if cell.rate is None:
        return f"n/a: {cell.reason}" if cell.reason else UNKNOWN
    return show_summary(cell.rate, f"{row.work.workload.unit}/s")


def _show_clocks(cell: WorkCell) -> str:
    if cell.host_s is None:
        return NOTHING
    return f"{show_seconds(cell.host_s)} / {show_seconds(cell.guest_s)}"


def _tell_start(system: System) -> str:
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
