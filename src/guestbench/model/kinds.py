"""Kinds of text and number that users write: a field's type says what its values must satisfy.

A range or a least length is a constraint of msgspec's own. A `Kind` stands for what takes more to judge, and
for what depends on where a file lies or on what is installed; `definition` has a rule for each.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta


class Kind(StrEnum):
    """What a value is for."""

    FILE_NAME = "file name"
    LINE = "line of text"
    SECONDS = "seconds"
    DISTINCT = "distinct items"
    ABSOLUTE_PATH = "absolute path"
    URL = "address"
    CHECKSUM = "checksum algorithm"
    DEBIAN_PACKAGE = "Debian package"
    ARGUMENT = "argument"
    FAMILY = "family of metrics"
    VMM = "VMM"
    METRIC = "metric"
    PRINTED_METRIC = "metric that a guest can print"
    MILESTONES = "milestones"
    WORK_CMDLINE = "kernel command line with work in it"
    WORKLOAD = "workload"
    SYSTEM = "system or folder of one"
    SHARED_SYSTEM = "system whose disk is shared"
    SOURCE_FILE = "file beside system.toml"
    SOURCE_FOLDER = "folder beside system.toml"
    RECIPE = "recipe of an image"
    PROGRAM = "workload program or file beside system.toml"


def of(kind: Kind) -> Meta:
    """The annotation of a type whose values are of this kind."""
    return Meta(extra={"kind": kind})


def within(least: int, most: int, help: str = "") -> Meta:  # noqa: A002
    """The annotation of a whole number between two, both included; `help` is what it says of itself."""
    return Meta(ge=least, le=most, description=help or None)


Filled = Annotated[str, Meta(min_length=1)]
"""Text of at least one character."""
Line = Annotated[str, of(Kind.LINE)]
"""Text with something to see in it, on one line."""
FileName = Annotated[str, of(Kind.FILE_NAME)]
"""A name that is safe as a file's name, in a command line and in a report."""
Seconds = Annotated[float, of(Kind.SECONDS)]
"""A duration: finite, and more than nothing."""
Argument = Annotated[str, of(Kind.ARGUMENT)]
"""A word that can be typed into a shell and stand in a kernel command line."""
Url = Annotated[str, of(Kind.URL)]
FamilyName = Annotated[str, of(Kind.FAMILY)]
VmmName = Annotated[str, of(Kind.VMM)]
DebianPackage = Annotated[str, of(Kind.DEBIAN_PACKAGE)]
SourceFolder = Annotated[str, of(Kind.SOURCE_FOLDER)]
"""The name of a folder beside system.toml, or none."""
WorkloadName = Annotated[str, of(Kind.WORKLOAD)]
SystemReference = Annotated[str, of(Kind.SYSTEM)]

DISTINCT = of(Kind.DISTINCT)
"""The annotation of a list in which nothing is named twice."""
NOT_EMPTY = Meta(min_length=1)
"""The annotation of a list of at least one item."""
FileNames = Annotated[tuple[FileName, ...], DISTINCT]
