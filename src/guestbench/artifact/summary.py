"""What `artifact.json` says of a run: whatever of it is not in `results.json`, for programs."""

from __future__ import annotations

from enum import StrEnum

from guestbench.artifact.parts import Environment
from guestbench.data import Claim
from guestbench.model import AccelChoice, Frozen, Host, Role

SUMMARY_VERSION = 1
"""Version of the shape of artifact.json. Raised when a field changes its meaning, comes or goes."""

FEWER = 3
"""Blocks of a repetition that is to see whether all works."""


class How(StrEnum):
    """How whoever makes the run again comes by an image."""

    BUILT_BY_RUN = "built by the run itself where it is not there"
    BUILT = "built by reproduce.sh"
    FETCHED = "fetched by reproduce.sh"
    SHARED = "taken out of the disk of another guest"
    GIVEN = "to be given by --system"


class Image(Frozen):
    """An image as it was booted in the run, or as it was before it was settled; `detail` is its origin's."""

    system: str
    role: Role
    sha256: str
    size_bytes: int
    origin: str
    detail: str
    how: How


class Spent(Frozen):
    """What the trials of a purpose took together, in seconds; some may have been made side by side."""

    purpose: str
    trials: int
    wall_s: float


class Times(Frozen):
    """What a run took from first trial to last, in seconds, without `paused_s` in which it stood still.

    `fewer_s` is about what it would have taken with FEWER blocks; None where there were no more.
    """

    elapsed_s: float
    paused_s: float
    fewer_s: float | None
    trials: tuple[Spent, ...]


class Summary(Frozen):
    """The shape of artifact.json. `missing` are files of evidence that were not there to be packed."""

    version: int
    run: str
    title: str
    created: str
    tool: str
    environment: Environment
    host: Host
    vmm: str
    accel: AccelChoice
    images: tuple[Image, ...]
    claims: tuple[Claim, ...]
    times: Times
    missing: tuple[str, ...]
