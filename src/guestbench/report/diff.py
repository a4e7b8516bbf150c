"""Shows two runs compared, as text for a terminal, as Markdown and as JSON; it calculates nothing.

Whatever a guest printed is shown in printable characters only. What weakens the comparison comes before it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

import msgspec

from guestbench.analysis.diff import Change, RunDiff
from guestbench.analysis.diff_setting import Failed, find_mismatches
from guestbench.analysis.gate import Decision, GateState, Lost
from guestbench.errors import UsageError
from guestbench.model import (
    Better,
    Header,
    Interval,
    Method,
    Verdict,
)
from guestbench.page.escape import (
    Markdown,
    code,
    escape,
)
from guestbench.page.numbers import (
    NOTHING,
    show_bytes,
    show_exact,
    show_kib,
    show_rate,
    show_seconds,
)
from guestbench.page.table import Table
from guestbench.report.results import show_outcome
from guestbench.text import visible

GAP = "  "
HEAD = ("System", "Metric", "Old", "New", "Ratio", "Interval", "p, adjusted", "n", "Verdict")
WORDS = (0, 1, len(HEAD) - 1)
"""The columns of words, which are aligned to the left."""
SMALLEST_P = 0.001
JSON_VERSION = 1
"""Version of the shape of the JSON. Raised when a field changes its meaning or goes."""


class DiffDocument(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of the JSON of `guestbench diff`."""

    version: int
    diff: RunDiff


def render_json(diff: RunDiff) -> bytes:
    """A `DiffDocument`, indented, keys of maps sorted, with a newline at the end."""
    document = msgspec.json.encode(DiffDocument(version=JSON_VERSION, diff=diff), order="deterministic")
    return msgspec.json.format(document, indent=2) + b"\n"


def render_text(diff: RunDiff) -> str:
    """What weakens the comparison, the table, and what became of each gate; ends with a newline."""
    lines = [visible(line) for line in (*_describe(diff), *_find_notes(diff))]
    rows = [HEAD, *(tuple(visible(cell) for cell in _row(change, diff.effect)) for change in diff.changes)]
    if diff.changes:
        lines += ["", *_align(rows), "", _explain(diff)]
    else:
        lines += ["", "The two runs have nothing in common that could be compared."]
    decisions = [visible(_tell_decision(decision)) for decision in diff.decisions]
    return "".join(f"{line}\n" for line in (*lines, *([""] if decisions else []), *decisions))


def render_markdown(diff: RunDiff) -> str:
    """The same as Markdown, for a comment on a change or for a summary of a CI job."""
    parts: list[str] = ["\n".join(f"- {escape(line)}" for line in (*_describe(diff), *_find_notes(diff)))]
    rows = tuple(
        (code(row[0]), code(row[1]), *row[2:])
        for row in (_row(change, diff.effect) for change in diff.changes)
    )
    if rows:
        parts += [Table(head=HEAD, rows=rows, words=2).render(), escape(_explain(diff))]
    else:
        parts.append("The two runs have nothing in common that could be compared.")
    if diff.decisions:
        parts.append("\n".join(f"- {_mark_decision(decision)}" for decision in diff.decisions))
    return "\n\n".join(parts) + "\n"


def refuse_mismatches(old: Header, new: Header, folders: Sequence[str], typed: Sequence[str]) -> None:
    """Refuse to compare runs of different hosts, platforms or tools; `typed` is the command line.

    Raises:
        UsageError: they differ; it names each difference.
    """
    mismatches = find_mismatches(old, new)
    if mismatches:
        told = "; ".join(visible(f"{each.what}: {each.old} and {each.new}") for each in mismatches)
        hint = shlex.join(["guestbench", *typed, "--force"])
        raise UsageError(f"{' and '.join(folders)} cannot be compared: {told}", hint)


def tell_failures(decisions: Sequence[Decision], *, inconclusive: bool) -> tuple[str, ...]:
    """A line for each gate that did not hold; those that decide nothing are among them only if asked for."""
    bad = {GateState.FAILED, GateState.INCONCLUSIVE} if inconclusive else {GateState.FAILED}
    return tuple(visible(_tell_decision(each)) for each in decisions if each.state in bad)


# --- what comes before the table ----------------------------------------------------------------------------


def _describe(diff: RunDiff) -> Iterator[str]:
    for name, run in (("old", diff.old), ("new", diff.new)):
        yield f"{name}: {run.run}, {run.records:,} records, guestbench {run.tool}"


def _find_notes(diff: RunDiff) -> Iterator[str]:
    """All that a reader should know before the figures, failures first."""
    for failed in diff.failed:
        yield _tell_failed(failed)
    for name, run in (("old", diff.old), ("new", diff.new)):
        if run.missing:
            yield f"not complete: {name}: {run.missing} of its planned trials have no record"
        for notice in run.notices:
            yield f"note on {name}: {notice}"
    for mismatch in diff.mismatches:
        yield f"compared by force: {mismatch.what}: {mismatch.old} in old, {mismatch.new} in new"
    for lost in diff.lost:
        yield _tell_lost(lost)
    for change in diff.changes:
        apart = change.comparison.verdict in (Verdict.SMALLER, Verdict.LARGER)
        if change.floor and apart and change.comparison.method is Method.SAMPLES:
            yield (
                f"the null guest changed too: {change.comparison.metric} of {change.comparison.system} is "
                f"{change.comparison.verdict.value}; so did the host, or what ran on it"
            )
    if diff.same_images:
        yield f"same images in both: {', '.join(diff.same_images)}"


def _tell_failed(failed: Failed) -> str:
    how = f"{failed.n} of {failed.of} {failed.purpose} trials {show_outcome(failed.outcome)}"
    return f"failed: {failed.run}: {failed.system}: {how}: {failed.outcome.reason}"


def _tell_lost(lost: Lost) -> str:
    what = _name(lost.metric, lost.labels) if lost.metric else "the whole system"
    return f"only in {lost.only_in}: {lost.system}: {what}" + (f": {lost.reason}" if lost.reason else "")


def _explain(diff: RunDiff) -> str:
    tested = sum(change.comparison.p_holm is not None for change in diff.changes)
    test = f"; p is of a permutation test, adjusted for all {tested} that there are" if tested else ""
    return (
        "Ratio is new over old, of geometric means; the interval is Welch's for the logarithms, at 95%"
        f"{test}. Nearer to 1 than {diff.effect * 100:.3g}% is no difference."
    )


# --- the table ----------------------------------------------------------------------------------------------


def _row(change: Change, effect: float) -> tuple[str, ...]:
    each = change.comparison
    counts = [
        f"{n} ({failed} failed)" if failed else str(n)
        for n, failed in ((each.n_baseline, each.failed_baseline), (each.n, each.failed))
    ]
    return (
        each.system,
        _name(each.metric, each.labels),
        _amount(change, change.old),
        _amount(change, change.new),
        show_change(each.ratio),
        show_interval(each.ratio_ci),
        _show_p(each.p_holm),
        counts[0] if counts[0] == counts[1] else f"{counts[0]}, {counts[1]}",
        _tell_verdict(change, effect),
    )


def _name(metric: str, labels: dict[str, str]) -> str:
    inside = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
    return f"{metric}{{{inside}}}" if inside else metric


def _amount(change: Change, value: float | None) -> str:
    if value is None:
        return NOTHING
    if change.unit == "bytes":
        return show_bytes(value)
    if change.unit == "s":
        return show_seconds(value, value / 100)
    if change.unit == "KiB":
        return show_kib(value)
    if change.unit.endswith("/s"):
        return show_rate(value, None, change.unit.removesuffix("/s"))
    return f"{show_exact(round(value, 3))} {change.unit}".strip()


def show_change(ratio: float | None) -> str:
    """A ratio with three decimals near 1, where the third still matters, and to four digits elsewhere."""
    if ratio is None:
        return NOTHING
    return f"{ratio:.3f}" if 0.1 <= ratio < 100 else f"{ratio:.4g}"


def show_interval(interval: Interval | None) -> str:
    """An interval of ratios, or a dash for None."""
    if interval is None:
        return NOTHING
    return f"{show_change(interval.low)} to {show_change(interval.high)}"


def _show_p(p: float | None) -> str:
    if p is None:
        return NOTHING
    return f"< {SMALLEST_P}" if p < SMALLEST_P else f"{p:.3f}"


def _tell_verdict(change: Change, effect: float) -> str:
    each = change.comparison
    word = each.verdict.value
    if each.verdict is Verdict.EQUIVALENT:
        return f"{word} within {effect * 100:.3g}%"
    if each.verdict in (Verdict.SMALLER, Verdict.LARGER) and change.better is not Better.NEITHER:
        good = (each.verdict is Verdict.SMALLER) == (change.better is Better.LOWER)
        word = f"{word}, which is {'better' if good else 'worse'}"
    if each.needed is not None and each.ratio_ci is not None and "would tell" in each.reason:
        return f"{word}: about {each.needed:,} cycles would tell {effect * 100:.3g}%"
    return f"{word}: {each.reason}" if each.reason else word


def _align(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    kept = [
        column for column in range(len(HEAD)) if any(row[column] != NOTHING for row in rows[1:]) or column < 2
    ]
    widths = {column: max(len(row[column]) for row in rows) for column in kept}
    for row in rows:
        cells = (
            row[column].ljust(widths[column]) if column in WORDS else row[column].rjust(widths[column])
            for column in kept
        )
        yield GAP.join(cells).rstrip()


# --- gates --------------------------------------------------------------------------------------------------


def _tell_decision(decision: Decision) -> str:
    what = f"{decision.system}: {_name(decision.metric, decision.labels)}{_tell_figures(decision)}"
    reason = f": {decision.reason}" if decision.reason else ""
    return f"gate {decision.gate}: {decision.state.value}: {what}{reason}"


def _mark_decision(decision: Decision) -> Markdown:
    gate, system, name = (
        code(text, in_table=False)
        for text in (decision.gate, decision.system, _name(decision.metric, decision.labels))
    )
    reason = f": {escape(decision.reason)}" if decision.reason else ""
    state = decision.state.value
    return Markdown(f"gate {gate}: **{state}**: {system}: {name}{_tell_figures(decision)}{reason}")


def _tell_figures(decision: Decision) -> str:
    if decision.ratio is None:
        return ""
    shown = f" {_percent(decision.ratio)}"
    if decision.interval is None:
        return shown
    low, high = _percent(decision.interval.low), _percent(decision.interval.high)
    return f"{shown} ({low} to {high} at {decision.interval.confidence * 100:.4g}%)"


def _percent(ratio: float) -> str:
    """A change in percent with one decimal, or two digits where it is less than that."""
    percent = (ratio - 1) * 100
    return f"{percent:+.1f}%" if abs(percent) >= 0.1 or not percent else f"{percent:+.1g}%"
