"""A file system as a list of entries: paths, and the inventory that is taken of it."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from guestbench.images.contents import files as contents
from guestbench.images.tree import MAX_PATH_BYTES, Entry, Tree, show

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


@pytest.fixture(scope="module")
def tree(root: Path) -> Tree:
    """The folder as the list of entries that a reader makes of an image."""
    entries = []
    for path in (root, *root.rglob("*")):
        facts = path.lstat()
        name = b"" if path == root else os.fsencode(path.relative_to(root))
        entries.append(
            Entry(
                path=name,
                inode=facts.st_ino,
                mode=facts.st_mode,
                uid=facts.st_uid,
                gid=facts.st_gid,
                size_bytes=facts.st_size,
                link=os.fsencode(path.readlink()) if path.is_symlink() else b"",
                capability=CAPABILITY if path.name == "script" else None,
            )
        )

    def read(entry: Entry, limit_bytes: int) -> bytes:
        return (root / os.fsdecode(entry.path)).read_bytes()[:limit_bytes]

    return Tree(entries, read, has_attributes=True)


def test_paths_are_resolved_inside_the_image(tree: Tree) -> None:
    """A link in an image would lead to a file of the host, or hang the tool."""
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


def test_inventory_of_files(tree: Tree) -> None:
    """The counts of executables and privileged files would be wrong."""
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


def test_capabilities_are_read(tree: Tree) -> None:
    """A program that may open raw sockets would pass for one without rights."""
    found = contents.find_capabilities(tree).value
    assert found is not None
    assert [(each.path, each.detail) for each in found] == [("/usr/bin/script", "cap_net_raw=ep")]


def test_names_are_shown_in_one_printable_line() -> None:
    """A file name in an image would print lines or escape codes on the user's terminal."""
    assert len(show(b"x" * MIB)) == MAX_PATH_BYTES + 1
    for name in (*(name.encode() for name in HOSTILE_NAMES), b"\xff\xfe\n", "\u202e".encode()):
        assert show(name).isprintable()
