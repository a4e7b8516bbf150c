"""How often the verdicts of a comparison are wrong, and its intervals right: prints a table of simulations.

Each data set is two systems in blocks: log-normal values of the given CV, a host that grows slower by `drift`
from the first block to the last, and a true ratio between the two.

    python benchmarks/verdicts.py [DATA_SETS]
"""

from __future__ import annotations

import math
import sys
from typing import NamedTuple

import numpy as np

from guestbench.analysis.compare import compare
from guestbench.analysis.samples import Sampled
from guestbench.model import Verdict


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


if __name__ == "__main__":
    main()
