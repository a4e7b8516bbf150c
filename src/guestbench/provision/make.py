"""Makes the image files of a system, by building or downloading them into the cache; it never boots them."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from guestbench.errors import UsageError
from guestbench.model import (
    AlpineInitramfs,
    Assembly,
    Build,
    DebianDisk,
    DebianInitramfs,
    LibraryOs,
    Mirage,
    Say,
    System,
)
from guestbench.provision import (
    alpine,
    assembly,
    cache,
    debian_disk,
    download,
    initramfs,
    library_os,
    mirage,
)
from guestbench.provision.locate import (
    FETCHED_FILES,
    build_sources,
    built_files,
    find_built,
    find_fetched,
)
from guestbench.provision.programs import build_program


def build_image(system: System, folder: Path, say: Say) -> None:
    """Build the system's image into the cache, unless its recipe's image is there.

    Raises:
        UsageError: the system has no recipe.
        HostError: this host cannot build it.
        ImageError: a download that it is to be built from is not what was published, or is of no use.
    """
    build = system.provision.build
    if build is None:
        raise UsageError(
            f"system {system.name} has no recipe to build it from",
            system.provision.hint or f"guestbench systems fetch {shlex.quote(system.name)}",
        )
    key = cache.recipe_key(build, build_sources(build, folder))
    with cache.locked(f"{system.name}-{key}"):
        there = find_built(system, folder)
        if there is not None and not there[1].lacks:
            return
        began = time.monotonic()

        def tell(stage: str) -> None:
            say(f"building {system.name}: {stage} ({time.monotonic() - began:.0f} s)")

        with cache.workspace(system.name) as work:
            made = _run_builder(system.name, build, key, folder, work, tell)
            names = tuple(built_files(build).values())
            # What lies beside an image is no part of it, and is there only for some recipes.
            names += tuple(name for name in (initramfs.DRIVERS_NAME, mirage.IRMIN) if (work / name).is_file())
            manifest = cache.Manifest(
                system=system.name,
                kind="built",
                key=key,
                builder_version=cache.BUILDER_VERSION,
                created=cache.utc_now(),
                recipe=msgspec.Raw(msgspec.json.encode(build)),
                files=tuple(cache.describe_file(work / name) for name in names),
                packages=tuple(cache.Package(name=name, version=version) for name, version in made.packages),
                elapsed_s=round(time.monotonic() - began, 1),
                source=made.source,
                programs=dict(made.programs),
                lacks=made.lacks,
            )
            cache.publish(work, manifest, names)
        tell(f"done, but {made.lacks}" if made.lacks else "done")


class _Made(NamedTuple):
    """What went into an image: packages (name, version), archives, programs; and what it lacks."""

    packages: tuple[tuple[str, str], ...] = ()
    source: str = ""
    programs: Mapping[str, str] = {}
    lacks: str = ""


def _run_builder(name: str, build: Build, key: str, folder: Path, work: Path, tell: Say) -> _Made:
    match build:
        case DebianDisk():
            return _Made(debian_disk.build(build, key, work, tell))
        case DebianInitramfs():
            packages = initramfs.build(build, folder, work, tell)
            programs = {name: build_program(name, tell).sha256 for name in build.programs}
            return _Made(packages, programs=programs)
        case Assembly():
            assembly.build(build, folder, work)
            return _Made()
        case Mirage():
            return _Made(mirage.build(build, folder, work, tell))
        case AlpineInitramfs():
            return _Made(source=alpine.build(name, build, folder, work, tell))
        case LibraryOs():
            packages, lacks = library_os.build(build, folder, work, tell)
            return _Made(packages, lacks=lacks)


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
    key = cache.recipe_key(source)
    with cache.locked(f"{system.name}-{key}"):
        began = time.monotonic()
        listed = download.read_sums(source, system.name)
        found = find_fetched(system)
        if found is not None and listed.line in found[1].source:
            say(f"fetching {system.name}: the published image is in the cache")
            return
        part = download.download_image(
            source, listed, system.name, lambda text: say(f"fetching {system.name}: {text}")
        )
        (name,) = FETCHED_FILES.values()
        with cache.workspace(system.name) as work:
            part.rename(work / name)
            manifest = cache.Manifest(
                system=system.name,
                kind="fetched",
                key=key,
                builder_version=cache.BUILDER_VERSION,
                created=cache.utc_now(),
                recipe=msgspec.Raw(msgspec.json.encode(source)),
                files=(cache.describe_file(work / name),),
                elapsed_s=round(time.monotonic() - began, 1),
                source=download.describe(source, listed),
            )
            cache.publish(work, manifest, (name,))
