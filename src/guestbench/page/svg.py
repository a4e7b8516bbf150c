"""Draws axes, markers and rows of a plot as SVG; knows nothing of what is measured.

Lengths across are shares of the width and lengths down are pixels, so that a plot fits a phone and a wide
screen alike while its text keeps its size. Colours, dashes and hatches are classes of the page's style
sheet, which has them for dark and light. That is why no plotting library is used: those write style
attributes, which the page's Content-Security-Policy refuses, and drawings of one size and colour scheme.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from guestbench.model import Frozen
from guestbench.report.tags import EMPTY, Html, tag

KINDS = 8
"""Colours, dashes and markers that the style sheet has, by number from 0."""
FILLS = 16
"""Fills of colour and hatch, which `fills` defines."""
MOST_TICKS, WIDE_TICKS = 7, 4
WIDE = 1000
"""Units of width inside a stretched path, which are rounded to whole ones."""
NAME = 15
"""Pixels from the top of a row down to the baseline of its name."""
LONGEST_NAME = 44

_SHAPES = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z",
    "M-3.6-3.6h7.2v7.2h-7.2z",
    "M0-4.8 4.6 3.4h-9.2z",
    "M0-5 5 0 0 5-5 0z",
    "M0 4.8-4.6-3.4h9.2z",
    "M-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z",
    "M-4.6-2.6-2.6-4.6 0-2 2.6-4.6 4.6-2.6 2 0 4.6 2.6 2.6 4.6 0 2-2.6 4.6-4.6 2.6-2 0z",
    "M0-5 1.4-1.6 5-1.6 2.2.8 3.2 4.4 0 2.3-3.2 4.4-2.2.8-5-1.6-1.4-1.6z",
)
"""Circle, square, triangle, diamond, triangle down, plus, cross, star; about 9 pixels wide."""

_HATCHES = (
    "",
    "M-2 10 10-2M-2 2 2-2M6 10 10 6",
    "M-2-2 10 10M6-2 10 2M-2 6 2 10",
    "M4 0v8",
    "M0 4h8",
    "M-2 10 10-2M-2-2 10 10",
    "M3 4h2M0 0h1M7 0h1M0 8h1M7 8h1",
    "M4 0v8M0 4h8",
)
"""Plain, rising, falling, upright, level, crossed, dotted and checked, on 8 by 8 pixels."""


class Axis(Frozen):
    """The values from `low` to `high` across the width of a plot; `label` names them with their unit."""

    low: float
    high: float
    label: str
    log: bool = False
    factor: float = 1.0
    """What a value is divided by before it is written at a tick."""
    suffix: str = ""
    units: tuple[tuple[float, str], ...] = ()
    """Names of multiples, the largest first, if each tick is to have its own."""

    def share(self, value: float) -> float:
        """Where a value lies, from 0 at the left to 1 at the right; values beyond stop at the end."""
        if self.high == self.low:
            return 0.5
        if self.log:
            low, high, at = (math.log(max(each, 1e-300)) for each in (self.low, self.high, value))
        else:
            low, high, at = self.low, self.high, value
        return min(max((at - low) / (high - low), 0.0), 1.0)

    def x(self, value: float) -> str:
        """Where a value lies, as an attribute of SVG."""
        return f"{100 * self.share(value):.2f}%"

    def ticks(self) -> list[float]:
        """Round values to write at the axis, at most `MOST_TICKS`."""
        low, high = self.low / self.factor, self.high / self.factor
        found = _log_ticks(low, high) if self.log else _linear_ticks(low, high)
        # Ticks that are written with a unit are wide.
        found = found[:: math.ceil(len(found) / WIDE_TICKS)] if self.units else found
        return [tick * self.factor for tick in found]

    def show(self, value: float) -> str:
        """A tick's value, in as few digits as there are."""
        for size, unit in self.units:
            if abs(value) >= size:
                return f"{value / size:.6g} {unit}"
        shown = value / self.factor
        return f"{shown:,.0f}{self.suffix}" if abs(shown) >= 1e4 else f"{shown:.6g}{self.suffix}"


def choose_axis(
    values: Iterable[float], label: str, *, log: bool = False, zero: bool = False, factor: float = 1.0
) -> Axis:
    """An axis with room for all values; `zero` has it begin there. A log axis needs values above 0."""
    known = [value / factor for value in values]
    low, high = min(known), max(known)
    if log:
        low, high = low / 1.15, high * 1.15
    elif zero:
        low, high = 0.0, high * 1.02 or 1.0
    else:
        room = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
        low, high = low - room, high + room
    return Axis(low=low * factor, high=high * factor, label=label, log=log, factor=factor)


def _linear_ticks(low: float, high: float) -> list[float]:
    raw = (high - low) / (MOST_TICKS - 1) or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * each for each in (1, 2, 5, 10) if power * each >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for digits in ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        found = [
            float(f"{digit}e{power}")
            for power in range(first, last + 1)
            for digit in digits
            if low <= float(f"{digit}e{power}") <= high
        ]
        if len(found) <= MOST_TICKS:
            return found if len(found) > 1 else _linear_ticks(low, high)
    return found[:: math.ceil(len(found) / MOST_TICKS)]


def marker(
    shape: int, x: str, y: float, title: str = "", *, hollow: bool = False, colour: int | None = None
) -> Html:
    """One of the shapes, in its own colour unless told; `title` is shown where it is pointed at."""
    drawn = tag("path", *([tag("title", title)] if title else []), d=_SHAPES[shape % KINDS])
    kind = (shape if colour is None else colour) % KINDS
    return tag("svg", drawn, x=x, y=f"{y:g}", class_=f"mark k{kind}{' hollow' if hollow else ''}")


def line(x1: str, y1: float, x2: str, y2: float, look: str) -> Html:
    """A straight line."""
    return tag("line", x1=x1, y1=f"{y1:g}", x2=x2, y2=f"{y2:g}", class_=look)


def bar(x1: float, x2: float, y: float, height: float, look: str, title: str = "") -> Html:
    """A bar between two shares of the width from 0 to 1."""
    return tag(
        "rect",
        *([tag("title", title)] if title else []),
        x=f"{100 * x1:.2f}%",
        y=f"{y:g}",
        width=f"{100 * max(x2 - x1, 0.0):.2f}%",
        height=f"{height:g}",
        class_=look,
    )


def curve(points: Sequence[tuple[float, float]], y: float, height: float, look: str) -> Html:
    """A line through points of shares from 0 to 1, across and upwards, in a box over the whole width."""
    steps = [f"{WIDE * across:.0f} {height * (1 - up):.1f}" for across, up in points]
    kept = [step for number, step in enumerate(steps) if not number or step != steps[number - 1]]
    path = tag("path", d="M" + "L".join(kept), class_=look)
    box = f"0 0 {WIDE} {height:g}"
    return tag(
        "svg", path, x="0", y=f"{y:g}", width="100%", height=f"{height:g}", viewBox=box,
        preserveAspectRatio="none",
    )  # fmt: skip


def fills() -> Html:
    """The definitions of the fills, once a page: an image of no size."""
    patterns = (
        tag(
            "pattern",
            tag("rect", width="8", height="8", class_=f"f{number % KINDS}"),
            tag("path", d=_HATCHES[(number + number // KINDS) % KINDS], class_="hatch"),
            id=f"p_{number}", width="8", height="8", patternUnits="userSpaceOnUse",
        )
        for number in range(FILLS)
    )  # fmt: skip
    return tag("svg", tag("defs", *patterns), width="0", height="0", aria_hidden="true", class_="defs")


def shorten(name: str) -> str:
    """A name that fits a row of a plot, cut off where it is longer."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def row_name(name: str, note: str, y: float, look: str = "name") -> Html:
    """The name of a row above it, and a note in the same line."""
    parts = [tag("tspan", shorten(name), class_=look)]
    if note:
        parts.append(tag("tspan", note, dx="8" if name else None, class_="note"))
    return tag("text", *parts, x="0", y=f"{y + NAME:g}")


def frame(axis: Axis, top: float, bottom: float) -> Html:
    """The lines of a plot's ticks, their values below, and what the axis shows below them."""
    parts = []
    for tick in axis.ticks():
        x = axis.x(tick)
        parts.append(line(x, top, x, bottom, "grid"))
        parts.append(tag("text", axis.show(tick), x=x, y=f"{bottom + 16:g}", class_="tick"))
    parts.append(line("0", bottom, "100%", bottom, "axis"))
    parts.append(tag("text", axis.label, x="50%", y=f"{bottom + 34:g}", class_="label"))
    return Html("".join(parts))


BELOW = 42
"""Pixels that `frame` takes below the plot."""


def plot(title: str, description: str, height: float, *contents: str) -> Html:
    """The plot as one image with a name and a description for those who do not see it."""
    svg = tag(
        "svg", tag("desc", description), *contents, role="img", aria_label=title,
        width="100%", height=f"{height:g}", class_="plot",
    )  # fmt: skip
    return tag("div", svg, class_="drawn")


def legend(entries: Sequence[tuple[str, str]]) -> Html:
    """A list of what looks how: the sample as SVG of 24 by 14 pixels, and its name."""
    items = (
        tag("li", tag("svg", Html(sample), width="24", height="14", aria_hidden="true"), " ", shorten(name))
        for sample, name in entries
    )
    return tag("ul", *items, class_="legend") if entries else EMPTY


def figure(title: str, note: str, *contents: str) -> Html:
    """Plots that belong together, with their title above and what is to be said of them below."""
    return tag(
        "figure",
        tag("p", title, class_="title"),
        *contents,
        *([tag("figcaption", note)] if note else []),
    )
