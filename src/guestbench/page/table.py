"""Tables in Markdown; a cell that is not Markdown already is escaped, so that no text can add a cell."""

from __future__ import annotations

from collections.abc import Sequence

from guestbench.model import Frozen
from guestbench.page.escape import Markdown, escape
from guestbench.page.numbers import NOTHING

WIDEST_PADDING = 40
"""Columns are padded to be read as plain text, except that one long cell does not stretch its column."""


class Table(Frozen):
    """A table: the head, the rows, and how many columns from the left hold words (numbers follow)."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1

    def without_empty_columns(self) -> Table:
        """The table without the columns in which no row has a value."""
        kept = [
            column
            for column in range(len(self.head))
            if column < self.words or any(row[column] != NOTHING for row in self.rows)
        ]
        return Table(
            head=tuple(self.head[column] for column in kept),
            rows=tuple(tuple(row[column] for column in kept) for row in self.rows),
            words=self.words,
        )

    def render(self) -> Markdown:
        """The table as Markdown, without a newline at the end; empty if it has no rows."""
        if not self.rows:
            return Markdown("")
        cells: list[list[str]] = [[escape(cell) for cell in row] for row in (self.head, *self.rows)]
        widths = [
            max(3, *(len(row[column]) for row in cells if len(row[column]) <= WIDEST_PADDING), 3)
            for column in range(len(self.head))
        ]
        rule: list[str] = [
            "-" * width if column < self.words else "-" * (width - 1) + ":"
            for column, width in enumerate(widths)
        ]
        return Markdown("\n".join(self._line(row, widths) for row in (cells[0], rule, *cells[1:])))

    def _line(self, row: Sequence[str], widths: Sequence[int]) -> str:
        padded = [
            cell.ljust(width) if column < self.words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"
