"""The plots of memory: over time, and which memory sizes were enough."""

from __future__ import annotations

from collections.abc import Sequence

from guestbench.analysis.findings import Findings
from guestbench.families.memory import TOUCHED, VMM
from guestbench.families.memory.findings import Evidence, find_evidence, find_least
from guestbench.families.memory.search import Minimum
from guestbench.model import Series
from guestbench.page.numbers import NOTHING, show_kib, show_seconds
from guestbench.page.plots import (
    FAR_APART,
    Course,
    Curves,
    Figure,
    Legend,
    Mark,
    Point,
    Row,
    Rows,
    Steps,
    choose_axis,
)

PANELS = {TOUCHED: "Guest RAM touched", VMM: "The VMM's own memory"}
ROOM = 1.06
"""The values of the upward axis stand at the right end of a plot of curves."""
SHARE_ROW = 32
"""Pixels between no boot passed and all boots passed."""
PASSED, MIXED, FAILED = Point(0, 0), Point(3, 0, hollow=True), Point(6, 0, colour=1)


def draw_over_time(found: Findings) -> Figure:
    """Each boot that counts memory as a curve: what of the guest's RAM was touched, and the VMM's own."""
    drawn = {title: _find_series(found, metric) for metric, title in PANELS.items()}
    seen = dict.fromkeys(system for courses in drawn.values() for system, _ in courses)
    legend = tuple((Course(found.names.index(name)), name) for name in seen)
    plots: list[Curves] = []
    for title, courses in drawn.items():
        if courses:
            plots.append(_draw_courses(found, courses, title, () if plots else legend))
    note = (
        "One curve for each boot that counts memory, with its marker where counting ended. Work begins at "
        "different times for different systems. RAM that was touched never shrinks."
    )
    return Figure("Memory over time", note, tuple(plots))


def _find_series(found: Findings, metric: str) -> list[tuple[str, Series]]:
    return [
        (record.trial.system, series)
        for record in found.records
        for series in record.series
        if series.metric == metric
        and record.trial.system in found.names
        and len(series.t_ns) == len(series.values) > 1
        and not series.labels
    ]


def _draw_courses(found: Findings, boots: Sequence[tuple[str, Series]], title: str, legend: Legend) -> Curves:
    values = [value for _, series in boots for value in series.values if value > 0]
    most = [float(max(series.values)) for _, series in boots]
    log = len(values) > 0 and max(most) > FAR_APART * max(min(most), 1e-9)
    courses, told = [], []
    for system, series in boots:
        times = [t_ns / 1e9 for t_ns in series.t_ns]
        last = f"{system}: {show_kib(series.values[-1])} after {show_seconds(times[-1])}"
        courses.append(Course(found.names.index(system), tuple(zip(times, series.values, strict=True)), last))
        told.append(f"{system}: at most {show_kib(max(series.values))} in {show_seconds(times[-1])}")
    ends = [course.points[-1][0] * ROOM for course in courses]
    across = choose_axis([0, *ends], f"Time since {found.header.vmm} was started, s", zero=True)
    if log:
        upwards = choose_axis(values, "MiB, logarithmic", log=True, factor=1024.0)
    else:
        upwards = choose_axis([0, *most], "MiB", zero=True, factor=1024.0)
    description = f"Memory over time of every boot that counts it. {'; '.join(told)}."
    return Curves(title, description, across, upwards, tuple(courses), legend)


def draw_least(found: Findings) -> Figure:
    """For each system the share of boots that passed, over the memory sizes that were tried."""
    title = "Share of boots that passed, by memory size"
    evidence = {name: tried for name in found.names if (tried := find_evidence(found.records, name))}
    if not evidence:
        return Figure(title)
    sizes = [each.memory_mib for tried in evidence.values() for each in tried]
    told = "; ".join(
        f"{name}: {', '.join(f'{each.memory_mib} MiB {each.passed} of {each.boots}' for each in tried)}"
        for name, tried in evidence.items()
    )
    rows = []
    for name, tried in evidence.items():
        least = show_least(find_least(found.header, found.records, name))
        rows.append(Row(name, f"least RAM: {least}", tuple(_mark_success(tried)), SHARE_ROW))
    plot = Rows(
        "Least RAM to boot",
        f"Boots that got ready and stayed well, by memory size. {told}.",
        choose_axis(sizes, "Memory given to the guest, MiB (logarithmic)", log=True),
        tuple(rows),
        ((PASSED, "every boot passed"), (MIXED, "some passed"), (FAILED, "none passed")),
    )
    note = "Each row goes from no boot passed (lower line) to all boots passed (upper line)."
    return Figure(title, note, (plot,))


def show_least(least: Minimum | None) -> str:
    """The least RAM in MiB, or what is known instead of it."""
    if least is None:
        return NOTHING
    if least.least_mib is None:
        return "none found" if least.finished else "search not ended"
    return f"{least.least_mib} MiB" + ("" if least.finished else " (search not ended)")


def _mark_success(tried: Sequence[Evidence]) -> list[Mark]:
    ordered = sorted(tried, key=lambda each: each.memory_mib)
    shares = [(each.memory_mib, each.passed / each.boots) for each in ordered]
    marks: list[Mark] = [Steps(tuple(shares), 0)]
    for each, (size, share) in zip(ordered, shares, strict=True):
        look = PASSED if share == 1 else FAILED if share == 0 else MIXED
        title = f"{each.memory_mib} MiB: {each.passed} of {each.boots}"
        marks.append(Point(look.kind, size, title, share, look.hollow, look.colour))
    return marks
