"""What is said of an image that cannot boot, before anything is started."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import (
    KERNEL,
    QCOW2_DISK,
    RAW_DISK,
    UNIKERNEL,
    bzimage,
    elf64,
    gpt_disk,
    mbr_disk,
    multiboot_header,
    pvh_note,
    qcow2,
    system,
    wrap_elf64,
)

from guestbench.errors import ImageError
from guestbench.host import process
from guestbench.images.check import check_bootable
from guestbench.images.formats import disk
from guestbench.model import Disk, Fetch, GuestFamily, Kernel, Provision, Role, System

LINUX_ROOT, BIOS_BOOT = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "21686148-6449-6E6F-744E-656564454649"
ESP, ARM64_ROOT = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "B921B045-1DF0-41C3-AF44-4C6F280D3FAE"


def write(folder: Path, contents: bytes, name: str = "image") -> Path:
    path = folder / name
    path.write_bytes(contents)
    return path


def refusal(path: Path, role: Role = Role.KERNEL, guest: System = KERNEL) -> ImageError:
    with pytest.raises(ImageError) as caught:
        check_bootable(guest, role, path)
    assert caught.value.exit_code == 2
    return caught.value


BOOTABLE = {
    "bzImage": bzimage(),
    "wrapped": wrap_elf64(elf64()),
    "pvh": elf64(note=pvh_note()),
    "addresses": elf64(
        multiboot=multiboot_header(0x10003, 0x100000 + 64 + 56 * 3, 0x100000, 0x100100, 0x100100, 0x100000)
    ),
    "flat": b"\0" * 16 + multiboot_header(0x10000, 0x100010, 0x100000, 0, 0, 0x100040) + b"\x90" * 64,
}


@pytest.mark.parametrize("name", BOOTABLE)
def test_kernels_that_qemu_loads_pass(tmp_path: Path, name: str) -> None:
    """A guest that boots would be refused."""
    check_bootable(KERNEL, Role.KERNEL, write(tmp_path, BOOTABLE[name]))


NOT_BOOTABLE = {
    "plain ELF": (elf64(), "is an ELF file with neither a multiboot header nor a PVH note"),
    "64-bit multiboot": (elf64(multiboot=multiboot_header()), "is a 64-bit multiboot kernel without address"),
    "64-bit multiboot with PVH": (
        elf64(multiboot=multiboot_header(), note=pvh_note()),
        "is a 64-bit multiboot kernel without address",
    ),
    "bad checksum": (b"\x02\xb0\xad\x1b" + b"\1" * 100, "is not a kernel that QEMU can load"),
    "no addresses": (multiboot_header() + b"\0" * 99, "has a multiboot header without addresses"),
    "AArch64 ELF": (elf64(machine=183), "is a kernel for AArch64"),
    "RISC-V ELF": (elf64(machine=243), "is a kernel for RISC-V"),
    "unheard-of ELF": (elf64(machine=4711), "is a kernel for machine 4711"),
    "AArch64 Image": (b"MZ".ljust(0x38, b"\0") + b"ARM\x64" + b"\0" * 99, "is a Linux kernel for AArch64"),
    "RISC-V Image": (b"MZ".ljust(0x38, b"\0") + b"RSC\x05" + b"\0" * 99, "is a Linux kernel for RISC-V"),
    "disk": (qcow2(), "is a qcow2 disk image, not a kernel"),
    "boot sector": (mbr_disk(), "is a disk image or boot sector, not a kernel"),
    "text": (b"#!/bin/sh\n", "is a script, not a kernel"),
    "empty ELF": (elf64((), note=pvh_note()), "is an ELF file without anything to load"),
}


@pytest.mark.parametrize("name", NOT_BOOTABLE)
def test_other_kernels_are_named_for_what_they_are(tmp_path: Path, name: str) -> None:
    """QEMU's own words, or a silent guest, would be all that tells the user what is wrong."""
    contents, words = NOT_BOOTABLE[name]
    path = write(tmp_path, contents)
    error = refusal(path)
    assert words in error.message
    assert error.message.startswith(str(path))
    assert error.hint == f"file {path}"


@pytest.mark.parametrize(
    ("contents", "kept"),
    [
        (bzimage(payload=8192), 9000),
        (wrap_elf64(elf64()), 500),
        (elf64(note=pvh_note()), 300),
        (elf64(note=pvh_note()), 50),
        (b"\0" * 16 + multiboot_header(0x10000, 0x100010, 0x100000, 0x100800, 0, 0) + b"\x90" * 2048, 600),
    ],
)
def test_truncated_kernels_are_refused(tmp_path: Path, contents: bytes, kept: int) -> None:
    """A kernel whose download broke off would be booted, and time out."""
    error = refusal(write(tmp_path, contents[:kept]))
    assert "is truncated" in error.message
    assert f"the file at byte {kept}" in error.message


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """A wrong path would end in a traceback, or wait for ever on a FIFO."""
    assert refusal(tmp_path / "none").message == f"{tmp_path}/none does not exist"
    assert "is a folder" in refusal(tmp_path).message
    assert refusal(write(tmp_path, b"")).message == f"{tmp_path}/image is empty"
    os.mkfifo(tmp_path / "fifo")
    assert "is not a regular file" in refusal(tmp_path / "fifo").message
    (tmp_path / "loop").symlink_to("loop")
    assert "Too many levels of symbolic links" in refusal(tmp_path / "loop").message
    assert "File name too long" in refusal(tmp_path / ("n" * 300)).message


def test_control_characters_in_a_path_are_not_printed(tmp_path: Path) -> None:
    """A file name could send escape sequences to the user's terminal."""
    error = refusal(tmp_path / "a\x1b[31m\nb")
    assert error.message == f"{tmp_path}/a\\x1b[31m\\nb does not exist"


@pytest.mark.parametrize(
    ("provision", "hint"),
    [
        (Provision(), "guestbench run --system guest=PATH"),
        (Provision(build={"method": "assembly", "source": "a.S"}), "guestbench systems build guest"),
        (Provision(fetch=Fetch(url="u", sums_url="s")), "guestbench systems fetch guest"),
    ],
)
def test_missing_image_hint_gets_one(tmp_path: Path, provision: Provision, hint: str) -> None:
    """The hint would not bring the image that is missing."""
    guest = system(Kernel(), provision=provision)
    assert refusal(tmp_path / "none", guest=guest).hint == hint
    assert refusal(write(tmp_path, bzimage()[:3000]), guest=guest).hint == hint


@pytest.mark.parametrize("start", [b"070701", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"])
def test_initramfs_formats_pass(tmp_path: Path, start: bytes) -> None:
    """A Linux guest with a compressed initramfs would be refused."""
    guest = system(Kernel(initrd=True), GuestFamily.LINUX)
    check_bootable(guest, Role.INITRD, write(tmp_path, start + b"\0" * 100))


def test_only_linux_wants_an_initramfs(tmp_path: Path) -> None:
    """A text file as initrd would make Linux panic, or a unikernel's own module would be refused."""
    path = write(tmp_path, b"some script")
    check_bootable(KERNEL, Role.INITRD, path)
    linux = system(Kernel(initrd=True), GuestFamily.LINUX)
    assert "is not an initramfs" in refusal(path, Role.INITRD, linux).message


@pytest.mark.parametrize(
    "contents",
    [
        mbr_disk(),
        mbr_disk(code=b"\x90" * 510),
        gpt_disk(BIOS_BOOT, LINUX_ROOT),
        gpt_disk(ESP, LINUX_ROOT, code=b""),
    ],
)
def test_bootable_raw_disks_pass(tmp_path: Path, contents: bytes) -> None:
    """A disk that boots would be refused."""
    check_bootable(RAW_DISK, Role.DISK, write(tmp_path, contents))


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (b"\1" * 4096, "no boot signature"),
        (b"\1" * 100, "no boot signature"),
        (mbr_disk(code=b""), "no boot code"),
        (gpt_disk(BIOS_BOOT, LINUX_ROOT, code=b""), "no boot code"),
        (gpt_disk(ESP, ARM64_ROOT), "is a disk for AArch64"),
        (mbr_disk(partition_sectors=1000), "is truncated: partition 1 ends"),
        (gpt_disk(LINUX_ROOT, last=1 << 20), "is truncated: the partition table's backup ends"),
        (b"KDMV" + b"\0" * 600, "is a VMDK image"),
    ],
)
def test_raw_disks_that_cannot_boot_are_refused(tmp_path: Path, contents: bytes, words: str) -> None:
    """The firmware would look for a boot device for ever, and the trial would only time out."""
    assert words in refusal(write(tmp_path, contents), Role.DISK, RAW_DISK).message


def test_disk_format_mix_ups_say_how_to_convert(tmp_path: Path) -> None:
    """A qcow2 file booted as a raw disk would show a guest without a boot sector."""
    error = refusal(write(tmp_path, qcow2(), "a b"), Role.DISK, RAW_DISK)
    assert error.message == f"{tmp_path}/a b is a qcow2 image, but system guest boots a raw one"
    assert error.hint == f"qemu-img convert -f qcow2 -O raw '{tmp_path}/a b' '{tmp_path}/a b.raw'"
    error = refusal(write(tmp_path, mbr_disk()), Role.DISK, QCOW2_DISK)
    assert error.message.endswith("is a raw image, but system guest boots a qcow2 one")
    error = refusal(write(tmp_path, b"no disk at all"), Role.DISK, QCOW2_DISK)
    assert error.message.endswith("is not a qcow2 disk image")


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        (qcow2(data_at=1 << 30), "is truncated: a cluster of data ends at byte 1073807360"),
        (qcow2()[: 3 << 16], "is truncated: an L2 table ends"),
        (qcow2()[: 2 << 16], "is truncated: its L1 table ends"),
        (qcow2()[: 1 << 16], "is truncated: its refcount table ends"),
        (qcow2()[:50], "is truncated: the qcow2 header ends"),
        (qcow2(virtual_bytes=1 << 50), "its L1 table is too small"),
        (qcow2(version=1), "of version 1"),
        (qcow2(cluster_bits=22), "2^22 bytes"),
        (qcow2(features=1 << 7), "features that are not known"),
        (qcow2(backing=b"/etc/\x1bpasswd"), r"is an overlay of /etc/\x1bpasswd"),
        (qcow2(features=1 << 2), "keeps its data in another file"),
        (qcow2(features=1 << 1), "is marked as corrupt"),
        (qcow2(crypt=1), "is encrypted"),
    ],
)
def test_qcow2_images_that_cannot_be_used_are_refused(tmp_path: Path, contents: bytes, words: str) -> None:
    """A broken image would fail in the middle of a run, or a hostile one make QEMU read files of the host."""
    assert words in refusal(write(tmp_path, contents), Role.DISK, QCOW2_DISK).message


@pytest.mark.parametrize("size", [4096, 4097, 7003, 7167, 7168, 7679])
@pytest.mark.parametrize("version", [2, 3])
def test_a_disk_is_as_large_as_qemu_says(tmp_path: Path, size: int, version: int) -> None:
    """A guest would be told to have more disk than it sees, where its size is no multiple of a sector."""
    image = write(tmp_path, qcow2(version=version, cluster_bits=9, virtual_bytes=size, data_at=512))
    done = process.run(["qemu-img", "info", "-U", "--output=json", "-f", "qcow2", image])
    assert disk.read_info(image).virtual_bytes == json.loads(done.stdout)["virtual-size"]


def test_disk_beside_a_kernel_needs_no_boot_sector(tmp_path: Path) -> None:
    """A data disk of a guest that is booted by -kernel would be refused."""
    path = write(tmp_path, qcow2())
    check_bootable(system(Kernel(disk=Disk().format)), Role.DISK, path)


SEEDS = (*BOOTABLE.values(), mbr_disk(), gpt_disk(ESP, LINUX_ROOT), qcow2(cluster_bits=9))


@given(
    base=st.sampled_from(SEEDS),
    changes=st.lists(st.tuples(st.integers(0, 1200), st.binary(min_size=1, max_size=8)), max_size=5),
    length=st.integers(0, 70000),
    role=st.sampled_from(Role),
    guest=st.sampled_from([KERNEL, RAW_DISK]),
)
def test_hostile_images_raise_only_image_errors(
    tmp_path_factory: pytest.TempPathFactory,
    base: bytes,
    changes: list[tuple[int, bytes]],
    length: int,
    role: Role,
    guest: System,
) -> None:
    """A forged image would end a run with a traceback."""
    contents = bytearray(base)
    for offset, change in changes:
        contents[offset : offset + len(change)] = change
    path = tmp_path_factory.getbasetemp() / "hostile-image"
    path.write_bytes(bytes(contents[:length]))
    try:
        check_bootable(guest, role, path)
    except ImageError as error:
        assert error.hint


def test_unikernel_fixture_has_text_data_and_bss() -> None:
    """The other tests would not notice a kind of segment that is forgotten."""
    assert {load.flags for load in UNIKERNEL} == {4, 5, 6}
    assert struct.unpack_from("<H", elf64(), 56) == (3,)
