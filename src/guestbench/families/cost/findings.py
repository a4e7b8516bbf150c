"""What weakens or explains counted instructions: waiting that is much of a boot, and other clocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from guestbench.families.cost import BOOT, FAMILY, GUEST, WAITING, Settings
from guestbench.model import Header, Record, find_settings

MUCH = 0.05
"""From this share on of what a guest executes, its waiting is worth a sentence."""


def notices(header: Header, records: Sequence[Record]) -> Iterator[str]:
    """Guests that spend much of their boot in loops that wait."""
    for guest in header.guests:
        name = guest.system.name
        shares = []
        for record in records:
            if record.trial.system == name and record.trial.purpose == BOOT and record.holds:
                found = {sample.metric: sample.value for sample in record.samples if not sample.labels}
                if whole := found.get(GUEST, 0) + found.get(WAITING, 0):
                    shares.append(found.get(WAITING, 0) / whole)
        if shares and median(shares) >= MUCH:
            yield (
                f"{name}: {median(shares):.0%} of the instructions of its boot are of loops that wait for a "
                "clock or a device; they are left out of its count, and its time has them."
            )


def settings(header: Header) -> Iterator[tuple[str, str]]:
    """What has to be alike in two runs for their counts to be compared."""
    own = find_settings(header.experiment.settings, FAMILY.name, Settings)
    yield "clock of guests that are counted", "virtual without a boot loader" if own.icount else "real"
