"""Boot times in the report: every boot, what describes them, milestones, and what the floor takes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from guestbench.analysis.summary import (
    CONFIDENCE,
    find_metric,
    find_summary,
    smallest_sample,
    summarise,
    variation,
)
from guestbench.families.boot import ABOVE_FLOOR, BOOT, CPU, MARK, READY
from guestbench.families.boot.findings import Step, milestone_steps, summarise_conditions
from guestbench.families.boot.plots import draw_boots, draw_milestones
from guestbench.model import Header, Ok, Record, Summary, System
from guestbench.page.blocks import Block, Bullets, Code, Paragraph, Section, Table, Text, join
from guestbench.page.figures import show_interval, show_median, show_quartiles
from guestbench.page.headline import Column
from guestbench.page.numbers import (
    NOTHING,
    choose_finer,
    choose_scale,
    count_things,
    first_sentence,
    show_mean,
    show_seconds,
    show_share,
)


def headline(header: Header, summaries: Sequence[Summary]) -> Iterator[Column]:
    """The mean and the median boot time, what of it is above the floor, and how many boots got ready."""

    def cells(show: Callable[[Summary], str], metric: str = READY) -> dict[str, str]:
        found = {system.name: find_summary(summaries, system.name, metric) for system in header.systems}
        return {name: show(summary) for name, summary in found.items() if summary}

    if not any(metric.name == READY for metric in header.metrics):
        return
    notes = (
        f"Boot time: {first_sentence(find_metric(header, READY).help)}.",
        "SD is the standard deviation; the interval covers the true median with at least "
        f"{CONFIDENCE:.0%} and takes {smallest_sample()} values to exist.",
    )
    mean = cells(lambda each: show_mean(each.mean, each.sd))
    above = cells(lambda each: show_seconds(each.median, each.sd), ABOVE_FLOOR)
    ready = cells(lambda each: f"{each.n} of {each.n + each.failed}")
    yield Column(title="Boot time, mean ± SD", cells=mean, notes=notes)
    yield Column(title="Median (interval)", cells=cells(show_median), terminal=False)
    yield Column(title="Above the floor, median", cells=above)
    yield Column(title="Boots that got ready", cells=ready, terminal=False)
    yield Column(title="n", cells=cells(lambda each: str(each.n)), page=False)
    yield Column(title="failed", cells=cells(lambda each: str(each.failed)), page=False)


def sections(header: Header, records: Sequence[Record], summaries: Sequence[Summary]) -> Iterator[Section]:
    """Boot times with their parts, if any boot was made."""
    times = describe_times(header, summaries, READY)
    parts = tuple(_find_parts(header, records, summaries))
    if times.rows or parts:
        yield Section(
            id="boot-time",
            title="Boot time",
            blocks=tuple(_describe_boots(header, summaries, times)) if times.rows else (),
            parts=parts,
            metrics=(READY, MARK, CPU, ABOVE_FLOOR),
        )


def _describe_boots(header: Header, summaries: Sequence[Summary], times: Table) -> Iterator[Block]:
    yield draw_boots(header, summaries)
    yield times
    yield Paragraph(
        (
            "n counts the boots that got ready; only they are described.",
            "SD is the sample standard deviation, CV the SD as a share of the mean.",
            "The interval of the median is made of two of the values themselves and assumes no distribution; "
            "its coverage is exact as long as boots do not influence one another.",
            "Warm-ups and first boots are not among these values.",
        )
    )
    yield Paragraph(("Every value, in the order measured:",))
    yield Bullets(tuple(_list_values(header, summaries)))


def _find_parts(header: Header, records: Sequence[Record], summaries: Sequence[Summary]) -> Iterator[Section]:
    steps = milestone_steps(header, records)
    if steps:
        yield Section(id="milestones", title="Milestones", blocks=tuple(_describe_milestones(header, steps)))
    above = describe_times(header, summaries, ABOVE_FLOOR)
    if above.rows:
        about = Paragraph(
            (
                "The floor is a guest of a few instructions that says it is ready and halts.",
                "What it takes is the cost of QEMU and its firmware.",
                "These values are derived: each boot time less the floor's median in this run.",
                "The floor's median is taken as exact; its own spread is in the table of boot times.",
            )
        )
        yield Section(id="time-above-the-floor", title="Time above the floor", blocks=(about, above))
    first = first_boots(header, summarise(header, records, ("first-boot",)), summaries)
    if first.rows:
        about = Paragraph(
            (
                "The first boot of a new image does work that later ones do not, such as making a machine id "
                "and growing the file system.",
                "It was measured apart and is in no other table.",
            )
        )
        yield Section(id="first-boots", title="First boots", blocks=(about, first))
    cpu = describe_times(header, summaries, CPU)
    if cpu.rows:
        about = Paragraph((find_metric(header, CPU).help,))
        yield Section(id="cpu-time-to-ready", title="CPU time to ready", blocks=(about, cpu))


# --- what the other sections have of boots ----------------------------------------------------------------


def opening(header: Header, records: Sequence[Record]) -> Iterator[Text]:
    """How many of the planned boots got ready."""
    planned = sum(trial.purpose == BOOT for trial in header.trials)
    boots = [record for record in records if record.trial.purpose == BOOT]
    ready = sum(isinstance(record.outcome, Ok) for record in boots)
    failed = f", {len(boots) - ready} failed" if ready < len(boots) else ""
    unmade = f", {planned - len(boots)} were not made" if len(boots) < planned else ""
    if planned:
        yield f"Of {planned} planned boots, {ready} got ready{failed}{unmade}."


def conditions(header: Header, records: Sequence[Record]) -> Iterator[Block]:
    """What else the host did during the counted boots."""
    rows = tuple(
        (
            Code(each.system),
            str(each.n),
            f"{each.load_low:.2f} to {each.load_high:.2f}",
            show_share(each.others_median),
            show_share(each.others_high),
            show_share(each.steal_high),
        )
        for each in summarise_conditions(header, records)
    )
    if rows:
        head = ("System", "Boots", "Load (1 min)", "Others' CPU, median", "Others' CPU, most", "Steal, most")
        yield Paragraph(
            (
                "During the counted boots, failed ones included; shares are of the time of all the host's "
                "CPUs:",
            )
        )
        yield Table(head, rows)
        yield Paragraph(
            (
                '"Others" are all processes but the trial\'s own; "steal" is time a hypervisor below gave to '
                "other machines.",
            )
        )


def method(header: Header) -> Iterator[Text]:
    """How often each system was to be booted, and in which order."""
    blocks = len({trial.block for trial in header.trials if trial.purpose == BOOT})
    if blocks:
        wanted = header.experiment
        do = "does" if wanted.warmups == 1 else "do"
        times, warmups = count_things(wanted.cycles, "time"), count_things(wanted.warmups, "warm-up")
        seed = wanted.seed if wanted.seed is not None else "(none recorded)"
        yield f"Each system was to be booted {times}, after {warmups} that {do} not count."
        yield (
            f"Boots were planned in {count_things(blocks, 'block')}, each booting every system once, in an "
            f"order shuffled by seed {seed}."
        )


def order(records: Sequence[Record]) -> Iterator[Block]:
    """The blocks in the order they were run, each with its systems in the order they were booted."""
    blocks: dict[int, list[Code]] = {}
    for record in records:
        if record.trial.purpose == BOOT:
            blocks.setdefault(record.trial.block, []).append(Code(record.trial.system))
    if blocks:
        yield Paragraph(("The order as run:",))
        rows = tuple((str(block), join(names)) for block, names in blocks.items())
        yield Table(("Block", "Order"), rows, 2)


def trial_columns() -> Iterator[tuple[str, str]]:
    """What the table of every trial has of boots."""
    yield from (("Boot time", READY), ("CPU time", CPU))


# --- tables -----------------------------------------------------------------------------------------------


def describe_times(header: Header, summaries: Sequence[Summary], metric: str) -> Table:
    """The full description of a time metric, one row a system that has it."""
    head = ("System", "n", "Failed", "Mean", "SD", "CV", "Median", "Interval of the median", "Its coverage")
    found = (find_summary(summaries, system.name, metric) for system in header.systems)
    rows = tuple(_describe(summary) for summary in found if summary)
    return Table((*head, "Quartiles", "Minimum", "Maximum"), rows).without_empty_columns()


def _describe(summary: Summary) -> tuple[Text, ...]:
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


def _list_values(header: Header, summaries: Sequence[Summary]) -> Iterator[Text]:
    """One item a system: its values in the order measured, with their unit."""
    for system in header.systems:
        summary = find_summary(summaries, system.name, READY)
        if summary and summary.values:
            scale = choose_finer(summary.mean, summary.sd)
            shown = " · ".join(scale.show(value) for value in summary.values)
            yield Code(system.name), f" ({scale.unit}): {shown}"


def _describe_milestones(header: Header, steps: Sequence[Step]) -> Iterator[Block]:
    yield draw_milestones(header, steps)
    yield Paragraph(
        (
            "Times are means ± SD over the boots that reached the milestone.",
            "A step is the mean of each boot's own difference, so that a milestone which some boots missed "
            "does not distort it.",
        )
    )
    for system in header.systems:
        table = milestone_table(system, [step for step in steps if step.system == system.name])
        if table.rows:
            yield Paragraph(((Code(system.name), ":"),))
            yield table


def milestone_table(system: System, steps: Sequence[Step]) -> Table:
    """One row a milestone of `system`: the text that says so, when it was reached, how long the step took."""
    patterns = {milestone.name: milestone.pattern for milestone in system.milestones}
    patterns.setdefault("ready", system.ready)
    rows = tuple(
        (
            step.mark,
            Code(patterns[step.mark]) if step.mark in patterns else NOTHING,
            str(step.n),
            show_mean(step.mean, step.sd),
            show_mean(step.step_mean, step.step_sd),
        )
        for step in steps
    )
    head = ("Milestone", "Text on the serial console", "n", "Time since exec", "Step since the one before")
    return Table(head, rows, 2)


def first_boots(header: Header, first: Sequence[Summary], later: Sequence[Summary]) -> Table:
    """First boots after the image was made, beside the median of the counted boots."""
    rows = []
    for system in header.systems:
        ready, cpu = (find_summary(first, system.name, metric) for metric in (READY, CPU))
        counted = find_summary(later, system.name, READY)
        if ready is not None:
            rows.append(
                (
                    Code(system.name),
                    str(ready.n),
                    str(ready.failed),
                    show_mean(ready.mean, ready.sd),
                    show_seconds(counted.median, counted.sd) if counted else NOTHING,
                    show_mean(cpu.mean, cpu.sd) if cpu else NOTHING,
                )
            )
    head = ("System", "n", "Failed", "First boot", "Median of the counted boots")
    return Table((*head, "CPU time of the first boot"), tuple(rows))
