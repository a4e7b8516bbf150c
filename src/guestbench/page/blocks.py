"""What a report consists of, as data: a page of sections of blocks.

A text is plain, or has parts that are code or strong. It is no markup: to escape and to set it is the work of
whatever renders it, so that no text of a guest, an image or a definition can take effect.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable
from itertools import compress
from pathlib import Path
from textwrap import dedent

import msgspec

from guestbench.page.numbers import NOTHING
from guestbench.page.plots import Plot
from guestbench.page.sorting import is_word

SCANNED = 60
"""So many rows are looked at to tell a column of numbers from one of words."""


class Code(msgspec.Struct, frozen=True):
    """What a machine reads or has printed: a name, a path, an option."""

    text: str


class Strong(msgspec.Struct, frozen=True):
    """What must not be overlooked."""

    text: str


Span = str | Code | Strong
Text = Span | tuple[Span, ...]
Cells = tuple[Text, ...]
"""A row of a table."""


def to_spans(text: Text) -> tuple[Span, ...]:
    """The parts of a text."""
    return text if isinstance(text, tuple) else (text,)


def to_plain(text: Text) -> str:
    """The words of a text alone."""
    return "".join(span if isinstance(span, str) else span.text for span in to_spans(text))


def join(texts: Iterable[Text], separator: str = ", ", last: str = "") -> tuple[Span, ...]:
    """The texts as one; `last` is another separator for the last of them, as in `a, b and c`."""
    parts = list(texts)
    joined: list[Span] = []
    for number, text in enumerate(parts):
        if number:
            joined.append(last if last and number == len(parts) - 1 else separator)
        joined += to_spans(text)
    return tuple(joined)


class Paragraph(msgspec.Struct, frozen=True):
    """Sentences, each of which has a line of its own where lines can be seen."""

    lines: tuple[Text, ...]


def say(words: str) -> Paragraph:
    """A paragraph of our own words, a sentence a line; a line that is indented goes on with the one before.

    What stands between backticks is code.
    """
    lines: list[str] = []
    for line in dedent(words).strip("\n").rstrip().split("\n"):
        if line.startswith(" "):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    return Paragraph(tuple(_mark_code(line) for line in lines))


def read_words(module: str) -> Callable[..., Paragraph]:
    """What gives a paragraph of `words.toml` beside a module by its name, filled in and set as by `say`."""
    words = tomllib.loads(Path(module).with_name("words.toml").read_text("utf-8"))
    return lambda name, **fields: say(words[name].format(**fields))


def _mark_code(line: str) -> Text:
    parts = line.split("`")
    return tuple(Code(part) if number % 2 else part for number, part in enumerate(parts) if part)


Item = Text | Paragraph


class Bullets(msgspec.Struct, frozen=True):
    """A list; under a title of its own it is of what must not be overlooked."""

    items: tuple[Item, ...]
    title: str = ""


class Listing(msgspec.Struct, frozen=True):
    """Lines as a machine reads or prints them, with the name of their language."""

    lines: tuple[str, ...]
    language: str = "text"


class Table(msgspec.Struct, frozen=True):
    """A table: the head, the rows, and how many columns from the left hold words (numbers follow).

    One that `stacks` has few rows of long cells, broken into lines; on a phone each row is a card.
    """

    head: Cells
    rows: tuple[Cells, ...]
    words: int = 1
    stacks: bool = False

    def without_empty_columns(self) -> Table:
        """The table without the columns in which no row has a value."""
        kept = [
            column < self.words or any(row[column] != NOTHING for row in self.rows)
            for column in range(len(self.head))
        ]
        head, *rows = (tuple(compress(row, kept)) for row in (self.head, *self.rows))
        return Table(head, tuple(rows), self.words, self.stacks)

    def find_numeric(self) -> tuple[bool, ...]:
        """For each column whether it is one of numbers: no cell in it is a word after all."""
        return tuple(
            column >= self.words and not any(is_word(to_plain(row[column])) for row in self.rows[:SCANNED])
            for column in range(len(self.head))
        )


class Figure(msgspec.Struct, frozen=True):
    """Plots that belong together, with their title, and what is to be said of them below."""

    title: str
    note: Paragraph = Paragraph(())
    plots: tuple[Plot, ...] = ()


class Details(msgspec.Struct, frozen=True):
    """What most readers need not see: folded under its title where that can be done, and open in print."""

    title: str
    blocks: tuple[Block, ...]


Block = Paragraph | Bullets | Listing | Table | Figure | Details


def is_empty(block: Block) -> bool:
    """Whether a block has nothing to show."""
    match block:
        case Paragraph(lines=held) | Listing(lines=held) | Table(rows=held):
            return not held
        case Bullets(items=items):
            return not items
        case Figure():
            return not block.plots
        case Details(blocks=blocks):
            return all(map(is_empty, blocks))


def find_told(blocks: Iterable[Block]) -> list[Paragraph | Bullets | Listing | Table | Details]:
    """The blocks that have something to say to those who do not see plots."""
    return [
        block
        for block in blocks
        if not isinstance(block, Figure)
        and not is_empty(block)
        and not (isinstance(block, Details) and not find_told(block.blocks))
    ]


class Column(msgspec.Struct, frozen=True):
    """A column of the terminal's table, by the systems' names; what has no cell has no value."""

    title: str
    cells: dict[str, str]


class Section(msgspec.Struct, frozen=True):
    """A heading and what stands below it.

    `id` is the section's own on its page, and what links lead to. `metrics` names those that it shows: all
    others of its family that have values are put into a table below it.
    """

    id: str
    title: Text
    blocks: tuple[Block, ...] = ()
    parts: tuple[Section, ...] = ()
    metrics: tuple[str, ...] = ()


class Page(msgspec.Struct, frozen=True):
    """A whole report: its title, what comes first, and its sections."""

    title: Text
    blocks: tuple[Block, ...] = ()
    sections: tuple[Section, ...] = ()
