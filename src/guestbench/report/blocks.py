"""Turns the report's own Markdown into HTML; knows no other Markdown, and nothing in it that loads or links.

It reads what `templates/comparison_results.md.j2` and `escape` write: headings, paragraphs, flat lists,
tables, fenced code, code spans, bold, backslash escapes and the entity of the pipe. Anything else is text.
So there is no way for a text of a guest to become an element, an attribute or an address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from html import escape as escape_html

from guestbench.model import Frozen
from guestbench.page.numbers import NOTHING
from guestbench.report.results import UNKNOWN
from guestbench.report.sorting import sort_key
from guestbench.report.tags import EMPTY, Html, tag

_HEADING = re.compile(r"(#{1,6}) (.*)")
_FENCE = re.compile(r"(`{3,})([^`]*)")
_INLINE = re.compile(
    r"\\(?P<escaped>[!-/:-@\[-`{-~])"
    r"|(?<!`)(?P<ticks>`+)(?!`)(?P<code>.+?)(?<!`)(?P=ticks)(?!`)"
    r"|\*\*(?P<bold>(?:\\.|[^*\\])+)\*\*"
    r"|&#124;",
    re.DOTALL,
)
_PLAIN = re.compile(r"[^\\`*&<>]*")
_NUMBER = re.compile(r"-?\d[\d,]*(\.\d+)?")
_NO_VALUE = frozenset({"", NOTHING, UNKNOWN})
_REASONS = ("n/a", "unknown")
"""What cells begin with that say why they have no value."""
MAIN = "main"
"""The id of the report itself on the page, which no heading gets."""
LONG_CELL = 36
"""Characters above which a cell is broken into lines, unlike numbers and names."""
TALL_TABLE = 60
"""Rows above which a table scrolls inside its own box."""


class Heading(Frozen):
    """A heading: its level from 1, the id that links lead to, and its text as HTML and plain."""

    level: int
    id: str
    content: str
    text: str


class Page(Frozen):
    """The converted text: its title, which is the heading that it begins with, all else, and all headings."""

    title: str
    body: str
    headings: tuple[Heading, ...]


def convert(markdown: str, after: Callable[[Heading], Html] = lambda heading: EMPTY) -> Page:
    """The whole report. What `after` returns for a heading is put behind it."""
    lines = markdown.split("\n")
    parts: list[str] = []
    headings: list[Heading] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        if not line.strip():
            at += 1
        elif found := _HEADING.fullmatch(line):
            heading = _read_heading(found, headings)
            headings.append(heading)
            parts += [tag(f"h{heading.level}", Html(heading.content), id=heading.id), after(heading)]
            at += 1
        elif found := _FENCE.fullmatch(line):
            end = _find(lines, at + 1, found[1].__eq__)
            code = escape_html("\n".join(lines[at + 1 : end]), quote=False)
            parts.append(tag("pre", tag("code", Html(code)), tabindex="0"))
            at = end + 1
        elif line.startswith("| "):
            end = _find(lines, at, lambda each: not each.startswith("| "))
            parts.append(convert_table(lines[at:end], headings[-1].text if headings else ""))
            at = end
        elif line.startswith("- "):
            end = _find(lines, at, lambda each: not each.startswith(("- ", "  ")))
            parts.append(tag("ul", *(tag("li", convert_inline(item)) for item in _items(lines[at:end]))))
            at = end
        else:
            end = _find(lines, at + 1, _begins_block)
            parts.append(_paragraph([each.strip() for each in lines[at:end]]))
            at = end
    titled = bool(headings) and headings[0].level == 1
    title, body = (parts[0], parts[1:]) if titled else ("", parts)
    return Page(title=title, body="\n".join(part for part in body if part), headings=tuple(headings))


def convert_inline(text: str) -> Html:
    """Text with code spans, bold and escapes as HTML."""
    if _PLAIN.fullmatch(text):
        return Html(text)
    parts: list[str] = []
    at = 0
    for found in _INLINE.finditer(text):
        parts += [escape_html(text[at : found.start()], quote=False), _inline(found)]
        at = found.end()
    return Html("".join((*parts, escape_html(text[at:], quote=False))))


def _inline(found: re.Match[str]) -> str:
    if found["escaped"] is not None:
        return escape_html(found["escaped"], quote=False)
    if found["code"] is not None:
        code = found["code"].replace("\n", " ")
        if code[0] == code[-1] == " " and code.strip(" "):
            code = code[1:-1]
        return f"<code>{escape_html(code, quote=False)}</code>"
    if found["bold"] is not None:
        return f"<strong>{convert_inline(found['bold'])}</strong>"
    return "|"


def plain(content: str) -> str:
    """The text of converted inline HTML, without its elements."""
    bare = re.sub(r"</?(?:code|strong)>", "", content)
    return bare.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _find(lines: Sequence[str], start: int, stop: Callable[[str], bool]) -> int:
    return next((number for number in range(start, len(lines)) if stop(lines[number])), len(lines))


def _begins_block(line: str) -> bool:
    block = line.startswith(("| ", "- ")) or _HEADING.fullmatch(line) or _FENCE.fullmatch(line)
    return bool(block) or not line.strip()


def _items(lines: Sequence[str]) -> Iterator[str]:
    item: list[str] = []
    for line in lines:
        if line.startswith("- ") and item:
            yield "\n".join(item)
            item = []
        item.append(line[2:].strip())
    yield "\n".join(item)


def _paragraph(lines: Sequence[str]) -> Html:
    content = convert_inline("\n".join(lines))
    # A line that is bold as a whole says what the list or table below it is.
    label = content.startswith("<strong>") and content.endswith("</strong>")
    return tag("p", content, class_="label" if label else None)


def _read_heading(found: re.Match[str], earlier: Sequence[Heading]) -> Heading:
    content = convert_inline(found[2].strip())
    text = plain(content)
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "section"
    taken = {MAIN, *(heading.id for heading in earlier)}
    names = (slug if number == 1 else f"{slug}-{number}" for number in range(1, len(taken) + 2))
    return Heading(
        level=len(found[1]),
        id=next(name for name in names if name not in taken),
        content=content,
        text=text,
    )


def convert_table(lines: Sequence[str], title: str) -> Html:
    """A table in a box of its own that scrolls; `title` says to a screen reader where the box belongs."""
    head, rule, *rows = ([cell.strip() for cell in line.strip()[1:-1].split("|")] for line in lines)
    # Numbers are to the right, as Markdown has it, except in columns that hold words after all.
    columns = zip(rule, *rows[:TALL_TABLE], strict=True)
    numeric = [mark.endswith(":") and not any(map(_is_word, cells)) for mark, *cells in columns]
    cells = (
        tag("th", convert_inline(cell), scope="col", class_="n" if number else None)
        for cell, number in zip(head, numeric, strict=True)
    )
    body = "\n".join("<tr>" + "".join(map(_cell, row, numeric)) + "</tr>" for row in rows)
    table = tag("table", tag("thead", tag("tr", *cells)), tag("tbody", Html(body)))
    tall = " tall" if len(rows) > TALL_TABLE else ""
    return tag("div", table, class_=f"scroll{tall}", tabindex="0", role="group", aria_label=f"Table: {title}")


def _is_empty(cell: str) -> bool:
    return cell in _NO_VALUE or cell.startswith(_REASONS)


def _is_word(cell: str) -> bool:
    return not _is_empty(cell) and sort_key(cell) is None


def _cell(text: str, numeric: bool) -> str:
    # Short ones recur, long ones would only fill memory.
    return (_short_cell if len(text) <= LONG_CELL else _make_cell)(text, numeric)


def _make_cell(text: str, numeric: bool) -> str:
    content = convert_inline(text)
    bare = plain(content)
    key = "" if _is_empty(bare) else sort_key(bare)
    classes = " ".join(("n",) * numeric + ("long",) * (len(bare) > LONG_CELL))
    # A number that stands alone is its own key; an empty one is that of no value.
    shown = "" if key is None or _NUMBER.fullmatch(bare) else f' data-sort="{key}"'
    look = f' class="{classes}"' if classes else ""
    return f"<td{look}{shown}>{content}</td>"


_short_cell = lru_cache(maxsize=8192)(_make_cell)
