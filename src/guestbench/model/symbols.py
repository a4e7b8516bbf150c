"""Symbols of code by their addresses, wherever they were read."""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

import msgspec

from guestbench.model.base import Frozen


class Place(NamedTuple):
    """A named stretch of code from `address` up to `end`. `group` is its source file or its module."""

    address: int
    end: int
    name: str
    group: str
    is_module: bool = False


class SymbolMap(Frozen):
    """Places in the order of their addresses, and the stretches of the addresses that they are in.

    `what` says where they are from. `extents` are of a file's code; a table has none, and is known by its
    symbols alone.
    """

    what: str
    places: tuple[Place, ...]
    extents: tuple[tuple[int, int], ...] = ()

    def find(self, address: int) -> Place | None:
        """The place that an address lies in, if it has a name."""
        at = bisect_right(self.places, address, key=lambda place: place.address) - 1
        return self.places[at] if at >= 0 and address < self.places[at].end else None

    def without_modules(self) -> SymbolMap:
        """The same without places in modules, which every boot loads to other addresses."""
        places = tuple(place for place in self.places if not place.is_module)
        return msgspec.structs.replace(self, places=places)

    def holds(self, address: int) -> bool:
        """Whether an address lies in the file's code, with a name or without."""
        return any(low <= address < high for low, high in self.extents)
