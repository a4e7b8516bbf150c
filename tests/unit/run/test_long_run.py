"""A run of thousands of trials: guestbench keeps of each what its report needs, and no more."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterable, Iterator
from pathlib import Path

from long_run import Course
from replay import make_guest, make_header, make_system, write_recording
from silent_progress import SilentProgress

from guestbench.model import Experiment, Job, Record
from guestbench.run.pool import Local
from guestbench.run.store import create_store
from guestbench.run.trials import make_trials
from guestbench.run.worker import run_trial

TRIALS, STEP = 160, 20
MOST_BYTES = 16_000
"""Kept of a trial: 5,000 of them are then 80 MB, and with all that guestbench loads no 200."""


def test_memory_grows_by_little_with_each_trial(tmp_path: Path) -> None:
    """A run of a night would take the memory that its guests are measured in."""
    recording = write_recording(tmp_path / "log", [(1.0, b"hello " * 500), (2.0, b"[init done]")])
    guest = make_guest(make_system(), recording)
    experiment = Experiment(
        name="x", title="x", systems=("tiny",), metrics=("boot",), cycles=TRIALS, warmups=0
    )
    header = make_header((guest,), experiment)
    memory: list[tuple[int, float]] = []

    def execute(jobs: Iterable[Job], _: int, __: object) -> Iterator[Record]:
        for job in jobs:
            yield run_trial(job)
            made.append(job.trial.id)
            if len(made) % STEP == 0:
                gc.collect()
                memory.append((len(made), tracemalloc.get_traced_memory()[0] / 1e6))

    made: list[str] = []
    with create_store(tmp_path / "run", header) as store:
        tracemalloc.start()
        try:
            records = make_trials(store, header, (), SilentProgress(), Local(execute))
        finally:
            tracemalloc.stop()
    assert len(records) == len(header.trials) == TRIALS
    assert 0 < Course(tuple(memory)).slope_bytes < MOST_BYTES
    # Nor is it more with each trial than with the one before.
    sizes = [size for _, size in memory]
    assert sizes[-1] - sizes[-4] < 2 * (sizes[4] - sizes[1])
