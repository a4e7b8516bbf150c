"""The memory section of the report, the exports of a run with memory, and what is derived for them."""

from __future__ import annotations

import csv
import io
import re

import msgspec
import pytest
from factories import make_run
from hostile_run import check_safe, section
from memory_factories import LATER_PANIC, make_memory_run, with_series
from report_pages import markdown_of, summary_of

from golden import check_golden
from guestbench.analysis.claims import judge_claims
from guestbench.analysis.diff import diff_runs
from guestbench.analysis.partial import find_to_come
from guestbench.analysis.quality import ask_measured, find_failures, find_notices
from guestbench.analysis.samples import collect
from guestbench.analysis.summary import add_derived, find_summary, summarise
from guestbench.families.memory.findings import find_evidence, find_least
from guestbench.families.memory.section import extra_options, format_free, show_least
from guestbench.host import process
from guestbench.model import Claim, Header, MemoryPolicy, Provenance, Record, Ruling, VmmFailed
from guestbench.page.numbers import show_kib
from guestbench.report.export import csv as csv_export
from guestbench.report.export import json as json_export


def cells(report: str, title: str, system: str) -> list[str]:
    """The cells of the first row of a system in the section with this title."""
    row = next(line for line in section(report, title).splitlines() if line.startswith(f"| `{system}`"))
    return [cell.strip() for cell in row.split("|")[2:-1]]


def test_report_of_a_memory_run_is_the_one_people_have_read() -> None:
    """The report would change without anybody having looked at it."""
    report = markdown_of(*make_memory_run())
    check_golden("comparison_results-memory.md", report.encode())
    check_safe(report)


def test_the_least_memory_stands_with_its_evidence() -> None:
    """A reader could not tell a size that was tried three times from a guess."""
    report = markdown_of(*make_memory_run())
    row = cells(report, "Least RAM to boot", "linux-minimal")
    assert row[:3] == ["72 MiB", "3 of 3", "71 MiB: 0 of 3"]
    assert "deadlocked on memory" in row[3]
    assert cells(report, "Least RAM to boot", "broken")[0] == "search not ended"
    evidence = find_evidence(make_memory_run()[1], "linux-minimal")
    assert [each.memory_mib for each in evidence] == [128, 72, 71]
    # The time since boot in a kernel's message makes no other reason of it.
    assert [count for _, count in evidence[-1].reasons] == [3]
    assert LATER_PANIC not in section(report, "Least RAM to boot")


def test_boots_that_pass_below_the_least_size_are_told() -> None:
    """A guest that boots with 48 MiB now and then would be said to need 56, without a word about it."""
    report = markdown_of(*make_memory_run())
    assert "48–50 MiB: 2 of 3 boots" in section(report, "Least RAM to boot")


def test_cells_without_a_value_say_why() -> None:
    """An empty cell would be read as 0, or as forgotten."""
    report = markdown_of(*make_memory_run())
    unikernel = cells(report, "RAM that the host sees in use", "unikernel")
    assert unikernel[1] == "n/a: the guest goes to work as soon as it is ready"
    floor = cells(report, "RAM that the host sees in use", "floor")
    assert floor[2] == "n/a: no load is defined for this system"
    assert cells(report, "RAM that the host sees in use", "broken")[0] == "?"
    assert cells(report, "Both views", "floor")[1] == "n/a: the guest reports none"
    assert " 0 MiB" not in report and " 0 KiB" not in report


def test_an_incomplete_trial_counts_with_what_it_has() -> None:
    """A login that failed would throw away what the host had counted before it."""
    header, records = make_memory_run()
    summaries = summarise(header, records)
    idle = find_summary(summaries, "linux-minimal", "memory.touched", {"state": "idle"})
    load = find_summary(summaries, "linux-minimal", "memory.touched", {"state": "load"})
    assert idle is not None and load is not None
    assert (idle.values, load.values) == ((116_792, 117_192), (167_764,))
    reasons = {group.outcome.reason for group in find_failures(header, records)}
    assert "the guest stopped answering" in reasons


def test_sizes_that_are_not_enough_are_no_failures() -> None:
    """Each search would put a dozen failures at the top of the report, and exit with an error."""
    header, records = make_memory_run()
    assert all(group.purpose != "memory-min" for group in find_failures(header, records))
    least = find_summary(summarise(header, records), "linux-minimal", "memory.min")
    assert least is not None
    assert (least.values, least.failed, least.warnings) == ((72,), 0, ())


def test_a_search_that_has_not_ended_is_noticed() -> None:
    """A report made in the middle of a search would look finished."""
    (to_come,) = find_to_come(*make_memory_run())
    assert (to_come.family, to_come.missing) == ("memory", {})
    assert "has not ended for" in to_come.search
    assert "broken" in to_come.search and "linux-minimal" not in to_come.search
    assert to_come.search in markdown_of(*make_memory_run())


def test_a_host_whose_settings_distort_memory_is_noticed() -> None:
    """One touched byte would count for 2 MiB, and nobody would know why all guests look alike."""
    header, records = make_memory_run()
    policy = MemoryPolicy(huge_pages="always", shmem_huge_pages="advise", ksm="1", swap_mib=0)
    notices = find_notices(msgspec.structs.replace(header, memory_policy=policy), records)
    assert any("whole huge page" in notice for notice in notices)
    assert any("same-page merging" in notice for notice in notices)


def test_what_is_derived_says_so() -> None:
    """The least RAM and the VMM's memory above the floor would pass for measurements."""
    header, records = make_memory_run()
    derived = [
        (record.trial.system, sample.metric, sample.value)
        for record in add_derived(header, records)
        for sample in record.samples
        if sample.provenance is Provenance.DERIVED
    ]
    assert ("linux-minimal", "memory.min", 72) in derived
    assert ("linux-minimal", "memory.vmm_above_floor", 100_000 - 24_000) in derived
    assert not [each for each in derived if each[0] == "floor" and each[1] != "memory.min"]
    once = add_derived(header, records)
    assert add_derived(header, once) == once


ABORT = "the VMM itself ended by SIGABRT; it said: hw/core.c:9: Assertion `size' failed."


def break_vmm(system: str, size: int, boots: int) -> tuple[Header, tuple[Record, ...]]:
    """The run, but for the first boots of a system with a size, in which the VMM itself fails."""
    header, records = make_memory_run()
    broken = [r for r in records if (r.trial.system, r.trial.memory_mib) == (system, size)][:boots]
    failed = VmmFailed(reason=ABORT)
    return header, tuple(msgspec.structs.replace(r, outcome=failed) if r in broken else r for r in records)


@pytest.mark.parametrize(
    ("system", "size", "boots", "least"),
    [
        ("linux-minimal", 71, 3, "at most 72 MiB"),
        ("linux-minimal", 71, 2, "72 MiB"),
        ("unikernel", 52, 1, "at most 56 MiB"),
        ("unikernel", 50, 2, "56 MiB"),
        ("floor", 1, 1, "at most 2 MiB"),
    ],
)
def test_a_vmm_that_breaks_is_no_guest_that_lacks_memory(
    system: str, size: int, boots: int, least: str
) -> None:
    """A size at which QEMU itself aborts would be a guest's need, and claims and diffs would rest on it."""
    header, records = break_vmm(system, size, boots)
    report = markdown_of(header, records)
    assert cells(report, "Least RAM to boot", system)[0].removesuffix(" (search not ended)") == least
    claim = Claim(text="small", metric="memory.min", system=system, most=100)
    header = msgspec.structs.replace(
        header, experiment=msgspec.structs.replace(header.experiment, claims=(claim,))
    )
    (judged,) = judge_claims(header, records)
    figure = find_summary(summarise(header, records), system, "memory.min")
    sizes = collect(header, records)[system].get(("memory.min", ()))
    if not least.startswith("at most"):
        assert judged.ruling is Ruling.CONFIRMED
        assert figure is not None and sizes is not None
        assert len([one for one in sizes.tried if one == (float(size), False)]) == 3 - boots or size == 50
        return
    assert figure is None
    assert judged.ruling is Ruling.UNDECIDED
    assert judged.reason == f"{system}: {least}: with {size} MiB {ABORT}; the limit may not be the guest's"
    assert "the VMM itself ended by SIGABRT" in section(report, "Least RAM to boot")
    (lost,) = diff_runs([make_memory_run()], [(header, records)]).lost
    assert (lost.metric, lost.reason) == ("memory.min", judged.reason.removeprefix(f"{system}: "))


def test_runs_without_memory_show_none_of_it() -> None:
    """A run that measured boots alone would have empty tables of memory."""
    header, records = make_run()
    report = markdown_of(header, records)
    assert "## Memory" not in report and "Least RAM" not in report
    assert all(find_least(header, records, guest.system.name) is None for guest in header.guests)


def test_csv_has_every_size_that_was_tried() -> None:
    """The evidence of the search could not be analysed again."""
    header, records = make_memory_run()
    rows = list(csv.DictReader(io.StringIO(csv_export.render(header, records).decode())))
    tried = [row for row in rows if row["metric"] == "memory.tried" and row["system"] == "linux-minimal"]
    assert [(row["value"], row["outcome"]) for row in tried if row["value"] == "71"] == [
        ("71", "crashed")
    ] * 3
    touched = [row for row in rows if row["metric"] == "memory.touched"]
    assert {row["unit"] for row in touched} == {"KiB"}
    assert {row["labels"] for row in touched} == {"state=ready", "state=idle", "state=load", "state=load-end"}


def test_json_has_series_and_gaps() -> None:
    """A plot of memory over time could not be made, nor the reason for a gap be found."""
    header, records = make_memory_run()
    floor = next(record for record in records if record.trial.system == "floor")
    results = msgspec.json.decode(json_export.render(header, (with_series(floor), *records)))
    first = results["trials"][0]
    assert first["series"][0]["values"] == [500, 1168]
    assert first["gaps"][0]["reason"] == "no load is defined for this system"
    assert {trial["memory_mib"] for trial in results["trials"]} >= {512, 72, 1}
    assert results["memory_policy"]["huge_pages"] == "madvise"


def test_summary_has_the_least_and_the_idle_memory() -> None:
    """The terminal would not show what the run was for."""
    lines = summary_of(*make_memory_run()).splitlines()
    assert lines[0].split("  ")[-1].strip() == "RAM touched, idle"
    assert re.search(r"linux-minimal .* 72 MiB +114 MiB$", "\n".join(lines), re.MULTILINE)


def test_options_that_count_memory_are_named() -> None:
    """A reader would not learn that these boots had another command line."""
    _, records = make_memory_run()
    assert extra_options(records) == (
        "-machine q35,memory-backend=ram",
        "-object memory-backend-memfd,id=ram,size=512M,share=on",
        "-no-shutdown",
    )
    assert extra_options(()) == ()


def test_free_prints_what_the_program_prints() -> None:
    """The lines would not be those that a user gets by typing `free -m` in the guest."""
    real = process.run(["free", "-m"]).stdout.decode().splitlines()
    text = open("/proc/meminfo").read()  # noqa: PTH123, SIM115
    fields = {name: int(kib) for name, kib in re.findall(r"(?m)^(\S+):\s+(\d+) kB$", text)}
    ours = format_free(fields)
    assert ours[0] == real[0]
    assert [line.split()[0] for line in ours[1:]] == [line.split()[0] for line in real[1:]]
    assert [len(line) for line in ours] == [len(line) for line in real]
    assert ours[1].split()[1] == real[1].split()[1]
    for mine, theirs in zip(ours[1].split()[2:], real[1].split()[2:], strict=True):
        # The host's memory changes between the two.
        assert abs(int(mine) - int(theirs)) < 500


@pytest.mark.parametrize(
    ("kib", "shown"),
    [(None, "–"), (456, "456 KiB"), (1168, "1.14 MiB"), (116_792, "114 MiB"), (4 << 20, "4,096 MiB")],
)
def test_memory_is_shown_in_binary_units(kib: float | None, shown: str) -> None:
    """512 MiB given to QEMU would stand as 537 MB in the table."""
    assert show_kib(kib) == shown


def test_no_least_size_is_said_in_words() -> None:
    """A guest that boots with no size would have an empty cell."""
    header, records = make_memory_run()
    assert show_least(find_least(header, records, "broken")) == "search not ended"
    tried = tuple(at_size(record, 2048) for record in records if record.trial.memory_mib == 1024)
    assert show_least(find_least(header, (*records, *tried), "broken")) == "none found"
    assert not list(ask_measured("unanswered", only_boots(header), records))
    (text,) = ask_measured("unanswered", header, (*records, *tried))
    assert text == "no memory size was found with which it always boots: broken"
    assert show_least(find_least(only_boots(header), records, "broken")) == "–"


def at_size(record: Record, memory_mib: int) -> Record:
    """The record as if it were of another size."""
    return msgspec.structs.replace(record, trial=msgspec.structs.replace(record.trial, memory_mib=memory_mib))


def only_boots(header: Header) -> Header:
    """The header of a run that measures boots alone."""
    experiment = msgspec.structs.replace(header.experiment, metrics=("boot",))
    return msgspec.structs.replace(header, experiment=experiment)
