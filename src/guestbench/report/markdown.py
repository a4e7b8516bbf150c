"""Renders a page as Markdown that shows exactly its texts.

Text of guests, image files and definitions is hostile: it may hold markup, control characters, or characters
that reverse the direction of writing. All of it is shown, none of it takes effect.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from guestbench.page.blocks import (
    Block,
    Bullets,
    Code,
    Details,
    Item,
    Listing,
    Page,
    Paragraph,
    Section,
    Strong,
    Table,
    Text,
    find_told,
    to_spans,
)
from guestbench.text import visible

WIDEST_PADDING = 40
"""Columns are padded to be read as plain text, except that one long cell does not stretch its column."""

_SPECIAL = re.compile(r"[\\`*_\[\]<>#~&$]")
_ADDRESS = re.compile(r"(?<=\S)@(?=\S)")
_NUMBERED = re.compile(r"^(\d{1,9})([.)])(?!\d)")
_LIST_LIKE = re.compile(r"^[-+=:](?![\d.])")


def render_markdown(page: Page) -> str:
    """The whole page; it ends with a newline."""
    parts = [f"# {show_text(page.title)}", render_blocks(page.blocks)]
    parts += (render_section(section) for section in page.sections)
    return "\n\n".join(filter(None, parts)) + "\n"


def render_section(section: Section, level: int = 2) -> str:
    """A section with all its parts, without a newline at the end."""
    parts = [f"{'#' * level} {show_text(section.title)}", render_blocks(section.blocks)]
    parts += (render_section(part, level + 1) for part in section.parts)
    return "\n\n".join(filter(None, parts))


def render_blocks(blocks: Sequence[Block]) -> str:
    """Blocks with an empty line between them, without a newline at the end."""
    # Plots are for those who can see them: what they show stands in the tables.
    return "\n\n".join("\n".join(_render(block)) for block in find_told(blocks))


def _render(block: Paragraph | Bullets | Listing | Table | Details) -> Iterator[str]:
    match block:
        case Paragraph():
            yield from map(show_text, block.lines)
        case Bullets():
            if block.title:
                yield f"**{escape(block.title)}**\n"
            yield from map(_show_item, block.items)
        case Listing():
            shown = [visible(line) for line in block.lines]
            fence = "`" * max(3, *(_longest_run(line) + 1 for line in shown))
            yield from (f"{fence}{block.language}", *shown, fence)
        case Table():
            yield from _render_table(block)
        case Details():
            yield f"**{escape(block.title)}**\n\n{render_blocks(block.blocks)}"


def _show_item(item: Item) -> str:
    lines = item.lines if isinstance(item, Paragraph) else (item,)
    return "- " + "\n  ".join(map(show_text, lines))


def _render_table(table: Table) -> Iterator[str]:
    cells = [[_show_cell(cell) for cell in row] for row in (table.head, *table.rows)]
    widths = [
        max(3, *(len(row[column]) for row in cells if len(row[column]) <= WIDEST_PADDING), 3)
        for column in range(len(table.head))
    ]
    rule = [
        "-" * width if column < table.words else "-" * (width - 1) + ":"
        for column, width in enumerate(widths)
    ]
    for row in (cells[0], rule, *cells[1:]):
        padded = [
            cell.ljust(width) if column < table.words else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield f"| {' | '.join(padded)} |"


# --- texts ------------------------------------------------------------------------------------------------


def show_text(text: Text, *, in_table: bool = False) -> str:
    """A text, safe in a paragraph, at the start of a line, in a list or heading, and if told in a table cell.

    Blanks at both ends are dropped: at the start of a line they could make a code block.
    """
    if isinstance(text, str):
        return escape(text)
    parts: list[str] = []
    plain = ""
    for span in (*to_spans(text), None):
        if isinstance(span, str):
            # Joined first: two parts together may be what one alone is not.
            plain += span
            continue
        parts.append(
            _escape_within(visible(plain)) if any(parts) else _escape_start(visible(plain).lstrip(" "))
        )
        plain = ""
        if isinstance(span, Code):
            parts.append(_show_code(visible(span.text), in_table))
        elif isinstance(span, Strong):
            parts.append(f"**{_escape_within(visible(span.text))}**")
    return "".join(parts).rstrip(" ")


@lru_cache(maxsize=8192)
def _show_cell(text: Text) -> str:
    # Tables say the same words over and over.
    return show_text(text, in_table=True)


def escape(text: str) -> str:
    """Plain text as Markdown, safe wherever `show_text` is."""
    return _escape_start(visible(text).strip(" "))


def _escape_start(shown: str) -> str:
    escaped = _NUMBERED.sub(r"\1\\\2", _escape_within(shown))
    return f"\\{escaped}" if _LIST_LIKE.match(escaped) else escaped


def _escape_within(shown: str) -> str:
    escaped = _SPECIAL.sub(r"\\\g<0>", shown)
    # In a table a backslash before a pipe means different things to different parsers; an entity does not.
    escaped = escaped.replace("|", "&#124;")
    # Some renderers turn bare addresses into links; a backslash in them prevents it.
    escaped = escaped.replace("://", r"\://").replace("www.", r"www\.")
    return _ADDRESS.sub(r"\@", escaped)


def _show_code(shown: str, in_table: bool) -> str:
    """Text as a code span; in a table, what holds a pipe is escaped as plain text instead."""
    if not shown or (in_table and "|" in shown):
        return escape(shown)
    fence = "`" * (_longest_run(shown) + 1)
    pad = " " if (shown[0] in "` " and shown[-1] in "` ") or "`" in (shown[0], shown[-1]) else ""
    if not shown.strip(" "):
        pad = ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
