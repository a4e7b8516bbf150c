"""The trials of boot time: first boots, warm-ups, and shuffled blocks that boot every guest once."""

from __future__ import annotations

from collections.abc import Iterator

from guestbench.families import find_hook, list_families
from guestbench.families.boot import BOOT, FIRST, READY, TWIN, WARMUP
from guestbench.model import Batch, GuestFamily, Header, Record, Wanted


def plan(header: Header) -> Iterator[Batch]:
    """First boots where there is such a thing; then the boots that do not count, and those that do."""
    experiment, names = header.experiment, [guest.system.name for guest in header.guests]
    settled = [g.system.name for g in header.guests if g.origin.settled and g.system.provision.settle]
    yield Batch(trials=tuple(Wanted(purpose=FIRST, system=name) for name in settled))
    for purpose, rounds in ((WARMUP.name, experiment.warmups), (BOOT, experiment.cycles)):
        yield Batch(
            trials=tuple(Wanted(purpose=purpose, system=name) for name in names),
            rounds=rounds,
            shuffle=purpose,
            blocks=purpose == BOOT,
            at_once=purpose != BOOT,
            instead=_list_boots() if purpose != BOOT else (),
        )
    # The cheapest guest once more in each block, as if it were another: equals that have to come out equal.
    floors = [guest.system.name for guest in header.guests if guest.system.family is GuestFamily.FLOOR]
    twins = tuple(Wanted(purpose=TWIN, system=name) for name in floors[:1])
    yield Batch(trials=twins, rounds=experiment.cycles, shuffle=BOOT, blocks=True)


def _list_boots() -> tuple[str, ...]:
    """Purposes of trials for which a guest is booted as it is, and never goes on from a state."""
    return tuple(
        purpose.name
        for family in list_families()
        if find_hook(family.name, "plan", "find_start") is None
        for purpose in family.purposes
        if purpose.boots and not purpose.pristine and purpose != WARMUP
    )


def describe(record: Record) -> str:
    """When the guest got ready."""
    ready = (sample.value for sample in record.samples if sample.metric == READY)
    return next((f"ready after {value:.3f} s" for value in ready), "")
