"""Finds where this host gets its Debian packages from, and downloads some without installing them.

Libraries to compile with, as packages or as source, come to lie unpacked in the cache and stay: the next
build takes the same version and asks no mirror.

The host's own package state is only ever read. No mirror is named here: it comes from the environment,
the host's apt configuration, or mmdebstrap's default.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from guestbench.errors import HostError, ToolFailed
from guestbench.host import process
from guestbench.images.contents.packages import parse_control, read_dpkg
from guestbench.model import Frozen, Say
from guestbench.provision.cache import Made, Package, Plan, cache_folder, check_room, make

MIRROR_VARIABLE = "GUESTBENCH_DEBIAN_MIRROR"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

CONFIG = Path(__file__).with_suffix(".conf")
SUITE = "bookworm"
"""The suite that programs of ours are linked with libraries of."""
UNPACKED = "unpacked"
LISTS_BYTES = 128 << 20
"""apt's lists of a suite take 46 MiB, measured with bookworm; on a full disk apt waits for ever."""

_INHERITED = ("Acquire::Check-Valid-Until", "Acquire::Check-Date", "Acquire::http::", "Acquire::https::")
"""apt settings that say how this host reaches its mirror; all others are about the host itself."""


class Sources(NamedTuple):
    """Where packages of a suite come from: one-line apt sources, and apt settings to use with them.

    `lines` is empty where neither the environment nor the host's apt names a Debian mirror.
    """

    lines: tuple[str, ...]
    options: tuple[str, ...]


def find_sources(suite: str) -> Sources:
    """Find the Debian mirror to use: `$GUESTBENCH_DEBIAN_MIRROR`, else that of the host's apt, else none."""
    uris = {"Debian": os.environ.get(MIRROR_VARIABLE, "").strip()}
    if not uris["Debian"]:
        listed = _ask_apt(
            "apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"
        )
        uris = dict(line.split(" ", 1) for line in listed if " " in line)
    parts = {suite: "Debian", f"{suite}-updates": "Debian", f"{suite}-security": "Debian-Security"}
    lines = [f"deb {uris[label]} {part} main" for part, label in parts.items() if uris.get(label)]
    settings = _ask_apt("apt-config", "dump", "--format", '%f "%v";%n', "Acquire")
    options = [line for line in settings if line.startswith(_INHERITED) and not line.endswith(' "";')]
    return Sources(tuple(lines) if "Debian" in uris else (), tuple(options))


def _ask_apt(*argv: str) -> list[str]:
    return process.run(argv, check=False).stdout.decode("utf-8", "replace").splitlines()


def package_folder(suite: str) -> Path:
    """Where downloaded packages of a suite are kept, so that the next build need not download them again."""
    folder = cache_folder() / "packages" / suite
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class PrivateApt:
    """apt with its own lists, state and settings in a folder; the host's are neither used nor changed."""

    def __init__(self, folder: Path, suite: str, *, kind: Literal["deb", "deb-src"] = "deb") -> None:
        """Set up apt's files and fetch the lists of binary packages, or those of source packages.

        Raises:
            HostError: no Debian mirror is known to this host, or the disk is full.
            ToolFailed: the mirror cannot be reached, or its signatures are wrong.
        """
        sources = find_sources(suite)
        if not sources.lines:
            raise HostError(
                "this host's apt names no Debian mirror to download packages from",
                f"export {MIRROR_VARIABLE}=URL, the address of a Debian mirror",
            )
        check_room(folder.parent, LISTS_BYTES)
        self._suite = suite
        self._config = folder / "apt.conf"
        for name in ("state/lists/partial", "cache/archives/partial"):
            (folder / name).mkdir(parents=True)
        (folder / "status").write_bytes(b"")
        signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
        lines = [line.replace("deb ", f"{kind} {signed}", 1) for line in sources.lines]
        (folder / "sources.list").write_text("\n".join([*lines, ""]))
        own = CONFIG.read_text().replace("FOLDER", str(folder))
        self._config.write_text("\n".join([own, *sources.options, ""]))
        self._run(["apt-get", "--quiet", "--error-on=any", "update"])

    def depends(self, package: str) -> tuple[str, ...]:
        """Names of the packages that the newest version of `package` depends on, the first of alternatives.

        Raises:
            HostError: the mirror has no such package.
        """
        groups = [group.split("|")[0].strip() for group in self._show(package).get("Depends", "").split(",")]
        return tuple(dict.fromkeys(re.split(r"[ :]", group)[0] for group in groups if group))

    def unpack(self, packages: Sequence[str], folder: Path, *, apart: bool = False) -> tuple[Package, ...]:
        """Download packages and unpack them into `folder`, with `apart` each into a folder of its own there.

        The archives stay in the cache; those there already are only verified.

        Raises:
            HostError: the mirror has no such package.
        """
        shown = {package: self._show(package) for package in packages}
        kept = package_folder(self._suite)
        self._run(["apt-get", "--quiet", "download", *packages], cwd=kept)
        folder.mkdir(exist_ok=True)
        for package, fields in shown.items():
            version = fields["Version"].replace(":", "%3a")
            archive = kept / f"{package}_{version}_{fields['Architecture']}.deb"
            process.run(["dpkg-deb", "--extract", archive, folder / package if apart else folder])
        return tuple(Package(name=name, version=fields["Version"]) for name, fields in sorted(shown.items()))

    def _show(self, package: str) -> dict[str, str]:
        """What the mirror says of the newest version of a package."""
        shown = self._run(["apt-cache", "show", "--no-all-versions", package], check=False).stdout
        fields = next(parse_control(shown), None)
        if fields is None:
            raise HostError(f"Debian {self._suite} has no package {package}", "guestbench systems list")
        return {name: value.decode("utf-8", "replace") for name, value in fields.items()}

    def download_source(self, package: str, folder: Path) -> Path:
        """Download the newest version of a source package into `folder`; returns its control file (.dsc).

        The object was made with `kind="deb-src"`. apt compares every file with the signed lists.

        Raises:
            HostError: the mirror has no such source package.
        """
        # A name that is unknown makes this command fail on some versions of apt and print nothing on others.
        shown = self._run(["apt-cache", "showsrc", "--only-source", package], check=False).stdout
        if not shown.strip():
            raise HostError(f"Debian {self._suite} has no source package {package}", "apt-get update")
        self._run(["apt-get", "--quiet", "--download-only", "--only-source", "source", package], cwd=folder)
        (control,) = folder.glob("*.dsc")
        return control

    def _run(self, argv: Sequence[str], *, cwd: Path | None = None, check: bool = True) -> process.Completed:
        env = {"APT_CONFIG": str(self._config), "LC_ALL": "C.UTF-8"}
        try:
            return process.run(argv, env=env, cwd=cwd, check=check)
        except ToolFailed as failed:
            # Trouble with the mirror, mostly: apt's own first complaint says more than its last.
            complaints = re.findall(r"^(?:E|W|Err|error):? ?.*$", failed.stderr, re.MULTILINE)
            words = ": ".join([failed.message.split(":", 1)[0], *complaints[:1]])
            status, stderr = failed.status, failed.stderr
            raise ToolFailed(words, "apt-get update", status=status, stderr=stderr) from failed


def fetch_kernel(
    work: Path, suite: str, package: str, also: Sequence[str] = ()
) -> tuple[Path, Path, tuple[Package, ...]]:
    """A kernel package and others, unpacked below `work`: the kernel, the folder of all files, and versions.

    Raises:
        HostError: no Debian mirror is known, or the packages are not what they are taken for.
        ToolMissing, ToolFailed: apt or dpkg-deb is not installed, or failed.
    """
    apt = PrivateApt(work / "apt", suite)
    # The package that holds the kernel itself; ours may be one that depends on the newest of them.
    depends = (name for name in apt.depends(package) if name.startswith("linux-image-"))
    kernel_package = next(depends, package)
    packages = apt.unpack([kernel_package, *also], work / UNPACKED)
    return find_one(work / UNPACKED, "boot/vmlinuz-*", kernel_package), work / UNPACKED, packages


def find_one(unpacked: Path, pattern: str, package: str) -> Path:
    """The one file of a package that fits a pattern.

    Raises:
        HostError: there is none, or are several.
    """
    found = sorted(path for path in unpacked.glob(pattern) if path.is_file() and not path.is_symlink())
    if len(found) != 1:
        raise HostError(f"package {package} holds {len(found)} files {pattern}", "guestbench systems list")
    return found[0]


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

    def unpack(work: Path, say: Say) -> Made:
        say("asking for the newest version")
        packages = PrivateApt(work / "apt", suite).unpack([package], work / UNPACKED)
        return Made(files=(UNPACKED,), packages=packages)

    return _fetch("library", package, suite, unpack, say)


def fetch_source(package: str, suite: str, say: Say) -> Unpacked:
    """The source tree of a source package, with Debian's patches applied, as `folder`.

    Raises:
        HostError: no Debian mirror is known, it has no such source package, or the disk is full.
        ToolMissing, ToolFailed: apt or dpkg-source is not installed, or failed.
    """

    def unpack(work: Path, say: Say) -> Made:
        say("asking for the newest version")
        process.find_tool("dpkg-source")
        archives = work / "archives"
        archives.mkdir()
        control = PrivateApt(work / "apt", suite, kind="deb-src").download_source(package, archives)
        process.run(["dpkg-source", "--extract", control, work / UNPACKED], env={"LC_ALL": "C.UTF-8"})
        fields = next(each for each in parse_control(control.read_bytes()) if "Version" in each)
        found = Package(name=package, version=fields["Version"].decode("ascii", "replace"))
        return Made(files=(UNPACKED,), packages=(found,))

    return _fetch("source", package, suite, unpack, say)


def _fetch(kind: str, package: str, suite: str, unpack: Callable[[Path, Say], Made], say: Say) -> Unpacked:
    doing = f"fetching {package} of Debian {suite}"
    kept = make(Plan(f"{kind}-{package}", doing, unpack, [package, suite]), say)
    (found,) = kept.made.packages
    return Unpacked(package=found.name, version=found.version, folder=kept.folder / UNPACKED)


def installed_packages(status: bytes) -> tuple[Package, ...]:
    """Every installed package in a dpkg status file, sorted by name."""
    pairs = sorted((each.name, each.version) for each in read_dpkg(status))
    return tuple(Package(name=name, version=version) for name, version in pairs)
