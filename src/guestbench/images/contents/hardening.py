"""The options of a hardened Linux kernel's configuration, read from `hardening.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec

from guestbench.model import Frozen

ABSENT = "absent"


class Wanted(Frozen):
    """A setting, the values that are good (none: it is shown, not judged), and what for.

    `older` is its name in older kernels.
    """

    name: str
    why: str
    wanted: tuple[str, ...] = ()
    older: str = ""

    def state_in(self, options: Mapping[str, str]) -> str:
        """What it is in a configuration; `absent` in one of a kernel that has none of it."""
        return options.get(self.name, options.get(self.older, ABSENT))


def read_wanted(file: Path) -> tuple[Wanted, ...]:
    """The settings in a file of the package, in its order."""
    rows = tomllib.loads(file.read_text())
    return msgspec.convert([{"name": name, **row} for name, row in rows.items()], tuple[Wanted, ...])


OPTIONS = read_wanted(Path(__file__).with_suffix(".toml"))
