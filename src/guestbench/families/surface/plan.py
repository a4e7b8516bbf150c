"""The trials of the attack surface: its image files, the running guest, and fresh boots for its addresses."""

from __future__ import annotations

from collections.abc import Iterator

from guestbench.families.surface import BOOT, FAMILY, IMAGE, RUNNING, Settings
from guestbench.guest.pristine import find_needs
from guestbench.model import Batch, Header, Start, Trial, Wanted, find_settings

__all__ = ["find_needs", "find_start", "plan"]


def plan(header: Header) -> Iterator[Batch]:
    """Every guest's images, then every guest, then boots until there are so many of each.

    A guest that is probed was booted for it, and so were those that are looked at for other families.
    """
    wanted = find_settings(header.experiment.settings, FAMILY.name, Settings).boots
    names = [guest.system.name for guest in header.largest_first]
    for purpose in (IMAGE, RUNNING):
        trials = tuple(Wanted(purpose=purpose, system=name) for name in names)
        yield Batch(trials=trials, soon=purpose == IMAGE)
    yield Batch(
        trials=tuple(Wanted(purpose=BOOT, system=name) for name in names),
        rounds=wanted,
        last=True,
        instead=(RUNNING, *FAMILY.aside),
    )


def find_start(header: Header, trial: Trial) -> Start | None:
    """A guest with a shell is looked at from where it was ready; any other may be at work by then."""
    if trial.purpose == RUNNING and header.find_guest(trial.system).system.login is not None:
        return Start()
    return None
