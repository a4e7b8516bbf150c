"""Compares two profiles symbol by symbol: what grew, what shrank, and by how many instructions."""

from __future__ import annotations

from collections import Counter

from guestbench.model import Frozen
from guestbench.model.profile import Profile, Region, count

WAITING = frozenset({Region.FIRMWARE})
"""What waits in loops by the host's clock, so that two boots of one image differ in it."""


class Growth(Frozen):
    """What a place took in both boots. `phase` is the one in which it changed most."""

    region: Region
    group: str
    symbol: str
    old: int
    new: int
    phase: str

    @property
    def change(self) -> int:
        """How many instructions more the new one takes."""
        return self.new - self.old


class ProfileDiff(Frozen):
    """Two profiles compared. `changes` has the places that differ, what grew most first, what shrank last.

    `firmware` is how much that changed which waits by the host's clock; it is not among the changes.
    """

    version: int
    old: str
    new: str
    instructions_old: int
    instructions_new: int
    firmware: int
    changes: tuple[Growth, ...]


DIFF_VERSION = 1
"""Version of the shape of its JSON. Raised when a field changes its meaning or goes."""


def compare_profiles(old: Profile, new: Profile) -> ProfileDiff:
    """What changed from one profile to the other; firmware counts in the totals alone."""
    totals: tuple[Counter[tuple[Region, str, str]], ...] = (Counter(), Counter())
    by_phase: dict[tuple[Region, str, str], Counter[str]] = {}
    for total, profile, sign in zip(totals, (old, new), (-1, 1), strict=True):
        for row in profile.spent:
            key = row.region, row.group, row.symbol
            total[key] += row.instructions
            by_phase.setdefault(key, Counter())[row.phase] += sign * row.instructions
    changes = [
        Growth(
            region=key[0],
            group=key[1],
            symbol=key[2],
            old=totals[0][key],
            new=totals[1][key],
            phase=max(phases, key=lambda phase: abs(phases[phase])),
        )
        for key, phases in by_phase.items()
        if key[0] not in WAITING and totals[0][key] != totals[1][key]
    ]
    changes.sort(key=lambda each: (-each.change, each.region, each.group, each.symbol))
    waited = [count(row for row in each.spent if row.region in WAITING) for each in (old, new)]
    return ProfileDiff(
        version=DIFF_VERSION,
        old=f"{old.system}: {old.origin}",
        new=f"{new.system}: {new.origin}",
        instructions_old=old.instructions,
        instructions_new=new.instructions,
        firmware=waited[1] - waited[0],
        changes=tuple(changes),
    )
