"""Reads ELF files: header, segments, entry notes, and the tables of symbols and of dynamic linking.

They are read here rather than with a library: importing one takes as long as a whole check may, and none
limits what a hostile header can make it do. What decides whether a kernel can boot is refused where it is not
sound; sections are not loaded, so that a missing or damaged table of them is left out.
Layout: the System V ABI's ELF chapter, and elf(5).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from guestbench.images.source import Source, truncated, unusable
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
MAX_SECTIONS = 1 << 20
"""Of a file with a section for each function."""
MAX_SEGMENT_BYTES = 1 << 47
"""Half of the address space of x86-64."""
MAX_NOTE_BYTES = 1 << 20
MAX_SYMBOLS = 500_000
"""A unikernel with MirageOS and Irmin has 33,000."""
MAX_NAME_BYTES = 64 << 20
MAX_SYMBOL_BYTES = 1024
"""Of one symbol's name."""
MAX_STRINGS_BYTES = 256 << 20
MAX_DYNAMIC_BYTES = 1 << 16
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE, PT_GNU_STACK, PT_GNU_RELRO = 1, 2, 3, 4, 0x6474E551, 0x6474E552
_ET_DYN, _SHT_SYMTAB = 3, 2
_STT_NOTYPE, _STT_FUNC, _STT_FILE, _STB_LOCAL, _SHN_LORESERVE = 0, 2, 4, 0, 0xFF00
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_BIND_NOW, _DT_FLAGS, _DT_FLAGS_1 = 0, 1, 5, 24, 30, 0x6FFFFFFB
_DF_BIND_NOW, _DF_1_NOW, _DF_1_PIE = 0x8, 0x1, 0x08000000
_PVH_NOTE_TYPE, _PVH_NOTE_NAME = 18, b"Xen\0"
"""XEN_ELFNOTE_PHYS32_ENTRY, by which QEMU finds the entry of an uncompressed kernel."""


class Symbol(NamedTuple):
    """A defined symbol; its `file` is the source file that it is local to, and empty where it is global.

    `is_place` says that its value is an address, which that of a constant or of a file's name is not.
    """

    name: str
    is_function: bool
    is_place: bool
    address: int
    size_bytes: int
    file: str


Symbols: TypeAlias = list[Symbol]


class Segment(NamedTuple):
    """A program header. `offset` counts from the start of the file; `rights` are R 4, W 2, E 1."""

    kind: int
    offset: int
    vaddr: int
    file_bytes: int
    memory_bytes: int
    rights: int
    align: int

    @property
    def flags(self) -> str:
        """Its rights as letters, like `R-E`."""
        return "".join(letter if self.rights & bit else "-" for bit, letter in ((4, "R"), (2, "W"), (1, "E")))

    @property
    def executable(self) -> bool:
        """Whether code in it may run."""
        return bool(self.rights & 1)


class Section(NamedTuple):
    """A section header; `offset` counts from the start of the file."""

    kind: int
    offset: int
    size_bytes: int
    link: int


class _Layout(Frozen):
    """How the tables are packed that differ between 32-bit and 64-bit files."""

    bits: int
    header: str
    segment: str
    section: str
    symbol: str
    dynamic: str


_LAYOUTS = {
    1: _Layout(32, header="HHIIIIIHHHHHH", segment="8I", section="10I", symbol="IIIBBH", dynamic="II"),
    2: _Layout(64, header="HHIQQQIHHHHHH", segment="2I6Q", section="2I4Q2I2Q", symbol="IBBHQQ", dynamic="QQ"),
}


class ElfImage(Frozen):
    """What an ELF file says of itself. `wrapper` says what the true headers are wrapped in.

    `sections` are those whose headers are there; `sections_cut` is whether there should be more of them.
    `headers_end` is where in the file the table of segments ends; `pvh_entry` is the entry address of a PVH
    note, if any.
    """

    layout: _Layout
    order: str
    type: int
    machine: int
    entry: int
    headers_end: int
    all_segments: tuple[Segment, ...]
    sections: tuple[Section, ...]
    sections_cut: bool = False
    pvh_entry: int | None = None
    wrapper: str | None = None

    @property
    def bits(self) -> int:
        """32 or 64."""
        return self.layout.bits

    @property
    def machine_name(self) -> str:
        """The architecture's name."""
        return MACHINES.get(self.machine, f"machine {self.machine}")

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments that are loaded."""
        return tuple(segment for segment in self.all_segments if segment.kind == PT_LOAD)

    @property
    def stripped(self) -> bool:
        """Whether there is no symbol table, as far as there are section headers."""
        return all(section.kind != _SHT_SYMTAB for section in self.sections)

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

    def find_segment(self, kind: int, *, last: bool = False) -> Segment | None:
        """The first or last segment of a kind."""
        segments = reversed(self.all_segments) if last else iter(self.all_segments)
        return next((segment for segment in segments if segment.kind == kind), None)

    def read_symbols(self, source: Source) -> Symbols:
        """The defined symbols; none if there is no table of them.

        Raises:
            ImageError: the file cannot be read, ends before they do, has them without their names, or has
                more of them than are read.
        """
        if self.sections_cut:
            raise unusable(
                source.path, "is cut: its table of sections, and so its symbols, are not all there"
            )
        table = next((section for section in self.sections if section.kind == _SHT_SYMTAB), None)
        if table is None:
            return []
        if table.link >= len(self.sections):
            raise unusable(source.path, "has symbols whose names are in a section that it does not have")
        names = self.sections[table.link]
        form = struct.Struct(self.order + self.layout.symbol)
        count = table.size_bytes // form.size
        if table.offset + table.size_bytes > source.size_bytes:
            raise truncated(
                source.path, "its symbol table", table.offset + table.size_bytes, source.size_bytes
            )
        if count > MAX_SYMBOLS or names.size_bytes > MAX_STRINGS_BYTES:
            raise unusable(source.path, f"has {count} symbols: more than are read ({MAX_SYMBOLS})")
        strings = source.read(names.offset, names.size_bytes, "its symbols' names")
        data = source.read_some(table.offset, count * form.size)
        found: Symbols = []
        room, file = MAX_NAME_BYTES, ""
        for row in _rows(form, data):
            if self.bits == 64:
                name_at, info, _, section, value, size = row
            else:
                name_at, value, size, info, _, section = row
            if not section or not name_at:
                continue
            if name_at >= len(strings):
                raise unusable(source.path, "has symbols whose names are beyond the section of names")
            # A longer name, as C++ and Rust have them, counts by its beginning.
            start = strings[name_at : name_at + MAX_SYMBOL_BYTES].split(b"\0", 1)[0]
            room -= len(start)
            if room < 0:
                raise unusable(source.path, f"has symbols with more than {MAX_NAME_BYTES} bytes of names")
            if start:
                name, kind = start.decode("utf-8", "replace"), info & 0xF
                # The symbols that are local to a file follow its name.
                file = name if kind == _STT_FILE else file
                own = file if info >> 4 == _STB_LOCAL else ""
                is_place = section < _SHN_LORESERVE and kind in (_STT_NOTYPE, _STT_FUNC)
                found.append(Symbol(name, kind == _STT_FUNC, is_place, value, size, own))
        return found

    def binds_now(self, source: Source) -> bool:
        """Whether the dynamic section asks for all symbols to be bound at start, as full RELRO needs."""
        flags = dict(self._read_dynamic(source))
        return bool(
            _DT_BIND_NOW in flags
            or flags.get(_DT_FLAGS, 0) & _DF_BIND_NOW
            or flags.get(_DT_FLAGS_1, 0) & _DF_1_NOW
        )

    def is_pie(self, source: Source) -> bool:
        """Whether it is a position-independent program: type DYN, and an interpreter or the PIE flag."""
        if self.type != _ET_DYN:
            return False
        flagged = dict(self._read_dynamic(source)).get(_DT_FLAGS_1, 0) & _DF_1_PIE
        return bool(flagged) or self.find_segment(PT_INTERP) is not None

    def read_needed(self, source: Source) -> tuple[str, ...]:
        """The names of the shared libraries that it is linked with."""
        entries = self._read_dynamic(source)
        address = dict(entries).get(_DT_STRTAB, 0)
        holder = next((s for s in self.segments if s.vaddr <= address < s.vaddr + s.file_bytes), None)
        if holder is None:
            return ()
        strings = holder.offset + address - holder.vaddr
        return tuple(
            source.read_some(strings + value, 256).split(b"\0")[0].decode("ascii", "replace")
            for tag, value in entries
            if tag == _DT_NEEDED
        )

    def _read_dynamic(self, source: Source) -> list[tuple[int, int]]:
        """Tags and values of the dynamic section up to its end."""
        segment = self.find_segment(PT_DYNAMIC)
        if segment is None:
            return []
        data = source.read_some(segment.offset, min(segment.file_bytes, MAX_DYNAMIC_BYTES))
        entries = [
            (tag, value) for tag, value in _rows(struct.Struct(self.order + self.layout.dynamic), data)
        ]
        end = next((number for number, (tag, _) in enumerate(entries) if tag == _DT_NULL), len(entries))
        return entries[:end]


def is_elf(source: Source) -> bool:
    """Whether the file begins as an ELF file."""
    return source.read_some(0, len(MAGIC)) == MAGIC


def read_elf(source: Source) -> ElfImage:
    """Read an ELF file; of a 64-bit one wrapped for a 32-bit loader, the 64-bit one inside.

    Raises:
        ImageError: it is not an ELF file, not sound, or a segment lies beyond its end.
    """
    outer = read_elf_at(source, 0)
    return read_wrapped(source, outer) or outer


def read_wrapped(source: Source, outer: ElfImage) -> ElfImage | None:
    """The true ELF64 file inside an ELF32 wrapper; None if this is no wrapper.

    Unikraft's build puts an ELF32 header, a multiboot header and 32-bit program headers in front of the whole
    64-bit file, so that it follows the program headers: at byte 64 + 32n with n segments, 0x100 with six.

    Raises:
        ImageError: the file inside is not sound, or a segment lies beyond its end.
    """
    if outer.bits != 32 or outer.machine != EM_386:
        return None
    start = source.read_some(outer.headers_end, 20)
    if not start.startswith(MAGIC + b"\x02\x01") or start[18:] != struct.pack("<H", EM_X86_64):
        return None
    return read_elf_at(source, outer.headers_end, wrapper=f"ELF32 {outer.machine_name}")


def read_elf_at(source: Source, base: int, wrapper: str | None = None) -> ElfImage:
    """Read the ELF file that begins at byte `base` and do not look for another one inside it.

    Raises:
        ImageError: it is not an ELF file, not sound, or a segment lies beyond its end.
    """
    layout, order = _read_identity(source, base)
    form = struct.Struct(order + layout.header)
    fields = form.unpack(source.read(base + 16, form.size, "the ELF header"))
    kind, machine, _, entry, segments_at, sections_at, _, _, segment_bytes, segment_count, *rest = fields
    sections, count = _read_sections(
        source, base, struct.Struct(order + layout.section), sections_at, *rest[:2]
    )
    if segment_count > MAX_SEGMENTS:
        raise unusable(source.path, f"is damaged: it would have {segment_count} segments")
    if segment_count and segment_bytes != struct.calcsize(order + layout.segment):
        raise unusable(source.path, f"is damaged: its program headers would have {segment_bytes} bytes each")
    length = segment_bytes * segment_count
    table = source.read(base + segments_at, length, "the table of segments") if length else b""
    segments = tuple(
        _read_segment(source, base, row, layout.bits)
        for row in _rows(struct.Struct(order + layout.segment), table)
    )
    return ElfImage(
        layout=layout,
        order=order,
        type=kind,
        machine=machine,
        entry=entry,
        headers_end=base + segments_at + length,
        all_segments=segments,
        sections=sections,
        sections_cut=len(sections) < count and bool(sections_at),
        pvh_entry=_find_pvh_entry(source, segments, order),
        wrapper=wrapper,
    )


def _read_identity(source: Source, base: int) -> tuple[_Layout, str]:
    """How the tables are packed, and the order of bytes as `struct` writes it."""
    identity = source.read_some(base, 16)
    if not identity.startswith(MAGIC):
        raise unusable(source.path, "is not an ELF file")
    layout = _LAYOUTS.get(identity[4] if len(identity) == 16 else 0)
    order = {1: "<", 2: ">"}.get(identity[5] if layout else 0)
    if layout is None or order is None:
        raise unusable(source.path, "is damaged: its ELF header is not sound")
    return layout, order


def _read_segment(source: Source, base: int, row: tuple[int, ...], bits: int) -> Segment:
    if bits == 64:
        kind, rights, offset, vaddr, _, file_bytes, memory_bytes, align = row
    else:
        kind, offset, vaddr, _, file_bytes, memory_bytes, rights, align = row
    end = base + offset + file_bytes
    if kind == PT_LOAD and end > source.size_bytes:
        raise truncated(source.path, "a segment", end, source.size_bytes)
    if kind == PT_LOAD and not file_bytes <= memory_bytes <= MAX_SEGMENT_BYTES:
        raise unusable(source.path, f"is damaged: a segment would take {memory_bytes} bytes of memory")
    return Segment(kind, base + offset, vaddr, file_bytes, memory_bytes, rights, align)


def _read_sections(
    source: Source, base: int, form: struct.Struct, at: int, row_bytes: int, count: int
) -> tuple[tuple[Section, ...], int]:
    """The section headers as far as they are there, and how many there should be."""
    if row_bytes != form.size:
        return (), count
    if not count and at:
        # What does not fit into the header's field is the size of the first section (elf(5), e_shnum).
        first = next(_rows(form, source.read_some(base + at, form.size)), (0,) * 6)
        count = first[5]
        if count > MAX_SECTIONS:
            raise unusable(source.path, f"is damaged: it would have {count} sections")
    rows = _rows(form, source.read_some(base + at, form.size * count))
    return tuple(Section(kind, base + at, size, link) for _, kind, _, _, at, size, link, *_ in rows), count


def _rows(form: struct.Struct, table: bytes) -> Iterator[tuple[int, ...]]:
    """The whole rows of a table."""
    return form.iter_unpack(table[: len(table) // form.size * form.size])


def _find_pvh_entry(source: Source, segments: tuple[Segment, ...], order: str) -> int | None:
    for segment in segments:
        if segment.kind == PT_NOTE:
            notes = source.read_some(segment.offset, min(segment.file_bytes, MAX_NOTE_BYTES))
            entry = _find_pvh_note(notes, order, 8 if segment.align == 8 else 4)
            if entry is not None:
                return entry
    return None


def _find_pvh_note(notes: bytes, order: str, align: int) -> int | None:
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
