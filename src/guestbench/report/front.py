"""The table that a report begins with, and the sentences that say who is ahead in it, and how surely."""

from __future__ import annotations

from collections.abc import Iterator

from guestbench.analysis.compare import shorten
from guestbench.analysis.findings import Findings
from guestbench.model import Better, Comparison, Interval, Metric, Verdict
from guestbench.page.blocks import Cells, Code, Span, Strong, Table, Text, join, to_spans
from guestbench.page.figures import add_interval, show_amount
from guestbench.page.numbers import NOTHING, show_ratio
from guestbench.report.comparison import fails_more, tell_beside

BETTER, WORSE, ALIKE, OPEN, PENDING = "✓", "✗", "=", "?", "…"
MARKS = {BETTER: "better", WORSE: "worse", ALIKE: "alike", OPEN: "undecided", PENDING: "not yet"}
"""What marks a verdict, and the word for it: no colour is needed to tell them apart."""


def find_front_metrics(found: Findings) -> list[Metric]:
    """What the systems are told apart by, a column each: what has a value and is no mere difference."""
    asked = (each for each in found.header.metrics if (each.headline or each.span) and not each.difference)
    return [
        metric
        for metric in asked
        if any(each.median is not None for each in found.find_all(metric.name, metric.shown_labels))
    ]


def find_front_comparisons(found: Findings) -> tuple[Comparison, ...]:
    """The comparisons that the table shows."""
    return tuple(
        each
        for metric in find_front_metrics(found)
        for name in found.names
        if (each := _find(found, metric, name))
    )


def tabulate_front(found: Findings) -> Table:
    """A row a system: how it did against the baseline, and its figures, each with how many times better."""
    metrics = find_front_metrics(found)
    rows: list[Cells] = []
    for name in found.names:
        compared = {metric.name: _find(found, metric, name) for metric in metrics}
        marks = [_mark(metric, each) for metric in metrics if (each := compared[metric.name])]
        if marks:
            verdict = ", ".join(
                f"{mark} {word} in {n}" for mark, word in MARKS.items() if (n := marks.count(mark))
            )
        else:
            verdict = "baseline" if name == found.header.experiment.baseline else NOTHING
        cells = (_show_cell(found, metric, name, compared[metric.name]) for metric in metrics)
        rows.append((Code(name), verdict, *cells))
    head = ("System", "Verdict", *(metric.headline or metric.title for metric in metrics))
    words = 2 if found.comparisons else 1
    if words == 1:
        rows = [(row[0], *row[2:]) for row in rows]
        head = (head[0], *head[2:])
    return Table(head, tuple(rows) if metrics else (), words, stacks=True)


def tell_best(found: Findings) -> Iterator[Text]:
    """For each figure that is compared, who is ahead of the baseline, by how much, and how surely."""
    baseline = found.header.experiment.baseline
    for metric in find_front_metrics(found):
        each_of = (_find(found, metric, name) for name in found.names)
        compared = [each for each in each_of if each and each.verdict is not Verdict.PENDING]
        title = metric.headline or metric.title
        ahead = [each for each in compared if _mark(metric, each) == BETTER and each.ratio]
        if ahead:
            best = (min if metric.better is Better.LOWER else max)(ahead, key=lambda each: each.ratio or 0.0)
            told: Text = (Strong(say_times(metric, best)), *_add(best), " than ", Code(baseline))
            beside = tell_beside(found, metric.name, best.system, baseline, turned=(best.ratio or 0) < 1)
            aside = "" if beside == NOTHING else f"; {beside}"
            yield (f"{title}: ", Code(best.system), " is ", *to_spans(told), aside, ".")
        elif compared and all(_mark(metric, each) == OPEN for each in compared):
            reasons = dict.fromkeys(shorten(each.reason) for each in compared if each.reason)
            why = f": {'; '.join(reasons)}" if reasons else ""
            yield f"{title}: undecided{why}."
        elif compared:
            yield (f"{title}: none is shown to be better than ", Code(baseline), ".")


def tell_marks(found: Findings) -> str:
    """What the marks of the table mean; of a whole run nothing is still to come."""
    return ", ".join(f"{mark} {word}" for mark, word in MARKS.items() if found.to_come or mark != PENDING)


def say_times(metric: Metric, each: Comparison) -> str:
    """A ratio as people say it: `342 times faster`, always of a number that is at least 1."""
    if not each.ratio:
        return ""
    return f"{show_ratio(_turn(each.ratio, each.ratio))} times {_word(metric, each.ratio)}"


def _add(each: Comparison) -> tuple[Span, ...]:
    """The interval of what `say_times` says, with its ends in the same direction."""
    if not each.ratio or each.ratio_ci is None:
        return ()
    ends = sorted(_turn(end, each.ratio) for end in (each.ratio_ci.low, each.ratio_ci.high) if end)
    if len(ends) < 2:
        return ()
    interval = Interval(low=ends[0], high=ends[1], confidence=each.ratio_ci.confidence)
    return (add_interval("", interval, show_ratio),)


def _turn(value: float, ratio: float) -> float:
    return value if ratio >= 1 else 1 / value


def _word(metric: Metric, ratio: float) -> str:
    more = ratio >= 1
    if metric.unit == "s":
        return "slower" if more else "faster"
    if metric.is_timed:
        return "faster" if more else "slower"
    return "more" if more else "less"


def _find(found: Findings, metric: Metric, system: str) -> Comparison | None:
    labels = dict(metric.shown_labels)
    return next(
        (
            each
            for each in found.comparisons
            if (each.metric, each.system, each.labels) == (metric.name, system, labels)
        ),
        None,
    )


def _mark(metric: Metric, each: Comparison) -> str:
    if each.verdict is Verdict.PENDING:
        return PENDING
    if fails_more(each):
        return WORSE
    if each.verdict is Verdict.EQUIVALENT:
        return ALIKE
    if each.verdict is Verdict.INCONCLUSIVE or metric.better is Better.NEITHER:
        return OPEN
    return BETTER if (each.verdict is Verdict.SMALLER) == (metric.better is Better.LOWER) else WORSE


def _show_cell(found: Findings, metric: Metric, system: str, compared: Comparison | None) -> Text:
    summary = found.find(system, metric.name, metric.shown_labels)
    shown = show_amount(summary.median, metric.unit) if summary else NOTHING
    if compared is None:
        return shown
    failed = (
        f"fails more often ({compared.failed} of {compared.n + compared.failed})"
        if compared.verdict is not Verdict.PENDING and fails_more(compared)
        else ""
    )
    parts = [failed, "".join(map(str, (say_times(metric, compared), *_add(compared))))]
    told = join(filter(None, parts), "; ")
    return (
        (f"{shown}; ", _mark(metric, compared), " ", *told)
        if told
        else (f"{shown}; {_mark(metric, compared)}")
    )
