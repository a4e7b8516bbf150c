"""Holds the instruments against a guest that does what it is told: told, measured, and the difference.

    .venv/bin/python benchmarks/calibration.py [--blocks 10] [--machine q35]

First come the figures of `guestbench calibrate`: planted delays and memory, a guest against itself, and the
harness. Then, simulated, how often the difference is found that so many blocks are said to tell apart. Last
the bytes and instructions that the kernel of the reference unikernel was told to write and to run. Bytes are
in the log of the serial console; instructions are counted as the family `cost` counts them, from the kernel's
entry to the ready marker, and what a boot takes when told the least is subtracted. No figure is held against
a bound here: `tests/integration/reference/test_reference_calibration.py` does that.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from guestbench.analysis import inference
from guestbench.families.calibration import STAMP, WORKER_CPU, WORKER_START
from guestbench.families.cost.counts import read_counts
from guestbench.families.cost.entry import find_entry
from guestbench.guest.serial import SerialLog
from guestbench.guest.watch import Booted, watch_boot
from guestbench.host import process
from guestbench.model import Accel, GuestFamily, Image, Kernel, Net, Ok, Platform, Role, System
from guestbench.provision.plugins import build_histogram
from guestbench.provision.recipes.library_os import compile_kernel
from guestbench.report.export.json import Results
from guestbench.vmm import Lacking, LaunchSpec, Machine, Need
from guestbench.vmm.qemu.machine import start

READY = "[refuk ready]"
BYTES = (1_000, 10_000, 100_000, 1_000_000)
INSTRUCTIONS = (2, 1_001, 1_000_000, 100_000_000)
"""The first is what the others are compared with."""
PLATFORM = Platform(accel=Accel.TCG, net=Net.NONE)


def make_system(options: str, ready: str = READY, timeout_s: float = 60.0) -> System:
    """The kernel with these boot arguments, as a guest that is ready when it prints `ready`."""
    return System(
        name="calibration",
        title="The reference unikernel's kernel",
        family=GuestFamily.UNIKERNEL,
        boot=Kernel(cmdline=options),
        ready=ready,
        timeout_s=timeout_s,
    )


@contextmanager
def boot(
    kernel: Path,
    system: System,
    folder: Path,
    *,
    platform: Platform = PLATFORM,
    needs: frozenset[Need] = frozenset(),
) -> Iterator[tuple[Machine, Booted, SerialLog]]:
    """Boot `kernel` and watch it to whatever end; the machine is there until the context is left."""
    stat = kernel.stat()
    image = Image(path=str(kernel), size_bytes=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256="")
    images = {Role.KERNEL: image}
    spec = LaunchSpec(boot=system.boot, images=images, platform=platform, folder=folder, needs=needs)
    if Need.TOTALS in needs:
        entry = find_entry(images)
        spec = msgspec.structs.replace(
            spec,
            plugin=build_histogram(lambda _: None),
            cuts=(system.ready.encode(),),
            entry=entry.address if entry else None,
        )
    log = SerialLog()
    with start(spec) as machine:
        yield machine, watch_boot(machine, system, log), log


def must_be_ready(result: Booted, log: SerialLog) -> None:
    """Raises ValueError unless the guest got ready."""
    if not isinstance(result.outcome, Ok):
        raise ValueError(f"{result.outcome}; it printed {bytes(log.data[-1000:])!r}")


def measure_ready_s(kernel: Path, milliseconds: int, folder: Path, platform: Platform = PLATFORM) -> float:
    """Boot time, in seconds, of a guest that waits so long before it is ready."""
    with boot(kernel, make_system(f"refuk.ready-after-ms={milliseconds}"), folder, platform=platform) as (
        _,
        result,
        log,
    ):
        must_be_ready(result, log)
    return next(mark.t_ns / 1e9 for mark in result.marks if mark.name == "ready")


def measure_touched_kib(kernel: Path, mebibytes: int, folder: Path, platform: Platform = PLATFORM) -> int:
    """Guest RAM touched, in KiB, when a guest that touches so much is ready."""
    system = make_system(f"refuk.touch-mib={mebibytes} refuk.ready-after-ms=0")
    with boot(kernel, system, folder, platform=platform, needs=frozenset({Need.MEMORY})) as (
        machine,
        result,
        log,
    ):
        must_be_ready(result, log)
        footprint = None if isinstance(machine.memory, Lacking) else machine.memory.footprint()
    if footprint is None:
        raise ValueError("the machine has gone")
    return footprint.guest_kib


def make_bytes(count: int) -> bytes:
    """The bytes that the guest writes when it is told to write so many."""
    return bytes(10 if at % 64 == 63 else 33 + at % 94 for at in range(count))


def read_bytes(kernel: Path, count: int, folder: Path, platform: Platform = PLATFORM) -> bytes:
    """What arrived of `count` bytes on the console, between the lines that frame them."""
    end = f"\n[refuk bytes end {count}]\n"
    system = make_system(f"refuk.write-bytes={count}", ready=end)
    with boot(kernel, system, folder, platform=platform) as (_, result, log):
        must_be_ready(result, log)
    _, _, rest = bytes(log.data).partition(b"[refuk bytes begin %d]\n" % count)
    return rest.partition(end.encode())[0]


def count_instructions(kernel: Path, number: int, folder: Path, platform: Platform = PLATFORM) -> int:
    """Instructions from the kernel's entry to the ready marker of a guest that runs so many before it."""
    counted = msgspec.structs.replace(platform, accel=Accel.TCG)
    # Digits cost instructions too: there are always as many.
    system = make_system(f"refuk.ready-after-instructions={number:015}")
    needs = frozenset({Need.TOTALS})
    with boot(kernel, system, folder, platform=counted, needs=needs) as (machine, result, log):
        must_be_ready(result, log)
        if isinstance(machine.histogram, Lacking):
            raise ValueError(machine.histogram.reason)
        counts = read_counts(machine.histogram.finish())
    if counts.entry is None:
        raise ValueError("the kernel's entry was not seen to run")
    return counts.at_ends[0].since(counts.entry).total


def show(what: str, told: int, measured: float, unit: str) -> None:
    """Print a line of the table."""
    print(f"{what:24} {told:>14,} {measured:>18,.3f} {measured - told:>+14,.3f}  {unit}", flush=True)


class Told(NamedTuple):
    """Shares of the data sets: true differences that were found, and equals that came out different."""

    found: float
    alarms: float


def simulate_told(sets: int, *, blocks: int, cv: float = 0.05) -> Told:
    """How often an interval finds the difference that so many blocks are said to tell apart.

    Each data set is a pair within blocks of values of this CV, from a fixed seed; the difference is that of
    the true scatter.
    """
    random = np.random.default_rng(20260321)
    sd = math.sqrt(2) * cv
    effect = inference.least_effect(sd, blocks)
    found = alarms = 0
    for differences in random.normal(0.0, sd, (sets, blocks)):
        for shift in (0.0, effect):
            interval = inference.pair_interval((differences + shift).tolist())
            apart = interval is not None and not interval.low <= 0 <= interval.high
            found += apart and shift > 0
            alarms += apart and shift == 0
    return Told(found / sets, alarms / sets)


def print_calibration(blocks: int) -> None:
    """Run `guestbench calibrate`, and print what it says of planted amounts, of equals and of the harness."""
    with tempfile.TemporaryDirectory(prefix="guestbench-") as name:
        folder = Path(name) / "run"
        argv = [sys.executable, "-m", "guestbench", "calibrate", "--blocks", str(blocks), "-o", str(folder)]
        process.run(argv)
        results = msgspec.json.decode((folder / "results.json").read_bytes(), type=Results)
    for each in results.recoveries:
        spread = "" if each.residual_sd is None else f", SD around the line {each.residual_sd:.6g}"
        print(f"{each.metric}: slope {each.slope:.4f} of {each.n} values{spread}")
    for pair in results.known_ratios:
        told = "".join(f"; tells {each.effect:.1%} in {each.blocks} blocks" for each in pair.told)
        low, high = (pair.interval.low, pair.interval.high) if pair.interval else (math.nan, math.nan)
        print(
            f"{pair.system} {pair.labels}: {pair.ratio:.4f} ({low:.4f} to {high:.4f}), "
            f"true {pair.expected:.4f}{told}"
        )
    for summary in results.summaries:
        if summary.metric in (STAMP, WORKER_START, WORKER_CPU) and summary.median is not None:
            worst = f"{summary.maximum:.6f}"
            print(f"{summary.system} {summary.metric}: median {summary.median:.6f} s, worst {worst} s")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--blocks", type=int, default=10, help="of boots")
    parser.add_argument("--machine", default="q35", help="of QEMU")
    asked = parser.parse_args()
    platform = Platform(machine=asked.machine, accel=Accel.TCG, net=Net.NONE)
    print_calibration(asked.blocks)
    for blocks in (4, 10, 20, 40):
        rates = simulate_told(20_000, blocks=blocks)
        print(f"simulated, {blocks} blocks: found {rates.found:.1%}, equals different {rates.alarms:.1%}")
    print(f"{'':24} {'told':>14} {'measured':>18} {'difference':>14}")
    with tempfile.TemporaryDirectory(prefix="guestbench-") as name:
        folder = Path(name)
        kernel = folder / "kernel.elf"
        compile_kernel(kernel, None)
        for told in BYTES:
            arrived = read_bytes(kernel, told, folder, platform)
            wrong = "" if arrived == make_bytes(told) else ", and they are other bytes"
            show("bytes on the console", told, len(arrived), f"bytes{wrong}")
        first, *others = INSTRUCTIONS
        base = count_instructions(kernel, first, folder, platform)
        for told in others:
            counted = count_instructions(kernel, told, folder, platform) - base
            show("instructions", told - first, counted, f"more than the {base:,} when told {first}")


if __name__ == "__main__":
    main()
