"""Boot times in the report: every boot, what describes them, milestones, and what the floor takes of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence

from guestbench.analysis.findings import Findings
from guestbench.analysis.summary import find_summary, summarise, variation
from guestbench.families.boot import ABOVE_FLOOR, BOOT, COUNTED, CPU, FIRST, MARK, READY
from guestbench.families.boot.course import describe_course, draw_shares
from guestbench.families.boot.findings import READY_MARK, Step, milestone_steps
from guestbench.model import Ok, Summary
from guestbench.page.blocks import (
    Block,
    Bullets,
    Cells,
    Code,
    Column,
    Figure,
    Paragraph,
    Section,
    Table,
    Text,
    join,
    read_words,
    say,
)
from guestbench.page.figures import show_interval, show_quartiles
from guestbench.page.numbers import (
    NOTHING,
    choose_finer,
    choose_scale,
    count_things,
    show_mean,
    show_seconds,
    show_share,
)
from guestbench.page.plots import (
    FAR_APART,
    Axis,
    Bar,
    Dots,
    Legend,
    Look,
    Mark,
    Row,
    Rows,
    choose_axis,
    shares_of,
    shorten,
)

tell = read_words(__file__)


def headline(found: Findings) -> Iterator[Column]:
    """The mean boot time, what of it is above the floor, and how many boots that is of."""

    def show_all(show: Callable[[Summary], str], metric: str = READY) -> dict[str, str]:
        return {summary.system: show(summary) for summary in found.find_all(metric)}

    if not any(metric.name == READY for metric in found.header.metrics):
        return
    above = show_all(lambda each: show_seconds(each.median, each.sd), ABOVE_FLOOR)
    yield Column("Boot time, mean ± SD", show_all(lambda each: show_mean(each.mean, each.sd)))
    yield Column("Above the floor, median", above)
    yield Column("n", show_all(lambda each: str(each.n)))
    yield Column("failed", show_all(lambda each: str(each.failed)))


def sections(found: Findings) -> Iterator[Section]:
    """Boot times with their parts, if any boot was made."""
    times = describe_times(found, READY)
    parts = tuple(_find_parts(found))
    if times.rows or parts:
        blocks = tuple(_describe_boots(found, times)) if times.rows else ()
        yield Section("boot-time", "Boot time", blocks, parts, (READY, MARK, CPU, ABOVE_FLOOR))


def _describe_boots(found: Findings, times: Table) -> Iterator[Block]:
    yield draw_boots(found)
    yield draw_shares(found)
    yield times
    yield tell("values")
    yield say("Every value, in the order measured:")
    summaries = [(each, choose_finer(each.mean, each.sd)) for each in found.find_all(READY) if each.values]
    yield Bullets(
        tuple(
            (Code(each.system), f" ({scale.unit}): {' · '.join(map(scale.show, each.values))}")
            for each, scale in summaries
        )
    )


def _find_parts(found: Findings) -> Iterator[Section]:
    yield from describe_course(found)
    milestones = tuple(_describe_milestones(found))
    if milestones:
        yield Section("milestones", "Milestones", milestones)
    cpu, floor = Paragraph((found.metric(CPU).help,)), tell("floor", vmm=found.header.vmm)
    for name, title, about, table in (
        ("time-above-the-floor", "Time above the floor", floor, describe_times(found, ABOVE_FLOOR)),
        ("first-boots", "First boots", tell("first-boots"), first_boots(found)),
        ("cpu-time-to-ready", "CPU time to ready", cpu, describe_times(found, CPU)),
    ):
        if table.rows:
            yield Section(name, title, (about, table))


def describe_times(found: Findings, metric: str) -> Table:
    """The full description of a time metric, one row a system that has it."""
    head = ("System", "n", "Failed", "Mean", "SD", "CV", "Median", "Interval of the median", "Its coverage")
    rows = tuple(_describe(summary) for summary in found.find_all(metric))
    return Table((*head, "Quartiles", "Minimum", "Maximum"), rows).without_empty_columns()


def _describe(summary: Summary) -> Cells:
    scale = choose_scale(summary.mean, summary.sd)
    interval = summary.median_ci
    return (
        Code(summary.system),
        str(summary.n),
        str(summary.failed),
        scale.with_unit(summary.mean),
        scale.with_unit(summary.sd),
        # A difference to the floor can be near 0, where a relative spread means nothing.
        show_share(variation(summary)) if summary.metric != ABOVE_FLOOR else NOTHING,
        scale.with_unit(summary.median),
        f"{show_interval(interval, scale.show)} {scale.unit}" if interval else NOTHING,
        f"{interval.confidence:.1%}" if interval else NOTHING,
        show_quartiles(summary, scale),
        scale.with_unit(summary.minimum),
        scale.with_unit(summary.maximum),
    )


def _describe_milestones(found: Findings) -> Iterator[Block]:
    steps = milestone_steps(found.header, found.records)
    if not steps:
        return
    yield draw_milestones(found.names, steps, found.header.vmm)
    yield tell("milestones")
    head = ("Milestone", "Text on the serial console", "n", "Time since exec", "Step since the one before")
    for system in found.header.systems:
        patterns = {"ready": system.ready, **{each.name: each.pattern for each in system.milestones}}
        rows: tuple[Cells, ...] = tuple(
            (
                step.mark,
                Code(patterns[step.mark]) if step.mark in patterns else NOTHING,
                str(step.n),
                show_mean(step.mean, step.sd),
                show_mean(step.step_mean, step.step_sd),
            )
            for step in steps
            if step.system == system.name
        )
        if rows:
            yield Paragraph(((Code(system.name), ":"),))
            yield Table(head, rows, 2)


def first_boots(found: Findings) -> Table:
    """First boots after the image was made, beside the median of the counted boots."""
    first = summarise(found.header, found.records, (FIRST,))
    rows: list[Cells] = []
    for name in found.names:
        ready, cpu = (find_summary(first, name, metric) for metric in (READY, CPU))
        counted = found.find(name, READY)
        if ready is not None:
            shown = show_mean(ready.mean, ready.sd)
            median = show_seconds(counted.median, counted.sd) if counted else NOTHING
            taken = show_mean(cpu.mean, cpu.sd) if cpu else NOTHING
            rows.append((Code(name), str(ready.n), str(ready.failed), shown, median, taken))
    head = ("System", "n", "Failed", "First boot", "Median of the counted boots")
    return Table((*head, "CPU time of the first boot"), tuple(rows))


# --- plots -------------------------------------------------------------------------------------------------

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
    description = "Every boot time, with median and interval."
    drawn = tuple(_to_row(row, found.names.index(row.system)) for row in rows)
    return Figure(title, tell("dots"), (Rows(title, description, axis, drawn),))


def _to_row(row: Summary, kind: int) -> Row:
    marks: list[Mark] = [Dots(row.values, kind)]
    if row.median_ci:
        marks.insert(0, Bar(row.median_ci.low, row.median_ci.high, kind, look=Look.INTERVAL))
    if row.median is not None:
        marks.append(Bar(row.median, row.median, look=Look.MEDIAN))
    failed = f", {row.failed} failed" if row.failed else ""
    told = f"{row.n} boots, median {show_seconds(row.median, row.sd)}"
    if row.median_ci:
        low, high = (show_seconds(end, row.sd) for end in (row.median_ci.low, row.median_ci.high))
        told += f", interval {low} to {high}"
    note = f"{show_mean(row.mean, row.sd)}{failed}"
    return Row(row.system, note, tuple(marks), told=told + failed)


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
    scales: tuple[Text, ...] = ()
    if max(ends.values()) > FAR_APART * min(ends.values()):
        scales = tell("scales").lines
        shares = {name: [(mark, at / ends[name]) for mark, at in way] for name, way in ways.items()}
        own, about = f"{title}, each to its own scale", "How each boot is divided."
        plots.append(_draw_bars(own, about, shares, kinds, shares_of("the system's own boot"), ends))
    begin, end = tell("bars").lines
    return Figure(title, Paragraph((begin, *scales, end)), tuple(plots))


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
    rows = []
    for name, way in ways.items():
        starts = [0.0, *(at for _, at in way)]
        marks = tuple(
            Bar(start, at, kinds[mark], f"{mark}: {show(at - start)}")
            for start, (mark, at) in zip(starts, way, strict=False)
        )
        told = ", ".join(f"{mark}{at_word}{show(at)}" for mark, at in way)
        rows.append(Row(name, show_seconds(ends[name]), marks, told=told))
    return Rows(title, about, axis, tuple(rows), legend)


# --- what other sections have of boots --------------------------------------------------------------------


def opening(found: Findings) -> Iterator[Text]:
    """How many of the planned boots got ready."""
    planned = sum(trial.purpose == BOOT for trial in found.header.trials)
    boots = found.find_trials((BOOT,))
    ready = sum(isinstance(record.outcome, Ok) for record in boots)
    failed = f", {len(boots) - ready} failed" if ready < len(boots) else ""
    unmade = f", {planned - len(boots)} were not made" if len(boots) < planned else ""
    if planned:
        yield f"Of {planned} planned boots, {ready} got ready{failed}{unmade}."


def conditions(found: Findings) -> Iterator[Block]:
    """What else the host did during each system's counted boots, failed ones included."""
    rows: list[Cells] = []
    for name in found.names:
        seen = [record.conditions for record in found.find_trials((BOOT,), name)]
        if seen:
            loads, others = [each.load_1m for each in seen], [each.cpu_others for each in seen]
            shares = statistics.median(others), max(others), max(each.cpu_steal for each in seen)
            waits = [each.pressure["cpu"] for each in seen if "cpu" in each.pressure]
            waited = show_share(statistics.median(waits)) if waits else NOTHING
            load = f"{min(loads):.2f} to {max(loads):.2f}"
            rows.append((Code(name), str(len(seen)), load, *map(show_share, shares), waited))
    if rows:
        head = ("System", "Boots", "Load (1 min)", "Others' CPU, median", "Others' CPU, most", "Steal, most")
        yield tell("conditions")
        yield Table((*head, "CPU pressure, median"), tuple(rows))
        yield tell("conditions-end")
    yield from _tell_counters(found)


def _tell_counters(found: Findings) -> Iterator[Block]:
    """Why there are no figures of the host's CPU counters, where there are none."""
    reasons: dict[str, list[str]] = {}
    for name in COUNTED.values():
        if not any(each.metric == name and each.n for each in found.summaries):
            boots = found.find_trials((BOOT,))
            if reason := next(filter(None, (record.find_gap(name) for record in boots)), ""):
                reasons.setdefault(reason, []).append(found.metric(name).title)
    if reasons:
        told = "; ".join(f"{', '.join(titles)}: n/a, because {reason}" for reason, titles in reasons.items())
        yield say(f"{told}.")


def method(found: Findings) -> tuple[Text, ...]:
    """How often each system was to be booted, and in which order."""
    wanted = found.header.experiment
    blocks = len({trial.block for trial in found.header.trials if trial.purpose == BOOT})
    if not blocks:
        return ()
    return tell(
        "method",
        times=count_things(blocks, "time"),
        warmups=count_things(wanted.warmups, "boot"),
        blocks=count_things(blocks, "block"),
        seed=wanted.seed if wanted.seed is not None else "(none recorded)",
    ).lines


def order(found: Findings) -> Iterator[Block]:
    """The blocks in the order they were run, each with its systems in the order they were booted."""
    blocks: dict[int, list[Code]] = {}
    for record in found.find_trials((BOOT,)):
        blocks.setdefault(record.trial.block, []).append(Code(record.trial.system))
    if blocks:
        yield say("The order as run:")
        rows = tuple((str(block), join(names)) for block, names in blocks.items())
        yield Table(("Block", "Order"), rows, 2)


def trial_columns() -> tuple[tuple[str, str], ...]:
    """What the table of every trial has of boots."""
    return ("Boot time", READY), ("CPU time", CPU)
