"""What shells, interpreters, package managers and libraries are known by, read from `known.toml`."""

from __future__ import annotations

import re
import tomllib
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """What a known program is."""

    SHELL = "shells"
    INTERPRETER = "interpreters"
    PACKAGE_MANAGER = "package_managers"


_KNOWN = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
NAMES = {kind: frozenset(_KNOWN["names"][kind.value]) for kind in Kind}
"""File names by kind, without a version."""
BUSYBOX = "busybox"
"""It is a shell, too, but in nearly every system by its other names `sh` and `ash`."""
TEXTS = [
    (kind, name, re.compile(pattern.encode()))
    for kind in Kind
    for name, pattern in _KNOWN["texts"][kind.value].items()
]
"""Texts of programs, with their kind and name."""
LIBRARIES = [(name, re.compile(pattern.encode())) for name, pattern in _KNOWN["libraries"].items()]
SYMBOLS = [(name, re.compile(pattern)) for name, pattern in _KNOWN["symbols"].items()]


def drop_version(name: str) -> str:
    """A file name without the version at its end: `python` of `python3.11`."""
    return name.rstrip("0123456789.-")
