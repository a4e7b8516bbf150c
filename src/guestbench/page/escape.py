"""Turns any text into Markdown that shows exactly that text; never lets a guest's bytes become markup.

Text of guests, image files and definitions is hostile: it may hold markup, control characters, or
characters that reverse the direction of writing. All of it is shown, none of it takes effect.
"""

from __future__ import annotations

import re
from functools import lru_cache

from guestbench.text import visible

_SPECIAL = re.compile(r"[\\`*_\[\]<>#~&$]")
_ADDRESS = re.compile(r"(?<=\S)@(?=\S)")
_NUMBERED = re.compile(r"^(\d{1,9})([.)])(?!\d)")
_LIST_LIKE = re.compile(r"^[-+=:](?![\d.])")


class Markdown(str):
    """Text that is Markdown already and is put into a report as it is."""

    __slots__ = ()


def escape(text: str) -> Markdown:
    """Plain text as Markdown, safe in a paragraph, at the start of a line, in a list, heading or table cell.

    Blanks at both ends are dropped: at the start of a line they could make a code block.
    """
    return text if isinstance(text, Markdown) else _escape(text)


@lru_cache(maxsize=4096)
def _escape(text: str) -> Markdown:
    # Tables say the same words over and over.
    shown = visible(text).strip(" ")
    escaped = _SPECIAL.sub(r"\\\g<0>", shown)
    # In a table a backslash before a pipe means different things to different parsers; an entity does not.
    escaped = escaped.replace("|", "&#124;")
    # Some renderers turn bare addresses into links; a backslash in them prevents it.
    escaped = escaped.replace("://", r"\://").replace("www.", r"www\.")
    escaped = _ADDRESS.sub(r"\@", escaped)
    escaped = _NUMBERED.sub(r"\1\\\2", escaped)
    if _LIST_LIKE.match(escaped):
        escaped = "\\" + escaped
    return Markdown(escaped)


def code(text: str, *, in_table: bool = True) -> Markdown:
    """Text as a code span. What holds a pipe is escaped as plain text instead, unless it is for no table."""
    shown = visible(text)
    if not shown or (in_table and "|" in shown):
        return escape(shown)
    fence = "`" * (_longest_run(shown) + 1)
    pad = " " if (shown[0] in "` " and shown[-1] in "` ") or "`" in (shown[0], shown[-1]) else ""
    if not shown.strip(" "):
        pad = ""
    return Markdown(f"{fence}{pad}{shown}{pad}{fence}")


def code_block(lines: list[str] | tuple[str, ...], info: str = "") -> Markdown:
    """Lines as a fenced code block, with a fence longer than any run of backticks inside."""
    shown = [visible(line) for line in lines]
    fence = "`" * max(3, *(_longest_run(line) + 1 for line in shown), 3)
    return Markdown("\n".join([f"{fence}{info}", *shown, fence]))


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
