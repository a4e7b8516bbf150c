"""Decides which memory sizes to try next, and says what the tried ones tell; pure, it boots nothing.

A size is enough if a guest boots with it every time it is tried. Success need not be monotonic: a guest may
boot with 48 MiB, fail with 52, and boot with 56. So the least size is taken above every size that failed,
and successes below it are reported as what they are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from guestbench.families.memory import SEARCH
from guestbench.model import READY, Frozen, NotMade, Ok, Record

COARSE_ABOVE_MIB = 128
COARSE_MIB = 4
"""Above 128 MiB sizes are tried in steps of 4 MiB: 3% of the size at most."""
GROWTH = 4
"""How many times the platform's memory is tried for a guest that does not boot with it."""
SPOILED = 2
"""How many boots with one size may not be made, for reasons that are not the guest's, and are made again."""
RANGE_SIZES = 6
"""How many sizes below the least one are looked at for boots that succeed now and then."""

WORK_DONE = "work done"
"""The mark at which a guest has ended its own work."""

Tried = Mapping[int, Sequence[bool]]
"""For each memory size in MiB: whether each of its boots succeeded."""


class Expectation(Frozen):
    """How a guest behaves with the platform's memory, which is what a smaller size must not change.

    `ready_s` is the longest it took to get ready, `work_ends` whether its own work came to its end, and
    `work_s` how long that took after ready at most.
    """

    ready_s: float
    work_ends: bool = False
    work_s: float = 0.0


class Minimum(Frozen):
    """What the tried sizes tell. Sizes in MiB.

    `least_mib` is the least size with which every boot succeeded, and above which no size failed; None if
    there is none. `below_mib` is the next smaller size on the grid, 0 below 1 MiB. `mixed_mib` are the
    sizes below the least one with which at least one boot succeeded. `finished` says whether the search
    has nothing more to try. `vmm_failed` says how the VMM itself failed with the largest size that was not
    enough, where nothing else did: the guest may need less than the least size.
    """

    least_mib: int | None
    below_mib: int
    mixed_mib: tuple[int, ...]
    finished: bool
    vmm_failed: str = ""


def group_boots(records: Iterable[Record], system: str) -> dict[int, tuple[Record, ...]]:
    """A system's records of tried memory sizes, from the largest size down, each size's by cycle."""
    groups: dict[int, list[Record]] = {}
    for record in records:
        trial = record.trial
        if trial.system == system and trial.purpose == SEARCH and trial.memory_mib:
            groups.setdefault(trial.memory_mib, []).append(record)
    return {
        size: tuple(sorted(groups[size], key=lambda record: record.trial.cycle))
        for size in sorted(groups, reverse=True)
    }


def to_tried(groups: Mapping[int, Sequence[Record]]) -> dict[int, tuple[bool, ...]]:
    """What a `Search` needs to know of grouped records.

    A boot that was not made tells nothing and is made again, but for those of a size beyond `SPOILED`.
    """
    tried = {}
    for size, records in groups.items():
        outcomes = [record.outcome for record in records if not isinstance(record.outcome, NotMade)]
        made = [isinstance(outcome, Ok) for outcome in outcomes]
        made += [False] * (len(records) - len(made) - SPOILED)
        if made:
            tried[size] = tuple(made)
    return tried


def boots_with_platform(records: Iterable[Record], system: str) -> bool:
    """Whether a record shows that the system gets ready with the platform's memory."""
    return any(
        record.trial.system == system
        and record.trial.memory_mib is None
        and record.holds
        and any(mark.name == READY for mark in record.marks)
        for record in records
    )


def expect(records: Iterable[Record], system: str) -> Expectation | None:
    """How the system behaves with the platform's memory, by its records; None if it never got ready."""
    ready_s, work_s = [], []
    for record in records:
        if record.trial.system != system or record.trial.purpose == SEARCH:
            continue
        times = {mark.name: mark.t_ns / 1e9 for mark in record.marks}
        if READY in times:
            ready_s.append(times[READY])
            if WORK_DONE in times:
                work_s.append(times[WORK_DONE] - times[READY])
    if not ready_s:
        return None
    return Expectation(ready_s=max(ready_s), work_ends=bool(work_s), work_s=max(work_s, default=0.0))


class Search(NamedTuple):
    """A search as far as it has come.

    `start_mib` is the platform's memory, `known` whether the guest is known to boot with it, `boots` how
    many boots a size must pass.
    """

    tried: Tried
    start_mib: int
    known: bool
    boots: int

    def next_round(self, slots: int, guess_mib: int | None = None) -> tuple[int, ...]:
        """The sizes to try next, in MiB; a size that is named several times is to be booted so often.

        `slots` is how many boots can be made at a time. `guess_mib` is what it may come to, where a guest
        like it has been searched: sizes near it are tried first. Empty: there is nothing more to try, which
        does not depend on either. It depends on nothing but these, so that an interrupted search can go on.
        """
        low, high = self._bracket()
        if high is None:
            return _grow(self.tried, self.start_mib, low, slots)
        if guess_mib is not None and (near := _look_near(guess_mib, low, high, slots)):
            # If the guess is right, all that it takes is boots of it and of the next smaller size.
            if high == guess_mib:
                return (*near[:1], *_missing(self.tried, high, self.boots))
            if low == below(guess_mib) and near[0] == guess_mib:
                return _missing(self.tried, guess_mib, self.boots)
            return near
        if low == 0 and (smaller := _halve(high, slots)):
            return smaller
        between = _grid_between(low, high)
        if between:
            return _spread(between, slots)
        return (*_missing(self.tried, high, self.boots), *_look_below(self.tried, high, self.boots))

    def find_minimum(self) -> Minimum:
        """What the tried sizes tell."""
        _, high = self._bracket()
        left = self.next_round(slots=1)
        if high is None:
            mixed = _with_success(self.tried)
            return Minimum(least_mib=None, below_mib=0, mixed_mib=mixed, finished=not left)
        return Minimum(
            least_mib=high if len(self.tried.get(high, ())) >= self.boots else None,
            below_mib=below(high),
            mixed_mib=tuple(size for size in _with_success(self.tried) if size < high),
            finished=not left,
        )

    def guess(self) -> int | None:
        """What a guest like this one may need: the size that is the least unless it fails once more."""
        low, high = self._bracket()
        return high if high is not None and low and not _grid_between(low, high) else None

    def _bracket(self) -> tuple[int, int | None]:
        """The largest size that failed (0 if none did), and the least above it that never failed, if any."""
        low = max((size for size, results in self.tried.items() if not all(results)), default=0)
        good = [size for size, results in self.tried.items() if all(results) and size > low]
        if self.known and self.start_mib > low:
            good.append(self.start_mib)
        return low, min(good, default=None)


def below(size_mib: int) -> int:
    """The next smaller size on the grid; 0 below 1 MiB."""
    if size_mib <= COARSE_ABOVE_MIB:
        return size_mib - 1
    return (size_mib - 1) // COARSE_MIB * COARSE_MIB


def _grow(tried: Tried, start_mib: int, low: int, slots: int) -> tuple[int, ...]:
    """Larger sizes, up to a few times the platform's, for a guest that has booted with none."""
    if start_mib not in tried and low < start_mib:
        return (start_mib,)
    doubled = [low * 2**step for step in range(1, slots + 1)]
    return tuple(size for size in doubled if size <= start_mib * GROWTH)


def _halve(high: int, slots: int) -> tuple[int, ...]:
    sizes: list[int] = []
    while len(sizes) < slots and high > 1:
        high = max(1, _align(high // 2))
        sizes.append(high)
    return tuple(sizes)


def _look_near(guess_mib: int, low: int, high: int, slots: int) -> tuple[int, ...]:
    """Sizes ever farther from the guess: down while none has failed, up while it has itself."""
    if low and (high <= guess_mib or low < below(guess_mib)):
        return ()
    direction = 1 if low else -1
    grid = _grid_between(0, max(high, guess_mib + 1))
    place = bisect_left(grid, guess_mib)
    places = [place + direction * (2**step - 1) for step in range(len(grid).bit_length())]
    near = [grid[each] for each in places if 0 <= each < len(grid)]
    return tuple(size for size in near if low < size < high)[:slots]


def _align(size_mib: int) -> int:
    return size_mib if size_mib <= COARSE_ABOVE_MIB else size_mib // COARSE_MIB * COARSE_MIB


def _grid_between(low: int, high: int) -> list[int]:
    sizes = []
    size = below(high)
    while size > low:
        sizes.append(size)
        size = below(size)
    return sizes[::-1]


def _spread(sizes: Sequence[int], slots: int) -> tuple[int, ...]:
    """So many of the sizes that they cut them into parts of about the same length."""
    places = [(number + 1) * len(sizes) // (slots + 1) for number in range(slots)]
    return tuple(sizes[place] for place in dict.fromkeys(places))


def _missing(tried: Tried, size: int, boots: int) -> tuple[int, ...]:
    return (size,) * max(0, boots - len(tried.get(size, ())))


def _look_below(tried: Tried, high: int, boots: int) -> tuple[int, ...]:
    """Boots still missing at the sizes below the least one, down to one with which none of them succeeded."""
    size = below(high)
    for _ in range(RANGE_SIZES):
        if size < 1:
            break
        if not any(tried.get(size, ())):
            return _missing(tried, size, boots)
        size = below(size)
    return ()


def _with_success(tried: Tried) -> tuple[int, ...]:
    return tuple(sorted(size for size, results in tried.items() if any(results)))
