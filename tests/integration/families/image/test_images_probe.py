"""What the image probe measures of a guest that boots from a disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import disks
import msgspec
import pytest

from guestbench.families.image import probe as image
from guestbench.host import process
from guestbench.model import Disk, DiskFormat, Guest, GuestFamily, Image, Kernel, Kit, Origin, Role, System

MIB = 1 << 20
ROOT_AT = 4 * MIB
pytestmark = [pytest.mark.qemu, pytest.mark.network]
ROLES = (Role.KERNEL, Role.INITRD, Role.DISK)


def guest_of(boot: Disk | Kernel, *paths: Path) -> Guest:
    """A guest of these files: a disk, or kernel, initrd and disk."""
    guest_system = System(
        name="guest", title="Guest", family=GuestFamily.LINUX, boot=boot, ready="login: ", timeout_s=1
    )
    files = {
        role: Image(path=str(path), size_bytes=path.stat().st_size, mtime_ns=0, sha256="")
        for role, path in zip(boot.roles, paths, strict=True)
    }
    return Guest(system=guest_system, images=files, pristine=files, origin=Origin(kind="given", detail=""))


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A raw disk with a root file system and two kernels."""
    boot = tmp_path / "tree/boot"
    boot.mkdir(parents=True)
    (tmp_path / "tree/sbin").mkdir()
    (tmp_path / "tree/sbin/init").write_text("init")
    for release, size in (("6.1.0-9", 1000), ("6.1.0-37", 2000)):
        (boot / f"vmlinuz-{release}").write_bytes(b"k" * size)
        (boot / f"initrd.img-{release}").write_bytes(b"i" * size * 10)
    (boot / "vmlinuz-9-rescue").write_bytes(b"r")
    path = tmp_path / "disk.img"
    with path.open("wb") as file:
        file.truncate(24 * MIB)
    process.run(["sfdisk", "-q", path], input=b"label: gpt\nstart=8192, size=32768, type=L\n")
    argv: list[str | Path] = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", tmp_path / "tree"]
    process.run([*argv, "-E", f"offset={ROOT_AT}", path, "16384k"])
    return path


def values(guest: Guest, scratch: Path) -> dict[str, Any]:
    """The samples by metric and role; nothing may be left in `scratch`."""
    scratch.mkdir(exist_ok=True)
    kit = Kit(works=(), inspector=msgspec.structs.replace(disks.get_inspector(), kept=str(scratch / "kept")))
    samples, gaps = image.measure_images(guest, scratch, kit)
    found: dict[str, Any] = {"/".join((s.metric, *s.labels.values())): s.value for s in samples}
    found |= {gap.metric: gap.reason for gap in gaps}
    shutil.rmtree(scratch / "kept", ignore_errors=True)
    assert not list(scratch.iterdir())
    return found


def test_disk_is_measured_whatever_its_format(disk: Path, tmp_path: Path) -> None:
    """A disk would seem smaller or larger only because of the format of its file."""
    as_raw = values(guest_of(Disk(format=DiskFormat.RAW), disk), tmp_path / "scratch")
    for options in ([], ["-c"]):
        copy = tmp_path / "copy.qcow2"
        process.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, disk, copy])
        digest = process.run(["sha256sum", copy]).stdout
        found = values(guest_of(Disk(), copy), tmp_path / "scratch")
        assert process.run(["sha256sum", copy]).stdout == digest
        assert found["image.file"] == copy.stat().st_size
        for same in ("image.virtual", "image.zstd", "image.rootfs", "image.kernel", "image.initrd"):
            assert found[same] == as_raw[same]
    assert as_raw["image.file"] == as_raw["image.virtual"] == 24 * MIB
    assert as_raw["image.allocated"] == disk.stat().st_blocks * 512
    assert as_raw["image.zstd"] < 100_000
    assert (as_raw["image.kernel"], as_raw["image.initrd"]) == (2000, 20_000)
    assert 35_000 < as_raw["image.rootfs"] < 16 * MIB


def test_kernel_given_beside_a_disk_is_the_one_measured(disk: Path, tmp_path: Path) -> None:
    """A direct boot would report the kernel inside its disk, which it does not use."""
    kernel, initrd = tmp_path / "vmlinuz", tmp_path / "initrd"
    kernel.write_bytes(b"k" * 333)
    initrd.write_bytes(b"i" * 4444)
    boot = Kernel(initrd=True, disk=DiskFormat.RAW)
    found = values(guest_of(boot, kernel, initrd, disk), tmp_path / "scratch")
    assert (found["image.kernel"], found["image.initrd"]) == (333, 4444)
    assert found["image.file"] == sum(found[f"image.file/{role}"] for role in ROLES) == 333 + 4444 + 24 * MIB
    assert found["image.zstd"] == sum(found[f"image.zstd/{role}"] for role in ROLES)
    assert found["image.virtual"] == 24 * MIB
    assert "image.rootfs" in found


def test_separate_boot_file_system_is_searched(disk: Path, tmp_path: Path) -> None:
    """A guest with /boot on a partition of its own would seem to have no kernel."""
    boot = tmp_path / "boot"
    boot.mkdir()
    (boot / "vmlinuz-6.9").write_bytes(b"k" * 77)
    (boot / "initramfs-6.9.img").write_bytes(b"i" * 88)
    empty = tmp_path / "empty"
    (empty / "etc").mkdir(parents=True)
    (empty / "boot").mkdir()
    (empty / "etc/os-release").write_text("ID=other")
    table = b"label: gpt\nstart=8192, size=16384, type=L\nstart=24576, size=16384, type=L\n"
    process.run(["sfdisk", "-q", "--wipe", "always", disk], input=table)
    for offset, tree in ((8192 * 512, empty), (24576 * 512, boot)):
        process.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, "-E", f"offset={offset}", disk, "8192k"])
    found = values(guest_of(Disk(format=DiskFormat.RAW), disk), tmp_path / "scratch")
    assert (found["image.kernel"], found["image.initrd"]) == (77, 88)


def test_disk_that_cannot_be_read_keeps_its_other_sizes(tmp_path: Path) -> None:
    """A guest on a damaged file system could not be measured at all, or would lack cells without a reason."""
    path = tmp_path / "disk.img"
    path.write_bytes(b"XFSB".ljust(4096, b"\1"))
    found = values(guest_of(Disk(format=DiskFormat.RAW), path), tmp_path / "scratch")
    known = {name for name, value in found.items() if not isinstance(value, str)}
    assert known == {"image.file", "image.allocated", "image.virtual", "image.zstd"}
    assert set(found) - known == {"image.rootfs", "image.kernel", "image.initrd"}
    assert "no root file system can be read (found: xfs)" in found["image.rootfs"]
