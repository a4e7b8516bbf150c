"""The rounds of the searches for the least memory of several guests, on guests with known limits."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest
from factories import make_guest, make_header, make_record, make_system, make_trials

from guestbench.families.memory.plan import follow_up
from guestbench.families.memory.search import Search, group_boots, to_tried
from guestbench.model import Crashed, Mark, Ok, Record, Sample, Trial
from guestbench.run.plan import plan_more

BOOTS = 3


def run_all(
    limits: Mapping[str, int], touched_mib: Mapping[str, float]
) -> tuple[list[Record], list[list[str]]]:
    """Search for every guest's least memory: all records, and the guests of each round."""
    header = make_header([make_guest(make_system(name)) for name in limits])
    records = [count(trial, touched_mib) for trial in make_trials(list(limits), cycles=1, images=False)]
    rounds = []
    while wanted := follow_up(header, records, 2):
        rounds.append([each.system for each in wanted])
        records += [boot(trial, limits) for trial in plan_more(header, wanted, records)]
        assert len(rounds) < 200
    return records, rounds


def count(trial: Trial, touched_mib: Mapping[str, float]) -> Record:
    """A boot that counted the memory."""
    counted = touched_mib.get(trial.system)
    samples = [] if counted is None else [Sample("memory.touched", counted * 1024, {"state": "ready"})]
    marks = [Mark(name="ready", t_ns=10**9)]
    return make_record(msgspec.structs.replace(trial, purpose="memory"), samples, marks=marks)


def boot(trial: Trial, limits: Mapping[str, int]) -> Record:
    """A boot of the search."""
    enough = (trial.memory_mib or 0) >= limits[trial.system]
    return make_record(trial, outcome=Ok() if enough else Crashed(reason="too little"))


def find(header_records: list[Record], name: str) -> int | None:
    """What the search of a guest came to."""
    tried = to_tried(group_boots(header_records, name))
    found = Search(tried, 512, known=True, boots=BOOTS).find_minimum()
    assert found.finished
    return found.least_mib


def count_boots(records: list[Record], name: str) -> int:
    """How many boots the search of a guest took."""
    return sum(r.trial.system == name and r.trial.memory_mib is not None for r in records)


@pytest.mark.parametrize("limits", [{"a": 140, "b": 140}, {"a": 140, "b": 148}, {"a": 100, "b": 96}])
def test_a_guest_like_another_begins_near_where_that_one_ends(limits: dict[str, int]) -> None:
    """Debian from its disk would be searched as if Debian with a direct kernel had not been."""
    records, rounds = run_all(limits, {"a": 150.0, "b": 160.0})
    assert {name: find(records, name) for name in limits} == limits
    together = [set(each) for each in rounds].index({"a", "b"})
    assert all(set(each) == {"a"} for each in rounds[:together])
    assert together > 2
    assert count_boots(records, "b") < count_boots(records, "a")


@pytest.mark.parametrize("touched", [{"a": 150.0, "b": 40.0}, {"a": 150.0}, {}])
def test_guests_that_are_not_alike_are_searched_side_by_side(touched: dict[str, float]) -> None:
    """A core would be idle while the last boot of another's round hangs."""
    limits = {"a": 140, "b": 20, "c": 60}
    records, rounds = run_all(limits, touched)
    assert {name: find(records, name) for name in limits} == limits
    assert set(rounds[0]) == {"a", "b", "c"}
    alone, _ = run_all({"a": 140}, touched)
    assert count_boots(records, "a") <= count_boots(alone, "a")


def test_a_guest_like_one_that_never_boots_is_searched_as_any_other() -> None:
    """One broken guest would leave another without its least memory."""
    limits = {"a": 10_000, "b": 140}
    records, _ = run_all(limits, {"a": 150.0, "b": 150.0})
    assert (find(records, "a"), find(records, "b")) == (None, 140)
