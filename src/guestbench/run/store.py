"""The store: one JSON line for the run's header, then one for each record; it never rewrites a line.

A line is written with one system call and synced before the next trial begins, so that a kill at any
moment loses at most the trial that was under way. A last line without its newline is such a trial.
"""

from __future__ import annotations

import fcntl
import gc
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from guestbench.errors import StoreError, hint_of
from guestbench.families import complete_metrics
from guestbench.model import FORMAT_VERSION, Header, Record
from guestbench.model.decoding import NOT_JSON, decode
from guestbench.text import visible

STORE_NAME = "store.jsonl"
HOSTS = "hosts"
"""Folder of a run of several hosts that has a run of each in it, which are made from its store."""
READABLE = (1, 2, 3, 4, FORMAT_VERSION)
"""Versions that can be read. What versions 2 to 4 added has defaults, so that an older store is one of 4."""
OLD_TABLES = ("memory", "surface", "work")
"""Fields of an experiment until version 4: its settings of these families. Work settled as memory did."""
Line = TypeVar("Line", Header, Record)


class _AnyLine(msgspec.Struct):
    """What can be read of a line of any version."""

    version: int
    kind: str


# Made once: msgspec looks a type through each time it is given one, which takes longer than a line does.
_ANY_LINE = msgspec.json.Decoder(_AnyLine)
_NO_HEADER = (*NOT_JSON, KeyError, TypeError, AttributeError)


class Store:
    """A store open for appending. One process at a time holds it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self._told = False

    def check_there(self) -> None:
        """Put the store back if its folder was removed, which would take all that was measured with it.

        Raises:
            StoreError: it was.
        """
        facts = os.fstat(self._descriptor)
        if facts.st_nlink or self._told:
            return
        self._told = True
        folder = self.path.parent
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as again:
                again.write(os.pread(self._descriptor, facts.st_size, 0))
                again.flush()
                os.fsync(descriptor)
        except OSError as error:
            raise StoreError(
                f"{self.path} was removed while the run went on, and cannot be put back: {error.strerror}",
                "guestbench run -o DIR",
            ) from error
        raise StoreError(
            f"{folder} was removed while the run went on; all finished trials have been put back into it",
            f"guestbench run --resume {shlex.quote(str(folder))}",
        )

    def append(self, *lines: Header | Record) -> None:
        """Write lines with one system call, and sync them.

        Raises:
            StoreError: the disk is full, or failed. What had been written of them is taken back.
        """
        self.check_there()
        data = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
        start = os.lseek(self._descriptor, 0, os.SEEK_END)
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
            os.fsync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, start)
            raise StoreError(
                f"cannot write {self.path}: {error.strerror}; all finished trials are kept",
                hint_of(error, self.path.parent),
            ) from error


@contextmanager
def create_store(folder: Path, header: Header) -> Iterator[Store]:
    """Begin a store in `folder`, which must not hold one yet.

    Raises:
        StoreError: the folder cannot be written, or holds a store already.
    """
    path = folder / STORE_NAME
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    except FileExistsError:
        raise _used(folder) from None
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}", "guestbench run -o DIR") from error
    with _locked(path, descriptor) as store:
        store.append(header)
        yield store


def refuse_used(folder: Path) -> None:
    """Refuse a folder that holds a run.

    Raises:
        StoreError: it does.
    """
    if (folder / STORE_NAME).exists():
        raise _used(folder)


def _used(folder: Path) -> StoreError:
    return StoreError(f"{folder} holds a run already", f"guestbench run --resume {shlex.quote(str(folder))}")


@contextmanager
def reopen_store(folder: Path) -> Iterator[tuple[Store, Header, tuple[Record, ...]]]:
    """Go on with the store in `folder`: what it holds, and the means to append.

    A line that a kill left unfinished is cut off; its trial will be made again.

    Raises:
        StoreError: it cannot be read or written, is of another version, or another run holds it.
    """
    path = folder / STORE_NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
    except OSError as error:
        raise _unreadable(path, error) from error
    with _locked(path, descriptor) as store:
        header, records = read_all(folder)
        data = path.read_bytes()
        os.ftruncate(descriptor, data.rfind(b"\n") + 1)
        yield store, header, records


@contextmanager
def _locked(path: Path, descriptor: int) -> Iterator[Store]:
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(f"another run is writing {path}", "guestbench run -o DIR") from None
        store = Store(path, descriptor)
        try:
            yield store
        finally:
            store.check_there()
    finally:
        os.close(descriptor)


def is_held(folder: Path) -> bool:
    """Whether a run is writing the store in a folder."""
    try:
        with (folder / STORE_NAME).open("rb") as store:
            fcntl.flock(store, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        raise _unreadable(folder / STORE_NAME, error) from error
    return False


def read_store(folder: Path) -> tuple[Header, tuple[Record, ...]]:
    """Read a run of one host: its header and every finished record, in the order written.

    Raises:
        StoreError: there is no store, or it is damaged, or of another version, or of several hosts.
    """
    header, records = read_all(folder)
    if len(header.hosts) > 1:
        quoted = shlex.quote(str(folder))
        raise StoreError(
            f"{folder} is of {len(header.hosts)} hosts, whose times are not to be taken for those of one",
            f"guestbench report {quoted}  # each host is then a run in {shlex.quote(str(folder / HOSTS))}",
        )
    return header, records


def write_store(folder: Path, header: Header, records: Sequence[Record]) -> None:
    """Write the store of a run that was taken out of another, in the place of an older one.

    Raises:
        StoreError: the folder cannot be written.
    """
    path = folder / STORE_NAME
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in (header, *records)))
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}", f"df -h {folder}") from error


def split_hosts(header: Header, records: Sequence[Record]) -> tuple[tuple[Header, tuple[Record, ...]], ...]:
    """A run of several hosts as a run of each that has made trials; each has those trials that it made."""
    runs = []
    for number, host in enumerate(header.hosts, 1):
        mine = tuple(record for record in records if record.host == host.digest)
        ids = {record.trial.id for record in mine}
        trials = tuple(trial for trial in header.trials if trial.id in ids)
        name = f"{header.run}-host-{number}"
        own = msgspec.structs.replace(header, run=name, host=host, hosts=(), trials=trials)
        if mine:
            runs.append((own, mine))
    return tuple(runs)


def read_all(folder: Path) -> tuple[Header, tuple[Record, ...]]:
    """As `read_store`, of any number of hosts: records say of which they are.

    Raises:
        StoreError: there is no store, or it is damaged, or of another version.
    """
    path = folder / STORE_NAME
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError as error:
        raise _unreadable(path, error) from error
    if not lines:
        raise StoreError(f"{path} is empty: the run ended before its first trial", "guestbench run")
    header = complete_metrics(_decode(_upgrade(lines[0]), msgspec.json.Decoder(Header), path, 1))
    decoder = msgspec.json.Decoder(Record)
    with without_collection():
        records = tuple(_decode(line, decoder, path, n) for n, line in enumerate(lines[1:], 2))
    _check_whole(path, header, records)
    return header, records


def _check_whole(path: Path, header: Header, records: tuple[Record, ...]) -> None:
    """Refuse sound lines that are not one run: a trial would count twice, or for nothing.

    Raises:
        StoreError: they are not.
    """
    names = [guest.system.name for guest in header.guests]
    if "" in names or len(names) > len(set(names)):
        raise _misfit(path, 1, "two of its systems have one name, or one has none")
    seen: dict[str, int] = {}
    for number, record in enumerate(records, 2):
        if record.trial.system not in names:
            raise _misfit(path, number, f"its system {record.trial.system!r} is none of the run's")
        if (before := seen.setdefault(record.trial.id, number)) != number:
            raise _misfit(path, number, f"its trial {record.trial.id!r} is that of line {before}")


def _misfit(path: Path, number: int, problem: str) -> StoreError:
    return StoreError(
        f"{path}:{number} is damaged: {visible(problem)}",
        f"sed -n {number}p {shlex.quote(str(path))}  # look at the line",
    )


def _upgrade(line: bytes) -> bytes:
    """A header as of today; one whose form is not known comes back as it is."""
    try:
        version = _ANY_LINE.decode(line).version
        data = msgspec.json.decode(line)
        experiment = data["experiment"]
        for platform in (data["platform"], experiment["platform"]):
            # Guests were let out, and QEMU had no filter, before there was a choice.
            platform.setdefault("sandbox", False)
            platform.setdefault("internet", True)
        if version > 4:
            return msgspec.json.encode(data)
        tables = {name: experiment.pop(name) for name in OLD_TABLES if name in experiment}
        if "work" in tables and "memory" in tables:
            tables["work"]["settle_s"] = tables["memory"]["settle_s"]
        experiment["settings"] = tables
    except _NO_HEADER:
        return line
    return msgspec.json.encode(data)


@contextmanager
def without_collection() -> Iterator[None]:
    """Keep the garbage collector out of a place that makes many objects and no garbage.

    Of reading 10,000 records it took three quarters of the time, looking through those read so far.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _decode(line: bytes, decoder: msgspec.json.Decoder[Line], path: Path, number: int) -> Line:
    try:
        version = _ANY_LINE.decode(line).version
        if version not in READABLE:
            raise StoreError(
                f"{path} was written in format {version}; this guestbench reads format {FORMAT_VERSION}",
                "guestbench run -o DIR  # measure again, into a new folder",
            )
        return decode(line, decoder)
    except NOT_JSON as error:
        raise _misfit(path, number, str(error)) from error


def _unreadable(path: Path, error: OSError) -> StoreError:
    missing = isinstance(error, FileNotFoundError | NotADirectoryError)
    return StoreError(
        f"cannot read {path}: {error.strerror}", "guestbench run" if missing else hint_of(error, path)
    )


@contextmanager
def showing(*folders: Path) -> Iterator[None]:
    """Turn what is raised of runs whose values are sound each, but that nobody has measured, into an error.

    Raises:
        StoreError: what a store in one of `folders` holds does not fit together.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        stores = [folder / STORE_NAME for folder in dict.fromkeys(folders)]
        raise StoreError(
            f"{' or '.join(map(visible, stores))} cannot be shown, as what it holds does not fit together: "
            f"{visible(f'{type(error).__name__}: {error}')}",
            shlex.join(["less", *map(str, stores)]),
        ) from error
