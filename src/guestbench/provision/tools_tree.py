"""Provides benchmark programs of Debian as a small tree and as an ext4 image of it; it installs none of them.

Packages are downloaded and unpacked, and of what is in them only the programs and the shared libraries that
they are linked with are kept: no documentation, no package manager, no shell. In a guest the image is mounted
read-only and the programs are run with chroot; on the host they run through the tree's own dynamic loader.
No root is needed. The image is the same, byte for byte, for the same packages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from guestbench.errors import HostError
from guestbench.images.formats.elf import read_elf
from guestbench.images.source import open_source
from guestbench.model import Say
from guestbench.provision import cache, ext4
from guestbench.provision.packages import PrivateApt

IMAGE_NAME = "tools.ext4"
TREE_NAME = "tree"
LOADER = Path("lib64/ld-linux-x86-64.so.2")
LIBRARIES = Path("usr/lib/x86_64-linux-gnu")
PROGRAMS = Path("usr/bin")
LIBRARY_FOLDERS = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64")
"""Where Debian's packages have shared libraries, and where the loader looks for them."""


SUITE = "bookworm"
TOOLS = {"iperf3": "iperf3", "stress-ng": "stress-ng", "sysbench": "sysbench", "wrk": "wrk"}
"""The programs, each with the package that has it."""
FOLDERS = ("dev", "etc", "proc", "root", "run", "sys", "tmp", "var/tmp")
FILES = {
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/hosts": "127.0.0.1\tlocalhost\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/passwd": "root:x:0:0:root:/root:/usr/sbin/nologin\n",
}


class Tools(NamedTuple):
    """The programs as the cache keeps them."""

    kept: cache.Kept

    @property
    def image(self) -> Path:
        """A raw file with an ext4 file system, to attach to a guest."""
        return self.kept.folder / IMAGE_NAME

    @property
    def tree(self) -> Path:
        """The same files for the host."""
        return self.kept.folder / TREE_NAME

    def host_argv(self, program: str) -> tuple[str, ...]:
        """The beginning of a command line that runs a program of the tree on this host."""
        libraries, loader = self.tree / LIBRARIES, self.tree / LOADER
        return (str(loader), "--library-path", str(libraries), str(self.tree / PROGRAMS / program))


def prepare_tools(say: Say) -> Tools:
    """The tools, built into the cache unless they are there.

    Raises:
        HostError: no Debian mirror is known, a package has changed beyond use, or the disk is full.
        ToolMissing, ToolFailed: apt, dpkg-deb or an ext tool is not installed, or failed.
    """
    facts = [SUITE, TOOLS, FOLDERS, FILES, ext4.describe_writer()]
    return Tools(cache.make(cache.Plan("tools", "building tools for cross-checks", _build, facts), say))


def _build(work: Path, say: Say) -> cache.Made:
    say("fetching package lists")
    collection = _Collection(PrivateApt(work / "apt", SUITE), work / "unpacked", say)
    collection.add_all(TOOLS)
    say("writing the image")
    _write_tree(work / TREE_NAME, collection)
    ext4.write_image(work / IMAGE_NAME, work / TREE_NAME)
    return cache.Made(files=(IMAGE_NAME, TREE_NAME), packages=collection.used_packages())


# --- packages -----------------------------------------------------------------------------------------


class _Collection:
    """Programs and the libraries that they are linked with, each found in a package.

    Debian's packages name all packages that they have libraries from, so that a library which is missing is
    in a direct dependency of the package that wants it. What no file wants is never downloaded: one of the
    programs depends on a graphics stack of a hundred megabytes, of which it uses four small libraries.
    """

    def __init__(self, apt: PrivateApt, unpacked: Path, say: Say) -> None:
        self._apt = apt
        self._unpacked = unpacked
        self._say = say
        self._packages: dict[str, cache.Package] = {}
        self.files: dict[Path, tuple[Path, str]] = {}
        """Where each file that is kept goes in the tree, and where it is now, and of which package."""

    def add_all(self, programs: Mapping[str, str]) -> None:
        """Add programs, each with the name of its package, and all that they are linked with."""
        self._unpack(list(programs.values()))
        for program, package in programs.items():
            path = self._unpacked / package / PROGRAMS / program
            if not path.is_file():
                raise HostError(f"package {package} has no {PROGRAMS / program}", "apt-get update")
            self.files[PROGRAMS / program] = path, package
        waiting = list(self.files)
        while waiting:
            missing: dict[str, str] = {}
            for path, package in map(self.files.__getitem__, waiting):
                with open_source(path) as source:
                    needed = read_elf(source).read_needed(source)
                for name in needed:
                    missing.setdefault(name, package)
            waiting = []
            for name, wanted_by in sorted(missing.items()):
                place = LOADER if name == LOADER.name else LIBRARIES / name
                if place not in self.files:
                    self.files[place] = self._find_library(name, wanted_by)
                    waiting.append(place)

    def used_packages(self) -> tuple[cache.Package, ...]:
        """The packages that something was kept of, with their versions."""
        return tuple(self._packages[name] for name in sorted({package for _, package in self.files.values()}))

    def _find_library(self, name: str, wanted_by: str) -> tuple[Path, str]:
        if "/" in name:
            raise HostError(f"package {wanted_by} wants a library by its path: {name}", "apt-get update")
        sources = (wanted_by, *self._apt.depends(wanted_by))
        self._unpack([each for each in sources if each.startswith("lib") or each == "zlib1g"])
        for package in sources:
            for folder in LIBRARY_FOLDERS:
                path = self._unpacked / package / folder / name
                if path.exists():
                    return path.resolve(), package
        raise HostError(f"no package that {wanted_by} depends on has its library {name}", "apt-get update")

    def _unpack(self, packages: Sequence[str]) -> None:
        """Download and unpack those packages that are not yet unpacked, each into a folder of its own."""
        fresh = [each for each in packages if each not in self._packages]
        if not fresh:
            return
        self._say(f"downloading {', '.join(fresh)}")
        unpacked = self._apt.unpack(fresh, self._unpacked, apart=True)
        self._packages |= {package.name: package for package in unpacked}


# --- tree and image -----------------------------------------------------------------------------------


def _write_tree(tree: Path, collection: _Collection) -> None:
    tree.mkdir()
    for name in FOLDERS:
        (tree / name).mkdir(parents=True)
    for place, (path, _) in collection.files.items():
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        (tree / place).write_bytes(path.read_bytes())
        (tree / place).chmod(0o755)
    for name, text in FILES.items():
        (tree / name).write_text(text)
        (tree / name).chmod(0o644)
