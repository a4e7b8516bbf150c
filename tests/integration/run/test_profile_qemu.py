"""`guestbench profile` on a real QEMU: what is known of a guest is found, and no instruction is lost."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import reference_guest
from small_guests import ACROSS, GUEST

from guestbench.host import process
from guestbench.model.profile import Profile, Region, Spent, count
from guestbench.provision.recipes.assembly import FLAGS
from guestbench.report.profile import read_json

pytestmark = pytest.mark.qemu

SYSTEM = """
name = "mine"
title = "A guest of which everything is known"
family = "unikernel"
ready = "[ready]"
timeout_s = 20
[boot]
type = "kernel"
[[milestones]]
name = "half"
pattern = "spam"
[provision]
path = "kernel.elf"
hint = "none"
"""
BODY = """
        call    first
        mov     $spam, %esi
        call    say
        call    second
        mov     $ready, %esi
        call    say
        jmp     halt
        .globl  first, second
first:  mov     ${first}, %ecx
1:      dec     %ecx
        jnz     1b
        ret
second: mov     ${second}, %ecx
1:      dec     %ecx
        jnz     1b
        ret
"""
"""Two functions of twice so many instructions, and two more."""
ACROSS_GUEST = (
    """
        call    across
        mov     $spam, %esi
        call    say
        mov     $ready, %esi
        call    say
        jmp     halt
        .globl  across
across:
"""
    + ACROSS
    + """        ret
"""
)


def make_guest(folder: Path, first: int, second: int) -> Path:
    """A folder with a guest that spends so many rounds in each of its functions."""
    return assemble(folder, BODY.format(first=first, second=second))


def assemble(folder: Path, body: str) -> Path:
    """A folder with a guest of these instructions."""
    folder.mkdir()
    (folder / "system.toml").write_text(SYSTEM)
    (folder / "guest.S").write_text(GUEST.format(body=body))
    flags = [flag for flag in FLAGS if flag != "-s"]
    process.run(["gcc", *flags, "-o", folder / "kernel.elf", folder / "guest.S"])
    return folder


def profile(*arguments: str | Path, cwd: Path) -> bytes:
    """What `guestbench profile --json` prints."""
    argv = [sys.executable, "-m", "guestbench", "profile", *arguments, "--json"]
    return process.run(argv, cwd=cwd, timeout_s=900).stdout


def find(measured: Profile, symbol: str) -> list[Spent]:
    """What a symbol took, by phase."""
    return [row for row in measured.spent if row.symbol == symbol]


def count_guest(measured: Profile) -> int:
    """Instructions outside of the firmware."""
    return count(row for row in measured.spent if row.region is not Region.FIRMWARE)


def test_each_function_is_counted_to_the_instruction_in_its_phase(tmp_path: Path) -> None:
    """A profile would tell of other functions than those that ran, or of another phase."""
    guest = make_guest(tmp_path / "guest", 70_000, 30_000)
    measured = read_json(profile(guest, cwd=tmp_path), "x")
    assert measured.phases == ("half", "ready")
    (first,), (second,) = find(measured, "first"), find(measured, "second")
    assert (first.phase, first.instructions) == ("half", 140_002)
    assert (second.phase, second.instructions) == ("ready", 60_002)
    # The guest's other instructions are a few for each byte that it says.
    assert 200_004 < count_guest(measured) < 210_000


@pytest.mark.parametrize("before", [2, 5, 7, 8])
def test_an_instruction_that_reaches_into_the_next_page_is_counted_once(tmp_path: Path, before: int) -> None:
    """QEMU shows it at the end of a block that it leaves before it: a function would seem to do more."""
    measured = read_json(
        profile(assemble(tmp_path / "guest", ACROSS_GUEST.format(before=before)), cwd=tmp_path), "x"
    )
    (across,) = find(measured, "across")
    assert across.instructions == 3 + 4 * 1000


def test_planted_loop_is_the_first_row_of_a_diff(tmp_path: Path) -> None:
    """A maintainer would not be led to the function that grew."""
    old = make_guest(tmp_path / "old", 20_000, 30_000)
    new = make_guest(tmp_path / "new", 20_000, 80_000)
    document = json.loads(profile("--diff", old, new, cwd=tmp_path))
    (change,) = document["changes"]
    assert (change["symbol"], change["phase"]) == ("second", "ready")
    assert change["new"] - change["old"] == 100_000


def test_files_are_written_beside_the_table(tmp_path: Path) -> None:
    """A reader would have nothing to look around in, or other tools another profile."""
    guest, out = make_guest(tmp_path / "guest", 1000, 1000), tmp_path / "out"
    argv = [sys.executable, "-m", "guestbench", "profile", str(guest), "-o", str(out)]
    done = process.run(argv, cwd=tmp_path, timeout_s=300)
    assert b"second" in done.stdout
    whole = read_json((out / "profile.json").read_bytes(), "x").instructions
    folded = (out / "profile.folded").read_text().splitlines()
    assert sum(int(line.rpartition(" ")[2]) for line in folded) == whole
    speedscope = json.loads((out / "profile.speedscope.json").read_text())
    assert speedscope["profiles"][0]["endValue"] == whole
    assert "second" in (out / "profile.html").read_text()


def test_a_guest_that_does_not_get_ready_is_an_error(tmp_path: Path) -> None:
    """Part of a boot would pass for all of it."""
    guest = make_guest(tmp_path / "guest", 1000, 1000)
    toml = guest / "system.toml"
    toml.write_text(toml.read_text().replace('ready = "[ready]"', 'ready = "[never]"').replace("20", "2"))
    argv = [sys.executable, "-m", "guestbench", "profile", str(guest)]
    done = process.run(argv, cwd=tmp_path, check=False, timeout_s=300)
    assert done.status == 4
    error, hint = done.stderr.decode().splitlines()[-2:]
    assert error.startswith("error: mine did not get ready: no '[never]'")
    assert f"systems boot {guest}" in hint


def test_reference_unikernel_is_told_by_its_symbols(tmp_path: Path) -> None:
    """A kernel that moves itself to a random address would be nameless."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "kernel.elf").write_bytes(reference_guest.kernel().read_bytes())
    cmdline = '[boot]\ntype = "kernel"\ncmdline = "refuk.ready-after-ms=0 refuk.halt"'
    text = SYSTEM.replace('[boot]\ntype = "kernel"', cmdline).replace("[ready]", "[refuk ready]")
    (folder / "system.toml").write_text(text)
    measured = read_json(profile(folder, cwd=tmp_path), "x")
    named = count(row for row in measured.spent if row.symbol)
    assert named >= 0.95 * count_guest(measured)
    assert find(measured, "relocate") and find(measured, "main")
    assert any("moved itself" in note for note in measured.notes)


@pytest.mark.image
def test_reference_unikernel_with_its_program_is_told_by_its_symbols(tmp_path: Path) -> None:
    """Most of what it does would stand under no name."""
    measured = read_json(profile("reference-unikernel", cwd=tmp_path), "x")
    assert count(row for row in measured.spent if row.symbol) >= 0.95 * count_guest(measured)
    assert count(row for row in measured.spent if row.region is Region.PROGRAM)


@pytest.mark.image
@pytest.mark.parametrize("system", ["linux-minimal", "linux-app"])
def test_linux_is_told_by_symbols_that_it_tells_itself(tmp_path: Path, system: str) -> None:
    """The kernel's random base would make its symbols unknown, or wrong."""
    for _ in range(3):
        measured = read_json(profile(system, cwd=tmp_path), "x")
        # The guest that tells them is another boot, and may not get ready in time on a busy host.
        if not any("no symbols of the kernel" in note for note in measured.notes):
            break
    named = count(row for row in measured.spent if row.symbol)
    unknown = count(row for row in measured.spent if row.region is Region.UNKNOWN)
    assert named >= 0.9 * count_guest(measured)
    assert unknown <= 0.01 * count_guest(measured)
    # Modules of another boot were at other addresses.
    modules = {row.symbol for row in measured.spent if row.region is Region.MODULES}
    assert modules and (modules == {""}) == (system == "linux-app")
    for symbol in ("start_kernel", "kernel_init"):
        assert find(measured, symbol)
    # Where the kernel begins, it is not unpacked any more; where processes run, it has been started.
    assert {row.phase for row in measured.spent if row.region is Region.DECOMPRESSOR} == {"kernel"}
    assert {row.phase for row in measured.spent if row.region is Region.USER} == {"ready"}


@pytest.mark.image
def test_symbols_that_fit_nowhere_are_refused(tmp_path: Path) -> None:
    """Symbols of another kernel would name what they are not of."""
    folder = make_guest(tmp_path / "other", 10, 10)
    command = (sys.executable, "-m", "guestbench", "profile", "floor", "--symbols")
    argv: list[str | Path] = [*command, folder / "kernel.elf"]
    done = process.run(argv, cwd=tmp_path, check=False, timeout_s=300)
    assert done.status == 2
    error, hint = done.stderr.decode().splitlines()[-2:]
    assert error.startswith("error: ") and "do not fit what the guest executed" in error
    assert hint.startswith("hint: ")
