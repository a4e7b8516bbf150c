"""Whole file systems in images: ext by inodes, initial ramdisks by cpio; what hostile ones do."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guestbench.errors import ImageError
from guestbench.host import process
from guestbench.images.contents import files as contents
from guestbench.images.formats import initramfs
from guestbench.images.formats.ext import ExtFilesystem
from guestbench.images.formats.initramfs import open_initramfs
from guestbench.images.formats.lz4 import unpack_lz4
from guestbench.images.source import open_source
from guestbench.images.tree import MAX_PATH_BYTES, Tree, show

MIB = 1 << 20
HOSTILE_NAMES = ("new\nline", "esc\x1b[31mred", "a b", "ünï", "<script>", "-R")
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
"""cap_net_raw=ep, as ping has it."""


def fill(root: Path) -> None:
    """A root file system in small."""
    for folder in ("etc", "usr/bin", "usr/lib/many", "srv", "open", "tmp"):
        (root / folder).mkdir(parents=True)
    (root / "bin").symlink_to("usr/bin")
    (root / "usr/bin/tool").write_bytes(b"\x7fELF" + b"x" * 5000)
    (root / "usr/bin/tool").chmod(0o4755)
    (root / "usr/bin/again").hardlink_to(root / "usr/bin/tool")
    (root / "usr/bin/script").write_text("#!/bin/sh\n")
    (root / "usr/bin/script").chmod(0o2755)
    (root / "usr/bin/data").write_text("no program")
    (root / "usr/bin/data").chmod(0o755)
    (root / "open").chmod(0o777)
    (root / "tmp").chmod(0o1777)
    (root / "srv/loop").symlink_to("loop")
    (root / "srv/far").symlink_to("/srv/" + "../srv/" * 20 + "big")
    (root / "srv/up").symlink_to("../../../../etc/os-release")
    (root / "etc/os-release").write_text('ID=test\nVERSION_ID="7"\nPRETTY_NAME="Test \x1b[31m 7"\n')
    (root / "srv/big").write_bytes(os.urandom(3 * MIB))
    with (root / "srv/sparse").open("wb") as file:
        file.seek(2 * MIB)
        file.write(b"end")
    for number in range(1500):
        (root / f"usr/lib/many/a-name-that-is-rather-long-{number}").touch()
    for name in HOSTILE_NAMES:
        (root / "srv" / name).write_text(name)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that becomes a file system."""
    folder = tmp_path_factory.mktemp("root")
    fill(folder)
    return folder


@contextmanager
def opened(image: Path, size: int | None = None) -> Iterator[tuple[Tree, tuple[str, ...]]]:
    """The tree of an image that is one ext file system."""
    with open_source(image) as source:
        yield ExtFilesystem(source, 0, size or source.size_bytes).read_tree()


def make_ext(root: Path, image: Path, *options: str) -> Path:
    """An image with a file system of the folder's contents."""
    process.run(["mke2fs", "-q", "-F", *options, "-d", root, image, "40M"])
    return image


@pytest.fixture(scope="module")
def ext4(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder as ext4."""
    return make_ext(root, tmp_path_factory.mktemp("image") / "ext4", "-t", "ext4", "-b", "1024")


@pytest.mark.parametrize(
    "options",
    [
        ("-t", "ext4"),
        ("-t", "ext4", "-b", "1024", "-I", "128"),
        ("-t", "ext4", "-O", "inline_data", "-I", "256"),
        ("-t", "ext4", "-O", "^64bit,^metadata_csum"),
        ("-t", "ext3", "-b", "1024"),
        ("-t", "ext2", "-b", "4096"),
    ],
)
def test_every_entry_of_an_ext_file_system_is_found(
    root: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Files of an image would be missing from its inventory, or have other modes, owners or contents."""
    with opened(make_ext(root, tmp_path / "image", *options)) as (tree, notes):
        assert not notes
        found = {entry.path: entry for entry in tree}
        expected = {os.fsencode(path.relative_to(root)): path for path in root.rglob("*")}
        assert set(found) == {b"", b"lost+found", *expected}
        for name, path in expected.items():
            facts = path.lstat()
            entry = found[name]
            assert (entry.mode, entry.uid, entry.gid) == (facts.st_mode, facts.st_uid, facts.st_gid)
            if stat.S_ISREG(facts.st_mode):
                assert tree.read(entry, 10 * MIB) == path.read_bytes()
                assert tree.read(entry, 10) == path.read_bytes()[:10]
            if stat.S_ISLNK(facts.st_mode):
                assert os.fsdecode(entry.link) == str(path.readlink())
        assert found[b"usr/bin/tool"].inode == found[b"usr/bin/again"].inode


def test_paths_are_resolved_inside_the_image(ext4: Path) -> None:
    """A link in an image would lead to a file of the host, or hang the tool."""
    with opened(ext4) as (tree, _):
        for path, leads_to in (
            ("/bin/tool", b"usr/bin/tool"),
            ("srv/up", b"etc/os-release"),
            ("srv/far", b"srv/big"),
            ("../..", b""),
            ("srv/../bin/./script", b"usr/bin/script"),
        ):
            entry = tree.find(path)
            assert entry is not None
            assert entry.path == leads_to
        for path in ("srv/loop", "none", "usr/bin/tool/x", "srv/big/..", "bin/../none"):
            assert tree.find(path) is None
        assert tree.find_file("bin") is None
        assert next(entry.path for entry in tree.below("bin")) == b"usr/bin/again"
        assert not tree.below("none")
        assert not tree.below("srv/big")


def test_inventory_of_files(ext4: Path) -> None:
    """The counts of executables and privileged files would be wrong."""
    with opened(ext4) as (tree, _):
        executables = contents.count_executables(tree).value
        assert executables is not None
        assert (executables.elf, executables.scripts) == (2, 1)
        assert executables.bytes == 5004 + 10
        assert [f.path for f in contents.find_by_mode(tree, 0o4000).value or ()] == [
            "/usr/bin/again",
            "/usr/bin/tool",
        ]
        assert [f.path for f in contents.find_by_mode(tree, 0o2000).value or ()] == ["/usr/bin/script"]
        assert [f.path for f in contents.find_world_writable(tree).value or ()] == ["/open"]
        distribution = contents.find_distribution(tree).value
        assert distribution is not None
        assert (distribution.id, distribution.version) == ("test", "7")
        assert distribution.title == r"Test \x1b[31m 7"


def test_capabilities_are_read(ext4: Path, tmp_path: Path) -> None:
    """A program that may open raw sockets would pass for one without rights."""
    image, value = tmp_path / "image", tmp_path / "value"
    image.write_bytes(ext4.read_bytes())
    value.write_bytes(CAPABILITY)
    process.run(["debugfs", "-w", "-R", f"ea_set -f {value} /usr/bin/script security.capability", image])
    with opened(image) as (tree, _):
        found = contents.find_capabilities(tree).value
        assert found is not None
        assert [(each.path, each.detail) for each in found] == [("/usr/bin/script", "cap_net_raw=ep")]


def test_names_are_shown_in_one_printable_line() -> None:
    """A file name in an image would print lines or escape codes on the user's terminal."""
    assert len(show(b"x" * MIB)) == MAX_PATH_BYTES + 1
    for name in (*(name.encode() for name in HOSTILE_NAMES), b"\xff\xfe\n", "\u202e".encode()):
        assert show(name).isprintable()


# --- hostile file systems -----------------------------------------------------------------------------


def test_truncated_file_system_is_refused(ext4: Path, tmp_path: Path) -> None:
    """A download that broke off would be reported as a system with few files."""
    image = tmp_path / "image"
    image.write_bytes(ext4.read_bytes()[: 30 * MIB])
    with pytest.raises(ImageError, match="damaged file system"), opened(image):
        pass
    with pytest.raises(ImageError, match="superblock"), opened(ext4, 20 * MIB):
        pass


@pytest.mark.parametrize(
    ("offset", "value", "words"),
    [
        (96, struct.pack("<I", 0x1), "the feature compression"),
        (96, struct.pack("<I", 0x10), "the feature meta_bg"),
        (96, struct.pack("<I", 1 << 30), "a feature that is not known"),
        (24, struct.pack("<I", 31), "superblock is not sound"),
        (40, struct.pack("<I", 0), "superblock is not sound"),
        (88, struct.pack("<H", 65535), "superblock is not sound"),
        (56, b"\0\0", "no ext file system"),
        (4, b"\xff\xff\xff\xff", "superblock is not sound"),
        (0, struct.pack("<I", 1), "beyond the last"),
    ],
)
def test_unsound_superblock_is_refused(
    ext4: Path, tmp_path: Path, offset: int, value: bytes, words: str
) -> None:
    """A damaged or foreign file system would be read wrongly, or take all memory."""
    image = tmp_path / "image"
    data = bytearray(ext4.read_bytes())
    data[1024 + offset : 1024 + offset + len(value)] = value
    image.write_bytes(data)
    with pytest.raises(ImageError, match=words), opened(image):
        pass


def test_folder_that_holds_itself_is_entered_once(ext4: Path, tmp_path: Path) -> None:
    """A loop of folders would hang the tool."""
    image = tmp_path / "image"
    image.write_bytes(ext4.read_bytes())
    process.run(["debugfs", "-w", "-R", "link <2> /srv/again", image])
    process.run(["debugfs", "-w", "-R", "link /usr /srv/usr", image])
    with opened(image) as (tree, notes):
        assert len(tree) < 2000
        assert any("second name" in note for note in notes)


def test_unclean_file_system_has_a_note(ext4: Path, tmp_path: Path) -> None:
    """Whoever inspects a disk of a running guest would not know that its newest changes are missing."""
    image = tmp_path / "image"
    image.write_bytes(ext4.read_bytes())
    process.run(["debugfs", "-w", "-R", "feature needs_recovery", image])
    with opened(image) as (_, notes):
        assert any("journal" in note for note in notes)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(st.integers(1024, 600 * 1024), st.binary(min_size=1, max_size=64)), min_size=1, max_size=12
    )
)
def test_damaged_file_systems_raise_only_image_errors(
    ext4: Path, tmp_path: Path, changes: list[tuple[int, bytes]]
) -> None:
    """A damaged file system would end the inspection with a traceback."""
    image = tmp_path / "damaged"
    if not image.exists():
        shutil.copy(ext4, image)
    try:
        patch(image, changes)
        with opened(image) as (tree, _):
            contents.count_executables(tree)
            contents.find_users(tree)
    except ImageError as error:
        assert error.message.startswith(str(image))
    finally:
        patch(image, [(offset, read_at(ext4, offset, len(change))) for offset, change in changes])


def patch(image: Path, changes: list[tuple[int, bytes]]) -> None:
    """Write over parts of an image, which is too large to be copied for each."""
    with image.open("r+b") as file:
        for offset, change in changes:
            file.seek(offset)
            file.write(change)


def read_at(image: Path, offset: int, size: int) -> bytes:
    """A part of an image."""
    with image.open("rb") as file:
        file.seek(offset)
        return file.read(size)


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
    assert b"".join(unpack_lz4(Path("x"), data)) == plain


@given(st.binary(max_size=200))
def test_damaged_lz4_raises_only_image_errors(data: bytes) -> None:
    """A damaged kernel would end the inspection with a traceback."""
    stream = b"\x02\x21\x4c\x18" + struct.pack("<I", len(data)) + data
    with suppress(ImageError):
        assert len(b"".join(unpack_lz4(Path("x"), stream))) <= 8 * MIB


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


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress, bz2.compress, zstd])
def test_initial_ramdisks_are_read_however_packed(tmp_path: Path, pack: object) -> None:
    """An initial ramdisk would be read only in part, or not at all."""
    assert callable(pack)
    image = tmp_path / "initrd"
    image.write_bytes(FIRST + bytes(508) + pack(SECOND) + bytes(512))
    with open_source(image) as source, open_initramfs(source, tmp_path) as (tree, packing):
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
    with open_source(image) as source, open_initramfs(source, tmp_path) as (tree, _):
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
        (b"\x28\xb5\x2f\xfd" + b"x" * 64, "zstd data cannot be unpacked"),
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
        with open_source(image) as source, open_initramfs(source, tmp_path) as (tree, _):
            contents.count_executables(tree)
            assert all(len(entry.path) <= MAX_PATH_BYTES for entry in tree)
    except ImageError as error:
        assert error.message.startswith(str(image))
