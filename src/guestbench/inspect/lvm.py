"""Reads the metadata of LVM2 from a physical volume, and says how device-mapper puts its volumes together.

Only linear and striped volumes can be; the others are named. Format: LVM2, lib/format_text/layout.h.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

SECTOR = 512
_LABEL, _KIND = b"LABELONE", b"LVM2 001"
_MAGIC = b" LVM2 x[5A%r0N*>"
_LABELS = 4
"""The label is in one of the first sectors."""
_MAX_TEXT_BYTES = 4 << 20
_MAX_AREAS, _MAX_DEPTH, _MAX_SEGMENTS = 16, 12, 4096
_LARGEST = 1 << 63
_NUMBER = re.compile(r"[0-9]{1,15}")
_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|([\w.+/-]+)|([{}\[\]=,])|#[^\n]*|\s+')

Read = Callable[[int, int], bytes]
"""Bytes of the physical volume: from where, and how many."""


class LogicalVolume(NamedTuple):
    """A volume by its group's name and its own: a device-mapper table, or why there is none."""

    group: str
    name: str
    table: str
    problem: str = ""


def read_physical_volume(read: Read) -> tuple[str, str]:
    """The identifier of a physical volume, and the newest metadata on it, which may be on another volume.

    Raises:
        ValueError: it is none, or is damaged.
    """
    start = read(0, _LABELS * SECTOR)
    at = next((at for at in range(0, len(start), SECTOR) if start.startswith(_LABEL, at)), None)
    if at is None or start[at + 24 : at + 32] != _KIND:
        raise ValueError("it has no label of LVM2")
    (offset,) = struct.unpack_from("<I", start, at + 20)
    sector = start[at : at + SECTOR]
    identifier = sector[offset : offset + 32].decode("ascii", "replace")
    lists = sector[offset + 40 :]
    areas = list(struct.iter_unpack("<QQ", lists[: len(lists) // 16 * 16]))
    # Two lists, each ended by a pair of zeros: of data, and of metadata.
    ends = [number for number, pair in enumerate(areas) if pair == (0, 0)]
    if len(ends) < 2:
        raise ValueError("its label has no list of metadata")
    texts = [_read_area(read, *area) for area in areas[ends[0] + 1 : ends[1]][:_MAX_AREAS]]
    return identifier, next(filter(None, texts), "")


def _read_area(read: Read, offset: int, length: int) -> str:
    header = read(offset, SECTOR)
    if header[4:20] != _MAGIC or len(header) < 72:
        raise ValueError("its area of metadata is damaged")
    start, size, _ = struct.unpack_from("<QQI", header, 40)
    if not size:
        return ""
    if size > _MAX_TEXT_BYTES or not SECTOR <= start < length or offset + length >= _LARGEST:
        raise ValueError("its metadata lie outside of their area")
    # The area is a ring behind its header.
    first = min(size, length - start)
    text = read(offset + start, first) + read(offset + SECTOR, size - first)
    if len(text) != size:
        raise ValueError("its metadata are cut")
    return text.decode("utf-8", "replace").rstrip("\0")


def find_volumes(text: str, devices: Mapping[str, str]) -> Iterator[LogicalVolume]:
    """The visible volumes that metadata describe; `devices` are paths of physical volumes by identifier.

    Raises:
        ValueError: it is not sound.
    """
    tree = _parse(text)
    group = next((name for name, value in tree.items() if isinstance(value, dict)), None)
    if group is None:
        raise ValueError("it names no volume group")
    try:
        facts = tree[group]
        extent = _to_number(facts["extent_size"])
        places = {
            name: (devices.get(str(each["id"]).replace("-", ""), ""), _to_number(each["pe_start"]))
            for name, each in facts["physical_volumes"].items()
        }
        for name, volume in facts.get("logical_volumes", {}).items():
            if "VISIBLE" in volume["status"]:
                yield _describe(group, name, volume, extent, places)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError("its metadata are not sound") from error


def _describe(
    group: str, name: str, volume: dict[str, Any], extent: int, places: Mapping[str, tuple[str, int]]
) -> LogicalVolume:
    lines = []
    count = _to_number(volume["segment_count"])
    for number in range(1, min(count, _MAX_SEGMENTS) + 1):
        segment = volume[f"segment{number}"]
        if segment["type"] != "striped":
            return LogicalVolume(group, name, "", f"it is of type {segment['type']}")
        begin, length = (_to_number(segment[key]) * extent for key in ("start_extent", "extent_count"))
        stripes = segment["stripes"]
        if not stripes or isinstance(stripes, str):
            raise ValueError("its metadata are not sound")
        parts = []
        for at in range(0, len(stripes), 2):
            device, start = places[stripes[at]]
            if not device:
                return LogicalVolume(group, name, "", "a part of it is not on this disk")
            parts.append(f"{device} {start + _to_number(stripes[at + 1]) * extent}")
        if len(parts) == 1:
            lines.append(f"{begin} {length} linear {parts[0]}")
        else:
            striped = f"striped {len(parts)} {_to_number(segment['stripe_size'])}"
            lines.append(f"{begin} {length} {striped} {' '.join(parts)}")
    if count > _MAX_SEGMENTS or not lines:
        return LogicalVolume(group, name, "", f"it has {count} segments")
    return LogicalVolume(group, name, "\n".join(lines))


def _to_number(word: str) -> int:
    """A whole number, which is what device-mapper takes.

    Raises:
        ValueError: it is none.
    """
    if not _NUMBER.fullmatch(word):
        raise ValueError("its metadata are not sound")
    return int(word)


# --- the text -----------------------------------------------------------------------------------------


def _parse(text: str) -> dict[str, Any]:
    """Sections as dictionaries, lists as lists, and all else as texts."""
    tokens = _split(text)
    return _parse_section(tokens, 0)


def _split(text: str) -> Iterator[tuple[str, bool]]:
    """Words and marks, and whether each is a mark."""
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise ValueError("its metadata are not sound")
        at = found.end()
        quoted, word, mark = found.groups()
        if mark is not None:
            yield mark, True
        elif quoted is not None or word is not None:
            yield quoted if quoted is not None else word, False


def _parse_section(tokens: Iterator[tuple[str, bool]], depth: int) -> dict[str, Any]:
    if depth > _MAX_DEPTH:
        raise ValueError("its metadata are not sound")
    section: dict[str, Any] = {}
    for name, is_mark in tokens:
        if is_mark:
            if name == "}":
                return section
            raise ValueError("its metadata are not sound")
        mark = next(tokens, ("", True))
        if mark == ("{", True):
            section[name] = _parse_section(tokens, depth + 1)
            continue
        if mark != ("=", True):
            raise ValueError("its metadata are not sound")
        value, is_mark = next(tokens, ("", True))
        section[name] = _parse_list(tokens) if is_mark and value == "[" else value
    return section


def _parse_list(tokens: Iterator[tuple[str, bool]]) -> list[str]:
    values = []
    for value, is_mark in tokens:
        if not is_mark:
            values.append(value)
        elif value == "]":
            return values
    raise ValueError("its metadata are not sound")
