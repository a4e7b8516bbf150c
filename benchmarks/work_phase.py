"""How long the work phase of the default experiment takes, and what of it succeeds.

    .venv/bin/python benchmarks/work_phase.py [--system mirage-unikraft=IMAGE] [--cross-check] [RESULTS ...]

RESULTS are folders of runs that measured work or network; without any, one is made (`guestbench run seed
--metrics work,net`, with the image that `--system` names), which takes many minutes under TCG on two cores.
With `--cross-check` the experiment of that name is run as well, and takes some minutes more.

Of each run are printed the time from its first trial of work to the end of its last, snapshots that were
made in between included, and beside it what the whole command took, with images and the first snapshot;
how long each system was at work; the share of the trials that ended well, and why the others did not; and
how our own work compares with known tools where the run had any: a median over a median, of rounds in one
guest each, so that a noisy host moves it. No speed is held against anything.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from memory_phase import span_s

from guestbench.analysis.summary import find_metric, summarise
from guestbench.families import find_purpose
from guestbench.families.work.findings import find_checks
from guestbench.host import process
from guestbench.model import Ok
from guestbench.run.store import read_store


def report(folder: Path) -> None:
    """Print the figures of the run in `folder`."""
    header, records = read_store(folder)
    phase = [record for record in records if find_purpose(record.trial.purpose).works]
    planned = [trial for trial in header.trials if find_purpose(trial.purpose).works]
    if not phase:
        print(f"{folder}: no trial of work")
        return
    took = span_s(phase)
    print(f"{header.experiment.name}: work phase {took:.0f} s, {header.accel.used}")
    well = [record for record in phase if isinstance(record.outcome, Ok)]
    print(f"  {len(well)} of {len(planned)} trials ended well ({len(well) / len(planned):.0%})")
    for record in phase:
        if not isinstance(record.outcome, Ok):
            print(f"  {record.trial.id}: {type(record.outcome).__name__}: {record.outcome.reason}")
    for guest in header.guests:
        own = [record for record in phase if record.trial.system == guest.system.name]
        if own:
            seconds = sum(record.wall_ns for record in own) / 1e9
            print(f"  {guest.system.name}: {seconds:.0f} s in {len(own)} trials")
    for absent in header.absent:
        print(f"  {absent.system}: left out: {absent.reason}")
    for check in find_checks(header, summarise(header, records)):
        if check.ratio is not None:
            title = find_metric(header, check.theirs.metric).title
            print(f"  ours over theirs, {title}: {check.ratio:.3f} (n={check.theirs.n})")


def run(folder: Path, name: str, arguments: Sequence[str]) -> None:
    """Make a run in `folder`, and report it; trials that fail are part of the report."""
    results = folder / name
    argv: list[str | Path] = [sys.executable, "-m", "guestbench", "run", name, *arguments, "-o", results]
    began = time.monotonic()
    done = process.run(argv, check=False)
    print(f"guestbench run {name} took {time.monotonic() - began:.0f} s, status {done.status}")
    if not results.exists():
        sys.exit(done.stderr.decode("utf-8", "replace"))
    report(results)


def main() -> None:
    """Report runs, made first if none are given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--system", action="append", default=[], metavar="NAME=IMAGE")
    parser.add_argument("--cross-check", action="store_true")
    parser.add_argument("results", nargs="*", type=Path, metavar="RESULTS")
    asked = parser.parse_args()
    for folder in asked.results:
        report(folder)
    with tempfile.TemporaryDirectory(prefix="guestbench-") as folder:
        if not asked.results:
            given = [word for each in asked.system for word in ("--system", each)]
            run(Path(folder), "seed", ["--metrics", "work,net", *given])
        if asked.cross_check:
            run(Path(folder), "cross-check", [])


if __name__ == "__main__":
    main()
