"""What is found of boots: times above the floor, the steps between milestones, and the host's conditions."""

from __future__ import annotations

import numpy as np
import pytest
from factories import (
    boot_samples,
    find_own,
    make_boot_run,
    make_guest,
    make_header,
    make_record,
    make_run,
    make_system,
    make_trials,
    with_outcome,
)
from hypothesis import given
from hypothesis import strategies as st

from guestbench.analysis.analyse import analyse
from guestbench.analysis.summary import add_derived, find_summary, summarise
from guestbench.families.boot import ABOVE_FLOOR
from guestbench.families.boot.findings import milestone_steps
from guestbench.families.boot.section import conditions
from guestbench.model import Crashed, Provenance
from guestbench.page.blocks import Table

times = st.floats(min_value=1e-4, max_value=1e4)

# --- the floor --------------------------------------------------------------------------------------


@given(st.lists(st.tuples(times, times), min_size=1, max_size=12), st.integers(0, 11))
def test_time_above_the_floor_is_each_boot_less_the_floors_of_its_block(
    both: list[tuple[float, float]], lost: int
) -> None:
    """The time above the floor would not be what its heading says, or be made up where the floor failed."""
    floor, values = ([pair[side] for pair in both] for side in (0, 1))
    header, records = make_boot_run({"floor": floor, "a": values}, floor="floor")
    fails = [r for r in records if r.trial.system == "floor" and r.trial.block == lost]
    records = tuple(with_outcome(r, Crashed(reason="-")) if r in fails else r for r in records)
    above = find_summary(summarise(header, records), "a", ABOVE_FLOOR)
    expected = [b - a for block, (a, b) in enumerate(both, 1) if block != lost]
    assert (list(above.values) if above else []) == expected
    assert find_summary(summarise(header, records), "floor", ABOVE_FLOOR) is None


@pytest.mark.parametrize(("guest_sd", "floor_sd"), [(0.01, 0.01), (0.01, 0.04)])
def test_its_interval_covers_what_it_says(guest_sd: float, floor_sd: float) -> None:
    """An interval that leaves the floor's scatter out would hold in half of the cases where it says 97.9%."""
    random, held = np.random.default_rng(3), 0
    for _ in range(200):
        floor, guest = random.normal(0.1, floor_sd / 10, 10), random.normal(0.3, guest_sd / 10, 10)
        run = make_boot_run({"floor": list(floor), "a": list(guest)}, floor="floor")
        ends = find_own(*run, "a", ABOVE_FLOOR).median_ci
        held += ends is not None and ends.low <= 0.2 <= ends.high
    assert held >= 186


def test_without_a_floor_nothing_is_derived() -> None:
    """A run without a floor would show times above one."""
    header, records = make_boot_run({"a": [1.0, 2.0]})
    assert add_derived(header, records) == records
    header, records = make_boot_run({"floor": [0.1], "a": [1.0]}, floor="floor")
    lost = [with_outcome(r, Crashed(reason="-")) if r.trial.system == "floor" else r for r in records]
    assert find_summary(summarise(header, lost), "a", ABOVE_FLOOR) is None


def test_derived_values_say_so_and_are_derived_once() -> None:
    """A value calculated from others would pass for a measured one, or be added twice."""
    header, records = make_run()
    once = add_derived(header, records)
    assert add_derived(header, once) == once
    derived = [s for record in once for s in record.samples if s.metric == ABOVE_FLOOR]
    assert derived and all(s.provenance is Provenance.DERIVED for s in derived)


# --- milestones -------------------------------------------------------------------------------------


def test_steps_between_milestones_add_up_to_the_boot_time() -> None:
    """The steps of a boot would not sum to its time."""
    header, records = make_run()
    steps = [s for s in milestone_steps(header, records) if s.system == "debian-12-nocloud"]
    assert [s.mark for s in steps] == ["firmware", "boot loader", "kernel", "init", "ready"]
    total = sum(s.step_mean or 0 for s in steps)
    assert total == pytest.approx(find_own(header, records, "debian-12-nocloud").mean)


def test_milestone_that_some_boots_missed_does_not_distort_its_neighbours() -> None:
    """A step would be the difference of means over different boots."""
    guest = make_guest(make_system("a"))
    trials = make_trials(["a"], 2, images=False)
    records = [
        make_record(trials[0], boot_samples(10.0, 1.0, {"kernel": 1.0, "net": 9.0})),
        make_record(trials[1], boot_samples(20.0, 1.0, {"kernel": 2.0})),
    ]
    kernel, net, ready = milestone_steps(make_header([guest], trials), records)
    assert (kernel.n, net.n, ready.n) == (2, 1, 2)
    assert net.step_mean == 8.0
    assert (ready.step_mean, ready.step_sd) == (1.0, None)


def test_boots_without_milestones_have_one_step_to_ready() -> None:
    """A system without milestones would break the report."""
    header, records = make_boot_run({"a": [1.0, 3.0]})
    (step,) = milestone_steps(header, records)
    assert (step.mark, step.mean, step.step_mean) == ("ready", 2.0, 2.0)


# --- conditions -------------------------------------------------------------------------------------


def test_conditions_are_of_failed_boots_too() -> None:
    """A neighbour that made boots fail would be in no table of the host's load."""
    header, records = make_boot_run({"a": [1.0] * 4})
    failed = [with_outcome(records[0], Crashed(reason="x")), *records[1:]]
    (table,) = (each for each in conditions(analyse(header, failed)) if isinstance(each, Table))
    assert table.rows[0][1] == "4"
