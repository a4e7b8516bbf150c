"""The section on the steps of an experiment: what each change buys, as a table and a waterfall a figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guestbench.analysis.findings import Findings
from guestbench.analysis.summary import CONFIDENCE
from guestbench.model import Comparison, Gain, Interval, Metric, Verdict
from guestbench.page.blocks import Block, Code, Figure, Section, read_words
from guestbench.page.figures import show_amount, show_interval, show_summary, tabulate
from guestbench.page.numbers import NOTHING, show_share
from guestbench.page.plots import Bar, Look, Row, Rows, choose_axis

tell = read_words(__file__)

BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "bytes"))


def find_sections(found: Findings) -> Iterator[Section]:
    """The section, where the experiment has steps of which something is known."""
    metrics = dict.fromkeys(gain.found.metric for gain in found.gains)
    if metrics:
        parts = [_tell_metric(found, found.metric(name)) for name in metrics]
        words = tell("steps", whole=f"`{found.gains[0].step.before}`", confidence=f"{CONFIDENCE:.0%}")
        yield Section("steps", "What each step buys", (words,), tuple(parts))


def _tell_metric(found: Findings, metric: Metric) -> Section:
    gains = [gain for gain in found.gains if gain.found.metric == metric.name]

    def show_side(name: str) -> str:
        summary = found.find(name, metric.name, metric.shown_labels)
        return show_summary(summary, metric.unit) if summary and summary.n else NOTHING

    whole = _find_mean(found, metric, gains[0].step.before)
    table = tabulate(
        gains,
        {
            "Step": lambda gain: gain.step.what,
            "Before": lambda gain: Code(gain.step.before),
            "After": lambda gain: Code(gain.step.after),
            "From": lambda gain: show_side(gain.step.before),
            "To": lambda gain: show_side(gain.step.after),
            "Saves (interval)": lambda gain: _show_saving(gain.found, metric.unit),
            "Of the whole": lambda gain: _show_part(gain.found, whole),
            "Verdict": lambda gain: _tell_verdict(gain.found),
        },
        words=3,
    ).without_empty_columns()
    blocks: tuple[Block, ...] = (table, _draw(found, metric, gains))
    return Section(f"steps-{metric.name}", metric.title, blocks)


def _find_mean(found: Findings, metric: Metric, system: str) -> float | None:
    summary = found.find(system, metric.name, metric.shown_labels)
    return summary.mean if summary else None


def _show_saving(found: Comparison, unit: str) -> str:
    """What is saved; less than nothing where it costs."""
    if found.difference is None:
        return NOTHING
    shown = show_amount(-found.difference, unit)
    ends = found.difference_ci
    if ends is None:
        return shown
    turned = Interval(low=-ends.high, high=-ends.low, confidence=ends.confidence)
    return f"{shown} ({show_interval(turned, lambda value: show_amount(value, unit))})"


def _show_part(found: Comparison, whole: float | None) -> str:
    return show_share(-found.difference / whole) if found.difference is not None and whole else NOTHING


def _tell_verdict(found: Comparison) -> str:
    word = "alike" if found.verdict is Verdict.EQUIVALENT else found.verdict.value
    return f"{word}: {found.reason}" if found.reason else word


def _draw(found: Findings, metric: Metric, gains: Sequence[Gain]) -> Figure:
    """A bar a step from the figure after it to that before it: a waterfall down to what is left."""
    rows: list[Row] = []
    reached: list[float] = []
    end = gains[0].step.before
    for gain in gains:
        before, after = (_find_mean(found, metric, name) for name in (gain.step.before, gain.step.after))
        if before is None or after is None:
            continue
        saved = _show_saving(gain.found, metric.unit)
        branch = gain.step.before != end
        end = end if branch else gain.step.after
        reached += [before, after]
        look = Look.INTERVAL if branch else Look.PART
        title = f"{gain.step.what}: {saved}"
        low, high = sorted((before, after))
        bar = Bar(low, high, kind=int(after > before), title=title, look=look)
        rows.append(Row(gain.step.what, saved, (bar,), told=title))
    title = f"{metric.title}: from {gains[0].step.before} to {end}"
    if not rows:
        return Figure(title)
    left = _find_mean(found, metric, end)
    if left is not None:
        shown = show_amount(left, metric.unit)
        rows.append(
            Row(
                f"left: {end}", shown, (Bar(0, left, kind=2, title=f"{end}: {shown}"),), told=f"left: {shown}"
            )
        )
    units = BYTES if metric.unit == "bytes" else ()
    label = metric.title if units else f"{metric.title} [{metric.unit}]"
    axis = choose_axis(reached, label, zero=True, units=units)
    return Figure(title, plots=(Rows(title, f"{title}, a bar a step.", axis, tuple(rows)),))
