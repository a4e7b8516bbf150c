"""The trials of the attack surface: its image files, the running guest, and fresh boots for its addresses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from guestbench.families import list_families, load_hook
from guestbench.families.surface import BOOT, FAMILY, IMAGE, RUNNING, Settings
from guestbench.guest.pristine import find_needs
from guestbench.model import Batch, Header, Start, Trial, Wanted, find_settings

__all__ = ["find_needs", "find_start", "plan"]


def plan(header: Header) -> Iterator[Batch]:
    """Every guest's images, then every guest, then boots until there are so many of each.

    A guest that is probed was booted for it, and so were those that are looked at for other families.
    """
    wanted = find_settings(header.experiment.settings, FAMILY.name, Settings).boots
    names = [guest.system.name for guest in header.guests]
    for purpose in (IMAGE, RUNNING):
        yield Batch(trials=tuple(Wanted(purpose=purpose, system=name) for name in names))
    made = _count_asides(header)
    for name in names:
        rounds = max(0, wanted - 1 - made[name])
        yield Batch(trials=(Wanted(purpose=BOOT, system=name),), rounds=rounds)


def _count_asides(header: Header) -> Counter[str]:
    """How many boots of each guest other families make at whose end this one looks at it."""
    others = [each.name for each in list_families() if each.name in header.experiment.metrics]
    return Counter(
        wanted.system
        for name in others
        if name != FAMILY.name
        for batch in load_hook(name, "plan", "plan")(header)
        for wanted in batch.trials * batch.rounds
        if wanted.purpose in FAMILY.aside
    )


def find_start(header: Header, trial: Trial) -> Start | None:
    """A guest with a shell is looked at from where it was ready; any other may be at work by then."""
    if trial.purpose == RUNNING and header.find_guest(trial.system).system.login is not None:
        return Start()
    return None
