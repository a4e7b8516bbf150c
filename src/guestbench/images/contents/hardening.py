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

    `renamed` are its names in other kernels, the likeliest first.
    """

    name: str
    why: str
    wanted: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All names that it has or had."""
        return (self.name, *self.renamed)

    def state_in(self, options: Mapping[str, str]) -> str:
        """What it is in a configuration, by whichever name; `absent` if the kernel has it by none."""
        return next((options[name] for name in self.names if name in options), ABSENT)


def read_wanted(file: Path) -> tuple[Wanted, ...]:
    """The settings in a file of the package, in its order."""
    rows = tomllib.loads(file.read_text())
    return msgspec.convert([{"name": name, **row} for name, row in rows.items()], tuple[Wanted, ...])


OPTIONS = read_wanted(Path(__file__).with_suffix(".toml"))
