"""What is derived of the boots of a run: how much longer each took than the floor."""

from __future__ import annotations

import statistics
from collections.abc import Iterable

import msgspec

from guestbench.families.boot import ABOVE_FLOOR, BOOT, READY
from guestbench.model import GuestFamily, Header, Ok, Provenance, Record, Sample


def derive(header: Header, records: tuple[Record, ...]) -> tuple[Record, ...]:
    """The records with `boot.above_floor` added to every successful counted boot, but those of the floor.

    The floor's median is taken of the run's successful floor boots; where the run has none, nothing is added,
    and neither is to a record that has the sample already.
    """
    floor = floor_median(header, records)
    if floor is None:
        return records
    floors = {guest.system.name for guest in header.guests if guest.system.family is GuestFamily.FLOOR}
    return tuple(
        _add_above_floor(record, floor) if _counts(record) and record.trial.system not in floors else record
        for record in records
    )


def floor_median(header: Header, records: Iterable[Record]) -> float | None:
    """Median `boot.ready`, in seconds, of the first floor system that got ready at all; None without one."""
    given = tuple(records)
    for guest in header.guests:
        if guest.system.family is not GuestFamily.FLOOR:
            continue
        values = [
            sample.value
            for record in given
            if _counts(record) and record.trial.system == guest.system.name
            for sample in record.samples
            if sample.metric == READY and not sample.labels
        ]
        if values:
            return statistics.median(values)
    return None


def _counts(record: Record) -> bool:
    return record.trial.purpose == BOOT and isinstance(record.outcome, Ok)


def _add_above_floor(record: Record, floor: float) -> Record:
    if any(s.metric == ABOVE_FLOOR for s in record.samples):
        return record
    derived = tuple(
        Sample(metric=ABOVE_FLOOR, value=s.value - floor, provenance=Provenance.DERIVED)
        for s in record.samples
        if s.metric == READY and not s.labels
    )
    return msgspec.structs.replace(record, samples=(*record.samples, *derived))
