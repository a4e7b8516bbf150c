"""Compares guestbench's time stamps of the serial console with those QEMU itself makes.

QEMU's trace of `serial_write`, with `-msg timestamp=on`, stamps each byte the guest writes with the wall
clock in microseconds. The difference at the byte that completes the ready marker is what guestbench adds:
the way through the socket, and waking up. Prints one line: median and worst of 20 boots of `floor`.

    python benchmarks/serial_stamps.py [BOOTS]
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from guestbench import provision
from guestbench.definition.systems import load_catalogue
from guestbench.guest.serial import SerialLog
from guestbench.guest.watch import watch_boot
from guestbench.model import READY, Accel, Guest, Platform
from guestbench.vmm import LaunchSpec
from guestbench.vmm.qemu.machine import start

WRITE = re.compile(r"@(\d+)\.(\d{6}):serial_write write addr 0x0([03]) val 0x([0-9a-f]{2})")
DIVISOR_LATCH = 0x80
"""The bit of a 16550's register 3 that makes register 0 the baud rate's divisor instead of the next byte."""


def find_floor() -> Guest:
    """The floor, built if need be."""
    catalogue = load_catalogue()
    return provision.prepare(catalogue["floor"], {}, catalogue, build=True, say=lambda _: None)


def measure_difference_ns(guest: Guest, folder: Path) -> int:
    """Boot once; our stamp of the ready byte less QEMU's, in nanoseconds (QEMU's has whole microseconds)."""
    trace = folder / "serial.trace"
    trace.unlink(missing_ok=True)  # QEMU appends
    platform = Platform(
        accel=Accel.TCG, extra=("-msg", "timestamp=on", "-trace", f"enable=serial_write,file={trace}")
    )
    spec = LaunchSpec(boot=guest.system.boot, images=guest.images, platform=platform, folder=folder)
    log = SerialLog()
    with start(spec) as machine:
        wall_at_exec_ns = time.time_ns() - machine.now_ns()
        result = watch_boot(machine, guest.system, log)
    ours_ns = wall_at_exec_ns + next(mark.t_ns for mark in result.marks if mark.name == READY)
    return ours_ns - find_write_ns(trace.read_text(), guest.system.ready.encode())


def read_writes(trace: str) -> list[tuple[int, int]]:
    """What QEMU saw the guest send: the time of each byte in nanoseconds since the epoch, and the byte."""
    sent: list[tuple[int, int]] = []
    latched = False
    for seconds, micros, register, text in WRITE.findall(trace):
        value = int(text, 16)
        if register == "3":
            latched = bool(value & DIVISOR_LATCH)
        elif not latched:
            sent.append((int(seconds) * 10**9 + int(micros) * 1000, value))
    return sent


def find_write_ns(trace: str, marker: bytes) -> int:
    """When QEMU saw the guest send the last byte of `marker`, in nanoseconds since the epoch."""
    sent = read_writes(trace)
    at = bytes(value for _, value in sent).index(marker) + len(marker) - 1
    return sent[at][0]


def main() -> None:
    """Print the comparison."""
    boots = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    floor = find_floor()
    with tempfile.TemporaryDirectory(prefix="guestbench-") as folder:
        late_ms = [measure_difference_ns(floor, Path(folder)) / 1e6 for _ in range(boots)]
    print(
        f"our stamp of the ready byte less QEMU's, {boots} boots of floor: "
        f"median {median(late_ms):.3f} ms, worst {max(late_ms):.3f} ms"
    )


if __name__ == "__main__":
    main()
