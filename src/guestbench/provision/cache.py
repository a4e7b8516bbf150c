"""Where images, programs, disks, snapshots and libraries are kept, and the only place that makes them.

A thing appears in the cache complete or not at all: it is made in a workspace inside the cache and renamed
into place. Its folder's name ends in a key made of everything that it depends on, so that what is made
otherwise is another thing. Workspaces of killed builds are found by their unlocked lock files and removed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from guestbench.errors import GuestbenchError, HostError, ImageError
from guestbench.host import process
from guestbench.model import Frozen, Image, Say
from guestbench.provision.digests import digest_file

BUILDER_VERSION = 2
"""Part of every key: raised when what our own code makes changes, so that nothing old is taken for new."""

KEY_DIGITS = 16
ORDINARY_MODE = 0o644
"""What files have that are of no special mode: it is no part of a key."""

IN_USE = "in-use"
"""File of a workspace that programs we started hold a lock on."""


class File(Frozen):
    """A file that is kept, named relative to the manifest."""

    name: str
    size_bytes: int
    sha256: str


class Package(Frozen):
    """A package that something was made of, as its package manager knows it."""

    name: str
    version: str


class Made(Frozen):
    """What a recipe has left in its workspace: the files and folders to keep, and what went into them.

    `source` says in words where archives came from, with the lines of the publisher's checksum lists that
    they agree with. `programs` has the SHA-256 of workload programs that are inside, by their names. `lacks`
    says what is missing because it could not be had; it is then made again the next time.
    """

    files: tuple[str, ...]
    packages: tuple[Package, ...] = ()
    source: str = ""
    programs: dict[str, str] = {}
    lacks: str = ""


class Plan(NamedTuple):
    """What is to be kept: how it is made, and everything that it depends on.

    `name` begins the name of its folder; `doing` is told meanwhile, such as `building floor`.
    `build(work, say)` makes it in the folder `work`, saying what it is about. `facts` are settings, versions
    and flags, whatever JSON can say; of `files` the names, the contents and the modes count, not the paths.
    """

    name: str
    doing: str
    build: Callable[[Path, Say], Made]
    facts: object
    files: Mapping[str, Path] = {}

    @property
    def key(self) -> str:
        """The SHA-256 of all that it depends on, and of `BUILDER_VERSION`."""
        digest = hashlib.sha256()
        digest.update(f"builder {BUILDER_VERSION}\n".encode())
        digest.update(msgspec.json.encode(self.facts, order="deterministic"))
        for name, path in sorted(self.files.items()):
            data = path.read_bytes()
            mode = stat.S_IMODE(path.stat().st_mode)
            told = f" {mode:o}" if mode != ORDINARY_MODE else ""
            digest.update(f"\n{name} {len(data)}{told}\n".encode())
            digest.update(data)
        return digest.hexdigest()[:KEY_DIGITS]


class Manifest(Frozen):
    """What lies beside everything that is kept: how it came to be. `created` is UTC in ISO 8601."""

    name: str
    key: str
    created: str
    elapsed_s: float
    facts: msgspec.Raw
    files: tuple[File, ...]
    made: Made


class Kept(NamedTuple):
    """A thing of the cache: its folder, the day on which it was made, and what went into it."""

    folder: Path
    date: str
    made: Made


def make(plan: Plan, say: Say, *, renew: Callable[[Made], object] = lambda made: made.lacks) -> Kept:
    """The thing, from the cache if it is there and `renew` does not ask for another, else made.

    Raises:
        GuestbenchError: it cannot be made here, as its plan says.
        HostError: the cache cannot be written.
    """
    key = plan.key
    with locked(f"{plan.name}-{key}"):
        there = find(plan)
        if there is not None and not renew(there.made):
            return there
        began = time.monotonic()

        def tell(stage: str) -> None:
            # What is made on the way tells its own time.
            took = "" if stage.endswith(" s)") else f" ({time.monotonic() - began:.0f} s)"
            say(f"{plan.doing}: {stage}{took}")

        with workspace(plan.name) as work:
            made = plan.build(work, tell)
            manifest = Manifest(
                name=plan.name,
                key=key,
                created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                elapsed_s=round(time.monotonic() - began, 1),
                facts=msgspec.Raw(msgspec.json.encode(plan.facts)),
                files=tuple(
                    File(name=path.name, size_bytes=path.stat().st_size, sha256=hash_file(path))
                    for path in (work / name for name in made.files)
                    if path.is_file()
                ),
                made=made,
            )
            kept = _publish(work, manifest)
        tell(f"done, but {made.lacks}" if made.lacks else "done")
    return kept


def find(plan: Plan) -> Kept | None:
    """The thing, if the cache has all of it."""
    folder = _folder_of(plan.name, plan.key)
    try:
        manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
    except (OSError, msgspec.MsgspecError):
        return None  # there is none, or one that another version wrote
    for file in manifest.files:
        path = folder / file.name
        if not path.is_file() or path.stat().st_size != file.size_bytes:
            return None
    return Kept(folder, manifest.created[:10], manifest.made)


def cache_folder() -> Path:
    """`$XDG_CACHE_HOME/guestbench`, by default `~/.cache/guestbench`; not created here."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification: a relative path is invalid and to be ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".cache"
    return root / "guestbench"


def _folder_of(name: str, key: str) -> Path:
    return cache_folder() / "images" / f"{name}-{key}"


def read_choice(system: str) -> str:
    """The way in which the user last asked for this system's image, `built` or `fetched`; empty if never."""
    try:
        return (cache_folder() / "images" / f"{system}.choice").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def write_choice(system: str, way: str) -> None:
    """Remember in which way the user asked for this system's image."""
    path = cache_folder() / "images" / f"{system}.choice"
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{way}\n")


def hash_file(path: Path, algorithm: str = "sha256") -> str:
    """The digest of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


class _Note(Frozen):
    """A digest that is remembered, and which file had it."""

    image: Image
    identity: tuple[int, ...]


def read_image(path: Path, say: Say = lambda _: None) -> Image:
    """Describe an image file as a trial is to find it.

    Its digest is remembered by path, device, inode, size and times of change, so that no run reads gigabytes
    twice. `say` is told of it where it takes long.

    Raises:
        ImageError: the file cannot be read, or changes while it is read.
    """
    path = path.absolute()
    try:
        before = path.stat()
        known = _recall(path, before)
        if known is not None:
            return known
        digest = digest_file(path, say)
        after = path.stat()
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}", f"ls -l {path}") from error
    if _identify(before) != _identify(after):
        raise ImageError(f"{path} changed while it was read", f"ls -l {path}")
    image = Image(path=str(path), size_bytes=before.st_size, mtime_ns=before.st_mtime_ns, sha256=digest)
    _remember(_Note(image=image, identity=_identify(before)))
    return image


def _identify(facts: os.stat_result) -> tuple[int, ...]:
    """What another file has otherwise, and this one after a change; a program cannot set back the last."""
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def _note(path: Path) -> Path:
    return cache_folder() / "digests" / hashlib.sha256(os.fsencode(path)).hexdigest()[:32]


def _recall(path: Path, now: os.stat_result) -> Image | None:
    try:
        known = msgspec.json.decode(_note(path).read_bytes(), type=_Note)
    except (OSError, msgspec.MsgspecError):
        return None
    return known.image if (known.image.path, known.identity) == (str(path), _identify(now)) else None


def _remember(known: _Note) -> None:
    note = _note(Path(known.image.path))
    note.parent.mkdir(parents=True, exist_ok=True)
    staged = note.with_name(f"{note.name}.{os.getpid()}")
    staged.write_bytes(msgspec.json.encode(known))
    staged.rename(note)


@contextmanager
def _lock(path: Path) -> Iterator[int]:
    """Hold a lock on a file, which is made; wait while another process holds it. Yields its descriptor."""
    with storing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("wb")
    with handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle.fileno()


def locked(name: str) -> AbstractContextManager[object]:
    """Hold the cache's lock of this name; wait while another process holds it."""
    return _lock(cache_folder() / "locks" / f"{name}.lock")


@contextmanager
def workspace(label: str) -> Iterator[Path]:
    """A temporary folder inside the cache, removed on leaving; those of killed processes are removed first.

    Other users can pass through it but not list it, so that a mapped user of a user namespace reaches
    a folder made below it.
    """
    base = cache_folder() / "work"
    with storing(base):
        base.mkdir(parents=True, exist_ok=True)
        remove_stale_workspaces(base)
        folder = Path(tempfile.mkdtemp(prefix=f"{label}-", dir=base))
        folder.chmod(0o711)
    with _lock(folder.with_name(folder.name + ".lock")):
        try:
            with storing(folder):
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


def outliving_lock(folder: Path) -> AbstractContextManager[int]:
    """A locked file descriptor to hand to a child whose own children may outlive us after a SIGKILL.

    While any of them holds it, nobody removes the workspace under them.
    """
    return _lock(folder / IN_USE)


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


def _publish(work: Path, manifest: Manifest) -> Kept:
    """Move what was made in a workspace into the cache, with its manifest.

    The caller holds the lock of the key. What was there under the same key is replaced.
    """
    target = _folder_of(manifest.name, manifest.key)
    staged = work / "publish"
    staged.mkdir()
    for name in manifest.made.files:
        (work / name).rename(staged / name)
        if (staged / name).is_file():
            (staged / name).chmod(0o755 if os.access(staged / name, os.X_OK) else 0o644)
    encoded = msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=2)
    (staged / "manifest.json").write_bytes(encoded + b"\n")
    _sync(staged)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        # A rename cannot replace a folder that holds files; the old one leaves through the workspace.
        target.rename(work / "replaced")
    staged.rename(target)
    return Kept(target, manifest.created[:10], manifest.made)


def _sync(folder: Path) -> None:
    """Bring files to the disk before their folder gets its final name."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.fsync(file.fileno())


@contextmanager
def storing(folder: Path) -> Iterator[None]:
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
