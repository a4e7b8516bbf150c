"""Trials of work and network: which there are, and in what order."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from factories import make_header
from work_factories import (
    CPU,
    guests_of,
    make_experiment,
    make_kit,
    make_kit_work,
    make_work_kit,
    make_work_systems,
)

from guestbench.families.work import check_guest
from guestbench.model import Experiment, Kit, Trial
from guestbench.run.plan import plan_trials

WORKING = ("work", "net", "cross-check")
KIT = make_work_kit()


def plan(experiment: Experiment | None = None, kit: Kit | None = None, seed: int = 1) -> list[Trial]:
    """The trials of work of the four systems."""
    header = make_header(guests_of(make_work_systems()))
    experiment = msgspec.structs.replace(experiment or make_experiment(cycles=3), seed=seed)
    trials = plan_trials(msgspec.structs.replace(header, experiment=experiment, kit=kit))
    return [trial for trial in trials if trial.purpose in WORKING]


def test_every_block_has_every_piece_of_work_once() -> None:
    """A system would do some work more often than another, or under other conditions of the host."""
    trials = plan(kit=KIT)
    wanted = {
        *(("debian", "work", name) for name in ("cpu", "memory", "merkle")),
        *(("debian", "cross-check", name) for name in check_guest.TOOL_NAMES),
        *(("linux-app", "work", name) for name in ("cpu", "memory")),
        ("mirage", "work", ""),
        *((name, "net", "") for name in ("debian", "linux-app", "mirage")),
    }
    for block in (1, 2, 3):
        done = Counter((t.system, t.purpose, t.workload) for t in trials if t.block == block)
        assert done == Counter(wanted)
    assert [t.block for t in trials] == sorted(t.block for t in trials)
    assert all(t.cycle == t.block for t in trials)


def test_a_seed_gives_one_order_and_blocks_differ() -> None:
    """A run could not be repeated, or drift of the host would hit always the same system last."""
    assert plan(kit=KIT) == plan(kit=KIT)
    assert plan(kit=KIT) != plan(kit=KIT, seed=2)
    orders = {tuple((t.system, t.workload) for t in plan(kit=KIT) if t.block == block) for block in (1, 2, 3)}
    assert len(orders) == 3


def test_ids_name_the_work_and_are_unique() -> None:
    """Two trials would share a folder of artifacts, or one be taken for the other when a run goes on."""
    trials = plan(kit=KIT)
    assert len({trial.id for trial in trials}) == len(trials)
    assert all(trial.id.endswith(f"-{trial.cycle}") for trial in trials)
    first = next(t for t in trials if t.workload == "memory" and t.system == "debian")
    assert first.id.partition("-")[2] == "work-memory-debian-1"


@pytest.mark.parametrize(
    ("kit", "purposes"),
    [
        (None, set[str]()),
        (make_kit(), {"net", "work"}),
        (make_kit(make_kit_work(CPU)), {"net", "work"}),
    ],
)
def test_work_that_the_kit_has_no_program_for_is_not_planned(kit: Kit | None, purposes: set[str]) -> None:
    """Every trial of a program that could not be built would fail."""
    trials = plan(kit=kit)
    assert {trial.purpose for trial in trials} == purposes
    names = {trial.workload for trial in trials if trial.system != "mirage"} - {""}
    assert names == ({work.workload.name for work in kit.works} if kit else set())


def test_families_that_are_not_asked_for_are_not_planned() -> None:
    """`--metrics work` would measure the network as well."""
    for family, purposes in (
        ("work", {"work", "cross-check"}),
        ("net", {"net"}),
        ("boot", set()),
    ):
        experiment = msgspec.structs.replace(make_experiment(), metrics=(family,))
        assert {trial.purpose for trial in plan(experiment, KIT)} == purposes
