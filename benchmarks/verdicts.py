"""How often the verdicts of a comparison are wrong, and its intervals right: prints a table of simulations.

Each data set is two systems in blocks: log-normal values of the given CV, a host that grows slower by `drift`
from the first block to the last, and a true ratio between the two.

Then the rules for single situations, each beside what it has to keep: searches for the least RAM of a guest
whose boots fail now and then, times above a floor that scatters, the number of blocks that the report asks
for, few values against many, equal values, serial correlation, and trials that went on from one boot.

    python benchmarks/verdicts.py [DATA_SETS]
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from guestbench.analysis import inference, stopping
from guestbench.analysis.compare import compare
from guestbench.analysis.samples import Sampled
from guestbench.analysis.stability import find_concerns
from guestbench.analysis.summary import median_interval
from guestbench.definition.until import parse_until
from guestbench.families.memory import search
from guestbench.model import Comparison, Verdict


class Rates(NamedTuple):
    """Shares of the data sets, 0 to 1: verdicts smaller or larger, equivalent, and intervals that hold."""

    apart: float
    equivalent: float
    covered: float


def simulate(
    sets: int,
    *,
    blocks: int = 10,
    cv: float = 0.05,
    drift: float = 0.0,
    ratio: float = 1.0,
    paired: bool = True,
) -> Rates:
    """What `compare` says of so many data sets, from a fixed seed."""
    random = np.random.default_rng(20260101)
    scatter = math.sqrt(math.log1p(cv**2))
    trend = np.linspace(0.0, math.log1p(drift), blocks)
    apart = equivalent = covered = 0
    for _ in range(sets):
        logs = random.normal(0.0, scatter, (2, blocks)) + trend
        logs[0] += math.log(ratio)
        a, b = (
            Sampled(values=tuple((n if paired else 0, float(v)) for n, v in enumerate(np.exp(row), 1)))
            for row in logs
        )
        found = compare(a, b)
        apart += found.verdict in (Verdict.SMALLER, Verdict.LARGER)
        equivalent += found.verdict is Verdict.EQUIVALENT
        if found.ratio_ci is not None:
            covered += found.ratio_ci.low <= ratio <= found.ratio_ci.high
    return Rates(apart / sets, equivalent / sets, covered / sets)


def search_least(chance: Sequence[float], random: np.random.Generator, boots: int = 3) -> Sampled:
    """The least size found where a boot with size n passes with chance[n - 1], and above these always."""
    top = len(chance) + 8
    tried: dict[int, list[bool]] = {}
    while sizes := search.Search(tried, top, known=True, boots=boots).next_round(1):
        for size in sizes:
            well = size > len(chance) or random.random() < chance[size - 1]
            tried.setdefault(size, []).append(bool(well))
    least = search.Search(tried, top, known=True, boots=boots).find_minimum().least_mib
    flat = tuple((float(size), well) for size, results in tried.items() for well in results)
    return Sampled(values=((0, float(least or top)),), tried=flat)


def _is_apart(found: Comparison) -> bool:
    return found.verdict in (Verdict.SMALLER, Verdict.LARGER)


def least_memory_apart(sets: int, soft: int) -> float:
    """How often two searches for a guest are told apart of which boots fail now and then at `soft` sizes."""
    random = np.random.default_rng(11)
    chance = [0.0] * 40 + [(n + 1) / (soft + 1) for n in range(soft)]
    pairs = ((search_least(chance, random), search_least(chance, random)) for _ in range(sets))
    return sum(_is_apart(compare(*pair, exact=True)) for pair in pairs) / sets


def floor_covered(sets: int, factor: float) -> float:
    """How often the interval of differences from a floor holds that scatters `factor` times as much."""
    random, held = np.random.default_rng(3), 0
    for _ in range(sets):
        ends = median_interval(list(random.normal(0.3, 0.01, 10) - random.normal(0.1, factor * 0.01, 10)))
        held += ends is not None and ends.low <= 0.2 <= ends.high
    return held / sets


def needed_decides(sets: int) -> float:
    """How often two that are alike are found to be so within 3%, in as many blocks as the report asks for."""
    effect, sd, random, decided = math.log1p(0.03), 0.05, np.random.default_rng(2), 0
    for _ in range(sets):
        ends = inference.pair_interval(list(random.normal(0.0, sd, inference.needed_values(sd, effect))))
        decided += ends is not None and -effect < ends.low and ends.high < effect
    return decided / sets


def few_against_many(sets: int) -> float:
    """How often three values are told apart from 200 of the same, CV 30%, by the test at 1%."""
    random = np.random.default_rng(4)
    pairs = ((random.normal(0, 0.3, 3), random.normal(0, 0.3, 200)) for _ in range(sets))
    return sum(inference.permutation_p(list(a), list(b)) <= 0.01 for a, b in pairs) / sets


def serial_flagged(sets: int, n: int, correlation: float) -> float:
    """How often the warning of serial correlation comes, for neighbours that are correlated so much."""
    noise = np.random.default_rng(5).normal(0.0, 0.05, (sets, n + 50))
    for place in range(1, n + 50):
        noise[:, place] += correlation * noise[:, place - 1]
    rows = (1 + noise[:, 50:]).tolist()
    return sum("serial correlation" in find_concerns(row) for row in rows) / sets


def one_boot_apart(sets: int, boots: int) -> float:
    """How often equal guests are told apart by nine trials from so many boots that differ by 3%."""
    random, apart = np.random.default_rng(8), 0
    for _ in range(sets):
        logs = random.normal(0, 0.03, (2, boots, 1)) + random.normal(0, 0.005, (2, boots, 9 // boots))
        sides = (Sampled(tuple((0, float(v)) for v in np.exp(side.mean(axis=1)))) for side in logs)
        apart += _is_apart(compare(*sides))
    return apart / sets


def stop_by_rule(sets: int, until: str, scatter: float) -> tuple[float, float]:
    """Of equal systems in runs that stop by a rule: intervals that hold, and verdicts that they differ."""
    random, rule, held, apart = np.random.default_rng(9), parse_until(until), 0, 0
    for logs in random.normal(0.0, scatter, (sets, rule.most)).tolist():
        for blocks in rule.looks:
            ends, _, reached = stopping.judge(rule, logs[:blocks])
            if reached:
                break
        holds = ends is not None and ends.low <= 0 <= ends.high
        held, apart = held + holds, apart + (reached and not holds)
    return held / sets, apart / sets


def print_rules(sets: int) -> None:
    """Print each rule with what was found and what it has to keep."""
    few = max(100, sets // 5)
    equal = compare(*(Sampled(tuple((n, value) for n in (1, 2))) for value in (1.04, 1.0)))
    for name, found, should in (
        ("least RAM: one guest, sharp limit, told apart", least_memory_apart(few, 0), "0%"),
        ("least RAM: one guest, limit over 12 sizes", least_memory_apart(few, 12), "at most 5%"),
        ("least RAM: one guest, limit over 30 sizes", least_memory_apart(few, 30), "at most 5%"),
        ("time above the floor: interval holds", floor_covered(sets, 1), "97.9%"),
        ("the same, of a floor that scatters four times as much", floor_covered(sets, 4), "97.9%"),
        ("alike, in as many blocks as asked for: decided", needed_decides(sets), "80%"),
        ("3 against 200 values: told apart at 1%", few_against_many(few), "1%"),
        ("two equal values a side: told apart", float(_is_apart(equal)), "0%"),
        ("serial correlation, n=10: warned by chance", serial_flagged(sets, 10, 0.0), "1%"),
        ("serial correlation 0.7, n=40: warned", serial_flagged(sets, 40, 0.7), "at least 90%"),
        ("work in one boot of each, boots differ by 3%: told apart", one_boot_apart(few, 1), "at most 5%"),
        ("work in three boots of each: told apart", one_boot_apart(few, 3), "at most 5%"),
        ("--until ci=3%, blocks scatter by 5%: interval holds", stop_by_rule(sets, "ci=3%", 0.05)[0], "94%"),
        ("the same, by 12%", stop_by_rule(sets, "ci=3%", 0.12)[0], "94%"),
        ("--until verdict, equal, by 5%: told apart", stop_by_rule(sets, "verdict", 0.05)[1], "at most 5%"),
        ("the same, by 12%", stop_by_rule(sets, "verdict", 0.12)[1], "at most 6.3%"),
    ):
        print(f"{name:<58}  {found:>6.1%}  should be {should}")


def main() -> None:
    """Print the table."""
    sets = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print(f"{sets} data sets a row")
    print("ratio  CV   drift  blocks  how      smaller/larger  equivalent  interval holds")
    for ratio, cv, drift, blocks in (
        (1.0, 0.05, 0.0, 10),
        (1.0, 0.05, 0.1, 10),
        (1.0, 0.20, 0.1, 10),
        (1.0, 0.01, 0.1, 10),
        (1.1, 0.05, 0.0, 10),
        (1.1, 0.05, 0.1, 10),
        (1.1, 0.05, 0.0, 3),
        (1.02, 0.05, 0.0, 30),
        (1.1, 0.05, 0.0, 30),
    ):
        for paired in (True, False):
            rates = simulate(sets, blocks=blocks, cv=cv, drift=drift, ratio=ratio, paired=paired)
            how = "blocks" if paired else "samples"
            print(
                f"{ratio:<5}  {cv:<4.0%} {drift:<5.0%}  {blocks:<6}  {how:<7}  {rates.apart:<14.1%}"
                f"  {rates.equivalent:<10.1%}  {rates.covered:.1%}"
            )
    print()
    print_rules(sets)


if __name__ == "__main__":
    main()
