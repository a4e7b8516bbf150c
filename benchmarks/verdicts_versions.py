"""How often `guestbench ab` and `bisect` are wrong: prints a table of simulations, each row with its bound.

Boots scatter log-normally by a CV within a block. A neighbour that comes and goes makes whole blocks slower.

    PYTHONPATH=tests/helpers .venv/bin/python benchmarks/verdicts_versions.py [DATA_SETS]
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from diff_factories import make_boots
from git_history import make_graph
from scipy.stats import t as student
from simulated_bisection import COMMITS, LINE, Simulated, draw_times, find

from guestbench.analysis.bisection import LOOK_ALPHA, LOOKS
from guestbench.analysis.gate import GateState
from guestbench.analysis.sides import compare_versions
from guestbench.provision.revisions import Repository

SEED = 20260103


def share_failed(
    data_sets: int,
    *,
    cv: float,
    ratio: float = 1.0,
    busy: float = 1.0,
    crashes: float = 0.0,
    blocks: int = 20,
) -> float:
    """The share of data sets in which one of the gates of whoever names none fails.

    A neighbour makes every fifth block, on average, `busy` times as long; of NEW's boots `crashes` fail.
    """
    generator, failed = np.random.default_rng(SEED), 0
    for _ in range(data_sets):
        slow = np.where(generator.random(blocks) < 0.2, busy, 1.0)
        old, new = slow * np.exp(generator.normal(0, cv, (2, blocks)))
        new = np.where(generator.random(blocks) < crashes, 0.0, ratio * new)
        run = make_boots({"old": list(old), "new": list(new)})
        found = compare_versions(run, ("old", "new"), ["boot.ready>5%", "failures"])
        failed += any(each.state is GateState.FAILED for each in found.decisions)
    return failed / data_sets


def bisect(histories: int) -> tuple[float, int]:
    """The share of histories in which the planted commit is found, and the most steps that it took."""
    found, steps = 0, 0
    with tempfile.TemporaryDirectory() as folder:
        hashes = make_graph(Path(folder) / "repository", LINE)
        repository = Repository(Path(folder) / "repository")
        for seed in range(histories):
            planted = random.Random(seed).randrange(1, COMMITS)
            simulated = Simulated(draw_times(seed, dict.fromkeys(hashes[planted:], 1.10)))
            answer, state = find(hashes, repository, simulated)
            found += answer.commits == (hashes[planted],)
            steps = max(steps, len(state.steps))
    return found / histories, steps


def err_together(level: float, cases: int = 200_000) -> float:
    """How often one of the looks at values that scatter about 0 says that they do not, each at this level."""
    generator, said, done = np.random.default_rng(SEED), np.zeros(cases, dtype=bool), 0
    total, squares = np.zeros(cases), np.zeros(cases)
    for blocks in LOOKS:
        for _ in range(blocks - done):
            values = generator.standard_normal(cases)
            total += values
            squares += np.square(values)
        done, mean = blocks, total / blocks
        error = np.sqrt((squares - blocks * mean**2) / (blocks - 1) / blocks)
        said |= np.abs(mean) > student.ppf(1 - level / 2, blocks - 1) * error
    return float(said.mean())


def rows(data_sets: int) -> Iterator[tuple[str, str, str]]:
    """What is simulated, what was found, and what it should be."""
    equal = "equal versions, 20 blocks"
    yield f"{equal}, CV 2%: a gate fails", f"{share_failed(data_sets, cv=0.02):.1%}", "at most 1%"
    yield f"{equal}, CV 10%: a gate fails", f"{share_failed(data_sets, cv=0.10):.1%}", "at most 5%"
    busy = share_failed(data_sets, cv=0.02, busy=1.5)
    yield f"{equal}, CV 2%, every fifth block 1.5 times as long: a gate fails", f"{busy:.1%}", "at most 1%"
    slower = share_failed(data_sets, cv=0.02, ratio=1.10)
    yield "10% slower, 20 blocks, CV 2%: a gate fails", f"{slower:.1%}", "at least 99%"
    crashing = share_failed(data_sets, cv=0.02, crashes=0.5)
    yield "half of the boots fail, 20 blocks: a gate fails", f"{crashing:.1%}", "at least 98%"
    found, steps = bisect(max(20, data_sets // 10))
    yield "bisect, 32 commits, one 10% slower, CV 2%: found", f"{found:.1%}, in {steps} steps", "100%, 6"
    yield "five looks at 1.25%: err together", f"{err_together(LOOK_ALPHA):.1%}", "5%"
    yield "five looks at Pocock's 1.58%: err together", f"{err_together(0.0158):.1%}", "more than 5%"


def main() -> None:
    """Print the table."""
    data_sets = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"{data_sets} data sets, seed {SEED}\n\n| simulated | found | should be |\n|---|---|---|")
    for row in rows(data_sets):
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
