"""Memory in the report: the least RAM with its evidence, and what host and guest see in use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

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
from guestbench.families.memory.findings import Evidence, find_all_least, find_evidence
from guestbench.families.memory.search import Minimum
from guestbench.model import LabelSet, Record, Series, System, find_settings
from guestbench.page.blocks import (
    Block,
    Bullets,
    Cells,
    Code,
    Figure,
    Listing,
    Paragraph,
    Section,
    Table,
    read_words,
    say,
)
from guestbench.page.command_line import split_options
from guestbench.page.figures import by_system
from guestbench.page.numbers import NOTHING, UNKNOWN, count_things, show_exact, show_kib, show_seconds
from guestbench.page.plots import (
    FAR_APART,
    Course,
    Curves,
    Legend,
    Mark,
    Point,
    Row,
    Rows,
    Steps,
    choose_axis,
)

tell = read_words(__file__)

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
        about = tell("about")
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
    least = find_all_least(found.header, found.records)
    if not least:
        return
    tried = {name: find_evidence(found.records, name) for name in found.names}
    boots = count_things(_settings(found).boots, "boot")
    mixed = [(name, _tell_mixed(each, tried[name])) for name, each in least.items() if each.mixed_mib]
    yield draw_least(least, tried)
    yield least_table(least, tried)
    yield Paragraph((found.metric(LEAST).help, f"A size counts as enough if each of {boots} passes."))
    limits = tuple(
        (Code(name), ": ", Code(each.vmm_failed)) for name, each in least.items() if each.vmm_failed
    )
    yield Bullets(
        limits, "At most so much, for with less the VMM itself failed, which says nothing of the guest:"
    )
    if mixed:
        yield say("Boots that passed with less:")
        yield Bullets(tuple((Code(name), f": {told}") for name, told in mixed))
    yield say("Every size tried:")
    yield evidence_table(tried)


def _settings(found: Findings) -> Settings:
    return find_settings(found.header.experiment.settings, MEMORY, Settings)


def least_table(found: Mapping[str, Minimum], tried: Mapping[str, Sequence[Evidence]]) -> Table:
    """The least RAM of each system, how sure it is, and why less is not enough."""
    rows: list[Cells] = []
    for name, least in found.items():
        sizes = {each.memory_mib: each for each in tried[name]}
        here, under = sizes.get(least.least_mib or 0), sizes.get(least.below_mib)
        passed = f"{here.passed} of {here.boots}" if here else NOTHING
        why = Code(under.reasons[0][0]) if under and under.reasons else NOTHING
        rows.append((Code(name), show_least(least), passed, str(under) if under else NOTHING, why))
    head = ("System", "Least RAM", "Boots with it that got ready and stayed well")
    more = ("With the next smaller size", "Why that is not enough")
    return Table((*head, *more), tuple(rows), len(head) + len(more))


def _tell_mixed(least: Minimum, tried: Sequence[Evidence]) -> str:
    """That a system booted now and then with less than its least RAM."""
    low, high = least.mixed_mib[0], least.mixed_mib[-1]
    within = [each for each in tried if low <= each.memory_mib <= high]
    sizes = "–".join(dict.fromkeys(map(str, (low, high))))
    passed, boots = sum(each.passed for each in within), sum(each.boots for each in within)
    return f"{sizes} MiB: {passed} of {boots} boots. Success is not certain, or not monotonic, there."


def evidence_table(tried: Mapping[str, Sequence[Evidence]]) -> Table:
    """Every size tried: how many of its boots got ready and stayed well, and why the others did not."""
    rows: list[Cells] = []
    for name, sizes in tried.items():
        for each in sizes:
            reasons = "; ".join(f"{count}× {reason}" for reason, count in each.reasons)
            shown = Code(reasons) if reasons else NOTHING
            rows.append((Code(name), f"{each.memory_mib} MiB", f"{each.passed} of {each.boots}", shown))
    return Table(("System", "Memory", "Got ready and stayed well", "The others"), tuple(rows), 4)


# --- what host and guest see ------------------------------------------------------------------------------


def _describe_host(found: Findings, systems: list[System]) -> Iterator[Block]:
    loads = ((s.name, s.load.help) for s in found.header.systems if s.load is not None and s.load.help)
    items = tuple((Code(name), f": {load}") for name, load in loads)
    options = extra_options(found.records)
    yield draw_over_time(found)
    rows: list[Cells] = []
    for system in systems:
        summaries = (found.find(system.name, metric, labels) for _, metric, labels in COLUMNS)
        cells = (_show(found, system, metric, labels) for _, metric, labels in COLUMNS)
        rows.append((Code(system.name), *cells, str(max((each.n for each in summaries if each), default=0))))
    yield Table(("System", *(title for title, _, _ in COLUMNS), "Boots"), tuple(rows))
    yield tell("host", settle=_settings(found).settle_s, vmm=found.header.vmm)
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
    yield tell("views")
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
        if summary.metric == metric and {*IDLE} <= summary.labels.items() and label in summary.labels
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


# --- plots -------------------------------------------------------------------------------------------------

PANELS = {TOUCHED: "Guest RAM touched", VMM: "The VMM's own memory"}
ROOM = 1.06
"""The values of the upward axis stand at the right end of a plot of curves."""
SHARE_ROW = 32
"""Pixels between no boot passed and all boots passed."""
PASSED, MIXED, FAILED = Point(0, 0), Point(3, 0, hollow=True), Point(6, 0, colour=1)


def draw_over_time(found: Findings) -> Figure:
    """Each boot that counts memory as a curve: what of the guest's RAM was touched, and the VMM's own."""
    drawn = {title: _find_series(found, metric) for metric, title in PANELS.items()}
    seen = dict.fromkeys(system for courses in drawn.values() for system, _ in courses)
    legend = tuple((Course(found.names.index(name)), name) for name in seen)
    plots: list[Curves] = []
    for title, courses in drawn.items():
        if courses:
            plots.append(_draw_courses(found, courses, title, () if plots else legend))
    return Figure("Memory over time", tell("curves"), tuple(plots))


def _find_series(found: Findings, metric: str) -> list[tuple[str, Series]]:
    return [
        (record.trial.system, series)
        for record in found.records
        for series in record.series
        if series.metric == metric
        and record.trial.system in found.names
        and len(series.t_ns) == len(series.values) > 1
        and not series.labels
    ]


def _draw_courses(found: Findings, boots: Sequence[tuple[str, Series]], title: str, legend: Legend) -> Curves:
    values = [value for _, series in boots for value in series.values if value > 0]
    most = [float(max(series.values)) for _, series in boots]
    log = len(values) > 0 and max(most) > FAR_APART * max(min(most), 1e-9)
    courses, told = [], []
    for system, series in boots:
        times = [t_ns / 1e9 for t_ns in series.t_ns]
        last = f"{system}: {show_kib(series.values[-1])} after {show_seconds(times[-1])}"
        courses.append(Course(found.names.index(system), tuple(zip(times, series.values, strict=True)), last))
        told.append(f"{system}: at most {show_kib(max(series.values))} in {show_seconds(times[-1])}")
    ends = [course.points[-1][0] * ROOM for course in courses]
    across = choose_axis([0, *ends], f"Time since {found.header.vmm} was started, s", zero=True)
    if log:
        upwards = choose_axis(values, "MiB, logarithmic", log=True, factor=1024.0)
    else:
        upwards = choose_axis([0, *most], "MiB", zero=True, factor=1024.0)
    description = f"Memory over time of every boot that counts it. {'; '.join(told)}."
    return Curves(title, description, across, upwards, tuple(courses), legend)


def draw_least(found: Mapping[str, Minimum], evidence: Mapping[str, Sequence[Evidence]]) -> Figure:
    """For each system the share of boots that passed, over the memory sizes that were tried."""
    title = "Share of boots that passed, by memory size"
    tried = {name: known for name, known in evidence.items() if known}
    if not tried:
        return Figure(title)
    sizes = [each.memory_mib for known in tried.values() for each in known]
    rows = []
    for name, known in tried.items():
        note, marks = f"least RAM: {show_least(found.get(name))}", tuple(_mark_success(known))
        told = ", ".join(f"{each.memory_mib} MiB {each.passed} of {each.boots}" for each in known)
        rows.append(Row(name, note, marks, SHARE_ROW, told=told))
    plot = Rows(
        "Least RAM to boot",
        "Boots that got ready and stayed well, by memory size.",
        choose_axis(sizes, "Memory given to the guest, MiB (logarithmic)", log=True),
        tuple(rows),
        ((PASSED, "every boot passed"), (MIXED, "some passed"), (FAILED, "none passed")),
    )
    return Figure(title, tell("steps"), (plot,))


def show_least(least: Minimum | None) -> str:
    """The least RAM in MiB, or what is known instead of it."""
    if least is None:
        return NOTHING
    if least.least_mib is None:
        return "none found" if least.finished else "search not ended"
    at_most = "at most " if least.vmm_failed else ""
    return f"{at_most}{least.least_mib} MiB" + ("" if least.finished else " (search not ended)")


def _mark_success(tried: Sequence[Evidence]) -> list[Mark]:
    ordered = sorted(tried, key=lambda each: each.memory_mib)
    shares = [(each.memory_mib, each.passed / each.boots) for each in ordered]
    marks: list[Mark] = [Steps(tuple(shares), 0)]
    for each, (size, share) in zip(ordered, shares, strict=True):
        look = PASSED if share == 1 else FAILED if share == 0 else MIXED
        marks.append(Point(look.kind, size, str(each), share, look.hollow, look.colour))
    return marks
