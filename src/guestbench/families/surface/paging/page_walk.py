"""Walks the page tables of a stopped guest; it writes nothing and judges no mapping.

A page may be written, executed or reached from user mode only if every level of the tables says so; the
flags that a VMM lists may be those of the last level alone. Tables are the guest's, and may be
hostile: they are read once each and not without end.

Source: Intel SDM volume 3A, chapter 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from guestbench.model.machine import Mode, Registers
from guestbench.vmm import Introspection

PAGE = 4096
TABLES = 4096
VISITS = 100_000
"""Larger tables, or such as point at each other, are not walked to the end. Linux has 10,000 mappings."""


class Mapping(NamedTuple):
    """What one entry of the tables maps, with the rights that all levels together leave."""

    address: int
    size_bytes: int
    writable: bool
    executable: bool
    user: bool


class _Level(NamedTuple):
    shift: int
    entries: int
    large: bool
    rights: bool = True


_DEEP = (_Level(39, 512, False), _Level(30, 512, True), _Level(21, 512, True), _Level(12, 512, False))
_LEVELS = {
    Mode.BITS_32: (_Level(22, 1024, True), _Level(12, 1024, False)),
    # The four entries of the first level have no rights (SDM 3A, table 4-8).
    Mode.PAE: (_Level(30, 4, False, False), _Level(21, 512, True), _Level(12, 512, False)),
    Mode.LEVELS_4: _DEEP,
    Mode.LEVELS_5: (_Level(48, 512, False), *_DEEP),
}
_SIGN_BIT = {Mode.LEVELS_4: 47, Mode.LEVELS_5: 56}
_PRESENT, _WRITE, _USER, _LARGE, _NO_EXECUTE = 1, 1 << 1, 1 << 2, 1 << 7, 1 << 63


class Unwalkable(Exception):
    """The tables are larger than we walk, or lie where nothing can be read."""


class Walk:
    """Reads the tables of a stopped guest, each once, and yields what they map in the order of addresses."""

    def __init__(self, guest: Introspection, registers: Registers) -> None:
        self._guest = guest
        self._mode = registers.mode
        self._levels = _LEVELS[registers.mode]
        self._no_execute = registers.no_execute
        self._large_32 = bool(registers.cr4 >> 4 & 1)
        self._item_bytes = 4 if self._mode is Mode.BITS_32 else 8
        self._tables: dict[int, dict[int, int]] = {}
        self._visits = 0
        self._low, self._high = 0, 0
        # CR3 holds flags in its low bits; the table of PAE's first level is 32 bytes long, not a page.
        low = 0x1F if self._mode is Mode.PAE else PAGE - 1
        self._root = registers.cr3 & ~low & (1 << 52) - 1

    def mappings(self, low: int = 0, high: int = (1 << 64) - 1) -> Iterator[Mapping]:
        """What is mapped from `low` to `high`. Raises Unwalkable."""
        self._low, self._high = low, high
        return self._descend(0, self._root, 0, (True, True, True))

    def _read(self, table: int, entries: int) -> dict[int, int]:
        """The entries of a table that are present, by their index."""
        if table not in self._tables:
            if len(self._tables) >= TABLES:
                raise Unwalkable(f"more than {TABLES} page tables")
            values = self._guest.read_memory(table, entries, self._item_bytes)
            if values is None:
                raise Unwalkable(f"the page table at {table:#x} cannot be read")
            self._tables[table] = {
                (address - table) // self._item_bytes: value
                for address, value in values.items()
                if value & _PRESENT
            }
        return self._tables[table]

    def _descend(
        self, depth: int, table: int, base: int, above: tuple[bool, bool, bool]
    ) -> Iterator[Mapping]:
        self._visits += 1
        if self._visits > VISITS:
            raise Unwalkable(f"more than {VISITS} page tables in use")
        level = self._levels[depth]
        last = depth == len(self._levels) - 1
        for index, entry in self._read(table, level.entries).items():
            address = base + (index << level.shift)
            first = self._extend(address)
            if first > self._high or first + (1 << level.shift) <= self._low:
                continue
            rights = above
            if level.rights:
                executable = not (self._no_execute and entry & _NO_EXECUTE)
                rights = (
                    above[0] and bool(entry & _WRITE),
                    above[1] and executable,
                    above[2] and bool(entry & _USER),
                )
            if last or (level.large and entry & _LARGE and (self._item_bytes == 8 or self._large_32)):
                yield Mapping(first, 1 << level.shift, *rights)
            else:
                below = entry & (0xFFFFF000 if self._item_bytes == 4 else 0x000FFFFFFFFFF000)
                yield from self._descend(depth + 1, below, address, rights)

    def _extend(self, address: int) -> int:
        """The address as programs write it: the highest bit in use is repeated up to bit 63."""
        bit = _SIGN_BIT.get(self._mode)
        if bit is None or not address >> bit & 1:
            return address
        return address | (1 << 64) - (1 << bit)
