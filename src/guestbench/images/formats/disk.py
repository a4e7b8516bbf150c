"""Tells qcow2 from raw disks and asks qemu-img for their sizes and contents.

It never changes an image, and never opens a file that an image names.
"""

from __future__ import annotations

import json
from pathlib import Path

from guestbench.errors import ImageError
from guestbench.host import process
from guestbench.images.formats import qcow2
from guestbench.images.source import no_space, open_source, quoted, unusable
from guestbench.model import DiskFormat, Frozen
from guestbench.text import visible

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


class ImageInfo(Frozen):
    """What an image is: its format, and its bytes as a file and as the guest sees them."""

    format: DiskFormat
    file_bytes: int
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


def read_info(image: Path) -> ImageInfo:
    """Read an image's sizes with `qemu-img info`.

    Raises:
        ImageError: it is not a sound qcow2 or raw image, or one that names another file.
        ToolMissing, ToolFailed: qemu-img is not installed, or failed.
    """
    kind = _check_format(image)
    # -U: the image may be in use by a VM, and is only looked at.
    answer = run_qemu_img(image, ["info", "-U", "-f", kind.value, "--output=json", str(image.absolute())])
    try:
        virtual_bytes = int(json.loads(answer)["virtual-size"])
    except (ValueError, KeyError, TypeError) as error:
        raise unusable(image, "is described by qemu-img in a way that cannot be read") from error
    return ImageInfo(format=kind, file_bytes=image.stat().st_size, virtual_bytes=virtual_bytes)


def convert_to_raw(image: Path, dest: Path) -> None:
    """Write the contents of an image to `dest` as a sparse raw file.

    Raises:
        ImageError: it is not a sound qcow2 or raw image, or one that names another file.
        ToolMissing, ToolFailed: qemu-img is not installed, or failed.
    """
    kind = _check_format(image)
    argv = ["convert", "-U", "-f", kind.value, "-O", "raw", str(image.absolute()), str(dest.absolute())]
    run_qemu_img(image, argv)


def _check_format(image: Path) -> DiskFormat:
    kind = find_format(image)
    if kind is DiskFormat.QCOW2:
        with open_source(image) as source:
            qcow2.read_header(source)
    return kind


def run_qemu_img(image: Path, arguments: list[str]) -> bytes:
    """Run qemu-img on `image`; what it writes, if anything, is its last argument. Returns what it prints.

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
    return done.stdout


def add_suffix(image: Path, kind: DiskFormat) -> Path:
    """The name of a file beside `image`, for a copy in another format."""
    return image.with_name(f"{image.name}.{kind.value}")
