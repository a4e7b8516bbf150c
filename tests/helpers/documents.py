"""The project's documents, and the commands in them."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import click

from guestbench.cli import cli

ROOT = Path(__file__).parents[2]


def blocks(file: Path, language: str) -> list[str]:
    """The code blocks of a document in one language."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", file.read_text())


def parse(words: list[str]) -> None:
    """Let click parse a command line without running it. Raises click.ClickException if it cannot."""
    command: click.Command = cli
    context: click.Context | None = None
    while isinstance(command, click.Group) and words != ["--help"]:
        context = click.Context(command, parent=context)
        _, found, words = command.resolve_command(context, words)
        assert found is not None
        command = found
    # A sentence may name a command without its arguments, or its help.
    with suppress(click.MissingParameter, click.exceptions.Exit):
        command.make_context(command.name, words)
