"""Counts of instructions: read as they were written, told as they are, and decided by as they scatter."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import msgspec
import pytest
from cost_factories import COUNTS, make_cost_run
from report_pages import markdown_of

from guestbench.analysis.diff import diff_runs
from guestbench.analysis.gate import GateState, parse_gate
from guestbench.errors import HostError
from guestbench.families.cost.counts import Count, read_counts
from guestbench.families.cost.entry import BOOT_SECTOR, LINUX_ENTRY, find_entry
from guestbench.families.cost.findings import notices
from guestbench.model import Image, Role, Sample, Verdict

WRITTEN = """\
# total 1000
# waited 10
# console 40
# total 5000
# waited 10
# entry
# total 5600
# waited 10
# upper
# total 6000
# waited 110
# console 52
# total 9000
# waited 2110
# end
"""
SETS = 200


# --- what was written --------------------------------------------------------------------------------------


def test_counts_are_those_at_each_cut() -> None:
    """A milestone would be given the instructions of another, or of all."""
    found = read_counts(WRITTEN)
    assert found.entry == Count(total=5000, waited=10)
    assert found.ends == (40, 52)
    assert found.at_ends[1].since(Count(total=5000, waited=10)) == Count(total=1000, waited=100)
    assert found.at_ends[1].since(Count(total=5000, waited=10)).worked == 900


@pytest.mark.parametrize(("end", "total"), [(39, 0), (40, 1000), (51, 1000), (52, 6000), (99, 6000)])
def test_a_line_is_counted_at_the_cut_within_it(end: int, total: int) -> None:
    """Work would be counted from a cut that came after it began."""
    assert read_counts(WRITTEN).find_last(end).total == total


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "it has no end"),
        (WRITTEN.replace("# end\n", ""), "it has no end"),
        (WRITTEN.replace("# total 6000", "# total 60xx"), "a line is not sound"),
        (WRITTEN.replace("# console 52", "# console -2"), "a line is not sound"),
        ("100000 3 5\n" + WRITTEN, "a line is not sound"),
    ],
)
def test_what_was_cut_off_is_refused(text: str, problem: str) -> None:
    """A VMM that was killed while it wrote would leave a count that is too small."""
    with pytest.raises(HostError, match=problem):
        read_counts(text)


# --- where a guest begins ----------------------------------------------------------------------------------


def write_kernel(path: Path, start: bytes) -> dict[Role, Image]:
    """A kernel of these bytes and many zeros."""
    path.write_bytes(start.ljust(9000, b"\0"))
    return {Role.KERNEL: Image(path=str(path), size_bytes=9000, mtime_ns=0, sha256="")}


def test_the_entry_is_where_each_kind_of_guest_is_entered(tmp_path: Path) -> None:
    """The firmware's instructions would count as the guest's, or the guest's first ones as the firmware's."""
    flags = 1 << 16
    header = struct.pack(
        "<8I", 0x1BADB002, flags, -(0x1BADB002 + flags) % 2**32, 0x100000, 0x100000, 0, 0, 0x10BEEF
    )
    told = find_entry(write_kernel(tmp_path / "multiboot", header))
    assert told is not None
    assert told.address == 0x10BEEF
    linux = bytearray(0x400)
    linux[0x202:0x206] = b"HdrS"
    told = find_entry(write_kernel(tmp_path / "linux", bytes(linux)))
    assert told is not None
    assert (told.address, told.what) == (LINUX_ENTRY, "the kernel's decompressor")
    elf = struct.pack(
        "<16sHHIIIIIHHHHHH", b"\x7fELF\x01\x01\x01", 2, 3, 1, 0x10000C, 52, 0, 0, 52, 32, 0, 40, 0, 0
    )
    plain = struct.pack("<3I", 0x1BADB002, 0, -0x1BADB002 % 2**32)
    told = find_entry(write_kernel(tmp_path / "elf", elf + plain))
    assert told is not None
    assert told.address == 0x10000C
    told = find_entry({Role.DISK: Image(path="disk", size_bytes=1, mtime_ns=0, sha256="")})
    assert told is not None
    assert told.address == BOOT_SECTOR
    assert find_entry(write_kernel(tmp_path / "other", b"MZ")) is None


# --- what is told -------------------------------------------------------------------------------------------


def test_a_guest_that_waits_much_is_told_of() -> None:
    """Half of a boot would be a timer's calibration, and nobody see it."""
    header, records = make_cost_run()
    assert list(notices(header, records)) == []
    waiting = Sample(metric="cost.instructions_waiting", value=55_218)
    slow = tuple(
        msgspec.structs.replace(record, samples=(*record.samples[:2], waiting, record.samples[3]))
        if record.trial.system == "uk"
        else record
        for record in records
    )
    (told,) = notices(header, slow)
    assert told.startswith("uk: 50% of the instructions of its boot are of loops that wait")


def test_the_report_tells_counts_apart_and_what_they_are_not() -> None:
    """A reader would take instructions for time, or firmware for the guest."""
    report = markdown_of(*make_cost_run())
    cells = {cell.strip() for line in report.splitlines() for cell in line.split("|")}
    assert {"158", "55,218 (55,218 to 55,233)", "1.597 G (1.596 G to 1.599 G)"} <= cells
    assert "an instruction is no unit of time" in " ".join(report.split())


# --- decisions ----------------------------------------------------------------------------------------------


def draw(rng: random.Random, middle: float, interrupts: float = 0.1, extra: int = 503) -> list[int]:
    """Counts of three boots: the same each time, but for an interrupt that comes in one of ten."""
    return [round(middle) + (extra if rng.random() < interrupts else 0) for _ in range(3)]


def judge(old: list[int], new: list[int], gate: str) -> tuple[Verdict, bool]:
    """The verdict of a diff about effects of 0.05%, and whether the gate let it pass."""
    runs = (make_cost_run({"uk": values}) for values in (old, new))
    diff = diff_runs([next(runs)], [next(runs)], [parse_gate(gate)], effect=0.0005)
    rows = [each.comparison for each in diff.changes]
    (found,) = (row for row in rows if row.metric == "cost.instructions_guest" and not row.labels)
    return found.verdict, all(each.state is GateState.PASSED for each in diff.decisions)


@pytest.mark.parametrize(
    ("change", "verdict", "passes"),
    [(0.001, Verdict.LARGER, False), (-0.001, Verdict.SMALLER, True), (0.0, Verdict.EQUIVALENT, True)],
)
def test_a_thousandth_of_the_work_is_told_apart_and_nothing_is_not(
    change: float, verdict: Verdict, passes: bool
) -> None:
    """A commit that made a guest slower by a thousandth would pass, or one that changed nothing fail."""
    rng = random.Random(16)
    found = [
        judge(draw(rng, 26_496_709), draw(rng, 26_496_709 * (1 + change)), "cost.instructions_guest>0.05%")
        for _ in range(SETS if not change else 40)
    ]
    assert {each[0] for each in found} == {verdict}
    assert all(each[1] is passes for each in found)


def test_an_interrupt_of_a_small_boot_is_no_change() -> None:
    """A tenth of a percent that comes in one boot of ten would fail the gate of every tenth commit."""
    rng = random.Random(17)
    found = [
        judge(draw(rng, 55_218, extra=56), draw(rng, 55_218, extra=56), "cost.instructions_guest>0.5%")
        for _ in range(SETS)
    ]
    assert not {each[0] for each in found} & {Verdict.LARGER, Verdict.SMALLER}
    assert all(each[1] for each in found)
    assert COUNTS["uk"][0] == 55_218
