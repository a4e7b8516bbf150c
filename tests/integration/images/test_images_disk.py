"""Disk images as files: formats, sizes, cut and damaged ones, and what may not be opened."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guestbench.errors import ImageError
from guestbench.host import process
from guestbench.images.check import check_bootable
from guestbench.images.formats import disk
from guestbench.model import Disk, DiskFormat, GuestFamily, Role, System

MIB = 1 << 20
GUEST = System(
    name="guest", title="Guest", family=GuestFamily.LINUX, boot=Disk(), ready="login: ", timeout_s=1
)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT disk with a file system, under a hard name."""
    path = tmp_path_factory.mktemp("disk ?offset=1") / "a disk?offset=7, 'x'.raw"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
    process.run(["sfdisk", "-q", path], input=b"label: gpt\nstart=8192, size=32768, type=L\n")
    process.run(["mke2fs", "-q", "-F", "-t", "ext4", "-E", f"offset={4 * MIB}", path, "16384k"])
    return path


def to_qcow2(raw: Path, path: Path, *options: str) -> Path:
    """A qcow2 copy of a raw disk."""
    process.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, raw, path])
    return path


@pytest.mark.parametrize(
    "options", [(), ("-c",), ("-c", "-o", "compression_type=zstd"), ("-o", "compat=0.10")]
)
def test_qcow2_is_converted_to_the_same_sparse_disk(
    raw: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """What is measured inside a disk would depend on its container, or fill the host's disk."""
    image = to_qcow2(raw, tmp_path / "a b.qcow2", *options)
    info = disk.read_info(image)
    assert (info.format, info.virtual_bytes) == (DiskFormat.QCOW2, 64 * MIB)
    copy = tmp_path / "copy"
    disk.convert_to_raw(image, copy)
    assert copy.stat().st_blocks * 512 < 16 * MIB
    assert copy.read_bytes() == raw.read_bytes()


def test_raw_image_is_never_probed(raw: Path, tmp_path: Path) -> None:
    """A guest that writes another format's header to its raw disk could make QEMU open files of the host."""
    assert disk.read_info(raw).format is DiskFormat.RAW
    disk.convert_to_raw(raw, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == raw.read_bytes()


def test_files_named_in_an_image_are_not_opened(tmp_path: Path) -> None:
    """A downloaded image could copy a secret of the host into the results."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 1000)
    overlay = tmp_path / "overlay.qcow2"
    process.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", overlay])
    with pytest.raises(ImageError, match="is an overlay of"):
        disk.read_info(overlay)
    with pytest.raises(ImageError, match="is an overlay of"):
        disk.convert_to_raw(overlay, tmp_path / "copy")
    with pytest.raises(ImageError, match="is an overlay of"):
        check_bootable(GUEST, Role.DISK, overlay)

    external = tmp_path / "external.qcow2"
    process.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={tmp_path}/data", external, "1M"]
    )
    for read in (disk.read_info, lambda image: disk.convert_to_raw(image, tmp_path / "copy")):
        with pytest.raises(ImageError, match="keeps its data in another file"):
            read(external)


@pytest.mark.parametrize("options", [(), ("-c",), ("-o", "cluster_size=4k"), ("-o", "extended_l2=on")])
def test_boot_sector_is_checked_inside_qcow2(raw: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    """A qcow2 image without a boot loader would be booted until it times out."""
    image = to_qcow2(raw, tmp_path / "blank.qcow2", *options)
    with pytest.raises(ImageError, match="there is no boot code"):
        check_bootable(GUEST, Role.DISK, image)
    bootable = tmp_path / "bootable"
    bootable.write_bytes(b"\xeb\xfe" + raw.read_bytes()[2:])
    image = to_qcow2(bootable, tmp_path / "bootable.qcow2", *options)
    check_bootable(GUEST, Role.DISK, image)


LAYOUTS = [
    (),
    ("-c",),
    ("-c", "-o", "compression_type=zstd"),
    ("-o", "cluster_size=4k"),
    ("-o", "extended_l2=on"),
    ("-o", "preallocation=metadata"),
    ("-o", "compat=0.10"),
]


@pytest.mark.parametrize("options", LAYOUTS)
def test_broken_off_download_is_noticed(raw: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    """Of a disk that is cut off the first packages would be counted, and it would boot until it reads on."""
    image = to_qcow2(raw, tmp_path / "image.qcow2", *options)
    whole = image.stat().st_size
    for kept in (0.97, 0.88, 0.6, 0.3, 0.02):
        os.truncate(image, int(whole * kept))
        for read in (lambda path: check_bootable(GUEST, Role.DISK, path), disk.read_info):
            with pytest.raises(ImageError, match=r"is truncated: .* the file at byte"):
                read(image)


@pytest.mark.parametrize("options", LAYOUTS)
@pytest.mark.parametrize("size_bytes", [10 * MIB, 10 * MIB + 5 * 512, 3 * 512])
def test_whole_disk_of_any_size_and_layout_is_not_taken_for_a_cut_one(
    tmp_path: Path, options: tuple[str, ...], size_bytes: int
) -> None:
    """A sound disk whose last cluster is not full would be refused."""
    raw = tmp_path / "raw"
    chunks = {0: 600, size_bytes // 2: 700, max(0, size_bytes - 600): 600}
    with raw.open("wb") as file:
        file.truncate(size_bytes)
        for at, length in chunks.items():
            file.seek(at)
            file.write(random.Random(at).randbytes(min(length, size_bytes - at)))
    assert disk.read_info(to_qcow2(raw, tmp_path / "image.qcow2", *options)).virtual_bytes == size_bytes


def test_disk_that_was_written_to_by_a_guest_is_not_taken_for_a_cut_one(tmp_path: Path) -> None:
    """A disk with a few clusters of all kinds, as a VMM leaves it, would be refused."""
    image = tmp_path / "image.qcow2"
    process.run(["qemu-img", "create", "-q", "-f", "qcow2", image, str(10 * MIB + 512)])
    for command in ("write 5M 512", "write -z 6M 128k", "write -c 7M 64k", "write 10M 512", "discard 5M 64k"):
        process.run(["qemu-io", "-c", command, image])
        disk.read_info(image)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(st.integers(4, 300) | st.integers(0, 5 << 16), st.binary(min_size=1, max_size=16)),
        min_size=1,
        max_size=6,
    )
)
def test_damaged_qcow2_images_raise_only_image_errors(
    raw: Path, tmp_path: Path, changes: list[tuple[int, bytes]]
) -> None:
    """A damaged image would end a run with a traceback."""
    path = tmp_path / "damaged.qcow2"
    good = tmp_path / "good.qcow2"
    if not good.exists():
        to_qcow2(raw, good)
    contents = bytearray(good.read_bytes())
    for offset, change in changes:
        contents[offset : offset + len(change)] = change
    path.write_bytes(bytes(contents))
    for read in (disk.read_info, lambda image: check_bootable(GUEST, Role.DISK, image)):
        try:
            read(path)
        except ImageError as error:
            assert error.message.startswith(str(path))
