"""Describes programs in ELF files and file systems: segments, symbols, mitigations, gadgets; it runs none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from itertools import islice
from pathlib import Path

from guestbench.errors import ImageError
from guestbench.images.contents import code
from guestbench.images.contents.gadgets import MAX_RETURNS, count_gadgets
from guestbench.images.contents.linux import find_kernel
from guestbench.images.formats import elf
from guestbench.images.formats.kernel import MAX_KERNEL_BYTES, open_vmlinux
from guestbench.images.inspection import CodeFile, Elf, Gadgets, Known, SegmentFound, known, unknown
from guestbench.images.source import Source, hold, open_source, reason_of
from guestbench.images.tree import Entry, Tree, show_path
from guestbench.text import visible

MAX_ELF_BYTES = 128 << 20
"""Of a file, and of its code: a vmlinux of Debian has 66 MB, a unikernel 5 MB."""
LARGEST_PROGRAMS = 3
"""Of the programs in a file system, so many of the largest have their gadgets counted."""
RETURNS_OF_ONE = 30_000
"""Returns looked at in each program of a disk, which has several: less than a second each."""
MAX_RETURN_BYTES = 4_000_000
"""Debian's vmlinux has 134,000 in 40 MB of code."""
NO_SEGMENTS = "there are no LOAD segments"
NO_STRINGS = "not looked for in a Linux kernel"
_X86 = (elf.EM_386, elf.EM_X86_64)


def describe_elf(
    source: Source, headers: elf.ElfImage, symbols: elf.Symbols, where: str, *, is_kernel: bool = False
) -> Elf:
    """All about an ELF image whose symbols are given; `where` is their origin, or why there are none.

    Raises:
        ImageError: the file cannot be read.
    """
    segments = tuple(
        SegmentFound(vaddr=s.vaddr, file_bytes=s.file_bytes, memory_bytes=s.memory_bytes, flags=s.flags)
        for s in headers.segments
    )
    writable = sum(s.executable and "W" in s.flags for s in headers.segments)
    no_segments: Known[int] = unknown(NO_SEGMENTS)
    problem = _find_problem(source, headers)
    too_large = f"the file has more than {MAX_ELF_BYTES >> 20} MiB"
    no_strings = NO_STRINGS if is_kernel else too_large if source.size_bytes > MAX_ELF_BYTES else ""
    whole = b"" if no_strings else source.read_some(0, MAX_ELF_BYTES)
    code_parts = [] if problem else _read_code(source, headers)
    return Elf(
        bits=headers.bits,
        machine=headers.machine_name,
        wrapper=headers.wrapper or "",
        entry=headers.entry,
        stripped=None if headers.sections_cut else headers.stripped,
        segments=segments,
        wx_segments=known(writable, "LOAD segments with both flags") if segments else no_segments,
        code_bytes=known(headers.text_bytes, "bytes in the file of executable LOAD segments")
        if segments
        else no_segments,
        symbols=code.find_families(symbols, where),
        libraries=unknown(no_strings) if no_strings else code.find_libraries(whole, symbols, where),
        mitigations=() if problem else code.find_mitigations(source, headers, code_parts, symbols),
        syscall_entry=unknown(problem) if problem else code.find_traps(code_parts, headers.bits),
        syscall_handlers=code.find_handlers(symbols, where),
        programs=unknown(no_strings) if no_strings else code.find_programs(whole),
        gadgets=unknown(problem) if problem else _count(code_parts, headers.bits, MAX_RETURNS),
    )


def read_symbols(source: Source, headers: elf.ElfImage) -> tuple[elf.Symbols, str]:
    """Symbols of the image, or else of the .dbg file beside it; and their origin, or why there are none.

    A .dbg file counts only if it is of the same build: its code must lie at the same addresses.

    Raises:
        ImageError: the image cannot be read.
    """
    problem = "the image is stripped"
    try:
        symbols = headers.read_symbols(source)
    except ImageError as error:
        symbols, problem = [], f"the image {reason_of(error, source.path)}"
    if symbols:
        return symbols, "symbols of the image"
    where = f"{problem}, and no .dbg file lies beside it"
    code_at = [(s.vaddr, s.memory_bytes) for s in headers.segments if s.executable]
    image = source.path
    for beside in (image.with_name(f"{image.name}.dbg"), image.with_suffix(".dbg")):
        with suppress(ImageError), open_source(beside) as debug:
            inner = elf.read_elf(debug)
            if [(s.vaddr, s.memory_bytes) for s in inner.segments if s.executable] != code_at:
                where = f"{problem}, and {visible(beside.name)} is of another build"
                continue
            symbols = inner.read_symbols(debug)
            if symbols:
                return symbols, f"symbols of {visible(beside.name)}"
    return [], where


def _find_problem(source: Source, headers: elf.ElfImage) -> str:
    """Why the code cannot be judged, or nothing."""
    if not headers.segments:
        return NO_SEGMENTS
    if headers.machine not in _X86:
        return f"code for {headers.machine_name} cannot be decoded: only x86 can"
    if headers.text_bytes > min(MAX_ELF_BYTES, source.size_bytes):
        return f"the executable segments together have {headers.text_bytes} bytes: too many to decode"
    return ""


def _read_code(source: Source, headers: elf.ElfImage) -> list[bytes]:
    return [source.read_some(s.offset, s.file_bytes) for s in headers.segments if s.executable]


def _count(segments: list[bytes], bits: int, max_returns: int) -> Known[Gadgets]:
    likely = sum(
        segment.count(opcode) for segment in segments for opcode in (b"\xc2", b"\xc3", b"\xca", b"\xcb")
    )
    if likely > MAX_RETURN_BYTES:
        return unknown(f"the code has {likely} bytes that could be returns: more than any program")
    gadgets = count_gadgets(segments, bits, max_returns=max_returns)
    looked = "all returns" if gadgets.share == 1 else f"a share of {gadgets.share:.3f} of the returns"
    return known(gadgets, f"capstone, {looked}, up to 10 bytes and 5 instructions, the return included")


def count_in_programs(root: Tree, scratch: Path) -> Known[tuple[CodeFile, ...]]:
    """Gadgets of the newest kernel and the largest programs.

    Raises:
        ImageError: the file system cannot be read.
        ToolMissing: zstd is needed and not installed.
        OSError: `scratch` cannot be written.
    """
    kernel = find_kernel(root)
    rows = [] if kernel is None else [_count_in_file(root, kernel.entry, scratch)]
    rows += (_count_in_file(root, entry) for entry in islice(_find_largest(root), LARGEST_PROGRAMS))
    if not rows:
        return unknown("there is no kernel, and no ELF program")
    return known(tuple(rows), f"the newest kernel, and the {LARGEST_PROGRAMS} largest ELF programs")


def _find_largest(root: Tree) -> Iterator[Entry]:
    """The ELF programs, the largest first; of hard links and copies one."""
    links: dict[int, Entry] = {}
    for entry in sorted(root, key=lambda e: e.path):
        if entry.is_executable:
            links.setdefault(entry.inode, entry)
    seen: set[tuple[int, bytes]] = set()
    for entry in sorted(links.values(), key=lambda e: (-e.size_bytes, e.path)):
        if root.read(entry, len(elf.MAGIC)) == elf.MAGIC:
            # Of two that are too large to be looked into, each counts.
            data = root.read(entry, MAX_ELF_BYTES) if entry.size_bytes <= MAX_ELF_BYTES else entry.path
            contents = entry.size_bytes, sha256(data).digest()
            if contents not in seen:
                seen.add(contents)
                yield entry


def _count_in_file(tree: Tree, entry: Entry, scratch: Path | None = None) -> CodeFile:
    """Gadgets of a program; with `scratch`, of the one inside a bzImage."""
    name = show_path(entry.path)
    try:
        limit_bytes = MAX_ELF_BYTES if scratch is None else MAX_KERNEL_BYTES
        with hold(tree.read_whole(entry, limit_bytes), Path(name)) as source:
            if scratch is None:
                return _count_in_elf(source, name)
            with open_vmlinux(source, scratch) as vmlinux:
                return _count_in_elf(vmlinux, f"{name}: vmlinux")
    except ImageError as error:
        return CodeFile(name=name, code_bytes=0, gadgets=unknown(reason_of(error, Path(name))))


def _count_in_elf(source: Source, name: str) -> CodeFile:
    image = elf.read_elf(source)
    problem = _find_problem(source, image)
    gadgets = unknown(problem) if problem else _count(_read_code(source, image), image.bits, RETURNS_OF_ONE)
    return CodeFile(name=name, code_bytes=image.text_bytes, gadgets=gadgets)
