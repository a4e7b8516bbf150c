"""How long `guestbench report` takes for a large run, and how much memory; the bounds are 3 s and 500 MB.

    PYTHONPATH=tests/helpers .venv/bin/python benchmarks/report_size.py [RECORDS] [ROUNDS]

The run is made up: four systems booted in turns until there are RECORDS records (10,000 unless told),
compared with one of them and held against the claims of the default experiment. Of ROUNDS rounds (3 unless
told) the best time is printed, because what else the host does can only add to it, and the greatest memory.
"""

from __future__ import annotations

import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from factories import make_run

from guestbench.definition.experiments import load_experiment
from guestbench.host import process
from guestbench.model import Header, Record
from guestbench.run.store import STORE_NAME, read_store

BOUND_S = 3.0
BOUND_MB = 500.0
BASELINE = "debian-12-nocloud"
SEED = 1
replace = msgspec.structs.replace


def make_large_run(size: int) -> tuple[Header, tuple[Record, ...]]:
    """A run of so many records that is like the factories' run, with every boot a little different."""
    header, records = make_run()
    records = tuple(_repeat_boots(records, size))
    experiment = replace(header.experiment, baseline=BASELINE, claims=load_experiment("seed").claims)
    return replace(header, experiment=experiment, trials=tuple(r.trial for r in records)), records


def _repeat_boots(records: tuple[Record, ...], size: int) -> Iterator[Record]:
    rng = random.Random(SEED)
    boots = [record for record in records if record.trial.purpose == "boot"]
    others = [record for record in records if record.trial.purpose != "boot"]
    yield from others
    systems = len({record.trial.system for record in boots})
    for number in range(size - len(others)):
        record, block = boots[number % len(boots)], number // systems + 1
        name = f"{len(others) + number + 1:05}-boot-{record.trial.system}-{block}"
        trial = replace(record.trial, id=name, block=block, cycle=block)
        slower = 1 + abs(rng.gauss(0, 0.05))
        samples = tuple(replace(sample, value=sample.value * slower) for sample in record.samples)
        yield replace(record, trial=trial, samples=samples)


def write_store(folder: Path, header: Header, records: tuple[Record, ...]) -> None:
    """Write a store without syncing each line."""
    lines = [msgspec.json.encode(line) + b"\n" for line in (header, *records)]
    (folder / STORE_NAME).write_bytes(b"".join(lines))


def main() -> None:
    """Print the size of the store, the time, the memory, and the size of each file written."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory(prefix="guestbench-") as name:
        folder = Path(name)
        write_store(folder, *make_large_run(size))
        found = len(read_store(folder)[1])
        before = set(folder.iterdir())
        times = []
        for _ in range(rounds):
            began = time.monotonic()
            process.run([sys.executable, "-m", "guestbench", "report", folder])
            times.append(time.monotonic() - began)
        peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
        print(f"{found:,} records: {min(times):.2f} s (bound {BOUND_S:g} s)")
        print(f"  peak memory: {peak_mb:.0f} MB (bound {BOUND_MB:g} MB)")
        for path in sorted(set(folder.iterdir()) - before):
            print(f"  {path.name}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
