"""Fetches libraries of Debian to compile with, as packages or as source, and unpacks them; it installs none.

Each comes to lie in the cache in a folder of its own, named after its version, and stays: the next build
takes the same version and asks no mirror. The host needs neither the package nor root.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from guestbench.errors import ToolMissing
from guestbench.host import process
from guestbench.model import Frozen, Say
from guestbench.provision import cache
from guestbench.provision.packages import PrivateApt, parse_control

SUITE = "bookworm"
"""The suite that programs of ours are linked with libraries of."""


class Unpacked(Frozen):
    """A package of Debian that was unpacked into `folder`; `version` is as Debian writes it (`3.40.1-2`)."""

    package: str
    version: str
    folder: Path

    @property
    def upstream(self) -> str:
        """The version without what Debian adds to it: `3.40.1` of `3.40.1-2`, `2.1.3` of `2.1.3+dfsg1-2`."""
        version = self.version.rpartition(":")[2]
        return re.sub(r"[+~]dfsg.*$", "", version.rpartition("-")[0] or version)


def fetch_library(package: str, suite: str, say: Say) -> Unpacked:
    """The files of a binary package (`usr/include/…`, `usr/lib/x86_64-linux-gnu/…`) below `folder`.

    Raises:
        HostError: no Debian mirror is known, it has no such package, or the disk is full.
        ToolMissing, ToolFailed: apt or dpkg-deb is not installed, or failed.
    """

    def unpack(work: Path, target: Path) -> str:
        apt = PrivateApt(work / "apt", suite)
        apt.depends(package)  # says in plain words that there is no such package
        archive = apt.download([package])[package]
        process.run(["dpkg-deb", "--extract", archive, target])
        return archive.stem.split("_")[1].replace("%3a", ":")

    return _fetch("libraries", package, suite, unpack, say)


def fetch_source(package: str, suite: str, say: Say) -> Unpacked:
    """The source tree of a source package, with Debian's patches applied, as `folder`.

    Raises:
        HostError: no Debian mirror is known, it has no such source package, or the disk is full.
        ToolMissing, ToolFailed: apt or dpkg-source is not installed, or failed.
    """

    def unpack(work: Path, target: Path) -> str:
        _need_dpkg_source()
        archives = work / "archives"
        archives.mkdir()
        control = PrivateApt(work / "apt", suite, kind="deb-src").download_source(package, archives)
        process.run(["dpkg-source", "--extract", control, target], env={"LC_ALL": "C.UTF-8"})
        fields = (each for each in parse_control(control.read_text("utf-8", "replace")) if "Version" in each)
        return next(fields)["Version"]

    return _fetch("sources", package, suite, unpack, say)


def _need_dpkg_source() -> None:
    try:
        process.find_tool("dpkg-source")
    except ToolMissing as missing:
        raise ToolMissing(missing.message, "apt-get install dpkg-dev") from None


def _fetch(kind: str, package: str, suite: str, unpack: Callable[[Path, Path], str], say: Say) -> Unpacked:
    """The package from the cache, or by `unpack(workspace, target)`, which returns the version."""
    folder = cache.cache_folder() / kind / suite
    with cache.locked(f"{kind}-{suite}-{package}"):
        there = _find(folder, package)
        if there is None:
            say(f"fetching {package} of Debian {suite}")
            with cache.workspace(kind) as work:
                target = work / "unpacked"
                version = unpack(work, target)
                _sync(target)
                folder.mkdir(parents=True, exist_ok=True)
                there = folder / f"{package}_{version.replace(':', '%3a')}"
                # Complete or not at all.
                target.rename(there)
    version = there.name.partition("_")[2].replace("%3a", ":")
    return Unpacked(package=package, version=version, folder=there)


def _find(folder: Path, package: str) -> Path | None:
    """The newest of the versions that are there."""
    found = sorted(folder.glob(f"{package}_*"), key=lambda path: path.stat().st_mtime)
    return found[-1] if found else None


def _sync(folder: Path) -> None:
    """Bring the files to the disk before their folder gets its final name."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.fsync(file.fileno())
