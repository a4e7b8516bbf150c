"""Bisections by simulated measurements, on real git histories, with the gates that real runs have."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import msgspec
from diff_factories import Run, make_boots

from guestbench.analysis.bisection import (
    LOOK_ALPHA,
    LOOKS,
    Answer,
    Bisection,
    Measure,
    Question,
    Step,
    search,
    sum_up,
)
from guestbench.analysis.sides import compare_versions, join
from guestbench.model import Commit
from guestbench.provision.revisions import Repository

COMMITS = 32
LINE = [[], *([number] for number in range(COMMITS - 1))]
BRANCHES = [
    *LINE[:8],
    [3],
    *([number] for number in range(8, 15)),
    [7, 15],
    *LINE[17:28],
    [20],
    [28],
    [29],
    [27, 30],
]
"""Two branches that leave the line and are merged again, one of four commits beside eight."""

Times = Callable[[str, int], list[float]]


def draw_times(seed: int, slow: Mapping[str, float], spread: float = 0.02) -> Times:
    """Boot times of a commit in so many blocks, log-normal; one in `slow` takes that many times as long."""
    generator = random.Random(seed)

    def draw(commit: str, blocks: int) -> list[float]:
        return [slow.get(commit, 1.0) * generator.lognormvariate(0, spread) for _ in range(blocks)]

    return draw


def draw_hangs(seed: int, hanging: Sequence[str], share: float) -> Times:
    """Boot times of a commit in so many blocks; this share of the boots of some commits hang."""
    generator = random.Random(seed)

    def draw(commit: str, blocks: int) -> list[float]:
        times = [generator.lognormvariate(0, 0.02) for _ in range(blocks)]
        return [0.0 if commit in hanging and generator.random() < share else time for time in times]

    return draw


class Simulated:
    """Measures commits of a repository by drawing their boot times; a time of 0 is a boot that failed."""

    def __init__(self, draw: Times, unbuilt: Sequence[str] = (), gate: str = "boot.ready>5%") -> None:
        self._draw, self._unbuilt, self._gate = draw, unbuilt, gate
        self._runs: dict[str, list[Run]] = {}
        self.kept: list[Bisection] = []
        self.blocks = 0

    def measure(self, task: Measure, state: Bisection) -> Step:
        """One look."""
        known = state.find(task.commit) or Step(commit=Commit(hash=task.commit, subject=""))
        if task.commit in self._unbuilt:
            return msgspec.structs.replace(known, unbuilt="it does not compile")
        self.blocks += task.blocks
        times = {"old": self._draw("", task.blocks), "new": self._draw(task.commit, task.blocks)}
        runs = self._runs.setdefault(task.commit, [])
        runs.append(make_boots(times))
        found = compare_versions(join(runs), ("old", "new"), [self._gate], alpha=LOOK_ALPHA)
        (share,) = found.failures
        worst = state.find(state.question.bad.hash)
        bad = worst.looks[-1] if worst and worst.looks and worst is not known else None
        look = sum_up(found.decisions, (share.failed, share.of), LOOKS[task.look - 1], bad)
        return msgspec.structs.replace(known, looks=(*known.looks, look))


def ask(hashes: Sequence[str]) -> Bisection:
    """A bisection from the first commit to the last."""
    ends = [Commit(hash=hashes[0], subject=""), Commit(hash=hashes[-1], subject="")]
    question = Question(good=ends[0], bad=ends[1], command=("make",), image="image", system="", gates=())
    return Bisection(question=question)


def find(hashes: Sequence[str], repository: Repository, simulated: Simulated) -> tuple[Answer, Bisection]:
    """The answer, and what was found on the way."""
    return search(ask(hashes), repository.list_suspects, simulated.measure, simulated.kept.append)
