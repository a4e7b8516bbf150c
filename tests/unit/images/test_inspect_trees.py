"""Whole file systems in images: ext by inodes, initial ramdisks by cpio; what hostile ones do."""

from __future__ import annotations

import os
import shutil
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guestbench.errors import ImageError
from guestbench.host import process
from guestbench.images.contents import files as contents
from guestbench.images.formats.ext import ExtFilesystem
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
