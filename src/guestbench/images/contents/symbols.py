"""Finds the symbol that an address of code belongs to, by ELF symbols, a System.map or /proc/kallsyms."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from itertools import zip_longest
from pathlib import Path

from guestbench.errors import ImageError
from guestbench.images.contents.programs import read_symbols
from guestbench.images.formats import elf
from guestbench.images.source import Source, open_source, quoted, unusable
from guestbench.model.symbols import Place, SymbolMap
from guestbench.text import visible

MAX_TABLE_BYTES = 64 << 20
"""The kallsyms of a kernel with all its modules have 10 MB."""
LONGEST_UNSIZED = 1 << 16
"""How far a symbol without a size may reach where no other follows it."""
_LINE = re.compile(
    rb"^([0-9a-fA-F]{8,16}) ([A-Za-z?]) ([^\s]{1,1000})(?:[ \t]+\[([^\]\s]{1,100})\])?[ \t\r]*$", re.MULTILINE
)
_TEMPORARY = re.compile(r"cc\w{6}\.[os]")
"""What gcc calls the object of a source without a name of its own: another in each build."""
_TEXT = b"tTwW"
"""The types of symbols of code, as nm(1) has them; a weak symbol may be data as well."""
_MARKERS = re.compile(r"_?_?(?:s|e|start_|end_)?(?:init)?text(?:_start|_end)?|__init_begin|_stext|_etext")
"""Names of where sections begin and end, which stand at the addresses of true symbols."""


def load_symbols(path: Path) -> SymbolMap:
    """The symbols of a file that a user names: an ELF file, or a table as nm or /proc/kallsyms writes it.

    Raises:
        ImageError: it is missing, damaged, of another kind, or has no symbols of code.
    """
    with open_source(path) as source:
        if elf.is_elf(source):
            found = read_elf_symbols(source)
        else:
            if source.size_bytes > MAX_TABLE_BYTES:
                raise unusable(path, f"has more than {MAX_TABLE_BYTES >> 20} MiB: no table of symbols has")
            data = source.read_some(0, MAX_TABLE_BYTES)
            found = parse_table(data, f"symbols of {visible(path.name)}")
        if not found.places:
            raise _refuse(path, elf.is_elf(source))
        return found


def _refuse(path: Path, is_elf_file: bool) -> ImageError:
    if is_elf_file:
        return ImageError(f"{visible(path)} is stripped: it has no symbols", f"nm {quoted(path)}")
    return unusable(path, "is neither an ELF file nor a table of symbols with addresses that are not 0")


def read_image_symbols(path: Path) -> SymbolMap | None:
    """The symbols of an ELF image or of the .dbg file beside it; none where it is no ELF file.

    One that is stripped has its extents alone, and `what` says so.

    Raises:
        ImageError: the image cannot be read.
    """
    with open_source(path) as source:
        if not elf.is_elf(source):
            return None
        with suppress(ImageError):
            return read_elf_symbols(source)
    return None


def read_elf_symbols(source: Source) -> SymbolMap:
    """The symbols of an open ELF file, or of the .dbg file beside it.

    Raises:
        ImageError: it is no sound ELF file.
    """
    headers = elf.read_elf(source)
    symbols, where = read_symbols(source, headers)
    extents = tuple((s.vaddr, s.vaddr + s.memory_bytes) for s in headers.segments if s.executable)
    found = [
        (each.address, each.size_bytes, each.name, _name_file(each.file), not each.is_function)
        for each in symbols
        if each.is_place and any(low <= each.address < high for low, high in extents)
    ]
    name = visible(source.path.name)
    return SymbolMap(what=f"{name}: {where}", places=_lay_out(found, extents), extents=extents)


def _name_file(file: str) -> str:
    return "" if _TEMPORARY.fullmatch(file) else file


def parse_table(data: bytes, what: str) -> SymbolMap:
    """The symbols of code in a table of lines `address type name`, with `[module]` behind some."""
    found: list[tuple[int, int, str, str, bool]] = []
    for address, kind, name, module in _LINE.findall(data):
        at = int(address, 16)
        if at and kind in _TEXT:
            text = name.decode("utf-8", "replace")
            found.append((at, 0, text, module.decode("utf-8", "replace"), bool(_MARKERS.fullmatch(text))))
    return SymbolMap(what=what, places=_lay_out(found, (), modules=True))


def _lay_out(
    found: Iterable[tuple[int, int, str, str, bool]],
    extents: tuple[tuple[int, int], ...],
    *,
    modules: bool = False,
) -> tuple[Place, ...]:
    """Places from addresses, sizes, names, groups, and whether another name of the address is the better one.

    Of several names of an address one is taken: a function's, then that with the fewest underscores first.
    """

    def order(row: tuple[int, int, str, str, bool]) -> tuple[int, bool, int, str]:
        at, _, name, _, poor = row
        return at, poor, len(name) - len(name.lstrip("_")), name

    best: dict[int, tuple[int, int, str, str, bool]] = {}
    for row in sorted(found, key=order):
        best.setdefault(row[0], row)
    rows = list(best.values())
    places = []
    for (at, size, name, group, _), following in zip_longest(rows, rows[1:]):
        ends = [at + (size or LONGEST_UNSIZED), *(high for low, high in extents if low <= at < high)]
        if following is not None:
            ends.append(following[0])
        places.append(Place(at, min(ends), name, group, modules and bool(group)))
    return tuple(places)
