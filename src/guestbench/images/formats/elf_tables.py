"""Reads an ELF file's symbols, dynamic section and program headers for an inventory; it never reads code.

`elf.py` reads what decides whether a kernel can boot. Here, what cannot be read is left out rather than
refused, as sections are not loaded and a stripped or damaged table is no damage to the program.
Layout: the System V ABI's ELF chapter, and elf(5).
"""

from __future__ import annotations

import struct
from typing import NamedTuple, TypeAlias

from guestbench.images.source import Source

MAX_SYMBOLS = 500_000
"""A unikernel with MirageOS and Irmin has 33,000."""
MAX_NAME_BYTES = 64 << 20
MAX_STRINGS_BYTES = 256 << 20
MAX_SECTIONS = 65_535
PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_GNU_STACK, PT_GNU_RELRO = 1, 2, 3, 0x6474E551, 0x6474E552
ET_DYN = 3
_SHT_SYMTAB, _SHT_NOBITS = 2, 8
_STT_FUNC = 2
_DT_FLAGS, _DT_BIND_NOW, _DT_FLAGS_1 = 30, 24, 0x6FFFFFFB
_DF_BIND_NOW, _DF_1_NOW, _DF_1_PIE = 0x8, 0x1, 0x08000000

Symbols: TypeAlias = list[tuple[str, bool]]
"""Names of defined symbols, and whether each is a function."""


class ProgramHeader(NamedTuple):
    """A program header; `offset` counts from the start of the file, `flags` are R 4, W 2, E 1."""

    kind: int
    flags: int
    offset: int
    vaddr: int
    file_bytes: int


class Section(NamedTuple):
    """A section header; `offset` counts from the start of the file."""

    kind: int
    offset: int
    size_bytes: int
    link: int


class ElfTables:
    """The tables of the ELF file that begins at byte `base` of a source; big-endian ones have none here."""

    def __init__(self, source: Source, base: int = 0) -> None:
        self._source = source
        self._base = base
        start = source.read_some(base, 64).ljust(64, b"\0")
        self.wide = start[4] == 2
        self.type = struct.unpack_from("<H", start, 16)[0]
        sound = start.startswith(b"\x7fELF") and start[5] == 1
        if self.wide:
            segments_at, sections_at = struct.unpack_from("<QQ", start, 32)
            _, segments, _, sections = struct.unpack_from("<HHHH", start, 54)
        else:
            segments_at, sections_at = struct.unpack_from("<II", start, 28)
            _, segments, _, sections = struct.unpack_from("<HHHH", start, 42)
        self.headers = self._read_headers(segments_at, segments) if sound else []
        self.sections = self._read_sections(sections_at, sections) if sound else []

    def _read_headers(self, at: int, count: int) -> list[ProgramHeader]:
        form = struct.Struct("<IIQQQQQQ" if self.wide else "<IIIIIIII")
        rows = []
        for row in self._rows(at, count, form):
            if self.wide:
                kind, flags, offset, vaddr, _, size, _, _ = row
            else:
                kind, offset, vaddr, _, size, _, flags, _ = row
            rows.append(ProgramHeader(kind, flags, self._base + offset, vaddr, size))
        return rows

    def _read_sections(self, at: int, count: int) -> list[Section]:
        form = struct.Struct("<IIQQQQIIQQ" if self.wide else "<IIIIIIIIII")
        rows = []
        for _, kind, _, _, offset, size, link, _, _, _ in self._rows(at, count, form):
            rows.append(Section(kind, self._base + offset, size, link))
        return rows

    def _rows(self, at: int, count: int, form: struct.Struct) -> list[tuple[int, ...]]:
        table = self._source.read_some(self._base + at, min(count, MAX_SECTIONS) * form.size)
        return list(form.iter_unpack(table[: len(table) // form.size * form.size]))

    def read_symbols(self) -> Symbols:
        """Names of the defined symbols of the symbol table, and whether each is a function; none if stripped.

        Raises:
            ImageError: the file cannot be read.
        """
        table = next((section for section in self.sections if section.kind == _SHT_SYMTAB), None)
        if table is None or table.link >= len(self.sections):
            return []
        names = self.sections[table.link]
        strings = self._source.read_some(names.offset, min(names.size_bytes, MAX_STRINGS_BYTES))
        form = struct.Struct("<IBBHQQ" if self.wide else "<IIIBBH")
        size = min(table.size_bytes // form.size, MAX_SYMBOLS) * form.size
        data = self._source.read_some(table.offset, size)
        found: Symbols = []
        room = MAX_NAME_BYTES
        for row in form.iter_unpack(data[: len(data) // form.size * form.size]):
            name_at, info, section = (row[0], row[1], row[3]) if self.wide else (row[0], row[3], row[5])
            if not section or not name_at:
                continue
            end = strings.find(b"\0", name_at, name_at + 1024)
            room -= max(0, end - name_at)
            if end > name_at and room > 0:
                found.append((strings[name_at:end].decode("utf-8", "replace"), info & 0xF == _STT_FUNC))
        return found

    def find_header(self, kind: int) -> ProgramHeader | None:
        """The first program header of a kind."""
        return next((header for header in self.headers if header.kind == kind), None)

    def binds_now(self) -> bool:
        """Whether the dynamic section asks for all symbols to be bound at start, as full RELRO needs."""
        flags = self._read_dynamic()
        return bool(
            _DT_BIND_NOW in flags
            or flags.get(_DT_FLAGS, 0) & _DF_BIND_NOW
            or flags.get(_DT_FLAGS_1, 0) & _DF_1_NOW
        )

    def is_pie(self) -> bool:
        """Whether it is a position-independent program: type DYN, and an interpreter or the PIE flag."""
        if self.type != ET_DYN:
            return False
        flagged = self._read_dynamic().get(_DT_FLAGS_1, 0) & _DF_1_PIE
        return bool(flagged) or self.find_header(PT_INTERP) is not None

    def _read_dynamic(self) -> dict[int, int]:
        header = self.find_header(PT_DYNAMIC)
        if header is None:
            return {}
        form = struct.Struct("<QQ" if self.wide else "<II")
        data = self._source.read_some(header.offset, min(header.file_bytes, 1 << 16))
        return dict(form.iter_unpack(data[: len(data) // form.size * form.size]))
