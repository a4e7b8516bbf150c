"""The trials of the attack surface: its image files, the running guest, and fresh boots for its addresses."""

from __future__ import annotations

from collections.abc import Iterator

from guestbench.families.surface import BOOT, IMAGE, RUNNING, Settings
from guestbench.guest.pristine import find_needs
from guestbench.model import Batch, Header, Start, Trial, Wanted, find_settings

__all__ = ["find_needs", "find_start", "plan"]


def plan(header: Header) -> Iterator[Batch]:
    """Every guest's images, then every guest, then so many boots of each."""
    boots = find_settings(header.experiment.settings, "surface", Settings).boots
    for purpose, rounds in ((IMAGE, 1), (RUNNING, 1), (BOOT, boots)):
        wanted = tuple(Wanted(purpose=purpose, system=guest.system.name) for guest in header.guests)
        yield Batch(trials=wanted, rounds=rounds)


def find_start(header: Header, trial: Trial) -> Start | None:
    """A guest with a shell is looked at from where it was ready; any other may be at work by then."""
    if trial.purpose == RUNNING and header.find_guest(trial.system).system.login is not None:
        return Start()
    return None
