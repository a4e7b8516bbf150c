"""Reads the /proc/meminfo that a guest printed, which may hold anything; it asks no guest itself."""

from __future__ import annotations

import re
from collections.abc import Iterator

from guestbench.model import Sample

GUEST_FIELDS = (
    *("MemFree", "Buffers", "Cached", "SReclaimable", "SUnreclaim", "Slab", "Shmem", "AnonPages", "Mapped"),
    *("KernelStack", "PageTables", "Percpu", "SwapTotal", "SwapFree"),
)
"""The fields of /proc/meminfo that become samples beside the three that have metrics of their own."""


def parse_meminfo(text: bytes) -> dict[str, int]:
    """The fields of a /proc/meminfo that are sizes, in KiB; lines of another form are passed over."""
    rows = re.findall(rb"(?m)^([A-Za-z0-9_()]{1,40}):\s+(\d{1,15}) kB\r?$", text)
    return {name.decode(): int(kib) for name, kib in rows}


def is_meminfo(fields: dict[str, int]) -> bool:
    """Whether the fields of a whole /proc/meminfo are there, as Linux 3.14 and newer have it."""
    return {"MemTotal", "MemFree", "MemAvailable"} <= fields.keys()


def find_flaw(fields: dict[str, int], ram_kib: int) -> str:
    """What cannot be true of the sizes of a whole /proc/meminfo; empty where they are plausible.

    `ram_kib` is the machine's RAM; 0 where that is not known.
    """
    total = fields["MemTotal"]
    if not total:
        return "MemTotal is 0 kB"
    if 0 < ram_kib < total:
        return f"MemTotal of {total} kB is more than the machine's RAM of {ram_kib} kB"
    parts = ("MemAvailable", *(name for name in GUEST_FIELDS if not name.startswith("Swap")))
    for name in parts:
        if fields.get(name, 0) > total:
            return f"{name} of {fields[name]} kB is more than MemTotal of {total} kB"
    swap, free = fields.get("SwapTotal", 0), fields.get("SwapFree", 0)
    return f"SwapFree of {free} kB is more than SwapTotal of {swap} kB" if free > swap else ""


def guest_samples(fields: dict[str, int], state: str) -> Iterator[Sample]:
    """The samples of one /proc/meminfo."""
    labels = {"state": state}
    total, available = fields["MemTotal"], fields["MemAvailable"]
    for name, kib in (("total", total), ("used", total - available), ("available", available)):
        yield Sample(metric=f"memory.guest_{name}", value=kib, labels=labels)
    for field in GUEST_FIELDS:
        if field in fields:
            yield Sample(metric="memory.guest_meminfo", value=fields[field], labels=labels | {"field": field})
