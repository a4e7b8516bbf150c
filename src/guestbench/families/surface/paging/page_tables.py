"""What a guest's page tables let its code do, read while it is stopped; it changes nothing in it.

The registers and the tables themselves are read from outside, so that the guest need not help and cannot lie.
What the VMM itself lists is kept as evidence and must agree with what the walk of the tables found. Addresses
are counted, not RAM: one page may be mapped at several addresses, and an address may have no RAM behind it.
Only the first CPU is looked at.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import cached_property

from guestbench.errors import HostError
from guestbench.families.surface.paging.page_walk import PAGE, Mapping, Unwalkable, Walk
from guestbench.model import Frozen, Provenance, Unknown
from guestbench.model.machine import Listing, Mode, Registers
from guestbench.vmm import Introspection

KERNEL_TEXT = 0xFFFFFFFF80000000
"""From here on Linux has its kernel's image, wherever it puts it at random (its Documentation, x86_64/mm)."""
GUARDED_KIB = 64
"""How far below its pointer a stack's guard page may be. Linux has stacks of 16 KiB, small kernels of 64 KiB;
with more below it, the tables do not tell the stack from what lies there."""
DEEPEST_KIB = 8192
STACK_BYTES = 16384
"""Pointers in one such piece of memory are taken to be on one stack: Linux's kernel stacks are that large."""

MAPPINGS = 1_000_000
"""More mappings are not counted to the end. Linux has 10,000 to 90,000."""
LISTED = 200_000
"""More mappings are not asked for as a list. Debian has 87,000: its kernel maps one page of its ESPFIX stack
65,536 times."""

USER_MODE = "the CPU was in user mode at each of {} stops"
NO_PAGING = "paging is off: every address is mapped, writable and executable"


# --- what the tables say ------------------------------------------------------------------------------


class Rights(Frozen):
    """How much the tables map, in pages of 4 KiB: a large page counts as what it covers.

    `writable` is what the kernel can write: all of it if CR0.WP is clear. `executable` is what user mode or
    the kernel can execute. `large` is what large pages cover; `entries` counts entries, large pages as one.
    """

    mapped: int
    writable: int
    executable: int
    writable_executable: int
    user: int
    large: int
    entries: int
    provenance: Provenance = Provenance.MEASURED

    @property
    def writable_executable_share(self) -> float:
        """Of what is mapped, how much can be written and executed, from 0 to 1; 0 if nothing is mapped."""
        return self.writable_executable / self.mapped if self.mapped else 0.0


def count_rights(mappings: Iterable[Mapping], *, write_protect: bool) -> Rights:
    """Add up mappings. Without `write_protect` (CR0.WP) the kernel writes where it likes."""
    mapped = writable = executable = both = user = large = entries = 0
    for mapping in mappings:
        pages = mapping.size_bytes // PAGE
        can_write = mapping.writable or not write_protect
        entries += 1
        mapped += pages
        writable += pages * can_write
        executable += pages * mapping.executable
        both += pages * (can_write and mapping.executable)
        user += pages * mapping.user
        large += pages if pages > 1 else 0
    return Rights(
        mapped=mapped,
        writable=writable,
        executable=executable,
        writable_executable=both,
        user=user,
        large=large,
        entries=entries,
    )


class Floor(StrEnum):
    """What ends the memory that a stack can grow into, going down."""

    UNMAPPED = "unmapped"
    READ_ONLY = "read-only"
    NONE_SEEN = "none within 8 MiB"
    NO_PAGING = "none: paging is off"


class Stack(Frozen, tag_field="kind", tag="stack"):
    """The stack in use: its pointer, how many KiB below it can be overwritten, and what stops that.

    `guarded` says whether an unmapped page, which is what a guard page is, lies at most 64 KiB below. A
    read-only page as near may be one (Linux puts its GDT below a stack for that), or just be there.
    """

    pointer: int
    below_kib: int
    floor: Floor
    guarded: bool | Unknown


def _judge_guard(floor: Floor, below_kib: int) -> bool | Unknown:
    """Whether what ends a stack is its guard page."""
    near = below_kib <= GUARDED_KIB
    if floor is Floor.UNMAPPED and not near:
        return Unknown(
            reason=f"the first unmapped page is {below_kib} KiB below the stack pointer: whether that is all "
            "stack, the page tables do not tell"
        )
    if floor is Floor.READ_ONLY and near:
        return Unknown(
            reason=f"a read-only page stops an overrun after {below_kib} KiB: whether it is there for that, "
            "the page tables do not tell"
        )
    return floor is Floor.UNMAPPED


class Text(Frozen, tag_field="kind", tag="text"):
    """Adjoining executable pages of the kernel, those that the CPU is in; how many of them are writable."""

    start: int
    pages: int
    writable: int


class Space:
    """An address space: mappings in the order of their addresses."""

    def __init__(self, mappings: Sequence[Mapping], *, write_protect: bool) -> None:
        self.mappings = mappings
        self._write_protect = write_protect

    @cached_property
    def _starts(self) -> list[int]:
        return [mapping.address for mapping in self.mappings]

    def _index(self, address: int) -> int | None:
        index = bisect_right(self._starts, address) - 1
        if index < 0 or address >= self.mappings[index].address + self.mappings[index].size_bytes:
            return None
        return index

    def _writable(self, mapping: Mapping) -> bool:
        return mapping.writable or not self._write_protect

    def is_mapped(self, address: int) -> bool:
        """Whether anything is mapped at an address."""
        return self._index(address) is not None

    def judge_stack(self, pointer: int) -> Stack | Unknown:
        """What lies below a stack pointer. The byte below it is the first that a push writes."""
        index = self._index(pointer - 1)
        if index is None or not self._writable(self.mappings[index]):
            return Unknown(reason=f"the stack pointer, {pointer:#x}, points to no memory that can be written")
        low, floor = self.mappings[index].address, Floor.NONE_SEEN
        while floor is Floor.NONE_SEEN and pointer - low < DEEPEST_KIB * 1024:
            index -= 1
            below = self.mappings[index] if index >= 0 else None
            if below is None or below.address + below.size_bytes != low:
                floor = Floor.UNMAPPED
            elif not self._writable(below):
                floor = Floor.READ_ONLY
            else:
                low = below.address
        below_kib = (pointer - low) // 1024
        return Stack(
            pointer=pointer, below_kib=below_kib, floor=floor, guarded=_judge_guard(floor, below_kib)
        )

    def find_text(self, instruction: int) -> Text | Unknown:
        """The executable pages around the instruction that the kernel is at."""
        index = self._index(instruction)
        if index is None or not self.mappings[index].executable:
            return Unknown(reason=f"the CPU stands at {instruction:#x}, where nothing executable is mapped")
        first = last = index
        while first > 0 and self._continues(first - 1):
            first -= 1
        while last + 1 < len(self.mappings) and self._continues(last):
            last += 1
        region = self.mappings[first : last + 1]
        rights = count_rights(region, write_protect=self._write_protect)
        return Text(start=region[0].address, pages=rights.mapped, writable=rights.writable_executable)

    def _continues(self, index: int) -> bool:
        """Whether a mapping and the next are both the kernel's, executable, and adjoining."""
        one, two = self.mappings[index], self.mappings[index + 1]
        together = one.executable and two.executable and one.user == two.user
        return together and one.address + one.size_bytes == two.address

    def find_text_base(self, text: Text | Unknown) -> int | Unknown:
        """Where the kernel's code begins: its lowest executable page where Linux has its image, or `text`."""
        for mapping in self.mappings[bisect_right(self._starts, KERNEL_TEXT - 1) :]:
            if mapping.executable and not mapping.user:
                return mapping.address
        return text if isinstance(text, Unknown) else text.start


class CrossCheck(Frozen, tag_field="kind", tag="cross-check"):
    """What the VMM's own listing says of the same tables; `agrees` if the walk found exactly that.

    Its sums leave out CR0.WP, and nothing in it tells whether an upper level forbids execution.
    """

    listing: Listing
    agrees: bool


def cross_check(mappings: Sequence[Mapping], listing: Listing) -> CrossCheck:
    """Compare a walk with what the VMM lists."""
    agrees = list(listing.addresses) == [mapping.address for mapping in mappings]
    if isinstance(listing.mapped_kib, int):
        flags = count_rights(mappings, write_protect=True)
        walked = (flags.mapped * PAGE // 1024, flags.writable * PAGE // 1024)
        agrees = agrees and (listing.mapped_kib, listing.writable_kib) == walked
    return CrossCheck(listing=listing, agrees=agrees)


# --- reading a guest ----------------------------------------------------------------------------------


class PageTables(Frozen, tag_field="kind", tag="page-tables"):
    """What the page tables of a stopped guest allow. Without paging, all of its RAM, derived from its size:
    segments, which could still forbid something, are not looked at. `text_base` is what shows randomisation.
    """

    mode: Mode
    registers: Registers
    rights: Rights
    null_mapped: bool
    stack: Stack | Unknown
    text: Text | Unknown
    text_base: int | Unknown
    check: CrossCheck | Unknown


def read_page_tables(guest: Introspection, *, stops: int = 20, pause_s: float = 0.05) -> PageTables | Unknown:
    """Stop the guest, read its first CPU's registers and page tables, and let it go on.

    A guest that was stopped in user mode is let go and stopped again, up to `stops` times with `pause_s`
    between: its kernel's stack and code show in kernel mode only. A VMM that cannot be asked, or tables too
    large to be walked, are a reason. A small Linux is stopped for 0.2 s, Debian for 1 s.
    """
    try:
        for left in reversed(range(stops)):
            with guest.stopped():
                registers = guest.read_registers()
                if isinstance(registers, Unknown):
                    return registers
                if registers.privilege == 0 or not left:
                    return _read(guest, registers, stops)
            time.sleep(pause_s)
    except HostError as error:
        return Unknown(reason=error.message)
    return Unknown(reason="the guest was never stopped")


def _read(guest: Introspection, registers: Registers, stops: int) -> PageTables | Unknown:
    if registers.mode is Mode.NONE:
        return _without_paging(guest, registers)
    mappings: list[Mapping] = []
    try:
        for mapping in Walk(guest, registers).mappings():
            mappings.append(mapping)
            if len(mappings) > MAPPINGS:
                return Unknown(reason=f"more than {MAPPINGS} mappings")
    except Unwalkable as error:
        return Unknown(reason=str(error))
    space = Space(mappings, write_protect=registers.write_protect)
    in_user_mode = Unknown(reason=USER_MODE.format(stops))
    stack: Stack | Unknown = in_user_mode
    text: Text | Unknown = in_user_mode
    if registers.privilege == 0:
        stack = space.judge_stack(registers.stack)
        text = space.find_text(registers.instruction)
    return PageTables(
        mode=registers.mode,
        registers=registers,
        rights=count_rights(mappings, write_protect=registers.write_protect),
        null_mapped=space.is_mapped(0),
        stack=stack,
        text=text,
        text_base=space.find_text_base(text),
        check=_check(guest, registers.mode, mappings),
    )


def _check(guest: Introspection, mode: Mode, mappings: Sequence[Mapping]) -> CrossCheck | Unknown:
    if len(mappings) > LISTED:
        return Unknown(reason=f"more than {LISTED} mappings are not listed")
    return cross_check(mappings, guest.list_mappings(mode))


def _without_paging(guest: Introspection, registers: Registers) -> PageTables | Unknown:
    ram_bytes = guest.read_ram_bytes()
    if isinstance(ram_bytes, Unknown):
        return Unknown(reason=f"{NO_PAGING}; {ram_bytes.reason}")
    pages = ram_bytes // PAGE
    off = Unknown(reason=NO_PAGING)
    return PageTables(
        mode=Mode.NONE,
        registers=registers,
        rights=Rights(
            mapped=pages,
            writable=pages,
            executable=pages,
            writable_executable=pages,
            user=pages,
            large=0,
            entries=0,
            provenance=Provenance.DERIVED,
        ),
        null_mapped=True,
        stack=Stack(
            pointer=registers.stack,
            below_kib=min(registers.stack, ram_bytes) // 1024,
            floor=Floor.NO_PAGING,
            guarded=False,
        ),
        text=Text(start=0, pages=pages, writable=pages),
        text_base=off,
        check=off,
    )


def read_stacks(
    guest: Introspection, *, stops: int = 20, pause_s: float = 0.05
) -> tuple[Stack | Unknown, ...]:
    """The stacks that a guest's kernel is found on at several stops, each once: a kernel has many.

    Linux's first CPU, for one, idles on a stack inside the kernel's image, which has no guard page, while
    those of all other tasks have one. A guest that is busy shows more of them. Stops in user mode count for
    nothing. Empty if the guest was in user mode at each.
    """
    found: dict[int, Stack | Unknown] = {}
    try:
        for _ in range(stops):
            with guest.stopped():
                registers = guest.read_registers()
                if isinstance(registers, Unknown):
                    return (registers,)
                if registers.mode is Mode.NONE:
                    return (Unknown(reason=NO_PAGING),)
                if registers.privilege == 0:
                    pointer = registers.stack
                    low = max(0, pointer - 2 * DEEPEST_KIB * 1024)
                    near = list(Walk(guest, registers).mappings(low, pointer))
                    space = Space(near, write_protect=registers.write_protect)
                    found.setdefault(pointer // STACK_BYTES, space.judge_stack(pointer))
            time.sleep(pause_s)
    except (HostError, Unwalkable) as error:
        return (*found.values(), Unknown(reason=str(error)))
    return tuple(found.values())
