"""The first screen of a report: what the host can tell apart, and what must be known before believing it."""

from __future__ import annotations

import msgspec
from factories import make_run
from report_pages import compared_run, html_of, markdown_of, summary_of

from guestbench.analysis.analyse import analyse
from guestbench.model import Better, Comparison, Header, Method, Record, Verdict
from guestbench.report.front import say_times

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
    planned = tuple(trial for trial in header.trials if trial.purpose != "twin")
    header = msgspec.structs.replace(header, trials=planned)
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


def test_who_is_ahead_is_said_in_words_with_how_surely() -> None:
    """A reader would have to turn 0.0557 over to learn that it is 17.9 times faster, and could forget why."""
    shown = markdown_of(*compared_run())
    first = shown.partition("\n## ")[0]
    assert "`linux-minimal` is **17.9 times faster** (17.5 to 18.4) than `debian-12-nocloud`" in first
    assert "GRUB's menu of five seconds included" in first
    assert "| `debian-12-direct`  | ✓ better in 1, ✗ worse in 1 |" in first
    assert "✗ 1.04 times more" in first and "Cliff" not in first


def test_why_nothing_is_decided_is_said_once_for_all_systems() -> None:
    """A page would begin with the same reason for each system, each with another number of blocks."""
    header, records = compared_run()
    baseline = header.experiment.baseline
    scale = {name: 1 + 0.3 * n for n, name in enumerate(each.name for each in header.systems)}

    def blur(record: Record) -> Record:
        off = (record.trial.block * 7 % 11 - 5) / 20 * scale[record.trial.system]
        value = 1.0 if record.trial.system == baseline else 1.0 + off
        samples = (
            msgspec.structs.replace(each, value=value) if each.metric == "boot.ready" else each
            for each in record.samples
        )
        return msgspec.structs.replace(record, samples=tuple(samples))

    blurred = tuple(map(blur, records))
    needed = {each.needed for each in analyse(header, blurred).comparisons if each.metric == "boot.ready"}
    assert len(needed - {None}) > 1
    first = markdown_of(header, blurred).partition("\n## ")[0]
    assert first.count("the interval holds both no difference and one of more than 3%") <= 2
    assert "- Boot time: undecided: the interval holds both no difference and one of more than 3%." in first


def test_the_direction_of_a_word_is_that_of_the_metric() -> None:
    """A slower guest would be called faster where the unit is a rate, or its interval be upside down."""
    header, _ = make_run()
    seconds = next(each for each in header.metrics if each.name == "boot.ready")
    rate = msgspec.structs.replace(seconds, unit="events/s", better=Better.HIGHER)
    size = msgspec.structs.replace(seconds, unit="bytes")
    base = compared("boot.ready", 0.5)
    assert say_times(seconds, base) == "2.00 times faster"
    assert say_times(rate, base) == "2.00 times slower"
    assert say_times(size, base) == "2.00 times less"
    assert say_times(seconds, compared("boot.ready", 3)) == "3.00 times slower"
    assert say_times(rate, compared("boot.ready", 3)) == "3.00 times faster"
    assert say_times(size, compared("boot.ready", 3)) == "3.00 times more"
    assert say_times(size, compared("boot.ready", 0)) == ""


def compared(metric: str, ratio: float) -> Comparison:
    """A comparison of two systems that came out at that ratio."""
    return Comparison(
        metric=metric, labels={}, system="a", baseline="b", n=9, n_baseline=9, failed=0, failed_baseline=0,
        method=Method.BLOCKS, verdict=Verdict.SMALLER, ratio=ratio,
    )  # fmt: skip


def test_warnings_of_one_kind_stand_in_one_line_with_what_to_do() -> None:
    """Twelve lines that say the same would hide the one that does not."""
    header, records = make_run()

    def disturb(record: Record) -> Record:
        conditions = msgspec.structs.replace(record.conditions, cpu_others=0.4)
        return msgspec.structs.replace(record, conditions=conditions)

    shown = markdown_of(header, [disturb(record) for record in records])
    (line,) = [line for line in shown.partition("\n## ")[0].splitlines() if "the host was busy" in line]
    assert all(f"`{name}`" in line for name in ("floor", "linux-minimal", "debian-12-nocloud"))


def test_claims_about_systems_that_are_not_there_are_only_counted() -> None:
    """Rows about systems that nobody measured would stand between those that say something."""
    header, records = make_run()
    claims = header.experiment.claims or compared_run()[0].experiment.claims
    absent = tuple(msgspec.structs.replace(each, system="nowhere") for each in claims[:3])
    both = msgspec.structs.replace(header.experiment, claims=(*compared_run()[0].experiment.claims, *absent))
    shown = markdown_of(msgspec.structs.replace(header, experiment=both), records)
    assert "nowhere" not in shown.partition("## What was expected")[2].partition("\n## ")[0]
    assert "claims about systems that are not in this run" in shown
