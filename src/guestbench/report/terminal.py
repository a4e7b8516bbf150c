"""Renders a page as plain text for a terminal, without colours or control characters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from guestbench.page.blocks import (
    Block,
    Bullets,
    Details,
    Item,
    Listing,
    Page,
    Paragraph,
    Section,
    Table,
    Text,
    find_told,
    to_plain,
)
from guestbench.text import visible

GAP = "  "
INDENT = "  "


def render_text(page: Page) -> str:
    """The whole page, what stands below a heading indented; it ends with a newline."""
    lines = [show_text(page.title), *_indent(_render(page.blocks))]
    for section in page.sections:
        lines += ("", *_render_section(section))
    return "".join(f"{line}\n" for line in lines)


def render_lines(blocks: Sequence[Block], *, compact: bool = False) -> str:
    """Blocks alone, with an empty line between them unless they are to be compact; ends with a newline."""
    return "".join(f"{line}\n" for line in _render(blocks, compact=compact))


def show_text(text: Text) -> str:
    """A text in one line of printable characters."""
    return visible(to_plain(text))


def _render_section(section: Section) -> Iterator[str]:
    yield show_text(section.title)
    yield from _indent(_render(section.blocks))
    for part in section.parts:
        yield from ("", *_render_section(part))


def _render(blocks: Sequence[Block], *, compact: bool = False) -> Iterator[str]:
    # A terminal shows no plots: what they show stands in the tables.
    shown = find_told(blocks)
    for number, block in enumerate(shown):
        if number and not compact:
            yield ""
        yield from _render_block(block)


def _render_block(block: Paragraph | Bullets | Listing | Table | Details) -> Iterator[str]:
    match block:
        case Paragraph():
            yield from map(show_text, block.lines)
        case Bullets():
            lines = (line for item in block.items for line in _show_item(item))
            yield from (visible(block.title), *_indent(lines)) if block.title else lines
        case Listing():
            yield from map(visible, block.lines)
        case Table():
            yield from _render_table(block.without_empty_columns())
        case Details():
            yield from (visible(block.title), *_indent(_render(block.blocks)))


def _show_item(item: Item) -> Iterator[str]:
    first, *others = item.lines if isinstance(item, Paragraph) else (item,)
    yield show_text(first)
    yield from _indent(map(show_text, others))


def _indent(lines: Iterator[str]) -> Iterator[str]:
    return (f"{INDENT}{line}" if line else "" for line in lines)


def _render_table(table: Table) -> Iterator[str]:
    rows = [[show_text(cell) for cell in row] for row in (table.head, *table.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.head))]
    numeric = table.find_numeric()
    for row in rows:
        cells = (
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, numeric, strict=True)
        )
        yield GAP.join(cells).rstrip()
