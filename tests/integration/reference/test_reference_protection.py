"""The reference unikernel's memory protection and its end by a fault, tried by a program that offends."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
import reference_guest

from guestbench.host import process

pytestmark = pytest.mark.qemu

SOURCE = Path(__file__).parents[1] / "guests" / "protection.c"
DIRECT_MAP = 0xFFFF800000000000
IMAGE_PHYSICAL = 0x100000
"""Where the kernel maps all memory, and where in it the boot loader puts the kernel."""

ATTEMPT = re.compile(rb"\[attempt (\S+) address=0x(\w+)-0x(\w+) ip=0x(\w+)-0x(\w+)\]\r?\n")
FAULT = re.compile(rb"\[refuk: fault vector=(\d+) address=0x(\w+) ip=0x(\w+) error=0x(\w+)[^\]\n]*\]\r?\n\Z")
DIVIDE, OPCODE, GENERAL, PAGE = 0, 6, 13, 14
"""Exceptions of the x86 architecture; of the error code of a page fault, the bits for a write and a fetch:"""
WRITE, FETCH = 2, 16
EACCES = 13


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that offends, built as an ordinary static Linux program."""
    target = tmp_path_factory.mktemp("protection") / "protection"
    process.run(["gcc", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-static", SOURCE, "-o", target])
    return target


def boot(program: Path, arguments: str, *options: str, memory: str = "64M") -> bytes:
    """What the guest prints until QEMU ends by itself, with status 0."""
    argv: list[str | Path] = [*reference_guest.MACHINE, "-m", memory, "-kernel", reference_guest.kernel()]
    ended = process.run(
        [*argv, "-initrd", program, "-append", f"protection {arguments}", *options], timeout_s=60
    )
    return ended.stdout


@cache
def symbols() -> dict[str, int]:
    """Addresses of the kernel's symbols, as it was linked."""
    listing = process.run(["nm", reference_guest.kernel()]).stdout.decode()
    return {name: int(at, 16) for at, _, name in (line.split() for line in listing.splitlines())}


def in_kernel(symbol: str) -> str:
    """How far behind the entry for system calls something of the kernel is, wherever the kernel runs."""
    return f"{(symbols()[symbol] - symbols()['system_call_entry']) % 2**64:x}"


def in_direct_map(symbol: str) -> str:
    """The kernel's second address of something of its own."""
    return f"{DIRECT_MAP + IMAGE_PHYSICAL + symbols()[symbol] - symbols()['image_start']:x}"


def check_fault(console: bytes, vector: int, error: int) -> None:
    """The run ended in one line, and that says the truth about the fault."""
    attempt = ATTEMPT.search(console)
    assert attempt is not None, console
    rest = console[attempt.end() :]
    fault = FAULT.fullmatch(rest)
    assert fault is not None, rest
    low, high, ip_low, ip_high = (int(number, 16) for number in attempt.groups()[1:])
    assert int(fault[1]) == vector
    assert int(fault[2], 16) in (range(low, high + 1) if vector == PAGE else (0,))
    assert ip_low <= int(fault[3], 16) <= ip_high
    if vector == PAGE:
        assert int(fault[4], 16) & (WRITE | FETCH) == error


OFFENCES = (
    ("load 0", PAGE, 0),
    ("store 8", PAGE, WRITE),
    ("execute 0", PAGE, FETCH),
    ("load ffff", PAGE, 0),
    ("store-text", PAGE, WRITE),
    ("store-constant", PAGE, WRITE),
    ("execute-stack", PAGE, FETCH),
    ("execute-data", PAGE, FETCH),
    ("execute-heap", PAGE, FETCH),
    ("store-below-stack", PAGE, WRITE),
    ("overflow-stack", PAGE, WRITE),
    ("load-none", PAGE, 0),
    ("load-unmapped", PAGE, 0),
    ("store-text-alias", PAGE, WRITE),
    ("bad-opcode", OPCODE, 0),
    ("divide", DIVIDE, 0),
    ("load 8000000000000000", GENERAL, 0),
)


@pytest.mark.parametrize(("arguments", "vector", "error"), OFFENCES)
def test_offence_ends_in_one_line(program: Path, arguments: str, vector: int, error: int) -> None:
    """A program's mistake would go unseen, or end in a hang, or tell a wrong address."""
    check_fault(boot(program, arguments), vector, error)


@pytest.mark.parametrize(
    ("act", "symbol", "error"),
    [
        ("store", "system_call_entry", WRITE),
        ("store", "rodata_start", WRITE),
        ("execute", "data_start", FETCH),
        ("execute", "kernel_stack_top", FETCH),
        ("load", "stack_guards", 0),
    ],
)
def test_kernel_is_protected_at_both_addresses(program: Path, act: str, symbol: str, error: int) -> None:
    """A program in ring 0 could change the kernel's code, or run what it wrote into the kernel's data."""
    check_fault(boot(program, f"kernel-{act} {in_kernel(symbol)}"), PAGE, error)
    check_fault(boot(program, f"{act} {in_direct_map(symbol)}"), PAGE, error)


def test_direct_map_is_never_code(program: Path) -> None:
    """What a program wrote could be run at the second address that all memory has."""
    check_fault(boot(program, f"execute {DIRECT_MAP + 0x300000:x}"), PAGE, FETCH)


@pytest.mark.parametrize(("act", "error"), [("flip-to-execute", FETCH), ("flip-to-write", WRITE)])
def test_rights_are_not_exchanged(program: Path, act: str, error: int) -> None:
    """Memory that was written could be executed after all, by way of mprotect."""
    console = boot(program, act)
    assert b"[refused %d]\n" % EACCES in console
    check_fault(console, PAGE, error)


def test_writable_code_is_refused(program: Path) -> None:
    """A program could have memory that is writable and executable at once."""
    console = boot(program, "map-both")
    assert b"[refused %d]\n[done map-both]\n[exit 0]\n" % EACCES in console


@pytest.mark.parametrize(
    ("arguments", "error"), [("store 8", WRITE), ("store-text", WRITE), ("execute-stack", FETCH)]
)
def test_same_with_all_features_of_the_cpu(program: Path, arguments: str, error: int) -> None:
    """A CPU with SMEP and SMAP would not run the unikernel, or protect less."""
    check_fault(boot(program, arguments, "-cpu", "max"), PAGE, error)


def test_out_of_memory_ends_in_one_line(program: Path) -> None:
    """A program that needs more memory than there is would hang, or overwrite the kernel."""
    console = boot(program, "use-all-memory", memory="8M")
    last = console.splitlines()[-1]
    assert re.fullmatch(rb"\[refuk: out of memory[^\]]*\]", last), last
    assert b"[exit" not in console
    assert b"[no more]" not in console
