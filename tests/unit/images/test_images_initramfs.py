"""Initial ramdisks, however they are packed, and the formats they are packed in."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import stat
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_files import inspect_file, system

from guestbench.errors import ImageError
from guestbench.host import process
from guestbench.images.check import check_bootable
from guestbench.images.contents import files as contents
from guestbench.images.formats import initramfs
from guestbench.images.formats.initramfs import open_initramfs
from guestbench.images.formats.lz4 import LZ4_LEGACY, unpack_lz4
from guestbench.images.source import hold, open_source
from guestbench.images.tree import MAX_PATH_BYTES
from guestbench.model import GuestFamily, Kernel, Role

MIB = 1 << 20


@st.composite
def lz4_blocks(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A block of LZ4 and what it unpacks to, by the plain meaning of its sequences."""
    packed, plain = b"", bytearray()
    for literals in draw(st.lists(st.binary(min_size=1, max_size=300), max_size=6)):
        plain += literals
        distance, extra = draw(st.integers(1, len(plain))), draw(st.integers(0, 600))
        first, rest = min(len(literals), 15), len(literals) - 15
        packed += bytes([first << 4 | min(extra, 15)])
        packed += (b"\xff" * (rest // 255) + bytes([rest % 255])) if rest >= 0 else b""
        packed += literals + struct.pack("<H", distance)
        packed += (b"\xff" * ((extra - 15) // 255) + bytes([(extra - 15) % 255])) if extra >= 15 else b""
        for _ in range(extra + 4):
            plain.append(plain[-distance])
    end = draw(st.binary(min_size=1, max_size=14))
    return packed + bytes([len(end) << 4]) + end, bytes(plain) + end


@given(lz4_blocks(), st.binary(max_size=8))
def test_lz4_is_unpacked(block: tuple[bytes, bytes], behind: bytes) -> None:
    """A kernel or initial ramdisk that is packed with LZ4 would be read wrongly."""
    packed, plain = block
    data = b"\x02\x21\x4c\x18" + struct.pack("<I", len(packed)) + packed + behind
    parts: list[bytes] = []
    with hold(data, Path("x")) as source:
        assert unpack_lz4(source, 0, len(data), parts.append) >= len(data) - len(behind)
    assert b"".join(parts) == plain


@given(st.binary(max_size=200))
def test_damaged_lz4_raises_only_image_errors(data: bytes) -> None:
    """A damaged kernel would end the inspection with a traceback."""
    stream = b"\x02\x21\x4c\x18" + struct.pack("<I", len(data)) + data
    parts: list[bytes] = []
    with suppress(ImageError), hold(stream, Path("x")) as source:
        unpack_lz4(source, 0, len(stream), parts.append)
    assert len(b"".join(parts)) <= 8 * MIB


# --- initial ramdisks ---------------------------------------------------------------------------------


def cpio_entry(
    name: bytes, mode: int, data: bytes = b"", *, inode: int = 1, links: int = 1, size: int | None = None
) -> bytes:
    """One entry of a newc archive."""
    size = len(data) if size is None else size
    numbers = (inode, mode, 7, 8, links, 0, size, 0, 0, 0, 0, len(name) + 1, 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers) + name + b"\0"
    header += bytes(-len(header) % 4)
    return header + data + bytes(-len(data) % 4)


TRAILER = cpio_entry(b"TRAILER!!!", 0)
REGULAR, LINK = stat.S_IFREG, stat.S_IFLNK
FIRST = cpio_entry(b"early/microcode", REGULAR | 0o644, b"code") + TRAILER
SECOND = (
    cpio_entry(b".", stat.S_IFDIR | 0o755)
    + cpio_entry(b"bin/busybox", REGULAR | 0o4755, inode=9, links=2)
    + cpio_entry(b"./bin/sh", REGULAR | 0o4755, b"\x7fELF busybox", inode=9, links=2)
    + cpio_entry(b"init", LINK | 0o777, b"/bin/busybox")
    + cpio_entry(b"twice", REGULAR | 0o644, b"one")
    + cpio_entry(b"twice", REGULAR | 0o644, b"two")
    + TRAILER
)


def zstd(data: bytes) -> bytes:
    """Data as zstd packs it."""
    return process.run(["zstd", "-q", "-c"], input=data).stdout


def lz4(data: bytes) -> bytes:
    """Data in LZ4's legacy format, in full blocks and a last one, each of literals only."""
    packed = LZ4_LEGACY
    for at in range(0, len(data), 8 * MIB):
        block = data[at : at + 8 * MIB]
        rest = len(block) - 15
        lengths = b"\xff" * (rest // 255) + bytes([rest % 255]) if rest >= 0 else b""
        literals = bytes([min(len(block), 15) << 4]) + lengths + block
        packed += struct.pack("<I", len(literals)) + literals
    return packed


def lzma_alone(data: bytes) -> bytes:
    """Data as `xz --format=lzma` packs it."""
    return lzma.compress(data, lzma.FORMAT_ALONE)


Packer = Callable[[bytes], bytes]
PACKERS: dict[str, Packer] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "lzma": lzma_alone,
    "bzip2": bz2.compress,
    "zstd": zstd,
    "lz4": lz4,
}


def suid_archive(name: str, filler: int = 0) -> bytes:
    """An archive with one SUID program, and a file of so many random bytes."""
    data = random.Random(name).randbytes(filler)
    program = cpio_entry(name.encode(), REGULAR | 0o4755, b"\x7fELF")
    folder = cpio_entry(b"data", stat.S_IFDIR | 0o755)
    return program + folder + cpio_entry(b"data/" + name.encode(), REGULAR | 0o644, data) + TRAILER


def names_of_suid(image: Path) -> list[str]:
    """The SUID programs that an inspection finds in an initial ramdisk."""
    found = inspect_file(image, image.parent).files
    assert found is not None
    assert found.value is not None
    assert found.value.suid.value is not None
    return [each.path for each in found.value.suid.value]


@pytest.mark.parametrize("first", PACKERS)
@pytest.mark.parametrize("last", PACKERS)
def test_archives_behind_a_compressed_one_are_read(tmp_path: Path, first: str, last: str) -> None:
    """SUID programs in archives behind a compressed one would not be counted, without a word."""
    image = tmp_path / "initrd"
    parts = [suid_archive("a")]
    padding = (0, 4, 516, MIB + 4)[len(first + last) % 4]
    # As mkosi packs them: one that is not, one that is, one that is not; and any other pair.
    for kind, name in ((first, "b"), (last, "c")):
        start = b"".join(parts)
        packed = PACKERS[kind](suid_archive(name, filler=1001))
        parts += [bytes(padding), bytes(-(len(start) + padding) % 4), packed]
    image.write_bytes(b"".join(parts))
    assert names_of_suid(image) == ["/a", "/b", "/c"]


@pytest.mark.parametrize("kind", ["plain", "gzip", "zstd", "lz4"])
def test_archive_of_many_blocks_and_what_follows_is_read_whole(tmp_path: Path, kind: str) -> None:
    """Of a large initial ramdisk only the first blocks would be read, or nothing behind them."""
    image = tmp_path / "initrd"
    large = PACKERS[kind](suid_archive("a", filler=9 * MIB))
    image.write_bytes(large + bytes(-len(large) % 4 + 4) + suid_archive("b"))
    assert names_of_suid(image) == ["/a", "/b"]


def test_archives_in_one_stream_or_in_two_frames_of_it_are_read(tmp_path: Path) -> None:
    """Archives that share a compressed stream, or go on in the next frame of it, would be lost."""
    image = tmp_path / "initrd"
    one, two = suid_archive("a"), suid_archive("b", 333)
    for kind, pack in PACKERS.items():
        image.write_bytes(pack(one + bytes(512) + two))
        assert names_of_suid(image) == ["/a", "/b"], kind
        assert inspect_file(image, tmp_path).notes == ()
        if kind != "plain":
            image.write_bytes(pack(one[:200]) + pack(one[200:] + two))
            assert names_of_suid(image) == ["/a", "/b"], kind
            # To Linux, lz4's magic number in a stream of it is nothing.
            notes = inspect_file(image, tmp_path).notes
            assert (notes == ()) is (kind == "lz4")
            assert all("goes on in the next compressed stream: Linux fails" in note for note in notes)
            image.write_bytes(pack(one) + bytes(8) + pack(two))
            assert inspect_file(image, tmp_path).notes == ()


@pytest.mark.parametrize("kind", sorted(set(PACKERS) - {"plain"}))
def test_compressed_archive_that_is_cut_is_refused(tmp_path: Path, kind: str) -> None:
    """What is left of a broken download would be shown as a whole system."""
    image = tmp_path / "initrd"
    whole = PACKERS[kind](suid_archive("a", filler=100_000))
    for kept in (len(whole) // 3, len(whole) - 1000, len(whole) - 30):
        image.write_bytes(suid_archive("b") + whole[:kept])
        with pytest.raises(ImageError, match=r"is (truncated|damaged)"):
            inspect_file(image, tmp_path)


def test_damaged_zstd_frame_is_refused(tmp_path: Path) -> None:
    """A frame whose checksum does not hold would be shown as if it did."""
    image = tmp_path / "initrd"
    frame = bytearray(process.run(["zstd", "-qc", "--check"], input=suid_archive("a", 5000)).stdout)
    frame[-1] ^= 1
    image.write_bytes(bytes(frame))
    with pytest.raises(ImageError, match="is damaged: its zstd data"):
        inspect_file(image, tmp_path)


@pytest.mark.parametrize("behind", [b"junk of some kind", b"\x5e\x2a\x4d\x18" + bytes(8), b"0708" * 8])
def test_what_is_no_archive_behind_the_last_one_is_told(tmp_path: Path, behind: bytes) -> None:
    """A part of the file that is not looked at would be left out without a word."""
    image = tmp_path / "initrd"
    archive = suid_archive("a")
    image.write_bytes(archive + behind)
    (note,) = inspect_file(image, tmp_path).notes
    assert note.startswith(f"what follows byte {len(archive)} of the file is no archive")
    image.write_bytes(gzip.compress(archive + behind))
    (note,) = inspect_file(image, tmp_path).notes
    assert note.startswith(f"what follows byte {len(archive)} of the unpacked archives is no archive")


def test_boot_configuration_behind_the_archives_is_no_lost_part(tmp_path: Path) -> None:
    """A reader would look for files in what is a list of boot options."""
    image = tmp_path / "initrd"
    image.write_bytes(suid_archive("a") + b"key = 1\n" + struct.pack("<II", 8, 0) + b"#BOOTCONFIG\n")
    assert inspect_file(image, tmp_path).notes == ()


def test_more_archives_than_are_read_are_refused(tmp_path: Path) -> None:
    """The last of many archives would be left out without a word."""
    image = tmp_path / "initrd"
    for pack in (bytes, gzip.compress):
        image.write_bytes(pack(suid_archive("a") * 64))
        assert names_of_suid(image) == ["/a"]
        image.write_bytes(pack(suid_archive("a") * 65))
        with pytest.raises(ImageError, match="has more than 64 archives"):
            inspect_file(image, tmp_path)


def test_what_linux_cannot_unpack_behind_lz4_is_told(tmp_path: Path) -> None:
    """A guest would lack files that are shown: Linux goes on unpacking lz4 unless zeros say that it ends."""
    image = tmp_path / "initrd"
    first = lz4(suid_archive("a"))
    both = (first + lz4(suid_archive("b", filler=64 * size)) for size in range(40))
    packed = next(each for each in both if len(each) % 4 == 0)
    for zeros, told in ((4, False), (8, False), (0, True)):
        image.write_bytes(packed + bytes(zeros) + suid_archive("c"))
        notes = inspect_file(image, tmp_path).notes
        assert any("Linux fails at byte" in note for note in notes) is told
        assert names_of_suid(image) == ["/a", "/b", "/c"]
    image.write_bytes(packed)
    assert inspect_file(image, tmp_path).notes == ()


def test_checksums_of_an_archive_that_has_them_are_checked(tmp_path: Path) -> None:
    """A damaged file, which Linux refuses, would be shown as if it were whole."""
    image = tmp_path / "initrd"
    data = random.Random(1).randbytes(2 * MIB + 3)
    for wrong in (0, 1):
        entry = bytearray(cpio_entry(b"a", REGULAR | 0o4755, data))
        entry[5:6] = b"2"
        entry[102:110] = b"%08X" % (sum(data) + wrong & 0xFFFF_FFFF)
        image.write_bytes(bytes(entry) + TRAILER)
        if wrong:
            with pytest.raises(ImageError, match="is damaged: the checksum of a file"):
                inspect_file(image, tmp_path)
        else:
            assert names_of_suid(image) == ["/a"]


def old_portable(names: Sequence[bytes]) -> bytes:
    """A cpio archive in the format of POSIX.1-1988 (odc)."""
    data = b""
    for name in (*names, b"TRAILER!!!"):
        data += (
            b"070707"
            + b"%06o" * 7 % (1, 1, 0o100755, 0, 0, 1, 0)
            + b"%011o%06o%011o" % (*(0, len(name) + 1, 0),)
        )
        data += name + b"\0"
    return data


def old_binary(order: str) -> bytes:
    """A cpio archive in the first format, with one empty file."""
    data = b""
    for name in (b"init\0\0", b"TRAILER!!!\0\0"):
        data += (
            struct.pack(f"{order}8HI2HI", 0o070707, 1, 1, 0o100755, 0, 0, 1, 0, 0, len(name), 0, 0)[:26]
            + name
        )
    return data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (old_portable([b"init"]), r"the old portable format \(odc\), which Linux refuses.*cpio -H newc"),
        (old_binary("<"), "the old binary format, which Linux refuses"),
        (old_binary(">"), "the old binary format, which Linux refuses"),
    ],
)
def test_formats_of_cpio_that_linux_refuses_are_refused_by_name(
    tmp_path: Path, data: bytes, words: str
) -> None:
    """A user would be told that the file is no disk, and a guest would boot without its files."""
    image = tmp_path / "initrd"
    image.write_bytes(data + bytes(-len(data) % 512))
    with pytest.raises(ImageError, match=words):
        inspect_file(image, tmp_path)
    with pytest.raises(ImageError, match=words):
        check_bootable(system(Kernel(), GuestFamily.LINUX), Role.INITRD, image)
    for around in (gzip.compress(data), suid_archive("a") + data, gzip.compress(suid_archive("a") + data)):
        image.write_bytes(around)
        with pytest.raises(ImageError, match=words):
            inspect_file(image, tmp_path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress, bz2.compress, zstd])
def test_initial_ramdisks_are_read_however_packed(tmp_path: Path, pack: object) -> None:
    """An initial ramdisk would be read only in part, or not at all."""
    assert callable(pack)
    image = tmp_path / "initrd"
    image.write_bytes(FIRST + bytes(508) + pack(SECOND) + bytes(512))
    with open_source(image) as source, open_initramfs(source, tmp_path) as (tree, packing, _):
        assert packing.startswith("cpio, then ")
        names = {b"", b"early", b"early/microcode", b"bin", b"bin/busybox", b"bin/sh", b"init", b"twice"}
        assert {entry.path for entry in tree} == names
        init = tree.find_file("init")
        assert init is not None
        assert (init.path, init.mode & 0o7777, init.uid, init.gid) == (b"bin/busybox", 0o4755, 7, 8)
        assert tree.read(init, 100) == b"\x7fELF busybox"
        twice = tree.find_file("/twice")
        assert twice is not None
        assert tree.read(twice, 100) == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["initrd"]


def test_hard_links_in_an_initial_ramdisk_share_their_contents(tmp_path: Path) -> None:
    """A program would count as empty under all its names but the last."""
    image = tmp_path / "initrd"
    image.write_bytes(SECOND)
    with open_source(image) as source, open_initramfs(source, tmp_path) as (tree, *_):
        executables = contents.count_executables(tree).value
        assert executables is not None
        assert (executables.elf, executables.bytes) == (2, 12)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (gzip.compress(SECOND, mtime=0)[:-20], "is truncated"),
        (gzip.compress(b"no archive", mtime=0), "holds no cpio archive"),
        (gzip.compress(SECOND[:110], mtime=0), r"initrd (is damaged|is truncated)"),
        (b"\x1f\x8b\x08" + bytes(100), "damaged"),
        (SECOND[:200], "truncated"),
        (SECOND[: -len(TRAILER)], "truncated"),
        (cpio_entry(b"a", REGULAR, size=0xFFFFFFFF) + TRAILER, "is truncated"),
        (cpio_entry(b"n" * 5000, REGULAR) + TRAILER, "a name of 5001 bytes"),
        (b"070701" + b"zz" * 52, "a bad cpio header"),
        (b"\x89LZO" + bytes(64), "compressed with lzo: not supported"),
        (b"\x02\x21\x4c\x18" + bytes(64), "lz4 data has no end"),
        (b"\x28\xb5\x2f\xfd" + b"x" * 64, "truncated: its zstd data has no end"),
        (bytes(4096), "is not an initial ramdisk"),
    ],
)
def test_damaged_initial_ramdisks_are_refused(tmp_path: Path, data: bytes, words: str) -> None:
    """A damaged initial ramdisk would end in a traceback, or count as an empty system."""
    image = tmp_path / "initrd"
    image.write_bytes(data)
    with (
        pytest.raises(ImageError, match=words),
        open_source(image) as source,
        open_initramfs(source, tmp_path),
    ):
        pass


def test_small_file_that_unpacks_to_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small hostile file would fill the host's disk."""
    monkeypatch.setattr(initramfs, "MAX_UNPACKED_BYTES", 4 * MIB)
    image = tmp_path / "initrd"
    for pack in (gzip.compress, lzma.compress, bz2.compress, zstd):
        image.write_bytes(pack(bytes(20 * MIB)))
        with (
            pytest.raises(ImageError, match="would unpack to more than 4 MiB"),
            open_source(image) as source,
            open_initramfs(source, tmp_path),
        ):
            pass


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, len(SECOND)), st.binary(min_size=1, max_size=16)), max_size=6))
def test_any_bytes_in_an_archive_raise_only_image_errors(
    tmp_path: Path, changes: list[tuple[int, bytes]]
) -> None:
    """A damaged archive would end the inspection with a traceback."""
    image = tmp_path / "initrd"
    data = bytearray(SECOND)
    for offset, change in changes:
        data[offset : offset + len(change)] = change
    image.write_bytes(data)
    try:
        with open_source(image) as source, open_initramfs(source, tmp_path) as (tree, *_):
            contents.count_executables(tree)
            assert all(len(entry.path) <= MAX_PATH_BYTES for entry in tree)
    except ImageError as error:
        assert error.message.startswith(str(image))
