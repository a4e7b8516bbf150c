"""What the page begins with: how the systems compare, and what must be known before believing it."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence

from guestbench.analysis.compare import shorten
from guestbench.analysis.findings import Findings
from guestbench.analysis.quality import Failed, find_failures, find_notices
from guestbench.analysis.summary import CONFIDENCE
from guestbench.families import ask, list_purposes
from guestbench.model import GuestFamily, KnownRatio, Record, Verdict
from guestbench.page.blocks import (
    Block,
    Bullets,
    Cells,
    Code,
    Column,
    Details,
    Item,
    Paragraph,
    Table,
    Text,
    join,
    read_words,
)
from guestbench.page.figures import show_amount, show_interval, show_near_one, show_outcome
from guestbench.page.numbers import NOTHING, count_things, show_seconds, show_share
from guestbench.report.budget import describe_dropped
from guestbench.report.comparison import draw_ratios, is_of_run
from guestbench.report.families import find_columns
from guestbench.report.front import (
    find_front_comparisons,
    find_front_metrics,
    tabulate_front,
    tell_best,
    tell_marks,
)
from guestbench.report.partial import describe_partial, summarise_to_come
from guestbench.report.stopping import tell_end

tell = read_words(__file__)


def open_page(found: Findings, *, running: bool = False) -> Iterator[Block]:
    """The blocks before the first section: what was found, then what weakens it."""
    header = found.header
    yield from describe_partial(found, running=running)
    host, systems = header.host, ((Code(system.name), f" ({system.title})") for system in header.systems)
    were = "were measured side by side" if len(header.guests) > 1 else "was measured"
    machine = f"{host.cpu_model}, {host.cpus} logical CPUs, {header.vmm} {host.vmm_version}, accelerator "
    about: tuple[Text, ...] = (
        (*join(systems, last=" and "), f" {were} on one host:"),
        (machine, Code(header.accel.used.value), "."),
        *ask("section", "opening", found),
        *tell_end(found),
    )
    emulated = tell("emulated").lines if header.is_emulated else ()
    yield Paragraph(about)
    # Without a baseline nothing is compared: then how far the systems lie apart is what can be said.
    yield Bullets(tuple(tell_best(found) if found.comparisons else _tell_spans(found)))
    yield Bullets(tuple((Code(each.system), f": {each.reason}") for each in header.absent), "Left out:")
    yield from describe_dropped(found)
    notices = *find_notices(header, found.records), *_tell_unsound(found)
    yield Bullets(notices, "About this run:")
    yield tabulate_front(found)
    yield Paragraph((*_tell_claims(found), *_tell_open(found), *tell_resolved(found), *emulated))
    if found.comparisons:
        baseline, confidence = Code(header.experiment.baseline), f"{CONFIDENCE:.0%}"
        marks = ("Against ", baseline, f": {tell_marks(found)}.")
        yield Paragraph((marks, *tell("front", confidence=confidence).lines))
    yield Bullets(
        tuple(_describe_failure(*each) for each in find_failures(header, found.records).items()),
        "Failed trials:",
    )
    yield Bullets(tuple(_find_warnings(found)), "Read with care:")
    if comparisons := find_front_comparisons(found):
        yield draw_ratios(found, comparisons)
    columns = [f"{each.headline or each.title}: {each.help}" for each in find_front_metrics(found)]
    meant = Bullets((*columns, '"–" means that there is no such value.') if columns else ())
    meanwhile = Paragraph(tuple(_tell_disturbance(found.records)))
    yield Details("What the figures are, and what else the host did meanwhile", (meant, meanwhile))


def summarise_run(found: Findings, lines: Sequence[tuple[str, str]]) -> Iterator[Block]:
    """What a terminal shows at the end of a run: the headline, lines of the families, and what went wrong."""
    columns = find_columns(found)
    yield _tabulate(found, columns, ("system", *(_begin_small(column.title) for column in columns)))
    yield Paragraph(() if found.names else ("systems: none",))
    yield Bullets(tuple(f"{title}: {told}" for title, told in lines))
    yield Bullets(tuple(summarise_to_come(found)))
    yield Bullets((*tell_resolved(found), *_tell_disturbance(found.records), *_tell_unsound(found)))
    failed = map(tell_failed, find_failures(found.header, found.records))
    left_out = (f"left out: {each.system}: {each.reason}" for each in found.header.absent)
    yield Bullets((*failed, *left_out))


def _tabulate(found: Findings, columns: Sequence[Column], head: Cells) -> Table:
    """The headline, one row a system, without columns that are empty; nothing if all are."""
    rows: tuple[Cells, ...] = tuple(
        (Code(name), *(column.cells.get(name, NOTHING) for column in columns)) for name in found.names
    )
    table = Table(head, rows).without_empty_columns()
    return table if len(table.head) > 1 else Table(head, ())


def _begin_small(title: str) -> str:
    # Unless the first word is an abbreviation.
    return title if title[:2].isupper() else f"{title[:1].lower()}{title[1:]}"


def _tell_spans(found: Findings) -> Iterator[Text]:
    """How far the systems lie apart, floors left out; for two systems or more.

    What trials are made for comes first.
    """
    main = {purpose.main for purpose in list_purposes(found.header)}
    floors = {each.name for each in found.header.systems if each.family is GuestFamily.FLOOR}
    for metric in sorted(found.header.metrics, key=lambda metric: metric.name not in main):
        summaries = found.find_all(metric.name, metric.shown_labels) if metric.span else ()
        medians = {each.system: each.median for each in summaries if each.median is not None}
        have = {name: median for name, median in medians.items() if name not in floors}
        if len(have) > 1:
            low, high = min(have, key=have.__getitem__), max(have, key=have.__getitem__)
            if low != high:
                least, most = (show_amount(have[name], metric.unit) for name in (low, high))
                yield f"The {metric.span} goes from {least} (", Code(low), f") to {most} (", Code(high), ")."


def tell_resolved(found: Findings) -> Iterator[Text]:
    """What this host tells apart in as many blocks, by the guests that were measured twice in each.

    Only of a run that has blocks; of one without such guests that it is not known.
    """
    twins = [each for each in found.known_ratios if each.is_same]
    if not twins and not found.to_come and any(record.trial.block for record in found.records):
        yield from tell("unresolved").lines
    for each in twins:
        yield from tell("twins", **_fill(each), blocks=count_things(each.n, "block")).lines
        for told in each.told[:1]:
            effect, blocks = show_share(told.effect), count_things(told.blocks, "block")
            yield from tell("resolved", effect=effect, blocks=blocks).lines


def _tell_unsound(found: Findings) -> Iterator[Text]:
    """A warning for each pair whose known ratio is not in its interval."""
    for each in found.known_ratios:
        if not each.holds:
            yield from tell("unsound", **_fill(each), expected=show_near_one(each.expected)).lines


def _fill(each: KnownRatio) -> dict[str, str]:
    interval = each.interval
    shown = (
        f"interval {show_interval(interval, show_near_one)}" if interval else "too few blocks for an interval"
    )
    return {"system": each.system, "ratio": show_near_one(each.ratio), "interval": shown}


def _tell_disturbance(records: Sequence[Record]) -> Iterator[Text]:
    """What else the host did in the trials that were made in blocks."""
    seen = [record.conditions for record in records if record.trial.block]
    if not seen:
        return
    others = [each.cpu_others for each in seen]
    steal = show_share(max(each.cpu_steal for each in seen))
    yield from tell("disturbance", **_fill_shares("others", others), steal=steal).lines
    waits = [each.pressure["cpu"] for each in seen if "cpu" in each.pressure]
    yield from (tell("pressure", **_fill_shares("pressure", waits)) if waits else tell("no-pressure")).lines


def _fill_shares(name: str, shares: Sequence[float]) -> dict[str, str]:
    return {name: show_share(statistics.median(shares)), "most": show_share(max(shares))}


def _tell_claims(found: Findings) -> Iterator[Text]:
    """How many claims about systems of this run held, and how many there are about others."""
    mine = [each for each in found.judgements if is_of_run(found, each)]
    counted = Counter(each.ruling.value for each in mine)
    if mine:
        told = ", ".join(f"{count} {ruling}" for ruling, count in counted.items())
        yield f"Of {count_things(len(mine), 'expectation')} written down before measuring: {told}."


def _tell_open(found: Findings) -> Iterator[Text]:
    """How many comparisons decide nothing, each reason once."""
    undecided = [each for each in found.comparisons if each.verdict is Verdict.INCONCLUSIVE]
    if undecided:
        reasons = Counter(shorten(each.reason) or "the interval allows for equality" for each in undecided)
        told = "; ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
        share = f"{len(undecided)} of {count_things(len(found.comparisons), 'comparison')}"
        yield f"What this run cannot say: {share} decide nothing: {told}."


def _find_warnings(found: Findings) -> Iterator[Text]:
    """Warnings of the figures that the first table shows: each kind once, with what to do."""
    groups: dict[tuple[str, str], dict[str, list[str]]] = {}
    for metric in find_front_metrics(found):
        for summary in found.find_all(metric.name, metric.shown_labels):
            for warning in summary.warnings:
                kind, _, rest = warning.partition(": ")
                detail, _, advice = rest.rpartition("; ")
                if not detail and rest:
                    detail, advice = rest, ""
                details = groups.setdefault((kind, advice), {}).setdefault(summary.system, [])
                if detail not in details:
                    details.append(detail)
    for (kind, advice), systems in groups.items():
        whose = (
            (Code(name), f" ({'; '.join(filter(None, details))})") if any(details) else Code(name)
            for name, details in systems.items()
        )
        yield (kind, f" ({advice})" if advice else "", ": ", *join(whose))


def tell_failed(failed: Failed) -> str:
    """Who failed how often and why, in a line."""
    how = f"{failed.n} of {failed.of} {failed.purpose} trials {show_outcome(failed.outcome)}"
    return ": ".join((*filter(None, ("failed", failed.run, failed.system)), how, failed.outcome.reason))


def _describe_failure(failed: Failed, record: Record) -> Item:
    """Who failed how often and why, how far the first got, and where its output is."""
    kind, outcome = failed.purpose.replace("-", " "), show_outcome(failed.outcome)
    lines: list[Text] = [
        (Code(failed.system), f": {failed.n} of {failed.of} {kind} trials {outcome}."),
        ("The reason: ", Code(failed.outcome.reason)),
    ]
    if record.marks:
        last = max(record.marks, key=lambda mark: mark.t_ns)
        got = "The first of them got as far as the milestone "
        lines.append((got, Code(last.name), f", after {show_seconds(last.t_ns / 1e9)}."))
    if record.artifacts:
        paths = join((Code(path) for _, path in sorted(record.artifacts.items())), last=" and ")
        lines.append(("What it printed: ", *paths, "."))
    return Paragraph(tuple(lines))
