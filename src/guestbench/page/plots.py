"""What a plot shows, as data: an axis, rows of marks over it, or curves; how it looks is the renderers' work.

Every number of a mark is a value on its axis. `kind` is the number of a colour, a dash and a marker, or of a
fill, so that things are known apart without their colour.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum

import msgspec

MOST_TICKS, WIDE_TICKS = 7, 4
FAR_APART = 8
"""From this ratio on between the largest and the smallest, sizes and times do not fit one linear axis."""
BAR = 16
"""Pixels of the height of a row's marks."""
CURVES = 260
"""The same of a plot of curves."""
LONGEST_NAME = 44


class Axis(msgspec.Struct, frozen=True, kw_only=True):
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
    whole: bool = False
    """Whether there is nothing between whole numbers."""

    def share(self, value: float) -> float:
        """Where a value lies, from 0 at the left to 1 at the right; values beyond stop at the end."""
        if self.high == self.low:
            return 0.5
        if self.log:
            low, high, at = (math.log(max(each, 1e-300)) for each in (self.low, self.high, value))
        else:
            low, high, at = self.low, self.high, value
        return min(max((at - low) / (high - low), 0.0), 1.0)

    def ticks(self) -> list[float]:
        """Round values to write at the axis, at most `MOST_TICKS`."""
        low, high = self.low / self.factor, self.high / self.factor
        found = _log_ticks(low, high) if self.log else _linear_ticks(low, high)
        # Ticks that are written with a unit are wide.
        found = found[:: math.ceil(len(found) / WIDE_TICKS)] if self.units else found
        found = [tick for tick in found if tick.is_integer()] if self.whole else found
        return [tick * self.factor for tick in found]

    def show(self, value: float) -> str:
        """A tick's value, in as few digits as there are."""
        for size, unit in self.units:
            if abs(value) >= size:
                return f"{value / size:.6g} {unit}"
        shown = value / self.factor
        return f"{shown:,.0f}{self.suffix}" if abs(shown) >= 1e4 else f"{shown:.6g}{self.suffix}"


def choose_axis(
    values: Iterable[float],
    label: str,
    *,
    log: bool = False,
    zero: bool = False,
    factor: float = 1.0,
    suffix: str = "",
    units: tuple[tuple[float, str], ...] = (),
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
    ends = low * factor, high * factor
    return Axis(low=ends[0], high=ends[1], label=label, log=log, factor=factor, suffix=suffix, units=units)


def shares_of(whole: str) -> Axis:
    """An axis of shares of something, in percent."""
    return Axis(low=0, high=1, label=f"Share of {whole}", factor=0.01, suffix=" %")


def shorten(name: str) -> str:
    """A name that fits a row of a plot, cut off where it is longer."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


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


# --- marks ------------------------------------------------------------------------------------------------


class Look(StrEnum):
    """What a bar stands for."""

    PART = "part"
    INTERVAL = "interval"
    CLAIM = "claim"
    WHISKER = "whisker"
    LINK = "link"
    """A line that only says what belongs together."""
    MEDIAN = "median"
    """A line across the row."""


class Bar(msgspec.Struct, frozen=True):
    """A stretch of the axis, or one value of it; `title` is shown where it is pointed at."""

    low: float
    high: float
    kind: int = 0
    title: str = ""
    look: Look = Look.PART


class Point(msgspec.Struct, frozen=True):
    """A marker of a shape, `up` as high in its row, from 0 to 1; `colour` is of another kind, if told."""

    kind: int
    at: float
    title: str = ""
    up: float = 0.5
    hollow: bool = False
    colour: int | None = None


class Dots(msgspec.Struct, frozen=True):
    """Values in their order, one below the other."""

    values: tuple[float, ...]
    kind: int


class Steps(msgspec.Struct, frozen=True):
    """A line through points of a row, each a value and how high it is from 0 to 1, between lines at both."""

    points: tuple[tuple[float, float], ...]
    kind: int


Mark = Bar | Point | Dots | Steps


class Row(msgspec.Struct, frozen=True):
    """A name with a note beside it, and below both the marks. One without marks heads those behind it.

    `told` is what the marks show, in words.
    """

    name: str
    note: str = ""
    marks: tuple[Mark, ...] = ()
    height: int = BAR
    sub: bool = False
    told: str = ""


class Line(StrEnum):
    """How the points of a course are drawn."""

    CURVE = "curve"
    STAIRS = "stairs"
    """As a curve, without a marker at its end."""
    POINTS = "points"
    HOLLOW = "hollow"


class Course(msgspec.Struct, frozen=True):
    """What became of a value over time: points of time and value, and what is to be said at the last."""

    kind: int
    points: tuple[tuple[float, float], ...] = ()
    title: str = ""
    line: Line = Line.CURVE


Legend = tuple[tuple[Bar | Point | Course, str], ...]
"""What looks how; a `Course` stands for the look of a curve."""


class Rows(msgspec.Struct, frozen=True):
    """A plot of rows over one axis; `description` says in words what it shows, before what its rows tell.

    `about` is a value that all others are held against, between the ends of what makes no difference to it.
    """

    title: str
    description: str
    axis: Axis
    rows: tuple[Row, ...]
    legend: Legend = ()
    about: tuple[float, float, float] | None = None


class Curves(msgspec.Struct, frozen=True):
    """A plot of courses, `height` pixels high; the axis upwards is labelled beside the title."""

    title: str
    description: str
    across: Axis
    upwards: Axis
    courses: tuple[Course, ...]
    legend: Legend = ()
    height: int = CURVES


class Frame(msgspec.Struct, frozen=True):
    """A part of a whole, as wide as its `value`, with the parts that it consists of, in their order."""

    name: str
    value: int
    kind: int = 0
    parts: tuple[Frame, ...] = ()


class Icicle(msgspec.Struct, frozen=True):
    """A whole at the top, its parts below it, and theirs below them; the reader may look closer at each."""

    title: str
    description: str
    root: Frame
    unit: str
    legend: Legend = ()


Plot = Rows | Curves | Icicle
