"""Reads a definition file, which is TOML, and refuses one that has mistakes with all of them.

Each mistake names the file, the table, the key and the nearest valid name.
"""

from __future__ import annotations

import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from guestbench.definition.extend import Table
from guestbench.errors import DefinitionError
from guestbench.text import visible

PACKAGE = Path(__file__).parents[1]

LARGEST_BITS = 1000
"""Of a number that is still shown to whoever wrote it."""

Definition = TypeVar("Definition", bound=msgspec.Struct)


def read(file: Path, hint: str) -> Table:
    """What a file has.

    Raises:
        DefinitionError: it cannot be read, or is not TOML.
    """
    shown = quote_path(file)
    try:
        table = tomllib.loads(file.read_bytes().decode("utf-8"))
        _check_numbers(table)
        return table
    except FileNotFoundError:
        problem = f"{shown}: no such file"
    except OSError as wrong:
        problem = f"{shown}: cannot be read: {wrong.strerror}"
    except UnicodeDecodeError as wrong:
        problem = f"{shown}: not UTF-8 text (byte {wrong.start})"
    except ValueError as wrong:  # a number may have more digits than Python reads
        problem = f"{shown}: not TOML: {visible(str(wrong))}"
    except RecursionError:
        problem = f"{shown}: not TOML: nested too deeply"
    raise DefinitionError((problem,), hint)


def _check_numbers(value: object) -> None:
    """Refuse whole numbers that Python can neither make a float of nor print; TOML has 64 bits.

    Raises:
        ValueError: there is one.
    """
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            _check_numbers(each)
    elif isinstance(value, int) and value.bit_length() > LARGEST_BITS:
        raise ValueError(f"a whole number has {value.bit_length()} bits")


def convert(
    file: Path,
    data: dict[str, object],
    wanted: type[Definition],
    problems: Sequence[str],
    hint: str,
    elsewhere: tuple[str, ...] = (),
) -> Definition:
    """The data of a file as a type.

    Raises:
        DefinitionError: there are `problems` in it, or in files that it names: those are `elsewhere`.
    """
    if problems or elsewhere:
        shown = quote_path(file)
        raise DefinitionError((*(f"{shown}: {each}" for each in problems), *elsewhere), hint)
    return msgspec.convert(data, wanted)


def quote_path(file: Path) -> str:
    """A path for a message: relative where it lies below the working folder, control characters escaped."""
    try:
        return visible(file.relative_to(Path.cwd()))
    except ValueError:
        return visible(file)


def example_of(file: Path) -> str:
    """A hint that shows a file without mistakes."""
    return f"cat {shlex.quote(str(file))}  # one that loads"
