"""Takes a run of two versions apart into one run of each, and has these compared as two runs are.

Blocks stay what they are, so that the values of both sides are paired.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from guestbench.analysis.compare import ALPHA, LEAST_EFFECT
from guestbench.analysis.diff import Run, RunDiff, diff_runs
from guestbench.analysis.gate import parse_gate
from guestbench.analysis.summary import Derived, add_derived
from guestbench.model import Header, Record, Trial

replace = msgspec.structs.replace
GUEST = "guest"
"""What either version is called where both are held against one another, and in gates."""


def compare_versions(
    run: Run,
    names: tuple[str, str],
    gates: Sequence[str],
    *,
    effect: float = LEAST_EFFECT,
    alpha: float = ALPHA,
    hint: str = "",
) -> RunDiff:
    """The system that is OLD and the one that is NEW compared block by block, and what becomes of the gates.

    Raises:
        UsageError: as `diff_runs` does.
    """
    old, new = split(run, *names)
    asked = [parse_gate(text) for text in gates]
    return diff_runs([old], [new], asked, effect=effect, alpha=alpha, paired=True, hint=hint)


def split(run: Run, old: str, new: str) -> tuple[Run, Run]:
    """The run as one of `old` and one of `new`, both of them called `GUEST`; what is derived is kept."""
    header, records = run
    derived = add_derived(header, records)
    return _take(header, derived, old), _take(header, derived, new)


def _take(header: Header, records: Sequence[Record], system: str) -> Run:
    guest = header.find_guest(system)
    guests = (replace(guest, system=replace(guest.system, name=GUEST)),)
    trials = tuple(replace(trial, system=GUEST) for trial in header.trials if trial.system == system)
    mine = Derived(
        replace(record, trial=replace(record.trial, system=GUEST))
        for record in records
        if record.trial.system == system
    )
    return replace(header, guests=guests, trials=trials), mine


def join(runs: Sequence[Run]) -> Run:
    """Runs of the same systems as one: the blocks of each follow those of the ones before it."""
    trials: list[Trial] = []
    records: list[Record] = []
    for number, (header, made) in enumerate(runs, 1):
        before = max((trial.block for trial in trials), default=0)

        def move(trial: Trial, number: int = number, before: int = before) -> Trial:
            block = trial.block + before if trial.block else 0
            return replace(trial, id=f"{number}-{trial.id}", block=block)

        trials += map(move, header.trials)
        records += (replace(each, trial=move(each.trial)) for each in add_derived(header, made))
    return replace(runs[0][0], trials=tuple(trials)), Derived(records)
