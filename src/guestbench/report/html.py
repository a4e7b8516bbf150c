"""Renders a page as one HTML file with everything in it, which asks for nothing and runs offline."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from guestbench.page.blocks import (
    Block,
    Bullets,
    Code,
    Details,
    Figure,
    Item,
    Listing,
    Page,
    Paragraph,
    Section,
    Strong,
    Table,
    Text,
    is_empty,
    to_plain,
    to_spans,
)
from guestbench.page.sorting import NUMBER, has_no_value, sort_key
from guestbench.report.svg import draw, fills
from guestbench.report.tags import Html, show, tag
from guestbench.text import visible

ASSETS = Path(__file__).parent / "assets"
PARTS = ("report.css", "icicle.css"), ("report.js", "icicle.js", "live.js")
"""The files of the style sheet and of the script."""
FORBIDDEN = "default-src 'none'; base-uri 'none'; form-action 'none'"
MAIN = "main"
"""The id of the report itself on the page, which no section may have."""
LONG_CELL = 36
"""Characters above which a cell is broken into lines, unlike numbers and names."""
TALL_TABLE = 60
"""Rows above which a table scrolls inside its own box."""


def render_html(page: Page, stamp: str = "") -> str:
    """The whole page; it ends with a newline. With a `stamp` it reloads when the one beside it is another."""
    style, script = ("".join((ASSETS / name).read_text("utf-8") for name in names) for names in PARTS)
    # What our own script asks for may come, and nothing that is named in the page.
    scripts = f"script-src '{_hash(script)}'" + (" 'strict-dynamic'" if stamp else "")
    policy = f"{FORBIDDEN}; style-src '{_hash(style)}'; {scripts}"
    head = tag(
        "head",
        Html('<meta charset="utf-8">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html('<meta name="color-scheme" content="light dark">'),
        tag("title", to_plain(page.title)),
        tag("style", Html(style)),
    )
    entries = (
        tag("li", tag("a", show_text(entry.title), href=f"#{entry.id}"), class_=f"l{level}")
        for section in page.sections
        for level, entry in ((2, section), *((3, part) for part in section.parts))
    )
    content = [*_show_blocks(page.blocks, page.title)]
    content += (part for section in page.sections for part in _show_section(section))
    body = tag(
        "body",
        tag("a", "Skip to the report", href=f"#{MAIN}", class_="skip"),
        fills(),
        tag(
            "div",
            tag("header", tag("h1", show_text(page.title))),
            Html("\n"),
            tag("nav", tag("h2", "Contents"), tag("ol", *entries), aria_label="Contents"),
            Html("\n"),
            tag("main", Html("\n".join(content)), id=MAIN, tabindex="-1"),
            class_="page",
        ),
        Html("\n"),
        tag("script", Html(script)),
        data_stamp=stamp or None,
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n{head}\n{body}\n</html>\n'


def _hash(text: str) -> str:
    """The text's digest as a Content-Security-Policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _show_section(section: Section, level: int = 2) -> Iterator[Html]:
    yield tag(f"h{level}", show_text(section.title), id=section.id)
    yield from _show_blocks(section.blocks, section.title)
    for part in section.parts:
        yield from _show_section(part, level + 1)


def _show_blocks(blocks: Sequence[Block], title: Text) -> Iterator[Html]:
    """The blocks of a section; its title says to a screen reader where a table belongs."""
    for block in blocks:
        if not is_empty(block):
            yield from _show_block(block, title)


def _show_block(block: Block, title: Text) -> Iterator[Html]:
    match block:
        case Paragraph():
            yield tag("p", _show_lines(block))
        case Bullets():
            if block.title:
                yield tag("p", tag("strong", block.title), class_="label")
            yield tag("ul", *map(_show_item, block.items))
        case Listing():
            yield tag("pre", tag("code", Html("\n".join(map(show_text, block.lines)))), tabindex="0")
        case Table():
            yield _show_table(block, to_plain(title))
        case Figure():
            yield draw(block)
        case Details():
            yield tag("details", tag("summary", block.title), *_show_blocks(block.blocks, title))


def _show_item(item: Item) -> Html:
    return tag("li", _show_lines(item) if isinstance(item, Paragraph) else show_text(item))


def _show_lines(paragraph: Paragraph) -> Html:
    return Html("\n".join(map(show_text, paragraph.lines)))


def show_text(text: Text) -> Html:
    """A text as HTML, in printable characters."""
    return Html("".join(map(_show_span, to_spans(text))))


def _show_span(span: str | Code | Strong) -> Html:
    match span:
        case str():
            return show(span)
        case Code():
            return tag("code", span.text)
        case Strong():
            return tag("strong", span.text)


# --- tables -----------------------------------------------------------------------------------------------


def _show_table(table: Table, title: str) -> Html:
    """A table in a box of its own that scrolls."""
    numeric = table.find_numeric()
    cells = (
        tag("th", show_text(cell), scope="col", class_="n" if number else None)
        for cell, number in zip(table.head, numeric, strict=True)
    )
    if table.stacks:
        body = "\n".join(tag("tr", *map(_show_part, table.head, row)) for row in table.rows)
    else:
        body = "\n".join("<tr>" + "".join(map(_show_cell, row, numeric)) + "</tr>" for row in table.rows)
    drawn = tag(
        "table",
        tag("caption", title, class_="unseen"),
        tag("thead", tag("tr", *cells)),
        tag("tbody", Html(body)),
        class_="stacks" if table.stacks else None,
    )
    tall = " tall" if len(table.rows) > TALL_TABLE else ""
    return tag("div", drawn, class_=f"scroll{tall}", tabindex="0", role="group", aria_label=f"Table: {title}")


def _show_part(head: Text, cell: Text) -> Html:
    """A cell of a table that stacks, with the name of its column for where the head is not seen."""
    key = sort_key(to_plain(cell)) if not has_no_value(to_plain(cell)) else ""
    return tag("td", show_text(cell), data_head=to_plain(head), data_sort=None if key is None else key)


def _show_cell(cell: Text, numeric: bool) -> str:
    # Short ones recur, long ones would only fill memory.
    return (_short_cell if len(to_plain(cell)) <= LONG_CELL else _make_cell)(cell, numeric)


def _make_cell(cell: Text, numeric: bool) -> str:
    bare = visible(to_plain(cell))
    key = "" if has_no_value(bare) else sort_key(bare)
    classes = " ".join(("n",) * numeric + ("long",) * (len(bare) > LONG_CELL))
    # A number that stands alone is its own key; an empty one is that of no value.
    shown = "" if key is None or NUMBER.fullmatch(bare) else f' data-sort="{key}"'
    look = f' class="{classes}"' if classes else ""
    return f"<td{look}{shown}>{show_text(cell)}</td>"


_short_cell = lru_cache(maxsize=8192)(_make_cell)
