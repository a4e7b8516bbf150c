"""Writes figures of metrics: one value, what describes many of them, and what a figure is called."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from guestbench.model import Interval, Metric, Outcome, Summary
from guestbench.page.blocks import Cells, Code, Table, Text
from guestbench.page.numbers import (
    NOTHING,
    Scale,
    show_bytes,
    show_count,
    show_exact,
    show_kib,
    show_mean,
    show_rate,
    show_seconds,
    show_share,
)

TINY_S = 0.01
"""Mean times below this are written in µs."""
FINE_S = 0.001
"""And what instruments read to, below this."""
SMALLEST_P = 0.001
FINE_SHARE = 0.001
"""Smaller shares have two decimals."""

T = TypeVar("T")


def show_amount(value: float | None, unit: str, spread: float | None = None) -> str:
    """A value with its unit, to three digits where it is a time, a size or a rate; `spread` is of times."""
    if value is None:
        return NOTHING
    if unit == "bytes":
        return show_bytes(value)
    if unit == "s":
        return show_seconds(value, spread)
    if unit == "KiB":
        return show_kib(value)
    if unit.endswith("/s"):
        return show_rate(value, None, unit.removesuffix("/s"))
    if unit == "instructions":
        return show_count(value)
    if unit == "yes/no":
        return "yes" if value else "no"
    return f"{show_exact(round(value, 3))} {unit}".strip()


def show_summary(summary: Summary, unit: str) -> str:
    """All values of a figure in a cell: mean ± SD of times and rates, else the median and its range."""
    if unit == "s" and summary.mean is not None and abs(summary.mean) < TINY_S:
        shown = f"{summary.mean * 1e6:,.0f}"
        shown += f" ± {summary.sd * 1e6:,.0f} µs" if summary.sd is not None else " µs"
    elif unit == "s":
        shown = show_mean(summary.mean, summary.sd)
    elif unit.endswith("/s"):
        shown = show_rate(summary.mean, summary.sd, unit.removesuffix("/s"))
    else:
        shown = show_amount(summary.median, unit)
        if summary.minimum != summary.maximum:
            shown += f" ({show_amount(summary.minimum, unit)} to {show_amount(summary.maximum, unit)})"
    return shown + (f" ({summary.failed} of {summary.n + summary.failed} failed)" if summary.failed else "")


def show_near_one(ratio: float | None) -> str:
    """A ratio of things that are as good as equal, with three decimals."""
    return NOTHING if ratio is None else f"{ratio:.3f}"


def show_quartiles(summary: Summary, scale: Scale) -> str:
    """The quartiles of times, as `92.82 to 93.67 ms`."""
    if summary.lower_quartile is None or summary.upper_quartile is None:
        return NOTHING
    return f"{scale.show(summary.lower_quartile)} to {scale.show(summary.upper_quartile)} {scale.unit}"


def show_interval(interval: Interval | None, show: Callable[[float | None], str]) -> str:
    """The ends of an interval, each as `show` writes it, or a dash for None."""
    return NOTHING if interval is None else f"{show(interval.low)} to {show(interval.high)}"


def add_interval(shown: str, interval: Interval | None, show: Callable[[float | None], str]) -> str:
    """What is shown of a figure, and its interval in parentheses behind it, if it has one."""
    return shown if interval is None else f"{shown} ({show_interval(interval, show)})"


def show_finely(value: float | None, unit: str) -> str:
    """As `show_amount`, but times in such detail that a change of 1% shows."""
    return show_amount(value, unit, (value or 0) / 100)


def show_p(p: float | None) -> str:
    """A p-value with three decimals, or a dash for None."""
    if p is None:
        return NOTHING
    return f"< {SMALLEST_P}" if p < SMALLEST_P else f"{p:.3f}"


def show_parameter(value: str) -> str:
    """The value of a label; numbers with their thousands set apart."""
    return show_exact(int(value)) if value.isdecimal() and len(value) < 19 else value


def show_labels(labels: Mapping[str, str]) -> str:
    """Labels that say something, as `op=write, block=1,048,576`."""
    return ", ".join(f"{name}={show_parameter(value)}" for name, value in labels.items() if value)


def name_figure(title: str, labels: Mapping[str, str]) -> str:
    """What a figure is called: the metric's title and its labels."""
    return ", ".join(filter(None, (title, show_labels(labels))))


def write_key(metric: str, labels: Mapping[str, str]) -> str:
    """A metric and its labels as gates and programs write them: `memory.touched{state=idle}`."""
    inside = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    return f"{metric}{{{inside}}}" if inside else metric


def tabulate(rows: Iterable[T], columns: Mapping[str, Callable[[T], Text]], words: int = 1) -> Table:
    """A table of columns by their titles, each with what makes its cell of a row; `words` hold words."""
    return Table(tuple(columns), tuple(tuple(show(row) for show in columns.values()) for row in rows), words)


def by_system(
    head: Sequence[str],
    systems: Iterable[str],
    rows: Iterable[T],
    words: Callable[[T], Cells],
    show: Callable[[T, str], Text],
) -> Table:
    """A table of one column a system: `words` begin each row, and `show` makes its cell for a system."""
    names = tuple(systems)
    cells = tuple((*words(row), *(show(row, name) for name in names)) for row in rows)
    return Table((*head, *map(Code, names)), cells, len(head))


def outcome_name(outcome: Outcome) -> str:
    """The word for an outcome, as the store and the exports write it."""
    return str(outcome.__struct_config__.tag)


def show_outcome(outcome: Outcome) -> str:
    """The outcome as a word for readers."""
    return outcome_name(outcome).replace("-", " ")


def tell_metrics(metrics: Iterable[Metric]) -> tuple[str, ...]:
    """For each metric that says what it is: its title and that, for a list."""
    return tuple(f"{metric.title}: {metric.help}" for metric in metrics)


def show_read_to(metric: Metric) -> str:
    """What a metric's instrument reads to, as `300 µs` or `20 ms, or 1.0% where that is more`."""
    small = metric.unit == "s" and metric.resolution < FINE_S
    finest = f"{metric.resolution * 1e6:g} µs" if small else show_amount(metric.resolution, metric.unit)
    least = finest if metric.resolution else ""
    error = metric.relative_error
    share = show_share(error) if error >= FINE_SHARE else f"{error:.2%}" if error else ""
    return f"{least}, or {share} where that is more" if least and share else least or share or "exactly"
