"""The first screen of a report: what the host can tell apart, and what must be known before believing it."""

from __future__ import annotations

import msgspec
from factories import make_run
from report_pages import html_of, markdown_of, summary_of

from guestbench.model import Header, Record

MEASURED = "was measured twice in each of 10 blocks, as if it were two guests"
WARNING = "which chance alone does in one run of twenty"


def with_slow_twins(factor: float) -> tuple[Header, tuple[Record, ...]]:
    """A run in which the floor took so many times as long whenever it was booted for the second time."""
    header, records = make_run()

    def slow(record: Record) -> Record:
        if record.trial.purpose != "twin":
            return record
        samples = [msgspec.structs.replace(each, value=each.value * factor) for each in record.samples]
        return msgspec.structs.replace(record, samples=tuple(samples))

    return header, tuple(map(slow, records))


def test_every_form_says_what_the_host_tells_apart() -> None:
    """A reader could not know whether a difference is one that this host can show."""
    for shown in (markdown_of(*make_run()), html_of(*make_run()), summary_of(*make_run())):
        assert MEASURED in shown
        assert "tells differences of 1.6% apart in 10 blocks" in shown
        assert WARNING not in shown


def test_equals_that_come_out_different_are_warned_of() -> None:
    """A host that makes a difference of 4% out of nothing would be believed in one of 4%."""
    for shown in (markdown_of(*with_slow_twins(1.04)), summary_of(*with_slow_twins(1.04))):
        assert WARNING in shown
        assert "known ratio of 1.000 and came out at 1.040" in shown


def test_a_run_without_twins_says_that_it_does_not_know() -> None:
    """A run of an earlier version would look as if its host had been tried."""
    header, records = make_run()
    old = [record for record in records if record.trial.purpose != "twin"]
    shown = markdown_of(header, old)
    assert MEASURED not in shown
    assert "How small a difference this host can show was not measured" in shown


def test_pressure_that_is_not_told_is_no_zero() -> None:
    """A host whose kernel has no pressure information would pass for a quiet one."""
    header, records = make_run()
    silent = [
        msgspec.structs.replace(each, conditions=msgspec.structs.replace(each.conditions, pressure={}))
        for each in records
    ]
    assert "does not tell for how long something waited for a CPU" in markdown_of(header, silent)
    assert "Something waited for a CPU in 0.4% of the time" in markdown_of(header, records)


def test_what_instruments_read_to_is_shown_with_how_that_is_known() -> None:
    """A difference below what an instrument can see would be taken for one."""
    header, records = make_run()
    shown = markdown_of(header, records)
    (row,) = [line for line in shown.splitlines() if "| `boot.ready`" in line]
    assert "300 µs" in row
    assert "measured: our stamp of a byte less the VMM's own" in row
    blind = [msgspec.structs.replace(each, read_to_why="") for each in header.metrics]
    assert "What the instruments read to" not in markdown_of(
        msgspec.structs.replace(header, metrics=tuple(blind)), records
    )
