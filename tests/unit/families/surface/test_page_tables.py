"""What page tables allow: recordings of real guests, tables made here, and tables no guest should have."""

from __future__ import annotations

import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from monitor_guest import (
    LA57,
    LARGE,
    NO_EXECUTE,
    NXE,
    PAE,
    PE,
    PG,
    PRESENT,
    USER,
    WRITE,
    RecordedQmp,
    load_recording,
    registers_text,
)

from guestbench.families.surface.paging.page_tables import (
    CrossCheck,
    Floor,
    PageTables,
    Space,
    Stack,
    Text,
    count_rights,
    read_page_tables,
    read_stacks,
)
from guestbench.families.surface.paging.page_walk import Mapping
from guestbench.model import Provenance, Unknown
from guestbench.model.machine import Mode

KIB = 1024
MIB = KIB * KIB
ALL = PRESENT | WRITE | USER


def tables_of(machine: RecordedQmp, stops: int = 3) -> PageTables:
    """What is read of a machine, which must not be a reason why nothing is."""
    tables = read_page_tables(machine.monitor, stops=stops, pause_s=0)
    assert isinstance(tables, PageTables), tables
    return tables


def made_guest(memory: dict[int, int], **registers: int) -> RecordedQmp:
    """A guest with these tables, without QEMU's own listings of them to compare with."""
    answers: dict[str, object] = {
        "info registers": registers_text(**registers),
        "info tlb": "",
        "info mem": "",
    }
    return RecordedQmp(answers, memory)


def small_guest(leaves: dict[int, int], upper: int = ALL) -> dict[int, int]:
    """4-level tables for the first 2 MiB: `leaves` maps a page's number to the flags of its entry."""
    memory = {0x1000: 0x2000 | upper, 0x2000: 0x3000 | upper, 0x3000: 0x4000 | upper}
    return memory | {0x4000 + 8 * page: page << 12 | flags for page, flags in leaves.items()}


# --- real guests --------------------------------------------------------------------------------------


def test_guest_without_paging_can_write_and_execute_all_of_its_memory() -> None:
    """A guest without any protection would be reported as one with no writable and executable pages."""
    tables = tables_of(load_recording("floor"))
    assert tables.mode is Mode.NONE
    assert tables.rights.writable_executable == 512 * KIB // 4
    assert tables.rights.provenance is Provenance.DERIVED
    assert tables.rights.writable_executable_share == 1
    assert tables.null_mapped
    assert isinstance(tables.stack, Stack)
    assert (tables.stack.floor, tables.stack.guarded) == (Floor.NO_PAGING, False)
    assert isinstance(tables.text, Text)
    assert tables.text.writable == tables.text.pages
    assert isinstance(tables.text_base, Unknown)


def test_linux_has_no_page_that_is_writable_and_executable() -> None:
    """The protections that Linux has, and a unikernel may lack, would not be credited to it."""
    tables = tables_of(load_recording("linux-minimal"))
    registers = tables.registers
    assert tables.mode is Mode.LEVELS_4
    assert (registers.efer, registers.write_protect, registers.no_execute) == (0xD01, True, True)
    assert (registers.smep, registers.smap, registers.umip) == (False, False, False)
    assert tables.rights.writable_executable == 0
    assert 0 < tables.rights.executable < tables.rights.mapped
    assert not tables.null_mapped
    assert tables.text_base == 0xFFFFFFFFA3600000
    assert tables.text == Text(start=0xFFFFFFFFA3600000, pages=3586, writable=0)
    assert isinstance(tables.stack, Stack)
    assert (tables.stack.floor, tables.stack.guarded, tables.stack.below_kib) == (Floor.UNMAPPED, True, 15)


def test_five_levels_of_a_real_guest_and_the_cpus_own_protections() -> None:
    """On a newer CPU a guest's kernel would be at wrong addresses, and SMEP, SMAP and UMIP go unseen."""
    machine = load_recording("linux-5-level")
    tables = tables_of(machine)
    assert tables.mode is Mode.LEVELS_5
    assert (tables.registers.smep, tables.registers.smap, tables.registers.umip) == (True, True, True)
    assert tables.text_base == 0xFFFFFFFF9B000000
    assert tables.rights.writable_executable == 0
    # QEMU 7.2 searches for 23 s and prints nothing.
    assert "info mem" not in machine.said
    assert isinstance(tables.check, CrossCheck)
    assert tables.check.agrees
    assert isinstance(tables.check.listing.mapped_kib, Unknown)


@pytest.mark.parametrize("name", ["linux-minimal", "paging-pae", "paging-32-bit"])
def test_walk_finds_what_qemu_lists(name: str) -> None:
    """Figures would differ from what a reader sees who asks QEMU by hand."""
    check = tables_of(load_recording(name)).check
    assert isinstance(check, CrossCheck)
    assert check.agrees
    assert check.listing.garbled == 0
    assert isinstance(check.listing.mapped_kib, int)


def test_difference_from_what_qemu_lists_is_told() -> None:
    """A mistake in reading the tables would go unseen."""
    machine = load_recording("paging-pae")
    machine.answers["info mem"] = str(machine.answers["info mem"]).replace("-r-", "-rw")
    check = tables_of(machine).check
    assert isinstance(check, CrossCheck)
    assert not check.agrees


def test_real_32_bit_tables() -> None:
    """Old 32-bit guests would have no figures, or those of other addresses."""
    pae, plain = (tables_of(load_recording(f"paging-{mode}")) for mode in ("pae", "32-bit"))
    assert (pae.mode, plain.mode) == (Mode.PAE, Mode.BITS_32)
    assert (pae.rights.mapped, pae.rights.writable_executable, pae.rights.user) == (517, 515, 0)
    assert (plain.rights.mapped, plain.rights.writable_executable) == (1025, 1024)
    assert isinstance(pae.stack, Stack)
    assert pae.stack.guarded is True


def test_result_survives_json() -> None:
    """A figure or a reason would change on its way into the store."""
    for name in ("floor", "linux-minimal", "linux-5-level"):
        read = read_page_tables(load_recording(name).monitor)
        assert msgspec.json.decode(msgspec.json.encode(read), type=PageTables) == read


# --- stopping the guest -------------------------------------------------------------------------------


def test_guest_goes_on_even_if_it_cannot_be_read() -> None:
    """A probe that fails would leave the guest standing, and every later one would time out."""
    machine = RecordedQmp({})
    tables = read_page_tables(machine.monitor)
    assert isinstance(tables, Unknown)
    assert "info registers" in tables.reason
    assert machine.said == ["query-status", "stop", "info registers", "cont"]


def test_guest_that_stood_still_stays_so() -> None:
    """A guest that has powered off would be told to run."""
    machine = made_guest(small_guest({}))
    machine.answers["query-status"] = {"running": False}
    tables_of(machine)
    assert not {"stop", "cont"} & set(machine.said)


def test_guest_in_user_mode_is_stopped_again_and_then_its_stack_is_unknown() -> None:
    """The stack of some program would be judged in place of the kernel's."""
    machine = made_guest(small_guest({1: ALL}), privilege=3)
    tables = tables_of(machine, stops=4)
    assert machine.said.count("stop") == machine.said.count("cont") == 4
    assert tables.stack == Unknown(reason="the CPU was in user mode at each of 4 stops")
    assert tables.text == tables.stack
    assert tables.rights.mapped == 1


# --- tables -------------------------------------------------------------------------------------------


def test_rights_are_those_that_every_level_grants() -> None:
    """Pages that an upper level protects would be counted as writable and executable, or as open to users."""
    for upper, writable, executable, user in (
        (ALL, 1, 1, 1),
        (PRESENT | USER, 0, 1, 1),
        (PRESENT | WRITE, 1, 1, 0),
        (ALL | NO_EXECUTE, 1, 0, 1),
    ):
        rights = tables_of(made_guest(small_guest({5: ALL}, upper))).rights
        assert (rights.mapped, rights.writable, rights.executable, rights.user) == (
            1,
            writable,
            executable,
            user,
        )
        assert rights.writable_executable == writable * executable


def test_without_nx_or_write_protection_flags_mean_nothing() -> None:
    """A guest whose flags the CPU does not enforce would look protected."""
    memory = small_guest({5: PRESENT | NO_EXECUTE})
    assert tables_of(made_guest(memory)).rights.writable_executable == 0
    assert tables_of(made_guest(memory, efer=1 << 8 | 1 << 10)).rights.executable == 1
    open_to_kernel = tables_of(made_guest(memory, efer=1 << 8 | 1 << 10, cr0=PG | PE))
    assert open_to_kernel.rights.writable_executable == 1


def test_large_pages_count_as_what_they_cover() -> None:
    """A guest mapped by one entry of a gigabyte would seem to have one page."""
    memory = {
        0x1000: 0x2000 | ALL,
        0x2000: 0 | ALL | LARGE,
        0x2008: 0x3000 | ALL,
        0x3000: 0x40000000 | PRESENT | LARGE | NO_EXECUTE,
    }
    rights = tables_of(made_guest(memory)).rights
    assert (rights.mapped, rights.large, rights.entries) == (262144 + 512, 262144 + 512, 2)
    assert rights.writable_executable == MIB // 4


def test_five_levels_and_addresses_of_the_kernel() -> None:
    """The kernel's half of memory, or all of a guest with 57-bit addresses, would be at wrong addresses."""
    top = {0x1000 + 8 * 511: 0x2000 | PRESENT, 0x2000 + 8 * 511: 0x3000 | PRESENT}
    image = {0x3000 + 8 * 510: 0x4000 | PRESENT, 0x4000 + 8 * 8: 0x1000000 | PRESENT | LARGE}
    tables = tables_of(
        made_guest(
            {address: value for address, value in top.items() if address < 0x2000}
            | {0x2000 + 8 * 510: 0x4000 | PRESENT}
            | {0x4000 + 8 * 8: 0x1000000 | PRESENT | LARGE}
        )
    )
    assert tables.text_base == 0xFFFFFFFF81000000
    tables = tables_of(made_guest(top | image, cr4=PAE | LA57))
    assert tables.mode is Mode.LEVELS_5
    assert tables.text_base == 0xFFFFFFFF81000000


def test_pae_takes_its_rights_from_two_levels() -> None:
    """A 32-bit guest's pages would all seem read-only: its first level has no rights to give."""
    memory = {0x1020: 0x2000 | PRESENT, 0x2000: 0x3000 | ALL, 0x2008: 0x200000 | ALL | LARGE, 0x3000: ALL}
    tables = tables_of(made_guest(memory, cr3=0x1020, efer=NXE))
    assert tables.mode is Mode.PAE
    assert (tables.rights.mapped, tables.rights.writable_executable) == (513, 513)


def test_32_bit_tables_have_no_no_execute() -> None:
    """An old guest would be credited with a protection that its tables cannot express."""
    machine = made_guest({}, cr4=1 << 4, efer=NXE)
    machine.memory = None
    machine.answers["xp /1024wx 0x1000"] = "0000000000001000: 0x00002001 0x00400083 0x00000000 0x00000000\r\n"
    machine.answers["xp /1024wx 0x2000"] = "0000000000002000: 0x00000000 0x00001003 0x00000000 0x00000000\r\n"
    tables = tables_of(machine)
    assert tables.mode is Mode.BITS_32
    assert (tables.rights.mapped, tables.rights.large, tables.rights.writable) == (1025, 1024, 1024)
    assert tables.rights.executable == 1025
    assert not tables.null_mapped


def test_null_page_is_seen() -> None:
    """A guest that goes on after a NULL pointer would look as safe as one that stops."""
    assert tables_of(made_guest(small_guest({0: ALL}))).null_mapped
    assert not tables_of(made_guest(small_guest({1: ALL}))).null_mapped


# --- tables that no guest should have -----------------------------------------------------------------


def test_tables_that_point_at_each_other_end() -> None:
    """A hostile guest would make the tool, or QEMU, count for ever."""
    memory = {0x1000 + 8 * index: 0x1000 | ALL for index in range(512)}
    machine = made_guest(memory)
    began = time.monotonic()
    tables = read_page_tables(machine.monitor)
    assert time.monotonic() - began < 20
    assert tables == Unknown(reason="more than 1000000 mappings")
    assert "info tlb" not in machine.said


def test_tables_where_nothing_can_be_read_are_unknown() -> None:
    """A guest whose tables cannot be read would be reported as mapping nothing, the safest of all."""
    machine = made_guest({})
    machine.memory = None
    machine.answers["xp /512gx 0x1000"] = "Cannot access memory\r\n"
    assert read_page_tables(machine.monitor) == Unknown(reason="the page table at 0x1000 cannot be read")


@given(
    st.dictionaries(
        st.integers(0, 5 * 512 - 1).map(lambda index: 0x1000 + 8 * index),
        st.builds(
            lambda table, flags: table << 12 | flags,
            st.integers(1, 5),
            st.sampled_from([PRESENT, ALL, PRESENT | LARGE, ALL | NO_EXECUTE, WRITE]),
        ),
        max_size=12,
    )
)
def test_any_tables_give_figures_that_fit_together(memory: dict[int, int]) -> None:
    """Shares above one, or parts larger than the whole, would be printed for some guest."""
    tables = tables_of(made_guest(memory))
    rights = tables.rights
    assert rights.writable_executable <= min(rights.writable, rights.executable)
    assert max(rights.writable, rights.executable, rights.user, rights.large) <= rights.mapped
    assert rights.entries <= rights.mapped


# --- the stack and the code ---------------------------------------------------------------------------


def pages(*runs: tuple[int, int, str]) -> Space:
    """An address space of runs of pages: first page, number of pages, and rights out of `w` and `x`."""
    mappings = [
        Mapping(page << 12, 4096, "w" in rights, "x" in rights, False)
        for first, number, rights in runs
        for page in range(first, first + number)
    ]
    return Space(mappings, write_protect=True)


def test_guard_page_below_the_stack() -> None:
    """Whether a stack that grows too far overwrites other data would be told wrongly."""
    guarded = pages((1, 1, "w"), (16, 4, "w")).judge_stack(20 << 12)
    assert guarded == Stack(pointer=20 << 12, below_kib=16, floor=Floor.UNMAPPED, guarded=True)
    above_code = pages((12, 4, "x"), (16, 4, "w")).judge_stack((20 << 12) - 8)
    assert isinstance(above_code, Stack)
    assert (above_code.below_kib, above_code.floor) == (15, Floor.READ_ONLY)
    assert isinstance(above_code.guarded, Unknown)
    above_data = pages((12, 1, "x"), (13, 100, "w")).judge_stack(113 << 12)
    assert isinstance(above_data, Stack)
    assert (above_data.below_kib, above_data.floor, above_data.guarded) == (400, Floor.READ_ONLY, False)
    flat = pages((0, 4096, "wx")).judge_stack(4096 << 12)
    assert isinstance(flat, Stack)
    assert (flat.floor, flat.guarded, flat.below_kib) == (Floor.NONE_SEEN, False, 8 * KIB)


def test_far_guard_page_is_not_believed() -> None:
    """A stack below which a megabyte of other data lies would be called guarded."""
    stack = pages((16, 256, "w")).judge_stack(272 << 12)
    assert isinstance(stack, Stack)
    assert (stack.floor, stack.below_kib) == (Floor.UNMAPPED, 1024)
    assert isinstance(stack.guarded, Unknown)


def test_stack_pointer_to_nowhere_is_unknown() -> None:
    """A guest that uses the stack pointer for something else would be said to lack a guard page."""
    space = pages((1, 1, "x"))
    assert all(isinstance(space.judge_stack(pointer), Unknown) for pointer in (0, 0x1800, 0x5000, 2**64 - 1))


def test_stacks_of_several_stops_are_each_told_once() -> None:
    """A kernel would be judged by the one stack that a single stop happens to catch."""
    linux = load_recording("linux-minimal")
    (stack,) = read_stacks(linux.monitor, stops=5, pause_s=0)
    assert stack == tables_of(load_recording("linux-minimal")).stack
    # Only the tables on the way to the stack are read.
    assert len([line for line in linux.said if line.startswith("xp ")]) < 5 * 8
    assert read_stacks(made_guest({}, privilege=3).monitor, stops=2, pause_s=0) == ()
    assert all(
        isinstance(stack, Unknown)
        for name in ("floor", "nothing")
        for stack in read_stacks(
            (load_recording(name) if name == "floor" else RecordedQmp({})).monitor, pause_s=0
        )
    )


def test_writable_code_is_seen() -> None:
    """Code that an attacker can overwrite would go unreported."""
    text = pages((4, 2, "x"), (6, 1, "wx"), (7, 1, "w"), (9, 1, "x")).find_text(0x5010)
    assert text == Text(start=0x4000, pages=3, writable=1)
    assert isinstance(pages((4, 1, "w")).find_text(0x4000), Unknown)


def test_code_is_searched_where_linux_has_its_image() -> None:
    """A boot that was stopped in a module would give an address that has nothing to do with the kernel's."""
    image, module = 0xFFFFFFFF81000, 0xFFFFFFFFC0000
    space = pages((4, 1, "x"), (image, 2, "x"), (module, 1, "x"))
    assert space.find_text_base(space.find_text(module << 12)) == image << 12
    assert pages((4, 1, "x")).find_text_base(Text(start=0x4000, pages=1, writable=0)) == 0x4000


def test_counts_of_no_mappings_are_zeros_with_no_share() -> None:
    """A guest that maps nothing would divide by zero."""
    assert count_rights([], write_protect=True).writable_executable_share == 0
