"""Text of guests and files in reports: all of it shown, none of it taking effect as markup."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from guestbench.page.blocks import Code, Listing, Strong, Table, Text
from guestbench.report.markdown import escape, render_blocks, show_text
from guestbench.text import visible

PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
PIECES = [
    *"|`<>[]()*_\\#!&~-+=:.\n\r\t\x00\x1b 1a$@",
    "```", "~~~", "---", "<b>", "</td>", "<!--", "](x)", "&amp;", "1. ", "http://e.example",
    "\u202e", "\ud800",
]  # fmt: skip
hostile = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    st.text(max_size=40),
    st.text(alphabet="|\\` ", max_size=12),
)


def shown_text(tokens: list[Token]) -> str:
    """The text a reader sees, code spans included; fails on any token that is not text."""
    seen = []
    for token in tokens:
        for child in token.children or ():
            assert child.type in ("text", "text_special", "code_inline"), child
            seen.append(child.content)
    return "".join(seen)


def kinds(source: str) -> list[str]:
    """The types of the block tokens of a document."""
    return [token.type for token in PARSER.parse(source)]


@given(hostile)
def test_visible_text_is_one_printable_line(text: str) -> None:
    """A guest could move the cursor, break a line or reverse the writing of a report."""
    assert visible(text).isprintable()
    visible(text).encode()


@given(hostile)
@example("    code")
@example("- item")
@example("1) item")
@example("===")
@example(":--")
@example("> quote")
def test_escaped_text_is_a_paragraph_of_that_text(text: str) -> None:
    """A guest's text at the start of a line would become a heading, list, quote, rule or HTML."""
    wanted = visible(text).strip(" ")
    tokens = PARSER.parse(f"{escape(text)}\n")
    if wanted:
        assert [t.type for t in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    assert shown_text(tokens) == wanted


@given(hostile)
def test_escaped_text_after_a_line_does_not_change_that_line(text: str) -> None:
    """A guest's text below a sentence would turn the sentence into a heading or a table."""
    assert kinds(f"A sentence.\n{escape(text)}\n")[0] == "paragraph_open"
    assert kinds(f"- An item:\n  {escape(text)}\n").count("inline") == 1


@given(hostile, hostile)
def test_text_in_a_table_stays_in_its_cell(one: str, other: str) -> None:
    """A guest's text would add a cell to a table, or markup to a cell."""
    makers: tuple[Callable[[str], Text], ...] = (str, Code, lambda text: ("", text))
    for make in makers:
        table = Table(("a", "b"), ((make(one), make(other)),), 2)
        tokens = PARSER.parse(render_blocks((table,)))
        assert [t.type for t in tokens].count("td_open") == 2
        cells = [t for t in tokens if t.type == "inline"][2:]
        for cell, text in zip(cells, (one, other), strict=True):
            assert shown_text([cell]).strip(" ") == visible(text).strip(" ")


@given(hostile)
def test_code_span_shows_its_text_and_nothing_else(text: str) -> None:
    """A guest's backticks would end a code span early."""
    wanted = visible(text)
    tokens = PARSER.parse(show_text(("It said: ", Code(text), ".")))
    assert shown_text(tokens) == f"It said: {wanted}."


@given(st.lists(hostile, min_size=1, max_size=4))
def test_code_block_holds_its_lines_and_ends(lines: list[str]) -> None:
    """A guest's backticks would end a code block, and what follows would be markup."""
    tokens = PARSER.parse(f"{render_blocks((Listing(tuple(lines)),))}\n\nafter\n")
    assert [t.type for t in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]
    assert tokens[0].content == "".join(f"{visible(line)}\n" for line in lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("debian-12-nocloud", "debian-12-nocloud"),
        ("6.1.0-18-amd64 (bookworm)", "6.1.0-18-amd64 (bookworm)"),
        ("-3.2 ms", "-3.2 ms"),
        ("45.8 ± 1.2 s", "45.8 ± 1.2 s"),
        ("Intel(R) CPU @ 2.50GHz", "Intel(R) CPU @ 2.50GHz"),
        ("a|b", "a&#124;b"),
        ("\x1b[31m", r"\\x1b\[31m"),
    ],
)
def test_ordinary_text_stays_readable_in_the_file(text: str, expected: str) -> None:
    """A report read without a renderer would be full of backslashes."""
    assert escape(text) == expected


@given(hostile)
def test_addresses_do_not_become_links(text: str) -> None:
    """A guest could put a link of its own into the report."""
    assert not re.search(r"\w://|\bwww\.\w", escape(f"see http://x.example {text}"))


@example("'`|'", "http://x.example", "")
@example("\\", "http://e.example", "")
@given(hostile, hostile, hostile)
def test_parts_of_a_text_take_no_effect_together(before: str, middle: str, after: str) -> None:
    """Two texts that are harmless alone would make a link or a heading when they stand together."""
    for text in ((before, middle, after), (before, Code(middle), after)):
        source = show_text(text)
        shown = shown_text(PARSER.parse(f"{source}\n"))
        assert shown.strip(" ") == visible(before + middle + after).strip(" ")
        # What is escaped opens no code span, and a backslash that is escaped escapes none.
        outside = re.sub(r"(\\.)|(`+)(?!`).*?(?<!`)\2(?!`)", r"\1", source)
        assert not re.search(r"\w://|\bwww\.\w", outside)


def test_strong_text_is_the_only_markup() -> None:
    """What must not be overlooked would be, or a text would make itself strong."""
    assert show_text((Strong("fai*led"), ": **x**")) == r"**fai\*led**: \*\*x\*\*"
