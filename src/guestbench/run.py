"""Makes the trials of a run one after another and stores each record as it comes; it computes nothing.

The parent never starts a thread: it waits for its worker in short steps and lets the progress display
redraw in between, so that nothing competes with the worker for a core.
"""

from __future__ import annotations

import os
import select
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from guestbench import process
from guestbench.errors import GuestbenchError, StoreError, TrialError
from guestbench.model import Guest, Header, Job, Platform, Record, Trial
from guestbench.store import Store
from guestbench.worker import Failure, trial_folder

TICK_S = 0.5
WORKER_STDERR = "worker.stderr"

Execute = Callable[[Job, Callable[[], None]], Record]
"""Makes one trial. The second argument is called now and then while it waits."""


class Progress(Protocol):
    """Something that shows how a run goes on."""

    def begin(self, trials: Sequence[Trial], done: Sequence[Record]) -> None:
        """A run of `trials` starts or goes on; `done` holds what an earlier process has finished."""

    def trial_started(self, trial: Trial) -> None:
        """A trial starts."""

    def tick(self) -> None:
        """Time has gone by."""

    def trial_finished(self, record: Record) -> None:
        """A trial has ended and its record is stored."""


class SilentProgress:
    """Shows nothing."""

    def begin(self, trials: Sequence[Trial], done: Sequence[Record]) -> None:
        """Show nothing."""

    def trial_started(self, trial: Trial) -> None:
        """Show nothing."""

    def tick(self) -> None:
        """Show nothing."""

    def trial_finished(self, record: Record) -> None:
        """Show nothing."""


class _ReadyMade(GuestbenchError):
    """An error that a worker has worded already."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message, failure.hint)
        self.exit_code = failure.exit_code


def make_trials(
    store: Store,
    header: Header,
    done: Sequence[Record],
    progress: Progress,
    execute: Execute | None = None,
) -> tuple[Record, ...]:
    """Make every trial of the run that `done` does not hold, storing each as it ends; all records in order.

    Raises:
        GuestbenchError: something stopped the run; what was finished is in the store.
    """
    execute = execute or execute_in_worker
    folder = store.path.parent
    records = list(done)
    finished = {record.trial.id for record in done}
    guests = {guest.system.name: guest for guest in header.guests}
    progress.begin(header.trials, done)
    for trial in header.trials:
        if trial.id in finished:
            continue
        progress.trial_started(trial)
        job = make_job(trial, guests[trial.system], header.platform, header.host.digest, folder)
        record = execute(job, progress.tick)
        store.append(record)
        records.append(record)
        progress.trial_finished(record)
    return tuple(records)


def make_job(trial: Trial, guest: Guest, platform: Platform, host: str, folder: Path) -> Job:
    """What a worker of this process needs to make `trial` in the run folder `folder`."""
    return Job(
        trial=trial,
        guest=guest,
        platform=platform,
        host=host,
        folder=str(folder),
        parent_pid=os.getpid(),
    )


def execute_in_worker(job: Job, tick: Callable[[], None]) -> Record:
    """Make one trial in a fresh process.

    Raises:
        GuestbenchError: what the worker raised, with its exit code.
        TrialError: the worker died without an answer.
    """
    stderr_path = Path(job.folder) / trial_folder(job.trial.id) / WORKER_STDERR
    try:
        stderr_path.parent.mkdir(parents=True, exist_ok=True)
        stderr = stderr_path.open("wb")
    except OSError as error:
        hint = f"df -h {shlex.quote(job.folder)}"
        raise StoreError(f"cannot write {stderr_path}: {error.strerror}", hint) from error
    with (
        stderr,
        # Its own session, so that Ctrl-C reaches only us: we end the worker, the kernel ends its VM.
        process.start(
            [sys.executable, "-m", "guestbench.worker"],
            stdin=process.PIPE,
            stdout=process.PIPE,
            stderr=stderr,
            new_session=True,
        ) as worker,
    ):
        answer = _talk(worker, msgspec.json.encode(job), tick)
        status = worker.wait(5.0)
    complaint = process.tail(stderr_path.read_bytes()).strip()
    if not complaint:
        stderr_path.unlink()
    try:
        decoded = msgspec.json.decode(answer, type=Record | Failure)
    except msgspec.DecodeError as error:
        words = complaint.splitlines()[-1] if complaint else "it said nothing"
        raise TrialError(
            f"the worker of trial {job.trial.id} died with status {status}: {words}",
            f"cat {shlex.quote(str(stderr_path))}",
        ) from error
    if isinstance(decoded, Failure):
        raise _ReadyMade(decoded)
    return decoded


def _talk(worker: process.Child, question: bytes, tick: Callable[[], None]) -> bytes:
    if worker.stdin is None or worker.stdout is None:
        raise RuntimeError("the worker was started without pipes")
    try:
        worker.stdin.write(question)
        worker.stdin.close()
    except BrokenPipeError:
        return b""
    answer = bytearray()
    descriptor = worker.stdout.fileno()
    while True:
        ready, _, _ = select.select([descriptor], [], [], TICK_S)
        if not ready:
            tick()
            continue
        data = os.read(descriptor, 65536)
        if not data:
            return bytes(answer)
        answer += data
