"""Tells qcow2 from raw disks, and has qemu-img write out what they hold.

It never changes an image, and never opens a file that an image names.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from guestbench.errors import ImageError
from guestbench.host import process
from guestbench.images.formats import qcow2
from guestbench.images.source import no_space, open_source, quoted
from guestbench.model import DiskFormat
from guestbench.text import visible

SECTOR = 512
CONVERT_TIMEOUT_S = 1800.0
"""Generous: a 3 GiB image takes seconds; the limit only keeps a broken disk from stopping a run for ever."""

OTHER_FORMATS = {
    b"KDMV": "VMDK",
    b"# Disk DescriptorFile": "VMDK",
    b"vhdxfile": "VHDX",
    b"conectix": "VHD",
    b"<<< ": "VDI",
    b"QED\0": "QED",
}
"""How files of formats that are not supported begin."""


class DiskInfo(NamedTuple):
    """A disk's format, and its size as the guest sees it."""

    format: DiskFormat
    virtual_bytes: int


def find_format(image: Path) -> DiskFormat:
    """Tell qcow2 from raw by the first bytes; what is neither is raw unless it is known as something else.

    Raises:
        ImageError: the file cannot be read, or is of another format.
    """
    with open_source(image) as source:
        start = source.read_some(0, 32)
    if start.startswith(qcow2.MAGIC):
        return DiskFormat.QCOW2
    for magic, name in OTHER_FORMATS.items():
        if start.startswith(magic):
            raise ImageError(
                f"{visible(image)} is a {name} image; qcow2 and raw can be booted",
                f"qemu-img convert -O qcow2 {quoted(image)} {quoted(add_suffix(image, DiskFormat.QCOW2))}",
            )
    return DiskFormat.RAW


def read_info(image: Path) -> DiskInfo:
    """The format and size of a disk that can be used alone.

    Raises:
        ImageError: it is not a sound qcow2 or raw image, is cut, or names another file.
    """
    kind = find_format(image)
    with open_source(image) as source:
        if kind is DiskFormat.QCOW2:
            header = qcow2.read_header(source)
            # QEMU's tools read zeros where a file ends too early.
            qcow2.check_complete(source, header)
            return DiskInfo(kind, header.sector_bytes)
        # The last sector of a raw disk is filled up.
        return DiskInfo(kind, -(-source.size_bytes // SECTOR) * SECTOR)


def convert_to_raw(image: Path, dest: Path) -> None:
    """Write the contents of an image to `dest` as a sparse raw file.

    Raises:
        ImageError: it is not a sound qcow2 or raw image, or one that names another file.
        ToolMissing, ToolFailed: qemu-img is not installed, or failed.
    """
    kind = read_info(image).format.value
    # -U: the image may be in use by a VM, and is only looked at.
    run_qemu_img(
        image, ["convert", "-U", "-f", kind, "-O", "raw", str(image.absolute()), str(dest.absolute())]
    )


def run_qemu_img(image: Path, arguments: list[str]) -> None:
    """Run qemu-img on `image`; what it writes is its last argument.

    Raises:
        ImageError: it cannot read the image.
        HostError: there is no room for its output, or qemu-img is not installed (ToolMissing).
    """
    done = process.run(["qemu-img", *arguments], timeout_s=CONVERT_TIMEOUT_S, check=False)
    if done.status != 0:
        if b"No space left on device" in done.stderr:
            raise no_space(Path(arguments[-1]))
        words = process.tail(done.stderr).strip().splitlines() or ["qemu-img failed"]
        raise ImageError(
            f"{visible(image)} cannot be read: {words[-1].removeprefix('qemu-img: ')}",
            f"qemu-img check {quoted(image)}",
        )


def add_suffix(image: Path, kind: DiskFormat) -> Path:
    """The name of a file beside `image`, for a copy in another format."""
    return image.with_name(f"{image.name}.{kind.value}")
