"""The report that users read: its whole text, what it says of runs that went wrong, and that it is safe."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from factories import SEED, make_header, make_partial_run, make_run, with_outcome
from hostile_run import HOSTILE, check_safe, make_hostile_run, section
from hypothesis import given, settings
from hypothesis import strategies as st
from report_pages import contents_of, markdown_of

from golden import check_golden
from guestbench.errors import StoreError
from guestbench.model import Crashed, Provenance
from guestbench.page.blocks import Listing, Paragraph, to_plain
from guestbench.page.command_line import split_options
from guestbench.report import CSV_NAME, HTML_NAME, JSON_NAME, MARKDOWN_NAME, SCRIPT_NAME, write_reports
from guestbench.report.command_lines import describe_command_lines

replace = msgspec.structs.replace


def test_report_of_a_run_is_the_one_people_have_read() -> None:
    """The report would change without anybody having looked at it."""
    report = markdown_of(*make_run())
    check_golden("comparison_results.md", report.encode())


def test_report_of_an_interrupted_quick_run_is_the_one_people_have_read() -> None:
    """The report of a run of few cycles that was stopped would change without anybody having looked at it."""
    header, records = make_partial_run(21)
    check_golden("comparison_results-interrupted.md", markdown_of(header, records).encode())


def test_report_is_safe_to_show() -> None:
    """The report of a run with a hostile guest would hold markup of that guest."""
    check_safe(markdown_of(*make_run()))


@settings(max_examples=40)
@given(st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=20)), min_size=1, max_size=5))
def test_no_text_of_a_run_becomes_markup(texts: list[str]) -> None:
    """A title, path, command line, reason or label could put markup or control characters into the report."""
    check_safe(markdown_of(*make_hostile_run(texts)))


def test_every_number_of_the_results_is_in_the_report() -> None:
    """A value that was measured would not be found in the report."""
    header, records = make_run()
    report = markdown_of(header, records)
    rows = section(report, "Every trial")
    assert all(record.trial.id in rows for record in records)
    assert "1,012,912,704" in section(report, "Image size")
    assert "51.80" in section(report, "Boot time")
    assert f"seed {SEED}" in report and header.host.vmm_path in report


def test_what_went_wrong_comes_before_the_results() -> None:
    """A reader would take the table for all there is, and miss what is not in it."""
    report = markdown_of(*make_run())
    order = [
        "39 got ready, 1 failed",
        "**Left out:**",
        "| System ",
        "**Failed trials:**",
        "**Read with care:**",
    ]
    places = [report.index(text) for text in (*order, "## Image size")]
    assert all(before < after for before, after in pairwise(places))
    assert "1 of 10 boot trials crashed" in report and "as far as the milestone `kernel`" in report


def test_first_boots_are_apart() -> None:
    """A first boot would be read as one of the counted ones, or not be shown at all."""
    report = markdown_of(*make_run())
    assert "39.6 s" in section(report, "First boots")
    assert "39.6" not in section(report, "Boot time")


def test_run_without_results_still_has_a_report() -> None:
    """A run that was stopped before its first trial would end in a traceback."""
    header, _ = make_run()
    for empty in (markdown_of(header, ()), markdown_of(make_header(), ())):
        check_safe(empty)
        assert "## Boot time" not in empty and "## Image size" not in empty
    assert f"partial: 0 of {len(header.trials)} planned trials" in markdown_of(header, ())


def test_system_whose_boots_all_failed_is_in_the_tables() -> None:
    """A system that never got ready would not appear among the results."""
    header, records = make_run()
    lost = [
        with_outcome(r, Crashed(reason="panic"))
        if r.trial.system == "linux-minimal" and r.trial.purpose == "boot"
        else r
        for r in records
    ]
    report = markdown_of(header, lost)
    assert "0 of 10" in report
    assert "nothing to describe" in report


def test_image_only_run_shows_no_boot_columns() -> None:
    """A run that measured only images would show columns of nothing."""
    header, records = make_run()
    images = [r for r in records if r.trial.purpose == "image"]
    header = replace(
        header,
        trials=tuple(r.trial for r in images),
        experiment=replace(header.experiment, metrics=("image",)),
    )
    report = markdown_of(header, images)
    assert "planned boots" not in report and "Boots that got ready" not in report
    assert "Image size" in report


def test_sizes_tell_not_applicable_from_unknown_and_say_where_they_come_from() -> None:
    """A size that could not be measured would look like one that does not exist."""
    header, records = make_run()
    failed = with_outcome(records[1], Crashed(reason="cannot be read"))
    declared = tuple(
        replace(sample, provenance=Provenance.DECLARED) if sample.metric == "image.rootfs" else sample
        for sample in records[2].samples
    )
    changed = (records[0], failed, replace(records[2], samples=declared), *records[3:])
    table = section(markdown_of(header, changed), "Image size")
    rows = {line.split("|")[1].strip(): line.split("|")[2:-1] for line in table.splitlines() if "|" in line}
    first = [cell.strip() for cell in table.splitlines()[3].split("|")[2:-1]]
    assert first[1] == "?"
    assert [cell.strip() for cell in rows["Virtual disk"]][1:3] == ["–", "?"]
    assert "(declared)" in table


def test_command_lines_are_told_apart_option_by_option() -> None:
    """The fairness of a comparison could not be judged from its command lines."""
    header, records = make_run()
    _, shared, *blocks = describe_command_lines(header, records)
    assert isinstance(shared, Listing)
    common = shared.lines
    assert common[0] == "qemu-system-x86_64" and "-m 512M" in common
    assert len(blocks) == 4 * len(header.systems)
    for system in header.systems:
        named, own, whole, _, *blocks = blocks
        assert isinstance(named, Paragraph) and isinstance(own, Listing) and isinstance(whole, Paragraph)
        assert to_plain(named.lines[0]) == f"{system.name} has of its own:"
        argv = next(r.argv for r in records if r.trial.system == system.name and r.trial.block)
        assert sorted(split_options(argv)) == sorted((*common, *own.lines))
        assert whole.lines == ("The whole line, the same for all 10 boots:",)
    booted = [i for i, r in enumerate(records) if r.trial.purpose == "boot"]
    odd = list(records)
    odd[booted[-1]] = replace(odd[booted[-1]], argv=(*odd[booted[-1]].argv, "-snapshot"))
    report = markdown_of(header, odd)
    assert "1 of 10 differed, in `-snapshot`" in report


def test_reports_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """A full disk or a kill would leave half a report, or a file of rubbish beside it."""
    header, records = make_run()
    first = write_reports(tmp_path, contents_of(header, records))
    assert set(first) == {MARKDOWN_NAME, HTML_NAME, JSON_NAME, CSV_NAME, SCRIPT_NAME}
    before = {path: path.read_bytes() for path in first.values()}
    assert write_reports(tmp_path, contents_of(header, records)) == first
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(StoreError) as caught:
        write_reports(tmp_path / "missing", contents_of(header, records))
    assert str(tmp_path / "missing") in caught.value.message
