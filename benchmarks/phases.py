"""How long a run took, by family and kind of trial, in seconds and in boots of Debian from its disk.

    .venv/bin/python benchmarks/phases.py [--system mirage-unikraft=IMAGE] [--metrics boot,cost] [RESULTS ...]

RESULTS are folders of runs; without any, the default experiment is run, or its families that `--metrics`
names, which has to include boot. Machines differ, so the unit is the median time to ready of the run's
baseline. Of each family and each kind of trial are printed how many trials there were, the seconds in which
at least one of them ran, and their seconds one after the other, which are more where they ran side by side.
What lies outside of all trials is image files and states that were looked at or made. Families may take
turns, so that a family's seconds need not be in one piece. No figure is held against a bound here.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

from guestbench.families import find_family
from guestbench.model import Record
from guestbench.run.store import read_store

TIMED = "boot"


def main() -> int:
    """Print the phases of each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--system", action="append", default=[])
    parser.add_argument("--metrics")
    parser.add_argument("results", nargs="*", type=Path)
    options = parser.parse_args()
    for folder in options.results:
        report(folder)
    if not options.results:
        with tempfile.TemporaryDirectory() as folder:
            argv = [sys.executable, "-m", "guestbench", "run", "seed", "-o", f"{folder}/run"]
            argv += [word for each in options.system for word in ("--system", each)]
            argv += ["--metrics", options.metrics] if options.metrics else []
            began = time.monotonic()
            status = subprocess.run(argv, check=False, stdout=subprocess.DEVNULL).returncode
            print(f"the whole command took {time.monotonic() - began:.0f} s, status {status}")
            report(Path(folder) / "run")
    return 0


def report(folder: Path) -> None:
    """Print the phases of the run in `folder`."""
    header, records = read_store(folder)
    boot_s = find_boot_s(header.experiment.baseline, records)
    spans = {record.trial.id: find_span(record) for record in records}
    begin, end = min(low for low, _ in spans.values()), max(high for _, high in spans.values())
    print(f"{folder}: {header.accel.used}, one boot of {header.experiment.baseline}: {boot_s:.1f} s")
    tell("from the first trial to the last", len(records), end - begin, end - begin, boot_s)
    busy = cover(spans.values())
    tell("outside of all trials", 0, end - begin - busy, 0.0, boot_s)
    families: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        kinds = families.setdefault(find_family(record.trial.purpose).name, {})
        kinds.setdefault(record.trial.purpose, []).append(record)
    for family, kinds in families.items():
        tell_trials(family, [record for each in kinds.values() for record in each], boot_s)
        for kind, found in kinds.items():
            if len(kinds) > 1:
                tell_trials(f"  {kind}", found, boot_s)


def find_boot_s(system: str, records: Sequence[Record]) -> float:
    """The median time to ready of a system's timed boots, in seconds; NaN where there are none."""
    found = [
        mark.t_ns / 1e9
        for record in records
        for mark in record.marks
        if (record.trial.system, record.trial.purpose, mark.name) == (system, TIMED, "ready") and record.holds
    ]
    return statistics.median(found) if found else float("nan")


def find_span(record: Record) -> tuple[float, float]:
    """When a trial began and ended, in seconds since the epoch."""
    begin = datetime.fromisoformat(record.started).timestamp()
    return begin, begin + record.wall_ns / 1e9


def cover(spans: Iterable[tuple[float, float]]) -> float:
    """The seconds in which at least one of these was on."""
    whole, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        whole += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return whole


def tell_trials(what: str, records: Sequence[Record], boot_s: float) -> None:
    """Print a line on these trials."""
    spans = [find_span(record) for record in records]
    tell(what, len(records), cover(spans), sum(end - begin for begin, end in spans), boot_s)


def tell(what: str, trials: int, seconds: float, together: float, boot_s: float) -> None:
    """Print a line."""
    print(
        f"{what:34} {trials:5} trials {seconds:7.0f} s {seconds / boot_s:6.1f} boots {together:7.0f} s in all"
    )


if __name__ == "__main__":
    sys.exit(main())
