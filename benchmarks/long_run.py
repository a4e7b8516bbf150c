"""Tells whether a long run stays as it began: the memory of guestbench, and what a trial takes of its time.

    python benchmarks/long_run.py [--trials 5000] [--real]

Recorded guests are replayed, each by a worker process; with --real, `floor` is booted under TCG. Printed are
the parent's resident memory as trials go by, in MB, and the median seconds from trial to trial of the first
hundred and the last: as they are, and with what the guest took to get ready as the measure, since a host that
has become slower makes both longer. The status is 1 where memory passes 200 MB before the report is written
or, with --real, the last hundred take more than 2% longer either way. For a host that does nothing else.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

from guestbench.model import READY
from guestbench.run.store import STORE_NAME, read_store

MOST_MB, MOST_SLOWER = 200.0, 0.02
SPAN = 100
"""Trials at either end that are compared."""
SYSTEM = """
name = "{name}"
title = "{name}"
family = "unikernel"
ready = "[ready]"
timeout_s = 60
[boot]
type = "kernel"
[provision]
path = "{name}/serial.log"
hint = "ls"
"""
EXPERIMENT = """
name = "long"
title = "A long run"
systems = ["./one", "./two"]
metrics = ["boot"]
warmups = 0
cycles = {cycles}
[platform]
vmm = "fake"
"""


class Course(NamedTuple):
    """How a run went: the parent's memory in MB after so many trials, when each began, and when it was ready.

    Both are in seconds, the former since the epoch and the latter since the VMM was started.
    """

    memory: tuple[tuple[int, float], ...]
    began_s: tuple[float, ...] = ()
    ready_s: tuple[float, ...] = ()

    @property
    def slope_bytes(self) -> float:
        """By how much memory grew for each trial, from the first tenth of the trials on (least squares)."""
        seen = [each for each in self.memory if each[0] >= self.memory[-1][0] / 10]
        middle_n, middle_mb = (sum(column) / len(seen) for column in zip(*seen, strict=True))
        spread = sum((n - middle_n) ** 2 for n, _ in seen)
        return float(1e6 * sum((n - middle_n) * (mb - middle_mb) for n, mb in seen) / spread)

    def take(self, *, last: bool, boots: bool = False) -> float:
        """The median distance of the beginnings of trials, of the first or last ones, in s or boots."""
        steps = [after - before for before, after in pairwise(self.began_s)]
        if boots:
            steps = [step / ready_s for step, ready_s in zip(steps, self.ready_s, strict=False)]
        return median(steps[-SPAN:] if last else steps[:SPAN])


def write_replayed(folder: Path, trials: int) -> list[str]:
    """Two recorded guests and their experiment; what guestbench is to be told."""
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "system.toml").write_text(SYSTEM.format(name=name))
        (folder / name / "serial.log").write_bytes(b"Booting\r\n" * 20 + b"[ready]\r\n")
    (folder / "long.toml").write_text(EXPERIMENT.format(cycles=-(-trials // 2)))
    return ["run", "./long.toml"]


def run(folder: Path, arguments: list[str]) -> Course:
    """Make a run in `folder`, looking at its memory ten times a second."""
    argv = [sys.executable, "-m", "guestbench", *arguments, "-o", "run"]
    memory, count, at = [], 0, 0
    with subprocess.Popen(argv, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as tool:
        status, store = Path(f"/proc/{tool.pid}/statm"), folder / "run" / STORE_NAME
        while tool.poll() is None:
            if store.exists():
                with store.open("rb") as file:
                    file.seek(at)
                    new = file.read()
                at, count = at + len(new), count + new.count(b"\n")
                pages = int(status.read_text().split()[1])
                if count > 1 and pages:
                    memory.append((count - 1, pages * os.sysconf("SC_PAGE_SIZE") / 1e6))
            time.sleep(0.1)
    if tool.returncode:
        raise SystemExit(f"guestbench ended with status {tool.returncode}")
    _, records = read_store(folder / "run")
    began_s = tuple(datetime.fromisoformat(record.started).timestamp() for record in records)
    ready_s = tuple(mark.t_ns / 1e9 for record in records for mark in record.marks if mark.name == READY)
    # Then it works out its report, which takes what NumPy takes.
    return Course(tuple(each for each in memory if each[0] < len(records)), began_s, ready_s)


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=5000)
    parser.add_argument("--real", action="store_true", help="boot the floor, and do not replay")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="guestbench-long-") as base:
        folder = Path(base)
        floor = ["run", "seed", "--only-system", "floor", "--metrics", "boot", "--accel", "tcg"]
        # The floor boots twice a block: the second is its twin.
        floor += ["--warmups", "0", "--cycles", str(-(-asked.trials // 2))]
        course = run(folder, floor if asked.real else write_replayed(folder, asked.trials))
    shown = course.memory[:: max(1, len(course.memory) // 10)]
    print("trials  MB")
    print("".join(f"{count:6}  {mb:.1f}\n" for count, mb in (*shown, course.memory[-1])), end="")
    most = max(mb for _, mb in course.memory)
    slope, slower = course.slope_bytes, []
    print(f"{len(course.began_s)} trials: at most {most:.1f} MB, {slope:,.0f} bytes more a trial")
    for unit in ("s", "boots"):
        first, final = (course.take(last=last, boots=unit == "boots") for last in (False, True))
        slower.append(final / first - 1)
        print(f"first {SPAN}: {first:.4f} {unit} a trial; last {SPAN}: {final:.4f} {unit}, {slower[-1]:+.1%}")
    return int(most > MOST_MB or (asked.real and min(slower) > MOST_SLOWER))


if __name__ == "__main__":
    sys.exit(main())
