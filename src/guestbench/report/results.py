"""The report's tables of results; it looks numbers up in summaries and never calculates one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from guestbench.analysis.summary import (
    ABOVE_FLOOR,
    READY,
    find_metric,
    find_summary,
    variation,
)
from guestbench.families.boot.milestones import Step
from guestbench.model import (
    Frozen,
    GuestFamily,
    Header,
    Interval,
    Metric,
    Ok,
    Outcome,
    Provenance,
    Record,
    Summary,
    System,
)
from guestbench.page.escape import Markdown, code, escape
from guestbench.page.numbers import (
    NOTHING,
    Scale,
    choose_finer,
    choose_scale,
    show_bytes,
    show_exact,
    show_kib,
    show_mean,
    show_rate,
    show_seconds,
    show_share,
)
from guestbench.page.table import Table

IMAGE_SIZE = "image.file"
CPU = "boot.cpu"
FINE_S = 1e-9
"""A spread so small that single values are written with all the decimals there are."""
UNKNOWN = "?"
"""What a cell shows that applies but was not measured."""


def outcome_name(outcome: Outcome) -> str:
    """The word for an outcome, as the store and the exports write it."""
    return str(outcome.__struct_config__.tag)


def show_outcome(outcome: Outcome) -> str:
    """The outcome as a word for readers."""
    return outcome_name(outcome).replace("-", " ")


def list_systems(header: Header) -> tuple[System, ...]:
    """The systems of the run, in its order."""
    return tuple(guest.system for guest in header.guests)


def headline(header: Header, summaries: Sequence[Summary]) -> Table:
    """System, image size, boot time, time above the floor, and how many boots succeeded."""
    rows = []
    for system in list_systems(header):
        image = find_summary(summaries, system.name, IMAGE_SIZE)
        ready = find_summary(summaries, system.name, READY)
        above = find_summary(summaries, system.name, ABOVE_FLOOR)
        rows.append(
            (
                code(system.name),
                show_bytes(image.median if image else None),
                show_mean(ready.mean, ready.sd) if ready else NOTHING,
                _median_with_interval(ready) if ready else NOTHING,
                show_seconds(above.median, above.sd) if above else NOTHING,
                f"{ready.n} of {ready.n + ready.failed}" if ready else NOTHING,
                *memory_cells(summaries, system.name),
            )
        )
    head = ("System", "Image size", "Boot time, mean ± SD", "Median (interval)", "Above the floor, median")
    more = ("Boots that got ready", "Least RAM", "RAM touched, idle")
    return Table(head=(*head, *more), rows=tuple(rows)).without_empty_columns()


def memory_cells(summaries: Sequence[Summary], system: str) -> tuple[str, str]:
    """The least RAM of a system, and the RAM it touches when idle."""
    least = find_summary(summaries, system, "memory.min")
    touched = find_summary(summaries, system, "memory.touched", {"state": "idle"})
    return (
        f"{show_exact(least.median)} MiB" if least else NOTHING,
        show_kib(touched.median) if touched else NOTHING,
    )


def boot_times(header: Header, summaries: Sequence[Summary], metric: str) -> Table:
    """The full description of a time metric, one row a system that has it."""
    rows = []
    for system in list_systems(header):
        summary = find_summary(summaries, system.name, metric)
        if summary is None:
            continue
        scale = choose_scale(summary.mean, summary.sd)
        interval = summary.median_ci
        rows.append(
            (
                code(system.name),
                str(summary.n),
                str(summary.failed),
                scale.with_unit(summary.mean),
                scale.with_unit(summary.sd),
                show_share(variation(summary)) if metric != ABOVE_FLOOR else NOTHING,
                scale.with_unit(summary.median),
                f"{_interval(interval, scale)} {scale.unit}" if interval else NOTHING,
                show_share_finely(interval.confidence) if interval else NOTHING,
                _quartiles(summary, scale),
                scale.with_unit(summary.minimum),
                scale.with_unit(summary.maximum),
            )
        )
    head = ("System", "n", "Failed", "Mean", "SD", "CV", "Median", "Interval of the median", "Its coverage")
    return Table(head=(*head, "Quartiles", "Minimum", "Maximum"), rows=tuple(rows)).without_empty_columns()


def every_value(header: Header, summaries: Sequence[Summary], metric: str) -> tuple[Markdown, ...]:
    """One line a system: its values in the order measured, with their unit."""
    lines = []
    for system in list_systems(header):
        summary = find_summary(summaries, system.name, metric)
        if summary and summary.values:
            scale = choose_finer(summary.mean, summary.sd)
            shown = " · ".join(scale.show(value) for value in summary.values)
            lines.append(Markdown(f"{code(system.name)} ({scale.unit}): {escape(shown)}"))
    return tuple(lines)


def milestone_table(system: System, steps: Iterable[Step]) -> Table:
    """One row a milestone of `system`: the text that says so, when it was reached, how long the step took."""
    patterns = {milestone.name: milestone.pattern for milestone in system.milestones}
    patterns.setdefault("ready", system.ready)
    rows = []
    for step in steps:
        if step.system != system.name:
            continue
        rows.append(
            (
                escape(step.mark),
                code(patterns[step.mark]) if step.mark in patterns else NOTHING,
                str(step.n),
                show_mean(step.mean, step.sd),
                show_mean(step.step_mean, step.step_sd),
            )
        )
    head = ("Milestone", "Text on the serial console", "n", "Time since exec", "Step since the one before")
    return Table(head=head, rows=tuple(rows), words=2)


def first_boots(header: Header, first: Sequence[Summary], later: Sequence[Summary]) -> Table:
    """First boots after the image was made, beside the median of the counted boots."""
    rows = []
    for system in list_systems(header):
        ready = find_summary(first, system.name, READY)
        if ready is None:
            continue
        cpu = find_summary(first, system.name, CPU)
        counted = find_summary(later, system.name, READY)
        rows.append(
            (
                code(system.name),
                str(ready.n),
                str(ready.failed),
                show_mean(ready.mean, ready.sd),
                show_seconds(counted.median, counted.sd) if counted else NOTHING,
                show_mean(cpu.mean, cpu.sd) if cpu else NOTHING,
            )
        )
    head = (
        "System",
        "n",
        "Failed",
        "First boot",
        "Median of the counted boots",
        "CPU time of the first boot",
    )
    return Table(head=head, rows=tuple(rows))


def image_tables(
    header: Header, records: Sequence[Record], summaries: Sequence[Summary]
) -> tuple[Table, Table]:
    """The image metrics, one row each and one column a system: in round units, and exactly."""
    present = [s for s in summaries if s.metric.startswith("image.")]
    order = {metric.name: index for index, metric in enumerate(header.metrics)}
    keys = dict.fromkeys((s.metric, tuple(s.labels.items())) for s in present)
    kinds = {
        (sample.metric, tuple(sorted(sample.labels.items())), record.trial.system): sample.provenance
        for record in records
        for sample in record.samples
    }
    measured = {
        record.trial.system
        for record in records
        if record.trial.purpose == "image" and isinstance(record.outcome, Ok)
    }
    round_rows, exact_rows = [], []
    for name, labels in sorted(keys, key=lambda key: (order.get(key[0], len(order)), key[0])):
        metric = find_metric(header, name)
        title = ", ".join((metric.title, *(value for _, value in labels)))
        round_cells, exact_cells = [], []
        for system in list_systems(header):
            summary = find_summary(present, system.name, name, dict(labels))
            kind = kinds.get((name, labels, system.name), Provenance.MEASURED)
            note = "" if kind is Provenance.MEASURED else f" ({kind.value})"
            missing = NOTHING if system.name in measured else UNKNOWN
            round_cells.append(show_amount(metric, summary.median) + note if summary else missing)
            exact_cells.append(show_exact(summary.median) if summary else missing)
        round_rows.append((title, *round_cells))
        exact_rows.append((title, metric.unit, *exact_cells))
    systems = [code(system.name) for system in list_systems(header)]
    return (
        Table(head=("Size", *systems), rows=tuple(round_rows)),
        Table(head=("Size", "Unit", *systems), rows=tuple(exact_rows), words=2),
    )


def raw_table(records: Sequence[Record]) -> Table:
    """Every trial in the order made."""
    rows = []
    for number, record in enumerate(records, 1):
        values = {sample.metric: sample.value for sample in record.samples if not sample.labels}
        rows.append(
            (
                code(record.trial.id),
                code(record.trial.system),
                record.trial.purpose,
                outcome_name(record.outcome),
                str(number),
                str(record.trial.block or NOTHING),
                str(record.trial.cycle),
                show_seconds(values.get(READY), FINE_S),
                show_seconds(values.get(CPU), FINE_S),
                show_share(record.conditions.cpu_others),
                show_share(record.conditions.cpu_steal),
                f"{record.conditions.load_1m:.2f}",
                escape(record.started),
            )
        )
    head = ("Trial", "System", "Purpose", "Outcome", "No.", "Block", "Cycle", "Boot time", "CPU time")
    return Table(head=(*head, "Others' CPU", "Steal", "Load", "Started"), rows=tuple(rows), words=4)


SPANS: tuple[tuple[str, dict[str, str], str], ...] = (
    (READY, {}, "median boot time"),
    (IMAGE_SIZE, {}, "image size"),
    ("memory.min", {}, "least RAM to boot"),
    ("memory.touched", {"state": "idle"}, "RAM touched when idle"),
    ("surface.syscalls", {}, "number of system calls"),
    ("work.cpu", {}, "speed of plain computing"),
    ("net.goodput_in", {}, "throughput of TCP into the guest"),
    ("net.echo", {"quantile": "0.5"}, "time of a byte to the guest and back"),
)
"""The figures of which the summary says in a sentence how far the systems lie apart."""


class Span(Frozen):
    """The least and the most of something among the systems, each with the system's name."""

    what: str
    low: str
    low_system: str
    high: str
    high_system: str


def find_spans(header: Header, summaries: Sequence[Summary]) -> tuple[Span, ...]:
    """How far the systems lie apart in each of `SPANS`, floors left out; for two systems or more."""
    systems = [system.name for system in list_systems(header) if system.family is not GuestFamily.FLOOR]
    found = []
    for metric, labels, what in SPANS:
        named = (find_summary(summaries, name, metric, labels) for name in systems)
        have = [summary for summary in named if summary and summary.n]
        if len(have) < 2:
            continue
        low, high = min(have, key=_median), max(have, key=_median)
        if low is high:
            continue
        row = find_metric(header, metric)
        found.append(
            Span(
                what=what,
                low=show_amount(row, low.median),
                low_system=low.system,
                high=show_amount(row, high.median),
                high_system=high.system,
            )
        )
    return tuple(found)


def show_share_finely(share: float) -> str:
    """A share in percent with one decimal, for coverages close to 1."""
    return f"{share:.1%}"


def _median(summary: Summary) -> float:
    return summary.median or 0.0


def show_amount(metric: Metric, value: float | None) -> str:
    """A value of a metric with its unit, to three digits where it is a time, a size or a rate."""
    if metric.unit == "bytes":
        return show_bytes(value)
    if metric.unit == "s":
        return show_seconds(value)
    if metric.unit == "KiB":
        return show_kib(value)
    if metric.unit.endswith("/s"):
        return show_rate(value, None, metric.unit.removesuffix("/s"))
    return f"{show_exact(value)} {metric.unit}".strip()


def _median_with_interval(summary: Summary) -> str:
    scale = choose_scale(summary.mean, summary.sd)
    median = scale.with_unit(summary.median)
    return f"{median} ({_interval(summary.median_ci, scale)})" if summary.median_ci else median


def _quartiles(summary: Summary, scale: Scale) -> str:
    if summary.lower_quartile is None or summary.upper_quartile is None:
        return NOTHING
    return f"{scale.show(summary.lower_quartile)} to {scale.show(summary.upper_quartile)} {scale.unit}"


def _interval(interval: Interval, scale: Scale) -> str:
    return f"{scale.show(interval.low)} to {scale.show(interval.high)}"
