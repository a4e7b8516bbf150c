"""The plan: what is run, and in what order."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import msgspec
import pytest
from factories import make_record
from hypothesis import given
from hypothesis import strategies as st
from replay import FAKE, make_guest, make_header, make_system, write_recording

from guestbench.families import cost, list_families, memory
from guestbench.model import Experiment, Guest, GuestFamily, Trial, Wanted
from guestbench.run.plan import define, plan_more

RECORDING = Path(__file__)
"""Any file: plans do not read it."""

PINNED_ORDER = list("abcabcbca")


def make_guests(folder: Path, names: tuple[str, ...]) -> tuple[Guest, ...]:
    """Guests that replay the same recording."""
    recording = write_recording(folder, [(1.0, b"[init done]")])
    return tuple(make_guest(make_system(name), recording) for name in names)


def make_experiment(cycles: int = 10, **fields: object) -> Experiment:
    """An experiment of a, b, c in all families."""
    families = tuple(family.name for family in list_families())
    return Experiment(
        name="test",
        title="Test",
        systems=("a", "b", "c"),
        cycles=cycles,
        **{"metrics": families, **fields},  # type: ignore[arg-type]
    )


def plan(experiment: Experiment, guests: tuple[Guest, ...], seed: int = 1) -> tuple[Trial, ...]:
    """The trials of a run of these guests."""
    return make_header(guests, experiment, seed).trials


def test_each_block_boots_every_system_once(tmp_path: Path) -> None:
    """Systems would be compared under different conditions of the host."""
    trials = plan(make_experiment(), make_guests(tmp_path, ("a", "b", "c")), seed=1)
    boots = [t for t in trials if t.purpose == "boot"]
    for block in range(1, 11):
        assert sorted(t.system for t in boots if t.block == block) == ["a", "b", "c"]
    assert [t.block for t in boots] == sorted(t.block for t in boots)


def test_the_floor_is_booted_twice_in_each_block(tmp_path: Path) -> None:
    """Nobody could tell how small a difference this host shows."""
    a, b, floor = make_guests(tmp_path, ("a", "b", "floor"))
    floor = msgspec.structs.replace(
        floor, system=msgspec.structs.replace(floor.system, family=GuestFamily.FLOOR)
    )
    trials = plan(make_experiment(cycles=6, metrics=("boot",)), (a, b, floor))
    for block in range(1, 7):
        mine = [(t.system, t.purpose) for t in trials if t.block == block]
        assert sorted(mine) == [("a", "boot"), ("b", "boot"), ("floor", "boot"), ("floor", "twin")]
    places = [
        [t.purpose for t in trials if t.block == block and t.system == "floor"] for block in range(1, 7)
    ]
    assert ["boot", "twin"] in places
    assert ["twin", "boot"] in places


def test_blocks_are_shuffled_and_the_seed_repeats_them(tmp_path: Path) -> None:
    """AAAA BBBB order takes drift of the host for a difference; an unrecorded order cannot be repeated."""
    guests = make_guests(tmp_path, ("a", "b", "c"))
    plans = [plan(make_experiment(), guests, seed=seed) for seed in (1, 1, 2)]
    assert plans[0] == plans[1]
    assert plans[0] != plans[2]
    boots = [t for t in plans[0] if t.purpose == "boot"]
    orders = {tuple(t.system for t in boots if t.block == block) for block in range(1, 11)}
    assert len(orders) > 2


def test_the_order_of_a_seed_never_changes(tmp_path: Path) -> None:
    """A report's seed would give another order with a later version."""
    trials = plan(make_experiment(cycles=3), make_guests(tmp_path, ("a", "b", "c")), seed=42)
    boots = [t.system for t in trials if t.purpose == "boot"]
    assert boots == PINNED_ORDER


@pytest.mark.parametrize(
    ("families", "cycles", "boots", "own"),
    [
        (("surface",), 2, 3, 2),
        (("surface",), 2, 1, 0),
        (("memory", "surface"), 2, 3, 0),
        (("memory", "surface"), 2, 8, 5),
        (("boot", "cost", "surface"), 2, 3, 2),
    ],
)
def test_boots_of_other_families_are_looked_at_instead_of_more(
    tmp_path: Path, families: tuple[str, ...], cycles: int, boots: int, own: int
) -> None:
    """A run would boot Debian again and again for one address, or compare fewer boots than it was told to."""
    settings = {"memory": {"cycles": cycles}, "surface": {"boots": boots}}
    experiment = make_experiment(metrics=families, settings=settings)
    trials = plan(experiment, make_guests(tmp_path, ("a", "b")), seed=1)
    looked_at = Counter((t.system, t.purpose) for t in trials)
    assert looked_at["a", "surface-boot"] == looked_at["b", "surface-boot"] == own
    assert looked_at["a", "surface"] == 1


def test_one_round_of_everything_comes_before_any_second(tmp_path: Path) -> None:
    """Who looks after ten minutes would know one family to the last digit, and nothing of the others."""
    trials = plan(make_experiment(cycles=4, warmups=2), make_guests(tmp_path, ("a",)), seed=1)
    assert [(t.purpose, t.cycle) for t in trials] == [
        *(("image", 1), ("cost", 1), ("surface-image", 1)),  # cheap and telling
        *(("warmup", 2), ("boot", 1)),  # a cold first boot is not mixed into the measured ones
        *(("memory", 1), ("surface", 1)),
        *(("boot", 2), ("cost", 2)),
        *(("boot", 3), ("memory", 2), ("cost", 3), ("boot", 4)),
    ]


@given(cycles=st.integers(1, 12), warmups=st.integers(0, 3), seed=st.integers(0, 2**32))
def test_blocks_of_a_family_stay_whole(cycles: int, warmups: int, seed: int) -> None:
    """Trials of others would stand within a block, whose systems are then not measured side by side."""
    guests = tuple(make_guest(make_system(name), RECORDING) for name in "abc")
    trials = plan(make_experiment(cycles=cycles, warmups=warmups), guests, seed)
    boots = [(place, trial.block) for place, trial in enumerate(trials) if trial.purpose == "boot"]
    for block in range(1, cycles + 1):
        places = [place for place, own in boots if own == block]
        assert places == list(range(places[0], places[0] + 3))
    assert all(place < boots[0][0] for place, trial in enumerate(trials) if trial.purpose == "warmup")


@pytest.mark.parametrize(
    ("families", "asked", "own"),
    [
        (("boot",), 2, 2),
        (("boot", "cost"), 1, 0),  # its instructions were counted first
        (("boot", "cost"), 3, 2),
        (("boot", "surface"), 1, 1),  # who is looked at may go on from a state
        (("boot", "memory"), 1, 1),  # that comes behind
        (("boot", "image"), 1, 1),
    ],
)
def test_a_guest_is_warmed_up_by_whatever_boots_it(
    tmp_path: Path, families: tuple[str, ...], asked: int, own: int
) -> None:
    """A cold boot would be among the measured ones; or each guest be booted once more for nothing."""
    trials = plan(make_experiment(metrics=families, warmups=asked), make_guests(tmp_path, ("a", "b")))
    counts = Counter((trial.system, trial.purpose) for trial in trials)
    assert (counts["a", "warmup"], counts["b", "warmup"]) == (own, own)
    before = trials[: next(place for place, trial in enumerate(trials) if trial.purpose == "boot")]
    assert sum(trial.system == "a" and trial.purpose in ("warmup", "cost") for trial in before) == asked


def test_only_the_families_asked_for_are_planned(tmp_path: Path) -> None:
    """`--metrics image` would boot guests for nothing."""
    guests = make_guests(tmp_path, ("a",))
    images = plan(make_experiment(metrics=("image",)), guests, seed=1)
    assert [t.purpose for t in images] == ["image"]
    boots = plan(make_experiment(metrics=("boot",)), guests, seed=1)
    assert Counter(t.purpose for t in boots) == {"warmup": 1, "boot": 10}


def test_a_settled_disk_has_its_first_boot_measured_apart(tmp_path: Path) -> None:
    """The first boot after image creation would be lost, or mixed with the rest."""
    (guest,) = make_guests(tmp_path, ("a",))
    provision = msgspec.structs.replace(guest.system.provision, settle=True)
    settled = msgspec.structs.replace(
        guest,
        system=msgspec.structs.replace(guest.system, provision=provision),
        origin=msgspec.structs.replace(guest.origin, settled=True),
    )
    trials = plan(make_experiment(cycles=1, metrics=("image", "boot")), (settled,), seed=1)
    purposes = [t.purpose for t in trials]
    assert [each for each in purposes if each in ("image", "first-boot", "warmup", "boot")] == [
        *("image", "first-boot", "warmup", "boot")
    ]


def test_the_definition_changes_with_image_system_and_platform(tmp_path: Path) -> None:
    """Two runs of different guests would look as if they could be compared."""
    (guest,) = make_guests(tmp_path, ("a",))
    image = msgspec.structs.replace(next(iter(guest.images.values())), sha256="other")
    variants = {
        define(guest, FAKE),
        define(msgspec.structs.replace(guest, pristine=dict.fromkeys(guest.images, image)), FAKE),
        define(msgspec.structs.replace(guest, system=make_system("a", ready="x")), FAKE),
        define(guest, msgspec.structs.replace(FAKE, memory_mib=256)),
    }
    assert len(variants) == 4


def size(memory_mib: int) -> Wanted:
    """A boot with a memory size."""
    return Wanted(purpose="memory-min", system="a", memory_mib=memory_mib)


def test_sizes_get_ids_of_their_own_and_count_on(tmp_path: Path) -> None:
    """Two boots with one memory size would overwrite each other's logs."""
    (guest,) = make_guests(tmp_path, ("a",))
    header = make_header((guest,), make_experiment(metrics=("boot",)))
    made, *_ = plan_more(header, [size(64)], ())
    trials = plan_more(header, [size(64), size(64), size(32)], [make_record(made)])
    assert [(t.memory_mib, t.cycle) for t in trials] == [(64, 2), (64, 3), (32, 1)]
    assert [t.id for t in trials] == ["memory-min-a-64M-2", "memory-min-a-64M-3", "memory-min-a-32M-1"]
    assert len({t.definition for t in trials}) == 2
    assert all(t.purpose == "memory-min" and t.block == 0 for t in trials)


@given(
    names=st.lists(st.sampled_from("abcdefgh"), min_size=1, unique=True),
    cycles=st.integers(1, 12),
    warmups=st.integers(0, 3),
    seed=st.integers(0, 2**32),
)
def test_every_plan_is_complete_and_has_unique_ids(
    names: list[str], cycles: int, warmups: int, seed: int
) -> None:
    """Some trial would be missing or overwrite another one's artifacts."""
    guests = tuple(make_guest(make_system(name), RECORDING) for name in names)
    experiment = make_experiment(cycles=cycles, warmups=warmups)
    trials = plan(experiment, guests, seed)
    each = 1 + max(0, warmups - 1) + cycles + cost.Settings().boots + memory.Settings().cycles + 2
    assert len({t.id for t in trials}) == len(trials) == len(names) * each
    counts = Counter((t.system, t.purpose) for t in trials)
    assert all(counts[name, "boot"] == cycles for name in names)
