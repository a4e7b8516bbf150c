"""When a run has blocks enough, and that its intervals still say what they claim."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from steered import make_steered

from guestbench.analysis import stopping
from guestbench.analysis.claims import judge_claims
from guestbench.analysis.compare import compare_run, decide
from guestbench.analysis.quality import count_missing, find_notices
from guestbench.definition.until import parse_until
from guestbench.model import Claim, Crashed, Interval, Verdict

SETS = 800


def test_a_run_ends_at_the_first_look_that_is_narrow_enough() -> None:
    """A run would go on for hours after it knows what it was to find out, or be called incomplete."""
    header, records = make_steered("ci=2.5%", 0.05)
    looks = stopping.find_looks(header, records)
    reaches = {x.blocks: np.log(x.interval.high / x.interval.low) / 2 for x in looks.taken if x.interval}
    assert looks.end == max(reaches)
    assert [blocks for blocks, reach in reaches.items() if reach <= np.log(1.025)] == [looks.end]
    assert looks.end is not None and 10 < looks.end < 40
    done = [record for record in records if record.trial.block <= looks.end]
    assert count_missing(header, done) == 0
    assert not any("not complete" in notice for notice in find_notices(header, done))
    assert {trial.block for trial in stopping.trim(header, done).trials} == {*range(1, looks.end + 1)}


def test_half_a_block_is_not_looked_at() -> None:
    """A look after part of a block would favour the systems that come early in it."""
    header, records = make_steered("ci=3%", 0.001)
    short = [record for record in records if record.trial.block <= 10][:-1]
    assert stopping.find_looks(header, short).taken == ()
    assert count_missing(header, short) == len(header.trials) - len(short)
    assert stopping.find_looks(header, records[: len(short) + 1]).end == 10


def test_the_same_records_give_the_same_looks_whatever_came_after() -> None:
    """A run that is gone on with would decide otherwise than one that was never interrupted."""
    header, records = make_steered("ci=2%", 0.05)
    whole = stopping.find_looks(header, records)
    assert len(whole.taken) > 2
    for look in whole.taken:
        part = [record for record in records if record.trial.block <= look.blocks]
        assert stopping.find_looks(header, part).taken == whole.taken[: whole.taken.index(look) + 1]


def test_a_calm_system_alone_ends_nothing() -> None:
    """A run would stop because of the baseline's own interval, before the ratio is known at all."""
    header, records = make_steered("ci=3%", 0.4)
    looks = stopping.find_looks(header, records)
    assert {look.system for look in looks.taken} == {"other"}
    assert looks.end is None


def test_a_guest_that_never_gets_ready_does_not_keep_the_run_going() -> None:
    """A broken guest would be booted 160 times, each until its time is over."""
    header, records = make_steered("ci=3%", 0.01)
    dead = [
        msgspec.structs.replace(record, outcome=Crashed(reason="x"), samples=())
        if record.trial.system == "other"
        else record
        for record in records
    ]
    looks = stopping.find_looks(header, dead)
    assert (looks.taken, looks.end) == ((), 10)


def test_failed_boots_count_for_no_pair() -> None:
    """Ten blocks of which two hold would be taken for enough."""
    header, records = make_steered("ci=3%", 0.001)
    some = [
        msgspec.structs.replace(record, outcome=Crashed(reason="x"), samples=())
        if record.trial.system == "other" and record.trial.block in (3, 4)
        else record
        for record in records
    ]
    looks = stopping.find_looks(header, some)
    assert [(look.blocks, look.pairs) for look in looks.taken] == [(10, 8), (14, 12)]


def test_a_verdict_needs_the_interval_the_effect_and_the_test() -> None:
    """A run would stop as if it had told apart what it did not."""
    rule = parse_until("verdict")
    assert stopping.judge(rule, [0.5 + x / 100 for x in range(10)])[2]
    assert stopping.judge(rule, [(-1) ** x / 100 for x in range(10)])[2]
    assert not stopping.judge(rule, [0.02 + (-1) ** x * 0.02 for x in range(10)])[2]
    assert not stopping.judge(rule, [(-1) ** x * 0.5 for x in range(10)])[2]
    assert not stopping.judge(rule, [0.5 + x / 100 for x in range(9)])[2]


def end_run(until: str, logs: np.ndarray) -> tuple[int, Interval, bool]:
    """After how many blocks a run with these differences ends, its last interval, and if it is enough."""
    rule = parse_until(until)
    for blocks in rule.looks:
        interval, _, reached = stopping.judge(rule, logs[:blocks].tolist())
        assert interval is not None
        if reached or blocks == rule.most:
            return blocks, interval, reached
    raise AssertionError("no look is at the cap")


@pytest.mark.parametrize("spread", [0.05, 0.08, 0.12])
def test_an_interval_of_a_run_that_stops_by_its_width_covers_the_truth(spread: float) -> None:
    """The 95% of a report would be less, because its run had stopped when the width suited it."""
    random = np.random.default_rng(20240117)
    ends = [end_run("ci=3%", random.normal(0.4, spread, 160)) for _ in range(SETS)]
    covered = sum(interval.low <= 0.4 <= interval.high for _, interval, _ in ends) / SETS
    assert covered >= 0.92
    assert covered == pytest.approx(stopping.COVERAGE, abs=0.025)
    assert len({blocks for blocks, _, _ in ends}) > 1


@pytest.mark.parametrize(("spread", "most"), [(0.05, 0.04), (0.12, 0.07)])
def test_equal_systems_are_seldom_told_apart_by_a_run_that_looks_for_a_verdict(
    spread: float, most: float
) -> None:
    """Whoever looks five times at two copies of one image would be told too often that they differ."""
    random = np.random.default_rng(20240117)
    ends = [end_run("verdict", random.normal(0, spread, 160)) for _ in range(SETS)]
    apart = sum(reached and not interval.low <= 0 <= interval.high for _, interval, reached in ends) / SETS
    assert apart <= most
    assert apart <= stopping.CHANCE + 0.01


def test_a_real_difference_ends_a_run_early() -> None:
    """A run that could have ended after ten blocks would make 160."""
    random = np.random.default_rng(20240117)
    ends = [end_run("verdict", random.normal(0.2, 0.05, 160)) for _ in range(50)]
    assert all(reached and interval.low > 0 for _, interval, reached in ends)
    assert np.mean([blocks for blocks, _, _ in ends]) < 12


def test_a_report_says_no_more_than_the_looks_did() -> None:
    """After five looks at 1.58% a report at 5% would tell equal systems apart more often than it says."""
    header, records = make_steered("verdict", 0.3, cycles=160)
    last = stopping.find_looks(header, records).taken[-1]
    compared = {(each.metric, each.system): each for each in compare_run(header, records)}
    found = compared["boot.ready", "other"].ratio_ci
    assert found is not None and last.interval is not None
    assert (found.low, found.high) == pytest.approx((last.interval.low, last.interval.high))
    assert found.confidence == pytest.approx(0.9842)
    free = msgspec.structs.replace(header, until=None)
    usual = {(each.metric, each.system): each.ratio_ci for each in compare_run(free, records)}
    assert (usual["boot.ready", "other"] or found).confidence == pytest.approx(0.95)


def test_the_test_of_a_comparison_is_held_to_the_level_of_its_interval() -> None:
    """A p of 0.03 would pass after five looks, each of which allows 0.0158."""
    header, records = make_steered("verdict", 0.05, ratio=1.04, cycles=10, seed=5)
    (found,) = (each for each in compare_run(header, records) if each.metric == "boot.ready")
    lower = msgspec.structs.replace(found, p_holm=0.03)
    loose = msgspec.structs.replace(lower, ratio_ci=Interval(low=1.01, high=1.07, confidence=0.95))
    strict = msgspec.structs.replace(lower, ratio_ci=Interval(low=1.01, high=1.07, confidence=0.9842))
    assert decide(loose).verdict is Verdict.LARGER
    assert decide(strict).verdict is Verdict.INCONCLUSIVE


def test_a_claim_is_judged_at_the_level_of_the_looks() -> None:
    """A claim would be confirmed by an interval that looking five times had made too narrow."""
    header, records = make_steered("verdict", 0.3)
    claim = Claim(text="as fast", metric="boot.ready", system="other", against="base", least=0.5, most=2)
    experiment = msgspec.structs.replace(header.experiment, claims=(claim,))
    (judged,) = judge_claims(msgspec.structs.replace(header, experiment=experiment), records)
    assert judged.interval is not None
    assert judged.interval.confidence == pytest.approx(0.9842)
