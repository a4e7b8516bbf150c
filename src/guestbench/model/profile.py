"""Where the instructions of one boot went: by phase, region of the address space, group and symbol."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from guestbench.model.base import Frozen
from guestbench.model.system import Role

PROFILE_VERSION = 1
"""Version of the shape of a profile's JSON. Raised when a field changes its meaning or goes."""


class Region(StrEnum):
    """What runs at an address, as far as an address tells it."""

    FIRMWARE = "firmware"
    LOADER = "boot loader"
    SETUP = "kernel's real-mode setup"
    DECOMPRESSOR = "kernel decompressor"
    KERNEL = "kernel"
    MODULES = "kernel modules"
    PROGRAM = "program"
    USER = "user space"
    UNKNOWN = "unknown"


class Spent(Frozen):
    """Instructions spent in a phase at a place.

    `group` is a source file, a kernel module or, without a symbol, a range of addresses. `symbol` is empty
    where none is known.
    """

    phase: str
    region: Region
    group: str
    symbol: str
    instructions: int

    @property
    def place(self) -> tuple[str, ...]:
        """Region, group and symbol, as far as there are any."""
        return tuple(filter(None, (self.region.value, self.group, self.symbol)))


class Profile(Frozen):
    """Where the instructions of a boot of `system` went, from reset up to ready.

    `phases` are in their order; each is named by the milestone that ends it. `images` has the SHA-256 of the
    image files, and `notes` what a reader must know of where the symbols come from and of what is missing.
    """

    version: int
    system: str
    origin: str
    images: dict[Role, str]
    tool: str
    vmm: str
    created: str
    phases: tuple[str, ...]
    spent: tuple[Spent, ...]
    notes: tuple[str, ...] = ()

    @property
    def instructions(self) -> int:
        """All of them."""
        return count(self.spent)


def count(rows: Iterable[Spent]) -> int:
    """The instructions of several rows."""
    return sum(row.instructions for row in rows)
