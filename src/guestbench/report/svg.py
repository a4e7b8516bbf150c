"""Draws the plots of a page as SVG.

Lengths across are shares of the width and lengths down are pixels, so that a plot fits a phone and a wide
screen alike while its text keeps its size. Colours, dashes and hatches are classes of the page's style
sheet, which has them for dark and light. That is why no plotting library is used: those write style
attributes, which the page's Content-Security-Policy refuses, and drawings of one size and colour scheme.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from math import inf
from operator import itemgetter
from pathlib import Path

from guestbench.page.blocks import Figure, to_plain
from guestbench.page.plots import (
    Axis,
    Bar,
    Course,
    Curves,
    Dots,
    Icicle,
    Legend,
    Line,
    Look,
    Mark,
    Plot,
    Point,
    Rows,
    Steps,
    shorten,
)
from guestbench.report.icicle import draw_icicle
from guestbench.report.tags import EMPTY, Html, tag

KINDS = 8
"""Colours, dashes and markers that the style sheet has, by number from 0."""
FILLS = 16
"""Fills of colour and hatch, which `fills` defines."""
WIDE = 1000
"""Units of width inside a stretched path, which are rounded to whole ones."""
COLUMNS = 500
"""Into how many columns a curve is divided; of the points within one the first and the extremes are drawn."""
NAME, UNDER_NAME, BELOW_MARKS = 15, 22, 8
"""Pixels from the top of a row down to the baseline of its name, and to its marks; and those below them."""
HEADING, LINE = 8, 16
"""Pixels above a row that is a heading, and those that a second line of it takes."""
NARROW = 36
"""Characters of a name and its note that fit one line on a phone."""
BELOW = 42
"""Pixels that an axis takes below the plot."""
ABOVE_CURVES = 24
"""Height of the line above a plot of curves, in pixels."""
MOST_MARKERS = 400
"""Points of a plot above which each is a mere dot: markers would cover one another."""
RADII = ((60, 3.0), (300, 2.0), (inf, 1.2))
"""Up to how many dots of a row have which radius in pixels: of many, the density is to show."""

SMALL = 1.8
"""Radius of such a dot, in pixels."""

_up = itemgetter(1)

_SHAPES = tomllib.loads((Path(__file__).parent / "assets" / "shapes.toml").read_text("utf-8"))
"""Paths of markers and of hatches."""


def draw(figure: Figure) -> Html:
    """The plots with their title above, and what is to be said of them below."""
    return tag(
        "figure",
        tag("p", figure.title, class_="title"),
        *(
            part
            for plot in figure.plots
            for part in (
                _draw_legend(plot.legend),
                draw_plot(plot),
            )
        ),
        tag("figcaption", " ".join(map(to_plain, figure.note.lines))) if figure.note.lines else EMPTY,
    )


def draw_plot(plot: Plot) -> Html:
    """A plot alone, without its legend: one image, as wide as there is room."""
    match plot:
        case Rows():
            return _draw_rows(plot)
        case Curves():
            return _draw_curves(plot)
        case Icicle():
            return draw_icicle(plot)


def _draw_legend(legend: Legend) -> Html:
    items = (
        tag(
            "li",
            tag("svg", draw_sample(mark), width="24", height="14", aria_hidden="true"),
            " ",
            shorten(name),
        )
        for mark, name in legend
    )
    return tag("ul", *items, class_="legend") if legend else EMPTY


def fills() -> Html:
    """The definitions of the fills, once a page: an image of no size."""
    patterns = (
        tag(
            "pattern",
            tag("rect", width="8", height="8", class_=f"f{number % KINDS}"),
            tag("path", d=_SHAPES["hatches"][(number + number // KINDS) % KINDS], class_="hatch"),
            id=f"p_{number}", width="8", height="8", patternUnits="userSpaceOnUse",
        )
        for number in range(FILLS)
    )  # fmt: skip
    return tag("svg", tag("defs", *patterns), width="0", height="0", aria_hidden="true", class_="defs")


# --- rows -------------------------------------------------------------------------------------------------


def _draw_rows(plot: Rows) -> Html:
    parts: list[Html] = []
    y = 0.0
    for row in plot.rows:
        if row.marks:
            parts.append(_name(row.name, row.note, y, "name sub" if row.sub else "name"))
            parts += (_draw_mark(mark, plot.axis, y + UNDER_NAME, row.height) for mark in row.marks)
            y += UNDER_NAME + row.height + BELOW_MARKS
        elif row.note and len(row.name) + len(row.note) > NARROW:
            parts += [_name(row.name, "", y + HEADING), _name("", row.note, y + HEADING + LINE)]
            y += HEADING + UNDER_NAME + LINE
        else:
            parts.append(_name(row.name, row.note, y + HEADING))
            y += HEADING + UNDER_NAME
    behind = [_frame(plot.axis, 0, y)]
    if plot.about:
        low, value, high = plot.about
        behind.insert(0, _bar(plot.axis, low, high, 0, y, "band equal"))
        behind.append(_line(_x(plot.axis, value), 0, _x(plot.axis, value), y, "one"))
    told = "; ".join(f"{row.name}: {row.told}" for row in plot.rows if row.told)
    description = f"{plot.description} {told}." if told else plot.description
    return _plot(plot.title, description, y + BELOW, *behind, *parts)


def _draw_mark(mark: Mark, axis: Axis, top: float, height: float) -> Html:
    middle = top + height / 2
    match mark:
        case Bar(look=Look.INTERVAL):
            return _bar(axis, mark.low, mark.high, top - 2, height + 4, f"band f{mark.kind % KINDS}")
        case Bar(look=Look.CLAIM):
            return _bar(axis, mark.low, mark.high, middle - 6, 12, "claim", mark.title)
        case Bar(look=Look.WHISKER | Look.LINK):
            return _line(_x(axis, mark.low), middle, _x(axis, mark.high), middle, mark.look)
        case Bar(look=Look.MEDIAN):
            return _line(_x(axis, mark.low), top - 4, _x(axis, mark.high), top + height + 4, mark.look)
        case Bar():
            return _bar(axis, mark.low, mark.high, top, height, f"p{mark.kind % FILLS}", mark.title)
        case Point():
            return _marker(mark, _x(axis, mark.at), round(top + height * (1 - mark.up), 1))
        case Dots():
            return _draw_dots(mark, axis, top, height)
        case Steps():
            points = [(axis.share(at), up) for at, up in mark.points]
            return Html(
                _line("0", top, "100%", top, "grid")
                + _line("0", top + height, "100%", top + height, "grid")
                + (_curve(points, top, height, f"curve k{mark.kind}") if len(points) > 1 else EMPTY)
            )


def _draw_dots(dots: Dots, axis: Axis, top: float, height: float) -> Html:
    step = height / max(len(dots.values) - 1, 1)
    radius = next(radius for most, radius in RADII if len(dots.values) <= most)
    # Written without `tag` and its escaping: there may be thousands, and they are numbers.
    drawn = (
        f'<circle cx="{_x(axis, value)}" cy="{top + step * number:.4g}" r="{radius:g}"/>'
        for number, value in enumerate(dots.values)
    )
    return tag("g", Html("".join(drawn)), class_=f"dot f{dots.kind % KINDS}")


# --- curves -----------------------------------------------------------------------------------------------


def _draw_curves(plot: Curves) -> Html:
    across, upwards, top, height = plot.across, plot.upwards, ABOVE_CURVES, plot.height
    parts = [_name(plot.title, upwards.label, 0)]
    for tick in upwards.ticks():
        y = top + height * (1 - upwards.share(tick))
        parts += [
            _line("0", y, "100%", y, "grid"),
            tag("text", upwards.show(tick), x="100%", y=f"{y - 3:.1f}", class_="tick end"),
        ]
    parts.append(_frame(across, top, top + height))
    many = sum(len(course.points) for course in plot.courses) > MOST_MARKERS
    for course in plot.courses:
        points = [
            (across.share(at), upwards.share(value) if value > 0 or not upwards.log else 0.0)
            for at, value in course.points
        ]
        if course.line in (Line.POINTS, Line.HOLLOW):
            parts.append(_draw_points(course, points, height, many=many))
            continue
        parts.append(_curve(_thin(points), top, height, f"curve k{course.kind % KINDS}"))
        if course.line is Line.CURVE:
            end = Point(course.kind, course.points[-1][0], course.title)
            parts.append(_marker(end, _x(across, end.at), round(top + height * (1 - points[-1][1]), 1)))
    return _plot(plot.title, plot.description, top + height + BELOW, *parts)


def _draw_points(course: Course, points: Sequence[tuple[float, float]], height: float, *, many: bool) -> Html:
    """Points of shares from 0 to 1, across and upwards, as markers or, if there are many, as dots."""
    places = [(f"{100 * at:.2f}%", ABOVE_CURVES + height * (1 - up)) for at, up in points]
    hollow = course.line is Line.HOLLOW
    if many and not hollow:
        # Written without `tag` and its escaping: there may be thousands, and they are numbers.
        drawn = "".join(f'<circle cx="{x}" cy="{y:.1f}" r="{SMALL:g}"/>' for x, y in places)
        return tag("g", Html(drawn), class_=f"dot f{course.kind % KINDS}")
    marker = Point(course.kind, 0, hollow=hollow)
    return Html("".join(_marker(marker, x, round(y, 1)) for x, y in places))


def _thin(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points without those that a screen cannot show beside their neighbours."""
    columns: dict[int, list[tuple[float, float]]] = {}
    for point in points:
        columns.setdefault(int(point[0] * COLUMNS), []).append(point)
    kept = []
    for column in columns.values():
        extremes = {column[0], column[-1], min(column, key=_up), max(column, key=_up)}
        kept += [point for point in column if point in extremes]
    return kept


# --- pieces -----------------------------------------------------------------------------------------------


def _x(axis: Axis, value: float) -> str:
    """Where a value lies, as an attribute of SVG."""
    return f"{100 * axis.share(value):.2f}%"


def draw_sample(mark: Bar | Point | Course) -> Html:
    """What a mark looks like, on 24 by 14 pixels."""
    match mark:
        case Point():
            return _marker(mark, "12", 7)
        case Course():
            drawn = _line("0", 7, "24", 7, f"curve k{mark.kind % KINDS}")
            return Html(drawn + _marker(Point(mark.kind, 0), "12", 7))
        case Bar(look=Look.CLAIM):
            return tag("rect", x="0", y="2", width="100%", height="10", class_="claim")
        case Bar(look=Look.INTERVAL):
            return tag("rect", width="24", height="14", class_=f"band f{mark.kind % KINDS}")
        case Bar():
            return tag("rect", width="24", height="14", class_=f"p{mark.kind % FILLS}")


def _marker(point: Point, x: str, y: float) -> Html:
    title = [tag("title", point.title)] if point.title else []
    drawn = tag("path", *title, d=_SHAPES["markers"][(point.kind + point.kind // KINDS) % KINDS])
    kind = (point.kind if point.colour is None else point.colour) % KINDS
    return tag("svg", drawn, x=x, y=f"{y:g}", class_=f"mark k{kind}{' hollow' if point.hollow else ''}")


def _line(x1: str, y1: float, x2: str, y2: float, look: str) -> Html:
    return tag("line", x1=x1, y1=f"{y1:g}", x2=x2, y2=f"{y2:g}", class_=look)


def _bar(axis: Axis, low: float, high: float, y: float, height: float, look: str, title: str = "") -> Html:
    left, right = axis.share(low), axis.share(high)
    return tag(
        "rect",
        *([tag("title", title)] if title else []),
        x=f"{100 * left:.2f}%",
        y=f"{y:g}",
        width=f"{100 * max(right - left, 0.0):.2f}%",
        height=f"{height:g}",
        class_=look,
    )


def _curve(points: Sequence[tuple[float, float]], y: float, height: float, look: str) -> Html:
    """A line through points of shares from 0 to 1, across and upwards, in a box over the whole width."""
    steps = [f"{WIDE * across:.0f} {height * (1 - up):.1f}" for across, up in points]
    kept = [step for number, step in enumerate(steps) if not number or step != steps[number - 1]]
    path = tag("path", d="M" + "L".join(kept), class_=look)
    box = f"0 0 {WIDE} {height:g}"
    return tag(
        "svg", path, x="0", y=f"{y:g}", width="100%", height=f"{height:g}", viewBox=box,
        preserveAspectRatio="none",
    )  # fmt: skip


def _name(name: str, note: str, y: float, look: str = "name") -> Html:
    """The name of a row above it, and a note in the same line."""
    parts = [tag("tspan", shorten(name), class_=look)]
    if note:
        parts.append(tag("tspan", note, dx="8" if name else None, class_="note"))
    return tag("text", *parts, x="0", y=f"{y + NAME:g}")


def _frame(axis: Axis, top: float, bottom: float) -> Html:
    """The lines of a plot's ticks, their values below, and what the axis shows below them."""
    parts = []
    for tick in axis.ticks():
        x = _x(axis, tick)
        parts.append(_line(x, top, x, bottom, "grid"))
        parts.append(tag("text", axis.show(tick), x=x, y=f"{bottom + 16:g}", class_="tick"))
    parts.append(_line("0", bottom, "100%", bottom, "axis"))
    parts.append(tag("text", axis.label, x="50%", y=f"{bottom + 34:g}", class_="label"))
    return Html("".join(parts))


def _plot(title: str, description: str, height: float, *contents: str) -> Html:
    """The plot as one image with a name and a description for those who do not see it."""
    svg = tag(
        "svg", tag("desc", description), *contents, role="img", aria_label=title,
        width="100%", height=f"{height:g}", class_="plot",
    )  # fmt: skip
    return tag("div", svg, class_="drawn")
