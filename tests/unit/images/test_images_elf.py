"""Reading ELF kernels."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_files import Load, elf64, pvh_note, wrap_elf64

from guestbench.errors import ImageError
from guestbench.host import process
from guestbench.images.formats.elf import ElfImage, is_elf, read_elf
from guestbench.images.source import open_source


def write(folder: Path, contents: bytes) -> Path:
    path = folder / "kernel"
    path.write_bytes(contents)
    return path


def read(path: Path) -> ElfImage:
    """Read an ELF file."""
    with open_source(path) as source:
        return read_elf(source)


def test_sizes_are_summed_by_segment(tmp_path: Path) -> None:
    """Text, data or bss of a kernel would be wrong in the report."""
    loads = (Load(4, b"r" * 64), Load(5, b"x" * 300), Load(7, b"j" * 20), Load(6, b"w" * 40, zeros=1000))
    image = read(write(tmp_path, elf64(loads)))
    assert (image.text_bytes, image.data_bytes, image.bss_bytes) == (320, 104, 1000)
    assert [s.flags for s in image.segments] == ["R--", "R-E", "RWE", "RW-"]
    assert (image.bits, image.machine_name, image.wrapper) == (64, "x86-64", None)


def test_wrapped_image_shows_its_true_headers(tmp_path: Path) -> None:
    """A MirageOS image would be reported as a 32-bit i386 program."""
    loads = (*[Load(4, b"r" * 8)] * 4, Load(5, b"code" * 8), Load(6, b"data", zeros=60))
    contents = wrap_elf64(elf64(loads))
    assert contents[0x100:0x104] == b"\x7fELF"
    image = read(write(tmp_path, contents))
    assert (image.bits, image.machine_name, image.wrapper) == (64, "x86-64", "ELF32 i386")
    assert (image.text_bytes, image.data_bytes, image.bss_bytes) == (32, 36, 60)
    code = image.segments[4]
    assert contents[code.offset : code.offset + code.file_bytes] == b"code" * 8


@pytest.mark.parametrize("count", [1, 2, 9])
def test_wrapper_is_found_with_any_number_of_segments(tmp_path: Path, count: int) -> None:
    """Only images with six segments, whose true header is at 0x100, would be understood."""
    image = read(write(tmp_path, wrap_elf64(elf64(tuple(Load(5, b"x" * 10) for _ in range(count))))))
    assert (image.bits, image.text_bytes) == (64, 10 * count)


def test_truncated_wrapped_image_is_refused(tmp_path: Path) -> None:
    """A unikernel image whose download broke off would be measured as if it were whole."""
    contents = wrap_elf64(elf64((Load(5, b"x" * 3000), Load(6, b"w" * 5000))))
    with pytest.raises(ImageError, match=r"is truncated: a segment ends at byte \d+, the file at byte 6000"):
        read(write(tmp_path, contents[:6000]))


@pytest.mark.parametrize("symbols", [True, False])
def test_symbol_table_is_noticed(tmp_path: Path, symbols: bool) -> None:
    """A stripped and an unstripped image would look alike."""
    assert read(write(tmp_path, elf64(symbols=symbols))).stripped is not symbols


def test_pvh_entry_is_found_behind_other_notes(tmp_path: Path) -> None:
    """An uncompressed Linux kernel, which enters by its PVH note, would be called not bootable."""
    assert read(write(tmp_path, elf64(note=pvh_note(0x1234)))).pvh_entry == 0x1234


def test_big_endian_machine_is_named(tmp_path: Path) -> None:
    """A kernel for another architecture would be called damaged instead of wrong."""
    fields = (2, 22, 1, 0, 64, 0, 0, 64, 56, 0, 64, 0, 0)
    contents = b"\x7fELF\x02\x02\x01".ljust(16, b"\0") + struct.pack(">HHIQQQIHHHHHH", *fields)
    assert read(write(tmp_path, contents)).machine_name == "s390"


def test_segment_of_impossible_size_is_refused(tmp_path: Path) -> None:
    """A forged header could put a number into the results that JSON cannot hold."""
    contents = elf64((Load(6, b"w", zeros=(1 << 63)),))
    with pytest.raises(ImageError, match="would take 9223372036854775809 bytes of memory"):
        read(write(tmp_path, contents))


def test_numbers_agree_with_an_independent_reader(tmp_path: Path) -> None:
    """The headers of real linker output would be misread."""
    from elftools.elf.elffile import ELFFile

    source = tmp_path / "k.c"
    source.write_text(
        "int table[500]; int one = 1; const int two = 2; void _start(void) { table[one] = two; }"
    )
    for bits in ("-m32", "-m64"):
        kernel = tmp_path / f"kernel{bits}"
        options = ["-nostdlib", "-ffreestanding", "-static", "-no-pie", "-fno-asynchronous-unwind-tables"]
        process.run(["gcc", bits, *options, "-o", kernel, source])
        image = read(kernel)
        with kernel.open("rb") as file:
            other = ELFFile(file)
            loads = [s.header for s in other.iter_segments() if s.header.p_type == "PT_LOAD"]
            assert image.bits == other.elfclass
            assert image.entry == other.header.e_entry
            assert image.stripped is (other.get_section_by_name(".symtab") is None)
        assert [(s.offset, s.vaddr, s.file_bytes, s.memory_bytes) for s in image.segments] == [
            (s.p_offset, s.p_vaddr, s.p_filesz, s.p_memsz) for s in loads
        ]
        assert image.text_bytes == sum(s.p_filesz for s in loads if s.p_flags & 1)
        assert image.bss_bytes == sum(s.p_memsz - s.p_filesz for s in loads) >= 2000


def test_other_files_are_not_elf(tmp_path: Path) -> None:
    """A bzImage would be searched for ELF segments."""
    with open_source(write(tmp_path, b"MZ")) as source:
        assert not is_elf(source)
    with pytest.raises(ImageError, match="is not an ELF file"):
        read(tmp_path / "kernel")


@given(
    base=st.sampled_from([elf64(note=pvh_note()), wrap_elf64(elf64()), elf64(symbols=True)]),
    changes=st.lists(st.tuples(st.integers(0, 700), st.binary(min_size=1, max_size=8)), max_size=6),
    length=st.integers(0, 2000),
)
def test_hostile_elf_raises_only_image_errors(
    tmp_path_factory: pytest.TempPathFactory,
    base: bytes,
    changes: list[tuple[int, bytes]],
    length: int,
) -> None:
    """A forged ELF header would end a run with a traceback."""
    contents = bytearray(base)
    for offset, change in changes:
        contents[offset : offset + len(change)] = change
    path = tmp_path_factory.getbasetemp() / "hostile-elf"
    path.write_bytes(bytes(contents[:length]))
    try:
        image = read(path)
    except ImageError as error:
        assert str(path) in error.message
    else:
        assert image.text_bytes + image.data_bytes <= 128 * length
        assert 0 <= image.bss_bytes < 1 << 63
