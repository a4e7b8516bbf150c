"""What the table that comes first shows of a family: columns, each with a cell a system."""

from __future__ import annotations

import msgspec


class Column(msgspec.Struct, frozen=True, kw_only=True):
    """A column of the headline by the systems' names; what has no cell has no value.

    Some columns are for the page alone, where there is room, and some for the terminal alone. `notes` say
    what it shows.
    """

    title: str
    cells: dict[str, str]
    page: bool = True
    terminal: bool = True
    notes: tuple[str, ...] = ()
