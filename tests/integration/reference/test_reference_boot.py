"""How the reference unikernel starts: by two boot protocols, on two machines, in little memory."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import reference_guest

from guestbench import provision
from guestbench.definition.systems import load_catalogue
from guestbench.guest.serial import SerialLog
from guestbench.guest.watch import watch_boot
from guestbench.host import process
from guestbench.model import Accel, GuestFamily, Image, Kernel, Net, Ok, Platform, Role, System
from guestbench.provision.programs import build_program
from guestbench.vmm import Lacking, LaunchSpec, Need
from guestbench.vmm.qemu.machine import start

pytestmark = pytest.mark.qemu

SOURCE = Path(__file__).parents[1] / "guests" / "protection.c"
MULTIBOOT_MAGIC = (0x1BADB002).to_bytes(4, "little")
WORK = "guestwork cpu limit=1000 events=5"
LONG_WORK = "guestwork cpu limit=100000 events=100000"
MORE_KIB = 1024
"""How much RAM the system may touch beside what the floor does and the program's own file."""


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The kernel, and the same without a multiboot header: QEMU then boots it by PVH."""
    image = reference_guest.kernel().read_bytes()
    at = image.index(MULTIBOOT_MAGIC)
    assert at < 8192  # where a loader looks for it
    pvh = tmp_path_factory.mktemp("pvh") / "kernel.elf"
    pvh.write_bytes(image[:at] + bytes(4) + image[at + 4 :])
    return {"multiboot": reference_guest.kernel(), "pvh": pvh}


def boot(
    kernel: Path, program: Path | None, append: str, machine: str = "q35", memory: str = "64M", *options: str
) -> bytes:
    """What the guest prints until QEMU ends by itself."""
    named = [machine if word == "q35" else word for word in reference_guest.MACHINE]
    argv: list[str | Path] = [*named, "-m", memory, "-kernel", kernel, "-append", append, *options]
    argv += ["-initrd", program] if program is not None else []
    return process.run(argv, timeout_s=60).stdout


def from_program(console: bytes, first: bytes) -> bytes:
    """What came from the program on, its time taken out."""
    at = console.find(first)
    assert at >= 0, console[-500:]
    return re.sub(rb"guest_ns=\d+", b"", console[at:])


@pytest.mark.parametrize("machine", ["q35", "microvm"])
@pytest.mark.parametrize("protocol", ["multiboot", "pvh"])
def test_every_way_to_boot_runs_the_same_program(
    protocol: str, machine: str, kernels: dict[str, Path], tmp_path: Path
) -> None:
    """A figure on microvm could not be compared with one on q35, as other work would have been done."""
    guestwork = Path(build_program("guestwork", lambda _: None).path)
    expected = from_program(boot(kernels["multiboot"], guestwork, WORK), b"[work begin")
    assert b"[work end cpu done=5 " in expected and expected.endswith(b"\n[exit 0]\n")
    assert from_program(boot(kernels[protocol], guestwork, WORK, machine), b"[work begin") == expected
    libc = tmp_path / "protection"
    process.run(["gcc", "-std=gnu11", "-O1", "-static", SOURCE, "-o", libc])
    console = boot(kernels[protocol], libc, "protection map-both", machine)
    assert from_program(console, b"[refused") == b"[refused 13]\n[done map-both]\n[exit 0]\n"


@pytest.mark.parametrize("machine", ["q35", "microvm"])
def test_a_fault_turns_every_machine_off(machine: str, kernels: dict[str, Path]) -> None:
    """A crash on microvm would be a guest that runs for ever."""
    console = boot(kernels["multiboot"], None, "refuk.fault=null", machine)
    assert re.search(rb"\[refuk: fault vector=14 address=0x0 [^\]]*\]\n\Z", console)


@pytest.mark.parametrize("memory", ["4M", "5G"])
def test_little_and_much_memory(memory: str, kernels: dict[str, Path]) -> None:
    """A small guest would not be small, or a large one would not start."""
    guestwork = Path(build_program("guestwork", lambda _: None).path)
    console = boot(kernels["multiboot"], guestwork, WORK, "q35", memory)
    assert b"[work end cpu done=5 " in console and console.endswith(b"\n[exit 0]\n")


def test_too_little_memory_is_said(kernels: dict[str, Path], tmp_path: Path) -> None:
    """The search for the least memory would wait for a guest that was overwritten."""
    program = tmp_path / "large"
    program.write_bytes(bytes(8 << 20))
    console = boot(kernels["multiboot"], program, "large", "q35", "6M")
    assert re.search(rb"\[refuk: not enough memory[^\]]*\]\n\Z", console)


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        (b"#!/bin/sh\n", b"is not a 64-bit little-endian ELF file"),
        (b"\x7fELF\x01\x01\x01" + bytes(100), b"is not a 64-bit little-endian ELF file"),
    ],
)
def test_what_is_no_program_is_refused(contents: bytes, said: bytes, tmp_path: Path) -> None:
    """A wrong file would be a crash that looks like the system's."""
    program = tmp_path / "wrong"
    program.write_bytes(contents)
    console = boot(reference_guest.kernel(), program, "wrong")
    assert re.search(rb"\[refuk: [^\]\n]*%b\]\n\Z" % said, console), console


def test_a_dynamic_program_is_refused(tmp_path: Path) -> None:
    """Whoever forgets -static would not be told."""
    program = tmp_path / "dynamic"
    process.run(["gcc", "-std=gnu11", "-O1", SOURCE, "-o", program])
    console = boot(reference_guest.kernel(), program, "dynamic")
    assert b"[refuk: dynamic is dynamically linked: only static programs run here]\n" in console


def test_a_boot_differs_from_another_by_its_addresses(tmp_path: Path) -> None:
    """Addresses would be the same in every boot, and the probe that compares them would have no standard."""
    program = tmp_path / "protection"
    process.run(["gcc", "-std=gnu11", "-O1", "-static-pie", SOURCE, "-o", program])
    faults = [boot(reference_guest.kernel(), program, "protection kernel-store 0") for _ in range(4)]
    found = [re.search(rb"address=0x(\w+)-\S+ ip=0x(\w+)-", console) for console in faults]
    assert all(found)
    assert len({match[1] for match in found if match}) > 1
    assert len({match[2] for match in found if match}) > 1


def touched_kib(system: System, images: dict[Role, Image], folder: Path) -> int:
    """Guest RAM touched when the guest is ready, in KiB."""
    platform = Platform(accel=Accel.TCG, net=Net.NONE, memory_mib=64)
    needs = frozenset({Need.MEMORY})
    spec = LaunchSpec(boot=system.boot, images=images, platform=platform, folder=folder, needs=needs)
    log = SerialLog()
    with start(spec) as machine:
        assert isinstance(watch_boot(machine, system, log).outcome, Ok), log.data
        assert not isinstance(machine.memory, Lacking)
        footprint = machine.memory.footprint()
    assert footprint is not None
    return footprint.guest_kib


def test_little_memory_is_touched_before_the_program(tmp_path: Path) -> None:
    """The unikernel would take memory that is neither the program's nor the firmware's."""
    catalogue = load_catalogue()
    floor = provision.prepare(catalogue["floor"], {}, catalogue, build=True, say=lambda _: None)
    program = Path(build_program("guestwork", lambda _: None).path)
    images = {
        role: Image(path=str(path), size_bytes=path.stat().st_size, mtime_ns=0, sha256="")
        for role, path in ((Role.KERNEL, reference_guest.kernel()), (Role.INITRD, program))
    }
    system = System(
        name="reference",
        title="The reference unikernel at work",
        family=GuestFamily.UNIKERNEL,
        boot=Kernel(cmdline=LONG_WORK, initrd=True),
        ready="[work begin cpu ",
        timeout_s=20.0,
    )
    least = touched_kib(floor.system, floor.images, tmp_path)
    most = touched_kib(system, images, tmp_path)
    assert least <= most <= least + MORE_KIB + program.stat().st_size // 1024
