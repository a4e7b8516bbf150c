"""What is said to the user beside the data: lines on standard error, and hints that work when typed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import click

SILENT_S = 1.0
"""What takes longer says what it is."""
OWN_NAME = re.compile(
    r"\bguestbench(?= "
    r"(ab|artifact|bisect|cache|calibrate|diff|digest|doctor|export|history|inspect|profile|report|run|setup|"
    r"status|systems|workloads|--help)\b)"
)


def say(text: str) -> None:
    """Tell the user something on standard error; what strangers say in it can do nothing but show."""
    from guestbench.text import visible  # which `guestbench --help` has no use for

    click.echo("\n".join(map(visible, text.split("\n"))), err=True)


@contextmanager
def slowly(doing: str) -> Iterator[None]:
    """Tell the user what is being done, once it has taken SILENT_S. For the main thread."""
    import signal  # which `guestbench --help` has no use for

    def tell(*_: object) -> None:
        # Not by `say`: the signal may come while something is being said.
        with suppress(OSError):
            os.write(2, f"{doing} …\n".encode(errors="backslashreplace"))

    before = signal.signal(signal.SIGALRM, tell)
    others = signal.setitimer(signal.ITIMER_REAL, SILENT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *others)
        signal.signal(signal.SIGALRM, before)


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
