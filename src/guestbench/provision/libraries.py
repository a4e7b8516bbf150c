"""Fetches libraries of Debian to compile with, as packages or as source, and unpacks them; it installs none.

Each comes to lie in the cache and stays: the next build takes the same version and asks no mirror. The host
needs neither the package nor root.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from guestbench.errors import ToolMissing
from guestbench.host import process
from guestbench.images.contents.packages import parse_control
from guestbench.model import Frozen, Say
from guestbench.provision import cache
from guestbench.provision.packages import PrivateApt

SUITE = "bookworm"
"""The suite that programs of ours are linked with libraries of."""
UNPACKED = "unpacked"


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

    def unpack(work: Path, say: Say) -> cache.Made:
        say("asking for the newest version")
        packages = PrivateApt(work / "apt", suite).unpack([package], work / UNPACKED)
        return cache.Made(files=(UNPACKED,), packages=packages)

    return _fetch("library", package, suite, unpack, say)


def fetch_source(package: str, suite: str, say: Say) -> Unpacked:
    """The source tree of a source package, with Debian's patches applied, as `folder`.

    Raises:
        HostError: no Debian mirror is known, it has no such source package, or the disk is full.
        ToolMissing, ToolFailed: apt or dpkg-source is not installed, or failed.
    """

    def unpack(work: Path, say: Say) -> cache.Made:
        say("asking for the newest version")
        _need_dpkg_source()
        archives = work / "archives"
        archives.mkdir()
        control = PrivateApt(work / "apt", suite, kind="deb-src").download_source(package, archives)
        process.run(["dpkg-source", "--extract", control, work / UNPACKED], env={"LC_ALL": "C.UTF-8"})
        fields = next(each for each in parse_control(control.read_bytes()) if "Version" in each)
        found = cache.Package(name=package, version=fields["Version"].decode("ascii", "replace"))
        return cache.Made(files=(UNPACKED,), packages=(found,))

    return _fetch("source", package, suite, unpack, say)


def _need_dpkg_source() -> None:
    try:
        process.find_tool("dpkg-source")
    except ToolMissing as missing:
        raise ToolMissing(missing.message, "apt-get install dpkg-dev") from None


def _fetch(
    kind: str, package: str, suite: str, unpack: Callable[[Path, Say], cache.Made], say: Say
) -> Unpacked:
    doing = f"fetching {package} of Debian {suite}"
    kept = cache.make(cache.Plan(f"{kind}-{package}", doing, unpack, [package, suite]), say)
    (found,) = kept.made.packages
    return Unpacked(package=found.name, version=found.version, folder=kept.folder / UNPACKED)
