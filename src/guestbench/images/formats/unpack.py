"""Unpacks gzip, xz, bzip2, LZMA and zstd data up to a limit; it never trusts a stated size."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeAlias

from guestbench.host import process
from guestbench.images.formats.lz4 import LZ4_LEGACY, unpack_lz4
from guestbench.images.source import Source, copy_out, unusable

LZ4_FRAME = b"\x04\x22\x4d\x18"
MAGICS = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\0": "xz",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x5d\0\0": "lzma",
    LZ4_LEGACY: "lz4",
    LZ4_FRAME: "lz4 (frame format)",
    b"\x89LZO": "lzo",
}
"""How compressed data begins."""

_CHUNK = 1 << 20
_ZSTD_S = 60.0
_MOST_BLOCKS = 1 << 20
"""In a frame of zstd; each may hold 128 KiB, and a hostile one nothing."""
_XZ_BYTES = 512 << 20
"""Memory that unpacking may take; `xz -9` asks for 65 MiB."""
Write: TypeAlias = Callable[[bytes], None]


def find_compression(start: bytes) -> str | None:
    """The name of a compression by the first bytes; None for none that is known."""
    return next((name for magic, name in MAGICS.items() if start.startswith(magic)), None)


def unpack(source: Source, offset: int, length: int, dest: IO[bytes], limit_bytes: int) -> int:
    """Unpack the stream that begins at `offset` into `dest`; returns how many bytes of the source it took.

    At most `length` bytes of the source are read; what follows the stream is left alone. A stream is one
    member of gzip, one frame of zstd, one stream of the others.

    Raises:
        ImageError: it is damaged, of a compression that cannot be unpacked, or would unpack to more than
            `limit_bytes`.
        ToolMissing: zstd is needed and not installed.
    """
    length = min(length, source.size_bytes - offset)
    room = limit_bytes

    def write(part: bytes) -> None:
        nonlocal room
        room -= len(part)
        if room < 0:
            raise unusable(source.path, f"would unpack to more than {limit_bytes >> 20} MiB")
        dest.write(part)

    kind = find_compression(source.read_some(offset, 8))
    match kind:
        case "zstd":
            return _unpack_zstd(source, offset, length, write)
        case "lz4":
            return unpack_lz4(source, offset, length, write)
        case "gzip":
            engine: Any = zlib.decompressobj(wbits=31)
        case "xz":
            engine = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_BYTES)
        case "lzma":
            engine = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_XZ_BYTES)
        case "bzip2":
            engine = bz2.BZ2Decompressor()
        case _:
            raise unusable(source.path, f"is compressed with {kind or 'something unknown'}: not supported")
    return _unpack_with(engine, source, offset, length, write, kind)


def _unpack_with(engine: Any, source: Source, offset: int, length: int, write: Write, kind: str) -> int:
    """Unpack with an object of the standard library; returns how many bytes it took."""
    taken = 0
    pending = b""
    try:
        while not engine.eof:
            if not pending and getattr(engine, "needs_input", True):
                pending = source.read_some(offset + taken, min(_CHUNK, length - taken))
                taken += len(pending)
            part = engine.decompress(pending, _CHUNK)
            if not part and not pending:
                break
            # zlib hands back what it has not used yet; the others keep it.
            pending = engine.unconsumed_tail if kind == "gzip" else b""
            write(part)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
        raise unusable(source.path, f"is damaged: its {kind} data cannot be unpacked") from error
    if not engine.eof:
        raise unusable(source.path, f"is truncated: its {kind} data has no end")
    return taken - len(engine.unused_data)


def _unpack_zstd(source: Source, offset: int, length: int, write: Write) -> int:
    """Unpack one frame; returns its length. zstd gets a copy of it, as it would read on behind its end."""
    taken = _measure_zstd(source, offset, length)
    with (
        copy_out(source, [(offset, taken)]) as frame,
        Path(frame.device).open("rb") as packed,
        process.start(["zstd", "-dcq"], stdin=packed, stdout=process.PIPE) as child,
    ):
        assert child.stdout is not None
        while part := child.stdout.read(_CHUNK):
            write(part)
        status = child.wait(_ZSTD_S)
    if status != 0:
        raise unusable(source.path, "is damaged: its zstd data cannot be unpacked")
    return taken


def _measure_zstd(source: Source, offset: int, length: int) -> int:
    """The length of the zstd frame at `offset`, by its headers. Format: RFC 8878, 3.1.1."""
    descriptor = source.read_some(offset + 4, 1)[0] if length > 4 else 0
    content_bytes = (0, 2, 4, 8)[descriptor >> 6]
    # In a frame of one segment, a size of the contents takes the place of the window's.
    at = 5 + max(content_bytes, 1) if descriptor & 0x20 else 6 + content_bytes
    at += (0, 1, 2, 4)[descriptor & 3]  # the dictionary's number
    for _ in range(_MOST_BLOCKS):
        if at + 3 > length:
            break
        header = int.from_bytes(source.read_some(offset + at, 3), "little")
        # A block of one repeated byte (type 1) holds that byte.
        at += 3 + (1 if header >> 1 & 3 == 1 else header >> 3)
        if header & 1:
            at += 4 if descriptor & 4 else 0
            if at <= length:
                return at
            break
    raise unusable(source.path, "is truncated: its zstd data has no end")
