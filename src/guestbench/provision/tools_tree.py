"""Provides benchmark programs of Debian as a small tree and as an ext4 image of it; it installs none of them.

Packages are downloaded and unpacked, and of what is in them only the programs and the shared libraries that
they are linked with are kept: no documentation, no package manager, no shell. In a guest the image is mounted
read-only and the programs are run with chroot; on the host they run through the tree's own dynamic loader.
No root is needed. The image is the same, byte for byte, for the same packages.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from guestbench.errors import HostError, ToolFailed
from guestbench.host import process
from guestbench.images.formats.elf import read_needed
from guestbench.model import Frozen, Say
from guestbench.provision import cache, layout
from guestbench.provision.packages import PrivateApt, parse_control

NAME = "tools"
LABEL = "guestbench"
IMAGE_NAME = "tools.ext4"
TREE_NAME = "tree"
LOADER = Path("lib64/ld-linux-x86-64.so.2")
LIBRARIES = Path("usr/lib/x86_64-linux-gnu")
PROGRAMS = Path("usr/bin")
LIBRARY_FOLDERS = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64")
"""Where Debian's packages have shared libraries, and where the loader looks for them."""

BLOCK_BYTES = 4096
INODE_BYTES = 256
SPARE_BLOCKS = 64
"""Room for what the file system keeps besides files, folders and inodes: bitmaps, descriptors, extents."""
FEATURES = "none,ext_attr,dir_index,filetype,extent,sparse_super,large_file,huge_file,dir_nlink,extra_isize"
"""All of them named, so that they do not depend on the host's mke2fs.conf."""
TIME_S = 1
"""The time of every file. Zero would mean to the ext tools that no time was given."""


class ToolsRecipe(Frozen):
    """What the tools image depends on: the programs, each with the package that has it, and other files."""

    suite: str = "bookworm"
    programs: tuple[tuple[str, str], ...] = (
        ("iperf3", "iperf3"),
        ("stress-ng", "stress-ng"),
        ("sysbench", "sysbench"),
        ("wrk", "wrk"),
    )
    folders: tuple[str, ...] = ("dev", "etc", "proc", "root", "run", "sys", "tmp", "var/tmp")
    files: tuple[tuple[str, str], ...] = (
        ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
        ("etc/hosts", "127.0.0.1\tlocalhost\n"),
        ("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"),
        ("etc/passwd", "root:x:0:0:root:/root:/usr/sbin/nologin\n"),
    )
    label: str = LABEL
    features: str = FEATURES


class Tools(Frozen):
    """The programs: `image` to attach to a guest, `tree` with the same files for the host, and `packages`.

    `image` is a raw file with an ext4 file system labelled `guestbench`. `packages` are those of which
    something is in it.
    """

    folder: Path
    image: Path
    tree: Path
    packages: tuple[cache.Package, ...]

    def host_argv(self, program: str) -> tuple[str, ...]:
        """The beginning of a command line that runs a program of the tree on this host."""
        libraries = str(self.tree / LIBRARIES)
        loader = str(self.tree / LOADER)
        return (loader, "--library-path", libraries, str(self.tree / PROGRAMS / program))


def prepare_tools(say: Say, recipe: ToolsRecipe | None = None) -> Tools:
    """The tools, built into the cache unless they are there.

    Raises:
        HostError: no Debian mirror is known, a package has changed beyond use, or the disk is full.
        ToolMissing, ToolFailed: apt, dpkg-deb or an ext tool is not installed, or failed.
    """
    recipe = recipe or ToolsRecipe()
    key = cache.recipe_key(recipe)
    folder = cache.image_folder(NAME, key)
    with cache.locked(f"{NAME}-{key}"):
        manifest = cache.load_manifest(folder)
        # The tree is the last to get its name.
        if manifest is None or not (folder / TREE_NAME).is_dir():
            manifest = _make(recipe, key, say)
    return Tools(
        folder=folder, image=folder / IMAGE_NAME, tree=folder / TREE_NAME, packages=manifest.packages
    )


def _make(recipe: ToolsRecipe, key: str, say: Say) -> cache.Manifest:
    began = time.monotonic()

    def tell(stage: str) -> None:
        say(f"building {NAME}: {stage} ({time.monotonic() - began:.0f} s)")

    with cache.workspace(NAME) as work:
        tell("fetching package lists")
        collection = _Collection(_LibraryApt(work / "apt", recipe.suite), work / "unpacked", tell)
        collection.add_all(recipe.programs)
        tell("writing the image")
        tree = work / TREE_NAME
        _write_tree(tree, recipe, collection)
        write_image(work / IMAGE_NAME, tree, key, label=recipe.label, features=recipe.features)
        manifest = cache.Manifest(
            system=NAME,
            kind="built",
            key=key,
            builder_version=cache.BUILDER_VERSION,
            created=cache.utc_now(),
            recipe=msgspec.Raw(msgspec.json.encode(recipe)),
            files=(cache.describe_file(work / IMAGE_NAME),),
            packages=collection.used_packages(),
            elapsed_s=round(time.monotonic() - began, 1),
        )
        folder = cache.publish(work, manifest, (IMAGE_NAME,))
        for path in tree.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        tree.rename(folder / TREE_NAME)
    tell("done")
    return manifest


# --- packages -----------------------------------------------------------------------------------------


class _LibraryApt(PrivateApt):
    """Private apt that knows which packages have a package's libraries."""

    def libraries_of(self, package: str) -> tuple[str, ...]:
        """Packages that `package` depends on directly, the first of alternatives, and only real ones."""
        shown = self._run(["apt-cache", "show", "--no-all-versions", package]).stdout
        wanted = parse_control(shown.decode("utf-8", "replace"))[0].get("Depends", "")
        groups = [group.split("|")[0].strip() for group in wanted.split(",")]
        return tuple(sorted({group.split(" ")[0].split(":")[0] for group in groups if group}))


class _Collection:
    """Programs and the libraries that they are linked with, each found in a package.

    Debian's packages name all packages that they have libraries from, so that a library which is missing is
    in a direct dependency of the package that wants it. What no file wants is never downloaded: one of the
    programs depends on a graphics stack of a hundred megabytes, of which it uses four small libraries.
    """

    def __init__(self, apt: _LibraryApt, unpacked: Path, say: Say) -> None:
        self._apt = apt
        self._unpacked = unpacked
        self._say = say
        self._archives: dict[str, Path] = {}
        self._used: set[str] = set()
        self.files: dict[Path, Path] = {}
        """Where each file that is kept goes in the tree, and where it is now."""

    def add_all(self, programs: Sequence[tuple[str, str]]) -> None:
        """Add programs, each with the name of its package, and all that they are linked with."""
        self._unpack([package for _, package in programs])
        waiting: list[tuple[Path, str]] = []
        for program, package in programs:
            path = self._unpacked / package / PROGRAMS / program
            if not path.is_file():
                raise HostError(f"package {package} has no {PROGRAMS / program}", "apt-get update")
            waiting.append(self._keep(PROGRAMS / program, path, package))
        while waiting:
            missing: dict[str, list[str]] = {}
            for path, package in waiting:
                for name in read_needed(path):
                    missing.setdefault(name, []).append(package)
            waiting = [
                self._add_library(name, wanted_by[0])
                for name, wanted_by in sorted(missing.items())
                if self._place(name) not in self.files
            ]

    def used_packages(self) -> tuple[cache.Package, ...]:
        """The packages that something was kept of, with their versions."""
        names = sorted((name, self._archives[name]) for name in self._used)
        return tuple(
            cache.Package(name=name, version=archive.stem.split("_")[1].replace("%3a", ":"))
            for name, archive in names
        )

    def _place(self, name: str) -> Path:
        return LOADER if name == LOADER.name else LIBRARIES / name

    def _keep(self, place: Path, path: Path, package: str) -> tuple[Path, str]:
        self.files[place] = path
        self._used.add(package)
        return path, package

    def _add_library(self, name: str, wanted_by: str) -> tuple[Path, str]:
        if "/" in name:
            raise HostError(f"package {wanted_by} wants a library by its path: {name}", "apt-get update")
        sources = (wanted_by, *self._apt.libraries_of(wanted_by))
        self._unpack([each for each in sources if each.startswith("lib") or each == "zlib1g"])
        for package in sources:
            for folder in LIBRARY_FOLDERS:
                path = self._unpacked / package / folder / name
                if path.exists():
                    return self._keep(self._place(name), path.resolve(), package)
        raise HostError(f"no package that {wanted_by} depends on has its library {name}", "apt-get update")

    def _unpack(self, packages: Sequence[str]) -> None:
        """Download and unpack those packages that are not yet unpacked, each into a folder of its own."""
        fresh = [each for each in packages if each not in self._archives]
        if not fresh:
            return
        self._say(f"downloading {', '.join(fresh)}")
        self._unpacked.mkdir(exist_ok=True)
        for package, archive in self._apt.download(fresh).items():
            process.run(["dpkg-deb", "--extract", archive, self._unpacked / package])
            self._archives[package] = archive


# --- tree and image -----------------------------------------------------------------------------------


def _write_tree(tree: Path, recipe: ToolsRecipe, collection: _Collection) -> None:
    tree.mkdir()
    for name in recipe.folders:
        (tree / name).mkdir(parents=True)
    for place, path in collection.files.items():
        (tree / place).parent.mkdir(parents=True, exist_ok=True)
        (tree / place).write_bytes(path.read_bytes())
        (tree / place).chmod(0o755)
    for name, text in recipe.files:
        (tree / name).write_text(text)
        (tree / name).chmod(0o644)


def write_image(image: Path, tree: Path, key: str, *, label: str, features: str = FEATURES) -> None:
    """Write the plain files and folders of `tree`, owned by root, into an ext4 image just large enough.

    Files are added one by one in the order of their names. `mke2fs -d` would take them in the order of the
    host's file system, with the host's owners and times of change, and no two images would be the same.

    Raises:
        ToolMissing, ToolFailed: mke2fs, debugfs or e2fsck is not installed, or failed.
    """
    entries = sorted(path.relative_to(tree) for path in tree.rglob("*"))
    sizes = [(tree / each).stat().st_size if (tree / each).is_file() else BLOCK_BYTES for each in entries]
    inodes = len(entries) + 16
    blocks = sum(-(-size // BLOCK_BYTES) for size in sizes) + inodes * INODE_BYTES // BLOCK_BYTES
    uuid, seed = layout.derive_uuid(key, "tools"), layout.derive_uuid(key, "tools hash seed")
    # The older variable; the newer SOURCE_DATE_EPOCH is known to mke2fs from 1.47.1 on only.
    env = {"E2FSPROGS_FAKE_TIME": str(TIME_S), "SOURCE_DATE_EPOCH": str(TIME_S), "LC_ALL": "C.UTF-8"}
    argv = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", str(BLOCK_BYTES), "-I", str(INODE_BYTES)]
    argv += ["-N", str(inodes), "-m", "0", "-L", label, "-U", str(uuid), "-O", features]
    argv += ["-E", f"hash_seed={seed},lazy_itable_init=0,root_owner=0:0"]
    folder, room = image.parent, blocks + blocks // 100 + SPARE_BLOCKS
    # Relative paths: the ext tools take what follows a `?` in a path as options.
    process.run([*argv, image.name, str(room)], cwd=folder, env=env)
    from_tree = os.path.relpath(image, tree)
    commands = "".join(f"{line}\n" for line in _debugfs_commands(tree, entries)).encode()
    done = process.run(["debugfs", "-w", "-f", "-", from_tree], input=commands, cwd=tree, env=env)
    complaints = [line for line in done.stderr.decode("utf-8", "replace").splitlines()[1:] if line.strip()]
    if complaints:
        raise ToolFailed(
            f"debugfs could not write {image.name}: {complaints[0]}",
            f"df -h {image.parent}",
            status=done.status,
            stderr=process.tail(done.stderr),
        )
    process.run(["e2fsck", "-f", "-n", image.name], cwd=folder, env=env)


def _debugfs_commands(tree: Path, entries: Sequence[Path]) -> Iterator[str]:
    times = ("atime", "ctime", "mtime", "crtime")
    # mke2fs makes this one; a file system that is only read has nothing to lose and find.
    yield "rmdir lost+found"
    for entry in entries:
        is_folder = (tree / entry).is_dir()
        mode = 0o41777 if entry.name == "tmp" else 0o40755 if is_folder else 0
        yield f"mkdir {entry}" if is_folder else f"write {entry} {entry}"
        mode = mode or 0o100000 | (tree / entry).stat().st_mode & 0o777
        yield f"set_inode_field {entry} mode 0{mode:o}"
        yield from (f"set_inode_field {entry} {field} 0" for field in ("uid", "gid"))
    for entry in (Path("/"), *entries):
        yield from (f"set_inode_field {entry} {field} @{TIME_S}" for field in times)
