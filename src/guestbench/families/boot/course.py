"""Boots as the run went: in the order of time with the host's load, how they scatter, and block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from guestbench.analysis.findings import Findings
from guestbench.analysis.samples import Sampled, collect, find_pairs
from guestbench.families.boot import BOOT, READY
from guestbench.model import Comparison, Method, Ok, Record, Summary
from guestbench.page.blocks import Block, Cells, Code, Figure, Section, Table, read_words
from guestbench.page.figures import add_interval, show_amount
from guestbench.page.numbers import show_ratio, show_seconds, show_share
from guestbench.page.plots import (
    FAR_APART,
    Axis,
    Bar,
    Course,
    Curves,
    Dots,
    Legend,
    Line,
    Look,
    Mark,
    Point,
    Row,
    Rows,
    choose_axis,
)

tell = read_words(__file__)

LOW = 110
"""Pixels of the height of the host's load, which is looked at for its peaks alone."""
BLOCKS_HIGH = 48
"""Pixels that the dots of a row of blocks take."""
ROOM = 1.12
"""How far the axis goes beyond the last boot, for the values of the ticks."""
OTHERS, STEAL = 7, 1
"""Kinds of the curves of the host's load."""


def describe_course(found: Findings) -> Iterator[Section]:
    """The boots in the order made, and what every block says of each system and the baseline."""
    boots = found.find_trials((BOOT,))
    halves = tabulate_halves(found)
    if halves.rows:
        blocks: tuple[Block, ...] = (draw_order(found, boots), halves, tell("halves"))
        yield Section("boots-in-order", "Boots in the order made", blocks)
    pairs = list(_find_pairs(found))
    if pairs:
        table = Table(
            ("System", "Blocks", "Ratio (interval)", "Difference of means (interval)", "Least", "Greatest"),
            tuple(_tell_blocks(each, ratios) for each, ratios in pairs),
        )
        baseline = Code(found.header.experiment.baseline)
        yield Section("block-by-block", ("Block by block, against ", baseline), (draw_blocks(pairs), table))


# --- in the order of time ---------------------------------------------------------------------------------


def _find_ready(record: Record) -> float | None:
    if not isinstance(record.outcome, Ok):
        return None
    return next((each.value for each in record.samples if each.metric == READY and not each.labels), None)


def draw_order(found: Findings, boots: Sequence[Record]) -> Figure:
    """Every boot in the order made, as a share of its system's median, over what the host did meanwhile."""
    title = "Boots in the order made"
    medians = {each.system: each.median for each in found.find_all(READY) if each.median}
    if not medians:
        return Figure(title)
    points: dict[str, list[tuple[float, float]]] = {name: [] for name in found.names}
    failed: dict[str, list[float]] = {name: [] for name in found.names}
    for number, record in enumerate(boots, 1):
        name, value = record.trial.system, _find_ready(record)
        if value is None:
            failed[name].append(number)
        elif name in medians:
            points[name].append((number, value / medians[name]))
    shares = [share for each in points.values() for _, share in each]
    across = Axis(
        low=0.5, high=len(boots) * ROOM + 0.5, label="Number of the boot, in the order made", whole=True
    )
    upwards = choose_axis([*shares, 1.0], "as a share of the system's median", factor=0.01, suffix=" %")
    legend: list[tuple[Bar | Point | Course, str]] = []
    courses: list[Course] = []
    told: list[str] = []
    for kind, name in enumerate(found.names):
        if points[name]:
            courses.append(Course(kind, tuple(points[name]), line=Line.POINTS))
            legend.append((Point(kind, 0), name))
            least, most = (edge(share for _, share in points[name]) for edge in (min, max))
            told.append(f"{name}: {show_share(least)} to {show_share(most)} of its median")
        if failed[name]:
            at = tuple((number, upwards.high) for number in failed[name])
            courses.append(Course(kind, at, line=Line.HOLLOW))
            told.append(f"{name}: {len(at)} failed")
    if any(failed.values()):
        legend.append((Point(0, 0, hollow=True), "failed, at the top"))
    description = f"{len(boots)} boots in the order made. {'; '.join(told)}."
    plot = Curves("Boot time", description, across, upwards, tuple(courses), tuple(legend))
    first, last = (record.started[:19].replace("T", " ") for record in (boots[0], boots[-1]))
    return Figure(title, tell("order", first=first, last=last), (plot, _draw_load(boots, across)))


def _draw_load(boots: Sequence[Record], across: Axis) -> Curves:
    """What others than the boot took of the host's processors."""
    others = tuple((number, record.conditions.cpu_others) for number, record in enumerate(boots, 1))
    steal = tuple((number, record.conditions.cpu_steal) for number, record in enumerate(boots, 1))
    most, stolen = (max(share for _, share in each) for each in (others, steal))
    upwards = choose_axis(
        [0, max(most, stolen)], "as a share of its CPU time", zero=True, factor=0.01, suffix=" %"
    )
    legend: Legend = ((Course(OTHERS), "other processes"), (Course(STEAL), "steal"))
    description = (
        f"What the host did meanwhile: other processes used at most {show_share(most)} of its CPU time, "
        f"and a hypervisor below took at most {show_share(stolen)}."
    )
    courses = Course(OTHERS, others, "other processes"), Course(STEAL, steal, "steal")
    return Curves("The host meanwhile", description, across, upwards, courses, legend, height=LOW)


def tabulate_halves(found: Findings) -> Table:
    """What changed from the first half of each system's boots to the second, and the host with it."""
    rows: list[Cells] = []
    for name in found.names:
        made = [(value, r) for r in found.find_trials((BOOT,), name) if (value := _find_ready(r)) is not None]
        half = len(made) // 2
        if half > 1:
            parts = made[:half], made[-half:]
            middles = [median(value for value, _ in part) for part in parts]
            others = [median(record.conditions.cpu_others for _, record in part) for part in parts]
            change = middles[1] / middles[0] - 1
            cells = (*map(show_seconds, middles), f"{change:+.1%}", *map(show_share, others))
            rows.append((Code(name), str(half), *cells))
    head = ("System", "Boots in each half", "Median, first half", "Median, second half", "Change")
    return Table((*head, "Others' CPU, first half", "Others' CPU, second half"), tuple(rows))


# --- how they scatter -------------------------------------------------------------------------------------


def draw_shares(found: Findings) -> Figure:
    """For every time the share of a system's boots that were ready by then: its empirical distribution."""
    title = "Share of boots that were ready, by time"
    rows = [summary for summary in found.find_all(READY) if summary.n > 1 and summary.median]
    if not rows:
        return Figure(title)
    values = [value for row in rows for value in row.values]
    apart = min(values) <= 0 or max(values) > FAR_APART * min(values)
    scales = {row.system: row.median if apart and row.median else 1.0 for row in rows}
    scaled = {row.system: sorted(value / scales[row.system] for value in row.values) for row in rows}
    every = [value for each in scaled.values() for value in each]
    if apart:
        across = choose_axis(every, "Share of the system's median", factor=0.01, suffix=" %")
    else:
        across = choose_axis(every, "Boot time, s")
    upwards = Axis(low=0, high=1, label="that were ready by then", factor=0.01, suffix=" %")
    courses = tuple(
        _to_stairs(row, scaled[row.system], across, found.names.index(row.system)) for row in rows
    )
    legend = tuple((Course(course.kind), row.system) for course, row in zip(courses, rows, strict=True))
    told = "; ".join(f"{row.system}: {_tell_quartiles(row)}" for row in rows)
    description = f"Empirical distribution of the boot times of each system. {told}."
    note = tell("shares-apart" if apart else "shares")
    return Figure(title, note, (Curves("Boots", description, across, upwards, courses, legend),))


def _to_stairs(row: Summary, values: Sequence[float], across: Axis, kind: int) -> Course:
    """A step up at each value; what failed never gets ready, so that the stairs end below the top."""
    tried = row.n + row.failed
    points = [(across.low, 0.0)]
    for number, value in enumerate(values, 1):
        points += [(value, (number - 1) / tried), (value, number / tried)]
    points.append((across.high, row.n / tried))
    return Course(kind, tuple(points), row.system, line=Line.STAIRS)


def _tell_quartiles(row: Summary) -> str:
    quartiles = (row.lower_quartile, row.median, row.upper_quartile)
    return f"quartiles {', '.join(show_seconds(each, row.sd) for each in quartiles)}"


# --- block by block ---------------------------------------------------------------------------------------

Ratios = tuple[float, ...]
"""Of a system to the baseline, one a block, in the order of the blocks."""


def _find_pairs(found: Findings) -> Iterator[tuple[Comparison, Ratios]]:
    compared = [c for c in found.comparisons if (c.metric, c.labels, c.method) == (READY, {}, Method.BLOCKS)]
    if not compared:
        return
    samples = collect(found.header, found.records, (BOOT,))
    for each in compared:
        mine, theirs = (samples[name].get((READY, ()), Sampled()) for name in (each.system, each.baseline))
        ratios = tuple(a / b for a, b in find_pairs(mine, theirs))
        if ratios and each.ratio is not None:
            yield each, ratios


def draw_blocks(pairs: Sequence[tuple[Comparison, Ratios]]) -> Figure:
    """The ratio of every block, each system to a scale of its own, with the ratio of all and its interval."""
    return Figure("Ratio within each block", tell("blocks"), tuple(_draw_pair(*pair) for pair in pairs))


def _draw_pair(each: Comparison, ratios: Ratios) -> Rows:
    interval, ratio = each.ratio_ci, each.ratio or 1.0
    ends = (interval.low, interval.high) if interval else ()
    axis = choose_axis([*ratios, *ends], f"{each.system} over {each.baseline}, in the same block")
    marks: list[Mark] = [Dots(ratios, 0), Bar(ratio, ratio, look=Look.MEDIAN)]
    if interval:
        marks.insert(0, Bar(interval.low, interval.high, 0, look=Look.INTERVAL))
    ends_told = " to ".join(map(show_ratio, (min(ratios), max(ratios))))
    told = f"{len(ratios)} blocks, ratio {_show_ratio(each)}, from {ends_told}"
    row = Row(each.system, _show_ratio(each), tuple(marks), BLOCKS_HIGH, told=told)
    about = (1.0, 1.0, 1.0) if axis.low <= 1 <= axis.high else None
    description = "The ratio of the boot times within every block, with that of all and its interval."
    return Rows(f"Ratio within each block: {each.system}", description, axis, (row,), about=about)


def _show_ratio(each: Comparison) -> str:
    return add_interval(show_ratio(each.ratio), each.ratio_ci, show_ratio)


def _tell_blocks(each: Comparison, ratios: Ratios) -> Cells:
    shown = show_amount(each.difference, "s")
    difference = add_interval(shown, each.difference_ci, lambda value: show_amount(value, "s"))
    edges = show_ratio(min(ratios)), show_ratio(max(ratios))
    return Code(each.system), str(len(ratios)), _show_ratio(each), difference, *edges
