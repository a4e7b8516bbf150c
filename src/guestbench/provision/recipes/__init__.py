"""The ways to build a system's images, a module each: what `[provision.build]` says, and what is done then.

A module is found by its name, which is what `method` says, with `-` for `_`. It offers a subclass of `Recipe`
as `RECIPE`. Another package adds one by an entry point of the group `guestbench.recipes`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import msgspec

from guestbench.model import Frozen, Role, Say
from guestbench.provision.cache import Made
from guestbench.registry import RECIPES


class Site(NamedTuple):
    """For whom images are built: the system's name, the folder with its own files, and the images' key."""

    system: str
    folder: Path
    key: str


class Recipe(Frozen, tag_field="method"):
    """How a system's images are built; the fields of a subclass are its keys in `[provision.build]`.

    The name of its module is the `tag` that a subclass gives.
    """

    images: ClassVar[Mapping[Role, str]]
    """The files that the system boots from, by what they are to it."""
    leaves: ClassVar[tuple[str, ...]] = ()
    """Workload programs that are built with the images and left beside them."""
    version: ClassVar[int] = 1
    """Raised when what is built from the same ingredients changes."""

    def sources(self, folder: Path) -> Mapping[str, Path]:
        """The files that the images depend on, by names without paths; `folder` is the system's own."""
        del folder
        return {}

    def tools(self) -> object:
        """What else the images depend on: versions of tools, flags, other things that are built."""
        return ()

    @abstractmethod
    def build(self, site: Site, work: Path, say: Say) -> Made:
        """Build the images in the folder `work`, saying what is being done."""

    def describe(self, made: Made) -> str:
        """What the images were built from, in words."""
        if made.source:
            return f"official archives, verified: {made.source}"
        return f"Debian packages ({len(made.packages)} in all)" if made.packages else "source"


def find_recipe(build: Mapping[str, object]) -> Recipe:
    """The recipe of a system that is built; `build` is its `[provision.build]`.

    Raises:
        UsageError: it is a recipe of a package that is not installed here.
    """
    wanted: type[Recipe] = RECIPES.load(str(build["method"])).RECIPE
    return msgspec.convert(build, wanted)
