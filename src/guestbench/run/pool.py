"""Makes trials in fresh worker processes, one or several at a time; it measures nothing and stores nothing.

`Pool` is where trials are made: on this machine by `Local`, which is all of this module, or elsewhere.

The parent never starts a thread: it waits for its workers in short steps and lets the progress display
redraw in between, so that nothing competes with a worker for a core.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from guestbench.errors import GuestbenchError, StoreError, TrialError, hint_of
from guestbench.host import process
from guestbench.model import Header, Job, NotMade, Platform, Record, Trial, TrialResult
from guestbench.model.decoding import NOT_JSON
from guestbench.run.jobs import Failed, count_slots, make_job
from guestbench.run.plan import Task
from guestbench.run.worker import Failure, begin, make_record, trial_folder

TICK_S = 0.5
WORKER_STDERR = "worker.stderr"

Tick = Callable[[], None]
"""Called now and then while workers are waited for."""


Execute = Callable[[Iterable[Job], int, Tick], Iterator[Record]]
"""Makes trials, at most so many at a time, and yields their records as they end. A job is asked for when
there is a worker for it."""


class Made(NamedTuple):
    """A run as far as it is made: `records` grow while a pool makes trials; `started` is told of each.

    `failed` are the snapshots that could not be taken.
    """

    header: Header
    folder: Path
    records: Sequence[Record]
    failed: Failed
    started: Callable[[Trial], None]
    tick: Tick


class Pool(Protocol):
    """Where trials are made. One that makes much `at_once` is given all tasks together where that can be."""

    at_once: bool

    def count_slots(self, platform: Platform) -> int:
        """How many boots that are not timed may be made at a time."""

    def make(self, tasks: Iterable[Task], run: Made) -> Iterator[tuple[Record, ...]]:
        """Make the trials of tasks; the records that are to be kept together, as they are made.

        Raises:
            GuestbenchError: something stopped the run.
        """


class ReadyMade(GuestbenchError):
    """An error that a worker has worded already."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message, failure.hint)
        self.exit_code = failure.exit_code


def tell_killed(status: int) -> NotMade:
    """Why a trial was not made whose worker was killed: from outside, which says nothing of the guest."""
    name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
    short = " (by the kernel, if the host ran out of memory)" if -status == signal.SIGKILL else ""
    return NotMade(reason=f"the worker was killed by {name}{short}")


class _Worker:
    """A worker process and its answer so far."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._stderr_path = Path(job.folder) / trial_folder(job.trial.id) / WORKER_STDERR
        self._answer = bytearray()
        self._begun = begin()
        self._stack = ExitStack()
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        try:
            self._stderr_path.parent.mkdir(parents=True, exist_ok=True)
            stderr = self._stack.enter_context(self._stderr_path.open("wb"))
        except OSError as error:
            hint = hint_of(error, self._job.folder)
            raise StoreError(f"cannot write {self._stderr_path}: {error.strerror}", hint) from error
        # Its own session, so that Ctrl-C reaches only us: we end the worker, the kernel ends its VM.
        self._child = self._stack.enter_context(
            process.start(
                [sys.executable, "-m", "guestbench.run.worker"],
                stdin=process.PIPE,
                stdout=process.PIPE,
                stderr=stderr,
                new_session=True,
            )
        )
        if self._child.stdin is None or self._child.stdout is None:
            raise RuntimeError("the worker was started without pipes")
        self.fd = self._child.stdout.fileno()
        try:
            self._child.stdin.write(msgspec.json.encode(self._job))
            self._child.stdin.close()
        except BrokenPipeError:
            pass  # it has died, and said why on its standard error

    def read(self) -> bool:
        """Take what has come of its answer; whether that was the end of it."""
        data = os.read(self.fd, 65536)
        self._answer += data
        return not data

    def finish(self) -> Record:
        """The record of a worker whose answer is complete, or that was killed.

        Raises:
            GuestbenchError: what the worker raised, with its exit code.
            TrialError: the worker ended without an answer, as those of the other trials would.
        """
        status = self._child.wait(5.0)
        self.close()
        complaint = ""
        with suppress(OSError):  # the store tells of a folder that is gone or read-only
            complaint = process.tail_file(self._stderr_path).strip()
            if not complaint:
                self._stderr_path.unlink()
        try:
            decoded = msgspec.json.decode(self._answer, type=Record | Failure)
        except NOT_JSON as error:
            if status is not None and status < 0:
                cpu_ns = 0  # Nobody has counted it.
                return make_record(self._job, TrialResult(outcome=tell_killed(status)), self._begun, cpu_ns)
            words = complaint.splitlines()[-1] if complaint else "it said nothing"
            raise TrialError(
                f"the worker of trial {self._job.trial.id} died with status {status}: {words}",
                f"cat {shlex.quote(str(self._stderr_path))}",
            ) from error
        if isinstance(decoded, Failure):
            raise ReadyMade(decoded)
        return decoded

    def close(self) -> None:
        """End the process, if it still runs."""
        self._stack.close()


def execute_in_workers(jobs: Iterable[Job], slots: int, tick: Tick) -> Iterator[Record]:
    """Make trials in fresh processes, at most `slots` at a time; their records as they end.

    Raises:
        GuestbenchError: what a worker raised, with its exit code. The others are ended.
        TrialError: a worker ended without an answer, and was not killed.
        StoreError: the run folder cannot be written.
    """
    waiting, running = iter(jobs), dict[int, _Worker]()
    try:
        while True:
            while len(running) < slots and (job := next(waiting, None)):
                worker = _Worker(job)
                running[worker.fd] = worker
            if not running:
                return
            ready, _, _ = select.select(list(running), [], [], TICK_S)
            if not ready:
                tick()
            for fd in ready:
                if running[fd].read():
                    yield running.pop(fd).finish()
    finally:
        for worker in running.values():
            worker.close()


class Local:
    """Makes trials on this machine. See `Pool`."""

    at_once = False

    def __init__(self, execute: Execute = execute_in_workers) -> None:
        self._execute = execute

    def count_slots(self, platform: Platform) -> int:
        """As many as there are cores and memory for."""
        return count_slots(platform)

    def make(self, tasks: Iterable[Task], run: Made) -> Iterator[tuple[Record, ...]]:
        """Make timed trials one after another, and others side by side; each record by itself."""
        for timed, together in groupby(tasks, key=lambda task: task.timed):
            trials = chain.from_iterable(task.trials for task in together)
            slots = 1 if timed else self.count_slots(run.header.platform)
            for record in self._execute(self._make_jobs(trials, run), slots, run.tick):
                yield (record,)

    def _make_jobs(self, trials: Iterable[Trial], run: Made) -> Iterator[Job]:
        for trial in trials:
            run.started(trial)
            yield make_job(trial, run.header, run.folder, run.records, run.failed)


LOCAL = Local()
