"""Draws boots: each as a dot, and each system's on the average as a bar of its milestones.

A plot is empty where the run has no data for it. Figures are looked up and never calculated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf

from guestbench.analysis.summary import READY, find_summary
from guestbench.families.boot.milestones import READY_MARK, Step
from guestbench.model import Header, Summary
from guestbench.page.numbers import show_mean, show_seconds, show_share
from guestbench.page.svg import (
    BELOW,
    Axis,
    bar,
    choose_axis,
    figure,
    frame,
    legend,
    line,
    plot,
    row_name,
    shorten,
)
from guestbench.report.plots.common import (
    BAR,
    FAR_APART,
    ROW,
    UNDER_NAME,
    part_look,
    system_kind,
)
from guestbench.report.results import list_systems
from guestbench.report.tags import EMPTY, Html, tag

RADII = ((60, 3.0), (300, 2.0), (inf, 1.2))
"""Up to how many boots of a system a dot has which radius in pixels: of many, the density is to show."""


def boot_timeline(header: Header, steps: Sequence[Step]) -> Html:
    """Each system's boot as a bar of its milestones: all on one scale, and each over the whole width."""
    ways = {system.name: _way(steps, system.name) for system in list_systems(header)}
    ways = {name: way for name, way in ways.items() if way and way[-1][1] > 0}
    if not ways:
        return EMPTY
    kinds = {mark: number for number, mark in enumerate(_order(ways))}
    ends = [way[-1][1] for way in ways.values()]
    axis = choose_axis([0, *ends], "Time since QEMU was started, s", zero=True)
    words = "; ".join(f"{name}: {_tell(way)}" for name, way in ways.items())
    plots = [_bars("Boot timeline", f"Mean time of each milestone. {words}.", ways, kinds, axis)]
    note = "Each part of a bar ends at the mean time of its milestone. "
    if max(ends) > FAR_APART * min(ends):
        note += "The upper bars have one scale; each lower one shows how its own boot is divided. "
        shares = {name: [(mark, at / way[-1][1]) for mark, at in way] for name, way in ways.items()}
        axis = Axis(low=0, high=1, label="Share of the system's own boot", factor=0.01, suffix=" %")
        title = "Boot timeline, each to its own scale"
        divided = "; ".join(f"{name}: {_tell_shares(way)}" for name, way in shares.items())
        plots.append(_bars(title, f"How each boot is divided. {divided}.", shares, kinds, axis, ends))
    note += "Milestones that only some of the boots reached are left out."
    entries = [
        (tag("rect", width="24", height="14", class_=part_look(kind)), mark) for mark, kind in kinds.items()
    ]
    return figure("Boot timeline", note, legend(entries), *plots)


def _way(steps: Sequence[Step], system: str) -> list[tuple[str, float]]:
    """The milestones that every boot of a system reached, each with its mean time in seconds."""
    own = [step for step in steps if step.system == system]
    boots = max((step.n for step in own if step.mark == READY_MARK), default=0)
    return [(shorten(step.mark), step.mean) for step in own if step.n == boots]


def _order(ways: Mapping[str, Sequence[tuple[str, float]]]) -> list[str]:
    """Every milestone once, by how much of a boot is over at it in the system where that is least."""
    places: dict[str, float] = {}
    for way in ways.values():
        for number, (mark, at) in enumerate(way):
            place = at / way[-1][1] + number * 1e-9
            places[mark] = min(place, places.get(mark, place))
    return sorted(places, key=lambda mark: (mark == READY_MARK, places[mark]))


def _tell(way: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{mark} {show_seconds(at)}" for mark, at in way)


def _tell_shares(way: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{mark} until {show_share(at)}" for mark, at in way)


def _bars(
    title: str,
    description: str,
    ways: Mapping[str, Sequence[tuple[str, float]]],
    kinds: Mapping[str, int],
    axis: Axis,
    totals: Sequence[float] | None = None,
) -> Html:
    parts = [frame(axis, 0, ROW * len(ways))]
    for number, (name, way) in enumerate(ways.items()):
        y, before = ROW * number, 0.0
        parts.append(row_name(name, show_seconds(totals[number] if totals else way[-1][1]), y))
        for mark, at in way:
            shown = f"{mark}: {show_share(at - before)}" if totals else f"{mark}: {show_seconds(at - before)}"
            box = axis.share(before), axis.share(at), y + UNDER_NAME, BAR
            parts.append(bar(*box, part_look(kinds[mark]), shown))
            before = at
    return plot(title, description, ROW * len(ways) + BELOW, *parts)


def every_boot(header: Header, summaries: Sequence[Summary]) -> Html:
    """Every boot as a dot, with the median and its interval."""
    found = [find_summary(summaries, system.name, READY) for system in list_systems(header)]
    rows = [summary for summary in found if summary and summary.values]
    if not rows:
        return EMPTY
    values = [value for row in rows for value in row.values]
    log = min(values) > 0 and max(values) > FAR_APART * min(values)
    axis = choose_axis(values, f"Boot time, s{' (logarithmic)' if log else ''}", log=log)
    parts = [frame(axis, 0, ROW * len(rows))]
    for number, row in enumerate(rows):
        parts.append(_dots(row, axis, ROW * number, system_kind(header, row.system)))
    note = (
        "Every dot is a boot: within a row the first is at the top and the last at the bottom. "
        "The line is the median, the band its interval."
    )
    words = "; ".join(f"{row.system}: {_tell_boots(row)}" for row in rows)
    description = f"Every boot time, with median and interval. {words}."
    return figure("Every boot", note, plot("Every boot", description, ROW * len(rows) + BELOW, *parts))


def _tell_boots(row: Summary) -> str:
    shown = f"{row.n} boots, median {show_seconds(row.median, row.sd)}"
    if row.median_ci:
        low, high = (show_seconds(end, row.sd) for end in (row.median_ci.low, row.median_ci.high))
        shown += f", interval {low} to {high}"
    return shown + (f", {row.failed} failed" if row.failed else "")


def _dots(row: Summary, axis: Axis, y: float, kind: int) -> Html:
    failed = f", {row.failed} failed" if row.failed else ""
    parts = [row_name(row.system, f"{show_mean(row.mean, row.sd)}{failed}", y)]
    top, height = y + UNDER_NAME, BAR
    if row.median_ci:
        ends = axis.share(row.median_ci.low), axis.share(row.median_ci.high)
        parts.append(bar(*ends, top - 2, height + 4, f"band f{kind}"))
    step = height / max(row.n - 1, 1)
    radius = next(radius for most, radius in RADII if row.n <= most)
    # Written without `tag` and its escaping: there may be thousands, and they are numbers.
    dots = (
        f'<circle cx="{axis.x(value)}" cy="{top + step * number:.4g}" r="{radius:g}"/>'
        for number, value in enumerate(row.values)
    )
    parts.append(tag("g", Html("".join(dots)), class_=f"dot f{kind}"))
    if row.median is not None:
        x = axis.x(row.median)
        parts.append(line(x, top - 4, x, top + height + 4, "median"))
    return Html("".join(parts))
