"""Looking into disks by the inspector guest: every file system, table and layout that a Linux lies in."""

from __future__ import annotations

import os
import re
import shutil
import stat
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import disks
import msgspec
import pytest
from disks import (
    MIB,
    RELEASE,
    files_of,
    fill_boot,
    fill_root,
    inspect,
    make_ext,
    opened,
    tree_of,
    without_size,
)

from guestbench.errors import HostError, ImageError
from guestbench.families.surface.host.confinement import Confinement, read_confinement
from guestbench.host import process
from guestbench.host.facts import SANDBOX
from guestbench.images.contents import files as contents
from guestbench.images.formats.volumes import PROBED_BYTES, find_content
from guestbench.images.inspection import FileSystem
from guestbench.inspect import inspect_image
from guestbench.model import Unknown

pytestmark = [pytest.mark.qemu, pytest.mark.network]

HOSTILE_NAMES = (
    'a "quoted" b',
    "new\nline",
    "-R",
    "<2>",
    "tab\there",
    "$(id)",
    "ünï",
    "esc\x1b[31m",
    "a?offset=0",
)
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
"""cap_net_raw=ep, as ping has it."""


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system with names, links and attributes that are hard to keep."""
    root = fill_root(tmp_path_factory.mktemp("hard") / "root")
    (root / "usr/bin/again").hardlink_to(root / "usr/bin/tool")
    (root / "srv/loop").symlink_to("loop")
    (root / "srv/absolute").symlink_to("/etc/../srv/zeros")
    (root / "srv/up").symlink_to("../../../../etc/os-release")
    (root / "srv/long").symlink_to("x" * 900)
    (root / "usr/lib/many").mkdir()
    for number in range(1500):
        (root / f"usr/lib/many/a-name-that-is-rather-long-{number}").touch()
    for name in HOSTILE_NAMES:
        (root / "srv" / name).write_text(f"I am {name!r}")
    os.close(os.open(os.fsencode(root / "srv") + b"/latin\xe9", os.O_CREAT | os.O_WRONLY))
    return root


# --- file systems -------------------------------------------------------------------------------------

KINDS: dict[str, Callable[[Path, Path], Path]] = {
    "ext4 bigalloc": lambda tree, image: make_ext(tree, image, "-t", "ext4", "-b", "1024", "-O", "bigalloc"),
    "ext4 inline": lambda tree, image: make_ext(tree, image, "-t", "ext4", "-O", "inline_data", "-I", "256"),
    "ext4 meta_bg": lambda tree, image: make_ext(tree, image, "-t", "ext4", "-O", "meta_bg,^resize_inode"),
    "ext3": lambda tree, image: make_ext(tree, image, "-t", "ext3", "-b", "1024"),
    "ext2": lambda tree, image: make_ext(tree, image, "-t", "ext2"),
    "xfs": disks.make_xfs,
    "btrfs": disks.make_btrfs,
    "erofs": disks.make_erofs,
    "erofs lz4": lambda tree, image: disks.make_erofs(tree, image, "-zlz4hc"),
    "squashfs xz": lambda tree, image: disks.make_squashfs(tree, image, "-comp", "xz"),
    "squashfs zstd": lambda tree, image: disks.make_squashfs(tree, image, "-comp", "zstd"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_inventory_is_the_same_in_every_file_system(
    kind: str, tree: Path, inventory: FileSystem, tmp_path: Path
) -> None:
    """A distribution would seem to have no packages or users only because of its file system."""
    image = KINDS[kind](tree, tmp_path / "image")
    found = inspect(image, tmp_path)
    assert without_size(found) == inventory
    assert found.notes == ()
    assert (found.used_bytes or 0) > 0
    assert [p.content for p in found.partitions or ()] == [kind.split()[0]]


def test_inventory_itself_is_right(inventory: FileSystem) -> None:
    """All file systems could agree on the wrong figures."""
    assert [p.name for p in inventory.packages.value or ()] == ["a", "c"]
    assert [f.path for f in inventory.suid.value or ()] == ["/usr/bin/tool"]
    assert [f.path for f in inventory.sgid.value or ()] == ["/usr/bin/script"]
    assert [f.path for f in inventory.world_writable.value or ()] == ["/open"]
    assert [u.name for u in inventory.users.value or ()] == ["root", "user"]
    assert inventory.executables.value is not None
    assert (inventory.executables.value.elf, inventory.executables.value.scripts) == (1, 2)
    assert inventory.distribution.value is not None
    assert inventory.distribution.value.title == "Small 7"
    assert inventory.kernel.value == f"vmlinuz-{RELEASE}"
    assert (inventory.kernel_bytes.value, inventory.initrd_bytes.value) == (6000, 18000)
    assert inventory.kernel_config.value is not None
    assert (inventory.kernel_config.value.builtin, inventory.kernel_config.value.modules) == (1, 1)


@pytest.mark.parametrize("kind", ["ext4", "btrfs", "squashfs"])
def test_every_entry_is_found_as_it_is(kind: str, hard: Path, tmp_path: Path) -> None:
    """A file would be missing, or have another name, mode, owner, link or contents."""
    image = tmp_path / "image"
    make = {"ext4": lambda t, i: make_ext(t, i, "-t", "ext4"), "btrfs": disks.make_btrfs}
    make.get(kind, disks.make_squashfs)(hard, image)
    if kind == "ext4":
        (tmp_path / "value").write_bytes(CAPABILITY)
        command = f"ea_set -f {tmp_path / 'value'} /usr/bin/script security.capability"
        process.run(["debugfs", "-w", "-R", command, image])
    with opened(image, tmp_path) as system:
        found = {entry.path: entry for entry in tree_of(system)}
        there = {os.fsencode(path.relative_to(hard)): path for path in hard.rglob("*")}
        assert set(found) - {b"lost+found"} == {b"", *there}
        for name, path in there.items():
            facts, entry = path.lstat(), found[name]
            assert (entry.mode, entry.uid, entry.gid) == (facts.st_mode, facts.st_uid, facts.st_gid), name
            if stat.S_ISREG(facts.st_mode):
                assert entry.size_bytes == facts.st_size
                assert tree_of(system).read(entry, 10) == path.read_bytes()[:10]
            if stat.S_ISLNK(facts.st_mode):
                assert os.fsdecode(entry.link) == str(path.readlink())
        assert found[b"usr/bin/tool"].inode == found[b"usr/bin/again"].inode
        zeros = tree_of(system).find_file("srv/absolute")
        assert zeros is not None
        assert tree_of(system).read_whole(zeros, 4 * MIB) == (hard / "srv/zeros").read_bytes()
        assert tree_of(system).find("srv/loop") is None
        if kind == "ext4":
            capable = contents.find_capabilities(tree_of(system)).value
            assert [(each.path, each.detail) for each in capable or ()] == [
                ("/usr/bin/script", "cap_net_raw=ep")
            ]


@pytest.mark.parametrize("options", [[], ["-b", "4096"], ["-O", "^64bit,^has_journal"], ["-O", "bigalloc"]])
def test_used_bytes_agree_with_dumpe2fs(tree: Path, tmp_path: Path, options: list[str]) -> None:
    """The used bytes of a root file system would be wrong in the report."""
    image = make_ext(tree, tmp_path / "image", "-t", "ext4", *options)
    words = process.run(["dumpe2fs", "-h", image]).stdout.decode()
    said = {name: int(value) for name, value in re.findall(r"^([\w ]+): +(\d+)$", words, re.MULTILINE)}
    found = inspect(image, tmp_path)
    assert found.used_bytes == (said["Block count"] - said["Free blocks"]) * said["Block size"]


@pytest.mark.parametrize("kind", ["ext4 bigalloc", "ext2", "xfs", "btrfs", "erofs", "vfat"])
def test_identifiers_and_labels_are_those_that_blkid_tells(kind: str, tree: Path, tmp_path: Path) -> None:
    """What /etc/fstab names by UUID or LABEL would not be found."""
    image = tmp_path / "image"
    if kind == "vfat":
        disks.make_vfat(fill_boot(tmp_path / "boot"), image, "A LABEL")
    else:
        KINDS[kind](tree, image)
    told = process.run(["blkid", "--probe", "--output", "export", image]).stdout.decode()
    said = dict(line.split("=", 1) for line in told.splitlines())
    with image.open("rb") as file:
        content = find_content(file.read(PROBED_BYTES))
    assert (content.name, content.uuid) == (said["TYPE"], said["UUID"])
    assert content.label == said.get("LABEL", "").replace("\\ ", " ")


# --- damage -------------------------------------------------------------------------------------------


def test_journal_that_was_not_replayed_is_told(ext4: Path, tmp_path: Path) -> None:
    """Whoever inspects a disk of a running guest would not know that its newest changes are missing."""
    image = disks.copy(ext4, tmp_path / "image")
    process.run(["debugfs", "-w", "-R", "feature needs_recovery", image])
    before = image.read_bytes()
    found = inspect(image, tmp_path)
    files_of(found)
    assert any("what only its journal holds is not seen" in note for note in found.notes)
    assert image.read_bytes() == before


HOLED = "usr/lib/many"


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        (["link <2> /srv/again"], "damaged file system"),
        (["link /usr /usr/lib/again"], "damaged file system"),
        ([f"punch /{HOLED} 1 1"], "files are in use that no folder names"),
        (["set_inode_field /usr mode 0100644"], "files are in use that no folder names"),
        (["clri /usr/bin/tool"], "damaged file system"),
        (["set_inode_field /var/lib/dpkg/status block[0] 0xffffff"], "damaged"),
    ],
)
def test_damage_is_told_and_never_counted(
    hard: Path, tmp_path: Path, commands: list[str], words: str
) -> None:
    """Of a damaged disk what can still be read would be taken for all, or a loop of folders hang the tool."""
    image = make_ext(
        hard, tmp_path / "image", "-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^64bit,^extent,^dir_index"
    )
    for command in commands:
        process.run(["debugfs", "-w", "-R", command, image])
    found = inspect(image, tmp_path)
    assert found.files is not None
    reasons = [found.files.unknown]
    if found.files.value is not None:
        reasons = [found.files.value.packages.unknown, found.files.value.executables.unknown]
    assert any(re.search(words, reason) for reason in reasons), (reasons, found.notes)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "erofs", "squashfs"])
def test_file_system_with_random_damage_is_told_or_whole(
    kind: str, tree: Path, inventory: FileSystem, tmp_path: Path
) -> None:
    """A damaged file system would end the tool with a traceback, hang it, or give other figures."""
    image = tmp_path / "image"
    make = KINDS | {"ext4": lambda t, i: make_ext(t, i, "-t", "ext4"), "squashfs": disks.make_squashfs}
    make[kind](tree, image)
    with image.open("r+b") as file:
        # From behind the superblocks on: in the metadata that come first, a byte in each 4 KiB.
        for at in range(20 << 10, min(image.stat().st_size, 2 * MIB), 4096):
            file.seek(at + 100)
            file.write(b"\xa5")
    try:
        found = inspect(image, tmp_path)
    except ImageError as error:
        assert str(image) in error.message
        return
    assert found.files is not None
    if found.files.value is not None:
        for name in ("suid", "users", "executables"):
            fact, right = getattr(found.files.value, name), getattr(inventory, name)
            assert fact == right or fact.unknown, name


# --- what was found before, and what is not there -----------------------------------------------------


def test_second_look_at_the_same_disk_starts_nothing(
    ext4: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run and each command would look into the same disk for seconds."""
    inspector = msgspec.structs.replace(disks.get_inspector(), kept=str(tmp_path / "kept"))
    first = inspect_image(ext4, tmp_path, lambda: (inspector, "digest"))
    monkeypatch.setenv("PATH", "/nowhere")
    copy = shutil.copy(ext4, tmp_path / "other-name")
    again = inspect_image(Path(copy), tmp_path, lambda: (inspector, "digest"))
    assert again == msgspec.structs.replace(first, file="other-name")
    for path in (tmp_path / "kept").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(HostError):
        inspect_image(ext4, tmp_path, lambda: (inspector, "digest"))


def test_the_qemu_that_looks_into_a_disk_is_held(
    ext4: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that breaks the kernel which reads it, and then QEMU, would have the host to itself."""
    real, seen = process.start, list[Confinement]()

    @contextmanager
    def start(argv: Sequence[str | Path], **options: Any) -> Iterator[process.Child]:
        with real(argv, **options) as child:
            yield child
            seen.append(read_confinement(child.pid, SANDBOX))

    monkeypatch.setattr(process, "start", start)
    inspector = msgspec.structs.replace(disks.get_inspector(), kept=str(tmp_path / "kept"))
    inspect_image(ext4, tmp_path, lambda: (inspector, "digest"))
    (held,) = seen
    assert held.sandbox is True
    assert not isinstance(held.limits, Unknown)
    assert {limit.split(" ")[0] for limit in held.limits} == {"CPU", "memory", "file"}


def test_qemu_that_does_not_start_is_an_error_of_the_host(ext4: Path, tmp_path: Path) -> None:
    """A broken QEMU would be told as a damaged disk."""
    inspector = disks.get_inspector()
    gone = msgspec.structs.replace(inspector.kernel, path="/nonexistent/kernel")
    broken = msgspec.structs.replace(inspector, kernel=gone, kept=str(tmp_path / "kept"))
    with pytest.raises(HostError, match=r"the inspector guest does not run: .*/nonexistent/kernel"):
        inspect_image(ext4, tmp_path, lambda: (broken, "digest"))
    assert sorted(path.name for path in tmp_path.iterdir()) == []
