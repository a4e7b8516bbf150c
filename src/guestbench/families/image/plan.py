"""The trials of image size: each guest's files are measured once."""

from __future__ import annotations

from collections.abc import Iterator

from guestbench.guest.pristine import find_needs
from guestbench.model import Batch, Header, Wanted

__all__ = ["find_needs", "plan"]


def plan(header: Header) -> Iterator[Batch]:
    """One trial for each guest."""
    trials = tuple(Wanted(purpose="image", system=guest.system.name) for guest in header.guests)
    yield Batch(trials=trials, soon=True)
