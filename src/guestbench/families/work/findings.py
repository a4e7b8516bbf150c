"""Describes the work that guests did, and whether it was the same; it compares no speeds.

A row is one piece of work. It counts as the same if every system says that it was done by a program of the
same sources, with the same parameters, in the same amount and with the same digest of the result; whatever is
missing or differs is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from guestbench.analysis.summary import find_summary
from guestbench.families.work import COUNTERPARTS, TIME, WORK
from guestbench.model import (
    BootWork,
    Frozen,
    Guest,
    Header,
    ImageWork,
    Key,
    KitWork,
    Record,
    Summary,
    System,
    WorkReport,
    to_key,
)

DIGITS = 16
"""Of a digest, as many as are shown: enough to tell files apart."""


class WorkCell(Frozen):
    """What one system did of a row: a Summary of its rate, or the reason why there is none."""

    rate: Summary | None = None
    host_s: float | None = None
    guest_s: float | None = None
    reason: str = ""


class WorkRow(Frozen):
    """One piece of work: `labels` tell the parts of a workload apart; `cells` has every system of the run.

    `same` says in words what proves that it was the same work everywhere; `differs` has what speaks
    against it, by system. Both are empty where fewer than two systems did it.
    """

    work: KitWork
    labels: dict[str, str]
    cells: dict[str, WorkCell]
    same: str = ""
    differs: dict[str, str] = {}


def find_work(header: Header, records: Sequence[Record], summaries: Sequence[Summary]) -> tuple[WorkRow, ...]:
    """All rows of the run's workloads, in the order of the kit and of their parts."""
    if header.kit is None or "work" not in header.experiment.metrics:
        return ()
    done = [record for record in records if record.trial.purpose == WORK]
    rows: list[WorkRow] = []
    for work in header.kit.works:
        for labels in _find_parts(work, done):
            cells = {
                guest.system.name: _find_cell(guest.system, work, labels, done, summaries)
                for guest in header.guests
            }
            files = {guest.system.name: _find_program(guest, work) for guest in header.guests}
            same, differs = judge_equality(work, labels, done, files)
            rows.append(WorkRow(work=work, labels=labels, cells=cells, same=same, differs=differs))
    return tuple(rows)


def _find_parts(work: KitWork, records: Sequence[Record]) -> list[dict[str, str]]:
    """The labels of every part of a workload, first those that the host's own run had."""
    reports = [*work.expected, *(report for record in records for report in record.work)]
    mine = [report for report in reports if report.workload == work.workload.name]
    found = dict.fromkeys(tuple(_labels(work, report).items()) for report in mine)
    return [dict(labels) for labels in found] or [{}]


def _labels(work: KitWork, report: WorkReport) -> dict[str, str]:
    return {name: report.parameters.get(name, "") for name in work.workload.labels}


def _find_cell(
    system: System,
    work: KitWork,
    labels: Mapping[str, str],
    records: Sequence[Record],
    summaries: Sequence[Summary],
) -> WorkCell:
    workload = work.workload
    rate = find_summary(summaries, system.name, workload.metric, dict(labels))
    mine = {"workload": workload.name, **labels}
    host = find_summary(summaries, system.name, TIME, {**mine, "clock": "host"})
    guest = find_summary(summaries, system.name, TIME, {**mine, "clock": "guest"})
    if rate is None and host is None:
        return WorkCell(reason=_explain(system, work, records))
    return WorkCell(
        rate=rate,
        host_s=host.median if host else None,
        guest_s=guest.median if guest else None,
        reason="" if rate else _explain_amount(system, work, records),
    )


def _explain_amount(system: System, work: KitWork, records: Sequence[Record]) -> str:
    """Why nobody knows how much was done of work that began and ended."""
    told = (
        report.unread
        for record in records
        for report in record.work
        if record.trial.system == system.name and report.workload == work.workload.name and report.unread
    )
    word = next(told, "")
    says = f"says {word!r}, which is no number" if word else "does not say how much was done"
    return f"it began and ended, but its console {says}"


def _explain(system: System, work: KitWork, records: Sequence[Record]) -> str:
    """Why a system has no value of a workload."""
    workload = work.workload
    if not system.does(workload.name):
        return "its definition does not list this work"
    mine = [r for r in records if r.trial.system == system.name and r.trial.workload in ("", workload.name)]
    failed = [record.outcome.reason for record in mine if not record.holds]
    if failed:
        return f"failed: {failed[0]}"
    gap = next(filter(None, (record.find_gap(workload.metric) for record in mine)), "")
    return gap or (work.missing if not mine else "") or "not measured"


# --- was it the same? -------------------------------------------------------------------------------------


def _find_program(guest: Guest, work: KitWork) -> str:
    """The SHA-256 of the program file that a guest runs for a workload; empty if that is not known."""
    program, way = work.program, guest.system.work
    if program is None or way is None or isinstance(way, ImageWork):
        return ""
    if isinstance(way, BootWork) and not way.initrd:
        return guest.programs.get(work.workload.program, "")
    return program.sha256


def judge_equality(
    work: KitWork, labels: Mapping[str, str], records: Sequence[Record], systems: Mapping[str, str]
) -> tuple[str, dict[str, str]]:
    """What proves that the systems did the same work, and what speaks against it, by system.

    `systems` has the SHA-256 of each one's program, empty where it is not known. They are held against the
    run of the same program on the host, or without one against the first system.
    """
    finished: dict[str, list[WorkReport]] = {}
    for record in records:
        for report in record.work:
            mine = report.workload == work.workload.name and _labels(work, report) == dict(labels)
            if mine and report.end_ns is not None and record.trial.system in systems:
                finished.setdefault(record.trial.system, []).append(report)
    names = [name for name in systems if name in finished]
    if len(names) < 2:
        return "", {}
    known = [report for report in work.expected if _labels(work, report) == dict(labels)]
    standard = known[0] if known else finished[names[0]][0]
    differs = {
        name: difference
        for name in names
        if (difference := next(filter(None, (_difference(r, standard) for r in finished[name])), ""))
    }
    if differs:
        return "", differs
    makers: dict[str, list[str]] = {}
    for name in names:
        made = finished[name][0]
        makers.setdefault(f"{made.compiler} {made.flags.replace(',', ' ')}", []).append(name)
    digests = {systems[name] for name in names}
    if len(digests) == 1 and "" not in digests:
        return f"the same program file (SHA-256 {digests.pop()[:DIGITS]}…); same result", {}
    if len(makers) == 1:
        return "same sources, compiler and flags; same result", {}
    told = "; ".join(f"{maker} on {', '.join(theirs)}" for maker, theirs in makers.items())
    return f"same sources, same result; built by different compilers: {told}", {}


def _difference(report: WorkReport, standard: WorkReport) -> str:
    """How a piece of work differs from what it is held against; empty if in nothing that matters."""
    if not report.parameters and not report.digest:
        return "its image prints neither what it does nor a digest of the result"
    for name, mine, theirs in _find_unlike_parameters(report, standard):
        return f"{name} was {mine} rather than {theirs}"
    if report.source != standard.source:
        return "its program was built from other sources"
    if report.done != standard.done:
        return f"it did {report.done} rather than {standard.done}"
    if report.digest != standard.digest:
        return "its result has another digest"
    return ""


def _find_unlike_parameters(one: WorkReport, other: WorkReport) -> Iterator[tuple[str, str, str]]:
    for name in sorted(one.parameters.keys() | other.parameters.keys()):
        values = one.parameters.get(name, "none"), other.parameters.get(name, "none")
        if values[0] != values[1]:
            yield name, *values


def unlike(header: Header, records: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Metric and system of all work that cannot be shown to be what the others did."""
    for row in find_work(header, records, ()):
        yield from ((row.work.workload.metric, name) for name in row.differs)


# --- was it the same in two runs? -------------------------------------------------------------------------


def changed(
    old: tuple[Header, Sequence[Record]], new: tuple[Header, Sequence[Record]]
) -> Iterator[tuple[tuple[str, Key], str]]:
    """By system, metric and labels: in what the work that was done differs between the runs.

    The sources may differ, for a faster program is a change to be measured. What was asked for, how much was
    done and what came out may not. Work of which a guest tells none of this is taken to be the same.
    """
    before, after = (dict(_find_done(*run)) for run in (old, new))
    for key, done in after.items():
        if differs := _tell_change(before.get(key, done), done):
            yield key, f"the runs did other work: {differs}"


def _find_done(header: Header, records: Iterable[Record]) -> Iterator[tuple[tuple[str, Key], WorkReport]]:
    """The last of each piece of work that each system finished and told of."""
    works = {work.workload.name: work for work in (header.kit.works if header.kit else ())}
    for record in records:
        for report in record.work if record.trial.purpose == WORK and record.holds else ():
            work = works.get(report.workload)
            if work and report.end_ns is not None and (report.parameters or report.digest):
                key = to_key(work.workload.metric, _labels(work, report))
                yield (record.trial.system, key), report


def _tell_change(old: WorkReport, new: WorkReport) -> str:
    for name, before, after in _find_unlike_parameters(old, new):
        return f"{name} was {before} and is {after}"
    if old.done != new.done:
        return f"{old.done} was done and now {new.done}"
    return "the result has another digest" if old.digest != new.digest else ""


# --- known tools ------------------------------------------------------------------------------------------


class Check(Frozen):
    """A known tool's figure on one system, and that of our own work which does the same, if it was done.

    `ratio` is the median of ours over the median of the tool's.
    """

    system: str
    theirs: Summary
    ours: Summary | None
    ratio: float | None


def find_checks(header: Header, summaries: Sequence[Summary]) -> tuple[Check, ...]:
    """All cross-checks that have a figure, by system."""
    found = []
    for summary in summaries:
        if not summary.n or summary.metric not in COUNTERPARTS:
            continue
        counterpart = COUNTERPARTS[summary.metric]
        ours = find_summary(summaries, summary.system, *counterpart) if counterpart else None
        ratio = ours.median / summary.median if ours and ours.median and summary.median else None
        found.append(Check(system=summary.system, theirs=summary, ours=ours, ratio=ratio))
    return tuple(found)
