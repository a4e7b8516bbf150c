"""Unpacks gzip, xz, bzip2, LZMA and zstd data up to a limit; it never trusts a stated size."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from guestbench.host import process
from guestbench.images.formats.lz4 import LZ4_LEGACY, MAX_LZ4_BYTES, unpack_lz4
from guestbench.images.source import Source, unusable

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


def find_compression(start: bytes) -> str | None:
    """The name of a compression by the first bytes; None for none that is known."""
    return next((name for magic, name in MAGICS.items() if start.startswith(magic)), None)


def unpack(source: Source, offset: int, length: int, dest: IO[bytes], limit_bytes: int) -> int:
    """Unpack the stream that begins at `offset` into `dest`; returns how many bytes of the source it took.

    At most `length` bytes of the source are read; what follows the stream is left alone, except behind a zstd
    or lz4 stream, of which the end is not known: it counts as the last one.

    Raises:
        ImageError: it is damaged, of a compression that cannot be unpacked, or would unpack to more than
            `limit_bytes`.
        ToolMissing: zstd is needed and not installed.
    """
    length = min(length, source.size_bytes - offset)
    kind = find_compression(source.read_some(offset, 8))
    room = limit_bytes
    if kind == "zstd":
        for part in _unpack_zstd(source, offset, length):
            room = _write(source, part, dest, room, limit_bytes)
        return length
    if kind == "lz4":
        for part in unpack_lz4(source.path, source.read_some(offset, min(length, MAX_LZ4_BYTES))):
            room = _write(source, part, dest, room, limit_bytes)
        return length
    makers: dict[str | None, Callable[[], Any]] = {
        "gzip": lambda: zlib.decompressobj(wbits=31),
        "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=512 << 20),
        "lzma": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=512 << 20),
        "bzip2": bz2.BZ2Decompressor,
    }
    if kind not in makers:
        raise unusable(source.path, f"is compressed with {kind or 'something unknown'}: not supported")
    engine: Any = makers[kind]()
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
            room = _write(source, part, dest, room, limit_bytes)
    except (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError) as error:
        raise unusable(source.path, f"is damaged: its {kind} data cannot be unpacked") from error
    if not engine.eof:
        raise unusable(source.path, f"is truncated: its {kind} data has no end")
    return taken - len(engine.unused_data)


def _write(source: Source, part: bytes, dest: IO[bytes], room: int, limit_bytes: int) -> int:
    if len(part) > room:
        raise unusable(source.path, f"would unpack to more than {limit_bytes >> 20} MiB")
    dest.write(part)
    return room - len(part)


def _unpack_zstd(source: Source, offset: int, length: int) -> Iterator[bytes]:
    """What zstd prints. Its exit status says nothing: it also complains of what follows the stream."""
    with Path(source.device).open("rb") as packed:
        packed.seek(offset)
        # The file's own offset is what zstd reads on from.
        with process.start(["zstd", "-dcq"], stdin=packed, stdout=process.PIPE) as child:
            assert child.stdout is not None
            got = 0
            while part := child.stdout.read(_CHUNK):
                got += len(part)
                yield part
            child.wait(_ZSTD_S)
    if not got:
        raise unusable(source.path, "is damaged: its zstd data cannot be unpacked")
