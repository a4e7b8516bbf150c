"""Whether two runs have the same kinds of figures: metrics of systems, with their labels.

    .venv/bin/python benchmarks/same_metrics.py OLD/results.csv NEW/results.csv

Says what only one of them has, and exits with 1 if there is anything. Some labels are found by a run, such
as the sizes that a search tries: compare runs of the same guests.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

Kind = tuple[str, str, str, str]
"""System, purpose, metric and labels of a sample."""


def read_kinds(file: Path) -> set[Kind]:
    """What the samples of a results.csv are of."""
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    return {(row["system"], row["purpose"], row["metric"], row["labels"]) for row in rows}


def main() -> int:
    """Compare two files. Returns the exit status."""
    old, new = (read_kinds(Path(name)) for name in sys.argv[1:3])
    for kind in sorted(old - new):
        print("missing:", *kind)
    for kind in sorted(new - old):
        print("new:", *kind)
    print(f"{len(old & new)} kinds of figures are in both, {len(old - new)} missing, {len(new - old)} new")
    return 1 if old != new else 0


if __name__ == "__main__":
    sys.exit(main())
