"""Draws memory over time, and which memory sizes were enough.

A plot is empty where the run has no data for it. Figures are looked up and never calculated.
"""

from __future__ import annotations

from collections.abc import Sequence

from guestbench.families.memory.findings import Evidence, find_evidence, find_least
from guestbench.families.memory.section import TOUCHED, VMM, show_least
from guestbench.model import (
    Frozen,
    Header,
    Record,
    Series,
)
from guestbench.page.numbers import show_kib, show_seconds
from guestbench.page.svg import (
    BELOW,
    Axis,
    choose_axis,
    curve,
    figure,
    frame,
    legend,
    line,
    marker,
    plot,
    row_name,
)
from guestbench.report.plots.common import FAR_APART, system_kind
from guestbench.report.results import list_systems
from guestbench.report.tags import EMPTY, Html, tag

CURVES = 260
"""Height of a plot of curves, in pixels."""
ROOM = 1.06
COLUMNS = 500
"""Into how many columns a curve is divided; of the points within one the first and the extremes are drawn."""


class Course(Frozen):
    """A boot's memory over time: seconds after the exec of the VMM, and KiB."""

    system: str
    times: tuple[float, ...]
    values: tuple[float, ...]


def memory_over_time(header: Header, records: Sequence[Record]) -> Html:
    """Each boot that counts memory as a curve: what of the guest's RAM was touched, and the VMM's own."""
    panels = (
        (TOUCHED, "Guest RAM touched"),
        (VMM, "The VMM's own memory"),
    )
    drawn: list[Html] = []
    seen: dict[str, None] = {}
    for metric, title in panels:
        courses = _courses(header, records, metric)
        if courses:
            drawn.append(_draw_courses(header, courses, title))
            seen |= dict.fromkeys(course.system for course in courses)
    entries = []
    for name in seen:
        kind = system_kind(header, name)
        sample = line("0", 7, "24", 7, f"curve k{kind}") + marker(kind, "12", 7)
        entries.append((sample, name))
    if not drawn:
        return EMPTY
    note = (
        "One curve for each boot that counts memory, with its marker where counting ended. Work begins at "
        "different times for different systems. RAM that was touched never shrinks."
    )
    return figure("Memory over time", note, legend(entries), *drawn)


def _courses(header: Header, records: Sequence[Record], metric: str) -> list[Course]:
    names = {system.name for system in list_systems(header)}
    return [
        Course(
            system=record.trial.system,
            times=tuple(t_ns / 1e9 for t_ns in series.t_ns),
            values=tuple(map(float, series.values)),
        )
        for record in records
        for series in record.series
        if series.metric == metric and _is_drawable(series) and record.trial.system in names
    ]


def _is_drawable(series: Series) -> bool:
    return len(series.t_ns) > 1 and len(series.t_ns) == len(series.values) and not series.labels


def _draw_courses(header: Header, courses: Sequence[Course], title: str) -> Html:
    across = choose_axis(
        # The values of the upward axis stand at the right end.
        [0, *(course.times[-1] * ROOM for course in courses)],
        "Time since QEMU was started, s",
        zero=True,
    )
    positive = [value for course in courses for value in course.values if value > 0]
    most = [max(course.values) for course in courses]
    log = len(positive) > 0 and max(most) > FAR_APART * max(min(most), 1e-9)
    upwards = choose_axis(positive if log else [0, *most], "", log=log, zero=not log, factor=1024.0)
    top = 24
    parts = [row_name(title, "MiB, logarithmic" if log else "MiB", 0)]
    for tick in upwards.ticks():
        y = top + CURVES * (1 - upwards.share(tick))
        parts += [
            line("0", y, "100%", y, "grid"),
            tag("text", upwards.show(tick), x="100%", y=f"{y - 3:.1f}", class_="tick end"),
        ]
    parts.append(frame(across, top, top + CURVES))
    for course in courses:
        kind = system_kind(header, course.system)
        points = [
            (across.share(time), upwards.share(value) if value > 0 or not log else 0.0)
            for time, value in zip(course.times, course.values, strict=True)
        ]
        parts.append(curve(_thin(points), top, CURVES, f"curve k{kind}"))
        words = f"{course.system}: {show_kib(course.values[-1])} after {show_seconds(course.times[-1])}"
        end = top + CURVES * (1 - points[-1][1])
        parts.append(marker(kind, across.x(course.times[-1]), round(end, 1), words))
    told = "; ".join(
        f"{course.system}: at most {show_kib(max(course.values))} in {show_seconds(course.times[-1])}"
        for course in courses
    )
    return plot(
        title, f"Memory over time of every boot that counts it. {told}.", top + CURVES + BELOW, *parts
    )


def _thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points without those that a screen cannot show beside their neighbours."""
    columns: dict[int, list[tuple[float, float]]] = {}
    for point in points:
        columns.setdefault(int(point[0] * COLUMNS), []).append(point)
    kept = []
    for column in columns.values():
        extremes = {column[0], column[-1], min(column, key=_up), max(column, key=_up)}
        kept += [point for point in column if point in extremes]
    return kept


def _up(point: tuple[float, float]) -> float:
    return point[1]


LEAST_ROW, CURVE = 62, 30


def least_memory(header: Header, records: Sequence[Record]) -> Html:
    """For each system the share of boots that passed, over the memory sizes that were tried."""
    rows = {system.name: find_evidence(records, system.name) for system in list_systems(header)}
    rows = {name: tried for name, tried in rows.items() if tried}
    if not rows:
        return EMPTY
    sizes = [each.memory_mib for tried in rows.values() for each in tried]
    axis = choose_axis(sizes, "Memory given to the guest, MiB (logarithmic)", log=True)
    parts = [frame(axis, 0, LEAST_ROW * len(rows))]
    for number, (name, tried) in enumerate(rows.items()):
        least = show_least(find_least(header, records, name))
        note = f"least RAM: {least}"
        parts += [row_name(name, note, LEAST_ROW * number), _success(tried, axis, LEAST_ROW * number + 24)]
    told = "; ".join(
        f"{name}: {', '.join(f'{each.memory_mib} MiB {each.passed} of {each.boots}' for each in tried)}"
        for name, tried in rows.items()
    )
    entries = [
        (marker(0, "12", 7), "every boot passed"),
        (marker(3, "12", 7, hollow=True), "some passed"),
        (marker(6, "12", 7, colour=1), "none passed"),
    ]
    note = "Each row goes from no boot passed (lower line) to all boots passed (upper line)."
    words = f"Boots that got ready and stayed well, by memory size. {told}."
    drawn = plot("Least RAM to boot", words, LEAST_ROW * len(rows) + BELOW, *parts)
    return figure("Share of boots that passed, by memory size", note, legend(entries), drawn)


def _success(tried: Sequence[Evidence], axis: Axis, top: float) -> Html:
    ordered = sorted(tried, key=lambda each: each.memory_mib)
    points = [(axis.share(each.memory_mib), each.passed / each.boots) for each in ordered]
    parts = [
        line("0", top, "100%", top, "grid"),
        line("0", top + CURVE, "100%", top + CURVE, "grid"),
        curve(points, top, CURVE, "curve k0") if len(points) > 1 else EMPTY,
    ]
    for each, (_, share) in zip(ordered, points, strict=True):
        shape, colour = (0, 0) if share == 1 else (6, 1) if share == 0 else (3, 3)
        title = f"{each.memory_mib} MiB: {each.passed} of {each.boots}"
        where = axis.x(each.memory_mib), round(top + CURVE * (1 - share), 1)
        parts.append(marker(shape, *where, title, hollow=shape == 3, colour=colour))
    return Html("".join(parts))
