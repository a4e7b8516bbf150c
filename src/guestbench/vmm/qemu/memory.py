"""Reads what a process takes of the host's memory out of /proc; it knows no VMM and asks none.

Guest RAM that lies in a memfd of its own is one mapping of the VMM: its resident pages are those that
anything ever touched. The size of the whole process says nothing about a guest: under TCG half a gigabyte
of it can be the translator's.
"""

from __future__ import annotations

import re
from pathlib import Path

from guestbench.vmm import Footprint

_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+ *(.*)$")
"""The first line of a mapping, with its name: proc(5), /proc/PID/maps."""


def read_footprint(pid: int, memfd: str, proc: Path = Path("/proc")) -> Footprint | None:
    """The footprint of process `pid`, whose guest RAM is the memfd of this name; None once it has gone."""
    try:
        text = (proc / str(pid) / "smaps").read_text("utf-8", "replace")
    except OSError:
        return None
    return count_footprint(text, memfd) if text else None


def count_footprint(smaps: str, memfd: str) -> Footprint:
    """Add up the mappings of a /proc/PID/smaps: those of the memfd, and all others.

    Of the memfd, pages that the host has swapped out count too: they were touched.
    """
    guest_kib = vmm_kib = 0
    in_guest = False
    for line in smaps.splitlines():
        field, _, value = line.partition(":")
        if field == "Rss" and not in_guest:
            vmm_kib += int(value.split()[0])
        elif field in ("Rss", "Swap") and in_guest:
            guest_kib += int(value.split()[0])
        elif (mapping := _MAPPING.match(line)) is not None:
            in_guest = mapping[1].startswith(f"/memfd:{memfd}")
    return Footprint(guest_kib=guest_kib, vmm_kib=vmm_kib)
