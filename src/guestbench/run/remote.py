"""What a host of a fleet does when it is asked: says what it is, takes files, makes trials. It knows no Dask.

Questions and answers are data, as JSON. An image is what its digest says: a host that has another file in its
place, or none, is sent the very bytes, and keeps them in the cache that all its workers share. While timed
trials are made, their host has nothing else to do, whoever asks: a lock of the host sees to that.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from guestbench.errors import GuestbenchError, ImageError
from guestbench.host import facts
from guestbench.host.doctor import Check, judge, take_readings
from guestbench.model import Frozen, Header, Host, Image, Platform, Record, Role, Trial
from guestbench.provision.cache import cache_folder, locked, read_image, scratch, storing
from guestbench.provision.first_boot import move_layer
from guestbench.run.jobs import count_slots, make_job
from guestbench.run.pool import Tick, execute_in_workers
from guestbench.run.worker import trial_folder
from guestbench.version import __version__
from guestbench.vmm import find_vmm

HOST_NAME = "GUESTBENCH_FLEET_HOST"
"""Variable by which workers of one machine are taken for those of several, to try out what is then done."""
PIECE_BYTES = 8 << 20
POLL_S = 0.05
DIGEST = re.compile(r"(blocks:)?[0-9a-f]{64}")
Value = TypeVar("Value")


class Describe(Frozen, tag_field="ask", tag="describe"):
    """Which host is this, and how many boots of the platform side by side has it room for?"""

    platform: Platform


class Examine(Frozen, tag_field="ask", tag="examine"):
    """What does the doctor find here?"""


class Want(Frozen, tag_field="ask", tag="want"):
    """Which of the files of this run are not here?"""

    header: Header


class Piece(Frozen, tag_field="ask", tag="piece"):
    """Here is a part of a file, the last one if its end is at the file's size."""

    image: Image
    offset: int
    data: bytes
    token: str


class Make(Frozen, tag_field="ask", tag="make"):
    """Make these trials one after another; alone on the host if they are `timed`.

    The header has no trials; `briefs` has what their families say of them.
    """

    header: Header
    trials: tuple[Trial, ...]
    briefs: dict[str, dict[str, Any]]
    timed: bool


class Described(Frozen, tag_field="answer", tag="described"):
    """A host; `profiled` says whether Dask looks at its worker a hundred times a second."""

    host: Host
    version: str
    slots: int
    profiled: bool


class Examined(Frozen, tag_field="answer", tag="examined"):
    """What the doctor found; `profiled` as above."""

    checks: tuple[Check, ...]
    profiled: bool


class Wanted(Frozen, tag_field="answer", tag="wanted"):
    """The files that are to be sent, one of each digest."""

    images: tuple[Image, ...]


class Trials(Frozen, tag_field="answer", tag="made"):
    """The records of the trials that were asked for, and what they left behind, by trial and file."""

    records: tuple[Record, ...]
    files: dict[str, dict[str, bytes]] = {}


class Failed(Frozen, tag_field="answer", tag="failed"):
    """An error that stops the run."""

    message: str
    hint: str
    exit_code: int


Question = Describe | Examine | Want | Piece | Make
Answer = Described | Examined | Wanted | Trials | Failed


class Cancelled(Exception):
    """Nobody waits for the answer any more."""


def answer(question: Question, *, profiled: bool, tell: Callable[[Record], None], tick: Tick) -> Answer:
    """Do what is asked. `tell` is told of each record at once; `tick` may raise `Cancelled`."""
    try:
        match question:
            case Describe():
                return Described(
                    host=read_host(question.platform.vmm),
                    version=__version__,
                    slots=count_slots(question.platform),
                    profiled=profiled,
                )
            case Examine():
                from guestbench.run.prepare import try_kvm

                return Examined(
                    checks=tuple(judge(take_readings(try_kvm, cache_folder()))), profiled=profiled
                )
            case Want():
                return Wanted(images=find_lacking(question.header))
            case Piece():
                keep_piece(question)
                return Wanted(images=())
            case Make():
                return _make(question, tell, tick)
    except GuestbenchError as error:
        return Failed(message=error.message, hint=error.hint, exit_code=error.exit_code)


@cache
def read_host(vmm: str) -> Host:
    """This host with that VMM, or the one that its variable says it is; looked at once by each process."""
    found = facts.read_host(*find_vmm(vmm).identify())
    if name := os.environ.get(HOST_NAME):
        return msgspec.structs.replace(found, digest=facts.digest_facts([found.digest, name]))
    return found


# --- files ---------------------------------------------------------------------------------------------


def change_images(value: Value, change: Callable[[Image], Image]) -> Value:
    """The value with every image in it, however deep, as `change` has it."""
    if isinstance(value, Image):
        return change(value)  # type: ignore[return-value]
    if isinstance(value, msgspec.Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        changed = {name: change_images(each, change) for name, each in fields.items()}
        if any(changed[name] is not each for name, each in fields.items()):
            return msgspec.structs.replace(value, **changed)
        return value
    if isinstance(value, dict):
        return {key: change_images(each, change) for key, each in value.items()}  # type: ignore[return-value]
    if isinstance(value, tuple):
        return tuple(change_images(each, change) for each in value)  # type: ignore[return-value]
    return value


def find_lacking(header: Header) -> tuple[Image, ...]:
    """The files of a run that are not on this host."""
    lacking: dict[str, Image] = {}

    def look(image: Image) -> Image:
        if find_file(image) is None:
            lacking[image.sha256] = image
        return image

    change_images((header.guests, header.kit), look)
    return tuple(lacking.values())


def find_file(image: Image) -> Image | None:
    """The file of that digest on this host, where it was on the other one or among those that were sent.

    Raises:
        ImageError: what was sent is no longer what it was.
    """
    path = Path(image.path)
    if path.is_file() and path.stat().st_size == image.size_bytes:
        here = read_image(path)
        if here.sha256 == image.sha256:
            return here
    kept = _kept(image)
    if not kept.is_file():
        return None
    here = read_image(kept)
    _check_digest(image, here.sha256, kept)
    return here


def _kept(image: Image) -> Path:
    if not DIGEST.fullmatch(image.sha256):
        raise ImageError(f"{image.sha256!r} is no digest of an image", "guestbench systems list")
    return cache_folder() / "fleet" / image.sha256.replace(":", "-") / "image"


def _check_digest(image: Image, found: str, path: Path) -> None:
    if found != image.sha256:
        raise ImageError(
            f"{path} has the digest {found}, and the run's {image.path} has {image.sha256}", f"rm {path}"
        )


def keep_piece(piece: Piece) -> None:
    """Keep a part of a file; with the last one, the file, if it is what its digest says.

    Raises:
        ImageError: it is not.
    """
    kept = _kept(piece.image)
    part = kept.with_name(f"{re.sub('[^0-9a-f]', '', piece.token)}.part")
    with storing(kept.parent):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with part.open("r+b" if part.exists() else "wb") as file:
            file.seek(piece.offset)
            file.write(piece.data)
        if piece.offset + len(piece.data) < piece.image.size_bytes:
            return
        try:
            _check_digest(piece.image, read_image(part).sha256, part)
        except ImageError:
            part.unlink()
            raise
        part.rename(kept)


def localise(header: Header) -> Header:
    """The header with the files of this host.

    Raises:
        ImageError: one is not here.
    """

    def find(image: Image) -> Image:
        found = find_file(image)
        if found is None:
            raise ImageError(f"{image.path} ({image.sha256}) was not sent to this host", "guestbench run")
        return found

    def settle(before: Any, guest: Any) -> Any:
        """An overlay names the file that it lies on, which is elsewhere here."""
        disk, base = guest.images.get(Role.DISK), guest.pristine.get(Role.DISK)
        moved = base is not None and base.path != before.pristine[Role.DISK].path
        if not guest.origin.settled or disk is None or not moved:
            return guest
        layer = Path(disk.path).with_name(f"on-{base.sha256.replace(':', '-')}.qcow2")
        with locked(f"fleet-{disk.sha256[-16:]}"):
            if not layer.exists():
                part = layer.with_suffix(".part")
                move_layer(Path(disk.path), Path(base.path), part)
                part.rename(layer)
        facts_of = layer.stat()
        here = Image(
            path=str(layer),
            size_bytes=facts_of.st_size,
            mtime_ns=facts_of.st_mtime_ns,
            sha256=disk.sha256,
        )
        return msgspec.structs.replace(guest, images=guest.images | {Role.DISK: here})

    guests = change_images(header.guests, find)
    kit = change_images(header.kit, find)
    if kit is not None and kit.inspector is not None and not Path(kit.inspector.kept).is_dir():
        kept = cache_folder() / "fleet" / "inspected"
        kept.mkdir(parents=True, exist_ok=True)
        kit = msgspec.structs.replace(kit, inspector=msgspec.structs.replace(kit.inspector, kept=str(kept)))
    guests = tuple(settle(*pair) for pair in zip(header.guests, guests, strict=True))
    return msgspec.structs.replace(header, guests=guests, kit=kit)


# --- trials --------------------------------------------------------------------------------------------


def _make(asked: Make, tell: Callable[[Record], None], tick: Tick) -> Trials:
    header = localise(asked.header)
    header = msgspec.structs.replace(header, host=read_host(header.platform.vmm))
    records: list[Record] = []
    files: dict[str, dict[str, bytes]] = {}
    with scratch("fleet") as folder, _host_lock(asked.timed, tick):
        jobs = (
            make_job(trial, header, folder, brief=asked.briefs.get(trial.id, {})) for trial in asked.trials
        )
        for record in execute_in_workers(jobs, 1, tick):
            records.append(record)
            tell(record)
            left = folder / trial_folder(record.trial.id)
            files[record.trial.id] = {
                path.name: path.read_bytes() for path in sorted(left.iterdir()) if path.is_file()
            }
    return Trials(records=tuple(records), files=files)


@contextmanager
def _host_lock(alone: bool, tick: Tick) -> Iterator[None]:
    """Be on this host alone, or among others none of which is. Who comes first is served first."""
    folder = cache_folder() / "fleet"
    name = re.sub(r"\W", "_", os.environ.get(HOST_NAME, "host"))
    with ExitStack() as stack:
        with storing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            door, room = (
                stack.enter_context((folder / f"{name}.{end}").open("w")) for end in ("door", "room")
            )
        _lock(door.fileno(), fcntl.LOCK_EX, tick)
        _lock(room.fileno(), fcntl.LOCK_EX if alone else fcntl.LOCK_SH, tick)
        door.close()
        yield


def _lock(descriptor: int, kind: int, tick: Tick) -> None:
    ticked = time.monotonic()
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(POLL_S)
        if time.monotonic() - ticked > 0.5:
            ticked = time.monotonic()
            tick()
