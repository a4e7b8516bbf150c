"""Reads ELF headers of kernels: architecture, segments, entry notes; it never reads code or symbols.

The headers are read here rather than with a library: importing one takes as long as a whole check may, and
none limits what a hostile header can make it do. Layout: the System V ABI's ELF chapter, and elf(5).
"""

from __future__ import annotations

import struct
from pathlib import Path

from guestbench.images.source import (
    Source,
    open_source,
    truncated,
    unusable,
)
from guestbench.model import Frozen

MAGIC = b"\x7fELF"
EM_386, EM_X86_64 = 3, 62
MACHINES = {
    EM_386: "i386",
    6: "i486",
    8: "MIPS",
    20: "PowerPC",
    21: "PowerPC64",
    22: "s390",
    40: "ARM",
    43: "SPARC64",
    EM_X86_64: "x86-64",
    183: "AArch64",
    243: "RISC-V",
    258: "LoongArch",
}
"""Names of e_machine values."""

MAX_SEGMENTS = 128
"""More than any kernel has; the format allows 65,535, each to be read."""
MAX_SEGMENT_BYTES = 1 << 47
"""Half of the address space of x86-64."""
MAX_NOTE_BYTES = 1 << 20
_PT_LOAD, _PT_NOTE, _SHT_SYMTAB = 1, 4, 2
_FLAG_LETTERS = ((4, "R"), (2, "W"), (1, "E"))
_PVH_NOTE_TYPE, _PVH_NOTE_NAME = 18, b"Xen\0"
"""XEN_ELFNOTE_PHYS32_ENTRY, by which QEMU finds the entry of an uncompressed kernel."""


class Segment(Frozen):
    """A LOAD segment. `offset` counts from the start of the file; `flags` is like `R-E`."""

    offset: int
    vaddr: int
    file_bytes: int
    memory_bytes: int
    flags: str

    @property
    def executable(self) -> bool:
        """Whether code in it may run."""
        return "E" in self.flags


class ElfImage(Frozen):
    """What an ELF file holds, by its LOAD segments. `wrapper` says what the true headers are wrapped in.

    `stripped` is whether there is no symbol table; `pvh_entry` the entry address of a PVH note, if any.
    """

    bits: int
    machine: int
    entry: int
    segments: tuple[Segment, ...]
    stripped: bool
    pvh_entry: int | None = None
    wrapper: str | None = None

    @property
    def machine_name(self) -> str:
        """The architecture's name."""
        return MACHINES.get(self.machine, f"machine {self.machine}")

    @property
    def text_bytes(self) -> int:
        """Bytes in the file of the executable segments."""
        return sum(s.file_bytes for s in self.segments if s.executable)

    @property
    def data_bytes(self) -> int:
        """Bytes in the file of the other segments."""
        return sum(s.file_bytes for s in self.segments if not s.executable)

    @property
    def bss_bytes(self) -> int:
        """Bytes of memory that the segments ask for beyond what the file holds."""
        return sum(s.memory_bytes - s.file_bytes for s in self.segments)


class _Layout(Frozen):
    """Where the fields are that differ between 32-bit and 64-bit files."""

    bits: int
    header: str
    segment: str
    section: str


_LAYOUTS = {
    1: _Layout(bits=32, header="HHIIIIIHHHHHH", segment="IIIIIIII", section="IIIIIIIIII"),
    2: _Layout(bits=64, header="HHIQQQIHHHHHH", segment="IIQQQQQQ", section="IIQQQQIIQQ"),
}


class _Header(Frozen):
    """The ELF header that begins at byte `base` of the file. Offsets in it count from there."""

    base: int
    layout: _Layout
    order: str
    machine: int
    entry: int
    segments_at: int
    segment_bytes: int
    segment_count: int
    sections_at: int
    section_bytes: int
    section_count: int

    @property
    def segments_end(self) -> int:
        """Where the table of program headers ends, from the start of the file."""
        return self.base + self.segments_at + self.segment_bytes * self.segment_count


def is_elf(path: Path) -> bool:
    """Whether the file begins as an ELF file.

    Raises:
        ImageError: it cannot be read.
    """
    with open_source(path) as source:
        return source.read_some(0, len(MAGIC)) == MAGIC


def read_elf(path: Path) -> ElfImage:
    """Read an ELF file; of a 64-bit one wrapped for a 32-bit loader, the 64-bit one inside.

    Raises:
        ImageError: it is not an ELF file, not sound, or a segment lies beyond its end.
    """
    with open_source(path) as source:
        outer = read_elf_at(source, 0)
        wrapped_at = find_wrapped(source)
        if wrapped_at is None:
            return outer
        return read_elf_at(source, wrapped_at, wrapper=f"ELF32 {outer.machine_name}")


def find_wrapped(source: Source) -> int | None:
    """Where the true ELF64 file begins inside an ELF32 wrapper; None if there is no wrapper.

    Unikraft's build puts an ELF32 header, a multiboot header and 32-bit program headers in front of the whole
    64-bit file, so that it follows the program headers: at byte 64 + 32n with n segments, 0x100 with six.

    Raises:
        ImageError: the file is not an ELF file, or its header is not sound.
    """
    header = _read_header(source, 0)
    if header.layout.bits != 32 or header.machine != EM_386:
        return None
    start = source.read_some(header.segments_end, 20)
    is_wrapped = start.startswith(MAGIC + b"\x02\x01") and start[18:] == struct.pack("<H", EM_X86_64)
    return header.segments_end if is_wrapped else None


def read_elf_at(source: Source, base: int, wrapper: str | None = None) -> ElfImage:
    """Read the ELF file that begins at byte `base` and do not look for another one inside it.

    Raises:
        ImageError: it is not an ELF file, not sound, or a segment lies beyond its end.
    """
    header = _read_header(source, base)
    segments = []
    pvh_entry = None
    for kind, offset, vaddr, file_bytes, memory_bytes, flags, align in _read_segments(source, header):
        if kind == _PT_LOAD:
            if base + offset + file_bytes > source.size_bytes:
                raise truncated(source.path, "a segment", base + offset + file_bytes, source.size_bytes)
            if not file_bytes <= memory_bytes <= MAX_SEGMENT_BYTES:
                raise unusable(
                    source.path, f"is damaged: a segment would take {memory_bytes} bytes of memory"
                )
            letters = "".join(letter if flags & bit else "-" for bit, letter in _FLAG_LETTERS)
            segments.append(
                Segment(
                    offset=base + offset,
                    vaddr=vaddr,
                    file_bytes=file_bytes,
                    memory_bytes=memory_bytes,
                    flags=letters,
                )
            )
        elif kind == _PT_NOTE and pvh_entry is None:
            notes = source.read_some(base + offset, min(file_bytes, MAX_NOTE_BYTES))
            pvh_entry = _find_pvh_entry(notes, header.order, 8 if align == 8 else 4)
    return ElfImage(
        bits=header.layout.bits,
        machine=header.machine,
        entry=header.entry,
        segments=tuple(segments),
        stripped=not _has_symbols(source, header),
        pvh_entry=pvh_entry,
        wrapper=wrapper,
    )


def _read_header(source: Source, base: int) -> _Header:
    identity = source.read_some(base, 16)
    if not identity.startswith(MAGIC):
        raise unusable(source.path, "is not an ELF file")
    layout = _LAYOUTS.get(identity[4] if len(identity) == 16 else 0)
    order = {1: "<", 2: ">"}.get(identity[5] if layout else 0)
    if layout is None or order is None:
        raise unusable(source.path, "is damaged: its ELF header is not sound")
    form = struct.Struct(order + layout.header)
    fields = form.unpack(source.read(base + 16, form.size, "the ELF header"))
    (
        _,
        machine,
        _,
        entry,
        segments_at,
        sections_at,
        _,
        _,
        segment_bytes,
        segments,
        section_bytes,
        sections,
        _,
    ) = fields
    if segments > MAX_SEGMENTS:
        raise unusable(source.path, f"is damaged: it would have {segments} segments")
    if segments and segment_bytes != struct.calcsize(order + layout.segment):
        raise unusable(source.path, f"is damaged: its program headers would have {segment_bytes} bytes each")
    return _Header(
        base=base,
        layout=layout,
        order=order,
        machine=machine,
        entry=entry,
        segments_at=segments_at,
        segment_bytes=segment_bytes,
        segment_count=segments,
        sections_at=sections_at,
        section_bytes=section_bytes,
        section_count=sections,
    )


def _read_segments(source: Source, header: _Header) -> list[tuple[int, int, int, int, int, int, int]]:
    """Type, offset, virtual address, bytes in file, bytes in memory, flags, alignment of each segment."""
    length = header.segment_bytes * header.segment_count
    table = source.read(header.base + header.segments_at, length, "the table of segments") if length else b""
    rows = struct.iter_unpack(header.order + header.layout.segment, table)
    if header.layout.bits == 64:
        return [(kind, at, va, file, memory, flags, al) for kind, flags, at, va, _, file, memory, al in rows]
    return [(kind, at, va, file, memory, flags, al) for kind, at, va, _, file, memory, flags, al in rows]


def _has_symbols(source: Source, header: _Header) -> bool:
    """Whether a section is a symbol table. Sections are not loaded, so that missing ones are no damage."""
    form = struct.Struct(header.order + header.layout.section)
    if header.section_bytes != form.size:
        return False
    table = source.read_some(header.base + header.sections_at, form.size * header.section_count)
    whole = table[: len(table) // form.size * form.size]
    return any(fields[1] == _SHT_SYMTAB for fields in form.iter_unpack(whole))


def _find_pvh_entry(notes: bytes, order: str, align: int) -> int | None:
    at = 0
    while at + 12 <= len(notes):
        name_bytes, value_bytes, kind = struct.unpack_from(f"{order}III", notes, at)
        name_at = at + 12
        value_at = name_at + _round_up(name_bytes, align)
        if kind == _PVH_NOTE_TYPE and notes[name_at : name_at + name_bytes] == _PVH_NOTE_NAME:
            value = notes[value_at : value_at + value_bytes]
            return int.from_bytes(value, "little" if order == "<" else "big") if value else None
        at = value_at + _round_up(value_bytes, align)
    return None


def _round_up(value: int, align: int) -> int:
    return -(-value // align) * align
