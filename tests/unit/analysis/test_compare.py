"""Comparisons of systems and the judging of claims: what is compared with what, and what is said of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from factories import boot_samples, make_guest, make_header, make_record, make_system, make_trials
from report_pages import markdown_of
from verdicts import search_least

from guestbench.analysis.claims import judge_claims
from guestbench.analysis.compare import Pair, compare, compare_run, settle
from guestbench.analysis.samples import Sampled, collect
from guestbench.model import (
    Claim,
    Crashed,
    Gap,
    GuestFamily,
    Header,
    Method,
    Record,
    Ruling,
    Sample,
    Trial,
    Verdict,
)

TEN = [1.00, 1.02, 0.99, 1.01, 1.00, 0.98, 1.03, 1.00, 0.99, 1.01]


def blocks(values: Sequence[float], factor: float = 1.0) -> Sampled:
    """Values of blocks 1, 2, and so on."""
    return Sampled(values=tuple((n, value * factor) for n, value in enumerate(values, 1)))


def loose(*values: float, failed: int = 0) -> Sampled:
    """Values of no block."""
    return Sampled(values=tuple((0, value) for value in values), failed=failed)


# --- two samples ----------------------------------------------------------------------------------------


def test_a_clear_difference_has_its_direction() -> None:
    """Faster and slower would be confused, or a doubled time not be noticed."""
    found = compare(blocks(TEN, 2.0), blocks(TEN[::-1]))
    assert (found.verdict, found.method) == (Verdict.LARGER, Method.BLOCKS)
    assert found.ratio == pytest.approx(2.0)
    assert found.ratio_ci is not None and found.ratio_ci.low > 1.9 and found.ratio_ci.high < 2.1
    assert (found.p, found.delta) == (2 / 2**10, 1.0)
    assert found.difference == pytest.approx(sum(TEN) / 10)
    assert compare(blocks(TEN[::-1]), blocks(TEN, 2.0)).verdict is Verdict.SMALLER


def test_what_a_block_shares_cancels() -> None:
    """A host that slows down by half during a run would hide every difference."""
    drift = [1 + n / 20 for n in range(10)]
    a, b = [d * t * 1.05 for d, t in zip(drift, TEN, strict=True)], list(drift)
    assert compare(blocks(a), blocks(b)).verdict is Verdict.LARGER
    assert compare(loose(*a), loose(*b)).verdict is Verdict.INCONCLUSIVE


def test_only_blocks_that_have_both_are_paired() -> None:
    """A failed boot would shift all pairs behind it by one."""
    a = Sampled(values=((1, 1.0), (3, 3.0), (4, 4.0)), failed=1)
    b = Sampled(values=((1, 2.0), (2, 9.0), (3, 6.0), (4, 8.0)))
    found = compare(a, b)
    assert found.method is Method.BLOCKS and found.ratio == pytest.approx(0.5)
    assert (found.n, found.n_baseline, found.failed, found.failed_baseline) == (3, 4, 1, 0)


def test_a_small_difference_is_none() -> None:
    """A difference of 1% that is sure would be called a difference, or one that is unsure be called none."""
    assert compare(blocks(TEN, 1.01), blocks(TEN)).verdict is Verdict.EQUIVALENT
    noisy = compare(blocks([1, 1.4, 0.8, 1.2]), blocks([1.3, 0.9, 1.1, 1.0]))
    assert noisy.verdict is Verdict.INCONCLUSIVE
    assert "about" in noisy.reason and noisy.needed is not None and noisy.needed > 100


def test_figures_that_do_not_scatter_are_compared_as_they_are() -> None:
    """Sizes of files would be called inconclusive for want of cycles."""
    assert compare(loose(50.0), loose(100.0), exact=True).verdict is Verdict.SMALLER
    assert compare(loose(101.0), loose(100.0), exact=True).verdict is Verdict.EQUIVALENT


@pytest.mark.parametrize(
    ("a", "b", "reason"),
    [
        (loose(failed=3), loose(1.0), "the system has no value: all 3 trials failed"),
        (loose(1.0), loose(), "the baseline has no value"),
        (loose(-1.0), loose(1.0), "a single value does not show how it scatters"),
        (loose(1.0), loose(2.0), "a single value does not show how it scatters"),
    ],
)
def test_what_cannot_be_compared_says_why(a: Sampled, b: Sampled, reason: str) -> None:
    """A missing figure would end in a traceback, or in a ratio of nothing."""
    found = compare(a, b)
    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, reason)


def test_many_comparisons_are_adjusted_for_one_another() -> None:
    """Of a hundred equal metrics five would be called different."""
    slight = [x * (1.05 if n % 9 else 0.99) for n, x in enumerate(TEN)]
    alone = compare(blocks(slight), blocks(TEN))
    assert alone.verdict is Verdict.LARGER and alone.p is not None and 0.002 < alone.p < 0.05
    together = settle([Pair(alone, blocks(slight), blocks(TEN))] * 20)
    assert all(each.found.p_holm is not None and each.found.p_holm > 0.05 for each in together)
    assert {each.found.verdict for each in together} <= {Verdict.INCONCLUSIVE, Verdict.LARGER}


def test_few_values_rest_on_the_interval_and_say_so() -> None:
    """Three boots of each, fifty times apart, would be called inconclusive."""
    samples = blocks([1.0, 1.1, 1.05], 50), blocks([1.05, 1.0, 1.1])
    found = compare(*samples)
    assert (found.verdict, found.reason) == (Verdict.LARGER, "by the interval alone")
    assert settle([Pair(found, *samples)])[0].found.p_holm is None


# --- a run ----------------------------------------------------------------------------------------------


def make_run(claims: Sequence[Claim] = (), baseline: str = "debian") -> tuple[Header, tuple[Record, ...]]:
    """A floor, a unikernel and two Linux guests; the unikernel boots twenty times as fast as debian."""
    guests = [
        make_guest(make_system("floor", family=GuestFamily.FLOOR)),
        make_guest(make_system("uk", family=GuestFamily.UNIKERNEL)),
        make_guest(make_system("debian")),
        make_guest(make_system("broken")),
    ]
    trials = make_trials([guest.system.name for guest in guests], 10)
    header = make_header(guests, trials)
    experiment = msgspec.structs.replace(header.experiment, baseline=baseline, claims=tuple(claims))
    times = {"floor": 0.1, "uk": 2.0, "debian": 40.0}
    sizes = {"floor": 300, "uk": 5_000_000, "debian": 300_000_000, "broken": 300_000_000}
    records = []
    for trial in trials:
        if trial.purpose == "image":
            records.append(make_record(trial, [Sample(metric="image.file", value=sizes[trial.system])]))
        elif trial.system == "broken":
            records.append(make_record(trial, outcome=Crashed(reason="kernel panic")))
        else:
            time = times[trial.system] * TEN[trial.cycle - 1]
            records.append(make_record(trial, boot_samples(time, time)))
    return msgspec.structs.replace(header, experiment=experiment), tuple(records)


def test_all_but_the_floor_are_compared_with_the_baseline() -> None:
    """The floor would be called faster than Debian, or Debian be compared with itself."""
    found = {(c.metric, c.system): c for c in compare_run(*make_run())}
    assert {system for _, system in found} == {"uk", "broken"}
    assert found["boot.ready", "uk"].ratio == pytest.approx(1 / 20)
    assert found["boot.ready", "uk"].verdict is Verdict.SMALLER
    assert found["boot.ready", "broken"].failed == 10
    assert "all 10 trials failed" in found["boot.ready", "broken"].reason
    assert found["image.file", "uk"].method is Method.EXACT
    assert compare_run(*make_run(baseline="")) == ()
    assert compare_run(*make_run(baseline="gone")) == ()


SMALLER = Claim(text="", metric="image.file", system="uk", against="debian")
FASTER = Claim(text="", metric="boot.ready", system="unikernel", against="debian")


def claim_of(base: Claim, least: float | None = None, most: float | None = None) -> Claim:
    """A claim within other bounds."""
    return msgspec.structs.replace(base, text=f"{least} to {most} | <b>", least=least, most=most)


@pytest.mark.parametrize(
    ("claim", "ruling", "value"),
    [
        (claim_of(FASTER, least=10, most=50), Ruling.CONFIRMED, 20.0),
        (claim_of(FASTER, least=50), Ruling.REFUTED, 20.0),
        (claim_of(FASTER, most=10), Ruling.REFUTED, 20.0),
        (claim_of(SMALLER, least=60, most=60), Ruling.CONFIRMED, 60.0),
        (Claim(text="5 MB", metric="image.file", system="uk", least=4e6, most=6e6), Ruling.CONFIRMED, 5e6),
        (Claim(text="7 MB", metric="image.file", system="uk", least=7e6, most=8e6), Ruling.REFUTED, 5e6),
    ],
)  # fmt: skip
def test_claims_are_judged_by_what_was_found(claim: Claim, ruling: Ruling, value: float) -> None:
    """A wrong expectation would be confirmed, or a right one refuted."""
    (found,) = judge_claims(*make_run([claim]))
    assert (found.system, found.ruling) == ("uk", ruling)
    assert found.value == pytest.approx(value)


def test_a_claim_that_the_interval_does_not_decide_is_undecided() -> None:
    """A claim would be confirmed by luck."""
    header, records = make_run([claim_of(FASTER, least=20)])
    noisy = [
        msgspec.structs.replace(record, samples=boot_samples(2.0 * (1 + record.trial.cycle % 3), 1.0))
        if record.trial.system == "uk" and record.trial.purpose == "boot"
        else record
        for record in records
    ]
    header = msgspec.structs.replace(
        header,
        experiment=msgspec.structs.replace(header.experiment, claims=(claim_of(FASTER, least=10),)),
    )
    (found,) = judge_claims(header, noisy)
    assert found.ruling is Ruling.UNDECIDED
    assert found.interval is not None and found.interval.low < 10 < found.interval.high


def test_a_claim_without_a_figure_says_why() -> None:
    """A claim would vanish from the report where its figure is missing."""
    claims = [
        Claim(text="no port", metric="surface.open_tcp", system="uk", most=0),
        Claim(text="fast", metric="boot.ready", system="broken", against="debian", most=1),
        Claim(text="small", metric="image.file", system="mirage-unikraft", most=1),
    ]
    header, records = make_run(claims)
    first = next(r for r in records if r.trial.system == "uk")
    gap = Gap(metric="surface.open_tcp", reason="the guest sent nothing on the link")
    records = tuple(msgspec.structs.replace(r, gaps=(gap,)) if r is first else r for r in records)
    found = judge_claims(header, records)
    assert [each.ruling for each in found] == [Ruling.UNDECIDED] * 3
    assert found[0].reason == "uk: the guest sent nothing on the link"
    assert found[1].reason == "broken has no value: all 10 trials failed"
    assert found[2].reason == "mirage-unikraft is not in this run"


def test_a_claim_says_which_of_several_figures_it_is_about() -> None:
    """The median and the 99th percentile, or memory idle and under load, would be added up."""
    header, records = make_run([Claim(text="50", metric="surface.processes", system="debian", least=50)])
    first = next(r for r in records if r.trial.system == "debian" and r.trial.purpose == "boot")
    parts = tuple(
        Sample(metric="surface.processes", value=count, labels={"kind": kind})
        for kind, count in (("user", 20), ("kernel-thread", 31))
    )
    records = tuple(msgspec.structs.replace(r, samples=parts) if r is first else r for r in records)
    (found,) = judge_claims(header, records)
    assert (found.ruling, found.value) == (Ruling.UNDECIDED, None)
    assert found.reason == (
        "the claim does not say which figure it is about: debian has surface.processes{kind=kernel-thread}, "
        "surface.processes{kind=user}"
    )


def test_the_report_shows_claims_and_comparisons() -> None:
    """What the data decide would be in no report."""
    claims = [
        claim_of(FASTER, least=10, most=50),
        Claim(text="7 MB", metric="image.file", system="uk", least=7e6, most=8e6),
    ]
    report = markdown_of(*make_run(claims))
    assert "## What was expected, and what was found" in report
    assert "20.0 times (" in report and "| confirmed under TCG |" in report.replace("  ", "")
    assert "refuted: less than that" in report and "<b>" not in report
    assert "## Compared with `debian`" in report
    assert "0.0500 (0.0500 to 0.0500)" in report or "0.0500 (0.0" in report
    assert "## Compared with" not in markdown_of(*make_run(baseline=""))


# --- few, equal and strange values ------------------------------------------------------------------------


def test_values_that_do_not_scatter_prove_nothing() -> None:
    """Two boots that happen to take the same time would make an interval without width, and a verdict."""
    for a, b in (((1.04, 1.04), (1.0, 1.0)), ((1.04,) * 3, (1.0,) * 3), ((1.0, 1.0), (1.0, 1.0))):
        for make in (blocks, lambda values: loose(*values)):
            found = compare(make(a), make(b))
            assert (found.verdict, found.ratio_ci) == (Verdict.INCONCLUSIVE, None)
            assert found.reason == "too few different values to show how they scatter"


def test_what_the_instrument_cannot_tell_is_in_the_interval() -> None:
    """CPU time in ticks of 10 ms would be known to the nanosecond wherever it does not change."""
    a, b = (Sampled(values=tuple((n, v) for n in range(1, 6)), resolution=0.01) for v in (0.11, 0.10))
    found = compare(a, b)
    assert found.ratio_ci is not None and found.ratio_ci.high / found.ratio_ci.low > 1.05
    assert compare(a, a).verdict is Verdict.INCONCLUSIVE
    fine = msgspec.structs.replace(a, resolution=0.0001)
    assert compare(fine, fine).verdict is Verdict.EQUIVALENT


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("scale", [3.0, 1e3, 3e5])
def test_an_instrument_is_as_coarse_as_it_is_on_each_side(scale: float, paired: bool) -> None:
    """What is small beside another would lie in an interval from nothing to everything."""
    numbers = [100.0, 100.01, 99.99, 100.0]
    places = range(1, 5) if paired else [0] * 4
    small, large = (
        Sampled(
            values=tuple((n, size * v) for n, v in zip(places, numbers, strict=True)), resolution=size / 20
        )
        for size in (1.0, scale)
    )
    for found, ratio in ((compare(small, large), 1 / scale), (compare(large, small), scale)):
        assert found.ratio_ci is not None
        assert ratio / 1.002 < found.ratio_ci.low < ratio < found.ratio_ci.high < ratio * 1.002


def test_many_equal_values_are_judged_by_the_test() -> None:
    """A counter that gives the same each time would never be found to have changed."""
    found = compare(blocks([2.0] * 10), blocks([1.0] * 10))
    assert (found.verdict, found.reason) == (Verdict.LARGER, "by the permutation test alone")
    assert compare(blocks([2.0] * 10), blocks([2.0] * 10)).verdict is Verdict.EQUIVALENT


def test_two_common_blocks_of_six_are_no_pairs() -> None:
    """A difference of a hundred times would be inconclusive, since four of six values were dropped."""
    a = Sampled(values=tuple((n, 100.0 + n) for n in (1, 2, 7, 8, 9, 10)))
    b = Sampled(values=tuple((n, 1.0 + n / 100) for n in range(1, 7)))
    found = compare(a, b)
    assert (found.verdict, found.method, found.pairs) == (Verdict.LARGER, Method.SAMPLES, None)
    both = Sampled(values=b.values[:4]), Sampled(values=tuple((n, 2 * v) for n, v in b.values))
    assert (compare(*both).method, compare(*both).pairs) == (Method.BLOCKS, 4)


def test_a_test_of_few_pairs_is_not_taken_for_one_of_many() -> None:
    """Of ten boots a side four pairs would be left, and a test that cannot reject would refute."""
    a = Sampled(values=tuple((n, 2.0 + n / 50) for n in range(1, 6)))
    b = Sampled(values=tuple((n, 1.0 + n / 60) for n in range(1, 6)))
    found = compare(a, b)
    assert (found.pairs, found.verdict, found.reason) == (5, Verdict.LARGER, "by the interval alone")


@pytest.mark.parametrize(
    ("a", "b", "exact", "verdict"),
    [
        (loose(50.0), loose(0.0), True, Verdict.LARGER),
        (loose(0.0), loose(5000.0), True, Verdict.SMALLER),
        (loose(0.0), loose(0.0), True, Verdict.EQUIVALENT),
        (loose(*[0.0] * 8), loose(*[0.0] * 8), False, Verdict.EQUIVALENT),
        (loose(*range(50, 60)), loose(*[0.0] * 10), False, Verdict.LARGER),
        (loose(*[0.0] * 10), loose(*range(50, 60)), False, Verdict.SMALLER),
        (loose(0.0, 1.0, 2.0, 0.0, 1.0), loose(1.0, 0.0, 0.0, 2.0, 2.0), False, Verdict.INCONCLUSIVE),
    ],
)
def test_a_rise_from_nothing_is_a_rise(a: Sampled, b: Sampled, exact: bool, verdict: Verdict) -> None:
    """Fifty open ports where there were none would be inconclusive, for want of a ratio."""
    found = compare(a, b, exact=exact)
    assert (found.verdict, found.ratio) == (verdict, None)


def test_huge_values_are_compared() -> None:
    """One value that a guest made up would end the report in a traceback."""
    found = compare(blocks([1e308, 1.2e308, 1e307]), blocks([1e-300, 2e-300, 3e-300]))
    assert found.ratio_ci is not None and found.ratio_ci.low > 1


def test_a_median_that_contradicts_the_mean_is_told() -> None:
    """One boot that hung for a minute would make a guest slower that is quicker in nine of ten."""
    header, records = make_run()
    page = markdown_of(header, records)
    assert "the medians say" not in page
    slow = [
        msgspec.structs.replace(record, samples=boot_samples(60.0 if record.trial.block == 1 else 0.5, 0.1))
        if (record.trial.system, record.trial.purpose) == ("uk", "boot")
        else record
        for record in records
    ]
    assert slow != list(records) and "the medians say" in markdown_of(header, slow)


# --- searches ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("soft", [0, 4, 12, 30])
def test_two_searches_of_one_guest_are_seldom_told_apart(soft: int) -> None:
    """Of two guests that are the same, one would be said to need more RAM in every third comparison."""
    random = np.random.default_rng(11)
    chance = [0.0] * 40 + [(n + 1) / (soft + 1) for n in range(soft)]
    found = [
        compare(search_least(chance, random), search_least(chance, random), exact=True) for _ in range(300)
    ]
    apart = sum(each.verdict in (Verdict.SMALLER, Verdict.LARGER) for each in found)
    assert all(each.method is Method.SEARCH for each in found)
    assert apart <= 15


def test_guests_of_different_needs_are_told_apart() -> None:
    """A guest that needs 72 MiB and one that needs 40 would be inconclusive."""
    random = np.random.default_rng(12)
    small, large = search_least([0.0] * 39, random), search_least([0.0] * 71, random)
    found = compare(small, large, exact=True)
    assert (found.verdict, found.ratio) == (Verdict.SMALLER, 40 / 72)
    assert found.ratio_ci is not None and (found.ratio_ci.low, found.ratio_ci.high) == (39 / 72, 40 / 71)
    one = search_least([0.0] * 20, random, boots=1), search_least([0.0] * 21, random, boots=1)
    found = compare(*one, exact=True)
    assert (found.verdict, found.reason) == (
        Verdict.INCONCLUSIVE,
        "too few boots with the sizes between them to exclude chance",
    )


# --- trials that went on from one boot ---------------------------------------------------------------------


def make_work(boots: int, values: Sequence[float], name: str = "uk") -> list[Record]:
    """Trials of one system, one a block, that take turns in going on from so many boots."""
    return [
        msgspec.structs.replace(
            make_record(
                Trial(id=f"{name}-{n}", system=name, purpose="boot", block=n, cycle=n, definition=""),
                boot_samples(value, 0.1),
            ),
            origin=f"snapshot-{name}-{n % boots}",
        )
        for n, value in enumerate(values, 1)
    ]


def test_trials_that_went_on_from_one_boot_are_one_value() -> None:
    """What differs from boot to boot would be taken for nothing, since one boot was measured three times."""
    header = make_header([make_guest(make_system("uk"))], [])
    found = collect(header, make_work(2, [1.0, 2.0, 4.0, 8.0]))["uk"]["boot.ready", ()]
    assert [block for block, _ in found.values] == [0, 0]
    assert found.numbers == pytest.approx([2.0, 4.0])
    each = collect(header, make_work(4, [1.0, 2.0, 4.0, 8.0]))["uk"]["boot.ready", ()]
    assert each.values == ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0))


@pytest.mark.parametrize("boots", [1, 3])
def test_two_guests_that_are_the_same_are_seldom_told_apart_by_work(boots: int) -> None:
    """Boots that differ by 3% would make equal guests different in every other run."""
    random, apart = np.random.default_rng(8), 0
    header = make_header([make_guest(make_system(name)) for name in ("uk", "pot")], [])
    for _ in range(150):
        records: list[Record] = []
        for name in ("uk", "pot"):
            own = random.normal(0, 0.03, boots)
            values = [math.exp(own[n % boots] + random.normal(0, 0.005)) for n in range(1, 10)]
            records += make_work(boots, values, name)
        found = collect(header, records)
        sides = (found[name]["boot.ready", ()] for name in ("uk", "pot"))
        apart += compare(*sides).verdict in (Verdict.SMALLER, Verdict.LARGER)
    assert apart <= 10
