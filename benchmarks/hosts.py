"""How often the interval of a ratio that is pooled over hosts holds: prints a table of simulations.

Each data set is two systems in blocks on several hosts. Host 2 is 1.6 times as slow as the others, host 3
grows slower by a quarter from its first block to its last, and every host has a true ratio of its own, whose
logarithm scatters about that of all hosts with the SD in the table. The interval is to cover the latter in 93
to 97% of the sets.

    PYTHONPATH=src .venv/bin/python benchmarks/hosts.py [DATA_SETS]
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from guestbench.analysis import inference

RATIO = 1.3
SLOW, DRIFT = 1.6, 0.25
CASES = [
    ((10, 10, 10, 10, 10), 0.03),
    ((10, 10, 10, 10, 10), 0.0),
    ((10, 10, 10, 10, 10), 0.1),
    ((20, 20, 20), 0.03),
    ((4, 4, 4, 4, 4, 4, 4, 4), 0.03),
    ((40, 10, 5, 10, 5), 0.03),
]
"""How many blocks each host has, and by how much hosts differ in their ratio."""


class Held(NamedTuple):
    """The share of sets whose interval covers the ratio, and the median of how far it reaches from it."""

    pooled: float
    reach: float
    lumped: float
    """The share if all blocks were taken for those of one host, as they must not be."""


def draw_hosts(
    random: np.random.Generator, blocks: Sequence[int], between: float, cv: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The times of both systems on each host, block by block."""
    for number, count in enumerate(blocks, 1):
        level = np.full(count, SLOW if number == 2 else 1.0)
        if number == 3:
            level = level * np.linspace(1.0, 1.0 + DRIFT, count)
        ratio = math.exp(random.normal(math.log(RATIO), between)) if between else RATIO
        # A host that is shared scatters more.
        own = cv * (2.0 if number == 1 else 1.0)
        noise = np.exp(random.normal(0.0, own, (2, count)))
        yield level * ratio * noise[0], level * noise[1]


def simulate(blocks: Sequence[int], between: float, sets: int, cv: float = 0.05, seed: int = 1) -> Held:
    """What becomes of so many data sets."""
    random = np.random.default_rng(seed)
    covered, lumped, reaches = 0, 0, []
    for _ in range(sets):
        logs = [np.log(a) - np.log(b) for a, b in draw_hosts(random, blocks, between, cv)]
        estimates = [inference.pair_estimate(list(each)) for each in logs]
        found, _ = inference.pool([each for each in estimates if each])
        interval = inference.student_interval(*found)
        covered += interval.low <= math.log(RATIO) <= interval.high
        reaches.append(interval.high - found.middle)
        one = inference.pair_interval(list(np.concatenate(logs)))
        lumped += one is not None and one.low <= math.log(RATIO) <= one.high
    return Held(covered / sets, math.expm1(float(np.median(reaches))), lumped / sets)


def main() -> None:
    """Print the table."""
    sets = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"{'blocks of each host':26} {'SD of hosts':>11} {'covers':>8} {'reach':>8} {'as one host':>12}")
    for blocks, between in CASES:
        held = simulate(blocks, between, sets)
        told = f"{held.pooled:8.1%} {held.reach:8.1%} {held.lumped:12.1%}"
        print(f"{' '.join(map(str, blocks)):26} {between:11.0%} {told}")


if __name__ == "__main__":
    main()
