"""The reference unikernel's timer: interrupts come, and no program notices; without care one would."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest
import reference_guest

from guestbench.errors import HostError, ToolFailed
from guestbench.host import process
from guestbench.provision.programs import build_program
from guestbench.provision.recipes.library_os import KERNEL_SOURCES, compile_kernel

pytestmark = pytest.mark.qemu

GUESTS = Path(__file__).parents[1] / "guests"
TIMER = "refuk.timer=1000"
INTERRUPT = b"pic_interrupt irq 0 intno 32\n"
"""What QEMU's trace has for each interrupt of the timer that it delivered."""


@pytest.fixture(scope="module")
def careless_kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernel with one thing changed: interrupts come on the program's own stack."""
    folder = tmp_path_factory.mktemp("careless") / "kernel"
    shutil.copytree(KERNEL_SOURCES, folder)
    source = (folder / "traps.c").read_text()
    changed, count = re.subn(r"gates\[i\]\.stack = [^;]+;", "gates[i].stack = 0;", source)
    assert count == 1
    (folder / "traps.c").write_text(changed)
    compile_kernel(folder.parent / "careless.elf", None, folder)
    return folder.parent / "careless.elf"


@pytest.fixture(scope="module")
def red_zone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that keeps words where an interrupt on its own stack would put its frame."""
    target = tmp_path_factory.mktemp("red-zone") / "red_zone"
    process.run(["gcc", "-O2", "-Wall", "-Wextra", "-static", GUESTS / "red_zone.c", "-o", target])
    return target


def boot(kernel: Path, program: Path, append: str, *options: str) -> bytes:
    """What the guest prints until QEMU ends by itself."""
    argv: list[str | Path] = [*reference_guest.MACHINE, "-m", "128M", "-kernel", kernel]
    argv += ["-initrd", program, "-append", append, *options]
    return process.run(argv, timeout_s=60).stdout


def boot_carelessly(kernel: Path, program: Path, append: str) -> bytes:
    """The same, with nothing for a run that does not end: what was overwritten decides."""
    try:
        return boot(kernel, program, append)
    except ToolFailed:
        return b""


def build_or_skip(name: str) -> Path:
    """A workload's program; the test is skipped where it cannot be built."""
    try:
        return Path(build_program(name, lambda _: None).path)
    except HostError as error:
        pytest.skip(f"{name} cannot be built here: {error.message}")


def count_interrupts(program: Path, append: str, folder: Path) -> tuple[int, float]:
    """How many interrupts of the timer a run had, and how many seconds its work took, as the guest says."""
    trace = folder / "trace"
    trace.unlink(missing_ok=True)  # QEMU appends to it
    options = ("-trace", f"enable=pic_interrupt,file={trace}")
    console = boot(reference_guest.kernel(), program, append, *options)
    took = re.search(rb"guest_ns=(\d+)", console)
    assert took is not None, console
    return trace.read_bytes().count(INTERRUPT), int(took[1]) / 1e9


def test_interrupts_come_at_the_rate_asked_for(tmp_path: Path) -> None:
    """Programs would seem to bear interrupts that never came."""
    guestwork = build_or_skip("guestwork")
    work = "guestwork cpu limit=10000 events=200"
    count, seconds = count_interrupts(guestwork, f"{TIMER} {work}", tmp_path)
    # The host's clock drives the timer, and a busy host makes it late.
    assert seconds * 1000 / 5 <= count <= seconds * 1000 * 5
    assert count >= 20
    assert count_interrupts(guestwork, work, tmp_path)[0] == 0


def test_interrupts_leave_the_red_zone_alone(red_zone: Path, careless_kernel: Path) -> None:
    """Programs would compute wrong results in silence; and this test could not tell."""
    kernel = reference_guest.kernel()
    assert b"[kept]\n[exit 0]\n" in boot(kernel, red_zone, f"{TIMER} red_zone")
    assert b"[kept]\n[exit 0]\n" in boot(careless_kernel, red_zone, "red_zone")
    assert b"[kept]" not in boot_carelessly(careless_kernel, red_zone, f"{TIMER} red_zone")


def test_a_careless_kernel_is_found_out_by_ocaml(careless_kernel: Path) -> None:
    """That the Merkle workload's digest stays the same with interrupts would prove nothing."""
    merkle = build_or_skip("merkle")
    digest = rb"\[work end merkle [^\]]*digest=(\w+)"
    right = re.findall(digest, boot(reference_guest.kernel(), merkle, f"{TIMER} merkle"))
    assert right
    assert right == re.findall(digest, boot(careless_kernel, merkle, "merkle"))
    assert right != re.findall(digest, boot_carelessly(careless_kernel, merkle, f"{TIMER} merkle"))


NAP = """
#include <stdio.h>
#include <time.h>

int main(void)
{
    struct timespec pause = {0, 3000000};

    nanosleep(&pause, NULL);
    puts("awake");
    return 0;
}
"""


def test_a_host_that_lets_the_guest_wait_loses_no_alarm(tmp_path: Path) -> None:
    """On a busy host a program would sleep for ever: its first alarm went off before anyone listened."""
    (tmp_path / "nap.c").write_text(NAP)
    process.run(["gcc", "-O2", "-static", tmp_path / "nap.c", "-o", tmp_path / "nap"])
    argv: list[str | Path] = [*reference_guest.MACHINE, "-m", "64M", "-kernel", reference_guest.kernel()]
    argv += ["-initrd", tmp_path / "nap", "-append", "nap"]
    for _ in range(12):
        with process.start(argv, stdout=process.PIPE, grace_s=0) as child:
            ends = time.monotonic() + 30
            while child.poll() is None and time.monotonic() < ends:
                # Longer than the alarm, whatever the guest is about to do.
                os.kill(child.pid, signal.SIGSTOP)
                time.sleep(0.004)
                os.kill(child.pid, signal.SIGCONT)
                time.sleep(0.0005)
            assert child.poll() == 0
            assert child.stdout is not None
            assert b"awake" in child.stdout.read()
