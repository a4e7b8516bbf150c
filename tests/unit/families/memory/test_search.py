"""The search for the least memory: which sizes are tried, in how many rounds, and what is concluded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
from factories import make_record
from hypothesis import given
from hypothesis import strategies as st

from guestbench.families.memory.search import (
    GROWTH,
    Minimum,
    Search,
    below,
    boots_with_platform,
    expect,
    group_boots,
    to_tried,
)
from guestbench.model import Crashed, Incomplete, Mark, NotMade, Ok, Outcome, Record, TimedOut, Trial

BOOTS = 3
Guest = Callable[[int], bool]
"""Whether a boot with so many MiB succeeds."""


def search(
    guest: Guest,
    start: int = 512,
    *,
    known: bool = True,
    boots: int = BOOTS,
    slots: int = 2,
    guess: int | None = None,
) -> tuple[Minimum, dict[int, list[bool]], int]:
    """Search to the end: what was found, all boots by size, and the number of rounds."""
    tried: dict[int, list[bool]] = {}
    rounds = 0
    while sizes := Search(tried, start, known, boots).next_round(slots, guess):
        rounds += 1
        assert rounds < 200
        for size in sizes:
            tried.setdefault(size, []).append(guest(size))
    return Search(tried, start, known, boots).find_minimum(), tried, rounds


@pytest.mark.parametrize("least", [1, 2, 12, 48, 72, 128, 132, 252, 256, 500, 508, 512])
@pytest.mark.parametrize("slots", [1, 2, 5])
def test_a_guest_with_a_clear_limit_has_that_limit(least: int, slots: int) -> None:
    """The least RAM in a report would be wrong for a guest that behaves as simply as can be."""
    found, tried, _ = search(lambda size: size >= least, slots=slots)
    assert found == Minimum(least_mib=least, below_mib=below(least), mixed_mib=(), finished=True)
    assert tried[least] == [True] * BOOTS
    assert below(least) == 0 or tried[below(least)] == [False] * BOOTS


@given(least=st.integers(1, 128), slots=st.integers(1, 4), start=st.integers(128, 4096))
def test_the_search_is_exact_and_short(least: int, slots: int, start: int) -> None:
    """A search of Debian would take an hour, or stop beside the limit."""
    found, tried, rounds = search(lambda size: size >= least, start, slots=slots)
    assert found.least_mib == least
    # Halving from 4096 to 1 and bisecting 64 sizes take 12 and 6 steps, one at a time; then it is confirmed.
    assert rounds <= 12 + 7 + 1
    assert sum(map(len, tried.values())) <= 2 * BOOTS + slots * (rounds - 1)


@given(
    least=st.integers(1, 128),
    guess=st.integers(1, 700),
    slots=st.integers(1, 4),
    start=st.integers(128, 4096),
)
def test_a_guess_changes_no_answer(least: int, guess: int, slots: int, start: int) -> None:
    """A guest would get the least RAM of the guest that was searched before it."""
    found, tried, rounds = search(lambda size: size >= least, start, slots=slots, guess=guess)
    assert found == Minimum(least_mib=least, below_mib=below(least), mixed_mib=(), finished=True)
    assert tried[least] == [True] * BOOTS
    assert below(least) == 0 or tried[below(least)] == [False] * BOOTS
    assert rounds <= 12 + 12 + 2  # there and back in steps that double


@pytest.mark.parametrize(("guess", "sizes"), [(248, 2), (244, 4), (252, 5), (240, 5)])
def test_a_good_guess_saves_boots(guess: int, sizes: int) -> None:
    """Debian from its disk would be searched as if nothing was known of Debian with a direct kernel."""
    found, tried, _ = search(lambda size: size >= 248, guess=guess)
    assert found.least_mib == 248
    assert len(tried) <= sizes < len(search(lambda size: size >= 248)[1])


@pytest.mark.parametrize("busy_s", [0, 30, 58, 90])
def test_a_right_guess_has_no_other_size_tried(busy_s: int) -> None:
    """A core that is free beside a boot of the guess would try sizes that this boot makes needless."""
    tried: dict[int, list[bool]] = {}
    running: list[tuple[int, int]] = []
    free, now = [0, busy_s], 0
    while True:
        wanted = Counter(Search(tried, 512, True, BOOTS).next_round(2, 252)) - Counter(
            size for _, size in running
        )
        idle = [core for core in (0, 1) if free[core] <= now]
        for core, size in zip(idle, wanted.elements(), strict=False):
            free[core] = now + (57 if size >= 252 else 20)
            running.append((free[core], size))
        if not running:
            break
        now, size = min(running)
        running.remove((now, size))
        tried.setdefault(size, []).append(size >= 252)
        if max(free) > now and not running:
            now = max(free)
    assert tried == {252: [True] * BOOTS, 248: [False] * BOOTS}


def test_debians_search_takes_few_boots() -> None:
    """The search would take more than the 8 boot times that it may take on two cores."""
    found, _, rounds = search(lambda size: size >= 248)
    assert found.least_mib == 248
    assert rounds <= 6


def test_sizes_above_128_are_multiples_of_4() -> None:
    """A step of 1 MiB of 500 would cost four times the boots for nothing anybody can use."""
    _, tried, _ = search(lambda size: size >= 301, 510)
    assert all(size % 4 == 0 for size in tried if size > 128)


@pytest.mark.parametrize("known", [True, False])
def test_a_guest_that_needs_more_than_the_platform_has_is_searched_upward(known: bool) -> None:
    """A guest given too little by the experiment would have no least RAM at all."""
    found, tried, _ = search(lambda size: size >= 200, 128, known=known and False)
    assert found.least_mib == 200
    assert max(tried) <= 128 * GROWTH


def test_a_guest_that_never_boots_ends_the_search() -> None:
    """A broken image would be tried with ever larger sizes for ever."""
    found, tried, rounds = search(lambda _: False, known=False)
    assert found == Minimum(least_mib=None, below_mib=0, mixed_mib=(), finished=True)
    assert set(tried) == {512, 1024, 2048}
    assert rounds == 2


def test_a_success_below_a_failure_is_a_range_and_not_the_least() -> None:
    """A guest that boots with 48, fails with 52 and boots from 56 on would be said to need 48."""
    found, tried, _ = search(lambda size: size >= 56 or 46 <= size <= 50)
    assert found.least_mib == 56
    assert all(tried[56])
    assert found.mixed_mib == tuple(size for size in range(46, 51) if size in tried)


def test_a_size_that_passes_now_and_then_is_not_enough() -> None:
    """One lucky boot in three would be reported as the memory a guest needs."""
    lucky = iter([True, False] * 50)

    def guest(size: int) -> bool:
        return size >= 60 or (size >= 56 and next(lucky))

    found, tried, _ = search(guest)
    assert found.least_mib is not None
    assert all(tried[found.least_mib]) and len(tried[found.least_mib]) >= BOOTS
    mixed = [size for size, results in tried.items() if any(results) and not all(results)]
    assert set(mixed) <= {*range(56, 60)}
    assert set(mixed) <= set(found.mixed_mib)
    # From the least size down, the range is known to a size with which no boot succeeded.
    size = below(found.least_mib)
    while any(tried[size]):
        size = below(size)
    assert tried[size] == [False] * BOOTS


@given(
    answers=st.lists(st.booleans(), max_size=60),
    start=st.integers(1, 2048),
    slots=st.integers(1, 8),
    boots=st.integers(1, 4),
    known=st.booleans(),
    guess=st.none() | st.integers(1, 3000),
)
def test_any_guest_ends_the_search_with_a_sound_answer(
    answers: list[bool], start: int, slots: int, boots: int, known: bool, guess: int | None
) -> None:
    """A guest that fails at random would hang the run, or get a least RAM that its own boots contradict."""
    given_answers = iter(answers)
    found, tried, _ = search(
        lambda _: next(given_answers, True), start, known=known, boots=boots, slots=slots, guess=guess
    )
    assert found.finished
    if found.least_mib is not None:
        assert all(tried[found.least_mib]) and len(tried[found.least_mib]) >= boots
        assert all(all(results) for size, results in tried.items() if size > found.least_mib)


@given(cut=st.integers(0, 30), slots=st.integers(1, 3))
def test_an_interrupted_search_comes_to_the_same_end(cut: int, slots: int) -> None:
    """A resumed run would report another least RAM."""
    tried: dict[int, list[bool]] = {}
    made = 0
    while sizes := Search(tried, 512, known=True, boots=BOOTS).next_round(slots):
        for size in sizes:
            tried.setdefault(size, []).append(size >= 100)
            made += 1
            if made == cut:
                break  # the rest of this round is lost
    assert Search(tried, 512, known=True, boots=BOOTS).find_minimum().least_mib == 100


# --- records ----------------------------------------------------------------------------------------


def make_trial(purpose: str, memory_mib: int | None = None, cycle: int = 1) -> Trial:
    """A trial of the system `a`."""
    name = f"{purpose}-{memory_mib}-{cycle}"
    return Trial(
        id=name, system="a", purpose=purpose, block=0, cycle=cycle, definition="", memory_mib=memory_mib
    )


def marks(**times_s: float) -> tuple[Mark, ...]:
    """Marks by name, `_` for a space, in seconds."""
    return tuple(Mark(name=name.replace("_", " "), t_ns=round(t * 1e9)) for name, t in times_s.items())


def test_records_are_grouped_by_size() -> None:
    """Boots with different sizes would be counted together, or boots of the run as boots of the search."""
    records = [
        make_record(make_trial("memory-min", 64, 2), outcome=Crashed(reason="x")),
        make_record(make_trial("memory-min", 64, 1)),
        make_record(make_trial("memory-min", 128)),
        make_record(make_trial("boot")),
    ]
    assert to_tried(group_boots(records, "a")) == {128: (True,), 64: (True, False)}
    assert group_boots(records, "b") == {}


@pytest.mark.parametrize(("spoiled", "least_mib"), [(0, 64), (1, 64), (2, 64), (3, 65), (99, 65)])
def test_boots_that_were_not_made_are_made_again_and_not_for_ever(spoiled: int, least_mib: int) -> None:
    """A busy host would make a guest seem to need more memory, or a search never end."""
    records: list[Record] = []
    left = spoiled
    for _ in range(100):
        tried = to_tried(group_boots(records, "a"))
        sizes = Search(tried, 128, known=True, boots=BOOTS).next_round(slots=1)
        if not sizes:
            break
        for size in sizes:
            outcome: Outcome = Ok() if size >= 64 else Crashed(reason="too little")
            if size == 64 and left:
                outcome, left = NotMade(reason="the host was too busy"), left - 1
            records.append(make_record(make_trial("memory-min", size, len(records)), outcome=outcome))
    assert len(records) < 100
    found = Search(to_tried(group_boots(records, "a")), 128, known=True, boots=BOOTS).find_minimum()
    assert (found.least_mib, found.finished) == (least_mib, True)


def test_what_is_expected_of_a_guest_is_what_it_did_with_all_its_memory() -> None:
    """A slow guest would be cut off, or one that aborts in the middle of its work be called well."""
    records: list[Record] = [
        make_record(make_trial("warmup"), marks=marks(ready=2.0)),
        make_record(make_trial("memory"), marks=marks(ready=3.0, work_done=10.0)),
        make_record(make_trial("memory-min", 16), marks=marks(ready=99.0)),
        make_record(make_trial("boot"), outcome=TimedOut(reason="late"), marks=marks(first_byte=1.0)),
    ]
    expected = expect(records, "a")
    assert expected is not None
    assert (expected.ready_s, expected.work_ends, expected.work_s) == (3.0, True, 7.0)
    quiet = expect(records[:1], "a")
    assert quiet is not None
    assert not quiet.work_ends
    assert expect(records, "b") is None


def test_only_a_boot_that_got_ready_shows_that_the_platform_suffices() -> None:
    """The search would begin below a size with which the guest never booted."""
    ready = marks(ready=2.0)
    assert boots_with_platform([make_record(make_trial("memory"), outcome=Ok(), marks=ready)], "a")
    incomplete = Incomplete(reason="")
    assert boots_with_platform([make_record(make_trial("memory"), outcome=incomplete, marks=ready)], "a")
    for record in (
        make_record(make_trial("memory"), outcome=Crashed(reason=""), marks=ready),
        make_record(make_trial("memory-min", 256), marks=ready),
        make_record(make_trial("memory"), marks=marks(first_byte=1.0)),
        make_record(make_trial("image")),
        make_record(make_trial("surface-image")),
    ):
        assert not boots_with_platform([record], "a")
