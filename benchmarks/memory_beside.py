"""Tells whether memory counts differ where guests are counted side by side, and not one at a time.

    .venv/bin/python benchmarks/memory_beside.py [--cycles 2] [SYSTEM ...]

The guests of the default experiment, or those named, are booted so often alone, and so often beside others,
as many at a time as a run may make. For each figure are printed its median alone, its median beside, and
the ratio. No figure is held against a bound here.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from guestbench.families.memory import FAMILY, MEMORY
from guestbench.model import Header, Record
from guestbench.run.jobs import count_slots, count_waiting, make_job
from guestbench.run.pool import execute_in_workers
from guestbench.run.prepare import prepare
from guestbench.run.request import Request

Found = dict[tuple[str, str], list[float]]


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cycles", type=int, default=2)
    parser.add_argument("systems", nargs="*", metavar="SYSTEM")
    asked = parser.parse_args()
    settings = {FAMILY.name: {"cycles": asked.cycles}}
    request = Request(experiment="seed", only=tuple(asked.systems), metrics=(FAMILY.name,), settings=settings)
    header = prepare(request, lambda text: print(text, file=sys.stderr))
    most = count_slots(header.platform) + count_waiting(header.platform)
    alone, beside = count(header, 1), count(header, most)
    for key in alone:
        if key in beside:
            one, other = statistics.median(alone[key]), statistics.median(beside[key])
            ratio = f"{other / one:8.4f}" if one else "       –"
            print(f"{key[0]:22} {key[1]:44} {one:12,.0f} {other:12,.0f} {ratio}")
    return 0


def count(header: Header, slots: int) -> Found:
    """What so many boots at a time find: all values of each system's figures."""
    with tempfile.TemporaryDirectory() as folder:
        jobs = (make_job(t, header, Path(folder)) for t in header.trials if t.purpose == MEMORY)
        return collect(execute_in_workers(jobs, slots, lambda: None))


def collect(records: Iterable[Record]) -> Found:
    """The values of each system's figures."""
    found: Found = defaultdict(list)
    for record in records:
        for sample in record.samples:
            labels = ", ".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[record.trial.system, f"{sample.metric} {labels}"].append(float(sample.value))
    return found


if __name__ == "__main__":
    sys.exit(main())
