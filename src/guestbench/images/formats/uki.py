"""Reads unified kernel images: EFI programs with a Linux kernel and its initial ramdisk in sections.

Sources: Microsoft's "PE Format", and the UAPI Group's "Unified Kernel Image (UKI)" specification.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

from guestbench.images.source import Source, copy_out, truncated, unusable
from guestbench.model import Frozen
from guestbench.text import visible

MAX_TEXT_BYTES = 1 << 20
_SECTION = struct.Struct("<8s4I16x")
_LINUX, _CMDLINE, _RELEASE = ".linux", ".cmdline", ".uname"
_RAMDISKS = (".ucode", ".initrd")
"""In the order in which systemd's stub hands them to the kernel, one behind the other."""


class Part(Frozen):
    """A section: where in the file its contents lie, and how long they are."""

    offset: int
    size_bytes: int


class Uki(Frozen):
    """What a unified kernel image holds. `ramdisks` are the parts of one initial ramdisk, if any."""

    linux: Part
    ramdisks: tuple[Part, ...]
    cmdline: str | None
    release: str


def read_uki(source: Source) -> Uki | None:
    """The parts of a unified kernel image; None if the file is something else.

    Raises:
        ImageError: it is damaged or truncated.
    """
    sections = _read_sections(source)
    parts = dict(reversed(sections))  # with several profiles, the first is the one that is booted
    if _LINUX not in parts:
        return None
    for name, part in sections:
        if part.offset + part.size_bytes > source.size_bytes:
            raise truncated(
                source.path, f"its section {visible(name)}", part.offset + part.size_bytes, source.size_bytes
            )
    if sum(part.size_bytes for _, part in sections) > source.size_bytes:
        raise unusable(source.path, "is damaged: its sections overlap")
    cmdline, release = (_read_text(source, parts.get(name)) for name in (_CMDLINE, _RELEASE))
    ramdisks = [part for kind in _RAMDISKS for name, part in sections if name == kind]
    return Uki(linux=parts[_LINUX], ramdisks=tuple(ramdisks), cmdline=cmdline, release=release or "")


@contextmanager
def open_linux(source: Source, uki: Uki) -> Iterator[Source]:
    """The kernel in a unified kernel image, as a file of its own."""
    with copy_out(source, [(uki.linux.offset, uki.linux.size_bytes)]) as part:
        yield part


@contextmanager
def open_ramdisk(source: Source, uki: Uki) -> Iterator[Source]:
    """The initial ramdisk in a unified kernel image, as a file of its own."""
    with copy_out(source, [(part.offset, part.size_bytes) for part in uki.ramdisks], align=4) as part:
        yield part


def _read_sections(source: Source) -> list[tuple[str, Part]]:
    """Names and places of the sections of a PE file, in its order; none if it is no PE file."""
    start = source.read_some(0, 64)
    if len(start) < 64 or start[:2] != b"MZ":
        return []
    (header_at,) = struct.unpack_from("<I", start, 0x3C)
    header = source.read_some(header_at, 24)
    if len(header) < 24 or header[:4] != b"PE\0\0":
        return []
    count, options_bytes = struct.unpack_from("<6xH12xH", header)
    rows = source.read_some(header_at + 24 + options_bytes, count * _SECTION.size)
    if len(rows) < count * _SECTION.size:
        raise unusable(source.path, "is truncated: its table of sections is cut")
    return [
        # What is loaded is the lesser of the two: in the file, sections are filled up.
        (name.rstrip(b"\0").decode("ascii", "replace"), Part(offset=at, size_bytes=min(size, in_file)))
        for name, size, _, in_file, at in _SECTION.iter_unpack(rows)
    ]


def _read_text(source: Source, part: Part | None) -> str | None:
    """The text in a section; None if there is none.

    Raises:
        ImageError: it is too long.
    """
    if part is None:
        return None
    if part.size_bytes > MAX_TEXT_BYTES:
        raise unusable(source.path, f"is damaged: a text in it would have {part.size_bytes} bytes")
    return (
        source.read_some(part.offset, part.size_bytes)
        .split(b"\0")[0]
        .decode("utf-8", "backslashreplace")
        .strip()
    )
