"""What is said of separate runs: how often it is wrong, and what makes a difference one."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from diff_factories import diff_boots, states
from verdicts_between_runs import draw_pair, draw_recipe, rate

from guestbench.analysis.between_runs import LARGEST, Estimate, Figure, RunPair, compare_sides
from guestbench.analysis.inference import welch_interval
from guestbench.analysis.samples import Sampled
from guestbench.model import Method, Verdict
from guestbench.report.diff import describe_diff
from guestbench.report.terminal import render_lines

TIME = Figure(key=("boot.ready", ()), system="uk", exact=False, timed=True)
UNEQUAL = (Verdict.LARGER, Verdict.SMALLER)


def sample(values: list[float], failed: int = 0) -> Sampled:
    """Values of the blocks 1, 2 and so on."""
    return Sampled(values=tuple(enumerate(values, 1)), failed=failed)


# --- how often it is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize("floor", [False, True])
@pytest.mark.parametrize("common", [False, True])
def test_equal_versions_are_seldom_told_apart_by_one_run_each(floor: bool, common: bool) -> None:
    """Of a host whose runs differ by 3%, every fourth commit that changed nothing would be stopped."""
    rates = rate(200, partial(draw_pair, floor=floor, common=common), "boot.ready>3%")
    assert rates.failed <= 0.05 and rates.apart <= 0.06


def test_equal_versions_are_seldom_told_apart_by_several_runs_each() -> None:
    """More runs a side would not mend what more cycles do not."""
    rates = rate(200, partial(draw_pair, floor=False, common=False, runs=3), "boot.ready>3%")
    assert rates.failed <= 0.05 and rates.apart <= 0.08


@pytest.mark.parametrize("slower", [1.1, 1.3, 2.0])
def test_a_neighbour_who_comes_and_goes_stops_no_commit(slower: float) -> None:
    """Where old and new are measured one after the other, what else ran would be blamed on the change."""
    rates = rate(150, partial(draw_recipe, slower=slower), "boot.ready>5%")
    assert rates.failed <= 0.02


def test_large_differences_are_found() -> None:
    """What protects from false alarms would let every regression through."""
    assert rate(60, partial(draw_pair, floor=True, common=False, ratio=1.25), "boot.ready>5%").failed >= 0.9
    draw = partial(draw_pair, floor=True, common=False, ratio=1.12, runs=5)
    assert rate(60, draw, "boot.ready>5%").failed >= 0.9


# --- what decides -----------------------------------------------------------------------------------------


def test_several_runs_are_compared_by_their_means() -> None:
    """Thirty boots of three runs would count as thirty values, though they are three."""
    levels = (1.0, 1.1, 1.2), (0.9, 0.8, 1.0)
    new, old = ([sample([level, level * 1.02]) for level in side] for side in levels)
    found = compare_sides(new, old, TIME).found
    means = [[math.log(level) + math.log(1.02) / 2 for level in side] for side in levels]
    expected = welch_interval(means[0], means[1])
    assert expected is not None and found.ratio_ci is not None
    assert (found.method, found.n, found.n_baseline) == (Method.SAMPLES, 3, 3)
    assert math.log(found.ratio_ci.low) == pytest.approx(expected.low)
    assert math.log(found.ratio_ci.high) == pytest.approx(expected.high)


def test_one_run_is_held_against_how_several_scatter() -> None:
    """Last night's run could not be compared with those of a week, or as if it alone did not scatter."""
    week = [sample([level] * 3) for level in (1.0, 1.02, 0.98, 1.01, 0.99)]
    found = compare_sides([sample([1.03] * 3)], week, TIME).found
    assert found.verdict is Verdict.INCONCLUSIVE and found.ratio_ci is not None
    logs = [math.log(level) for level in (1.0, 1.02, 0.98, 1.01, 0.99)]
    # Student's t for a new value, 4 degrees of freedom: 2.776 at 95%.
    reach = 2.776 * float(np.std(logs, ddof=1)) * math.sqrt(1 + 1 / 5)
    assert math.log(found.ratio_ci.high / found.ratio_ci.low) == pytest.approx(2 * reach, rel=1e-3)
    assert compare_sides([sample([1.2] * 3)], week, TIME).found.verdict is Verdict.LARGER


def test_the_null_guest_has_to_bear_a_difference_out() -> None:
    """A host that got slower as a whole would be a regression of every guest."""
    ten = [1.0 + 0.01 * (n % 3) for n in range(10)]
    slow, floors = [1.3 * x for x in ten], (sample([0.13 * x for x in ten]), sample([0.1 * x for x in ten]))
    alone = compare_sides([sample(slow)], [sample(ten)], TIME).found
    with_floor = compare_sides([sample(slow)], [sample(ten)], TIME, floors=floors).found
    assert (alone.verdict, with_floor.verdict) == (Verdict.LARGER, Verdict.INCONCLUSIVE)
    assert with_floor.ratio == pytest.approx(1.3) and with_floor.ratio_floor == pytest.approx(1.0)
    assert with_floor.ratio_ci is not None and with_floor.ratio_ci.low < 1 < with_floor.ratio_ci.high


def test_a_floor_that_got_quicker_makes_no_regression() -> None:
    """A guest that did not change would be slower for the null guest's luck."""
    ten = [1.0 + 0.01 * (n % 3) for n in range(10)]
    floors = (sample([0.07 * x for x in ten]), sample([0.1 * x for x in ten]))
    found = compare_sides([sample(ten)], [sample(ten)], TIME, floors=floors).found
    assert found.verdict is Verdict.INCONCLUSIVE


def test_what_is_no_time_is_compared_as_before() -> None:
    """Memory would be said to differ from run to run by as much as times do."""
    memory = Figure(key=("memory.touched", ()), system="uk", exact=False, timed=False)
    found = compare_sides([sample([104.0, 104.1, 104.2])], [sample([100.0, 100.1, 100.2])], memory).found
    assert (found.method, found.verdict) == (Method.SAMPLES, Verdict.LARGER)


@pytest.mark.parametrize(
    ("mode", "jump", "scatter", "effect"),
    [
        (55_201, 56, 0.0, 0.0005),  # the reference unikernel: an interrupt in one boot of twenty
        (1_597_000_000, 0, 0.0004, 0.005),  # Linux with one program
        (14_830_000_000, 0, 0.001, 0.005),  # Debian
    ],
)
def test_two_hundred_equal_builds_are_not_told_apart_by_counts(
    mode: int, jump: int, scatter: float, effect: float
) -> None:
    """A commit would be stopped by an interrupt, or by the order of processes."""
    random = np.random.default_rng(1)
    figure = Figure(key=("cost.instructions_guest", ()), system="uk", exact=False, timed=False)
    resolution = 0.0005 * mode
    told = 0
    for _ in range(200):
        counts = mode * (1 + scatter * random.normal(size=6)) + jump * (random.random(6) < 0.05)
        new, old = (
            Sampled(values=tuple((0, float(round(x))) for x in side), resolution=resolution)
            for side in (counts[:3], counts[3:])
        )
        told += compare_sides([new], [old], figure, effect=effect).found.verdict in UNEQUAL
    assert told == 0
    grown = Sampled(values=tuple((0, x * (1 + 2 * effect)) for _, x in old.values), resolution=resolution)
    assert compare_sides([grown], [old], figure, effect=effect).found.verdict is Verdict.LARGER


def test_runs_of_a_side_that_have_not_the_same_size_are_not_compared() -> None:
    """Of three images of a version, the first would stand for all."""
    size = Figure(key=("image.file", ()), system="uk", exact=True, timed=False)
    found = compare_sides([sample([5.0]), sample([6.0])], [sample([5.0])], size).found
    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, "the runs of NEW do not agree: 5 and 6")
    assert compare_sides([sample([6.0])] * 2, [sample([5.0])], size).found.verdict is Verdict.LARGER


@pytest.mark.parametrize("values", [[1e308, 1e-300], [1e308, 1e308]])
@pytest.mark.parametrize("systems", [1, 20])
def test_huge_values_end_in_no_traceback(values: list[float], systems: int) -> None:
    """One broken counter would end the command as if a gate had failed."""
    names = [f"s{n}" for n in range(systems)]
    found = diff_boots({name: [1.0, 1e-300] for name in names}, dict.fromkeys(names, values), "boot.ready>5%")
    assert set(states(found).values()) <= {"inconclusive", "failed"}
    assert "boot.ready" in render_lines(describe_diff(found))
    assert Estimate(800.0, ((1.0, 1.0),)).interval(0.95).high == LARGEST


def test_a_run_without_values_is_no_run_of_its_side() -> None:
    """A night in which nothing booted would make an end of the comparison, or be taken for a value."""
    pair = compare_sides(
        [sample([1.0, 1.1]), Sampled(failed=2), sample([1.0, 1.2])], [sample([1.0, 1.1])] * 3, TIME
    )
    assert isinstance(pair, RunPair)
    assert (pair.found.n, pair.found.n_baseline, pair.found.failed) == (2, 3, 2)
    gone = compare_sides([Sampled(failed=2)], [sample([1.0, 1.1])], TIME)
    assert gone.interval(0.95) is None and gone.found.reason == "NEW has no value: all 2 trials failed"
