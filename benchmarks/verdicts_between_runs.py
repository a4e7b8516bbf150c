"""How often what is said of separate runs is wrong: prints a table of simulations, each row with its bound.

Runs are of a guest and, with a floor, of the null guest in the same blocks. Boots scatter log-normally by a
CV within a run; runs as a whole are off by an SD, which is the guest's `own` or `common` to guest and floor.
A neighbour comes for some minutes, stays away for some, and makes all that boots meanwhile slower alike.

    PYTHONPATH=tests/helpers .venv/bin/python benchmarks/verdicts_between_runs.py [DATA_SETS]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from diff_factories import diff_boots, judge_boots, states
from numpy.typing import NDArray

from guestbench.analysis.changes import find_changes
from guestbench.analysis.inference import welch_interval
from guestbench.model import Claim, Ruling, Verdict

SEED = 20260102
NEIGHBOUR_S, AWAY_S = 180.0, 600.0
Times = dict[str, list[float]]


class Rates(NamedTuple):
    """Shares of the data sets, 0 to 1: a gate that failed, and a verdict of smaller or larger."""

    failed: float
    apart: float


def draw_pair(
    random: np.random.Generator,
    *,
    floor: bool,
    common: bool,
    runs: int = 1,
    run_sd: float = 0.03,
    cv: float = 0.01,
    boots: int = 10,
    ratio: float = 1.0,
) -> tuple[list[Times], list[Times]]:
    """Runs of OLD and of NEW, whose guest takes `ratio` times as long."""
    sides: list[list[Times]] = []
    for factor in (1.0, ratio):
        sides.append([])
        for _ in range(runs):
            off = random.normal(0, run_sd, 2)
            logs = random.normal(0, cv, (2, boots)) + (off[:1] if common else off[:, None])
            times = {"floor": list(0.1 * np.exp(logs[0]))} if floor else {}
            sides[-1].append({**times, "uk": list(factor * np.exp(logs[1]))})
    return sides[0], sides[1]


def draw_recipe(
    random: np.random.Generator, slower: float, *, floor: bool = True, block_s: float = 5.0, blocks: int = 20
) -> tuple[list[Times], list[Times]]:
    """Two runs of the same guest, one after the other, on a host whose neighbour comes and goes."""
    length = 2 * blocks * block_s + block_s
    edges, there = [0.0], random.random() < NEIGHBOUR_S / (NEIGHBOUR_S + AWAY_S)
    first = bool(there)
    while edges[-1] < length:
        edges.append(edges[-1] + random.exponential(NEIGHBOUR_S if there else AWAY_S))
        there = not there

    def find_slowness(starts: NDArray[np.float64]) -> NDArray[np.float64]:
        phase = np.searchsorted(edges, starts, side="right") - 1
        return np.where((phase % 2 == 0) == first, np.log(slower), 0.0)

    sides = []
    for run in range(2):
        begins = (np.arange(blocks) + run * (blocks + 1)) * block_s
        second = random.integers(0, 2, blocks)
        logs = [
            random.normal(0, 0.01, blocks) + find_slowness(begins + block_s / 2 * (second == order))
            for order in (0, 1)
        ]
        times = {"floor": list(0.1 * np.exp(logs[0]))} if floor else {}
        sides.append([{**times, "uk": list(np.exp(logs[1]))}])
    return sides[0], sides[1]


def rate(
    sets: int, draw: Callable[[np.random.Generator], tuple[list[Times], list[Times]]], gate: str
) -> Rates:
    """What `guestbench diff` says of so many pairs, from a fixed seed."""
    random = np.random.default_rng(SEED)
    failed = apart = 0
    for _ in range(sets):
        found = diff_boots(*draw(random), gate)
        failed += states(found)["uk"] == "failed"
        verdicts = {each.comparison.system: each.comparison.verdict for each in found.changes}
        apart += verdicts["uk"] in (Verdict.SMALLER, Verdict.LARGER)
    return Rates(failed / sets, apart / sets)


def rate_trials(sets: int, run_sd: float = 0.03) -> float:
    """How often Welch's interval of the trials of one run a side holds the true ratio of equal versions."""
    random = np.random.default_rng(SEED)
    covered = 0
    for _ in range(sets):
        old, new = draw_pair(random, floor=False, common=False, run_sd=run_sd)
        after, before = (list(np.log(side[0]["uk"])) for side in (new, old))
        interval = welch_interval(after, before)
        covered += interval is not None and interval.low <= 0 <= interval.high
    return covered / sets


def rate_crashes(sets: int, crashes: int) -> float:
    """How often `boot.ready>5%` fails where so many of ten boots crash and the rest are unchanged."""
    random = np.random.default_rng(SEED)
    failed = 0
    for _ in range(sets):
        old, new = draw_pair(random, floor=False, common=False)
        new[0]["uk"][:crashes] = [0.0] * crashes
        failed += states(diff_boots(old, new, "boot.ready>5%"))["uk"] == "failed"
    return failed / sets


def rate_claims(sets: int, boots: int) -> float:
    """How often a claim is confirmed whose bound the true median is 1% beyond."""
    random = np.random.default_rng(SEED)
    claim = Claim(text="it is ready within a second", metric="boot.ready", system="uk", most=1.0)
    draws = (list(1.01 * np.exp(random.normal(0, 0.05, boots))) for _ in range(sets))
    return sum(judge_boots(claim, times).ruling is Ruling.CONFIRMED for times in draws) / sets


def rate_changes(sets: int, step: float, *, runs: int = 30, noise: float = 0.015) -> float:
    """How often the change points of a series are right: one beside the step, and none without a step."""
    random = np.random.default_rng(SEED)
    right = 0
    for _ in range(sets):
        at = int(random.integers(8, runs - 8))
        logs = random.normal(0, noise, runs)
        logs[at:] += np.log1p(step)
        found = find_changes(logs)
        right += (len(found) == 1 and abs(found[0] - at) <= 1) if step else not found
    return right / sets


def list_rows(sets: int) -> Iterator[tuple[str, float, str]]:
    """What was simulated, the rate, and what it should be."""
    own = partial(draw_pair, common=False)
    for common, floor in ((False, False), (False, True), (True, False), (True, True)):
        rates = rate(sets, partial(draw_pair, floor=floor, common=common), "boot.ready>3%")
        what = f"A/A, one run a side, 3% SD of runs {'common' if common else 'own'}, "
        what += "with a floor" if floor else "without"
        yield f"{what}: gate >3% fails", rates.failed, "at most 5%"
        yield f"{what}: different", rates.apart, "at most 5%"
    rates = rate(sets, partial(own, floor=False, run_sd=0.04), "boot.ready>3%")
    yield "A/A, one run a side, 4% SD of runs, 3% assumed: different", rates.apart, "more"
    yield "A/A, one run a side, 3% SD: interval from trials alone covers", rate_trials(sets), "95%"
    rates = rate(sets, partial(own, floor=False, runs=3), "boot.ready>3%")
    yield "A/A, three runs a side, 3% SD: gate >3% fails", rates.failed, "at most 5%"
    yield "A/A, three runs a side, 3% SD: different", rates.apart, "at most 5%"
    for slower in (1.1, 1.3, 2.0):
        rates = rate(sets, partial(draw_recipe, slower=slower), "boot.ready>5%")
        yield f"A/A, neighbour makes boots {slower} times as long: gate >5% fails", rates.failed, "at most 1%"
    rates = rate(sets, partial(draw_recipe, slower=1.3, floor=False), "boot.ready>5%")
    yield "the same without a floor, 1.3 times: gate >5% fails", rates.failed, "more"
    for ratio, runs in ((1.1, 1), (1.2, 1), (1.1, 3), (1.1, 5)):
        rates = rate(sets, partial(own, floor=True, ratio=ratio, runs=runs), "boot.ready>5%")
        yield (
            f"{ratio} times as long, {runs} runs a side: gate >5% fails",
            rates.failed,
            "the more the better",
        )
    for crashes in (0, 5, 8, 9):
        should = "at most 5%" if not crashes else "100%"
        yield f"{crashes} of 10 boots crash: gate >5% fails", rate_crashes(sets, crashes), should
    for boots in (1, 5, 10, 30):
        yield f"claim that is 1% off, {boots} boots: confirmed", rate_claims(sets, boots), "at most 5%"
    yield "history of 30 runs, noise 1.5%, step of 5%: found within one run", rate_changes(sets, 0.05), "95%"
    yield "history of 30 runs, noise 1.5%, no step: none found", rate_changes(sets, 0.0), "95%"


def main() -> None:
    """Print the table."""
    sets = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    print(f"{sets} data sets a row")
    for what, share, should in list_rows(sets):
        print(f"{share:6.1%}  {should:<20} {what}", flush=True)


if __name__ == "__main__":
    main()
