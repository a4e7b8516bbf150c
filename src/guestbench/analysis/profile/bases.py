"""Finds how far code was moved from where its file says: a kernel moves itself to a random address.

Code that moved enters its functions where their symbols are, all moved by the same distance. Each pair of a
block that ran and a symbol that lies alike within a page votes for the distance between them: the true one
has a vote of every function that ran, any other those of chance.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection

from guestbench.model import Frozen
from guestbench.model.symbols import SymbolMap

PAGE = 1 << 12
LINUX_STEP = 1 << 21
"""Linux for x86-64 moves itself by multiples of this (CONFIG_PHYSICAL_ALIGN)."""
LEAST_VOTES = 8
LEAD = 2
"""How many times the votes of the next best distance the best one must have."""


class Base(Frozen):
    """How far code was moved, in bytes; `votes` is how many symbols were entered."""

    offset: int
    votes: int


def find_base(symbols: SymbolMap, addresses: Collection[int], step: int = PAGE) -> Base | None:
    """The distance, a multiple of `step`, at which most symbols were entered; None where none stands out."""
    alike: dict[int, list[int]] = defaultdict(list)
    for place in symbols.places:
        alike[place.address % step].append(place.address)
    votes: Counter[int] = Counter()
    for address in addresses:
        votes.update(address - at for at in alike[address % step])
    ranked = votes.most_common(2)
    if not ranked:
        return None
    (offset, most), next_best = ranked[0], ranked[1][1] if len(ranked) > 1 else 0
    if most < LEAST_VOTES or most < LEAD * next_best:
        return None
    return Base(offset=offset, votes=most)
