"""Asks the inspector guest what is in a disk: a Linux in QEMU that mounts it read-only; it trusts no answer.

The disk is hostile, so that whatever runs in the guest may be, too. Frames from it have a limit and a
checksum, every request has a time limit, and its QEMU has neither a network nor a right to start anything.
Requests and frames are described in provision/inspector/inspector.c.
"""

from __future__ import annotations

import errno
import json
import os
import re
import selectors
import struct
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from guestbench.errors import GuestbenchError, HostError, ImageError
from guestbench.host import process
from guestbench.host.facts import SANDBOX
from guestbench.host.limits import Held, Limits, Stays, choose_user
from guestbench.images.formats.disk import DiskInfo
from guestbench.images.source import quoted, unusable
from guestbench.images.tree import MAX_ENTRIES, Entry, show_path
from guestbench.model import Inspector
from guestbench.text import visible

START_S = 120.0
"""A boot takes 3 seconds under emulation on a quiet host."""
SILENT_S, LONGEST_S = 120.0, 600.0
"""A request ends after so long without a byte, and a guest after so long in all: a hostile disk may loop."""
MAX_NAME_BYTES = 256 << 20
"""All paths and link targets of a tree together."""
MAX_CONSOLE_BYTES = 16 << 20
MEMORY = "512M"
LIMITS = Limits(cpu_s=6 * 3600, memory_bytes=(512 << 20) + (4 << 30), file_bytes=MAX_CONSOLE_BYTES)
"""Of the QEMU: ten times what a disk may take of its time, and the most that it may say."""
SECTORS = {512: "vda", 4096: "vdb"}
"""The sizes of sectors with which a guest sees its disk, and what the kernel then calls it."""
CMDLINE = "console=ttyS0 quiet loglevel=1 panic=-1 oops=panic no_timer_check cryptomgr.notests"
"""On a busy host no tick of the timer may come in the short while that Linux waits for one: it would panic.
Its tests of ciphers, of which nothing here has need, take an eighth of the boot."""

_DEVICE = re.compile(rb"([\w!.:-]{1,31}) ([0-9]{1,9}) ([0-9]{1,19}) ([0-9]{1,19})")
_FRAME, _REQUEST, _ENTRY = struct.Struct("<II"), struct.Struct("<cBHQQ"), struct.Struct("<HHBBIIIQQQ")
_MAX_FRAME_BYTES = 1 << 17
_NONE = 0xFF
_READ_BYTES = 1 << 16
_LARGEST_ERRNO = 4095
"""As in Linux, include/linux/err.h."""
_ERRORS_LEVEL = "3"
"""Kernel messages of this level and below are errors (syslog(2)): a file system that is not sound."""


class Device(NamedTuple):
    """A disk or a part of one, by the name that the guest's kernel gives it; number 0 is a whole disk."""

    name: str
    number: int
    start_bytes: int
    size_bytes: int


class MountError(Exception):
    """The kernel cannot mount a file system; `status` is its errno, and the text says what it said."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class InspectorGuest:
    """A running guest with one disk, `image`; what it says is only told where it makes sense.

    All methods raise ImageError where the guest fails, since it is the disk that makes it fail, and HostError
    where it takes too long, which may be the host's fault.
    """

    def __init__(self, image: Path, child: process.Child, console: Path) -> None:
        self._image, self._child, self._console = image, child, console
        self._ends = time.monotonic() + LONGEST_S
        assert child.stdin is not None and child.stdout is not None
        self._in, self._out = child.stdin.fileno(), child.stdout.fileno()
        self._buffer = bytearray()
        self._mounts = 0
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._out, selectors.EVENT_READ)

    def wait(self) -> None:
        """Wait until the guest is up."""
        frames = self._frames(START_S)
        self._take_status(frames)
        self._drain(frames)

    def list_devices(self, disk: str) -> list[Device]:
        """The disk and what the kernel takes for its partitions; nothing if there is no such disk."""
        *lines, rest = self._ask(b"d").split(b"\n")
        rows = [_DEVICE.fullmatch(line) for line in lines]
        if rest or None in rows:
            raise self._nonsense("its devices")
        fields = (row.groups() for row in rows if row)
        found = [Device(name.decode(), *map(int, numbers)) for name, *numbers in fields]
        found = [device for device in found if device.name.startswith(disk)]
        return sorted(found, key=lambda device: device.number)

    def read_device(self, name: str, offset: int, length: int) -> bytes:
        """Bytes of a device, fewer at its end; none where they cannot be read."""
        status, data = self._try(b"b", name.encode(), offset=offset, length=length)
        return b"" if status else data

    def map_device(self, name: str, table: str) -> str:
        """A device that device-mapper puts together by a table in lines as dmsetup(8) has them; its name.

        Raises:
            MountError: it cannot be.
        """
        status, data = self._try(b"l", f"{name}\n{table}\n".encode())
        if status:
            raise MountError(status, os.strerror(status))
        return f"dm-{int.from_bytes(data, 'little')}"

    def mount(self, device: str, kind: str, options: str = "", unnamed: int | None = None) -> Mount:
        """Mount a file system read-only; so many of its inodes may be `unnamed` where it is sound.

        Raises:
            MountError: the kernel refuses.
        """
        number = self._mounts
        if number == _NONE:
            raise unusable(self._image, f"has more than {_NONE} file systems to mount")
        self.read_messages()
        text = f"{device}\n{kind}\n{options}\n".encode()
        status, _ = self._try(b"m", text, mount=number)
        if status:
            errors = [words for _, words in self.read_messages()]
            raise MountError(status, (errors or [os.strerror(status)])[-1])
        self._mounts += 1
        return Mount(self, number, unnamed)

    def read_messages(self) -> list[tuple[str, str]]:
        """What the kernel has said since it was last asked, warnings and worse: the level and the text."""
        lines = self._ask(b"k").decode("utf-8", "replace").splitlines()
        return [(line[:1], visible(line[1:])) for line in lines]

    def ask_mount(
        self, what: bytes, number: int, text: bytes = b"", offset: int = 0, length: int = 0
    ) -> tuple[int, bytes]:
        """What the guest answers about one of its mounts: an errno, and what else it says."""
        return self._try(what, text, mount=number, offset=offset, length=length)

    def list_entries(self, number: int, depth: int) -> Iterator[Entry]:
        """The entries of a mount, the root first, `depth` folders deep (0: all). `where` is the first bytes.

        Raises:
            ImageError: the file system is damaged, or holds more than is looked at.
        """
        self._send(b"w", b"", number, depth, 0)
        frames = self._frames(SILENT_S)
        _, rest = self._take_status(frames)
        entries = name_bytes = 0
        for frame in chain((b"",), frames):
            rest += frame
            at = 0
            while len(rest) - at >= _ENTRY.size:
                path, link, capability, head, mode, uid, gid, device, inode, size = _ENTRY.unpack_from(
                    rest, at
                )
                lengths = (path, link, 0 if capability == _NONE else capability, 0 if head == _NONE else head)
                if len(rest) - at - _ENTRY.size < sum(lengths):
                    break
                at += _ENTRY.size
                parts = []
                for length in lengths:
                    parts.append(rest[at : at + length])
                    at += length
                name = parts[0].lstrip(b"/")
                if not mode:
                    self._end_walk(frames, inode, name)
                    return
                entries += 1
                name_bytes += path + link
                if entries > MAX_ENTRIES or name_bytes > MAX_NAME_BYTES:
                    raise self.damaged(f"it would hold more than {entries - 1} files")
                yield Entry(
                    path=name,
                    inode=device << 64 | inode,
                    mode=mode,
                    uid=uid,
                    gid=gid,
                    size_bytes=size,
                    link=parts[1],
                    capability=None if capability == _NONE else parts[2],
                    where=None if head == _NONE else parts[3],
                )
            rest = rest[at:]
        raise self._nonsense("a list of files that ends too early")

    def _end_walk(self, frames: Iterator[bytes], status: int, name: bytes) -> None:
        self._drain(frames)
        if status:
            raise self.damaged(f"{show_path(name)}: {os.strerror(self._check_status(status))}")

    def damaged(self, words: str) -> ImageError:
        """An error about a file system that is not sound."""
        return unusable(self._image, f"has a damaged file system: {words}")

    def _drain(self, frames: Iterator[bytes]) -> None:
        for _ in frames:
            raise self._nonsense("more than an answer has")

    # --- requests and frames --------------------------------------------------------------------------

    def _ask(self, what: bytes) -> bytes:
        status, data = self._try(what, b"")
        if status:
            raise self._nonsense(f"that it cannot: {os.strerror(status)}")
        return data

    def _try(
        self, what: bytes, text: bytes, *, mount: int = 0, offset: int = 0, length: int = 0
    ) -> tuple[int, bytes]:
        self._send(what, text, mount, offset, length)
        frames = self._frames(SILENT_S)
        status, first = self._take_status(frames)
        parts = [first]
        expected = max(length, MAX_NAME_BYTES)
        for frame in frames:
            parts.append(frame)
            expected -= len(frame)
            if expected < 0:
                raise self._nonsense("more than was asked for")
        return status, b"".join(parts)

    def _send(self, what: bytes, text: bytes, mount: int, offset: int, length: int) -> None:
        data = _REQUEST.pack(what, mount, len(text), offset, length) + text
        try:
            while data:
                data = data[os.write(self._in, data) :]
        except OSError as error:
            raise self._gone() from error

    def _take_status(self, frames: Iterator[bytes]) -> tuple[int, bytes]:
        first = next(frames, b"")
        if len(first) < 4:
            raise self._nonsense("an answer without a status")
        return self._check_status(int.from_bytes(first[:4], "little")), first[4:]

    def _check_status(self, status: int) -> int:
        if status > _LARGEST_ERRNO:
            raise self._nonsense("a status that there is not")
        return status

    def _frames(self, silent_s: float) -> Iterator[bytes]:
        """The frames of an answer up to the empty one."""
        while True:
            length, checksum = _FRAME.unpack(self._receive(_FRAME.size, silent_s))
            if length > _MAX_FRAME_BYTES:
                raise self._nonsense("a frame that is too long")
            frame = self._receive(length, silent_s)
            if zlib.crc32(frame) != checksum:
                raise self._nonsense("a frame with a wrong checksum")
            if not frame:
                return
            yield frame

    def _receive(self, length: int, silent_s: float) -> bytes:
        while len(self._buffer) < length:
            left = self._ends - time.monotonic()
            if left <= 0:
                raise self._late(f"takes more than {LONGEST_S:.0f} s")
            if not self._selector.select(min(left, silent_s)):
                raise self._late(f"has brought no answer for {min(left, silent_s):.0f} s")
            chunk = os.read(self._out, _READ_BYTES)
            if not chunk:
                raise self._gone()
            self._buffer += chunk
        data = bytes(self._buffer[:length])
        del self._buffer[:length]
        return data

    def _late(self, words: str) -> HostError:
        """Nobody knows whether it is the disk or the host that is slow: nothing is kept as found."""
        image = quoted(self._image)
        return HostError(f"looking into {visible(self._image)} {words}", f"guestbench inspect {image}")

    def _nonsense(self, what: str) -> ImageError:
        return self.damaged(f"the guest that reads it answers {what}")

    def _gone(self) -> GuestbenchError:
        """Why the guest has ended: a kernel that gave up over the disk, or a QEMU that cannot start."""
        self._child.wait(5.0)
        with self._console.open("rb") as file:
            said = file.read(MAX_CONSOLE_BYTES).decode("utf-8", "replace").splitlines()
        panic = next((line for line in said if "panic" in line or "inspector:" in line), "")
        if panic:
            return self.damaged(f"the kernel that reads it gives up: {visible(panic.strip())}")
        complaint = visible(" ".join(said[-2:])) or "it says nothing"
        return HostError(f"the inspector guest does not run: {complaint}", "guestbench doctor")


class Mount:
    """A mounted file system of the guest."""

    def __init__(self, guest: InspectorGuest, number: int, unnamed: int | None) -> None:
        self._guest, self._number, self._unnamed = guest, number, unnamed

    def has(self, path: str) -> bool:
        """Whether a path leads anywhere, links followed with this file system as the root."""
        return self._guest.ask_mount(b"e", self._number, path.encode())[0] == 0

    def list_entries(self, depth: int = 0) -> list[Entry]:
        """Its entries, the root first; with `depth`, so many folders deep.

        Raises:
            ImageError: it is damaged.
        """
        self._guest.read_messages()
        entries = [
            entry._replace(where=(self, entry.path, entry.where))
            for entry in self._guest.list_entries(self._number, depth)
        ]
        # Where a folder cannot be read, some file systems leave out what is in it; the log tells.
        errors = [words for level, words in self._guest.read_messages() if level <= _ERRORS_LEVEL]
        if errors:
            raise self._guest.damaged(errors[0])
        if self._unnamed is not None and not depth:
            lost = self.count_used()[1] - len({entry.inode for entry in entries}) - self._unnamed
            if lost > 0:
                raise self._guest.damaged(f"at least {lost} files are in use that no folder names")
        return entries

    def read(self, path: bytes, length: int) -> bytes:
        """The first bytes of a regular file.

        Raises:
            ImageError: they cannot be read.
        """
        status, data = self._guest.ask_mount(b"f", self._number, path, length=length)
        if not status and len(data) != length:
            status = errno.EIO
        if status:
            raise self._guest.damaged(f"{show_path(path)}: {os.strerror(status)}")
        return data

    def count_used(self) -> tuple[int, int]:
        """Bytes of the blocks that are not free, with metadata and a journal; and the inodes that are not.

        Raises:
            ImageError: the kernel does not say.
        """
        status, data = self._guest.ask_mount(b"s", self._number)
        if status or len(data) != 40:
            raise self._guest.damaged("the kernel does not say how full it is")
        block, blocks, free, inodes, free_inodes = struct.unpack("<5Q", data)
        if free > blocks or free_inodes > inodes:
            raise self._guest.damaged("more of it is free than there is")
        return block * (blocks - free), inodes - free_inodes


def read_entry(entry: Entry, limit_bytes: int) -> bytes:
    """The first bytes of a regular file that a mount has listed.

    Raises:
        ImageError: they cannot be read.
    """
    if entry.where is None:
        return b""  # a folder that nothing but a mount stands for
    mount, path, head = entry.where
    if head is not None and (limit_bytes <= len(head) or entry.size_bytes <= len(head)):
        return bytes(head[:limit_bytes])
    return mount.read(path, limit_bytes) if limit_bytes else b""


@contextmanager
def look_into(image: Path, info: DiskInfo, inspector: Inspector, scratch: Path) -> Iterator[InspectorGuest]:
    """The inspector guest with a disk, which is never written to. `scratch` is a folder to write to.

    The guest sees the disk with sectors of 512 bytes, and once more with such of 4096 where it is so large.

    Raises:
        ImageError: the disk makes the guest fail.
        HostError: QEMU is not installed (ToolMissing), or does not start.
    """
    console = scratch / "inspector.log"
    disk = {
        "driver": info.format.value,
        "node-name": "disk",
        "read-only": True,
        # It may be in use by a VM, and is only looked at.
        "file": {"driver": "file", "filename": str(image.absolute()), "locking": "off", "read-only": True},
    }
    argv = [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"),
        *("-machine", "q35", "-accel", "tcg", "-m", MEMORY, "-sandbox", SANDBOX),
        *("-kernel", inspector.kernel.path, "-initrd", inspector.initrd.path, "-append", CMDLINE),
        *("-device", "virtio-serial-pci", "-chardev", "stdio,id=port,signal=off"),
        *("-device", "virtserialport,chardev=port"),
        *("-chardev", "file,id=console,path=/dev/fd/2,append=on", "-serial", "chardev:console"),
        *("-blockdev", json.dumps(disk)),
    ]
    for sector_bytes in SECTORS:
        if info.virtual_bytes % sector_bytes == 0:
            sizes = f"logical_block_size={sector_bytes},physical_block_size={sector_bytes}"
            argv += ["-device", f"virtio-blk-pci,drive=disk,{sizes}"]
    opened = (image, Path(inspector.kernel.path), Path(inspector.initrd.path), process.find_tool(argv[0]))
    user = choose_user(opened)
    held = Held(limits=LIMITS, user=None if isinstance(user, Stays) else user)
    try:
        with (
            console.open("ab") as log,
            process.start(
                argv, stdin=process.PIPE, stdout=process.PIPE, stderr=log, grace_s=0, held=held
            ) as child,
        ):
            os.fchmod(log.fileno(), 0o622)  # QEMU opens it again, and the folder lets nobody else in
            guest = InspectorGuest(image, child, console)
            guest.wait()
            yield guest
    finally:
        console.unlink(missing_ok=True)
