"""The section on the steps of an experiment: what each change buys, as a table and a waterfall a figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guestbench.analysis.findings import Findings
from guestbench.analysis.summary import CONFIDENCE
from guestbench.model import Comparison, Gain, Interval, Metric, Verdict
from guestbench.page.blocks import Block, Code, Figure, Section, read_words
from guestbench.page.figures import add_interval, show_amount, show_summary, tabulate
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
            "Verdict": lambda gain: _tell_verdict(gain.found),
            "Saves (interval)": lambda gain: _show_saving(gain.found, metric.unit),
            "Of the whole": lambda gain: _show_part(gain.found, whole),
            "From": lambda gain: show_side(gain.step.before),
            "To": lambda gain: show_side(gain.step.after),
            "After it": lambda gain: Code(gain.step.after),
        },
        words=2,
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
    shown = show_amount(_negate(found.difference), unit)
    ends = found.difference_ci
    turned = Interval(low=-ends.high, high=-ends.low, confidence=ends.confidence) if ends else None
    return add_interval(shown, turned, lambda value: show_amount(value, unit))


def _show_part(found: Comparison, whole: float | None) -> str:
    return (
        show_share(_negate(found.difference) / whole) if found.difference is not None and whole else NOTHING
    )


def _negate(value: float) -> float:
    """What is less by this much; nothing where it is the same."""
    return 0.0 - value


def _tell_verdict(found: Comparison) -> str:
    word = "alike" if found.verdict is Verdict.EQUIVALENT else found.verdict.value
    return f"{word}: {found.reason}" if found.reason else word


def _find_chain(gains: Sequence[Gain]) -> list[Gain]:
    """The steps that the last one rests on, and itself; the others are branches."""
    chain: list[Gain] = []
    for gain in reversed(gains):
        if not chain or gain.step.after == chain[-1].step.before:
            chain.append(gain)
    return chain[::-1]


def _draw(found: Findings, metric: Metric, gains: Sequence[Gain]) -> Figure:
    """A bar a step from the figure after it to that before it: a waterfall down to what is left."""
    chain = _find_chain(gains)
    first, last = chain[0].step.before, chain[-1].step.after
    title = f"{metric.title}: from {first} to {last}"
    rows: list[Row] = []
    reached: list[float] = []
    for gain in gains:
        before, after = (_find_mean(found, metric, name) for name in (gain.step.before, gain.step.after))
        if before is None or after is None:
            continue
        saved = _show_saving(gain.found, metric.unit)
        told = f"{gain.step.what}: {saved}"
        low, high = sorted((before, after))
        look = Look.PART if gain in chain else Look.INTERVAL
        bar = Bar(low, high, kind=int(after > before), title=told, look=look)
        reached += [low, high]
        rows.append(Row(gain.step.what, saved, (bar,), told=told))
    left = _find_mean(found, metric, last)
    if not rows or left is None:
        return Figure(title)
    shown = show_amount(left, metric.unit)
    rest = Bar(0, left, kind=2, title=f"{last}: {shown}")
    rows.append(Row(f"left: {last}", shown, (rest,), told=f"left: {shown}"))
    units = BYTES if metric.unit == "bytes" else ()
    label = metric.title if units else f"{metric.title} [{metric.unit}]"
    axis = choose_axis(reached, label, zero=True, units=units)
    return Figure(title, plots=(Rows(title, f"{title}, a bar a step.", axis, tuple(rows)),))
