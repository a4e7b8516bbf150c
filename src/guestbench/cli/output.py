"""What several commands print or write: aligned rows, and files that the user has named."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guestbench.errors import UsageError
from guestbench.report import replace_file

if TYPE_CHECKING:
    from guestbench.page.blocks import Block


def write_file(path: Path, content: bytes) -> None:
    """Write a file that the user has named: whole or not at all, unless it is a pipe or a terminal.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)
        else:
            replace_file(path.resolve(), content)
    except OSError as error:
        folder = shlex.quote(str(path.absolute().parent))
        raise UsageError(f"{path} cannot be written: {error.strerror}", f"ls -ld {folder}") from None


def print_blocks(blocks: Sequence[Block], style: str | None, document: bytes) -> None:
    """Print blocks as text, or as Markdown; with the style `json` the document that says the same."""
    from guestbench.report.markdown import render_blocks
    from guestbench.report.terminal import render_lines

    if style == "json":
        click.echo(document, nl=False)
    elif style == "markdown":
        click.echo(render_blocks(blocks))
    else:
        click.echo(render_lines(blocks), nl=False)


def align(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as lines with aligned columns; the last column is not padded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([*(c.ljust(w) for c, w in zip(row[:-1], widths, strict=False)), row[-1]]) for row in rows
    )
