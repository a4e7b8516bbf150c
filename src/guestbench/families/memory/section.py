"""Memory in the report: the least RAM with its evidence, and what host and guest see in use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from guestbench.analysis.summary import find_metric, find_summary
from guestbench.families.memory import LEAST, TOUCHED, TRIED, VMM, VMM_ABOVE_FLOOR, Settings
from guestbench.families.memory.findings import find_evidence, find_least
from guestbench.families.memory.plots import draw_least, draw_over_time, show_least
from guestbench.model import Header, Record, Summary, System, find_settings
from guestbench.page.blocks import (
    Block,
    Bullets,
    Cells,
    Code,
    Listing,
    Paragraph,
    Section,
    Table,
    Text,
)
from guestbench.page.command_line import split_options
from guestbench.page.figures import by_system
from guestbench.page.numbers import NOTHING, UNKNOWN, count_things, show_exact, show_kib

TOTAL, USED, AVAILABLE = "memory.guest_total", "memory.guest_used", "memory.guest_available"
FIELD, BALLOON = "memory.guest_meminfo", "memory.balloon"
READY, IDLE, LOAD = ({"state": state} for state in ("ready", "idle", "load"))
STATES = {"idle": "idle", "load": "under load"}
COLUMNS = (
    ("RAM touched, ready", TOUCHED, READY),
    ("RAM touched, idle", TOUCHED, IDLE),
    ("RAM touched, most under load", TOUCHED, LOAD),
    ("VMM's own, idle", VMM, IDLE),
    ("VMM's own, above the floor", VMM_ABOVE_FLOOR, IDLE),
    ("VMM's own, most under load", VMM, LOAD),
)
"""What the host sees of a system."""

Labels = Mapping[str, str]


def sections(header: Header, records: Sequence[Record], summaries: Sequence[Summary]) -> Iterator[Section]:
    """Memory with its parts, if any of it was measured."""
    parts = tuple(_find_parts(header, records, summaries))
    if parts:
        about = Paragraph(
            (
                "Sizes of memory are in powers of 1024: one MiB is 1,048,576 bytes.",
                'A cell without a value says why; "?" is not known, because the measurement failed.',
            )
        )
        yield Section(
            id="memory",
            title="Memory",
            blocks=(about,),
            parts=parts,
            metrics=(LEAST, TRIED, TOUCHED, VMM, VMM_ABOVE_FLOOR, TOTAL, USED, AVAILABLE, FIELD, BALLOON),
        )


def _settings(header: Header) -> Settings:
    return find_settings(header.experiment.settings, "memory", Settings)


def _find_parts(header: Header, records: Sequence[Record], summaries: Sequence[Summary]) -> Iterator[Section]:
    least = least_table(header, records)
    if least.rows:
        yield Section(
            id="least-ram-to-boot",
            title="Least RAM to boot",
            blocks=tuple(_describe_least(header, records, least)),
        )
    host = host_table(header, records, summaries)
    if host.rows:
        yield Section(
            id="ram-that-the-host-sees-in-use",
            title="RAM that the host sees in use",
            blocks=tuple(_describe_host(header, records, summaries, host)),
        )
        yield Section(
            id="both-views", title="Both views", blocks=tuple(_describe_views(header, records, summaries))
        )


# --- the least RAM ----------------------------------------------------------------------------------------


def _describe_least(header: Header, records: Sequence[Record], least: Table) -> Iterator[Block]:
    boots = count_things(_settings(header).boots, "boot")
    mixed = tuple(_find_mixed(header, records))
    yield draw_least(header, records)
    yield least
    yield Paragraph((find_metric(header, LEAST).help, f"A size counts as enough if each of {boots} passes."))
    if mixed:
        yield Paragraph(("Boots that passed with less:",))
        yield Bullets(mixed)
    yield Paragraph(("Every size tried:",))
    yield evidence_table(header, records)


def least_table(header: Header, records: Sequence[Record]) -> Table:
    """The least RAM of each system, how sure it is, and why less is not enough."""
    rows: list[Cells] = []
    for system in header.systems:
        least = find_least(header, records, system.name)
        if least is None:
            continue
        tried = {each.memory_mib: each for each in find_evidence(records, system.name)}
        here, under = tried.get(least.least_mib or 0), tried.get(least.below_mib)
        rows.append(
            (
                Code(system.name),
                show_least(least),
                f"{here.passed} of {here.boots}" if here else NOTHING,
                f"{under.memory_mib} MiB: {under.passed} of {under.boots}" if under else NOTHING,
                Code(under.reasons[0][0]) if under and under.reasons else NOTHING,
            )
        )
    head = ("System", "Least RAM", "Boots with it that got ready and stayed well")
    more = ("With the next smaller size", "Why that is not enough")
    return Table((*head, *more), tuple(rows), len(head) + len(more))


def _find_mixed(header: Header, records: Sequence[Record]) -> Iterator[Text]:
    """A sentence for each system that booted now and then with less than its least RAM."""
    for system in header.systems:
        least = find_least(header, records, system.name)
        if least is None or not least.mixed_mib:
            continue
        evidence = find_evidence(records, system.name)
        within = [e for e in evidence if least.mixed_mib[0] <= e.memory_mib <= least.mixed_mib[-1]]
        sizes = "–".join(dict.fromkeys(str(size) for size in (least.mixed_mib[0], least.mixed_mib[-1])))
        passed, boots = sum(e.passed for e in within), sum(e.boots for e in within)
        told = f"{sizes} MiB: {passed} of {boots} boots. Success is not certain, or not monotonic, there."
        yield Code(system.name), f": {told}"


def evidence_table(header: Header, records: Sequence[Record]) -> Table:
    """Every size tried: how many of its boots got ready and stayed well, and why the others did not."""
    rows: list[Cells] = []
    for system in header.systems:
        for tried in find_evidence(records, system.name):
            reasons = "; ".join(f"{count}× {reason}" for reason, count in tried.reasons)
            passed = f"{tried.passed} of {tried.boots}"
            shown = Code(reasons) if reasons else NOTHING
            rows.append((Code(system.name), f"{tried.memory_mib} MiB", passed, shown))
    return Table(("System", "Memory", "Got ready and stayed well", "The others"), tuple(rows), 4)


# --- what host and guest see ------------------------------------------------------------------------------


def _describe_host(
    header: Header, records: Sequence[Record], summaries: Sequence[Summary], host: Table
) -> Iterator[Block]:
    settle = f"{_settings(header).settle_s:g}"
    loads = [(s.name, s.load.help) for s in header.systems if s.load is not None and s.load.help]
    options = extra_options(records)
    yield draw_over_time(header, records)
    yield host
    yield Paragraph(
        (
            "Medians of the boots that count memory.",
            "RAM touched is guest RAM that was ever written or read by the guest, its firmware or its "
            "devices; it never shrinks.",
            "The VMM's own memory is all else that the process holds; what the floor takes too is the cost "
            "of QEMU itself.",
            f"A guest counts as idle {settle} s after it is ready, before anyone logs in.",
            ("The series over time of every boot are in ", Code("results.json"), "."),
        )
    )
    if loads:
        yield Paragraph(("Under load means:",))
        yield Bullets(tuple((Code(name), f": {load}") for name, load in loads))
    if options:
        yield Paragraph(("The boots that count memory have these options more than the others:",))
        yield Listing(options)
    yield Paragraph(("Exactly:",))
    yield exact_table(header, records, summaries)


def _describe_views(
    header: Header, records: Sequence[Record], summaries: Sequence[Summary]
) -> Iterator[Block]:
    yield views_table(header, records, summaries)
    yield Paragraph(
        (
            "The two views differ because they count different things.",
            "The host counts every page that was touched even once since power-on: what firmware, boot "
            "loader and kernel unpacked and have long given back, and what the guest keeps as cache.",
            "The guest counts what it would need now: it leaves out what it could free, and often the memory "
            "of its own kernel image; its total is less than the platform's memory by what firmware and "
            "kernel have reserved.",
            "The guest's view is read after a login on its console, which takes some memory itself.",
        )
    )
    for system in header.systems:
        found = (_find_idle_fields(r) for r in records if _counts(r, system))
        fields = next(filter(None, found), None)
        if fields:
            what = ("What ", Code("free -m"), " (procps 4) prints for the idle ", Code(system.name))
            yield Paragraph(((*what, ", worked out from its /proc/meminfo:"),))
            yield Listing(format_free(fields))
    yield _matrix(header, summaries, FIELD, "field", "Field of /proc/meminfo, idle, in KiB")
    yield _matrix(header, summaries, BALLOON, "stat", "Balloon statistic, idle, in KiB")


def host_table(header: Header, records: Sequence[Record], summaries: Sequence[Summary]) -> Table:
    """What the host sees of each system, in round units."""
    rows: list[Cells] = []
    for system in _find_counted(header, records):
        cells = [_show(records, summaries, system, metric, labels) for _, metric, labels in COLUMNS]
        found = [find_summary(summaries, system.name, metric, labels) for _, metric, labels in COLUMNS]
        n = max((summary.n for summary in found if summary), default=0)
        rows.append((Code(system.name), *cells, str(n)))
    return Table(("System", *(title for title, _, _ in COLUMNS), "Boots"), tuple(rows))


def exact_table(header: Header, records: Sequence[Record], summaries: Sequence[Summary]) -> Table:
    """What the host saw in every boot."""
    rows = tuple(
        (Code(system.name), title, " · ".join(show_exact(value) for value in summary.values))
        for system in _find_counted(header, records)
        for title, metric, labels in COLUMNS
        if (summary := find_summary(summaries, system.name, metric, labels))
    )
    return Table(("System", "What", "Every value, in KiB"), rows, 3)


def views_table(header: Header, records: Sequence[Record], summaries: Sequence[Summary]) -> Table:
    """The guest's own view beside the host's, idle and under load."""
    rows: tuple[Cells, ...] = tuple(
        (
            Code(system.name),
            name,
            *(
                _show(records, summaries, system, metric, {"state": state})
                for metric in (TOTAL, USED, AVAILABLE, TOUCHED)
            ),
        )
        for system in _find_counted(header, records)
        for state, name in STATES.items()
        if state != "load" or system.load is not None
    )
    head = ("System", "State", "Guest: total", "Guest: used", "Guest: available", "Host: RAM touched")
    return Table(head, rows, 2)


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


def _counts(record: Record, system: System) -> bool:
    """Whether this is a boot of the system that counts memory."""
    return record.trial.system == system.name and record.trial.purpose == "memory"


def _find_counted(header: Header, records: Sequence[Record]) -> list[System]:
    return [system for system in header.systems if any(_counts(record, system) for record in records)]


def _show(
    records: Sequence[Record], summaries: Sequence[Summary], system: System, metric: str, labels: Labels
) -> str:
    """A value, or why there is none."""
    summary = find_summary(summaries, system.name, metric, dict(labels))
    if summary is not None and summary.n:
        return show_kib(summary.median)
    gaps = (record.find_gap(metric, labels) for record in records if _counts(record, system))
    if gap := next(filter(None, gaps), ""):
        return f"n/a: {gap.removeprefix('not available: ')}"
    # Above the floor there is nothing where the floor, or this system itself, has no such state.
    return NOTHING if metric == VMM_ABOVE_FLOOR else UNKNOWN


def _matrix(header: Header, summaries: Sequence[Summary], metric: str, label: str, title: str) -> Table:
    """A row for each value of a label and a column for each system that has any."""
    found = {
        (summary.labels[label], summary.system): show_exact(summary.median)
        for summary in summaries
        if summary.metric == metric and summary.labels.items() >= IDLE.items()
    }
    names = [system.name for system in header.systems if any(name == system.name for _, name in found)]
    rows = dict.fromkeys(value for value, _ in found)
    return by_system(
        (title,),
        names,
        rows,
        lambda value: (Code(value),),
        lambda value, name: found.get((value, name), NOTHING),
    )


def _find_idle_fields(record: Record) -> dict[str, int]:
    """The fields of the /proc/meminfo of an idle guest, in KiB; empty if any that is needed is missing."""
    names = {TOTAL: "MemTotal", AVAILABLE: "MemAvailable"}
    fields = {
        names.get(sample.metric) or sample.labels.get("field", ""): int(sample.value)
        for sample in record.samples
        if sample.metric in (*names, FIELD) and sample.labels.items() >= IDLE.items()
    }
    return fields if {"MemTotal", "MemFree", "MemAvailable"} <= fields.keys() else {}
