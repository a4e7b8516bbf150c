"""How long `guestbench diff` takes for two large runs; the bound is 2 s.

    PYTHONPATH=tests/helpers .venv/bin/python benchmarks/diff_speed.py [RECORDS] [ROUNDS]

Both runs are made up: four systems booted in turns until there are RECORDS records (10,000 unless told), with
chance of its own in each. Of ROUNDS rounds (3 unless told) the best time is printed, because what else the
host does can only add to it, and the greatest memory.
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

from guestbench.host import process
from guestbench.model import Header, Record
from guestbench.run.store import STORE_NAME

BOUND_S = 2.0
replace = msgspec.structs.replace


def write_run(folder: Path, size: int, seed: int) -> None:
    """Write the store of a run of so many records, every boot a little different."""
    header, records = make_run()
    lines: list[Record] = list(_repeat_boots(records, size, random.Random(seed)))
    head: Header = replace(header, run=f"{header.run}-{seed}", trials=tuple(line.trial for line in lines))
    folder.mkdir(parents=True)
    (folder / STORE_NAME).write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in (head, *lines)))


def _repeat_boots(records: tuple[Record, ...], size: int, rng: random.Random) -> Iterator[Record]:
    boots = [record for record in records if record.trial.purpose == "boot"]
    others = [record for record in records if record.trial.purpose != "boot"]
    yield from others[:size]
    systems = len({record.trial.system for record in boots})
    for number in range(size - len(others)):
        record, block = boots[number % len(boots)], number // systems + 1
        name = f"{len(others) + number + 1:05}-boot-{record.trial.system}-{block}"
        trial = replace(record.trial, id=name, block=block, cycle=block)
        slower = 1 + abs(rng.gauss(0, 0.05))
        samples = tuple(replace(sample, value=sample.value * slower) for sample in record.samples)
        yield replace(record, trial=trial, samples=samples)


def measure(old: Path, new: Path) -> float:
    """How many seconds the command takes, from its start to its end."""
    began = time.monotonic()
    process.run([sys.executable, "-m", "guestbench", "diff", old, new, "--fail-on", "boot.ready>5%"])
    return time.monotonic() - began


def main() -> None:
    """Print the time and the memory."""
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory(prefix="guestbench-") as name:
        old, new = Path(name) / "old", Path(name) / "new"
        write_run(old, size, 1)
        write_run(new, size, 2)
        times = [measure(old, new) for _ in range(rounds)]
        peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
        stored = (old / STORE_NAME).stat().st_size / 1e6
        took = f"{min(times):.2f} s (bound {BOUND_S:g}), {peak_mb:.0f} MB of memory"
        print(f"2 × {size:,} records, {stored:.0f} MB each: {took}")


if __name__ == "__main__":
    main()
