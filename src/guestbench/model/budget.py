"""How long a run may take."""

from __future__ import annotations

from guestbench.model.base import Frozen


class Budget(Frozen):
    """A run is to take so many `seconds`; what does not fit is dropped, a round at a time.

    `times` are how many seconds trials took on this host before the run, by what they have in common.
    """

    seconds: float
    times: dict[str, float] = {}
