"""A stand-in for worker processes: trials are made one after another, in the process of the test."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from guestbench.model import Job, Record
from guestbench.run.worker import run_trial


def in_process(jobs: Iterable[Job], _: int, __: object) -> Iterator[Record]:
    """Make trials in this process."""
    return map(run_trial, jobs)
