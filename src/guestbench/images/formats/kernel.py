"""Reads what QEMU's `-kernel` can load: Linux bzImages and multiboot headers.

Sources: the kernel's "Linux/x86 Boot Protocol" and the "Multiboot Specification version 0.6.96".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guestbench.images.formats.uki import open_linux, read_uki
from guestbench.images.formats.unpack import unpack
from guestbench.images.source import Source, open_source, unusable
from guestbench.model import Frozen

MAX_KERNEL_BYTES = 512 << 20
SEARCHED_BYTES = 8192
"""A multiboot header lies, 4-aligned, within these first bytes; so does all else that is looked at."""

_ELF = b"\x7fELF"
_MULTIBOOT_MAGIC = 0x1BADB002
_MULTIBOOT_ADDRESSES = 1 << 16

_OTHER_KINDS = (
    (0x38, b"ARM\x64", "is a Linux kernel for AArch64"),
    (0x38, b"RSC\x05", "is a Linux kernel for RISC-V"),
    (0x24, b"\x18\x28\x6f\x01", "is a Linux kernel for ARM"),
    (0, b"QFI\xfb", "is a qcow2 disk image, not a kernel"),
    (0, b"\x1f\x8b", "is compressed with gzip; x86 kernels are not"),
    (0, b"\x28\xb5\x2f\xfd", "is compressed with zstd; x86 kernels are not"),
    (0, b"\xfd7zXZ", "is compressed with xz; x86 kernels are not"),
    (0, b"#!", "is a script, not a kernel"),
    (0, b"!<arch>", "is an archive, not a kernel"),
    (0, b"MZ", "is an EFI program without the header of a Linux kernel"),
    (510, b"\x55\xaa", "is a disk image or boot sector, not a kernel"),
)
"""Offset, bytes and words for files that are often mistaken for a kernel."""


class LinuxHeader(Frozen):
    """The setup header of a bzImage; `needed_bytes` is how long the file must be at least.

    `version_at` is where in the file its version string begins, 0 if it has none; its compressed program is
    `payload_bytes` bytes from `payload_at`, 0 where the protocol does not tell.
    """

    needed_bytes: int
    version_at: int
    payload_at: int
    payload_bytes: int


class MultibootHeader(Frozen):
    """A multiboot 1 header at byte `offset`. `load_end` is where in the file the loaded part ends.

    `load_end` is None where the header has no address fields; the loader then goes by the ELF headers.
    """

    offset: int
    load_end: int | None


def find_linux_header(start: bytes) -> LinuxHeader | None:
    """The setup header in a kernel's first bytes; None if it is not a bzImage."""
    if start[0x202:0x206] != b"HdrS" or len(start) < 0x260:
        return None
    setup_bytes = ((start[0x1F1] or 4) + 1) * 512
    (paragraphs,) = struct.unpack_from("<I", start, 0x1F4)
    protocol, version = struct.unpack_from("<H6xH", start, 0x206)
    offset, length = struct.unpack_from("<II", start, 0x248) if protocol >= 0x208 else (0, 0)
    if protocol < 0x204:
        paragraphs &= 0xFFFF
    return LinuxHeader(
        # The last paragraph may be cut: the size is rounded up to 16 bytes.
        needed_bytes=setup_bytes + max(0, paragraphs * 16 - 15),
        version_at=version + 0x200 if version else 0,
        payload_at=setup_bytes + offset,
        payload_bytes=length,
    )


def find_multiboot_header(start: bytes, size_bytes: int) -> MultibootHeader | None:
    """The first multiboot header with a right checksum in a kernel's first bytes, if any.

    `size_bytes` is the length of the whole file: without an end address, all of it is loaded.
    """
    start = start[:SEARCHED_BYTES]
    at = -1
    magic = struct.pack("<I", _MULTIBOOT_MAGIC)
    while (at := start.find(magic, at + 1)) >= 0:
        if at % 4 or at + 12 > len(start):
            continue
        flags, checksum = struct.unpack_from("<II", start, at + 4)
        if (_MULTIBOOT_MAGIC + flags + checksum) % (1 << 32):
            continue
        if not flags & _MULTIBOOT_ADDRESSES or at + 32 > len(start):
            return MultibootHeader(offset=at, load_end=None)
        header_addr, load_addr, load_end_addr = struct.unpack_from("<III", start, at + 12)
        load_start = at - (header_addr - load_addr)
        end = size_bytes if load_end_addr == 0 else load_start + load_end_addr - load_addr
        return MultibootHeader(offset=at, load_end=end if load_start >= 0 else -1)
    return None


def describe_other(start: bytes) -> str:
    """What a file that is no kernel for x86 seems to be, as words that follow its name."""
    for offset, magic, words in _OTHER_KINDS:
        if start[offset : offset + len(magic)] == magic:
            return words
    return "is not a kernel that QEMU can load: no Linux, multiboot or PVH header"


@contextmanager
def open_vmlinux(source: Source, scratch: Path) -> Iterator[Source]:
    """The program inside a bzImage, unpacked into a file in the folder `scratch`.

    The bzImage may be in a unified kernel image. What is an uncompressed kernel already is left as it is.

    Raises:
        ImageError: it is not a kernel, is damaged, or is compressed in a way that is not supported.
        ToolMissing: zstd is needed and not installed.
        OSError: `scratch` cannot be written.
    """
    if find_linux_header(source.read_some(0, SEARCHED_BYTES)) is None and (uki := read_uki(source)):
        with open_linux(source, uki) as inner, _unpack_kernel(inner, scratch) as found:
            yield found
    else:
        with _unpack_kernel(source, scratch) as found:
            yield found


@contextmanager
def _unpack_kernel(source: Source, scratch: Path) -> Iterator[Source]:
    """As `open_vmlinux`, of what is in no unified kernel image: one may claim to hold itself."""
    start = source.read_some(0, SEARCHED_BYTES)
    header = find_linux_header(start)
    if start.startswith(_ELF):
        yield source
        return
    if header is None or not header.payload_bytes:
        raise unusable(source.path, "is not a bzImage of boot protocol 2.08 or newer")
    if header.payload_at + header.payload_bytes > source.size_bytes:
        raise unusable(source.path, "is truncated: its compressed kernel lies beyond its end")
    vmlinux = scratch / "vmlinux"
    try:
        with vmlinux.open("wb") as file:
            unpack(source, header.payload_at, header.payload_bytes, file, MAX_KERNEL_BYTES)
        with open_source(vmlinux, shown=source.path) as inner:
            yield inner
    finally:
        vmlinux.unlink(missing_ok=True)
