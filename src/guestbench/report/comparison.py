"""The report's tables of comparisons and claims; it looks figures up and never calculates one."""

from __future__ import annotations

from collections.abc import Sequence

from guestbench.analysis.compare import LEAST_EFFECT
from guestbench.analysis.summary import find_metric
from guestbench.model import (
    Comparison,
    Header,
    Interval,
    Judgement,
    Method,
    Ruling,
    Verdict,
)
from guestbench.page.escape import code, escape
from guestbench.page.numbers import NOTHING, show_exact, show_ratio
from guestbench.page.table import Table
from guestbench.report.results import show_amount

METHODS = {Method.BLOCKS: "blocks", Method.SAMPLES: "samples", Method.EXACT: "exact", Method.NONE: NOTHING}
SMALLEST_P = 0.001


def claim_table(header: Header, judgements: Sequence[Judgement]) -> Table:
    """Every claim with what was claimed, what was found, and what follows."""
    rows = [
        (
            escape(each.claim.text),
            code(each.system),
            _claimed(header, each),
            _found(header, each),
            _rule(each),
        )
        for each in judgements
    ]
    head = ("What was expected", "Of", "Claimed", "Found", "Verdict")
    return Table(head=head, rows=tuple(rows), words=2)


def _claimed(header: Header, each: Judgement) -> str:
    least, most = (_show(header, each, value, exactly=True) for value in (each.claim.least, each.claim.most))
    if each.claim.least is None:
        claimed = f"at most {most}"
    elif each.claim.most is None:
        claimed = f"at least {least}"
    else:
        claimed = least if least == most else f"{least} to {most}"
    return f"{claimed} times" if each.claim.against else claimed


def _found(header: Header, each: Judgement) -> str:
    shown = _show(header, each, each.value)
    if each.value is not None and each.claim.against:
        shown += " times"
    if each.interval is None:
        return shown
    return f"{shown} ({_show(header, each, each.interval.low)} to {_show(header, each, each.interval.high)})"


def _show(header: Header, each: Judgement, value: float | None, *, exactly: bool = False) -> str:
    if value is None:
        return NOTHING
    if each.claim.against:
        return show_exact(value) if exactly else show_ratio(value)
    return show_amount(find_metric(header, each.claim.metric), value)


def _rule(each: Judgement) -> str:
    if each.ruling is Ruling.UNDECIDED:
        return f"{each.ruling.value}: {each.reason}" if each.reason else each.ruling.value
    if each.ruling is Ruling.CONFIRMED or each.value is None:
        return each.ruling.value
    less = each.claim.least is not None and each.value < each.claim.least
    return f"{each.ruling.value}: {'less' if less else 'more'} than that"


def ratio_table(header: Header, comparisons: Sequence[Comparison]) -> Table:
    """Every comparison with the baseline: ratio, difference, how sure both are, and the verdict."""
    rows = []
    for each in comparisons:
        metric = find_metric(header, each.metric)
        labels = [f"{name}={value}" for name, value in each.labels.items()]
        rows.append(
            (
                escape(", ".join((metric.title, *labels))),
                code(each.system),
                _with_interval(show_ratio(each.ratio), each.ratio_ci),
                _interval(each.ratio_bca),
                show_amount(metric, each.difference) if each.difference is not None else NOTHING,
                _show_p(each.p_holm),
                f"{each.delta:+.2f}" if each.delta is not None else NOTHING,
                METHODS[each.method],
                _failed(each),
                _tell(each),
            )
        )
    head = (
        *(
            "Figure",
            "System",
            "Ratio (interval)",
            "BCa interval",
            "Difference",
            "p, adjusted",
            "Cliff's delta",
        ),
        *("By", "Failed", "Verdict"),
    )
    return Table(head=head, rows=tuple(rows), words=2).without_empty_columns()


def _with_interval(shown: str, interval: Interval | None) -> str:
    return shown if interval is None else f"{shown} ({_interval(interval)})"


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return NOTHING
    return f"{show_ratio(interval.low)} to {show_ratio(interval.high)}"


def _show_p(p: float | None) -> str:
    if p is None:
        return NOTHING
    return f"< {SMALLEST_P}" if p < SMALLEST_P else f"{p:.3f}"


def _failed(each: Comparison) -> str:
    if not each.failed and not each.failed_baseline:
        return NOTHING
    return f"{each.failed}; of the baseline {each.failed_baseline}"


def _tell(each: Comparison) -> str:
    word = each.verdict.value
    if each.verdict is Verdict.EQUIVALENT:
        return f"{word} within {LEAST_EFFECT:.0%}"
    return f"{word}: {each.reason}" if each.reason else word
