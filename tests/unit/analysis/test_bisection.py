"""Bisection by noisy measurements: simulated on real git histories, with the gates that real runs have."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from git_history import make_graph
from scipy.stats import t as student
from simulated_bisection import BRANCHES, COMMITS, LINE, Simulated, draw_hangs, draw_times, find

from guestbench.analysis.bisection import LOOK_ALPHA, LOOKS, Bisection, State, search
from guestbench.provision.revisions import Repository


def descend(parents: Sequence[Sequence[int]], planted: int) -> set[int]:
    """The commits that have a planted one in their history, itself among them."""
    found = {planted}
    for number, mine in enumerate(parents):
        if found & {*mine}:
            found.add(number)
    return found


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Repository]:
    """A straight history."""
    folder = tmp_path_factory.mktemp("line") / "repository"
    return make_graph(folder, LINE), Repository(folder)


def test_the_planted_commit_is_found_in_six_steps(line: tuple[list[str], Repository]) -> None:
    """Noise would lead to a commit that changed nothing, or make every step cost an hour."""
    hashes, repository = line
    for seed in range(20):
        planted = random.Random(seed).randrange(1, COMMITS)
        slow = dict.fromkeys(hashes[planted:], 1.10)
        simulated = Simulated(draw_times(seed, slow))
        answer, state = find(hashes, repository, simulated)
        assert answer.commits == (hashes[planted],), seed
        assert len(state.steps) <= 6


def test_a_history_with_merges_is_followed_on_both_sides(tmp_path: Path) -> None:
    """A change that came by a merged branch would be put on the merge, or on the wrong branch."""
    assert len(BRANCHES) == COMMITS
    hashes = make_graph(tmp_path / "repository", BRANCHES)
    repository = Repository(tmp_path / "repository")
    for planted in (2, 5, 10, 16, 22, 29, 31):
        slow = {hashes[number]: 1.10 for number in descend(BRANCHES, planted)}
        answer, _ = find(hashes, repository, Simulated(draw_times(planted, slow)))
        assert answer.commits == (hashes[planted],), planted


def test_commits_that_do_not_build_are_passed_over(line: tuple[list[str], Repository]) -> None:
    """One broken commit would end the search, or be blamed for what another did."""
    hashes, repository = line
    slow = dict.fromkeys(hashes[21:], 1.10)
    answer, state = find(hashes, repository, Simulated(draw_times(1, slow), unbuilt=hashes[14:18]))
    assert answer.commits == (hashes[21],)
    assert any(step.state is State.SKIPPED for step in state.steps)
    answer, _ = find(hashes, repository, Simulated(draw_times(1, slow), unbuilt=hashes[19:21]))
    assert {*answer.commits} == {*hashes[19:22]}


def test_what_cannot_be_decided_is_a_range(line: tuple[list[str], Repository]) -> None:
    """A commit would be blamed by a coin."""
    hashes, repository = line
    # In the middle lies a commit so noisy that 160 blocks say nothing.
    noisy = draw_times(2, {}, spread=2.0)
    slow = dict.fromkeys(hashes[21:], 1.10)
    calm = draw_times(2, slow)
    hard = {*hashes[18:21]}

    def draw(commit: str, blocks: int) -> list[float]:
        return noisy(commit, blocks) if commit in hard else calm(commit, blocks)

    answer, state = find(hashes, repository, Simulated(draw))
    assert {*answer.commits} == {*hashes[18:22]}
    undecided = [step for step in state.steps if step.state is State.UNDECIDED]
    assert {step.commit.hash for step in undecided} == hard
    assert all([look.blocks for look in step.looks] == list(LOOKS) for step in undecided)


def test_an_undecided_step_gets_more_blocks(line: tuple[list[str], Repository]) -> None:
    """A host with some noise would end in a range where a minute more had told."""
    hashes, repository = line
    slow = dict.fromkeys(hashes[9:], 1.10)
    answer, state = find(hashes, repository, Simulated(draw_times(3, slow, spread=0.06)))
    assert answer.commits == (hashes[9],)
    assert max(len(step.looks) for step in state.steps) > 1


def test_a_bad_commit_that_shows_nothing_is_told(line: tuple[list[str], Repository]) -> None:
    """Hours would be spent on looking for a change that is not there."""
    hashes, repository = line
    answer, state = find(hashes, repository, Simulated(draw_times(4, {})))
    assert answer.commits == ()
    assert [step.commit.hash for step in state.steps] == [hashes[-1]]


def test_a_guest_that_hangs_now_and_then_is_found(line: tuple[list[str], Repository]) -> None:
    """Ten boots that happen to get ready would clear a commit of which one boot in four hangs."""
    hashes, repository = line
    found = []
    for seed in range(10):
        answer, _ = find(hashes, repository, Simulated(draw_hangs(seed, hashes[13:], 0.20), gate="failures"))
        found.append(answer.commits)
    # Were ten boots without a failure enough, three of these ten would blame another commit.
    assert found.count((hashes[13],)) >= 8


def test_what_was_found_is_not_measured_again(line: tuple[list[str], Repository]) -> None:
    """An interrupted search would begin anew."""
    hashes, repository = line
    slow = dict.fromkeys(hashes[26:], 1.10)
    whole = Simulated(draw_times(5, slow))
    answer, state = find(hashes, repository, whole)
    stopped = whole.kept[2]
    again = msgspec.json.decode(msgspec.json.encode(stopped), type=Bisection)
    rest = Simulated(draw_times(6, slow))
    resumed, went_on = search(again, repository.list_suspects, rest.measure, rest.kept.append)
    assert resumed == answer
    assert went_on.steps[:3] == stopped.steps
    assert rest.blocks == 10 * (len(state.steps) - 3)


def test_all_looks_together_err_in_five_percent() -> None:
    """Whoever looks five times would be misled twice as often as said."""
    generator = np.random.default_rng(0)
    cases, said, done = 20_000, np.zeros(20_000, dtype=bool), 0
    total, squares = np.zeros(cases), np.zeros(cases)
    for blocks in LOOKS:
        values = generator.standard_normal((cases, blocks - done))
        total, squares, done = total + values.sum(axis=1), squares + np.square(values).sum(axis=1), blocks
        mean = total / blocks
        error = np.sqrt((squares - blocks * mean**2) / (blocks - 1) / blocks)
        said |= np.abs(mean) > student.ppf(1 - LOOK_ALPHA / 2, blocks - 1) * error
    assert 0.044 < said.mean() < 0.056
