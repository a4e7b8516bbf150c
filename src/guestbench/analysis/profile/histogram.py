"""Reads the histogram of executed blocks that a counting VMM has written, piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from guestbench.errors import HostError
from guestbench.model import Frozen

UPPER_HALF = 1 << 63
"""From here on addresses of x86-64 are those of a kernel that has moved up, as Linux does."""
MOVED_UP = "upper"


class Ran(NamedTuple):
    """A block of code: where it begins, and how many instructions of it were executed in all."""

    address: int
    instructions: int


class Piece(Frozen):
    """What ran up to a cut: when the console held `console_bytes`, or, with None, when the VMM ended.

    `moved_up` says that code in the upper half of the address space had been run before.
    """

    blocks: tuple[Ran, ...]
    console_bytes: int | None
    moved_up: bool


def read_histogram(text: str) -> tuple[Piece, ...]:
    """The pieces of a histogram: lines `ADDRESS INSTRUCTIONS EXECUTIONS`, and cuts behind them.

    A cut is a line `# console BYTES`, `# upper` where the upper half is about to be run for the first time,
    or `# end`.

    Raises:
        HostError: a line is of no such form, or the end is missing.
    """
    pieces: list[Piece] = []
    blocks: list[Ran] = []
    moved_up = False
    for number, line in enumerate(text.splitlines(), 1):
        try:
            first, second, *third = line.split()
            if first != "#":
                blocks.append(Ran(int(first, 16), int(second) * int(third[0])))
                continue
            at = int(third[0]) if second == "console" else None
        except (ValueError, IndexError):
            raise _damaged(f"line {number} is not sound") from None
        pieces.append(Piece(blocks=tuple(blocks), console_bytes=at, moved_up=moved_up))
        moved_up = moved_up or second == MOVED_UP
        blocks = []
        if second == "end":
            return tuple(pieces)
    raise _damaged("it has no end")


def _damaged(problem: str) -> HostError:
    return HostError(f"the count of instructions cannot be read: {problem}", "df -h /tmp")


def find_addresses(pieces: Iterable[Piece]) -> Iterator[int]:
    """The addresses of all blocks, each once."""
    yield from dict.fromkeys(block.address for piece in pieces for block in piece.blocks)
