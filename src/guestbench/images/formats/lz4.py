"""Unpacks LZ4's legacy format, in which Linux kernels and initial ramdisks are packed; it packs nothing.

No tool that Debian installs by default reads it, and it takes 60 lines. Each block unpacks to 8 MiB at most
and stands alone. Format: LZ4's lz4_Frame_format.md ("Legacy frame") and lz4_Block_format.md.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from guestbench.images.source import Source, unusable

LZ4_LEGACY = b"\x02\x21\x4c\x18"
_BLOCK_BYTES = 8 << 20
_LONGEST = _BLOCK_BYTES + _BLOCK_BYTES // 255 + 16
"""A full block that cannot be made smaller grows by less than 1 byte in 255."""


def unpack_lz4(source: Source, offset: int, length: int, write: Callable[[bytes], None]) -> int:
    """Unpack the legacy LZ4 stream at `offset`, of at most `length` bytes; returns how many of them it took.

    It ends before what is no length of a block: zeros, or the unpacked size that the kernel's build appends.

    Raises:
        ImageError: it is damaged or truncated.
    """
    at, blocks = len(LZ4_LEGACY), 0
    while at + 4 <= length:
        start = source.read_some(offset + at, 4)
        if start == LZ4_LEGACY:
            at += 4
            continue
        (packed,) = struct.unpack("<I", start)
        if not 0 < packed <= _LONGEST:
            break
        if at + 4 + packed > length:
            if at + 4 == length and blocks:
                break  # an unpacked size
            raise unusable(source.path, "is truncated: its lz4 data has no end")
        block = _unpack_block(source.read_some(offset + at + 4, packed))
        if block is None:
            raise unusable(source.path, "is damaged: its lz4 data cannot be unpacked")
        write(block)
        blocks += 1
        at += 4 + packed
        if len(block) < _BLOCK_BYTES and source.read_some(offset + at, 4) != LZ4_LEGACY:
            break  # only the last block is not full
    if not blocks:
        raise unusable(source.path, "is truncated: its lz4 data has no end")
    return at


def _unpack_block(block: bytes) -> bytes | None:
    """One block unpacked; None if it is damaged."""
    out = bytearray()
    at, end = 0, len(block)
    try:
        while at < end:
            token = block[at]
            at += 1
            length = token >> 4
            if length == 15:
                length, at = _add_length(block, at, length)
            if at + length > end:
                return None
            out += block[at : at + length]
            at += length
            if at >= end:
                break  # the last sequence has only literals
            distance = block[at] | block[at + 1] << 8
            at += 2
            length = token & 15
            if length == 15:
                length, at = _add_length(block, at, length)
            length += 4
            start = len(out) - distance
            if not distance or start < 0 or len(out) + length > _BLOCK_BYTES:
                return None
            if length <= distance:
                out += out[start : start + length]
            else:
                out += (out[start:] * (length // distance + 1))[:length]
    except IndexError:
        return None
    return bytes(out) if len(out) <= _BLOCK_BYTES else None


def _add_length(block: bytes, at: int, length: int) -> tuple[int, int]:
    """A length that goes on in further bytes, up to one below 255; and where they end."""
    while block[at] == 255:
        length += 255
        at += 1
    return length + block[at], at + 1
