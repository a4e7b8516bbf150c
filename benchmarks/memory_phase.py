"""How long the memory phase of the default experiment takes, and each search in boots of its guest.

    .venv/bin/python benchmarks/memory_phase.py [RESULTS]

RESULTS is the folder of a run that measured memory; without it, one is made (`guestbench run seed
--metrics memory`), which takes about a quarter of an hour under TCG on two cores.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from guestbench.families.memory.findings import find_least
from guestbench.families.memory.section import show_least
from guestbench.host import process
from guestbench.model import Record
from guestbench.run.store import read_store


def span_s(records: Sequence[Record]) -> float:
    """Seconds from the start of the first record to the end of the last."""
    starts = [datetime.fromisoformat(record.started).timestamp() for record in records]
    ends = [start + record.wall_ns / 1e9 for start, record in zip(starts, records, strict=True)]
    return max(ends) - min(starts)


def ready_s(records: Sequence[Record]) -> float | None:
    """Seconds to ready in the first boot that counted memory; None if it never got ready."""
    marks = [mark for record in records for mark in record.marks if mark.name == "ready"]
    return marks[0].t_ns / 1e9 if marks else None


def report(folder: Path) -> None:
    """Print the figures of the run in `folder`."""
    header, records = read_store(folder)
    phase = [r for r in records if r.trial.purpose in ("memory", "memory-min")]
    print(f"memory phase: {span_s(phase):.0f} s, {len(phase)} boots, {header.accel.used}")
    for guest in header.guests:
        name = guest.system.name
        own = [r for r in phase if r.trial.system == name]
        counted = [r for r in own if r.trial.purpose == "memory"]
        searched = [r for r in own if r.trial.purpose == "memory-min"]
        ready = ready_s(counted)
        if not searched or ready is None:
            continue
        took = sum(record.wall_ns for record in searched) / 1e9
        counting = sum(record.wall_ns for record in counted) / 1e9
        least = show_least(find_least(header, records, name))
        print(
            f"{name}: least RAM {least}; ready after {ready:.2f} s; counting {counting:.0f} s; "
            f"search {took:.0f} s = {took / ready:.1f} boots of it, in {len(searched)} boots"
        )


def main() -> None:
    """Report a run, made first if none is given."""
    if len(sys.argv) > 1:
        report(Path(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory(prefix="guestbench-") as folder:
        results = Path(folder) / "results"
        process.run([sys.executable, "-m", "guestbench", "run", "seed", "--metrics", "memory", "-o", results])
        report(results)


if __name__ == "__main__":
    main()
