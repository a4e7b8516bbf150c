"""What is still to come of a run that is not whole."""

from __future__ import annotations

from guestbench.model.base import Frozen


class ToCome(Frozen):
    """A family of which something is still to come: `made` of `planned` trials have a record.

    `missing` has how many trials of each purpose are to come. `seconds` is what these take one after the
    other, by those of their kind that are made; None where there is no such trial for some of them. `search`
    says what is still searched for, of which nobody knows how many trials it takes; empty where nothing is.
    """

    family: str
    title: str
    made: int
    planned: int
    missing: dict[str, int]
    seconds: float | None
    search: str = ""
