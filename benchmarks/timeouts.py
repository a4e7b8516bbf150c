"""Tells when trials of a guest that never gets ready end: how long after their time-out.

    .venv/bin/python benchmarks/timeouts.py [--trials 10] [--seconds 3]

The kernel of `floor` is booted, and a text is waited for that it does not print. Printed is by how much the
whole trial, from the start of its worker to its record, takes longer than the time-out. The status is 1 where
that is ever more than a second. For a host that does nothing else.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from guestbench import provision
from guestbench.definition.systems import load_catalogue
from guestbench.model import Role, TimedOut
from guestbench.run.store import read_store

MOST_S = 1.0
SYSTEM = """
name = "never"
title = "A guest that never gets ready"
family = "unikernel"
ready = "never said"
timeout_s = {seconds}
[boot]
type = "kernel"
[provision]
path = "{image}"
hint = "ls"
"""
EXPERIMENT = """
name = "timeouts"
title = "Time-outs"
systems = ["./never"]
metrics = ["boot"]
warmups = 0
cycles = {trials}
[platform]
accel = "tcg"
"""


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trials", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=3.0)
    asked = parser.parse_args()
    catalogue = load_catalogue()
    floor = provision.prepare(catalogue["floor"], {}, catalogue, say=lambda _: None)
    with tempfile.TemporaryDirectory(prefix="guestbench-timeouts-") as base:
        folder = Path(base)
        (folder / "never").mkdir()
        text = SYSTEM.format(seconds=asked.seconds, image=floor.images[Role.KERNEL].path)
        (folder / "never" / "system.toml").write_text(text)
        (folder / "timeouts.toml").write_text(EXPERIMENT.format(trials=asked.trials))
        argv = [sys.executable, "-m", "guestbench", "run", "./timeouts.toml", "-o", "run"]
        subprocess.run(argv, cwd=folder, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, records = read_store(folder / "run")
    late = [record.wall_ns / 1e9 - asked.seconds for record in records]
    assert len(late) == asked.trials and all(isinstance(record.outcome, TimedOut) for record in records)
    print(
        f"{len(late)} trials with {asked.seconds:g} s: {min(late):.2f} to {max(late):.2f} s later, "
        f"median {median(late):.2f} s"
    )
    return int(max(late) > MOST_S or min(late) < 0)


if __name__ == "__main__":
    sys.exit(main())
