"""What the cache keeps of a system: the images that its recipe builds, or the official one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from guestbench.errors import ImageError, UsageError
from guestbench.model import Fetch, Role, Say, System
from guestbench.provision import cache, download
from guestbench.provision.recipes import Recipe, Site, find_recipe

FETCHED_FILES = {Role.DISK: "disk.qcow2"}


class Built(NamedTuple):
    """The images of the system `name`, to be built from what lies in `folder`."""

    name: str
    recipe: Recipe
    folder: Path

    @property
    def doing(self) -> str:
        """What is told."""
        return f"building {self.name}"

    def ingredients(self) -> cache.Ingredients:
        """All that the recipe says.

        Raises:
            ImageError: a source file is missing.
        """
        sources = self.recipe.sources(self.folder)
        for path in sources.values():
            if not path.is_file():
                raise ImageError(f"{path} is missing", "guestbench systems list")
        return cache.Ingredients([self.recipe, self.recipe.version, self.recipe.tools()], sources)

    def build(self, work: Path, say: Say) -> cache.Made:
        """Build them."""
        return self.recipe.build(Site(self.name, self.folder, self.ingredients().key), work, say)


class Fetched(NamedTuple):
    """The official image of the system `name`."""

    name: str
    source: Fetch
    listed: download.Listed | None = None

    @property
    def doing(self) -> str:
        """What is told."""
        return f"fetching {self.name}"

    def ingredients(self) -> cache.Ingredients:
        """Where it comes from. What lies there may change."""
        return cache.Ingredients(self.source)

    def build(self, work: Path, say: Say) -> cache.Made:
        """Download it."""
        assert self.listed is not None
        part = download.download_image(self.source, self.listed, self.name, say)
        (name,) = FETCHED_FILES.values()
        part.rename(work / name)
        return cache.Made(files=(name,), source=download.describe(self.source, self.listed))


def plan_build(system: System, folder: Path) -> Built | None:
    """What the recipe of a system builds; None if it has none. `folder` holds its sources."""
    build = system.provision.build
    return Built(system.name, find_recipe(build), folder) if build is not None else None


def build_image(system: System, folder: Path, say: Say) -> None:
    """Build the system's image into the cache, unless its recipe's image is there.

    Raises:
        UsageError: the system has no recipe.
        HostError: this host cannot build it.
        ImageError: a download that it is to be built from is not what was published, or is of no use.
    """
    planned = plan_build(system, folder)
    if planned is None:
        raise UsageError(
            f"system {system.name} has no recipe to build it from",
            system.provision.hint or f"guestbench systems fetch {shlex.quote(system.name)}",
        )
    cache.make(planned, say)


def fetch_image(system: System, say: Say) -> None:
    """Download the system's official image into the cache, unless the published one is there.

    Raises:
        UsageError: the system has no official image.
        HostError: the server cannot be reached, refuses or breaks off; or the disk is full.
        ImageError: what came is not what the publisher's checksum list says.
    """
    source = system.provision.fetch
    if source is None:
        raise UsageError(
            f"system {system.name} has no official image to download",
            system.provision.hint or f"guestbench systems build {shlex.quote(system.name)}",
        )
    line = (listed := download.read_sums(source, system.name)).line
    fetched = Fetched(system.name, source, listed)
    there = cache.find(fetched)
    if there is not None and line in there.made.source:
        say(f"fetching {system.name}: the published image is in the cache")
    cache.make(fetched, say, renew=lambda made: line not in made.source)
