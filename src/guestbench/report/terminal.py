"""The summary table that a run prints at its end: plain text without colours or control characters."""

from __future__ import annotations

from collections.abc import Sequence

from guestbench.analysis.quality import find_failures
from guestbench.analysis.summary import (
    ABOVE_FLOOR,
    READY,
    find_summary,
    summarise,
)
from guestbench.families.work.section import summary_lines
from guestbench.model import Header, Record, Summary
from guestbench.page.numbers import (
    NOTHING,
    show_bytes,
    show_mean,
    show_seconds,
)
from guestbench.report.results import (
    IMAGE_SIZE,
    list_systems,
    memory_cells,
    show_outcome,
)
from guestbench.text import visible

GAP = "  "
HEAD = (
    *("system", "image size", "boot time, mean ± SD", "above the floor, median", "n", "failed"),
    *("least RAM", "RAM touched, idle"),
)


def render_summary_table(
    header: Header, records: Sequence[Record], summaries: Sequence[Summary] | None = None
) -> str:
    """One line a system, aligned, then one for each figure of work, kind of failure and system left out.

    `summaries` are those of the records, where the caller has them. Ends with a newline. Whatever a guest
    printed is shown in printable characters only.
    """
    summaries = summarise(header, records) if summaries is None else summaries
    rows: list[tuple[str, ...]] = [HEAD]
    for system in list_systems(header):
        image = find_summary(summaries, system.name, IMAGE_SIZE)
        ready = find_summary(summaries, system.name, READY)
        above = find_summary(summaries, system.name, ABOVE_FLOOR)
        rows.append(
            (
                visible(system.name),
                show_bytes(image.median if image else None),
                show_mean(ready.mean, ready.sd) if ready else NOTHING,
                show_seconds(above.median, above.sd) if above else NOTHING,
                str(ready.n) if ready else NOTHING,
                str(ready.failed) if ready else NOTHING,
                *memory_cells(summaries, system.name),
            )
        )
    kept = [column for column in range(len(HEAD)) if any(row[column] != NOTHING for row in rows[1:])]
    rows = [tuple(row[column] for column in kept) for row in rows] if len(rows) > 1 else rows
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    # A run that measured none of these has only names to show, which say nothing.
    lines = [_align(row, widths) for row in rows] if len(widths) > 1 else []
    lines += [
        f"{visible(title)}: {visible(cells)}" for title, cells in summary_lines(header, records, summaries)
    ]
    for group in find_failures(records):
        how = f"{len(group.records)} of {group.of} {group.purpose} trials {show_outcome(group.outcome)}"
        lines.append(f"failed: {visible(group.system)}: {how}: {visible(group.outcome.reason)}")
    lines += [f"left out: {visible(a.system)}: {visible(a.reason)}" for a in header.absent]
    return "".join(f"{line}\n" for line in lines)


def _align(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.ljust(width) if column == 0 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return GAP.join((first, *others)).rstrip()
