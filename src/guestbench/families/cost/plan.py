"""The trials that count instructions: nothing in them is a time, so that they run side by side."""

from __future__ import annotations

from collections.abc import Iterator

from guestbench.families.cost import BOOT, FAMILY, GUEST, WORK, Settings
from guestbench.model import Batch, BootWork, Header, Needs, Record, Wanted, find_settings


def plan(header: Header) -> Iterator[Batch]:
    """Boots of every guest; then those that are booted with a workload do it, where the run has workloads."""
    settings = find_settings(header.experiment.settings, FAMILY.name, Settings)
    names = [guest.system.name for guest in header.largest_first]
    yield Batch(
        trials=tuple(Wanted(purpose=BOOT, system=name) for name in names), rounds=settings.boots, soon=True
    )
    works = [
        Wanted(purpose=WORK, system=guest.system.name, workload=work.workload.name)
        for guest in header.guests
        if isinstance(guest.system.work, BootWork)
        for work in (header.kit.works if header.kit else ())
        if work.program is not None and guest.system.does(work.workload.name)
    ]
    yield Batch(trials=tuple(works), rounds=settings.works)


def find_needs(header: Header) -> Needs:
    """What counts."""
    del header
    return Needs(plugin=True, programs=False)


def describe(record: Record) -> str:
    """How many instructions there were."""
    found = [s.value for s in record.samples if s.metric == GUEST and not s.labels]
    return next((f"{value:,.0f} instructions" for value in found), "")
