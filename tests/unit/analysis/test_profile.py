"""What a count of instructions by address says: pieces, distances, regions, symbols, and what grew."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import ROWS, make_profile

from guestbench.analysis.profile.attribution import Loaded, attribute
from guestbench.analysis.profile.bases import LINUX_STEP, find_base
from guestbench.analysis.profile.growth import compare_profiles
from guestbench.analysis.profile.histogram import Piece, Ran, read_histogram
from guestbench.analysis.profile.regions import Setting, name_address
from guestbench.errors import HostError
from guestbench.model import MIB
from guestbench.model.profile import Region
from guestbench.model.symbols import Place, SymbolMap

HISTOGRAM = """fffffff0 1 1
100000 5 3
# console 17
100000 5 2
# upper
ffffffff81000000 2 10
# console 30
7f0000001000 3 1
# end
"""
LINUX = Setting(memory_mib=512, smm_bytes=16 * MIB, is_linux=True, from_disk=False)
DISK = msgspec.structs.replace(LINUX, from_disk=True)
UNIKERNEL = msgspec.structs.replace(LINUX, is_linux=False)


def make_symbols(count: int = 60, seed: int = 1, low: int = 0x100000) -> SymbolMap:
    """Functions of all lengths, one behind the other."""
    chance = random.Random(seed)
    places, at = [], low
    for number in range(count):
        end = at + chance.randrange(16, 3000)
        places.append(Place(at, end, f"f{number}", ""))
        at = end
    return SymbolMap(what="kernel.elf", places=tuple(places), extents=((low, at),))


# --- the histogram ------------------------------------------------------------------------------------------


def test_pieces_end_where_the_console_said_something() -> None:
    """Instructions would be counted in a phase that they are not of, or be lost."""
    pieces = read_histogram(HISTOGRAM)
    assert [piece.console_bytes for piece in pieces] == [17, None, 30, None]
    assert [piece.moved_up for piece in pieces] == [False, False, True, True]
    assert pieces[0].blocks == (Ran(0xFFFFFFF0, 1), Ran(0x100000, 15))
    assert sum(block.instructions for piece in pieces for block in piece.blocks) == 49


@pytest.mark.parametrize(
    "text", ["", "100000 5 3\n", "# console x\n# end\n", "zz 1 1\n# end\n", "1 2\n# end\n"]
)
def test_a_damaged_histogram_is_refused(text: str) -> None:
    """A count that broke off, as on a full disk, would pass for a whole one."""
    with pytest.raises(HostError, match="cannot be read"):
        read_histogram(text)


# --- how far code was moved ---------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0, 0x5000, 0xFFFFFFFF86000000, -0x2800000])
def test_the_distance_is_found_by_the_functions_that_were_entered(offset: int) -> None:
    """A kernel that moves itself to a random address would have no symbols, or wrong ones."""
    symbols, chance = make_symbols(), random.Random(2)
    entered = [place.address + offset for place in chance.sample(symbols.places, 30)]
    other = [chance.randrange(0, 1 << 30) for _ in range(2000)]
    base = find_base(symbols, [*entered, *other])
    assert base is not None
    assert (base.offset, base.votes >= 30) == (offset, True)


def test_symbols_of_another_program_fit_nowhere() -> None:
    """Symbols of another build would be put somewhere all the same, and name what they are not of."""
    chance = random.Random(3)
    assert find_base(make_symbols(), [chance.randrange(0, 1 << 30) for _ in range(2000)]) is None
    assert find_base(make_symbols(), []) is None
    assert (
        find_base(make_symbols(), [each.address + 0x1000 for each in make_symbols().places], LINUX_STEP)
        is None
    )


# --- regions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "setting", "moved_up", "region"),
    [
        (0xF0000, LINUX, False, Region.FIRMWARE),
        (0xF0000, LINUX, True, Region.FIRMWARE),
        (0xFFFFFFF0, UNIKERNEL, False, Region.FIRMWARE),
        (0xA8000, UNIKERNEL, False, Region.FIRMWARE),
        (0x1EFE0000, LINUX, False, Region.FIRMWARE),
        (0x1FFE0000, DISK, False, Region.LOADER),
        (0x38000, UNIKERNEL, False, Region.FIRMWARE),
        (0x8200, DISK, False, Region.LOADER),
        (0x8200, LINUX, False, Region.SETUP),
        (0x100000, DISK, False, Region.LOADER),
        (0x4F00000, DISK, False, Region.DECOMPRESSOR),
        (0x100000, LINUX, False, Region.DECOMPRESSOR),
        (0x400000, LINUX, True, Region.USER),
        (0x1EFE0000, LINUX, True, Region.USER),
        (0x7F0000001000, DISK, True, Region.USER),
        (0x400000, UNIKERNEL, True, Region.UNKNOWN),
        (0x400000, UNIKERNEL, False, Region.UNKNOWN),
        (0xFFFFFFFF81000000, LINUX, True, Region.KERNEL),
        (0xFFFFFFFFC0001000, LINUX, True, Region.MODULES),
        (0xFFFF888000000000, LINUX, True, Region.UNKNOWN),
        (0xFFFFFFFF81000000, UNIKERNEL, True, Region.UNKNOWN),
    ],
)
def test_addresses_without_symbols_are_told_by_what_a_pc_keeps_there(
    address: int, setting: Setting, moved_up: bool, region: Region
) -> None:
    """The firmware's instructions would be told of the guest, or a process's of the kernel."""
    found, part = name_address(address, setting, moved_up=moved_up)
    assert found is region
    assert part.startswith("0x") == (region is Region.UNKNOWN)


# --- attribution --------------------------------------------------------------------------------------------


def test_a_block_is_told_by_its_symbol_its_file_or_its_region() -> None:
    """Instructions would stand under a symbol that did not run."""
    symbols = SymbolMap(
        what="k", places=(Place(0x100000, 0x100010, "start", "a.c"),), extents=((0x100000, 0x100020),)
    )
    module = SymbolMap(
        what="t", places=(Place(0xFFFFFFFFC0000000, 0xFFFFFFFFC0000010, "probe", "net", True),)
    )
    offset = 0xFFFFFFFF00000000
    loaded = [
        Loaded(symbols=symbols, region=Region.KERNEL),
        Loaded(symbols=symbols, region=Region.KERNEL, offset=offset),
        Loaded(symbols=module, region=Region.KERNEL),
    ]
    addresses = (0x100008, 0x100018, 0x100028, offset + 0x100000, 0xFFFFFFFFC0000004)
    piece = Piece(
        blocks=tuple(Ran(each, 10 + n) for n, each in enumerate(addresses)), console_bytes=None, moved_up=True
    )
    rows = attribute([piece], ["ready"], loaded, UNIKERNEL)
    assert {(row.place, row.instructions) for row in rows} == {
        (("kernel", "a.c", "start"), 10 + 13),
        (("kernel", "no symbol"), 11),
        (("unknown", "0x100000–0x1fffff"), 12),
        (("kernel modules", "net", "probe"), 14),
    }


def test_a_program_is_there_only_once_its_kernel_is() -> None:
    """A boot loader would be told by the symbols of a program that later has its addresses."""
    program = Loaded(symbols=make_symbols(low=0x400000), region=Region.USER)
    blocks = (Ran(0x400008, 5),)
    pieces = [Piece(blocks=blocks, console_bytes=None, moved_up=moved_up) for moved_up in (False, True)]
    before, after = attribute(pieces, ["kernel", "ready"], [program], DISK)
    assert (before.region, before.symbol) == (Region.LOADER, "")
    assert (after.region, after.symbol) == (Region.USER, "f0")


@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, (1 << 64) - 1), st.integers(1, 10**12)).map(lambda each: Ran(*each)),
            max_size=8,
        ),
        max_size=5,
    ),
    st.sampled_from([LINUX, DISK, UNIKERNEL]),
)
def test_no_instruction_is_lost(blocks: list[list[Ran]], setting: Setting) -> None:
    """Shares would not add up to the whole."""
    pieces = [Piece(blocks=tuple(each), console_bytes=None, moved_up=n > 1) for n, each in enumerate(blocks)]
    phases = [f"phase {n // 2}" for n in range(len(pieces))]
    rows = attribute(pieces, phases, [Loaded(symbols=make_symbols(), region=Region.KERNEL)], setting)
    for phase in set(phases):
        whole = sum(
            b.instructions for p, name in zip(pieces, phases, strict=True) for b in p.blocks if name == phase
        )
        assert sum(row.instructions for row in rows if row.phase == phase) == whole


# --- what grew ----------------------------------------------------------------------------------------------


def test_what_grew_most_comes_first_and_what_shrank_last() -> None:
    """A maintainer would look at the wrong function."""
    new = [*ROWS[1:], ("init", Region.KERNEL, "", "memset", 5000), ("ready", Region.KERNEL, "", "fresh", 90)]
    new[0] = ("ready", Region.KERNEL, "main.c", "start", 100)
    new.insert(0, ("firmware", Region.FIRMWARE, "BIOS (0xe0000–0xfffff)", "", 9_000_000))
    diff = compare_profiles(make_profile(), make_profile(new))
    assert [(each.symbol, each.change) for each in diff.changes] == [
        ("memset", 5000),
        ("fresh", 90),
        ("start", -600),
    ]
    assert diff.changes[0].phase == "init"
    # It waits by the host's clock.
    assert diff.firmware == 8_994_000
    assert diff.instructions_new - diff.instructions_old == 8_994_000 + 5000 + 90 - 600


def test_equal_profiles_differ_in_nothing() -> None:
    """Noise would be shown where there is none."""
    assert compare_profiles(make_profile(), make_profile()).changes == ()
