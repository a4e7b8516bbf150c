"""Writes command lines for readers: option by option, each with its values."""

from __future__ import annotations

import shlex
from functools import lru_cache


@lru_cache(maxsize=1024)  # a run has few different command lines, and many boots of each
def split_options(argv: tuple[str, ...]) -> tuple[str, ...]:
    """A command line as the program and its options, each with its values, quoted for a shell."""
    groups: list[list[str]] = []
    for index, word in enumerate(argv):
        if index < 2 or word.startswith("-"):
            groups.append([word])
        else:
            groups[-1].append(word)
    return tuple(shlex.join(group) for group in groups)
