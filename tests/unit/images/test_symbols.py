"""Symbols by their addresses: of ELF files, of a System.map, and of /proc/kallsyms."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestbench.errors import ImageError
from guestbench.host import process
from guestbench.images.contents.symbols import load_symbols, parse_table, read_image_symbols
from guestbench.model.symbols import Place

SOURCE = """
static int helper(int n) { int s = 0; for (int i = 0; i < n; i++) s ^= i * n; return s; }
int shown(int n) { return helper(n) + helper(n + 1); }
int data_is_no_code = 5;
void _start(void) { for (;;) shown(3); }
"""
KALLSYMS = b"""ffffffff81000000 T startup_64
ffffffff81000000 T _stext
ffffffff81000000 T _text
ffffffff81000040 t early\r
ffffffff81000050 D not_code
ffffffff81000100 T __sys
ffffffff81000100 T sys
ffffffffc0001000 t probe\t[virtio_net]
0000000000000000 T hidden
no symbol at all
"""


def compile_elf(folder: Path, name: str = "a.c") -> Path:
    """An ELF file with symbols."""
    source, target = folder / name, folder / "kernel.elf"
    source.write_text(SOURCE)
    flags = ("-O1", "-fno-inline", "-nostdlib", "-static", "-ffreestanding", "-fno-pic", "-no-pie")
    process.run(["gcc", *flags, "-Wl,-Ttext=0x100000", "-o", target, source])
    return target


def names(places: tuple[Place, ...]) -> dict[str, Place]:
    """Places by their names."""
    return {place.name: place for place in places}


def test_an_address_is_found_in_its_function_and_in_its_file(tmp_path: Path) -> None:
    """Instructions of one function would be told of another, or of data."""
    found = read_image_symbols(compile_elf(tmp_path))
    assert found is not None
    places = names(found.places)
    assert places.keys() == {"helper", "shown", "_start"}
    helper = places["helper"]
    assert (helper.group, places["shown"].group) == ("a.c", "")
    assert found.find(helper.address) == found.find(helper.end - 1) == helper
    assert found.find(helper.address - 0x10000) is None
    assert found.holds(helper.address) and not found.holds(0x400000)


def test_the_name_of_a_temporary_object_is_no_file(tmp_path: Path) -> None:
    """Two builds of one assembly source would differ in every symbol that is local to it."""
    found = read_image_symbols(compile_elf(tmp_path, "ccAb1_Zz.s.c"))
    assert found is not None and names(found.places)["helper"].group == "ccAb1_Zz.s.c"
    source, target = tmp_path / "a.S", tmp_path / "a.elf"
    source.write_text("local: ret\n.globl _start\n_start: call local\n")
    process.run(["gcc", "-nostdlib", "-static", "-o", target, source])
    found = read_image_symbols(target)
    assert found is not None and names(found.places)["local"].group == ""


def test_a_stripped_image_has_the_symbols_of_the_file_beside_it(tmp_path: Path) -> None:
    """A unikernel whose build keeps its symbols apart would have none."""
    image = compile_elf(tmp_path)
    whole = read_image_symbols(image)
    process.run(["objcopy", "--only-keep-debug", image, tmp_path / "kernel.elf.dbg"])
    process.run(["strip", image])
    found = read_image_symbols(image)
    assert found is not None and whole is not None
    assert found.places == whole.places
    (tmp_path / "kernel.elf.dbg").unlink()
    stripped = read_image_symbols(image)
    assert stripped is not None and not stripped.places and stripped.extents == whole.extents
    assert "stripped" in stripped.what


def test_kallsyms_are_read_with_their_modules() -> None:
    """Linux's functions would be lost, data taken for code, or a section's begin for a function."""
    places = names(parse_table(KALLSYMS, "kallsyms").places)
    assert places.keys() == {"startup_64", "early", "sys", "probe"}
    assert places["early"].end == 0xFFFFFFFF81000100
    assert (places["probe"].group, places["probe"].is_module) == ("virtio_net", True)
    assert names(parse_table(KALLSYMS, "kallsyms").without_modules().places).keys() == places.keys() - {
        "probe"
    }
    # What follows the last symbol of a stretch is not all of it.
    assert places["sys"].end < 0xFFFFFFFF81200000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"ffffffff81000000 D data\n", "neither an ELF file nor a table of symbols"),
        (b"0000000000000000 T _text\n0000000000000000 t a\n", "addresses that are not 0"),
        (b"", "neither"),
        (b"\x7fELF\x02\x01\x01", "damaged"),
    ],
)
def test_a_file_without_symbols_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    """A file that was named would be passed over without a word."""
    file = tmp_path / "symbols"
    file.write_bytes(content)
    with pytest.raises(ImageError, match=words):
        load_symbols(file)


def test_a_stripped_file_is_refused(tmp_path: Path) -> None:
    """A stripped file that was named would count as symbols."""
    image = compile_elf(tmp_path)
    process.run(["strip", image])
    with pytest.raises(ImageError, match="stripped") as caught:
        load_symbols(image)
    assert caught.value.hint.startswith("nm ")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_table_or_none(data: bytes) -> None:
    """A hostile file of symbols would end in a traceback, or have places that overlap."""
    places = parse_table(KALLSYMS + data, "x").places
    assert all(a.address < a.end <= b.address for a, b in pairwise(places))
