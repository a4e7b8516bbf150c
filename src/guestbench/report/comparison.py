"""The sections that compare: what was expected and what was found, and the systems with their baseline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import inf

from guestbench.analysis.findings import Findings
from guestbench.analysis.summary import CONFIDENCE
from guestbench.model import Comparison, Interval, Judgement, Method, Ruling, Verdict
from guestbench.page.blocks import (
    Block,
    Bullets,
    Code,
    Details,
    Figure,
    Paragraph,
    Section,
    Table,
    read_words,
)
from guestbench.page.figures import (
    add_interval,
    name_figure,
    show_amount,
    show_interval,
    show_labels,
    show_p,
    tabulate,
)
from guestbench.page.numbers import NOTHING, count_things, show_exact, show_ratio
from guestbench.page.plots import Axis, Bar, Look, Mark, Point, Row, Rows, choose_axis

tell = read_words(__file__)

METHODS = {
    Method.RUNS: "runs",
    Method.EXACT: "exact",
    Method.SEARCH: "the sizes tried",
    Method.NONE: NOTHING,
}
LOOKS = {
    Verdict.SMALLER: Point(4, 0, colour=0),
    Verdict.LARGER: Point(2, 0, colour=1),
    Verdict.EQUIVALENT: Point(1, 0, colour=2),
    Verdict.INCONCLUSIVE: Point(0, 0, colour=7, hollow=True),
    Verdict.PENDING: Point(3, 0, colour=7, hollow=True),
}
OPEN = (Ruling.UNDECIDED, Ruling.PENDING)
Range = tuple[float | None, float | None]
"""The least and the most of what was claimed; an open end is None."""
MEDIANS_DIFFER = 1.1
"""Ten values a side with a CV of 5% never brought the two ratios so far apart in 200,000 simulations."""
MOST_TOLD = 3
"""Rows up to which a reason is said in each of them."""
LOW_ROW = 3
"""Pixels of the height of a row of the plot of ratios, of which there are many."""


def find_sections(found: Findings) -> Iterator[Section]:
    """Both sections, where there is something in them."""
    judged = [each for each in found.judgements if is_of_run(found, each)]
    title = "What was expected, and what was found"
    if found.judgements and not judged:
        yield Section("claims", title, tuple(_count_others(found)))
    if judged:
        decided = [each for each in judged if each.ruling not in OPEN]
        others = [each for each in judged if each.ruling in OPEN]
        table = _tabulate_claims(found, decided)
        run = "what is there so far" if found.to_come else "this run"
        folded = Details(f"Not decided by {run}: {len(others)}", (_tabulate_claims(found, others),))
        yield Section("claims", title, (tell("claims"), table, folded, *_count_others(found)))
    if found.comparisons:
        baseline = Code(found.header.experiment.baseline)
        yield Section("comparison", ("Compared with ", baseline), tuple(_compare(found)))


def _tabulate_claims(found: Findings, judged: Sequence[Judgement]) -> Table:
    return tabulate(
        judged,
        {
            "What was expected": lambda each: each.claim.text,
            "Verdict": lambda each: _rule(found, each),
            "Of": lambda each: Code(each.system),
            "Claimed": lambda each: _claimed(found, each),
            "Found": lambda each: _tell_found(found, each),
            "Like with like": lambda each: _tell_claim_beside(found, each),
        },
        words=3,
    ).without_empty_columns()


def is_of_run(found: Findings, each: Judgement) -> bool:
    """Whether the systems that a claim is about are in this run."""
    return {each.system, each.claim.against or each.system} <= {*found.names}


def _count_others(found: Findings) -> Iterator[Block]:
    others = sum(not is_of_run(found, each) for each in found.judgements)
    if others:
        yield Paragraph(
            (f"Not shown: {count_things(others, 'claim')} about systems that are not in this run.",)
        )


def _compare(found: Findings) -> Iterator[Block]:
    # Statistics take half a second to load.
    from guestbench.analysis.compare import LEAST_EFFECT

    baseline, effect = Code(found.header.experiment.baseline), f"{LEAST_EFFECT:.0%}"
    reasons = Counter(each.reason for each in found.comparisons)
    often = [reason for reason, count in reasons.items() if reason and count > MOST_TOLD]
    notes = {reason: f"[{number}]" for number, reason in enumerate(often, 1)}
    yield tabulate(
        found.comparisons,
        {
            "Figure": lambda each: name_figure(found.metric(each.metric).title, each.labels),
            "System": lambda each: Code(each.system),
            "Verdict": lambda each: _tell_verdict(each, effect, notes),
            "Ratio (interval)": _show_ratio,
            "BCa interval": lambda each: show_interval(each.ratio_bca, show_ratio),
            "Difference (interval)": lambda each: _show_difference(each, found.metric(each.metric).unit),
            "p, adjusted": lambda each: show_p(each.p_holm),
            "Cliff's delta": lambda each: f"{each.delta:+.2f}" if each.delta is not None else NOTHING,
            "By": _tell_method,
            "Failed": _failed,
            "Like with like": lambda each: tell_beside(found, each.metric, each.system, each.baseline),
        },
        words=3,
    ).without_empty_columns()
    yield Bullets(tuple(f"{mark} {reason}" for reason, mark in notes.items()))
    ratio = (
        *("A ratio is the system's figure over that of ", baseline),
        ": of geometric means, within blocks where both have values of the same blocks; its interval covers "
        f"the true ratio with {CONFIDENCE:.0%}.",
    )
    others = tell("verdicts", effect=effect)
    how = Paragraph((ratio, *others.lines))
    yield Details("How to read this, and every ratio as a plot", (how, draw_ratios(found, found.comparisons)))


# --- claims -----------------------------------------------------------------------------------------------


def _claimed(found: Findings, each: Judgement) -> str:
    ends = each.claim.least, each.claim.most
    claimed = _tell_range(ends, lambda value: _show(found, each, value, exactly=True))
    return f"{claimed} times" if each.claim.against else claimed


def _tell_range(ends: Range, show: Callable[[float | None], str]) -> str:
    least, most = ends
    if least is None or most is None:
        return f"at most {show(most)}" if least is None else f"at least {show(least)}"
    return show(least) if least == most else f"{show(least)} to {show(most)}"


def _tell_found(found: Findings, each: Judgement) -> str:
    shown = _show(found, each, each.value)
    if each.value is not None and each.claim.against:
        shown += " times"
    return add_interval(shown, each.interval, lambda value: _show(found, each, value))


def _show(found: Findings, each: Judgement, value: float | None, *, exactly: bool = False) -> str:
    if each.claim.against:
        return show_exact(value) if exactly else show_ratio(value)
    return show_amount(value, found.metric(each.claim.metric).unit)


def _rule(found: Findings, each: Judgement) -> str:
    """The ruling; of a time or a rate with the accelerator, without which it would be another one."""
    if each.ruling in OPEN:
        return f"{each.ruling.value}: {each.reason}" if each.reason else each.ruling.value
    word = each.ruling.value
    if found.metric(each.claim.metric).is_timed:
        word += f" under {found.header.accel.used.value.upper()}"
    if each.ruling is Ruling.CONFIRMED or each.value is None:
        return word
    less = each.claim.least is not None and each.value < each.claim.least
    return f"{word}: {'less' if less else 'more'} than that"


# --- like with like ---------------------------------------------------------------------------------------


def _tell_claim_beside(found: Findings, each: Judgement) -> str:
    if not each.claim.against or each.claim.labels:
        return NOTHING
    return tell_beside(found, each.claim.metric, each.system, each.claim.against, turned=True)


def tell_beside(found: Findings, metric: str, system: str, baseline: str, *, turned: bool = False) -> str:
    """What the two do not share, and their ratio without it; `turned` over, as claims say it."""
    told = []
    for each in found.beside:
        if (each.metric, each.system, each.baseline) != (metric, system, baseline):
            continue
        if each.found is None:
            told.append(f"{each.what} included")
        elif each.found.baseline == baseline:
            told.append(f"{each.what}: {_show_beside(each.found, turned)}")
        else:
            against = f"against {each.found.baseline}, which is without it"
            told.append(f"{each.what} included; {against}: {_show_beside(each.found, turned)}")
    return "; ".join(told) or NOTHING


def _show_beside(found: Comparison, turned: bool) -> str:
    ratio, interval = found.ratio, found.ratio_ci
    if turned and ratio:
        ratio = 1 / ratio
        if interval is not None:
            interval = Interval(low=1 / interval.high, high=1 / interval.low, confidence=interval.confidence)
    times = f"{show_ratio(ratio)} times" if turned else show_ratio(ratio)
    return add_interval(times, interval, show_ratio)


# --- ratios -----------------------------------------------------------------------------------------------


def _show_ratio(each: Comparison) -> str:
    return add_interval(show_ratio(each.ratio), each.ratio_ci, show_ratio)


def _show_difference(each: Comparison, unit: str) -> str:
    shown = show_amount(each.difference, unit)
    return add_interval(shown, each.difference_ci, lambda value: show_amount(value, unit))


def _tell_method(each: Comparison) -> str:
    """How they were compared, and how many values that is."""
    if each.method is Method.BLOCKS:
        return f"{each.pairs or min(each.n, each.n_baseline)} blocks"
    if each.method is Method.SAMPLES:
        return f"{each.n} and {each.n_baseline} values"
    return METHODS[each.method]


def _failed(each: Comparison) -> str:
    if not each.failed and not each.failed_baseline:
        return NOTHING
    from guestbench.analysis.failures import tell_rate

    mine, other = (
        tell_rate(failed, n + failed, "")
        for failed, n in ((each.failed, each.n), (each.failed_baseline, each.n_baseline))
    )
    return f"{mine}; of the baseline {other}"


def _tell_verdict(each: Comparison, effect: str, notes: Mapping[str, str]) -> str:
    """The verdict, with its reason or the mark of the note that says it for many rows."""
    word = each.verdict.value
    if each.verdict is Verdict.EQUIVALENT and each.ratio is not None:
        word = f"{word} within {effect}"
    if each.reason in notes:
        told = f"{word} {notes[each.reason]}"
    else:
        told = f"{word}: {each.reason}" if each.reason else word
    if _medians_differ(each):
        told = f"{told}; the medians say {show_ratio(each.ratio_median)}"
    return (
        f"fails more often ({each.failed} of {each.n + each.failed}); of the others: {told}"
        if each.verdict is not Verdict.PENDING and fails_more(each)
        else told
    )


def fails_more(each: Comparison) -> bool:
    """Whether more trials failed than of the baseline, and more than chance explains."""
    if not each.failed:
        return False
    from guestbench.analysis.failures import ALPHA, more_failed_p

    tried, tried_baseline = each.n + each.failed, each.n_baseline + each.failed_baseline
    return more_failed_p(each.failed, tried, each.failed_baseline, tried_baseline) <= ALPHA


def _medians_differ(each: Comparison) -> bool:
    """Whether the ratio of the medians is another one than that of the means: either could be quoted."""
    middle, ratio = each.ratio_median, each.ratio
    return middle is not None and ratio is not None and max(middle / ratio, ratio / middle) > MEDIANS_DIFFER


# --- the plot of ratios -----------------------------------------------------------------------------------


def draw_ratios(found: Findings, comparisons: Sequence[Comparison]) -> Figure:
    """These ratios to the baseline with their intervals, grouped by figure, with what was claimed of them."""
    # Statistics take half a second to load.
    from guestbench.analysis.compare import LEAST_EFFECT

    baseline = found.header.experiment.baseline
    shown = [each for each in comparisons if each.ratio is not None and each.ratio > 0]
    if not shown:
        return Figure(f"Ratios to {baseline}")
    rows: list[Row] = []
    words = [f"Ratios to {baseline}, grouped by figure."]
    claims = [_find_claimed(each, found.judgements) for each in shown]
    group = ("", "")
    for each, claim in zip(shown, claims, strict=True):
        figure = (found.metric(each.metric).title, show_labels(each.labels))
        if figure != group:
            group = figure
            rows.append(Row(*figure))
            words.append(f"{', '.join(filter(None, group))}:")
        rows.append(_to_row(each, claim))
        words.append(f"{_tell_ratio(each)}{f' ({_tell_claim(claim)})' if claim else ''};")
    looks = LOOKS.items() if found.to_come else [each for each in LOOKS.items() if each[0] != Verdict.PENDING]
    legend: list[tuple[Bar | Point, str]] = [(look, verdict.value) for verdict, look in looks]
    if any(claims):
        legend.append((Bar(0, 1, look=Look.CLAIM), "claimed"))
    axis, about = (
        _choose_axis(shown, [claim for claim in claims if claim]),
        (1 / (1 + LEAST_EFFECT), 1, 1 + LEAST_EFFECT),
    )
    description = " ".join(words).rstrip(";") + "."
    plot = Rows("Ratios to the baseline", description, axis, tuple(rows), tuple(legend), about)
    about_ratio = f"Each ratio is the system's figure over that of {baseline}, with its interval."
    return Figure(f"Ratios to {baseline}", Paragraph((about_ratio, *tell("ratios").lines)), (plot,))


def _find_claimed(each: Comparison, judgements: Sequence[Judgement]) -> Range | None:
    """The range of a claim about this pair, as a ratio of the system to the baseline.

    A claim says how many times as large the other one is, so it is turned over.
    """
    for judgement in judgements:
        claim = judgement.claim
        same = (claim.metric, claim.labels, claim.against) == (each.metric, each.labels, each.baseline)
        if same and judgement.system == each.system:
            return 1 / claim.most if claim.most else None, 1 / claim.least if claim.least else None
    return None


def _choose_axis(shown: Sequence[Comparison], claims: Sequence[Range]) -> Axis:
    ratios = [each.ratio for each in shown if each.ratio]
    reach = 4 * max(*ratios, 1.0), min(*ratios, 1.0) / 4
    ends = [end for each in shown if each.ratio_ci for end in (each.ratio_ci.low, each.ratio_ci.high)]
    ends += [end for claim in claims for end in claim if end]
    return choose_axis(
        [*ratios, 1.0, *(end for end in ends if reach[1] <= end <= reach[0])],
        "Ratio to the baseline (logarithmic)",
        log=True,
    )


def _to_row(each: Comparison, claim: Range | None) -> Row:
    marks: list[Mark] = []
    if claim:
        low, high = claim[0] or 0.0, claim[1] or inf
        marks.append(Bar(low, high, title=_tell_claim(claim), look=Look.CLAIM))
    if each.ratio_ci:
        marks.append(Bar(each.ratio_ci.low, each.ratio_ci.high, look=Look.WHISKER))
    look = LOOKS[each.verdict]
    marks.append(
        Point(look.kind, each.ratio or 0.0, _tell_ratio(each), hollow=look.hollow, colour=look.colour)
    )
    return Row(each.system, show_ratio(each.ratio), tuple(marks), LOW_ROW, sub=True)


def _tell_ratio(each: Comparison) -> str:
    return f"{each.system}: {_show_ratio(each)}, {each.verdict.value}"


def _tell_claim(claim: Range) -> str:
    return f"claimed: {_tell_range(claim, show_ratio)}"
