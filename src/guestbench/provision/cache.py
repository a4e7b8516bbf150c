"""Where images, programs, disks, snapshots and libraries are kept, and the only place that makes them.

A thing appears in the cache complete or not at all: it is made in a workspace inside the cache and renamed
into place. Its folder's name ends in a key made of everything that it depends on, so that what is made
otherwise is another thing. A file that is no longer what was made is found by its digest, and made anew. What
a process has found or made is its own while it lives: it is not pruned. Workspaces of killed builds are found
by their unlocked lock files and removed.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from guestbench.errors import HostError, ImageError, ToolFailed, hint_of
from guestbench.model import Frozen, Image, Say
from guestbench.model.decoding import NOT_JSON, decode_as
from guestbench.provision.digests import digest_file
from guestbench.provision.folders import remove_tree, sync_tree

BUILDER_VERSION = 2
"""Part of every key: raised when what our own code makes changes, so that nothing old is taken for new."""

KEY_DIGITS = 16
ORDINARY_MODE = 0o644
"""What files have that are of no special mode: it is no part of a key."""

MANIFEST = "manifest.json"
FULL_BYTES = 1 << 20
"""A file system with less is full: where a program failed on it, that is why."""

IN_USE = "in-use"
"""File of a workspace that programs we started hold a lock on."""


class File(Frozen):
    """A file that is kept, named relative to the manifest; `sha256` is its digest as `digests` has it."""

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
        there = _look(plan.name, key)
        if isinstance(there, Kept) and not renew(there.made):
            return there
        began = time.monotonic()

        def tell(stage: str) -> None:
            # What is made on the way tells its own time.
            took = "" if stage.endswith(" s)") else f" ({time.monotonic() - began:.0f} s)"
            say(f"{plan.doing}: {stage}{took}")

        if isinstance(there, str):
            tell(f"it is made anew, as that in the cache is damaged: {there}")
        with workspace(plan.name) as work:
            made = plan.build(work, tell)
            kept = _publish(work, plan, key, made, time.monotonic() - began)
        tell(f"done, but {made.lacks}" if made.lacks else "done")
    return kept


def find(plan: Plan) -> Kept | None:
    """The thing, if the cache has all of it as it was made; it stays then while this process lives."""
    return there if isinstance(there := _look(plan.name, plan.key), Kept) else None


def _look(name: str, key: str) -> Kept | str | None:
    """The thing; in what it is not as it was made; or None if there is none."""
    folder = _folder_of(name, key)
    if not folder.is_dir():
        return None
    _hold(folder.name)
    try:
        manifest = decode_as((folder / MANIFEST).read_bytes(), Manifest)
    except FileNotFoundError:
        return None if not folder.is_dir() else f"it has no {MANIFEST}"
    except (OSError, *NOT_JSON):
        return f"its {MANIFEST} cannot be read, or is of another version"
    if (manifest.name, manifest.key) != (name, key):
        return f"it is {manifest.name}-{manifest.key}"
    wrong = next(filter(None, (_compare(folder, file) for file in manifest.files)), "")
    return wrong or Kept(folder, manifest.created[:10], manifest.made)


def _compare(folder: Path, file: File) -> str:
    """In what a file is not what was made; empty if it is. One that has not changed is not read again."""
    path = folder / file.name
    if not path.is_file():
        return f"{file.name} is missing"
    if (size := path.stat().st_size) != file.size_bytes:
        return f"{file.name} has {size} bytes of {file.size_bytes}"
    try:
        found = read_image(path).sha256
    except ImageError as error:
        return error.message
    return "" if found == file.sha256 else f"{file.name} has another digest"


MOST_HELD = 256
"""A process may have 1024 files open where nobody has set another limit. Images of guests are found first."""
_held: dict[Path, int] = {}
"""Descriptors of the locks that this process has on what it uses, open until it ends."""


def use_lock(name: str) -> Path:
    """The file on which whoever uses a thing has a shared lock; its time is that of the last use."""
    return cache_folder() / "locks" / f"{name}.use"


def _hold(name: str) -> None:
    path = use_lock(name)
    # A cache that this user cannot write is not one that they can prune.
    with suppress(OSError):
        if path not in _held and len(_held) < MOST_HELD:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, ORDINARY_MODE)
            fcntl.flock(handle, fcntl.LOCK_SH)
            _held[path] = handle
        os.utime(path)


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
    """Describe an image file as a trial is to find it; `say` is told where that takes long.

    Its digest is remembered by path, device, inode, size and times of change: gigabytes are not read twice.

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


def list_notes() -> Iterator[tuple[Path, Path]]:
    """The files in which digests are remembered, each with the path of the file that had it."""
    for note in (cache_folder() / "digests").glob("*"):
        with suppress(OSError, *NOT_JSON):
            yield note, Path(decode_as(note.read_bytes(), _Note).image.path)


def _identify(facts: os.stat_result) -> tuple[int, ...]:
    """What another file has otherwise, and this one after a change; a program cannot set back the last."""
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)


def _note(path: Path) -> Path:
    return cache_folder() / "digests" / hashlib.sha256(os.fsencode(path)).hexdigest()[:32]


def _recall(path: Path, now: os.stat_result) -> Image | None:
    try:
        known = decode_as(_note(path).read_bytes(), _Note)
    except (OSError, *NOT_JSON):
        return None
    return known.image if (known.image.path, known.identity) == (str(path), _identify(now)) else None


def _remember(known: _Note) -> None:
    note = _note(Path(known.image.path))
    staged = note.with_name(f"{note.name}.{os.getpid()}")
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        staged.write_bytes(msgspec.json.encode(known))
        staged.rename(note)
    except OSError:
        # On a full disk the digest is read again the next time.
        with suppress(OSError):
            staged.unlink(missing_ok=True)


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
    return _lock(making_lock(name))


def making_lock(name: str) -> Path:
    """The file that whoever makes a thing of the cache has a lock on."""
    return cache_folder() / "locks" / f"{name}.lock"


@contextmanager
def workspace(label: str) -> Iterator[Path]:
    """As `scratch`, for what is to be kept: trouble with the file system is told as that with the cache."""
    with _temporary(label, lambda _: None) as folder, storing(folder):
        yield folder


def scratch(label: str) -> AbstractContextManager[Path]:
    """A folder inside the cache that is removed on leaving, which takes no program. Nothing is mounted in it.

    Other users can pass through it but not list it, so that a mapped user of a user namespace reaches
    a folder made below it. Those of killed processes are removed first.
    """
    return _temporary(label, lambda folder: shutil.rmtree(folder, ignore_errors=True))


@contextmanager
def _temporary(label: str, empty: Callable[[Path], None]) -> Iterator[Path]:
    base = cache_folder() / "work"
    with storing(base):
        base.mkdir(parents=True, exist_ok=True)
        remove_stale_workspaces(base)
        folder = Path(tempfile.mkdtemp(prefix=f"{label}-", dir=base))
        folder.chmod(0o711)
    with _lock(folder.with_name(folder.name + ".lock")):
        try:
            yield folder
        finally:
            empty(folder)
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


def _publish(work: Path, plan: Plan, key: str, made: Made, elapsed_s: float) -> Kept:
    """Move what was made in a workspace into the cache, with its manifest.

    The caller holds the lock of the key. What was there under the same key is replaced.
    """
    target = _folder_of(plan.name, key)
    staged = work / "publish"
    staged.mkdir()
    for name in made.files:
        (work / name).rename(staged / name)
        if (staged / name).is_file():
            (staged / name).chmod(0o755 if os.access(staged / name, os.X_OK) else ORDINARY_MODE)
    files = [
        path
        for path in sorted(staged.rglob("*"))
        # JSON cannot have every name that a package may give to a file.
        if path.is_file() and not path.is_symlink() and str(path).isprintable()
    ]
    manifest = Manifest(
        name=plan.name,
        key=key,
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        elapsed_s=round(elapsed_s, 1),
        facts=msgspec.Raw(msgspec.json.encode(plan.facts)),
        files=tuple(
            File(name=str(path.relative_to(staged)), size_bytes=path.stat().st_size, sha256=digest_file(path))
            for path in files
        ),
        made=made,
    )
    encoded = msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=2)
    (staged / MANIFEST).write_bytes(encoded + b"\n")
    sync_tree(staged)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        # A rename cannot replace a folder that holds files; the old one leaves through the workspace.
        target.rename(work / "replaced")
    staged.rename(target)
    _hold(target.name)
    for file in manifest.files:
        facts = (target / file.name).stat()
        image = Image(
            path=str(target / file.name),
            size_bytes=file.size_bytes,
            mtime_ns=facts.st_mtime_ns,
            sha256=file.sha256,
        )
        _remember(_Note(image=image, identity=_identify(facts)))
    return Kept(target, manifest.created[:10], manifest.made)


@contextmanager
def storing(folder: Path) -> Iterator[None]:
    """Turn trouble with the cache's file system into an error that names it.

    Raises:
        HostError: the disk is full, for us or a program that writes there; or the folder cannot be written.
    """
    try:
        yield
    except OSError as problem:
        raise _unwritable(folder, problem.strerror or str(problem), problem) from problem
    except ToolFailed as failed:
        full = os.strerror(errno.ENOSPC)
        # Many programs say only that something could not be written.
        if full in failed.stderr or _free_bytes(folder) < FULL_BYTES:
            raise _unwritable(folder, f"{full} ({failed.message})") from failed
        raise


def _unwritable(folder: Path, why: str, problem: OSError | None = None) -> HostError:
    hint = hint_of(problem or OSError(errno.ENOSPC, why), folder)
    return HostError(f"cannot write to the cache {folder}: {why}", hint)


def _free_bytes(folder: Path) -> int:
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize


def check_room(folder: Path, bytes_needed: int) -> None:
    """Refuse to begin in a folder of the cache what can only fail: some programs hang on a full disk.

    Raises:
        HostError: less than so many bytes are free.
    """
    free = _free_bytes(folder)
    if free < bytes_needed:
        least = f"{free >> 20} MiB are free, and at least {bytes_needed >> 20} MiB are needed"
        raise _unwritable(folder, f"{os.strerror(errno.ENOSPC)}: {least}")
