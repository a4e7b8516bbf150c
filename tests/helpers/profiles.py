"""Profiles made by hand, for tests of what compares and shows them; it boots nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from guestbench.model import Role
from guestbench.model.profile import PROFILE_VERSION, Profile, Region, Spent

ROWS = (
    ("firmware", Region.FIRMWARE, "BIOS (0xe0000–0xfffff)", "", 6000),
    ("ready", Region.KERNEL, "main.c", "start", 700),
    ("ready", Region.KERNEL, "", "memset", 2000),
    ("ready", Region.MODULES, "virtio_net", "probe", 200),
    ("ready", Region.UNKNOWN, "0x100000–0x1fffff", "", 100),
)


def make_profile(rows: Iterable[tuple[str, Region, str, str, int]] = ROWS, name: str = "mine") -> Profile:
    """A profile of these phases, regions, groups, symbols and instructions."""
    spent = tuple(
        Spent(phase=phase, region=region, group=group, symbol=symbol, instructions=count)
        for phase, region, group, symbol, count in rows
    )
    return Profile(
        version=PROFILE_VERSION,
        system=name,
        origin="a file",
        images={Role.KERNEL: "0" * 64},
        tool="1",
        vmm="QEMU 7.2",
        created="2026-01-01T00:00:00+00:00",
        phases=tuple(dict.fromkeys(row.phase for row in spent)),
        spent=spent,
        notes=("kernel.elf: symbols of the image",),
    )


def make_hostile_profile(texts: Sequence[str]) -> Profile:
    """A profile in which everything that a guest or its image can name is one of `texts`, in turn."""
    rows = [
        (f"{texts[number % len(texts)]}-{number}", Region.KERNEL, text, texts[-number], 10 + number)
        for number, text in enumerate(texts)
    ]
    return make_profile(rows, texts[0])
