"""Asks QEMU's monitor and reads what it prints of a CPU and its memory; it judges nothing it reads.

Nothing here is text of the guest's, but its page tables decide how long some answers are. Lines that do not
have the form of an answer are passed over and counted.

Sources: Intel SDM volume 3A, 2.2.1 (EFER), 2.5 (CR0, CR4), 4.1.1 (paging modes); QEMU's
target/i386/monitor.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import NamedTuple

from guestbench.errors import HostError
from guestbench.model import Frozen
from guestbench.vmm import Qmp


class Unknown(Frozen, tag_field="kind", tag="unknown"):
    """A value that cannot be had, and why."""

    reason: str


# --- the monitor --------------------------------------------------------------------------------------


def ask_monitor(qmp: Qmp, line: str) -> str:
    """What QEMU's human monitor prints for a command line, with plain newlines.

    Raises:
        HostError: as `Qmp.command`, or the answer is no text.
    """
    answer = qmp.command("human-monitor-command", **{"command-line": line})
    if not isinstance(answer, str):
        raise HostError(f"QEMU's monitor did not answer {line!r} with text", "guestbench doctor")
    return answer.replace("\r\n", "\n")


@contextmanager
def stopped(qmp: Qmp) -> Iterator[None]:
    """Keep the guest stopped; on leaving it goes on, unless it was not running before.

    Raises:
        HostError: as `Qmp.command`.
    """
    status = qmp.command("query-status")
    runs = isinstance(status, dict) and status.get("running") is True
    if runs:
        qmp.command("stop")
    try:
        yield
    finally:
        if runs:
            qmp.command("cont")


# --- registers ----------------------------------------------------------------------------------------


class Mode(StrEnum):
    """How addresses are translated (SDM 3A, 4.1.1)."""

    NONE = "none"
    BITS_32 = "32-bit"
    PAE = "PAE"
    LEVELS_4 = "4-level"
    LEVELS_5 = "5-level"


class Registers(Frozen):
    """The registers of a CPU that say what its page tables mean, and where it stands.

    `privilege` is the current privilege level: 0 for a kernel, 3 for user mode. `stack` has the base of its
    segment added.
    """

    cr0: int
    cr3: int
    cr4: int
    efer: int
    privilege: int
    instruction: int
    stack: int

    @property
    def mode(self) -> Mode:
        """The paging mode."""
        if not self.cr0 >> 31 & 1:
            return Mode.NONE
        if not self.cr4 >> 5 & 1:
            return Mode.BITS_32
        if not self.efer >> 10 & 1:
            return Mode.PAE
        return Mode.LEVELS_5 if self.cr4 >> 12 & 1 else Mode.LEVELS_4

    @property
    def write_protect(self) -> bool:
        """CR0.WP: read-only pages are so for the kernel too."""
        return bool(self.cr0 >> 16 & 1)

    @property
    def smep(self) -> bool:
        """CR4.SMEP: the kernel cannot execute pages of user mode."""
        return bool(self.cr4 >> 20 & 1)

    @property
    def smap(self) -> bool:
        """CR4.SMAP: the kernel reaches pages of user mode only where it says so."""
        return bool(self.cr4 >> 21 & 1)

    @property
    def umip(self) -> bool:
        """CR4.UMIP: user mode cannot read where the kernel's tables are."""
        return bool(self.cr4 >> 11 & 1)

    @property
    def global_pages(self) -> bool:
        """CR4.PGE: mappings marked global outlive a change of address space."""
        return bool(self.cr4 >> 7 & 1)

    @property
    def no_execute(self) -> bool:
        """EFER.NXE: pages can be marked as not executable; never so in 32-bit paging without PAE."""
        return bool(self.efer >> 11 & 1) and self.mode not in (Mode.NONE, Mode.BITS_32)

    @property
    def long_mode(self) -> bool:
        """EFER.LME: 64-bit mode is enabled."""
        return bool(self.efer >> 8 & 1)

    @property
    def system_calls(self) -> bool:
        """EFER.SCE: the instruction `syscall` is enabled."""
        return bool(self.efer & 1)


def parse_registers(text: str) -> Registers | Unknown:
    """The answer to `info registers`, of QEMU 7.2 and others with the same names."""
    found: dict[str, int] = {}
    for name, value in re.findall(r"\b([A-Z][A-Z0-9]{1,3}) ?=([0-9a-f]{1,16})\b", text):
        found.setdefault(name, int(value, 16))
    base = re.search(r"(?m)^SS =[0-9a-f]{4} ([0-9a-f]{8,16}) ", text)
    wide = "RSP" in found
    try:
        return Registers(
            cr0=found["CR0"],
            cr3=found["CR3"],
            cr4=found["CR4"],
            efer=found["EFER"],
            privilege=found["CPL"],
            instruction=found["RIP" if wide else "EIP"],
            # In 64-bit mode the base of the stack segment is not used.
            stack=found["RSP"] if wide else (found["ESP"] + (int(base[1], 16) if base else 0)) & 0xFFFFFFFF,
        )
    except KeyError as error:
        return Unknown(reason=f"QEMU's monitor shows no register {error.args[0]}")


# --- QEMU's own listings, and its dumps of memory -----------------------------------------------------

_TLB_LINE = re.compile(r"(?m)^([0-9a-f]{16}): ([0-9a-f]{16}) ([X-][G-][P-][D-][A-][C-][T-][U-][W-])$")
_MEM_LINE = re.compile(r"(?m)^([0-9a-f]{16})-([0-9a-f]{16}) ([0-9a-f]{16}) ([u-])r([w-])$")
_DUMP_LINE = re.compile(r"(?m)^([0-9a-f]{1,16}):((?: 0x[0-9a-f]{1,16})+)$")


class TlbLine(NamedTuple):
    """A line of `info tlb`: flags X (no-execute), G, P (large), D, A, C, T, U, W of the last level."""

    address: int
    physical: int
    flags: str


def parse_tlb(text: str) -> tuple[tuple[TlbLine, ...], int]:
    """The mappings that `info tlb` lists, in its order, and how many lines had another form."""
    lines = tuple(
        TlbLine(int(address, 16), int(physical, 16), flags)
        for address, physical, flags in _TLB_LINE.findall(text)
    )
    return lines, _count_lines(text) - len(lines)


def parse_mem(text: str) -> tuple[int, int, int]:
    """KiB mapped and KiB writable that `info mem` adds up to, and how many lines had another form."""
    found = _MEM_LINE.findall(text)
    mapped_kib = sum(int(size, 16) for _, _, size, _, _ in found) // 1024
    writable_kib = sum(int(size, 16) for _, _, size, _, w in found if w == "w") // 1024
    return mapped_kib, writable_kib, _count_lines(text) - len(found)


def parse_dump(text: str, item_bytes: int) -> dict[int, int] | None:
    """The values that `xp` shows and that are not 0, by their physical address; None if it shows none."""
    values = {}
    lines = _DUMP_LINE.findall(text)
    if not lines:
        return None
    for start, items in lines:
        for number, item in enumerate(items.split()):
            if value := int(item, 16):
                values[int(start, 16) + number * item_bytes] = value
    return values


def _count_lines(text: str) -> int:
    return sum(1 for line in text.splitlines() if line.strip())
