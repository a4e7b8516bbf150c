"""The trials of memory: boots that count it, and the search for the least with which a guest boots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guestbench.families.memory import MEMORY, SEARCH, TOUCHED, Settings, search
from guestbench.model import (
    Batch,
    BootWork,
    Header,
    Needs,
    Ok,
    ProgramLoad,
    Record,
    System,
    Trial,
    Wanted,
    find_settings,
)

ALIKE = 1.25
"""Guests whose memory touched when ready differs less than so many times may need about the same."""
LOAD = "load"
"""The workload of boots that count the memory of a guest at its load and at nothing else."""


def plan(header: Header) -> Iterator[Batch]:
    """So many boots of each guest that count its memory, and of its load where that takes a boot."""
    wanted: list[Wanted] = []
    for guest in header.largest_first:
        wanted.append(Wanted(purpose=MEMORY, system=guest.system.name))
        if header.kit is not None and needs_load_boot(guest.system):
            wanted.append(Wanted(purpose=MEMORY, system=guest.system.name, workload=LOAD))
    yield Batch(trials=tuple(wanted), rounds=_find_settings(header).cycles)


def needs_load_boot(system: System) -> bool:
    """Whether a system's load takes a boot of its own: it is its only work, from power-on to power-off."""
    return isinstance(system.load, ProgramLoad) and isinstance(system.work, BootWork)


def follow_up(header: Header, records: Sequence[Record], slots: int) -> tuple[Wanted, ...]:
    """What the searches for the least memory of all guests try next; empty when all are found.

    A guest that is like one before it waits until no size is left between those that were and were not enough
    for that one, and begins there.
    """
    boots, start_mib = _find_settings(header).boots, header.platform.memory_mib
    names = [guest.system.name for guest in header.largest_first]
    touched = {name: _find_touched(records, name) for name in names}
    searches = {
        name: search.Search(
            tried=search.to_tried(search.group_boots(records, name)),
            start_mib=start_mib,
            known=search.boots_with_platform(records, name),
            boots=boots,
        )
        for name in names
    }
    guesses: dict[str, int | None] = {}
    for place, name in enumerate(names):
        if searches[name].next_round(slots=1):
            like = [each for each in names[:place] if _are_alike(touched[each], touched[name])]
            guess_mib = searches[like[-1]].guess() if like else None
            if guess_mib is not None or not like or not searches[like[-1]].next_round(slots=1):
                guesses[name] = guess_mib
    return tuple(
        Wanted(purpose=SEARCH, system=name, memory_mib=size)
        for place, (name, guess_mib) in enumerate(guesses.items())
        for size in searches[name].next_round(_share(slots, len(guesses), place), guess_mib)
    )


def _share(slots: int, searches: int, place: int) -> int:
    """How many sizes of one of so many searches are tried side by side; one where cores are no more."""
    return max(1, slots // searches + (place < slots % searches))


def _find_touched(records: Sequence[Record], name: str) -> float:
    """The memory that a guest has touched when it is ready, in KiB; 0 where that was not counted."""
    counted = (
        sample.value
        for record in records
        if record.trial.system == name and record.trial.purpose == MEMORY
        for sample in record.samples
        if sample.metric == TOUCHED and sample.labels == {"state": "ready"}
    )
    return next(counted, 0.0)


def _are_alike(one: float, other: float) -> bool:
    return min(one, other) > 0 and max(one, other) <= ALIKE * min(one, other)


def find_needs(header: Header) -> Needs | None:
    """The program, where it is the load of a guest."""
    return Needs() if any(isinstance(guest.system.load, ProgramLoad) for guest in header.guests) else None


def brief(header: Header, trial: Trial, records: Sequence[Record]) -> search.Expectation | None:
    """How the guest behaves with the platform's memory, for a boot of the search."""
    return search.expect(records, trial.system) if trial.purpose == SEARCH else None


def describe(record: Record) -> str:
    """Whether a size was enough, or what was counted."""
    if record.trial.purpose == SEARCH:
        return "enough" if isinstance(record.outcome, Ok) else f"not enough: {record.outcome.reason}"
    touched = {s.labels["state"]: s.value for s in record.samples if s.metric == TOUCHED}
    shown = (f"{state} {kib / 1024:.1f} MiB" for state, kib in touched.items() if state != "load-end")
    return f"RAM touched: {', '.join(shown)}"


def _find_settings(header: Header) -> Settings:
    return find_settings(header.experiment.settings, "memory", Settings)
