"""Memory in the report: the least RAM with its evidence, and what host and guest see in use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from guestbench.analysis.findings import Findings
from guestbench.families.memory import (
    IDLE,
    LEAST,
    LOAD,
    MEMORY,
    TOUCHED,
    TRIED,
    VMM,
    VMM_ABOVE_FLOOR,
    Settings,
)
from guestbench.families.memory.findings import find_evidence, find_least
from guestbench.families.memory.plots import draw_least, draw_over_time, show_least
from guestbench.model import LabelSet, Record, System, find_settings
from guestbench.page.blocks import Block, Bullets, Cells, Code, Listing, Paragraph, Section, Table, Text, say
from guestbench.page.command_line import split_options
from guestbench.page.figures import by_system
from guestbench.page.numbers import NOTHING, UNKNOWN, count_things, show_exact, show_kib

TOTAL, USED, AVAILABLE = "memory.guest_total", "memory.guest_used", "memory.guest_available"
FIELD, BALLOON = "memory.guest_meminfo", "memory.balloon"
READY = (("state", "ready"),)
STATES = {"idle": IDLE, "under load": LOAD}
COLUMNS = (
    ("RAM touched, ready", TOUCHED, READY),
    ("RAM touched, idle", TOUCHED, IDLE),
    ("RAM touched, most under load", TOUCHED, LOAD),
    ("VMM's own, idle", VMM, IDLE),
    ("VMM's own, above the floor", VMM_ABOVE_FLOOR, IDLE),
    ("VMM's own, most under load", VMM, LOAD),
)
"""What the host sees of a system."""


def sections(found: Findings) -> Iterator[Section]:
    """Memory with its parts, if any of it was measured."""
    parts = tuple(_find_parts(found))
    if parts:
        about = say("""
            Sizes of memory are in powers of 1024: one MiB is 1,048,576 bytes.
            A cell without a value says why; "?" is not known, because the measurement failed.
        """)
        host = (LEAST, TRIED, TOUCHED, VMM, VMM_ABOVE_FLOOR)
        yield Section("memory", "Memory", (about,), parts, (*host, TOTAL, USED, AVAILABLE, FIELD, BALLOON))


def _find_parts(found: Findings) -> Iterator[Section]:
    least = tuple(_describe_least(found))
    if least:
        yield Section("least-ram-to-boot", "Least RAM to boot", least)
    trials = found.find_trials((MEMORY,))
    systems = [each for each in found.header.systems if any(r.trial.system == each.name for r in trials)]
    if systems:
        title = "RAM that the host sees in use"
        yield Section("ram-that-the-host-sees-in-use", title, tuple(_describe_host(found, systems)))
        yield Section("both-views", "Both views", tuple(_describe_views(found, systems)))


# --- the least RAM ----------------------------------------------------------------------------------------


def _describe_least(found: Findings) -> Iterator[Block]:
    table = least_table(found)
    if not table.rows:
        return
    boots = count_things(_settings(found).boots, "boot")
    mixed = tuple(_find_mixed(found))
    yield draw_least(found)
    yield table
    yield Paragraph((found.metric(LEAST).help, f"A size counts as enough if each of {boots} passes."))
    if mixed:
        yield say("Boots that passed with less:")
        yield Bullets(mixed)
    yield say("Every size tried:")
    yield evidence_table(found)


def _settings(found: Findings) -> Settings:
    return find_settings(found.header.experiment.settings, MEMORY, Settings)


def least_table(found: Findings) -> Table:
    """The least RAM of each system, how sure it is, and why less is not enough."""
    rows: list[Cells] = []
    for name in found.names:
        least = find_least(found.header, found.records, name)
        if least is None:
            continue
        tried = {each.memory_mib: each for each in find_evidence(found.records, name)}
        here, under = tried.get(least.least_mib or 0), tried.get(least.below_mib)
        rows.append(
            (
                Code(name),
                show_least(least),
                f"{here.passed} of {here.boots}" if here else NOTHING,
                f"{under.memory_mib} MiB: {under.passed} of {under.boots}" if under else NOTHING,
                Code(under.reasons[0][0]) if under and under.reasons else NOTHING,
            )
        )
    head = ("System", "Least RAM", "Boots with it that got ready and stayed well")
    more = ("With the next smaller size", "Why that is not enough")
    return Table((*head, *more), tuple(rows), len(head) + len(more))


def _find_mixed(found: Findings) -> Iterator[Text]:
    """A sentence for each system that booted now and then with less than its least RAM."""
    for name in found.names:
        least = find_least(found.header, found.records, name)
        if least is None or not least.mixed_mib:
            continue
        low, high = least.mixed_mib[0], least.mixed_mib[-1]
        within = [each for each in find_evidence(found.records, name) if low <= each.memory_mib <= high]
        sizes = "–".join(dict.fromkeys(map(str, (low, high))))
        passed, boots = sum(each.passed for each in within), sum(each.boots for each in within)
        told = f"{sizes} MiB: {passed} of {boots} boots. Success is not certain, or not monotonic, there."
        yield Code(name), f": {told}"


def evidence_table(found: Findings) -> Table:
    """Every size tried: how many of its boots got ready and stayed well, and why the others did not."""
    rows: list[Cells] = []
    for name in found.names:
        for tried in find_evidence(found.records, name):
            reasons = "; ".join(f"{count}× {reason}" for reason, count in tried.reasons)
            passed = f"{tried.passed} of {tried.boots}"
            shown = Code(reasons) if reasons else NOTHING
            rows.append((Code(name), f"{tried.memory_mib} MiB", passed, shown))
    return Table(("System", "Memory", "Got ready and stayed well", "The others"), tuple(rows), 4)


# --- what host and guest see ------------------------------------------------------------------------------


def _describe_host(found: Findings, systems: list[System]) -> Iterator[Block]:
    loads = ((s.name, s.load.help) for s in found.header.systems if s.load is not None and s.load.help)
    items = tuple((Code(name), f": {load}") for name, load in loads)
    options = extra_options(found.records)
    yield draw_over_time(found)
    yield host_table(found, systems)
    yield say(f"""
        Medians of the boots that count memory.
        RAM touched is guest RAM that was ever written or read by the guest, its firmware or its devices; it
          never shrinks.
        The VMM's own memory is all else that the process holds; what the floor takes too is the cost of
          {found.header.vmm} itself.
        A guest counts as idle {_settings(found).settle_s:g} s after it is ready, before anyone logs in.
        The series over time of every boot are in `results.json`.
    """)
    if items:
        yield say("Under load means:")
        yield Bullets(items)
    if options:
        yield say("The boots that count memory have these options more than the others:")
        yield Listing(options)
    exact = tuple(
        (Code(system.name), title, " · ".join(show_exact(value) for value in summary.values))
        for system in systems
        for title, metric, labels in COLUMNS
        if (summary := found.find(system.name, metric, labels))
    )
    yield say("Exactly:")
    yield Table(("System", "What", "Every value, in KiB"), exact, 3)


def host_table(found: Findings, systems: list[System]) -> Table:
    """What the host sees of each system, in round units, and of how many boots."""
    rows: list[Cells] = []
    for system in systems:
        cells = [_show(found, system, metric, labels) for _, metric, labels in COLUMNS]
        summaries = [found.find(system.name, metric, labels) for _, metric, labels in COLUMNS]
        n = max((summary.n for summary in summaries if summary), default=0)
        rows.append((Code(system.name), *cells, str(n)))
    return Table(("System", *(title for title, _, _ in COLUMNS), "Boots"), tuple(rows))


def _describe_views(found: Findings, systems: list[System]) -> Iterator[Block]:
    """The guest's own view beside the host's, idle and under load."""
    rows: tuple[Cells, ...] = tuple(
        (
            Code(system.name),
            state,
            *(_show(found, system, metric, labels) for metric in (TOTAL, USED, AVAILABLE, TOUCHED)),
        )
        for system in systems
        for state, labels in STATES.items()
        if labels != LOAD or system.load is not None
    )
    head = ("System", "State", "Guest: total", "Guest: used", "Guest: available", "Host: RAM touched")
    yield Table(head, rows, 2)
    yield say("""
        The two views differ because they count different things.
        The host counts every page that was touched even once since power-on: what firmware, boot loader and
          kernel unpacked and have long given back, and what the guest keeps as cache.
        The guest counts what it would need now: it leaves out what it could free, and often the memory of its
          own kernel image; its total is less than the platform's memory by what firmware and kernel have
          reserved.
        The guest's view is read after a login on its console, which takes some memory itself.
    """)
    for system in systems:
        trials = found.find_trials((MEMORY,), system.name)
        fields = next(filter(None, map(_find_idle_fields, trials)), None)
        if fields:
            what = ("What ", Code("free -m"), " (procps 4) prints for the idle ", Code(system.name))
            yield Paragraph(((*what, ", worked out from its /proc/meminfo:"),))
            yield Listing(format_free(fields))
    yield _tabulate(found, FIELD, "field", "Field of /proc/meminfo, idle, in KiB")
    yield _tabulate(found, BALLOON, "stat", "Balloon statistic, idle, in KiB")


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


def extra_options(records: tuple[Record, ...]) -> tuple[str, ...]:
    """What the command line of a boot that counts memory has beyond those of all other boots."""
    counted = [r for r in records if r.argv and r.trial.purpose == MEMORY]
    others = {o for r in records if r.trial.purpose != MEMORY for o in split_options(r.argv)}
    known = [option for option in split_options(counted[0].argv) if option not in others] if counted else []
    # File descriptors are numbered as they come, and each boot of the search has another -m.
    return tuple(o for o in known if "fd=" not in o and not o.startswith(("-mon ", "-m ")))


def _show(found: Findings, system: System, metric: str, labels: LabelSet) -> str:
    """A value, or why there is none."""
    summary = found.find(system.name, metric, labels)
    if summary is not None and summary.n:
        return show_kib(summary.median)
    trials = found.find_trials((MEMORY,), system.name)
    if gap := next(filter(None, (record.find_gap(metric, dict(labels)) for record in trials)), ""):
        return f"n/a: {gap.removeprefix('not available: ')}"
    # Above the floor there is nothing where the floor, or this system itself, has no such state.
    return NOTHING if metric == VMM_ABOVE_FLOOR else UNKNOWN


def _tabulate(found: Findings, metric: str, label: str, title: str) -> Table:
    """A row for each value of a label of an idle guest's figure, and a column for each system with any."""
    cells = {
        (summary.labels[label], summary.system): show_exact(summary.median)
        for summary in found.summaries
        if summary.metric == metric and {*IDLE} <= summary.labels.items()
    }
    names = [name for name in found.names if any(system == name for _, system in cells)]
    values = dict.fromkeys(value for value, _ in cells)
    return by_system(
        (title,), names, values, lambda value: (Code(value),), lambda *key: cells.get(key, NOTHING)
    )


def _find_idle_fields(record: Record) -> dict[str, int]:
    """The fields of the /proc/meminfo of an idle guest, in KiB; empty if any that is needed is missing."""
    names = {TOTAL: "MemTotal", AVAILABLE: "MemAvailable"}
    fields = {
        names.get(sample.metric) or sample.labels.get("field", ""): int(sample.value)
        for sample in record.samples
        if sample.metric in (*names, FIELD) and {*IDLE} <= sample.labels.items()
    }
    return fields if {"MemTotal", "MemFree", "MemAvailable"} <= fields.keys() else {}
