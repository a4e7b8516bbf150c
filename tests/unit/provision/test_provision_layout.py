"""The disk that is built: partition table, boot sectors, and the files the build itself adds."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from pathlib import Path

import pytest

from guestbench.errors import HostError, ToolFailed
from guestbench.host import process
from guestbench.images.formats.volumes import PROBED_BYTES, find_content
from guestbench.model import MIB
from guestbench.provision import layout
from guestbench.provision.recipes import Site, debian_disk
from guestbench.provision.recipes.debian_disk import DebianDisk

SIZE_MIB = 256
KEY = "0123456789abcdef"


def make_recipe(**changes: object) -> DebianDisk:
    """A small recipe."""
    recipe = DebianDisk(
        suite="bookworm",
        kernel_package="linux-image-amd64",
        packages=("init",),
        size_mib=SIZE_MIB,
        cmdline="console=ttyS0",
    )
    return DebianDisk(**{name: getattr(recipe, name) for name in recipe.__struct_fields__} | changes)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """An empty disk of the right size."""
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.truncate(SIZE_MIB * MIB)
    return path


def test_partitions_lie_where_the_official_image_has_them(disk: Path) -> None:
    """The built disk would not be comparable with the official one, and GRUB would not find its files."""
    layout.write_partition_table(disk, SIZE_MIB, KEY)
    layout.format_esp(disk, KEY)
    told = json.loads(process.run(["sfdisk", "--json", disk]).stdout)["partitiontable"]["partitions"]
    found = {int(part["node"].removeprefix(str(disk))): part for part in told}
    assert {number: part["start"] for number, part in found.items()} == {14: 2048, 15: 8192, 1: 262144}
    assert found[1]["size"] == layout.root_sectors(SIZE_MIB)
    with disk.open("rb") as file:
        file.seek(8192 * 512)
        assert find_content(file.read(PROBED_BYTES)).name == "vfat"


def test_partition_table_keeps_boot_code_and_file_systems(disk: Path) -> None:
    """Writing the table last would wipe what was written before it."""
    with disk.open("r+b") as file:
        file.seek(layout.ROOT_START * 512 + 1024 + 56)
        file.write(b"\x53\xef")
    layout.write_partition_table(disk, SIZE_MIB, KEY)
    with disk.open("rb") as file:
        file.seek(layout.ROOT_START * 512 + 1024 + 56)
        assert file.read(2) == b"\x53\xef"


def test_identifiers_follow_the_recipe(disk: Path) -> None:
    """Two builds of one recipe would differ, or two recipes share identifiers."""
    assert layout.derive_uuid(KEY, "root") == layout.derive_uuid(KEY, "root")
    assert len({layout.derive_uuid(KEY, use) for use in ("root", "disk", "esp")}) == 3
    assert layout.derive_uuid(KEY, "root") != layout.derive_uuid("other", "root")


def test_grub_is_told_where_its_core_lies(disk: Path) -> None:
    """The disk would stop at GRUB's first stage."""
    layout.write_partition_table(disk, SIZE_MIB, KEY)
    table = disk.read_bytes()[0x1B8:512]
    layout.install_grub(disk, bytes(range(256)) * 2, b"\xcc" * 1300)
    start = disk.read_bytes()[: (2048 + 4) * 512]
    assert start[0x1B8:512] == table
    assert struct.unpack_from("<Q", start, 0x5C) == (2048,)
    assert start[0x66:0x68] == b"\x90\x90"
    # 1300 bytes are three sectors: the first, and two to load.
    assert struct.unpack_from("<QHH", start, 2048 * 512 + 500) == (2049, 2, 0x820)


def test_strange_boot_images_are_refused(disk: Path) -> None:
    """A core image that is too big would overwrite the next partition."""
    with pytest.raises(HostError, match="unexpected sizes"):
        layout.install_grub(disk, b"\0" * 512, b"\0" * (4 << 20))


def test_grub_boots_the_root_partition_with_the_recipe_s_command_line() -> None:
    """The guest would not print to the serial console, or not find its root file system."""
    files = debian_disk.root_files(make_recipe(grub_timeout_s=7), KEY)
    config = files["/boot/grub/grub.cfg"]
    root = layout.derive_uuid(KEY, "partition 1")
    assert "set timeout=7\n" in config
    assert f"root=PARTUUID={root} ro console=ttyS0\n" in config
    assert f"PARTUUID={root} / ext4" in files["/etc/fstab"]


def test_recipe_s_own_files_win() -> None:
    """A recipe could not replace a file of the build."""
    files = debian_disk.root_files(make_recipe(files={"/etc/fstab": "mine\n"}), KEY)
    assert files["/etc/fstab"] == "mine\n"


def test_packed_files_belong_to_root_and_are_repeatable() -> None:
    """The guest's configuration would belong to whoever built it."""
    packed = debian_disk.pack_files({"/etc/x": "1", "/etc/a": "2"})
    assert packed == debian_disk.pack_files({"/etc/a": "2", "/etc/x": "1"})
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        members = archive.getmembers()
    assert [(m.name, m.uid, m.mode) for m in members] == [
        ("boot/efi", 0, 0o755),
        ("etc/a", 0, 0o644),
        ("etc/x", 0, 0o644),
    ]


def install_fake_mmdebstrap(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a shell script in mmdebstrap's place."""
    tool = folder / "bin" / "mmdebstrap"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))


def test_failed_bootstrap_says_what_apt_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without network would read only that mmdebstrap failed."""
    script = (
        'test "$1" = --unshare-helper && exit 0\n'
        "echo 'E: Unable to locate package initt' >&2; echo 'E: apt-get failed' >&2; exit 1"
    )
    install_fake_mmdebstrap(tmp_path, monkeypatch, script)
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(ToolFailed, match="status 1: E: Unable to locate package initt"):
        make_recipe().build(Site("debian", tmp_path, KEY), work, lambda _: None)


def test_user_without_namespaces_gets_a_line_that_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ordinary user without subordinate ids would not know what to do."""
    install_fake_mmdebstrap(tmp_path, monkeypatch, "echo 'E: invalid idmap' >&2; exit 1")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(HostError, match="invalid idmap") as caught:
        debian_disk.find_mode()
    assert "--add-subuids" in caught.value.hint


def test_root_without_namespaces_builds_as_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root in a container that forbids user namespaces could not build."""
    install_fake_mmdebstrap(tmp_path, monkeypatch, "exit 1")
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert debian_disk.find_mode() == "root"


def test_full_disk_is_found_before_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build would run for minutes before it fails for want of space."""
    install_fake_mmdebstrap(tmp_path, monkeypatch, "exit 0")
    monkeypatch.setattr(debian_disk, "free_bytes", lambda _: 100 << 20)
    with pytest.raises(HostError, match="only 100 MiB are free"):
        make_recipe().build(Site("debian", tmp_path, KEY), tmp_path, lambda _: None)
