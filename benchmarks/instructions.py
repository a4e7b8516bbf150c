"""How far counts of instructions of one guest lie apart, and how often that is taken for a change.

    .venv/bin/python benchmarks/instructions.py [--boots 40] [--diffs 30]

First, for each guest, the counts of so many boots: how many had the commonest one, and how far they spread.
Then so many pairs of three boots of the reference unikernel and of Linux with one program, compared as a gate
of 0.5% and a verdict on 0.05% would: each that fails, or that is told apart, is a false alarm. Last, the time
to ready with and without the counter. It boots some hundred guests; no figure is held against a bound here.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from guestbench.analysis.diff import diff_runs
from guestbench.analysis.gate import GateState, parse_gate
from guestbench.model import Header, Record, Verdict
from guestbench.run.store import read_store

GUESTS = ("floor", "reference-unikernel", "linux-app")
COMPARED = GUESTS[1:]
GUEST, WAITING = "cost.instructions_guest", "cost.instructions_waiting"
GATE = "cost.instructions_guest>0.5%"
EFFECT = 0.0005


def main() -> int:
    """Print all three."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boots", type=int, default=40)
    parser.add_argument("--diffs", type=int, default=30)
    options = parser.parse_args()
    boots = max(options.boots, 6 * options.diffs)
    with tempfile.TemporaryDirectory() as folder:
        run = count(Path(folder) / "run", boots)
        for name in GUESTS:
            print(describe(name, values(run, name, GUEST)[: options.boots]))
        for name in COMPARED:
            print(alarms(run, name, options.diffs))
        for name in COMPARED:
            print(slow_down(run, name))
    return 0


def count(folder: Path, boots: int) -> tuple[Header, tuple[Record, ...]]:
    """A run of all guests, with so many boots in which instructions are counted and five that are timed."""
    argv = [sys.executable, "-m", "guestbench", "run", "seed", "--accel", "tcg", "--metrics", "boot,cost"]
    argv += [word for name in GUESTS for word in ("--only-system", name)]
    argv += ["--set", f"cost.boots={boots}", "--cycles", "5", "-o", str(folder)]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return read_store(folder)


def values(run: tuple[Header, tuple[Record, ...]], name: str, metric: str) -> list[float]:
    """A figure of all boots of a guest, to ready."""
    return [
        sample.value
        for record in run[1]
        for sample in record.samples
        if record.trial.system == name and sample.metric == metric and not sample.labels
    ]


def describe(name: str, found: Sequence[float]) -> str:
    """How far counts lie apart."""
    mode, times = Counter(found).most_common(1)[0]
    spread = (max(found) - min(found)) / min(found)
    return f"{name}: {len(found)} boots, {times} of {mode:,.0f} instructions; they spread over {spread:.3%}"


def alarms(run: tuple[Header, tuple[Record, ...]], name: str, diffs: int) -> str:
    """How many pairs of three boots of the same guest are told apart."""
    header, records = run
    mine = [r for r in records if r.trial.system == name and r.trial.purpose == "cost"]
    failed = told = 0
    for n in range(diffs):
        sides = [
            (only(header, name, part), tuple(part)) for part in (mine[6 * n :][:3], mine[6 * n + 3 :][:3])
        ]
        diff = diff_runs([sides[0]], [sides[1]], [parse_gate(GATE)], effect=EFFECT)
        failed += any(each.state is GateState.FAILED for each in diff.decisions)
        verdicts = {each.comparison.verdict for each in diff.changes if each.comparison.metric == GUEST}
        told += bool(verdicts & {Verdict.LARGER, Verdict.SMALLER})
    of = f"{name}: of {diffs} pairs of three boots the gate {GATE} fails {failed}"
    return f"{of}, and {told} are told apart by {EFFECT:.2%}"


def only(header: Header, name: str, records: Sequence[Record]) -> Header:
    """The header of a run of these trials alone."""
    guests = tuple(guest for guest in header.guests if guest.system.name == name)
    return msgspec.structs.replace(header, guests=guests, trials=tuple(record.trial for record in records))


def slow_down(run: tuple[Header, tuple[Record, ...]], name: str) -> str:
    """How much longer a boot takes that is counted; of these several run side by side."""
    times = {
        purpose: statistics.median(
            mark.t_ns / 1e9
            for record in run[1]
            for mark in record.marks
            if record.trial.system == name and record.trial.purpose == purpose and mark.name == "ready"
        )
        for purpose in ("boot", "cost")
    }
    return f"{name}: ready after {times['boot']:.3f} s, counted after {times['cost']:.3f} s, others beside it"


if __name__ == "__main__":
    sys.exit(main())
