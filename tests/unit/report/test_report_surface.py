"""The attack surface in the report: every cell says where it comes from, and none is guessed."""

from __future__ import annotations

import csv
import io
import re

import msgspec
from factories import make_run
from hostile_run import check_safe
from hypothesis import given
from hypothesis import strategies as st
from report_pages import markdown_of
from surface_factories import WHY, make_surface_run

from golden import check_golden
from guestbench.analysis.summary import add_derived
from guestbench.families.surface.findings import UNDIVIDED, Row, count_varying_bits, find_rows
from guestbench.families.surface.section import seed_table, show_cell
from guestbench.model import Provenance
from guestbench.report.export import csv as csv_export


def rows_of(run: tuple) -> dict[tuple[str, str], Row]:  # type: ignore[type-arg]
    """The rows by metric and label."""
    header, records = run
    rows = find_rows(header, add_derived(header, records))
    return {(row.metric.name.removeprefix("surface."), "".join(row.labels.values())): row for row in rows}


def shown(metric: str, system: str, label: str = "") -> str:
    """What stands in a cell."""
    row = rows_of(make_surface_run())[metric, label]
    return show_cell(row, row.cells[system])


def test_report_of_a_surface_run_is_the_one_people_have_read() -> None:
    """The report would change without anybody having looked at it."""
    report = markdown_of(*make_surface_run())
    check_golden("comparison_results-surface.md", report.encode())
    check_safe(report)


def test_every_cell_says_where_it_comes_from() -> None:
    """A declared 0 of a unikernel would stand beside measured figures as if it had been measured."""
    assert shown("users", "linux") == "24"
    assert shown("users", "unikernel") == "0, declared"
    assert shown("syscalls", "unikernel") == "0 (code that sets LSTAR: 0), derived"
    assert shown("open_tcp", "unikernel") == "2 (7, 9)"
    assert shown("packages", "unikernel") == "n/a: the image holds no files"
    assert shown("open_udp", "unikernel") == "n/a: the scan took too long"
    assert shown("text_bits", "unikernel") == "unknown: paging is off"
    assert shown("nx", "linux") == "yes" and shown("nx", "unikernel") == "no"
    assert shown("mmio_bytes", "linux") == "270 MB"
    assert WHY in markdown_of(*make_surface_run())


def test_a_guest_that_failed_says_why_in_its_cells() -> None:
    """The cells of a guest that never got ready would be empty, or 0."""
    row = rows_of(make_surface_run())["users", ""]
    assert row.cells["broken"].value is None
    assert row.cells["broken"].reason.startswith("the guest panicked")


def test_a_system_without_a_division_is_told_from_one_without_the_figure() -> None:
    """A unikernel's one process would seem to be unknown."""
    row = rows_of(make_surface_run())["processes", "user"]
    assert row.cells["unikernel"].reason == UNDIVIDED
    assert show_cell(row, row.cells["unikernel"]) == "–"
    assert shown("hardening_met", "linux", "options") == "unknown: no config"
    assert shown("hardening_met", "unikernel", "sysctls") == "–"


def test_the_running_guest_goes_before_its_image() -> None:
    """What an image holds would be shown as what is there when it runs."""
    cell = rows_of(make_surface_run())["suid", ""].cells["linux"]
    assert (cell.value, cell.evidence) == (10, "trials/surface-linux-1/surface-suid.txt")


def test_the_seeds_rows_are_all_there() -> None:
    """The table that the seed experiment asks for would be incomplete."""
    header, records = make_surface_run()
    table = seed_table([system.name for system in header.systems], find_rows(header, records))
    titles = [row[0] for row in table.rows]
    assert titles[:3] == ["System calls available", "Running processes", "Open TCP ports"]
    assert {"Shells", "Users", "SUID binaries", "Kernel modules"} <= set(titles)


def test_what_each_gives_up_has_a_table_of_its_own() -> None:
    """A unikernel's missing protection would not stand with the same weight as what it avoids."""
    report = markdown_of(*make_surface_run())
    lacks = report.split("### What each gives up\n")[1].split("\n##")[0]
    assert re.search(r"Writable and executable pages .* 1,048,575 \(100.0% of what is mapped\)", lacks)
    assert "Randomised kernel base" in lacks
    assert "score" in report


def test_randomised_bits_are_derived_of_fresh_boots() -> None:
    """Addresses of one boot would pass for randomised ones, or a bound for the whole entropy."""
    header, records = make_surface_run()
    (bits,) = [
        sample
        for record in add_derived(header, records)
        for sample in record.samples
        if sample.metric == "surface.text_bits"
    ]
    assert bits.provenance is Provenance.DERIVED
    assert bits.detail == "2 different in 3 boots, so at least 1.0 bits of choice"
    once = add_derived(header, records)
    assert add_derived(header, once) == once
    alone = [record for record in records if record.trial.id != "surface-boot-linux-2"][:3]
    assert all(
        s.metric != "surface.text_bits" for record in add_derived(header, alone) for s in record.samples
    )


@given(st.lists(st.integers(0, 2**48 - 1), min_size=1, max_size=8))
def test_varying_bits_are_those_that_differ(values: list[int]) -> None:
    """The bits of randomisation in a report would be wrong."""
    bits, distinct = count_varying_bits(values)
    differing = [bit for bit in range(48) if len({value >> bit & 1 for value in values}) == 2]
    assert (bits, distinct) == (len(differing), len(set(values)))


def test_csv_has_every_figure_with_its_provenance() -> None:
    """The figures could not be used by a program, or a declared one would pass for a measured."""
    rows = list(csv.DictReader(io.StringIO(csv_export.render(*make_surface_run()).decode())))
    users = {row["system"]: row["provenance"] for row in rows if row["metric"] == "surface.users"}
    assert users == {"linux": "measured", "unikernel": "declared"}


def test_runs_without_the_surface_show_none_of_it() -> None:
    """A run that measured boots alone would have empty tables of the attack surface."""
    header, records = make_run()
    assert "Attack surface" not in markdown_of(header, records)
    assert find_rows(header, records) == ()


def test_a_run_without_results_has_no_surface() -> None:
    """A run that was stopped before its first trial would end in a traceback."""
    header, records = make_surface_run()
    assert "## Attack surface" not in markdown_of(header, ())
    families = {metric.family for metric in header.metrics}
    assert families == {"surface"}
    assert any(record.trial.purpose == "surface" for record in records)
    assert msgspec.json.encode(header)
