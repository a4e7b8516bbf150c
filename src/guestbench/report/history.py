"""Shows many runs over time: as text, Markdown, HTML with plots, and JSON; it calculates nothing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise

import msgspec

from guestbench.analysis.history import History, Series, Stage
from guestbench.model import Better
from guestbench.page.blocks import (
    Block,
    Bullets,
    Cells,
    Code,
    Figure,
    Page,
    Paragraph,
    Section,
    Span,
    Strong,
    Table,
)
from guestbench.page.figures import show_finely, show_interval, write_key
from guestbench.page.numbers import NOTHING, count_things
from guestbench.page.plots import FAR_APART, Axis, Course, Curves, choose_axis

HEAD = ("Run", "Begun", "guestbench", "Image", "Course", "Figure", "Interval", "n", "What changed")
JSON_VERSION = 1
"""Version of the shape of the JSON. Raised when a field changes its meaning or goes."""
SHORT = 12
"""Characters of a digest that are shown."""
WIDTH = 20
"""Places of the course that is drawn in characters."""


class HistoryDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of the JSON of `guestbench history`."""

    version: int
    history: History


def render_json(history: History) -> bytes:
    """A `HistoryDocument`, indented, keys of maps sorted, with a newline at the end."""
    document = HistoryDocument(version=JSON_VERSION, history=history)
    return msgspec.json.format(msgspec.json.encode(document, order="deterministic"), indent=2) + b"\n"


def describe_history(history: History) -> Page:
    """What was left out, all changes, and a section for each figure of a system."""
    changes = tuple(
        (Code(series.system), ": ", Code(write_key(series.metric, series.labels)), ": ", told)
        for series in history.series
        for told in _tell_turns(series)
    )
    left_out = tuple(f"left out: {reason}" for reason in history.left_out)
    said = Paragraph(
        (
            "Figures are medians of a run's trials, with their interval within the run.",
            "A level changes where the runs before and after differ by more than their order explains "
            "(E-divisive, at 1%); three runs at least are needed to tell a new one.",
            "Figures that do not scatter change wherever they differ.",
        )
    )
    return Page(
        f"History of {count_things(history.runs, 'run')}",
        (Bullets(left_out), Bullets(changes or ("No figure has changed its level.",), "Changes"), said),
        tuple(_describe(series, n) for n, series in enumerate(history.series, 1)),
    )


def _tell_turns(series: Series) -> Iterator[str]:
    for turn in series.turns:
        stage = series.stages[turn.stage]
        besides = f"; then too: {', '.join(stage.besides)}" if stage.besides else ""
        yield f"{_tell_ratio(turn.ratio, series.better)} from run {stage.run} on{besides}"


def _tell_ratio(ratio: float | None, better: Better) -> str:
    if ratio is None:
        return "another level"
    told = f"{(ratio - 1) * 100:+.3g}%" if ratio < 10 else f"×{ratio:.3g}"
    if better is Better.NEITHER or ratio == 1:
        return told
    return f"{told}, which is {'better' if (ratio < 1) == (better is Better.LOWER) else 'worse'},"


def _describe(series: Series, number: int) -> Section:
    values = [stage.value for stage in series.stages if stage.value is not None]
    axis = None
    if values:
        far = min(values) > 0 and max(values) / min(values) > FAR_APART
        axis = choose_axis(values, series.unit, log=far)
    turns = {turn.stage: turn.ratio for turn in series.turns}
    rows = tuple(_row(series, n, stage, axis, turns) for n, stage in enumerate(series.stages))
    blocks: list[Block] = [Table(HEAD, rows, 5).without_empty_columns()]
    if series.run_sd is not None:
        scatter = f"Runs scatter about their level by {series.run_sd:.2%} (SD)"
        blocks.append(Paragraph((f"{scatter}, which guestbench diff takes as --run-sd.",)))
    if len(values) > 1:
        blocks.append(_draw(series, axis))
    title = (Code(series.system), f": {series.title}, ", Code(write_key(series.metric, series.labels)))
    return Section(f"series-{number}", title, tuple(blocks))


def _row(
    series: Series, number: int, stage: Stage, axis: Axis | None, turns: dict[int, float | None]
) -> Cells:
    show = partial(show_finely, unit=series.unit)
    told: list[Span] = []
    if number in turns:
        told.append(Strong(_tell_ratio(turns[number], series.better).rstrip(",")))
    if stage.besides:
        told += [", "] if told else []
        told.append(", ".join(stage.besides))
    failed = f" ({stage.failed} failed)" if stage.failed else ""
    return (
        Code(stage.run),
        stage.created[:16].replace("T", " "),
        stage.tool,
        Code(stage.image[:SHORT]) if stage.image else NOTHING,
        _place(stage.value, axis),
        show(stage.value),
        show_interval(stage.interval, show),
        f"{stage.n}{failed}",
        tuple(told) or NOTHING,
    )


def _place(value: float | None, axis: Axis | None) -> str:
    """Where a value lies between the others, drawn in characters, since a terminal shows no plot."""
    if value is None or axis is None:
        return NOTHING
    at = round(axis.share(value) * (WIDTH - 1))
    return f"{'·' * at}●{'·' * (WIDTH - 1 - at)}"


def _draw(series: Series, axis: Axis | None) -> Figure:
    points = tuple(
        (float(n), stage.value) for n, stage in enumerate(series.stages, 1) if stage.value is not None
    )
    edges = [0, *(turn.stage for turn in series.turns), len(series.stages)]
    courses = tuple(
        Course(n, tuple(point for point in points if low < point[0] <= high))
        for n, (low, high) in enumerate(pairwise(edges))
    )
    title = f"{series.system}: {series.title} over the runs"
    described = f"{title}. {' '.join(f'{told}.' for told in _tell_turns(series)) or 'No change of level.'}"
    across = choose_axis([1, len(series.stages)], "Run, oldest first")
    upwards = axis or choose_axis([0.0], series.unit)
    plot = Curves(title, described, across, upwards, tuple(each for each in courses if each.points))
    return Figure(title, Paragraph(("Each level is a curve of its own.",)), (plot,))
