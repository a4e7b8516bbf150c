"""The report's tables of memory; it looks numbers up in summaries and records and never calculates one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from guestbench.analysis.summary import find_summary
from guestbench.families.memory.findings import find_evidence, find_gap, find_least
from guestbench.families.memory.search import Minimum
from guestbench.model import (
    Header,
    Record,
    Summary,
    System,
)
from guestbench.page.escape import Markdown, code, escape
from guestbench.page.numbers import NOTHING, show_exact, show_kib
from guestbench.page.table import Table
from guestbench.report.results import UNKNOWN, list_systems
from guestbench.report.setting import split_options

TOUCHED, VMM, ABOVE = "memory.touched", "memory.vmm", "memory.vmm_above_floor"
TOTAL, USED, AVAILABLE = "memory.guest_total", "memory.guest_used", "memory.guest_available"
FIELD, BALLOON = "memory.guest_meminfo", "memory.balloon"
READY, IDLE, LOAD, LOAD_END = ({"state": state} for state in ("ready", "idle", "load", "load-end"))
STATES = {"idle": "idle", "load": "under load"}

Labels = Mapping[str, str]


def least_table(header: Header, records: Sequence[Record]) -> Table:
    """The least RAM of each system, how sure it is, and why less is not enough."""
    rows = []
    for system in list_systems(header):
        least = find_least(header, records, system.name)
        if least is None:
            continue
        tried = {each.memory_mib: each for each in find_evidence(records, system.name)}
        here, under = tried.get(least.least_mib or 0), tried.get(least.below_mib)
        rows.append(
            (
                code(system.name),
                show_least(least),
                f"{here.passed} of {here.boots}" if here else NOTHING,
                f"{under.memory_mib} MiB: {under.passed} of {under.boots}" if under else NOTHING,
                code(under.reasons[0][0]) if under and under.reasons else NOTHING,
            )
        )
    head = ("System", "Least RAM", "Boots with it that got ready and stayed well")
    more = ("With the next smaller size", "Why that is not enough")
    return Table(head=(*head, *more), rows=tuple(rows), words=len(head) + len(more))


def show_least(least: Minimum | None) -> str:
    """The least RAM in MiB, or what is known instead of it."""
    if least is None:
        return NOTHING
    if least.least_mib is None:
        return "none found" if least.finished else "search not ended"
    return f"{least.least_mib} MiB" + ("" if least.finished else " (search not ended)")


def mixed_sizes(header: Header, records: Sequence[Record]) -> tuple[Markdown, ...]:
    """A sentence for each system that booted now and then with less than its least RAM."""
    found = []
    for system in list_systems(header):
        least = find_least(header, records, system.name)
        if least is None or not least.mixed_mib:
            continue
        evidence = find_evidence(records, system.name)
        within = [e for e in evidence if least.mixed_mib[0] <= e.memory_mib <= least.mixed_mib[-1]]
        sizes = "–".join(dict.fromkeys(str(size) for size in (least.mixed_mib[0], least.mixed_mib[-1])))
        passed, boots = sum(e.passed for e in within), sum(e.boots for e in within)
        text = f"{sizes} MiB: {passed} of {boots} boots. Success is not certain, or not monotonic, there."
        found.append(Markdown(f"{code(system.name)}: {escape(text)}"))
    return tuple(found)


def evidence_table(header: Header, records: Sequence[Record]) -> Table:
    """Every size tried: how many of its boots got ready and stayed well, and why the others did not."""
    rows = []
    for system in list_systems(header):
        for tried in find_evidence(records, system.name):
            reasons = [f"{count}× {reason}" for reason, count in tried.reasons]
            rows.append(
                (
                    code(system.name),
                    f"{tried.memory_mib} MiB",
                    f"{tried.passed} of {tried.boots}",
                    code("; ".join(reasons)) if reasons else NOTHING,
                )
            )
    head = ("System", "Memory", "Got ready and stayed well", "The others")
    return Table(head=head, rows=tuple(rows), words=4)


def host_tables(
    header: Header, records: Sequence[Record], summaries: Sequence[Summary]
) -> tuple[Table, Table]:
    """What the host sees of each system: in round units, and exactly with every boot's value."""
    columns: tuple[tuple[str, str, Labels], ...] = (
        ("RAM touched, ready", TOUCHED, READY),
        ("RAM touched, idle", TOUCHED, IDLE),
        ("RAM touched, most under load", TOUCHED, LOAD),
        ("VMM's own, idle", VMM, IDLE),
        ("VMM's own, above the floor", ABOVE, IDLE),
        ("VMM's own, most under load", VMM, LOAD),
    )
    round_rows, exact_rows = [], []
    for system in list_systems(header):
        found = [find_summary(summaries, system.name, metric, dict(labels)) for _, metric, labels in columns]
        if not _was_counted(records, system):
            continue
        cells = [
            _cell(summary, records, system, metric, labels)
            for summary, (_, metric, labels) in zip(found, columns, strict=True)
        ]
        n = max((summary.n for summary in found if summary), default=0)
        round_rows.append((code(system.name), *cells, str(n)))
        exact_rows += [
            (code(system.name), title, " · ".join(show_exact(value) for value in summary.values))
            for summary, (title, _, _) in zip(found, columns, strict=True)
            if summary
        ]
    head = ("System", *(title for title, _, _ in columns), "Boots")
    exact = Table(head=("System", "What", "Every value, in KiB"), rows=tuple(exact_rows), words=3)
    return Table(head=head, rows=tuple(round_rows)), exact


def views_table(header: Header, records: Sequence[Record], summaries: Sequence[Summary]) -> Table:
    """The guest's own view beside the host's, idle and under load."""
    rows = []
    for system in list_systems(header):
        if not _was_counted(records, system):
            continue
        for state, name in STATES.items():
            if state == "load" and system.load is None:
                continue
            labels = {"state": state}
            cells = [
                _cell(find_summary(summaries, system.name, metric, labels), records, system, metric, labels)
                for metric in (TOTAL, USED, AVAILABLE)
            ]
            touched = find_summary(summaries, system.name, TOUCHED, labels)
            host = _cell(touched, records, system, TOUCHED, labels)
            rows.append((code(system.name), name, *cells, host))
    head = ("System", "State", "Guest: total", "Guest: used", "Guest: available", "Host: RAM touched")
    return Table(head=head, rows=tuple(rows), words=2)


def fields_table(header: Header, summaries: Sequence[Summary]) -> Table:
    """Fields of /proc/meminfo, one row each and one column a system that has any; idle."""
    return _matrix(header, summaries, FIELD, "field", "Field of /proc/meminfo, idle")


def balloon_table(header: Header, summaries: Sequence[Summary]) -> Table:
    """What balloon drivers say, one row a statistic and one column a system that has any; idle."""
    return _matrix(header, summaries, BALLOON, "stat", "Balloon statistic, idle")


def free_texts(header: Header, records: Sequence[Record]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """For each system that has a /proc/meminfo: what `free -m` prints of that of its first boot, idle."""
    found = []
    for system in list_systems(header):
        for record in records:
            if record.trial.system == system.name and record.trial.purpose == "memory":
                fields = _idle_fields(record)
                if fields:
                    found.append((system.name, format_free(fields)))
                    break
    return tuple(found)


def format_free(fields: Mapping[str, int]) -> tuple[str, ...]:
    """The lines of `free -m` (procps 4) for a /proc/meminfo in KiB: MiB are cut off, not rounded."""
    swap_used = fields.get("SwapTotal", 0) - fields.get("SwapFree", 0)
    cache = sum(fields.get(name, 0) for name in ("Buffers", "Cached", "SReclaimable"))
    memory = (
        *(fields["MemTotal"], fields["MemTotal"] - fields["MemAvailable"], fields["MemFree"]),
        *(fields.get("Shmem", 0), cache, fields["MemAvailable"]),
    )
    swap = (fields.get("SwapTotal", 0), swap_used, fields.get("SwapFree", 0))
    titles = ("total", "used", "free", "shared", "buff/cache", "available")
    rows = (("", titles), ("Mem:", memory), ("Swap:", swap))
    return tuple(
        f"{name:9}" + " ".join(f"{each if isinstance(each, str) else each // 1024:>11}" for each in cells)
        for name, cells in rows
    )


def extra_options(records: Sequence[Record]) -> tuple[str, ...]:
    """What the command line of a boot that counts memory has beyond those of all other boots."""
    counted = [r for r in records if r.argv and r.trial.purpose == "memory"]
    others = {o for r in records if r.trial.purpose != "memory" for o in split_options(r.argv)}
    known = [option for option in split_options(counted[0].argv) if option not in others] if counted else []
    # File descriptors are numbered as they come, and each boot of the search has another -m.
    return tuple(o for o in known if "fd=" not in o and not o.startswith(("-mon ", "-m ")))


def loads(header: Header) -> tuple[tuple[str, str], ...]:
    """Name and load of each system that has one."""
    return tuple((s.name, s.load.help) for s in list_systems(header) if s.load is not None and s.load.help)


def _was_counted(records: Sequence[Record], system: System) -> bool:
    return any(r.trial.system == system.name and r.trial.purpose == "memory" for r in records)


def _cell(
    summary: Summary | None, records: Sequence[Record], system: System, metric: str, labels: Labels
) -> str:
    """A value, or why there is none."""
    if summary is not None and summary.n:
        return show_kib(summary.median)
    gap = find_gap(records, system.name, metric, labels)
    if gap is not None:
        return f"n/a: {gap.reason.removeprefix('not available: ')}"
    # Above the floor there is nothing where the floor, or this system itself, has no such state.
    return NOTHING if metric == ABOVE else UNKNOWN


def _matrix(header: Header, summaries: Sequence[Summary], metric: str, label: str, title: str) -> Table:
    found = [s for s in summaries if s.metric == metric and s.labels.get("state") == IDLE["state"]]
    names = [s.name for s in list_systems(header) if any(f.system == s.name for f in found)]
    rows = []
    for value in dict.fromkeys(summary.labels[label] for summary in found):
        cells = []
        for name in names:
            labels = {label: value, **IDLE}
            summary = next((f for f in found if f.system == name and f.labels == labels), None)
            cells.append(show_exact(summary.median) if summary else NOTHING)
        rows.append((code(value), *cells))
    return Table(head=(f"{title}, in KiB", *(code(name) for name in names)), rows=tuple(rows))


def _idle_fields(record: Record) -> dict[str, int]:
    """The fields of the /proc/meminfo of an idle guest, in KiB; empty if any that is needed is missing."""
    names = {TOTAL: "MemTotal", AVAILABLE: "MemAvailable"}
    fields = {
        names.get(sample.metric) or sample.labels.get("field", ""): int(sample.value)
        for sample in record.samples
        if sample.metric in (*names, FIELD) and sample.labels.get("state") == IDLE["state"]
    }
    return fields if {"MemTotal", "MemFree", "MemAvailable"} <= fields.keys() else {}
