"""What is said to the user beside the data: lines on standard error, and hints that work when typed."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

import click

OWN_NAME = re.compile(
    r"\bguestbench(?= "
    r"(ab|bisect|run|report|diff|export|workloads|systems|doctor|digest|inspect|profile|--help)\b)"
)


def say(text: str) -> None:
    """Tell the user something on standard error."""
    click.echo(text, err=True)


def fail(messages: Sequence[str], hint: str) -> None:
    """Print `error:` lines and a `hint:` line that works when typed where the user is."""
    for message in messages:
        say(f"error: {message}")
    say(f"hint: {as_typed(hint, sys.argv[0])}")


def as_typed(hint: str, program: str) -> str:
    """A hint that calls guestbench as the user called it, where it is not on the PATH."""
    # What only an error needs would be a tenth of what `guestbench --help` loads.
    import shlex
    from shutil import which

    if program.rpartition("/")[2] != "guestbench" or which("guestbench"):
        return hint
    return OWN_NAME.sub(lambda _: shlex.quote(program), hint)
