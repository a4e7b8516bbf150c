"""Unpacks LZ4's legacy format, in which Linux kernels and initial ramdisks are packed; it packs nothing.

No tool that Debian installs by default reads it, and it takes 60 lines. Each block unpacks to 8 MiB at most
and stands alone. Format: LZ4's lz4_Frame_format.md ("Legacy frame") and lz4_Block_format.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from guestbench.images.source import unusable

LZ4_LEGACY = b"\x02\x21\x4c\x18"
MAX_LZ4_BYTES = 64 << 20
_BLOCK_BYTES = 8 << 20


def unpack_lz4(path: Path, data: bytes) -> Iterator[bytes]:
    """The blocks of a legacy LZ4 stream, unpacked; what follows the last sound block length is left alone.

    Raises:
        ImageError: it is damaged or truncated.
    """
    at, blocks = len(LZ4_LEGACY), 0
    while at + 4 <= len(data):
        (length,) = struct.unpack_from("<I", data, at)
        if data[at : at + 4] == LZ4_LEGACY:
            at += 4
            continue
        # A full block that cannot be made smaller grows by less than 1 byte in 255. What is no length ends
        # the stream: the kernel's build appends the unpacked size.
        if not 0 < length <= _BLOCK_BYTES + _BLOCK_BYTES // 255 + 16 or at + 4 + length > len(data):
            break
        block = _unpack_block(data[at + 4 : at + 4 + length])
        if block is None:
            raise unusable(path, "is damaged: its lz4 data cannot be unpacked")
        yield block
        blocks += 1
        at += 4 + length
        if len(block) < _BLOCK_BYTES:
            break  # only the last block is not full
    if not blocks:
        raise unusable(path, "is truncated: its lz4 data has no end")


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
