"""The statistics of a run: what enters them, what they say, and that no order of the records changes them."""

from __future__ import annotations

import itertools
import statistics

import msgspec
import pytest
from factories import (
    find_own,
    make_boot_run,
    make_guest,
    make_header,
    make_record,
    make_run,
    make_system,
    make_trials,
    with_outcome,
)
from hypothesis import given
from hypothesis import strategies as st

from guestbench.analysis.quality import find_failures, find_notices
from guestbench.analysis.summary import find_summary, median_interval, smallest_sample, summarise, variation
from guestbench.families.boot import READY
from guestbench.families.boot.findings import milestone_steps
from guestbench.model import Conditions, Crashed, Platform, Role, Sample, TimedOut

times = st.floats(min_value=1e-4, max_value=1e4)
samples_of_times = st.lists(times, min_size=1, max_size=40)


# --- the interval of the median ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "rank", "coverage"),
    [
        (6, 1, 0.969),
        (8, 1, 0.992),
        (9, 2, 0.961),
        (10, 2, 0.979),
        (12, 3, 0.961),
        (17, 5, 0.951),
        (20, 6, 0.959),
    ],
)
def test_median_interval_is_that_of_published_tables(n: int, rank: int, coverage: float) -> None:
    """A user's interval of the median would not be the one that statistics tables give for as many values."""
    interval = median_interval([float(i) for i in range(1, n + 1)])
    assert interval is not None
    assert (interval.low, interval.high) == (rank, n + 1 - rank)
    assert interval.confidence == pytest.approx(coverage, abs=0.0005)


@pytest.mark.parametrize("n", range(6, 15))
def test_median_interval_coverage_is_what_counting_all_cases_gives(n: int) -> None:
    """The coverage printed beside an interval would not be the probability it claims to be."""
    interval = median_interval([float(i) for i in range(1, n + 1)])
    assert interval is not None
    low, high = round(interval.low), round(interval.high)
    # Each value lies below the true median with probability 1/2: with j values below it, the median lies
    # between the jth and the next, and the interval holds it when low <= j < high.
    cases = itertools.product((0, 1), repeat=n)
    covered = sum(low <= sum(case) < high for case in cases)
    assert interval.confidence == pytest.approx(covered / 2**n, abs=1e-12)
    narrower = sum(low + 1 <= sum(case) < high - 1 for case in itertools.product((0, 1), repeat=n))
    assert narrower / 2**n < 0.95


@given(samples_of_times)
def test_median_interval_holds_the_median_or_is_missing(values: list[float]) -> None:
    """A user would see an interval that leaves out its own median, or one that too few values cannot give."""
    interval = median_interval(values)
    if len(values) < smallest_sample():
        assert interval is None
    else:
        assert interval is not None
        assert min(values) <= interval.low <= statistics.median(values) <= interval.high <= max(values)
        assert 0.95 <= interval.confidence < 1


@given(samples_of_times, st.floats(min_value=0.5, max_value=0.999))
def test_median_interval_grows_with_its_confidence(values: list[float], confidence: float) -> None:
    """Asking for more confidence would give a narrower interval."""
    loose, tight = median_interval(values, confidence), median_interval(values, 0.4)
    if loose is not None:
        assert tight is not None
        assert loose.confidence >= confidence
        assert loose.low <= tight.low and tight.high <= loose.high


def test_median_interval_needs_six_values() -> None:
    """The report would promise an interval from another number of cycles than it needs."""
    assert smallest_sample() == 6


# --- what a summary says ----------------------------------------------------------------------------


@given(samples_of_times)
def test_summary_describes_exactly_its_values(values: list[float]) -> None:
    """A number in the table of boot times would not follow from the values listed beside it."""
    header, records = make_boot_run({"a": values})
    summary = find_own(header, records, "a")
    assert summary.values == tuple(values)
    assert (summary.n, summary.failed) == (len(values), 0)
    assert (summary.minimum, summary.maximum) == (min(values), max(values))
    assert summary.mean is not None
    assert min(values) <= summary.mean <= max(values)
    assert summary.median == statistics.median(values)
    assert (summary.sd is None) == (len(values) == 1)
    if summary.sd is not None:
        assert summary.sd == pytest.approx(statistics.stdev(values))


@given(st.permutations(range(len(make_run()[1]))))
def test_order_of_records_changes_nothing(order: list[int]) -> None:
    """The same run read in another order would give other numbers."""
    header, records = make_run()
    shuffled = [records[index] for index in order]
    assert summarise(header, shuffled) == summarise(header, records)
    assert milestone_steps(header, shuffled) == milestone_steps(header, records)


@given(samples_of_times, st.sampled_from([0.001, 1000.0]))
def test_summary_scales_with_its_values(values: list[float], factor: float) -> None:
    """A spread would depend on the unit in which the times are kept."""
    header, records = make_boot_run({"a": values, "b": [v * factor for v in values]})
    one, other = find_own(header, records, "a"), find_own(header, records, "b")
    assert other.mean == pytest.approx((one.mean or 0) * factor)
    assert (other.sd or 0) == pytest.approx((one.sd or 0) * factor, abs=1e-9 * factor)


def test_warmups_and_first_boots_stay_out() -> None:
    """A slow first boot or a warm-up would be mixed into the boot times."""
    header, records = make_run()
    summary = find_own(header, records, "debian-12-direct")
    counted = [r for r in records if r.trial.system == summary.system and r.trial.purpose == "boot"]
    assert summary.n == len(counted) == header.experiment.cycles
    first = find_summary(summarise(header, records, ("first-boot",)), "debian-12-direct", READY)
    assert first is not None and first.n == 1
    assert first.values[0] not in summary.values


def test_failed_trials_are_counted_and_their_samples_left_out() -> None:
    """A boot that failed would vanish, or its half-measured numbers would enter the mean."""
    header, records = make_boot_run({"a": [1.0, 2.0, 3.0]})
    failed = msgspec.structs.replace(records[1], outcome=TimedOut(reason="no prompt"))
    summary = find_own(header, [records[0], failed, records[2]], "a")
    assert (summary.n, summary.failed, summary.values) == (2, 1, (1.0, 3.0))
    assert any("1 of 3 trials failed" in warning for warning in summary.warnings)


def test_system_that_never_got_ready_is_still_there() -> None:
    """A system all of whose boots failed would be missing from the results without a word."""
    header, records = make_boot_run({"a": [1.0, 2.0], "b": [1.0, 2.0]})
    lost = [with_outcome(r, Crashed(reason="panic")) if r.trial.system == "b" else r for r in records]
    summary = find_own(header, lost, "b")
    assert (summary.n, summary.failed, summary.values) == (0, 2, ())
    assert (summary.mean, summary.sd, summary.median, summary.median_ci) == (None,) * 4
    assert summary.warnings == ("all 2 trials failed; there is nothing to describe",)


def test_image_sizes_stay_whole_numbers() -> None:
    """An image size would be shown as a rounded floating-point number."""
    header, records = make_run()
    summary = find_own(header, records, "debian-12-nocloud", "image.file")
    assert summary.median == 1_012_912_704 and isinstance(summary.median, int)
    assert summary.warnings == ()
    disk = find_summary(
        summarise(header, records), "debian-12-direct", "image.file", {"role": Role.DISK.value}
    )
    assert disk is not None and disk.n == 1


def test_changing_image_size_is_warned_about() -> None:
    """An image that changed while it was measured would be reported with some size in the middle."""
    guest = make_guest(make_system("a"))
    first, second = make_trials(["a"], 0)[0], make_trials(["a", "a"], 0)[1]
    sizes = [make_record(t, [Sample(metric="image.file", value=v)]) for t, v in ((first, 1), (second, 2))]
    summary = find_own(make_header([guest], [first, second]), sizes, "a", "image.file")
    assert summary.warnings == ("the value changed between measurements of the same image",)


# --- warnings ---------------------------------------------------------------------------------------


def test_noisy_values_are_warned_about() -> None:
    """A user would trust a mean whose values scatter by a third of it."""
    header, records = make_boot_run({"quiet": [1.0, 1.01, 0.99], "noisy": [1.0, 1.5, 0.7]})
    assert find_own(header, records, "quiet").warnings == ()
    summary = find_own(header, records, "noisy")
    assert summary.warnings == (f"noisy: CV {variation(summary):.0%}; rerun on a quiet host",)


def test_single_value_is_warned_about() -> None:
    """A user would take one boot for a measurement of how boots are."""
    header, records = make_boot_run({"a": [1.0]})
    assert "measure more cycles" in find_own(header, records, "a").warnings[0]


@pytest.mark.parametrize(
    ("others", "steal", "expected"),
    [
        (0.10, 0.10, ()),
        (0.47, 0.0, ("other processes used more than 0.2 of its 2 cores in 1 of 2 trials, at most 0.94",)),
        (
            0.0,
            0.2,
            ("the hypervisor below took more than 0.2 of its 2 cores in 1 of 2 trials, at most 0.4",),
        ),
    ],
)
def test_busy_host_is_warned_about(others: float, steal: float, expected: tuple[str, ...]) -> None:
    """A user would not learn that a neighbour disturbed the boots."""
    header, records = make_boot_run({"a": [1.0, 1.0]})
    disturbed = msgspec.structs.replace(
        records[1], conditions=Conditions(load_1m=2.0, cpu_others=others, cpu_steal=steal)
    )
    warnings = find_own(header, [records[0], disturbed], "a").warnings
    assert warnings == tuple(f"the host was busy: {text}" for text in expected)


# --- the run as a whole -----------------------------------------------------------------------------


def test_sound_run_has_no_notices() -> None:
    """A sound run would carry warnings that teach users to ignore them."""
    assert find_notices(*make_run()) == ()


def test_records_that_do_not_belong_together_are_noticed() -> None:
    """Records of another host, tool or image would be pooled without a word."""
    header, records = make_run()
    replace = msgspec.structs.replace
    odd = (
        replace(records[0], host="elsewhere"),
        replace(records[1], tool="9.9"),
        replace(records[8], images={Role.KERNEL: "0" * 64}),
        *records[2:8],
        *records[9:],
    )
    foreign, version, image = find_notices(header, odd)
    assert "another host" in foreign and "9.9" in version
    assert records[8].trial.system in image


def test_replayed_runs_are_not_taken_for_measurements() -> None:
    """A report of replayed recordings would read like one of real boots."""
    header, records = make_run()
    replayed = msgspec.structs.replace(header, platform=Platform(vmm="fake"))
    assert "no time is a measurement" in find_notices(replayed, records)[0]


def test_like_failures_are_told_together() -> None:
    """Ten boots that failed alike would fill the top of the report."""
    header, records = make_boot_run({"a": [1.0] * 4})
    reasons = ["x", "y", "x", ""]
    failed = [
        with_outcome(record, Crashed(reason=reason)) if reason else record
        for record, reason in zip(records, reasons, strict=True)
    ]
    groups = find_failures(header, failed)
    assert [(g.outcome.reason, g.n, g.of) for g in groups] == [("x", 2, 4), ("y", 1, 4)]


def test_quartiles_enclose_the_middle_half() -> None:
    """The spread of skewed times would be told by the SD alone, which one outlier sets."""
    summary = find_own(*make_boot_run({"uk": [5, 1, 3, 2, 4, 100]}), "uk")
    # 1 2 3 4 5 100: at places 2.25 and 4.75.
    assert (summary.lower_quartile, summary.upper_quartile) == (2.25, 4.75)
    assert find_own(*make_boot_run({"uk": [5]}), "uk").lower_quartile is None
