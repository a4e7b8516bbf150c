"""Prints what a run costs beyond its boots: wall time of trials against time from exec to ready.

For `floor` it prints the cost of a trial beyond its boot in seconds; for Debian the ratio of the run's
wall time to the sum of its boots. A trial's wall time here is the distance between the starts of
successive trials as the parent sees them: worker start, boot, ending QEMU, storing the record.

    python benchmarks/overhead.py [--debian] [CYCLES]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from guestbench.host import process
from guestbench.run.store import read_store


def run_timed(system: str, cycles: int, folder: Path) -> tuple[float, float, int]:
    """Run `cycles` boots: wall seconds of the whole command, sum of the boots, number of boots."""
    argv = [sys.executable, "-m", "guestbench", "run", "--only-system", system, "--metrics", "boot"]
    argv += ["--accel", "tcg", "--warmups", "0", "--cycles", str(cycles), "-o", str(folder)]
    start = time.monotonic()
    process.run(argv)
    wall_s = time.monotonic() - start
    _, records = read_store(folder)
    boots = [s.value for r in records for s in r.samples if s.metric == "boot.ready"]

    return wall_s, sum(boots), len(boots)


def main() -> None:
    """Print the figures."""
    arguments = [a for a in sys.argv[1:] if a != "--debian"]
    cycles = int(arguments[0]) if arguments else 10
    with tempfile.TemporaryDirectory(prefix="guestbench-") as folder:
        one = run_timed("floor", 1, Path(folder) / "one")
        many = run_timed("floor", 1 + cycles, Path(folder) / "many")
        per_trial = ((many[0] - one[0]) - (many[1] - one[1])) / cycles
        print(f"floor: {per_trial:.3f} s a trial beyond the boot ({cycles} trials)")
        if "--debian" in sys.argv:
            wall_s, boots_s, count = run_timed("debian-12-nocloud", 2, Path(folder) / "debian")
            ratio = wall_s / boots_s
            print(f"debian-12-nocloud: wall time {ratio:.3f} times the sum of its {count} boots")


if __name__ == "__main__":
    main()
