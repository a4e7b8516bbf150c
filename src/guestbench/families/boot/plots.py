"""The plots of boots: each boot as a dot, and each system's on the average as a bar of its milestones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guestbench.analysis.findings import Findings
from guestbench.families.boot import READY
from guestbench.families.boot.findings import READY_MARK, Step
from guestbench.model import Summary
from guestbench.page.numbers import show_mean, show_seconds, show_share
from guestbench.page.plots import (
    FAR_APART,
    Axis,
    Bar,
    Dots,
    Figure,
    Legend,
    Look,
    Mark,
    Row,
    Rows,
    choose_axis,
    shares_of,
    shorten,
)

Way = Sequence[tuple[str, float]]
"""Milestones and the times at which they were reached."""


def draw_boots(found: Findings) -> Figure:
    """Every boot as a dot, with the median and its interval."""
    title = "Every boot"
    rows = [summary for summary in found.find_all(READY) if summary.values]
    if not rows:
        return Figure(title)
    values = [value for row in rows for value in row.values]
    log = min(values) > 0 and max(values) > FAR_APART * min(values)
    axis = choose_axis(values, f"Boot time, s{' (logarithmic)' if log else ''}", log=log)
    told = "; ".join(f"{row.system}: {_tell_boots(row)}" for row in rows)
    description = f"Every boot time, with median and interval. {told}."
    drawn = tuple(_to_row(row, found.names.index(row.system)) for row in rows)
    note = (
        "Every dot is a boot: within a row the first is at the top and the last at the bottom. "
        "The line is the median, the band its interval."
    )
    return Figure(title, note, (Rows(title, description, axis, drawn),))


def _to_row(row: Summary, kind: int) -> Row:
    marks: list[Mark] = [Dots(row.values, kind)]
    if row.median_ci:
        marks.insert(0, Bar(row.median_ci.low, row.median_ci.high, kind, look=Look.INTERVAL))
    if row.median is not None:
        marks.append(Bar(row.median, row.median, look=Look.MEDIAN))
    failed = f", {row.failed} failed" if row.failed else ""
    return Row(row.system, f"{show_mean(row.mean, row.sd)}{failed}", tuple(marks))


def _tell_boots(row: Summary) -> str:
    shown = f"{row.n} boots, median {show_seconds(row.median, row.sd)}"
    if row.median_ci:
        low, high = (show_seconds(end, row.sd) for end in (row.median_ci.low, row.median_ci.high))
        shown += f", interval {low} to {high}"
    return shown + (f", {row.failed} failed" if row.failed else "")


def draw_milestones(names: Sequence[str], steps: Sequence[Step], vmm: str) -> Figure:
    """Each system's boot as a bar of its milestones: all on one scale, and each over the whole width."""
    title = "Boot timeline"
    ways = {name: _find_way(steps, name) for name in names}
    ways = {name: way for name, way in ways.items() if way and way[-1][1] > 0}
    if not ways:
        return Figure(title)
    kinds = {mark: number for number, mark in enumerate(_order(ways))}
    ends = {name: way[-1][1] for name, way in ways.items()}
    axis = choose_axis([0, *ends.values()], f"Time since {vmm} was started, s", zero=True)
    legend = tuple((Bar(0, 1, kind), mark) for mark, kind in kinds.items())
    plots = [_draw_bars(title, "Mean time of each milestone.", ways, kinds, axis, ends, legend)]
    note = "Each part of a bar ends at the mean time of its milestone. "
    if max(ends.values()) > FAR_APART * min(ends.values()):
        note += "The upper bars have one scale; each lower one shows how its own boot is divided. "
        shares = {name: [(mark, at / ends[name]) for mark, at in way] for name, way in ways.items()}
        own, about = f"{title}, each to its own scale", "How each boot is divided."
        plots.append(_draw_bars(own, about, shares, kinds, shares_of("the system's own boot"), ends))
    note += "Milestones that only some of the boots reached are left out."
    return Figure(title, note, tuple(plots))


def _find_way(steps: Sequence[Step], system: str) -> Way:
    """The milestones that every boot of a system reached, each with its mean time in seconds."""
    own = [step for step in steps if step.system == system]
    boots = max((step.n for step in own if step.mark == READY_MARK), default=0)
    return [(shorten(step.mark), step.mean) for step in own if step.n == boots]


def _order(ways: Mapping[str, Way]) -> list[str]:
    """Every milestone once, by how much of a boot is over at it in the system where that is least."""
    places: dict[str, float] = {}
    for way in ways.values():
        for number, (mark, at) in enumerate(way):
            place = at / way[-1][1] + number * 1e-9
            places[mark] = min(place, places.get(mark, place))
    return sorted(places, key=lambda mark: (mark == READY_MARK, places[mark]))


def _draw_bars(
    title: str,
    about: str,
    ways: Mapping[str, Way],
    kinds: Mapping[str, int],
    axis: Axis,
    ends: Mapping[str, float],
    legend: Legend = (),
) -> Rows:
    show, at_word = (show_share, " until ") if axis.suffix else (show_seconds, " ")
    rows, told = [], []
    for name, way in ways.items():
        starts = [0.0, *(at for _, at in way)]
        marks = tuple(
            Bar(start, at, kinds[mark], f"{mark}: {show(at - start)}")
            for start, (mark, at) in zip(starts, way, strict=False)
        )
        rows.append(Row(name, show_seconds(ends[name]), marks))
        told.append(f"{name}: {', '.join(f'{mark}{at_word}{show(at)}' for mark, at in way)}")
    return Rows(title, f"{about} {'; '.join(told)}.", axis, tuple(rows), legend)
