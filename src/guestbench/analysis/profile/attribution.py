"""Attributes what a boot executed to phases, regions and symbols; it drops nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from guestbench.analysis.profile.histogram import Piece
from guestbench.analysis.profile.regions import Setting, name_address
from guestbench.model import Frozen
from guestbench.model.profile import Region, Spent
from guestbench.model.symbols import SymbolMap

UNNAMED = "no symbol"


class Loaded(Frozen):
    """Symbols of what lies in the guest's memory `offset` bytes above where its file says.

    User space is there only once a kernel has moved up: a boot loader may have run at the same addresses.
    """

    symbols: SymbolMap
    region: Region
    offset: int = 0

    def name(self, address: int, *, moved_up: bool) -> tuple[Region, str, str] | None:
        """Region, group and symbol of an address; None where this is not."""
        if self.region is Region.USER and not moved_up:
            return None
        place = self.symbols.find(address - self.offset)
        if place is None:
            return (self.region, UNNAMED, "") if self.symbols.holds(address - self.offset) else None
        return Region.MODULES if place.is_module else self.region, place.group, place.name


def attribute(
    pieces: Sequence[Piece], phases: Sequence[str], loaded: Sequence[Loaded], setting: Setting
) -> tuple[Spent, ...]:
    """What ran, by phase and place, the most of each phase first; the phases in their order.

    `phases` has for each of the pieces the phase that it is of. What lies in the memory of several of
    `loaded` is that of the first of them.
    """
    spent: dict[str, Counter[tuple[Region, str, str]]] = {phase: Counter() for phase in phases}
    known: dict[tuple[int, bool], tuple[Region, str, str]] = {}
    for piece, phase in zip(pieces, phases, strict=True):
        counts = spent[phase]
        for address, instructions in piece.blocks:
            key = address, piece.moved_up
            if key not in known:
                known[key] = _name(address, loaded, setting, moved_up=piece.moved_up)
            counts[known[key]] += instructions
    return tuple(
        Spent(phase=phase, region=region, group=group, symbol=symbol, instructions=instructions)
        for phase, counts in spent.items()
        for (region, group, symbol), instructions in sorted(
            counts.items(), key=lambda item: (-item[1], item[0])
        )
    )


def _name(
    address: int, loaded: Sequence[Loaded], setting: Setting, *, moved_up: bool
) -> tuple[Region, str, str]:
    for each in loaded:
        if found := each.name(address, moved_up=moved_up):
            return found
    return *name_address(address, setting, moved_up=moved_up), ""
