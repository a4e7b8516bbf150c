"""Instructions of real guests on a real QEMU: the same on a busy host, and different where the guest is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from small_guests import ACROSS, GUEST, SAY_READY, SYSTEM

from guestbench.host import process
from guestbench.model import SERVER, Ok, Record
from guestbench.provision.programs import C_FLAGS, program_sources
from guestbench.run.store import read_store

pytestmark = pytest.mark.qemu

BURN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
WAIT = """        mov $100000, %ecx
1:      mov $0x3FD, %dx
        in %dx, %al
        loop 1b
"""
STEADY = """        mov $3000, %ecx
1:      rdtsc
        mov $500, %ebx
2:      dec %ebx
        jnz 2b
        loop 1b
"""
UNSTEADY = """        mov $3000, %ecx
        mov $1, %esi
1:      rdtsc
        imul $1103515245, %esi
        add $12345, %esi
        mov %esi, %ebx
        shr $21, %ebx
        inc %ebx
2:      dec %ebx
        jnz 2b
        loop 1b
"""
LOOP = """        mov ${turns}, %ecx
1:      loop 1b
"""
ACCESS = """        mov $1000, %ecx
1:      mov {address}, %eax
        nop
        nop
        loop 1b
"""
FAULT = """        mov $handler, %eax
        mov %ax, 0x8000
        movw $8, 0x8002
        movw $0x8E00, 0x8004
        shr $16, %eax
        mov %ax, 0x8006
        lidt gate
        mov $1000, %ecx
1:      xor %ebx, %ebx
        xor %edx, %edx
        nop
        div %ebx
        nop
        loop 1b
        jmp 3f
handler: mov $1, %ebx
        iret
gate:   .word 7
        .long 0x8000
3:
"""
UNIKERNEL = """
name = "{name}"
title = "{name}"
family = "unikernel"
ready = "[work end"
timeout_s = 60
[boot]
type = "kernel"
initrd = true
cmdline = "work cpu events=20"
[provision.build]
method = "library-os"
program = "work"
network = false
"""
BEGINS = 'begin_work(&work, "cpu", &line);\n'
PLANT = '    __asm__ volatile("mov ${turns}, %%ecx\\n1: loop 1b" ::: "rcx");\n'
WORK = 26_500_000
"""Instructions of 20 events of the work."""


@contextmanager
def busy(*systems: str) -> Iterator[None]:
    """Both cores have something else to do, once these are built: a count has nothing to do with time."""
    for system in systems:
        process.run([sys.executable, "-m", "guestbench", "systems", "build", system])
    with (
        subprocess.Popen([sys.executable, "-c", BURN]) as one,
        subprocess.Popen([sys.executable, "-c", BURN]) as other,
    ):
        try:
            yield
        finally:
            one.kill()
            other.kill()


def run(folder: Path, *arguments: str, experiment: str = "seed") -> tuple[Record, ...]:
    """Count the instructions of an experiment's systems."""
    argv = [sys.executable, "-m", "guestbench", "run", experiment, "--accel", "tcg", "-o", str(folder)]
    process.run([*argv, *arguments], cwd=folder.parent)
    _, records = read_store(folder)
    assert all(isinstance(record.outcome, Ok) for record in records)
    return records


def counts(records: tuple[Record, ...], system: str, metric: str = "instructions_guest") -> list[float]:
    """A figure of all boots of a system, to ready."""
    return [
        sample.value
        for record in records
        for sample in record.samples
        if record.trial.system == system and sample.metric == f"cost.{metric}" and not sample.labels
    ]


def test_small_guests_cost_the_same_each_time(tmp_path: Path) -> None:
    """A gate would fail by chance, or need a margin in which a regression fits."""
    boots = {"floor": 5, "reference-unikernel": 20}
    with busy(*boots):
        floor, unikernel = (
            run(tmp_path / name, "--only-system", name, "--metrics", "cost", "--set", f"cost.boots={number}")
            for name, number in boots.items()
        )
    # As they stand in its source: up to the `out` of the last byte.
    assert counts(floor, "floor") == [157.0] * 5
    found = counts(unikernel, "reference-unikernel")
    assert len(found) == 20
    mode, _ = Counter(found).most_common(1)[0]
    assert sum(abs(value - mode) <= 50e-6 * mode for value in found) >= 15
    assert counts(unikernel, "reference-unikernel", "instructions_waiting") == [0] * 20


def make_systems(folder: Path, bodies: dict[str, str]) -> str:
    """An experiment with a guest for each of these bodies of instructions."""
    for name, body in bodies.items():
        (folder / name).mkdir()
        (folder / name / "guest.S").write_text(GUEST.format(body=body + SAY_READY))
        (folder / name / "system.toml").write_text(SYSTEM.format(name=name))
    systems = ", ".join(f'"./{name}"' for name in bodies)
    file = folder / "mine.toml"
    head = f'name = "mine"\ntitle = "mine"\nsystems = [{systems}]\nmetrics = ["cost"]\n'
    file.write_text(f"{head}[cost]\nboots = 2\n")
    return str(file)


def test_instructions_that_are_known_are_counted(tmp_path: Path) -> None:
    """A count that is a constant, or of blocks and not of instructions, would pass for one."""
    bodies = {"none": "", "some": LOOP.format(turns=1000), "more": LOOP.format(turns=101_000)}
    records = run(tmp_path / "run", experiment=make_systems(tmp_path, bodies))
    none, some, more = ({*counts(records, name)} for name in bodies)
    assert none and len(none) == len(some) == len(more) == 1
    # A `mov`, and the `loop` once a turn.
    assert min(some) - min(none) == 1001
    assert min(more) - min(some) == 100_000


def test_a_loop_that_waits_is_counted_apart(tmp_path: Path) -> None:
    """A guest that waits for a timer would have no steady figure, and nobody would see the waiting."""
    records = run(tmp_path / "run", experiment=make_systems(tmp_path, {"none": "", "waits": WAIT}))
    (none,), (waits,) = ({*counts(records, name)} for name in ("none", "waits"))
    waited = {*counts(records, "waits", "instructions_waiting")}
    assert len(waited) == 1
    # Three instructions a turn; the first turn begins the loop.
    assert 3 * 99_999 - 3 <= min(waited) <= 3 * 100_000 + 3
    assert abs(waits - none) <= 10


def test_a_longer_loop_waits_only_if_it_is_steady(tmp_path: Path) -> None:
    """Linux's wait for entropy would pass for work, or work that looks at a clock for waiting."""
    records = run(
        tmp_path / "run", experiment=make_systems(tmp_path, {"steady": STEADY, "unsteady": UNSTEADY})
    )
    (steady,) = {*counts(records, "steady", "instructions_waiting")}
    assert 2900 * 1003 <= steady <= 3000 * 1003 + 100
    assert {*counts(records, "unsteady", "instructions_waiting")} == {0}
    assert min(counts(records, "unsteady")) > 3000 * 500


def test_a_guest_can_keep_the_hosts_clock(tmp_path: Path) -> None:
    """`icount = false` would change nothing, or what has nothing to do with a clock."""
    only = ("--only-system", "floor", "--metrics", "cost")
    by_itself = run(tmp_path / "virtual", *only)
    by_host = run(tmp_path / "real", *only, "--set", "cost.icount=false")
    assert all("-icount" in record.argv for record in by_itself)
    assert not any("-icount" in record.argv for record in by_host)
    assert {*counts(by_host, "floor")} == {*counts(by_itself, "floor")} == {157.0}
    # The firmware waits by the clock.
    assert max(counts(by_itself, "floor", "instructions")) <= 1.001 * min(
        counts(by_itself, "floor", "instructions")
    )


@pytest.mark.parametrize("clock", ["virtual", "real"])
def test_blocks_that_end_early_are_not_counted_twice(tmp_path: Path, clock: str) -> None:
    """What stands behind a fault, or behind an access to a device by virtual time, would count again."""
    bodies = {
        name: ACCESS.format(address=address)
        for name, address in {"memory": "0x9000", "apic": "0xFEE00020", "hpet": "0xFED00000"}.items()
    }
    experiment = make_systems(tmp_path, {"none": "", **bodies, "faults": FAULT})
    icount = ("--set", f"cost.icount={str(clock == 'virtual').lower()}")
    records = run(tmp_path / "run", *icount, experiment=experiment)
    found = {name: {*counts(records, name)} for name in ("none", *bodies, "faults")}
    (none,) = found["none"]
    assert found["memory"] == found["apic"] == found["hpet"] == {none + 1 + 4 * 1000}
    # The division counts once when it fails, and once when it does not.
    assert found["faults"] == {none + 9 + 9 * 1000}


def test_instructions_that_reach_into_the_next_page_are_counted_once(tmp_path: Path) -> None:
    """QEMU shows them at the end of a block that it leaves before them."""
    # The `add` has six bytes and begins behind the `inc`, which has one.
    bodies = {f"before-{before}": ACROSS.format(before=before) for before in (1, 2, 3, 5, 6, 7, 8)}
    records = run(tmp_path / "run", experiment=make_systems(tmp_path, {"none": "", **bodies}))
    (none,) = {*counts(records, "none")}
    assert {name: {*counts(records, name)} for name in bodies} == {name: {none + 2 + 4000} for name in bodies}


def make_unikernels(folder: Path, planted: dict[str, int]) -> None:
    """Builds of the reference unikernel for one piece of work, some with a loop of so many turns in it."""
    sources = program_sources(SERVER)
    for name, turns in planted.items():
        (folder / name).mkdir()
        changed = sources["cpu.c"].read_text().replace(BEGINS, BEGINS + PLANT.format(turns=turns))
        assert str(turns) in changed
        (folder / name / "cpu.c").write_text(changed)
        parts = [path for each, path in sources.items() if each.endswith((".c", ".S")) and each != "cpu.c"]
        told = [f'-D{macro}="{macro}"' for macro in ("SOURCE", "COMPILER", "FLAGS")]
        include = f"-I{sources['guestwork.h'].parent}"
        target = folder / name / "work"
        process.run(["gcc", *C_FLAGS, *told, include, "-s", "-o", target, folder / name / "cpu.c", *parts])
        (folder / name / "system.toml").write_text(UNIKERNEL.format(name=name))


def compare(folder: Path, old: str, new: str) -> tuple[int, str, float]:
    """The exit status of a gate of 0.05%, and the verdict on the guest's instructions and their ratio."""
    gate = ("--fail-on", "cost.instructions_guest>0.05%", "--effect", "0.05", "--accel", "tcg", "--json")
    argv = [sys.executable, "-m", "guestbench", "ab", f"./{old}", f"./{new}", "--cycles", "1", *gate]
    done = subprocess.run(argv, cwd=folder, capture_output=True, check=False)
    assert done.stdout, done.stderr
    (found,) = (
        each["comparison"]
        for each in json.loads(done.stdout)["diff"]["changes"]
        if each["comparison"]["metric"] == "cost.instructions_guest" and not each["comparison"]["labels"]
        if not each["floor"]
    )
    return done.returncode, found["verdict"], found["ratio"]


@pytest.mark.parametrize("guests", ["small guests", "unikernels"])
def test_two_builds_that_differ_by_a_thousandth_are_told_apart(tmp_path: Path, guests: str) -> None:
    """A gate would let pass what a commit costs, or fail where nothing changed."""
    if guests == "unikernels":
        make_unikernels(tmp_path, {"old": 1, "new": WORK // 1000})
    else:
        make_systems(tmp_path, {"old": LOOP.format(turns=1_000_000), "new": LOOP.format(turns=1_001_000)})
    with busy():
        check_both_directions(tmp_path)


def check_both_directions(folder: Path) -> None:
    """What costs a thousandth more is told, either way round, and what costs the same is not."""
    for old, new, status, verdict, ratio in (
        ("old", "new", 1, "larger", 1.001),
        ("new", "old", 0, "smaller", 0.999),
        ("old", "old", 0, "equivalent", 1.0),
    ):
        *decided, found = compare(folder, old, new)
        assert decided == [status, verdict]
        assert found == pytest.approx(ratio, abs=1e-4)


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "boots", "spread", "waiting"),
    [
        ("linux-app", 5, 0.003, 1e6),
        pytest.param("debian-12-direct", 3, 0.003, 1e7, marks=pytest.mark.image),
    ],
)
def test_linux_costs_nearly_the_same_without_its_waiting(
    tmp_path: Path, system: str, boots: int, spread: float, waiting: float
) -> None:
    """Calibrating a clock would hide what the kernel does: it takes as long as the host lets it."""
    only = ("--only-system", system, "--metrics", "cost", "--set", f"cost.boots={boots}")
    with busy(system):
        records = run(tmp_path / "run", *only)
    guest = counts(records, system)
    assert len(guest) == boots
    assert max(guest) - min(guest) < spread * min(guest)
    assert min(counts(records, system, "instructions_waiting")) > waiting
