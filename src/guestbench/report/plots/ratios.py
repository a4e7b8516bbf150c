"""Draws ratios to the baseline with their intervals and with what was claimed of them.

A plot is empty where the run has no data for it. Figures are looked up and never calculated.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isinf

from guestbench.analysis.summary import find_metric
from guestbench.families.work.section import show_parameter
from guestbench.model import (
    Comparison,
    Header,
    Judgement,
    Verdict,
)
from guestbench.page.numbers import show_ratio
from guestbench.page.svg import (
    BELOW,
    Axis,
    bar,
    choose_axis,
    figure,
    frame,
    legend,
    line,
    marker,
    plot,
    row_name,
)
from guestbench.report.plots.common import UNDER_NAME
from guestbench.report.tags import EMPTY, Html

GROUP, FOREST_ROW, LINE = 30, 33, 16
NARROW = 36
"""Characters of a name and its note that fit one line on a phone."""
SHAPES = {Verdict.SMALLER: 4, Verdict.LARGER: 2, Verdict.EQUIVALENT: 1, Verdict.INCONCLUSIVE: 0}
COLOURS = {Verdict.SMALLER: 0, Verdict.LARGER: 1, Verdict.EQUIVALENT: 2, Verdict.INCONCLUSIVE: 7}


def ratio_forest(
    header: Header, comparisons: Sequence[Comparison], judgements: Sequence[Judgement], effect: float
) -> Html:
    """Every ratio to the baseline with its interval, grouped by figure, with what was claimed of it."""
    shown = [each for each in comparisons if each.ratio is not None and each.ratio > 0]
    if not shown:
        return EMPTY
    claims = {id(each): _claimed(each, judgements) for each in shown}
    axis = _ratio_axis(shown, [claim for claim in claims.values() if claim])
    parts: list[Html] = []
    words = [f"Ratios to {header.experiment.baseline}, grouped by figure."]
    y, group = 0.0, ("", "")
    for each in shown:
        title, labels = _group(header, each)
        if (title, labels) != group:
            y, group = y + GROUP, (title, labels)
            words.append(f"{', '.join(filter(None, group))}:")
            if labels and len(title) + len(labels) > NARROW:
                parts.append(row_name(title, "", y - UNDER_NAME))
                parts.append(row_name("", labels, y - UNDER_NAME + LINE))
                y += LINE
            else:
                parts.append(row_name(title, labels, y - UNDER_NAME))
        claim = claims[id(each)]
        parts.append(_ratio_row(each, claim, axis, y))
        words.append(f"{_tell_ratio(each)}{f' ({_tell_claim(claim)})' if claim else ''};")
        y += FOREST_ROW
    low, high = axis.share(1 / (1 + effect)), axis.share(1 + effect)
    behind = [bar(low, high, 0, y, "band equal"), frame(axis, 0, y), line(axis.x(1), 0, axis.x(1), y, "one")]
    entries = [(_mark(verdict, "12", 7), verdict.value) for verdict in SHAPES]
    if any(claims.values()):
        entries.append((bar(0, 1, 2, 10, "claim"), "claimed"))
    note = (
        f"Each ratio is the system's figure over that of {header.experiment.baseline}, with its interval. "
        "Left of the line at 1 it is smaller, right of it larger; the band around that line is of ratios too "
        "near to 1 to matter. Of an interval that reaches beyond the plot only a part is drawn."
    )
    drawn = plot("Ratios to the baseline", " ".join(words).rstrip(";") + ".", y + BELOW, *behind, *parts)
    return figure(f"Ratios to {header.experiment.baseline}", note, legend(entries), drawn)


def _claimed(each: Comparison, judgements: Sequence[Judgement]) -> tuple[float, float] | None:
    """The range of a claim about this pair, as a ratio of the system to the baseline; an open end is 0 or ∞.

    A claim says how many times as large the other one is, so it is turned over.
    """
    for judgement in judgements:
        claim = judgement.claim
        same = (claim.metric, claim.labels, claim.against) == (each.metric, each.labels, each.baseline)
        if same and judgement.system == each.system:
            low = 1 / claim.most if claim.most else 0.0
            high = 1 / claim.least if claim.least else float("inf")
            return low, high
    return None


def _ratio_axis(shown: Sequence[Comparison], claims: Sequence[tuple[float, float]]) -> Axis:
    ratios = [each.ratio for each in shown if each.ratio]
    reach = 4 * max(*ratios, 1.0), min(*ratios, 1.0) / 4
    ends = [end for each in shown if each.ratio_ci for end in (each.ratio_ci.low, each.ratio_ci.high)]
    ends += [end for claim in claims for end in claim]
    return choose_axis(
        [*ratios, 1.0, *(end for end in ends if reach[1] <= end <= reach[0])],
        "Ratio to the baseline (logarithmic)",
        log=True,
    )


def _ratio_row(each: Comparison, claim: tuple[float, float] | None, axis: Axis, y: float) -> Html:
    middle = y + 23
    parts = [row_name(each.system, show_ratio(each.ratio), y, "name sub")]
    if claim:
        ends = axis.share(claim[0]), axis.share(claim[1])
        parts.append(bar(*ends, middle - 6, 12, "claim", _tell_claim(claim)))
    if each.ratio_ci:
        parts.append(line(axis.x(each.ratio_ci.low), middle, axis.x(each.ratio_ci.high), middle, "whisker"))
    if each.ratio is not None:
        parts.append(_mark(each.verdict, axis.x(each.ratio), middle, _tell_ratio(each)))
    return Html("".join(parts))


def _mark(verdict: Verdict, x: str, y: float, title: str = "") -> Html:
    hollow = verdict is Verdict.INCONCLUSIVE
    return marker(SHAPES[verdict], x, y, title, hollow=hollow, colour=COLOURS[verdict])


def _tell_ratio(each: Comparison) -> str:
    shown = f"{each.system}: {show_ratio(each.ratio)}"
    if each.ratio_ci:
        shown += f" ({show_ratio(each.ratio_ci.low)} to {show_ratio(each.ratio_ci.high)})"
    return f"{shown}, {each.verdict.value}"


def _tell_claim(claim: tuple[float, float]) -> str:
    low, high = claim
    if not low:
        return f"claimed: at most {show_ratio(high)}"
    if isinf(high):
        return f"claimed: at least {show_ratio(low)}"
    return f"claimed: {show_ratio(low)} to {show_ratio(high)}"


def _group(header: Header, each: Comparison) -> tuple[str, str]:
    """What a comparison is of: the figure, and its labels."""
    labels = ", ".join(f"{name}={show_parameter(value)}" for name, value in each.labels.items())
    return find_metric(header, each.metric).title, labels
