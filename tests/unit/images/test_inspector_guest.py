"""The host's side of the inspector guest: what a guest that a disk has taken over can answer, and do."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestbench.errors import HostError, ImageError
from guestbench.images.formats.volumes import find_content, find_ends, read_rows
from guestbench.inspect import guest as guest_module
from guestbench.inspect import lvm
from guestbench.inspect.guest import InspectorGuest

OK = struct.pack("<I", 0)
IMAGE = Path("/images/disk.img")


def frame(data: bytes) -> bytes:
    """A frame of an answer."""
    return struct.pack("<II", len(data), zlib.crc32(data)) + data


def answer(*frames: bytes) -> bytes:
    """A whole answer."""
    return b"".join(map(frame, (*frames, b"")))


def entry(path: bytes, mode: int = 0o100644, inode: int = 7) -> bytes:
    """An entry of a walk without a link, a capability or first bytes."""
    return struct.pack("<HHBBIIIQQQ", len(path), 0, 0xFF, 0xFF, mode, 0, 0, 1, inode, 5) + path


END = entry(b"", 0, 0)


class Child:
    """A QEMU that says what the test wants and then ends."""

    def __init__(self, said: bytes) -> None:
        self.stdin: IO[bytes] = os.fdopen(os.open("/dev/null", os.O_WRONLY), "wb")
        reader, writer = os.pipe()
        self.stdout: IO[bytes] = os.fdopen(reader, "rb")
        threading.Thread(target=self._say, args=(writer, said), daemon=True).start()

    def _say(self, writer: int, said: bytes) -> None:
        with os.fdopen(writer, "wb") as file, suppress(BrokenPipeError):
            file.write(said)

    def wait(self, timeout_s: float) -> int:
        """It has ended."""
        del timeout_s
        return 0


@contextmanager
def guest_saying(said: bytes, tmp_path: Path, console: str = "") -> Iterator[InspectorGuest]:
    """A guest that answers so, whatever it is asked."""
    log = tmp_path / "console"
    log.write_text(console)
    child = Child(said)
    try:
        yield InspectorGuest(IMAGE, child, log)  # type: ignore[arg-type]
    finally:
        child.stdin.close()
        child.stdout.close()


def test_files_are_told_as_the_guest_lists_them(tmp_path: Path) -> None:
    """A name or a number would be mixed up with the next one."""
    full = (
        struct.pack("<HHBBIIIQQQ", 5, 3, 4, 2, 0o104755, 1, 2, 3, 4, 99)
        + b"/a\n\xff\x1b"
        + b"to "
        + b"capa"
        + b"#!"
    )
    listed = OK + entry(b"", 0o40755) + full + END
    # Frames are cut anywhere.
    with guest_saying(answer(*(listed[at : at + 7] for at in range(0, len(listed), 7))), tmp_path) as guest:
        root, found = list(guest.list_entries(0, 0))
    assert (root.path, root.is_folder, root.capability) == (b"", True, None)
    assert (found.path, found.link, found.capability, found.where) == (b"a\n\xff\x1b", b"to ", b"capa", b"#!")
    assert (found.mode, found.uid, found.gid, found.size_bytes) == (0o104755, 1, 2, 99)
    assert found.inode == 3 << 64 | 4


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (struct.pack("<II", 4, 1) + OK, "a wrong checksum"),
        (struct.pack("<II", 1 << 30, 0), "a frame that is too long"),
        (answer(b"\0"), "an answer without a status"),
        (answer(), "an answer without a status"),
        (answer(OK + entry(b"/a")), "a list of files that ends too early"),
        (answer(OK + entry(b"/a")[:-1]), "a list of files that ends too early"),
        (answer(OK + END, b"more"), "more than an answer has"),
        (answer(struct.pack("<I", 1 << 31)), "a status that there is not"),
        (answer(OK + entry(b"/a", 0, 1 << 63)), "a status that there is not"),
        (answer(OK + entry(b"", 0, 117)), "/: Structure needs cleaning"),
        (answer(OK + entry(b"/usr/x", 0, 5)), "/usr/x: Input/output error"),
    ],
)
def test_nonsense_is_refused(said: bytes, words: str, tmp_path: Path) -> None:
    """A guest that a disk has taken over would make up figures, or end the tool with a traceback."""
    with (
        guest_saying(said, tmp_path) as guest,
        pytest.raises(ImageError, match=rf"^{IMAGE} has a damaged file system: .*{words}"),
    ):
        list(guest.list_entries(0, 0))


@pytest.mark.parametrize(
    "rows",
    [
        *(b"\n", b"vda 1\n", b"vda 1 2 x\n", b"vda 1 2 3 4\n", b"vda \xff 0 0\n", b"vda 1 -2 3\n"),
        *(b"vda 1 2 " + b"9" * 5000 + b"\n", b"vda 1_0 2 3\n", b"vda +1 2 3\n", b"v/da 1 2 3\n"),
    ],
)
def test_devices_that_there_cannot_be_are_refused(rows: bytes, tmp_path: Path) -> None:
    """A guest that a disk has taken over would end the tool with a traceback."""
    with guest_saying(answer(OK + rows), tmp_path) as guest, pytest.raises(ImageError, match="its devices"):
        guest.list_devices("vda")


@pytest.mark.parametrize("length", [0, 3, 5, 100])
def test_name_of_a_mapped_device_of_any_length_is_taken(length: int, tmp_path: Path) -> None:
    """The same; a device that is not there cannot be read, and that is told."""
    with guest_saying(answer(OK + bytes(length)), tmp_path) as guest:
        assert guest.map_device("lv0", "0 1 linear /dev/vda 0") == "dm-0"


@pytest.mark.parametrize("length", [*range(500, 520), 1023, 1024])
def test_label_of_a_volume_that_is_cut_is_refused(length: int) -> None:
    """A short device would end the tool with a traceback."""
    label = bytes(512) + b"LABELONE" + struct.pack("<QII", 1, 0, 32) + b"LVM2 001" + b"x" * 32
    device = (label + struct.pack("<QQQQQ", 1, 2, 0, 0, 0)).ljust(1024, b"\1")[:length]
    with pytest.raises(ValueError, match="label"):
        lvm.read_physical_volume(lambda at, length: device[at : at + length])


def test_endless_lists_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that never ends its list would take all memory."""
    monkeypatch.setattr(guest_module, "MAX_ENTRIES", 1000)
    with (
        guest_saying(frame(OK) + frame(entry(b"/x" * 50) * 100) * 1000, tmp_path) as guest,
        pytest.raises(ImageError, match="it would hold more than 1000 files"),
    ):
        list(guest.list_entries(0, 0))
    monkeypatch.setattr(guest_module, "MAX_NAME_BYTES", 1 << 20)
    with (
        guest_saying(frame(OK) + frame(bytes(1 << 16)) * 1000, tmp_path) as guest,
        pytest.raises(ImageError, match="more than was asked for"),
    ):
        guest.read_device("vda", 0, 512)


def test_guest_that_falls_silent_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that loops over a damaged disk would hang the tool."""
    monkeypatch.setattr(guest_module, "SILENT_S", 0.2)
    reader, writer = os.pipe()
    with guest_saying(b"", tmp_path) as guest, os.fdopen(writer, "wb"), os.fdopen(reader, "rb") as silent:
        guest._out = silent.fileno()
        guest._selector.register(silent, 1)
        guest._selector.unregister(guest._child.stdout)  # type: ignore[arg-type]
        with pytest.raises(HostError, match="has brought no answer for"):
            guest.list_devices("vda")


def test_kernel_that_gives_up_is_told_in_its_own_words(tmp_path: Path) -> None:
    """A disk that makes a kernel panic would be told as a fault of this host."""
    console = "Kernel panic - not syncing: \x1b[31mext4 is beyond repair\n"
    with (
        guest_saying(b"", tmp_path, console) as guest,
        pytest.raises(ImageError, match=r"gives up: Kernel panic - not syncing: \\x1b\[31mext4 is beyond"),
    ):
        guest.wait()
    with (
        guest_saying(b"", tmp_path, "qemu-system-x86_64: no such machine\n") as guest,
        pytest.raises(HostError, match="does not run: qemu-system-x86_64: no such machine"),
    ):
        guest.wait()


# --- LVM and tables -----------------------------------------------------------------------------------

TEXT = """
vg { id = "x" seqno = 3 extent_size = 8192 flags = []
  physical_volumes { pv0 { id = "ab-cd" pe_start = 2048 } pv1 { id = "ef" pe_start = 4096 } }
  logical_volumes {
    root { status = ["READ", "VISIBLE"] segment_count = 2
      segment1 { start_extent = 0 extent_count = 10 type = "striped" stripe_count = 1 stripes = ["pv0", 5] }
      segment2 { start_extent = 10 extent_count = 4 type = "striped" stripe_count = 2 stripe_size = 128
                 stripes = ["pv0", 20, "pv1", 0] } }
    hidden { status = ["READ"] segment_count = 1 }
    thin { status = ["VISIBLE"] segment_count = 1
      segment1 { start_extent = 0 extent_count = 1 type = "thin" } }
    far { status = ["VISIBLE"] segment_count = 1
      segment1 { start_extent = 0 extent_count = 1 type = "striped" stripes = ["pv1", 0] } } } }
# written by hand
creation_host = "h \\"quoted\\""
"""


def test_volumes_are_put_together_as_their_metadata_say() -> None:
    """A volume would begin in the middle of another."""
    found = {each.name: each for each in lvm.find_volumes(TEXT, {"abcd": "/dev/vda2", "ef": "/dev/vda3"})}
    assert found["root"].table.splitlines() == [
        f"0 {10 * 8192} linear /dev/vda2 {2048 + 5 * 8192}",
        f"{10 * 8192} {4 * 8192} striped 2 128 /dev/vda2 {2048 + 20 * 8192} /dev/vda3 4096",
    ]
    assert found["thin"].problem == "it is of type thin"
    assert set(found) == {"root", "thin", "far"}
    alone = {each.name: each for each in lvm.find_volumes(TEXT, {"abcd": "/dev/vda2"})}
    assert alone["far"].problem == alone["root"].problem == "a part of it is not on this disk"


@given(at=st.integers(0, len(TEXT)), change=st.text(max_size=6), cut=st.booleans())
def test_metadata_that_are_not_sound_raise_only_value_errors(at: int, change: str, *, cut: bool) -> None:
    """A damaged volume group would end the tool with a traceback."""
    text = TEXT[:at] + change + ("" if cut else TEXT[at + len(change) :])
    try:
        list(lvm.find_volumes(text, {"abcd": "/dev/vda2"}))
    except ValueError as error:
        assert str(error)


@given(start=st.binary(max_size=2048), gpt=st.booleans())
def test_first_sectors_of_anything_are_read(start: bytes, *, gpt: bool) -> None:
    """A file of random bytes would end the tool with a traceback."""
    data = start.ljust(8192, b"\xff") if not gpt else bytes(510) + b"\x55\xaaEFI PART" + start
    for sector_bytes in (512, 4096):
        assert all(end >= 0 for end in find_ends(data, sector_bytes).values())
        read_rows(data, sector_bytes)
    find_content(data)
    with pytest.raises(ValueError, match="label"):
        lvm.read_physical_volume(lambda at, length: start[at : at + length])
