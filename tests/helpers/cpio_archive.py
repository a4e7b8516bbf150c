"""Reads cpio archives as the kernel does."""

from __future__ import annotations


def unpack(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Mode and data of each entry of a newc archive, checking what the kernel checks."""
    entries: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert archive[at : at + 6] == b"070701"
        numbers = [int(archive[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_length = numbers[1], numbers[6], numbers[11]
        name_at = at + 110
        name = archive[name_at : name_at + name_length - 1].decode()
        assert archive[name_at + name_length - 1] == 0
        data_at = (name_at + name_length + 3) // 4 * 4
        if name == "TRAILER!!!":
            return entries
        entries[name] = (mode, archive[data_at : data_at + size])
        at = (data_at + size + 3) // 4 * 4
