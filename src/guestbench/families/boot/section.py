"""Boot times in the report: every boot, what describes them, milestones, and what the floor takes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from guestbench.analysis.findings import Findings
from guestbench.analysis.summary import CONFIDENCE, find_summary, smallest_sample, summarise, variation
from guestbench.families.boot import ABOVE_FLOOR, BOOT, CPU, MARK, READY
from guestbench.families.boot.findings import milestone_steps, summarise_conditions
from guestbench.families.boot.plots import draw_boots, draw_milestones
from guestbench.model import Ok, Summary
from guestbench.page.blocks import (
    Block,
    Bullets,
    Cells,
    Code,
    Column,
    Paragraph,
    Section,
    Table,
    Text,
    join,
    say,
)
from guestbench.page.figures import show_interval, show_median, show_quartiles, tabulate
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

FIRST = "first-boot"


def headline(found: Findings) -> Iterator[Column]:
    """The mean and the median boot time, what of it is above the floor, and how many boots got ready."""

    def show_all(show: Callable[[Summary], str], metric: str = READY) -> dict[str, str]:
        return {summary.system: show(summary) for summary in found.find_all(metric)}

    if not any(metric.name == READY for metric in found.header.metrics):
        return
    spread = say(f"""
        SD is the standard deviation; the interval covers the true median with at least {CONFIDENCE:.0%} and
          takes {smallest_sample()} values to exist.
    """)
    notes = (f"Boot time: {first_sentence(found.metric(READY).help)}.", *spread.lines)
    above = show_all(lambda each: show_seconds(each.median, each.sd), ABOVE_FLOOR)
    ready = show_all(lambda each: f"{each.n} of {each.n + each.failed}")
    yield Column("Boot time, mean ± SD", show_all(lambda each: show_mean(each.mean, each.sd)), notes=notes)
    yield Column("Median (interval)", show_all(show_median), terminal=False)
    yield Column("Above the floor, median", above)
    yield Column("Boots that got ready", ready, terminal=False)
    yield Column("n", show_all(lambda each: str(each.n)), page=False)
    yield Column("failed", show_all(lambda each: str(each.failed)), page=False)


def sections(found: Findings) -> Iterator[Section]:
    """Boot times with their parts, if any boot was made."""
    times = describe_times(found, READY)
    parts = tuple(_find_parts(found))
    if times.rows or parts:
        blocks = tuple(_describe_boots(found, times)) if times.rows else ()
        yield Section("boot-time", "Boot time", blocks, parts, (READY, MARK, CPU, ABOVE_FLOOR))


def _describe_boots(found: Findings, times: Table) -> Iterator[Block]:
    yield draw_boots(found)
    yield times
    yield say("""
        n counts the boots that got ready; only they are described.
        SD is the sample standard deviation, CV the SD as a share of the mean.
        The interval of the median is made of two of the values themselves and assumes no distribution; its
          coverage is exact as long as boots do not influence one another.
        Warm-ups and first boots are not among these values.
    """)
    yield say("Every value, in the order measured:")
    yield Bullets(tuple(_list_values(each) for each in found.find_all(READY) if each.values))


def _list_values(summary: Summary) -> Text:
    scale = choose_finer(summary.mean, summary.sd)
    shown = " · ".join(scale.show(value) for value in summary.values)
    return Code(summary.system), f" ({scale.unit}): {shown}"


def _find_parts(found: Findings) -> Iterator[Section]:
    milestones = tuple(_describe_milestones(found))
    if milestones:
        yield Section("milestones", "Milestones", milestones)
    above = describe_times(found, ABOVE_FLOOR)
    if above.rows:
        about = say(f"""
            The floor is a guest of a few instructions that says it is ready and halts.
            What it takes is the cost of {found.header.vmm} and its firmware.
            These values are derived: each boot time less the floor's median in this run.
            The floor's median is taken as exact; its own spread is in the table of boot times.
        """)
        yield Section("time-above-the-floor", "Time above the floor", (about, above))
    first = first_boots(found)
    if first.rows:
        about = say("""
            The first boot of a new image does work that later ones do not, such as making a machine id and
              growing the file system.
            It was measured apart and is in no other table.
        """)
        yield Section("first-boots", "First boots", (about, first))
    cpu = describe_times(found, CPU)
    if cpu.rows:
        about = Paragraph((found.metric(CPU).help,))
        yield Section("cpu-time-to-ready", "CPU time to ready", (about, cpu))


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
    yield say("""
        Times are means ± SD over the boots that reached the milestone.
        A step is the mean of each boot's own difference, so that a milestone which some boots missed does not
          distort it.
    """)
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
    rows = []
    for name in found.names:
        ready, cpu = (find_summary(first, name, metric) for metric in (READY, CPU))
        counted = found.find(name, READY)
        if ready is not None:
            rows.append(
                (
                    Code(name),
                    str(ready.n),
                    str(ready.failed),
                    show_mean(ready.mean, ready.sd),
                    show_seconds(counted.median, counted.sd) if counted else NOTHING,
                    show_mean(cpu.mean, cpu.sd) if cpu else NOTHING,
                )
            )
    head = ("System", "n", "Failed", "First boot", "Median of the counted boots")
    return Table((*head, "CPU time of the first boot"), tuple(rows))


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
    """What else the host did during the counted boots."""
    table = tabulate(
        summarise_conditions(found.header, found.records),
        {
            "System": lambda each: Code(each.system),
            "Boots": lambda each: str(each.n),
            "Load (1 min)": lambda each: f"{each.load_low:.2f} to {each.load_high:.2f}",
            "Others' CPU, median": lambda each: show_share(each.others_median),
            "Others' CPU, most": lambda each: show_share(each.others_high),
            "Steal, most": lambda each: show_share(each.steal_high),
        },
    )
    if table.rows:
        yield say("""
            During the counted boots, failed ones included; shares are of the time of all the host's CPUs:
        """)
        yield table
        yield say("""
            "Others" are all processes but the trial's own; "steal" is time a hypervisor below gave to other
              machines.
        """)


def method(found: Findings) -> tuple[Text, ...]:
    """How often each system was to be booted, and in which order."""
    wanted = found.header.experiment
    blocks = len({trial.block for trial in found.header.trials if trial.purpose == BOOT})
    if not blocks:
        return ()
    warmups = f"{count_things(wanted.warmups, 'warm-up')} that {'does' if wanted.warmups == 1 else 'do'}"
    seed = wanted.seed if wanted.seed is not None else "(none recorded)"
    return say(f"""
        Each system was to be booted {count_things(wanted.cycles, "time")}, after {warmups} not count.
        Boots were planned in {count_things(blocks, "block")}, each booting every system once, in an order
          shuffled by seed {seed}.
    """).lines


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
