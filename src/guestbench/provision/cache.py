"""Where provisioned images are kept, and the rules that keep them whole; it never builds or downloads one.

An image appears in the cache complete or not at all: it is made in a workspace inside the cache and
renamed into place. Its folder's name ends in a key made of its recipe, so that a changed recipe is another
image. Workspaces of killed builds are found by their unlocked lock files and removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from guestbench.errors import GuestbenchError, HostError
from guestbench.host import process
from guestbench.model import Frozen

BUILDER_VERSION = 1
"""Part of every key: raised when the builders' own output changes, so that no old image is taken for new."""

KEY_DIGITS = 16

IN_USE = "in-use"
"""File of a workspace that programs we started hold a lock on."""


class File(Frozen):
    """A file of a provisioned image, named relative to the manifest."""

    name: str
    size_bytes: int
    sha256: str


class Package(Frozen):
    """A package of the image, as its package manager knows it."""

    name: str
    version: str


class Manifest(Frozen):
    """What lies beside every image of the cache: how it came to be. `created` is UTC in ISO 8601."""

    system: str
    kind: str
    key: str
    builder_version: int
    created: str
    recipe: msgspec.Raw
    files: tuple[File, ...]
    packages: tuple[Package, ...] = ()
    elapsed_s: float = 0.0
    source: str = ""
    """Where a fetched image, or what an image was built from, came from, and the lines of the publisher's
    checksum lists that they agree with."""
    programs: dict[str, str] = {}
    """The SHA-256 of the workload programs that are inside of it, by their names."""
    lacks: str = ""
    """What the image is without because it could not be had, in words; empty where nothing is missing."""

    @property
    def date(self) -> str:
        """The day of `created`."""
        return self.created[:10]


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/guestbench`, by default `~/.cache/guestbench`; not created here."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification: a relative path is invalid and to be ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return root / "guestbench"


def recipe_key(recipe: Frozen, sources: Mapping[str, Path] | None = None) -> str:
    """The cache key of a recipe: SHA-256 of its canonical JSON, its source files and the builder version.

    `sources` maps a name to a file; the name, not the path, is part of the key.
    """
    digest = hashlib.sha256()
    digest.update(f"builder {BUILDER_VERSION}\n".encode())
    digest.update(msgspec.json.encode(recipe, order="deterministic"))
    for name, path in sorted((sources or {}).items()):
        data = path.read_bytes()
        digest.update(f"\n{name} {len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()[:KEY_DIGITS]


def image_folder(system: str, key: str) -> Path:
    """Where the image of this system and key lies, or would lie."""
    return cache_folder() / "images" / f"{system}-{key}"


def read_choice(system: str) -> str:
    """The way in which the user last asked for this system's image, `built` or `fetched`; empty if never."""
    try:
        return (cache_folder() / "images" / f"{system}.choice").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def write_choice(system: str, way: str) -> None:
    """Remember in which way the user asked for this system's image."""
    path = cache_folder() / "images" / f"{system}.choice"
    with _storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{way}\n")


def load_manifest(folder: Path) -> Manifest | None:
    """The manifest of an image folder; None where there is none, or one that another version wrote."""
    try:
        return msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError):
        return None


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """The digest of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def describe_file(path: Path) -> File:
    """Size and digest of a file that is about to be published."""
    return File(name=path.name, size_bytes=path.stat().st_size, sha256=hash_file(path))


def utc_now() -> str:
    """This moment as ISO 8601, in whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the cache's lock of this name; wait while another process holds it."""
    folder = cache_folder() / "locks"
    with _storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        handle = (folder / f"{name}.lock").open("wb")
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextmanager
def workspace(label: str) -> Iterator[Path]:
    """A temporary folder inside the cache, removed on leaving; those of killed processes are removed first.

    Other users can pass through it but not list it, so that a mapped user of a user namespace reaches
    a folder made below it.
    """
    base = cache_folder() / "work"
    with _storing(base):
        base.mkdir(parents=True, exist_ok=True)
        remove_stale_workspaces(base)
        folder = Path(tempfile.mkdtemp(prefix=f"{label}-", dir=base))
        folder.chmod(0o711)
        lock = folder.with_name(folder.name + ".lock").open("wb")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            with _storing(folder):
                yield folder
        finally:
            remove_workspace(folder)


def remove_stale_workspaces(base: Path) -> None:
    """Remove the workspaces below `base` whose processes are gone."""
    for path in base.glob("*.lock"):
        folder = path.with_suffix("")
        if _is_unlocked(path) and _is_unlocked(folder / IN_USE):
            remove_workspace(folder)


def _is_unlocked(path: Path) -> bool:
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


@contextmanager
def outliving_lock(folder: Path) -> Iterator[int]:
    """A locked file descriptor to hand to a child whose own children may outlive us after a SIGKILL.

    While any of them holds it, nobody removes the workspace under them.
    """
    with (folder / IN_USE).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def remove_workspace(folder: Path) -> None:
    """Remove a workspace, what it has outside the cache, and its lock file."""
    outside = folder / "outside"
    if outside.is_symlink():
        remove_tree(outside.readlink())
        if outside.exists():
            return
    remove_tree(folder)
    if not folder.exists():
        # Otherwise something still writes there, and the next build tries again.
        folder.with_name(folder.name + ".lock").unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Remove a folder that may hold a half-built root file system: mount points in it are left alone.

    Files of a user namespace's mapped users are removed from inside such a namespace.
    """
    if not folder.exists():
        return
    argv = ["rm", "--recursive", "--force", "--one-file-system", "--", str(folder)]
    process.run(argv, check=False)
    if folder.exists():
        # The namespace's root may empty what its users own; the rest, and the emptied folders, are ours.
        inside = ["find", str(folder), "-xdev", "-mindepth", "1", "-delete"]
        with suppress(GuestbenchError):
            process.run(["mmdebstrap", "--unshare-helper", *inside], check=False)
            process.run(argv, check=False)


def publish(work: Path, manifest: Manifest, names: Sequence[str]) -> Path:
    """Move the named files of a workspace into the cache as one image, with its manifest; returns its folder.

    The caller holds the lock of the image's key. An image of the same key is replaced.
    """
    target = image_folder(manifest.system, manifest.key)
    staged = work / "publish"
    staged.mkdir()
    for name in names:
        (work / name).rename(staged / name)
        (staged / name).chmod(0o644)
    encoded = msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=2)
    (staged / "manifest.json").write_bytes(encoded + b"\n")
    _sync(staged)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        # A rename cannot replace a folder that holds files; the old image leaves through the workspace.
        target.rename(work / "replaced")
    staged.rename(target)
    return target


def _sync(folder: Path) -> None:
    """Bring files to the disk before their folder gets its final name."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())


@contextmanager
def _storing(folder: Path) -> Iterator[None]:
    """Turn trouble with the cache's file system into an error that names it.

    Raises:
        HostError: the disk is full, or the folder cannot be written.
    """
    try:
        yield
    except OSError as problem:
        raise HostError(
            f"cannot write to the cache {folder}: {problem.strerror or problem}",
            f"df -h {cache_folder().parent}",
        ) from problem
