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

LOAD = "load"
"""The workload of boots that count the memory of a guest at its load and at nothing else."""


def plan(header: Header) -> Iterator[Batch]:
    """So many boots of each guest that count its memory, and of its load where that takes a boot."""
    wanted: list[Wanted] = []
    for guest in header.guests:
        wanted.append(Wanted(purpose=MEMORY, system=guest.system.name))
        if header.kit is not None and needs_load_boot(guest.system):
            wanted.append(Wanted(purpose=MEMORY, system=guest.system.name, workload=LOAD))
    yield Batch(trials=tuple(wanted), rounds=_find_settings(header).cycles)


def needs_load_boot(system: System) -> bool:
    """Whether a system's load takes a boot of its own: it is its only work, from power-on to power-off."""
    return isinstance(system.load, ProgramLoad) and isinstance(system.work, BootWork)


def follow_up(header: Header, records: Sequence[Record], slots: int) -> tuple[Wanted, ...]:
    """The next round of the search for the least memory of one guest; empty when all are found."""
    for guest in header.guests:
        name = guest.system.name
        sizes = search.next_round(
            search.to_tried(search.group_boots(records, name)),
            header.platform.memory_mib,
            known=search.boots_with_platform(records, name),
            boots=_find_settings(header).boots,
            slots=slots,
        )
        if sizes:
            return tuple(Wanted(purpose=SEARCH, system=name, memory_mib=size) for size in sizes)
    return ()


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
