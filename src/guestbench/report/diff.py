"""Shows two runs compared, as text for a terminal, as Markdown and as JSON; it calculates nothing.

Whatever a guest printed is shown in printable characters only. What weakens the comparison comes before it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from guestbench.analysis.between_runs import LARGEST
from guestbench.analysis.diff import Change, RunDiff
from guestbench.analysis.diff_setting import RunFacts, find_mismatches
from guestbench.analysis.failures import ALPHA
from guestbench.analysis.gate import Decision, GateState
from guestbench.errors import UsageError
from guestbench.model import Better, Header, Method, Verdict
from guestbench.page.blocks import Block, Bullets, Cells, Code, Paragraph, Strong, Table, Text
from guestbench.page.figures import show_finely, show_interval, show_p, write_key
from guestbench.page.numbers import NOTHING
from guestbench.report.opening import tell_failed
from guestbench.report.terminal import show_text
from guestbench.text import visible

HEAD = ("System", "Metric", "Old", "New", "Ratio", "Over floor", "Interval", "p, adjusted", "n", "Verdict")
MANY_TIMES = 1000
"""From this ratio on a change is written as a factor rather than in percent."""
JSON_VERSION = 2
"""Version of the shape of the JSON. Raised when a field changes its meaning or goes."""


class DiffDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of the JSON of `guestbench diff`."""

    version: int
    diff: RunDiff


def render_json(diff: RunDiff) -> bytes:
    """A `DiffDocument`, indented, keys of maps sorted, with a newline at the end."""
    document = msgspec.json.encode(DiffDocument(version=JSON_VERSION, diff=diff), order="deterministic")
    return msgspec.json.format(document, indent=2) + b"\n"


def describe_diff(diff: RunDiff) -> tuple[Block, ...]:
    """What weakens the comparison, the table, and what became of each gate."""
    return (
        Bullets(tuple(_find_notes(diff))),
        Table(HEAD, tuple(_row(change, diff.effect) for change in diff.changes), 2).without_empty_columns(),
        Paragraph(_explain(diff)),
        Bullets(tuple(map(tell_decision, diff.decisions))),
    )


def refuse_mismatches(headers: Sequence[Header], folders: Sequence[str], typed: Sequence[str]) -> None:
    """Refuse to compare runs of different hosts, platforms or tools; `typed` is the command line.

    Raises:
        UsageError: they differ; it names each difference.
    """
    first, *others = zip(headers, folders, strict=True)
    for header, folder in others:
        mismatches = find_mismatches(first[0], header)
        if mismatches:
            told = "; ".join(visible(f"{each.what}: {each.old} and {each.new}") for each in mismatches)
            hint = shlex.join(["guestbench", *typed, "--force"])
            raise UsageError(f"{first[1]} and {folder} cannot be compared: {told}", hint)


def tell_failures(decisions: Sequence[Decision], *, inconclusive: bool) -> tuple[str, ...]:
    """A line for each gate that did not hold; those that decide nothing are among them only if asked for."""
    bad = {GateState.FAILED, GateState.INCONCLUSIVE} if inconclusive else {GateState.FAILED}
    return tuple(show_text(tell_decision(each)) for each in decisions if each.state in bad)


# --- what comes before the table ----------------------------------------------------------------------------


def _find_notes(diff: RunDiff) -> Iterator[str]:
    """Which runs these are, and all that a reader should know before the figures, failures first."""
    if diff.paired:
        yield f"old and new in the same blocks of the run {diff.new[0].run}"
    for name, run in () if diff.paired else _name_runs(diff):
        yield f"{name}: {run.run}, {run.records:,} records, guestbench {run.tool}"
    yield from map(tell_failed, diff.failed)
    for share in diff.failures:
        if not share.failed and not share.failed_baseline and share.of == 1:
            continue
        new, old = share.tell()
        chance = f": more than before by Fisher's exact test, p = {share.p:.2g}" if share.p <= ALPHA else ""
        yield f"trials of {share.purpose} of {share.system}: old: {old}; new: {new}{chance}"
    notices: dict[str, None] = {}
    for name, run in _name_runs(diff):
        if run.missing:
            yield f"not complete: {name}: {run.missing} of its planned trials have no record"
        where = "the run" if diff.paired else name
        notices.update(dict.fromkeys(f"note on {where}: {notice}" for notice in run.notices))
    yield from notices
    for mismatch in diff.mismatches:
        yield f"compared by force: {mismatch.what}: {mismatch.old} in old, {mismatch.new} in new"
    for mixed in diff.mixed:
        yield f"not of the same images in all runs of {mixed}"
    for lost in diff.lost:
        what = write_key(lost.metric, lost.labels) if lost.metric else "the whole system"
        yield ": ".join(filter(None, (f"only in {lost.only_in}", lost.system, what, lost.reason)))
    for change in diff.changes:
        if change.floor and change.comparison.ratio_ci is not None:
            yield _tell_floor(change)
    if diff.same_images:
        yield f"same images in both: {', '.join(diff.same_images)}"


def _name_runs(diff: RunDiff) -> Iterator[tuple[str, RunFacts]]:
    for name, runs in (("old", diff.old), ("new", diff.new)):
        for number, run in enumerate(runs, 1):
            yield f"{name} {number}" if len(runs) > 1 else name, run


def _tell_floor(change: Change) -> str:
    each = change.comparison
    moved = f"{write_key(each.metric, each.labels)} of {each.system} by {_percent(each.ratio or 1.0)}"
    if each.verdict in (Verdict.SMALLER, Verdict.LARGER):
        return f"the null guest changed: {moved}; so did the host, or what ran on it"
    return f"between the runs the null guest changed {moved}"


def _explain(diff: RunDiff) -> tuple[str, ...]:
    if not diff.changes:
        return ("The two runs have nothing in common that could be compared.",)
    found = [change.comparison for change in diff.changes]
    tested = sum(each.p_holm is not None for each in found)
    test = f"; p is of a permutation test, adjusted for all {tested} that there are" if tested else ""
    several = len(diff.old) > 1 or len(diff.new) > 1
    units = "of the runs' means" if several else "for the logarithms"
    if diff.paired:
        units = "for the differences of logarithms within blocks"
    lines = [
        f"Ratio is new over old, of geometric means; the interval is Student's {units}, at 95%{test}. "
        f"Nearer to 1 than {diff.effect * 100:.3g}% is no difference."
    ]
    if several:
        lines.append("Runs are what is counted in n where times and rates are compared; a run is one value.")
    if any(each.method is Method.RUNS for each in found):
        lines.append(
            "How much runs of the same thing differ is not known from one run a side, and more cycles do not "
            f"show it. For times and rates an SD of {diff.run_sd * 100:.3g}% is assumed (--run-sd), which is "
            "in the interval. Several runs a side show it."
        )
    if any(each.ratio_floor is not None for each in found):
        lines.append(
            "Over floor is the same ratio with what the null guest changed by taken out, block by block; the "
            "interval spans both, and a difference has to show in both."
        )
    return tuple(lines)


# --- the table ----------------------------------------------------------------------------------------------


def _row(change: Change, effect: float) -> Cells:
    each = change.comparison
    counts = [
        f"{n} ({failed} failed)" if failed else str(n)
        for n, failed in ((each.n_baseline, each.failed_baseline), (each.n, each.failed))
    ]
    return (
        Code(each.system),
        Code(write_key(each.metric, each.labels)),
        *(show_finely(value, change.unit) for value in (change.old, change.new)),
        show_change(each.ratio),
        show_change(each.ratio_floor),
        show_interval(each.ratio_ci, show_change),
        show_p(each.p_holm),
        counts[0] if counts[0] == counts[1] else f"{counts[0]}, {counts[1]}",
        _tell_verdict(change, effect),
    )


def show_change(ratio: float | None) -> str:
    """A ratio with three decimals near 1, where the third still matters, and to four digits elsewhere."""
    if ratio is None:
        return NOTHING
    if ratio >= LARGEST:
        return "∞"
    return f"{ratio:.3f}" if 0.1 <= ratio < 100 else f"{ratio:.4g}"


def _tell_verdict(change: Change, effect: float) -> str:
    fails = f"fails more often ({change.fails}); of the others: " if change.fails else ""
    return f"{fails}{_tell_verdict_of_others(change, effect)}"


def _tell_verdict_of_others(change: Change, effect: float) -> str:
    each = change.comparison
    word = each.verdict.value
    if each.verdict is Verdict.EQUIVALENT and each.ratio is not None:
        return f"{word} within {effect * 100:.3g}%"
    if each.verdict in (Verdict.SMALLER, Verdict.LARGER) and change.better is not Better.NEITHER:
        good = (each.verdict is Verdict.SMALLER) == (change.better is Better.LOWER)
        word = f"{word}, which is {'better' if good else 'worse'}"
    return f"{word}: {each.reason}" if each.reason else word


# --- gates --------------------------------------------------------------------------------------------------


def tell_decision(decision: Decision) -> Text:
    """What became of a gate, with the figures and the reason."""
    reason = f": {decision.reason}" if decision.reason else ""
    key = write_key(decision.metric, decision.labels)
    return (
        *("gate ", Code(decision.gate), ": ", Strong(decision.state.value), ": ", Code(decision.system)),
        *(": ", Code(key), f"{tell_figures(decision)}{reason}"),
    )


def tell_figures(decision: Decision) -> str:
    """The change, or the value, with the interval that decided, behind a space; empty where there is none."""
    if decision.value is not None:
        return f" {_show_value(decision)}"
    if decision.ratio is None:
        return ""
    shown = f" {_percent(decision.ratio)}"
    if decision.interval is None:
        return shown
    low, high = _percent(decision.interval.low), _percent(decision.interval.high)
    return f"{shown} ({low} to {high} at {decision.interval.confidence * 100:.4g}%)"


def _show_value(decision: Decision) -> str:
    show, interval = partial(show_finely, unit=decision.unit), decision.interval
    if interval is None:
        return show(decision.value)
    return f"{show(decision.value)} ({show_interval(interval, show)} at {interval.confidence * 100:.4g}%)"


def _percent(ratio: float) -> str:
    """A change in percent with one decimal, or two digits where it is less than that; a factor if large."""
    if ratio >= MANY_TIMES:
        return "×∞" if ratio >= LARGEST else f"×{ratio:.3g}"
    percent = (ratio - 1) * 100
    return f"{percent:+.1f}%" if abs(percent) >= 0.1 or not percent else f"{percent:+.1g}%"
