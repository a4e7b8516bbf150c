"""Work in the report: whether it was the same everywhere, and every cell with its figure or its reason."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

import msgspec
import pytest
from hostile_run import check_safe
from hypothesis import given
from hypothesis import strategies as st
from report_pages import markdown_of
from work_factories import (
    CPU,
    HOSTILE_VALUE,
    IRMIN,
    LIMIT,
    MEMORY,
    OCAML,
    make_kit,
    make_kit_work,
    make_report,
    make_work_header,
    make_work_run,
    make_work_systems,
    work_record,
)

from golden import check_golden
from guestbench.analysis.analyse import analyse
from guestbench.analysis.summary import summarise
from guestbench.families.net.section import net_table
from guestbench.families.work.findings import WorkRow, find_checks, find_work, judge_equality
from guestbench.model import Header, KitWork, Record, Sample, WorkReport
from guestbench.page.blocks import to_plain
from guestbench.page.figures import show_parameter
from guestbench.page.numbers import show_rate
from guestbench.report.export import csv as csv_export
from guestbench.report.export import json as json_export

WORK = make_kit_work(CPU, make_report("cpu", **LIMIT))
SYSTEMS = ("debian", "linux-app", "mirage")


def judge(
    *reports: WorkReport | None, work: KitWork = WORK, systems: Sequence[str] = SYSTEMS
) -> tuple[str, dict[str, str]]:
    """Whether these systems did the same; None where one did nothing."""
    records = [
        work_record(name, [report] if report else []) for name, report in zip(SYSTEMS, reports, strict=False)
    ]
    return judge_equality(work, {}, records, dict.fromkeys(systems, ""))


def cpu(seconds: float | None = 2.0, **fields: object) -> WorkReport:
    """A report of the workload with its usual parameters."""
    return make_report("cpu", seconds=seconds, **{**LIMIT, **fields})


def rows_of(run: tuple[Header, tuple[Record, ...]]) -> dict[str, WorkRow]:
    """The rows by workload and labels."""
    header, records = run
    rows = find_work(header, records, summarise(header, records))
    return {" ".join((row.work.workload.name, *row.labels.values())): row for row in rows}


# --- was it the same? -----------------------------------------------------------------------------------


def test_equal_work_is_told_to_be_equal() -> None:
    """A reader could not know whether the systems did the same."""
    assert judge(cpu(), cpu(9.0)) == ("same sources, compiler and flags; same result", {})


def test_the_very_same_file_is_told_to_be_that() -> None:
    """Work of one file would be claimed no stronger than work of two builds of the same sources."""
    records = [work_record(name, [cpu()]) for name in SYSTEMS]
    digest = "0123456789abcdef" * 4
    same, _ = judge_equality(WORK, {}, records, dict.fromkeys(SYSTEMS, digest))
    assert same == "the same program file (SHA-256 0123456789abcdef…); same result"
    for other in ("", "f" * 64):
        files = {**dict.fromkeys(SYSTEMS, digest), "mirage": other}
        assert judge_equality(WORK, {}, records, files)[0] == "same sources, compiler and flags; same result"


def test_another_compiler_is_told_and_is_still_the_same_work() -> None:
    """Code of another compiler would be taken for the same program, or be called other work."""
    same, differs = judge(cpu(), cpu(), cpu(made=OCAML))
    assert differs == {}
    assert same == (
        "same sources, same result; built by different compilers: gcc-12.2.0 -O2 -march=x86-64 -static on "
        "debian, linux-app; ocaml-4.13.1 -static on mirage"
    )


@pytest.mark.parametrize(
    ("report", "difference"),
    [
        (cpu(limit="99"), "limit was 99 rather than 10000"),
        (cpu(extra="1"), "extra was 1 rather than none"),
        (make_report("cpu", limit="10000"), "events was none rather than 1200"),
        (cpu(source="f" * 16), "its program was built from other sources"),
        (cpu(source=""), "its program was built from other sources"),
        (cpu(done=7), "it did 7 rather than 1200"),
        (cpu(done=None), "it did None rather than 1200"),
        (cpu(digest="0" * 32), "its result has another digest"),
        (make_report("cpu", digest=""), "its image prints neither what it does nor a digest of the result"),
    ],
)
def test_other_work_is_named_with_its_system_and_what_differs(report: WorkReport, difference: str) -> None:
    """Work that is not the same would be compared as if it were."""
    same, differs = judge(cpu(), report, cpu())
    assert same == ""
    assert differs == {"linux-app": difference}


def test_work_is_held_against_the_first_system_where_the_host_has_no_program() -> None:
    """Work of images alone would never be compared."""
    without = KitWork(workload=CPU, missing="there is no program for it")
    assert judge(cpu(limit="9"), cpu(limit="9"), work=without)[0] != ""
    assert judge(cpu(limit="9"), cpu(), work=without)[1] == {"linux-app": "limit was 10000 rather than 9"}


def test_the_first_system_is_held_against_the_host_too() -> None:
    """A first system that did other work would make all others wrong."""
    assert judge(cpu(done=7), cpu(), cpu())[1] == {"debian": "it did 7 rather than 1200"}


@pytest.mark.parametrize(
    "reports", [(), (cpu(),), (cpu(), None), (cpu(), cpu(None)), (cpu(), make_report("memory"))]
)
def test_one_system_alone_is_the_same_as_nothing(reports: tuple[WorkReport | None, ...]) -> None:
    """Work that only one system finished would be called proven equal."""
    assert judge(*reports) == ("", {})


def test_one_trial_that_differs_is_enough() -> None:
    """A guest that does other work now and then would not be noticed."""
    records = [
        work_record("debian", [cpu()]),
        work_record("linux-app", [cpu()]),
        work_record("linux-app", [cpu(done=3)], cycle=2),
    ]
    assert judge_equality(WORK, {}, records, dict.fromkeys(SYSTEMS, ""))[1] == {
        "linux-app": "it did 3 rather than 1200"
    }


def test_parts_are_compared_each_with_its_own() -> None:
    """A part of a workload would be held against another part."""
    rows = rows_of(make_work_run())
    assert "memory read 1048576" in rows and "memory write 1024" in rows
    assert rows["memory write 1048576"].differs == {"linux-app": f"how was {HOSTILE_VALUE} rather than none"}
    assert (rows["memory read 1048576"].same, rows["memory read 1048576"].differs) == ("", {})


# --- cells ----------------------------------------------------------------------------------------------


def test_every_cell_has_a_figure_or_says_why_not() -> None:
    """An empty cell would leave the reader to guess."""
    rows = rows_of(make_work_run())
    cells = rows["cpu"].cells
    assert cells["debian"].rate is not None and cells["debian"].rate.n == 2
    assert cells["linux-app"].rate is not None and cells["linux-app"].rate.failed == 1
    assert cells["floor"].reason == "its definition does not list this work"
    assert rows["memory read 1048576"].cells["linux-app"].reason.startswith("failed: memory printed digest")
    assert rows["irmin"].cells["mirage"].reason == "this image does no such work"
    assert rows["irmin"].cells["debian"].reason.startswith("there is no program for it: irmin for Linux")
    assert all(
        cell.rate is not None or cell.host_s is not None or cell.reason
        for row in rows.values()
        for cell in row.cells.values()
    )


def test_rates_and_times_are_those_of_the_records() -> None:
    """A figure of the report would not be what was measured."""
    cell = rows_of(make_work_run())["cpu"].cells["debian"]
    seconds = (2.4 * 1.02, 2.4 * 1.04)
    assert cell.rate is not None and cell.rate.values == pytest.approx([1200 / s for s in seconds])
    assert cell.host_s == pytest.approx(sum(seconds) / 2)
    assert cell.guest_s == pytest.approx(0.99 * sum(seconds) / 2)


def test_work_of_an_image_without_lines_is_shown_and_called_unproven() -> None:
    """The time of an image that a user brought would be lost, or be called equal to ours."""
    kit = make_kit(make_kit_work(IRMIN, make_report("irmin", 50, made=OCAML, commits="50")))
    ours = make_report("irmin", 50, made=OCAML, commits="50")
    bare = WorkReport(workload="irmin", begin_ns=10**9, end_ns=3 * 10**9, done=50)
    records = [
        work_record("debian", [ours], kit=kit, workload="irmin"),
        work_record("mirage", [bare], kit=kit),
    ]
    header = make_work_header(make_work_systems(), kit, [record.trial for record in records])
    row = rows_of((header, tuple(records)))["irmin"]
    rate = row.cells["mirage"].rate
    assert rate is not None and rate.mean == 25
    assert row.differs == {"mirage": "its image prints neither what it does nor a digest of the result"}
    report = markdown_of(header, records)
    assert "no, not equivalent: mirage: its image prints neither" in report
    assert row.cells["mirage"].guest_s is None


def test_known_tools_stand_beside_the_work_that_does_the_same() -> None:
    """The check of our own work against a known tool would be of two different things."""
    header, records = make_work_run()
    checks = {check.theirs.metric: check for check in find_checks(header, summarise(header, records))}
    cpu_check = checks["check.sysbench_cpu"]
    assert cpu_check.ours is not None and cpu_check.ours.metric == "work.cpu"
    assert cpu_check.ours.median is not None and cpu_check.theirs.median is not None
    assert cpu_check.ratio == pytest.approx(cpu_check.ours.median / cpu_check.theirs.median)
    memory = checks["check.sysbench_memory_write_1m"].ours
    assert memory is not None and memory.labels == {"op": "write", "block": "1048576"}
    assert checks["check.stress_ng_matrix"].ours is None
    goodput = checks["check.iperf3_in"].ours
    assert goodput is not None and goodput.metric == "net.goodput_in"
    assert list(checks) == [
        "check.sysbench_cpu",
        "check.sysbench_memory_write_1m",
        "check.stress_ng_matrix",
        "check.iperf3_in",
    ]


# --- the report -----------------------------------------------------------------------------------------


def test_report_of_a_run_of_work_is_the_one_people_have_read() -> None:
    """The report would change without anybody having looked at it."""
    report = markdown_of(*make_work_run())
    check_golden("comparison_results-work.md", report.encode())
    check_safe(report)


def test_what_guests_print_stays_text() -> None:
    """A guest could write markup into the report through its parameters."""
    header, records = make_work_run()
    other = make_report("memory", 1, op=HOSTILE_VALUE, block="](http://x)", digest="<i>")
    records = (*records, work_record("debian", [other], kit=header.kit, workload="memory", cycle=3))
    report = markdown_of(header, records)
    check_safe(report)
    assert r"\<b\>&#124;\`x\`\*http\://evil.example/\*" in report


TOKEN = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="[]"), max_size=20)


@given(st.lists(TOKEN, min_size=5, max_size=5))
def test_no_token_of_the_contract_becomes_markup(tokens: list[str]) -> None:
    """Some value that a guest may print would take effect in the report."""
    header, _ = make_work_run()
    source, compiler, op, how, digest = tokens
    made = {"compiler": compiler, "flags": how}
    other = make_report("memory", 1, made=made, source=source, digest=digest, op=op, block=how, how=op)
    records = [
        work_record(name, [other], kit=header.kit, workload="memory") for name in ("debian", "linux-app")
    ]
    check_safe(markdown_of(header, records))


def test_runs_without_work_show_none_of_it() -> None:
    """Headings without content would stand in the report of a run of boots."""
    header, records = make_work_run()
    bare = msgspec.structs.replace(header, kit=None)
    report = markdown_of(bare, ())
    assert "## Work" not in report and "## Network" not in report and "Known tools" not in report
    unfinished = markdown_of(header, records[:1])
    check_safe(unfinished)
    assert "not measured" in unfinished


def test_tools_that_are_not_there_are_told() -> None:
    """A run whose cross-checks could not be made would seem to have none planned."""
    kit = make_kit(WORK, no_tools="the registry cannot be reached (mended by: guestbench doctor)")
    header = make_work_header(make_work_systems(), kit)
    report = markdown_of(header, [work_record("debian", [cpu()], kit=kit, workload="cpu")])
    assert "Not run: the registry cannot be reached" in report
    check_safe(report)


def test_the_network_has_a_cell_for_every_system_that_was_asked() -> None:
    """A service that an image does not offer would be an empty cell."""
    header, records = make_work_run()
    table = net_table(analyse(header, records))
    rows = [[to_plain(cell) for cell in row] for row in table.rows]
    cells = {row[0]: dict(zip(("debian", "linux-app", "mirage"), row[1:], strict=True)) for row in rows}
    assert cells["Network ready"]["debian"].startswith("n/a: its image answers nobody")
    assert cells["Network ready"]["mirage"].endswith(" s")
    assert cells["TCP out of the guest"]["mirage"] == "n/a: the system lists no chargen service"
    assert cells["TCP into the guest"]["debian"].endswith(" MB/s")
    assert cells["Echo of one byte, median"]["mirage"].endswith(" µs")


def test_every_figure_is_in_the_files_for_programs() -> None:
    """Whoever reads results.csv or results.json would not find what the report shows."""
    header, records = make_work_run()
    rows = list(csv.DictReader(io.StringIO(csv_export.render(header, records).decode())))
    metrics = {row["metric"] for row in rows}
    assert {"work.cpu", "work.memory", "work.time", "net.echo", "check.iperf3_in"} <= metrics
    data = msgspec.json.decode(json_export.render(header, records))
    assert data["kit"]["works"][0]["workload"]["name"] == "cpu"
    (first,) = (trial for trial in data["trials"] if trial["trial"] == "work-cpu-debian-1")
    assert first["work"][0]["parameters"] == LIMIT and first["workload"] == "cpu"


# --- numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean", "sd", "unit", "expected"),
    [
        (None, None, "events", "–"),
        (512.34, 13.7, "events", "512 ± 14 events/s"),
        (512.34, 1.37, "events", "512.3 ± 1.4 events/s"),
        (512.34, None, "events", "512 events/s"),
        (512.34, 0.0, "events", "512 ± 0 events/s"),
        (0.01234, 0.00056, "commits", "0.012 ± 0.001 commits/s"),
        (123456.7, 2345.6, "events", "123,457 ± 2,346 events/s"),
        (319.2e6, 12e6, "bytes", "319 ± 12 MB/s"),
        (3.19e9, 0.12e9, "bytes", "3.19 ± 0.12 GB/s"),
        (999.4e6, None, "bytes", "999 MB/s"),
        (999.6e6, None, "bytes", "1.00 GB/s"),
        (12.0, None, "bytes", "12.0 bytes/s"),
        (0.0, None, "bytes", "0.00 bytes/s"),
        (5e15, None, "bytes", "5,000 TB/s"),
    ],
)
def test_rates_have_as_many_digits_as_their_spread_allows(
    mean: float | None, sd: float | None, unit: str, expected: str
) -> None:
    """A rate would promise digits that the measurement does not have, or be in the wrong unit."""
    assert show_rate(mean, sd, unit) == expected


@given(st.floats(1e-3, 1e14), st.sampled_from(["bytes", "events"]))
def test_written_rates_are_within_half_a_percent(mean: float, unit: str) -> None:
    """A rate would be written a thousand times too small."""
    number, shown = show_rate(mean, None, unit).split(" ")
    factor = {"k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}.get(shown[0] if unit == "bytes" else "", 1.0)
    assert float(number.replace(",", "")) * factor == pytest.approx(mean, rel=0.0051, abs=0.00051)


def test_parameters_have_their_thousands_apart() -> None:
    """A block of a mebibyte would be a row of digits, or a value that is no number be changed."""
    shown = [show_parameter(text) for text in ("1048576", "64M", "", "9" * 30, "0x10")]
    assert shown == ["1,048,576", "64M", "", "9" * 30, "0x10"]


def test_samples_without_a_report_are_shown_all_the_same() -> None:
    """A store of another version, which kept no reports, would have no rates."""
    kit = make_kit(make_kit_work(MEMORY))
    sample = Sample(metric="work.memory", value=5.0, labels={"op": "", "block": ""})
    record = work_record("debian", samples=[sample], workload="memory")
    header = make_work_header(make_work_systems(), kit, [record.trial])
    report = markdown_of(header, [record])
    check_safe(report)
