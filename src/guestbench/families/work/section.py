"""Work in the report: how fast each system did it, and whether it was the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guestbench.analysis.findings import Findings
from guestbench.analysis.reasons import find_work_warnings
from guestbench.families.work import TIME, find_own
from guestbench.families.work.findings import Check, WorkRow, find_checks, find_work
from guestbench.model import BootWork, Header, ImageWork, ShellWork, System
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
    systems, settings = found.header.systems, find_own(found.header)
    names = dict.fromkeys((*(row.work.workload.metric for row in rows), TIME))
    yield by_system(
        ("Work, done a second", "Was it the same?"),
        _find_columns(found.header, rows),
        rows,
        lambda row: (_title(row), _judge(row)),
        _show_rate,
    )
    yield tell("rates", times=count_things(settings.cycles, "time"))
    yield Bullets(find_work_warnings(found), "Read with care:")
    yield say("How each system was given its work:")
    yield Bullets(tuple((Code(system.name), f": {_tell_start(system)}") for system in systems))
    if any(isinstance(system.work, ShellWork) for system in systems):
        emulated = tell("emulated").lines if found.header.is_emulated else ()
        yield Paragraph((*tell("resumed", settle=settings.settle_s).lines, *emulated))
    yield say("What the figures are:")
    metrics = {metric.name: metric for metric in found.header.metrics}
    yield Bullets(tell_metrics(metrics[name] for name in names if name in metrics))


def _find_parts(header: Header, rows: Sequence[WorkRow]) -> Iterator[Section]:
    timed = [row for row in rows if any(cell.host_s is not None for cell in row.cells.values())]
    if timed:
        clocks = by_system(
            ("Median time, by host / by guest",),
            _find_columns(header, rows),
            timed,
            lambda row: (_title(row),),
            _show_clocks,
        )
        about = say("The guest's own clock is shown to compare and used for nothing.")
        yield Section("the-two-clocks", "The two clocks", (clocks, about))
    programs: dict[str, Cells] = {}
    for row in rows:
        if row.work.program is not None and row.work.expected:
            name, made, program = row.work.workload.program, row.work.expected[0], row.work.program
            size = f"{show_exact(program.size_bytes)} bytes"
            compiler = f"{made.compiler} {made.flags.replace(',', ' ')}"
            programs[name] = Code(name), Code(made.source), compiler, Code(program.sha256), size
    if programs:
        head = (
            "Program",
            "SHA-256 of its sources (first 16 digits)",
            "Compiler and flags",
            "SHA-256",
            "Size",
        )
        table = Table(head, tuple(programs.values()), 4)
        yield Section("the-programs", "The programs", (table, tell("programs")))


def _describe_checks(found: Findings, checks: Sequence[Check]) -> Iterator[Section]:
    """Known tools beside our own work: their figures, and ours over theirs."""
    kit, title = found.header.kit, "Known tools beside our own work"
    if kit and kit.no_tools:
        yield Section("known-tools", title, (Paragraph((f"Not run: {kit.no_tools}",)),))
        return
    rows: list[Cells] = []
    for check in checks:
        metric = found.metric(check.theirs.metric)
        unit = metric.unit.removesuffix("/s")
        figures = (
            show_rate(each.mean, each.sd, unit) if each else NOTHING for each in (check.theirs, check.ours)
        )
        ratio = f"{check.ratio:.3f}" if check.ratio is not None else NOTHING
        rows.append((Code(check.system), metric.title, *figures, ratio))
    head = ("System", "Known tool", "Its figure", "Our own for the same", "Ours over the tool's")
    if rows:
        yield Section("known-tools", title, (Table(head, tuple(rows), 2), tell("checks")))


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


def _show_clocks(row: WorkRow, name: str) -> str:
    cell = row.cells[name]
    return (
        f"{show_seconds(cell.host_s)} / {show_seconds(cell.guest_s)}" if cell.host_s is not None else NOTHING
    )


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
