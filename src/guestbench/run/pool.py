"""Makes trials, and states, in fresh worker processes, one or several at a time; it stores nothing.

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
from typing import Any, NamedTuple, Protocol, overload

import msgspec

from guestbench.errors import GuestbenchError, HostError, StoreError, TrialError, hint_of
from guestbench.families import find_purpose
from guestbench.host import process
from guestbench.model import READY, Header, Job, NotMade, Platform, Record, State, Trial, TrialResult
from guestbench.model.decoding import NOT_JSON
from guestbench.model.run import Asked
from guestbench.run.jobs import Failed, count_slots, count_waiting, list_needed, list_states, make_job
from guestbench.run.plan import Task
from guestbench.run.state import Taken
from guestbench.run.worker import Failure, begin, make_record, trial_folder

TICK_S = 0.5
WORKER_STDERR = "worker.stderr"
GRACE_S, TRIAL_GRACE_S = 20.0, 2.0
"""How long a process that is ended may take to remove what it has made so far; a trial has made nothing."""

SOON_S = 5.0
"""A guest that is ready so soon does nothing for most of a trial that looks at it for longer."""
Tick = Callable[[], None]
"""Called now and then while workers are waited for."""


class StateMade(NamedTuple):
    """A state that is in the cache; or why it is not."""

    state: State
    error: GuestbenchError | None


Execute = Callable[[Iterable[Any], int, Tick], Iterator[Record | StateMade]]
"""Makes trials (Job) and states, at most so many at a time, and yields what comes of them as they end. One is
asked for when there is a worker for it; that there is none then does not say that none will be later."""


Ask = Callable[[Sequence[Trial]], Sequence[Task]]
"""The tasks of a search that can be begun, where these trials of it are under way."""


class Made(NamedTuple):
    """A run as far as it is made: `records` grow while a pool makes trials; `started` is told of each begun.

    `failed` are the snapshots that could not be taken.
    """

    header: Header
    folder: Path
    records: Sequence[Record]
    failed: Failed
    started: Callable[[Trial | State], None]
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

    def search(self, ask: Ask, run: Made) -> Iterator[tuple[Record, ...]]:
        """Make the trials that are asked for, and ask again, until there are none. Raises as `make`."""


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


def _name_state(state: State) -> str:
    start = f"{state.start.settle_s:g}s-{state.start.variant}" if state.start else "settled"
    return f"{state.guest.system.name}-{start}"


class _Worker:
    """A worker process and its answer so far."""

    def __init__(self, job: Job | State) -> None:
        self.job = job
        self._what = (
            f"trial {job.trial.id}" if isinstance(job, Job) else f"a state of {job.guest.system.name}"
        )
        own = trial_folder(job.trial.id) if isinstance(job, Job) else Path("states") / _name_state(job)
        self._stderr_path = Path(job.folder) / own / WORKER_STDERR
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
            hint = hint_of(error, self.job.folder)
            raise StoreError(f"cannot write {self._stderr_path}: {error.strerror}", hint) from error
        # Its own session, so that Ctrl-C reaches only us: we end the worker, the kernel ends its VM.
        self._child = self._stack.enter_context(
            process.start(
                [
                    sys.executable,
                    "-m",
                    f"guestbench.run.{'worker' if isinstance(self.job, Job) else 'state'}",
                ],
                stdin=process.PIPE,
                stdout=process.PIPE,
                stderr=stderr,
                new_session=True,
                grace_s=GRACE_S if isinstance(self.job, State) else TRIAL_GRACE_S,
            )
        )
        if self._child.stdin is None or self._child.stdout is None:
            raise RuntimeError("the worker was started without pipes")
        self.fd = self._child.stdout.fileno()
        try:
            self._child.stdin.write(msgspec.json.encode(self.job))
            self._child.stdin.close()
        except BrokenPipeError:
            pass  # it has died, and said why on its standard error

    def read(self) -> bool:
        """Take what has come of its answer; whether that was the end of it."""
        data = os.read(self.fd, 65536)
        self._answer += data
        return not data

    def finish(self) -> Record | StateMade:
        """What came of it, once its answer is complete; or what stands for that, if it was killed.

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
                if isinstance(self.job, State):
                    self._stderr_path.parent.rmdir()
                    self._stderr_path.parent.parent.rmdir()
        try:
            decoded = msgspec.json.decode(self._answer, type=Record | Failure | Taken)
        except NOT_JSON as error:
            if status is not None and status < 0:
                return self._stand_in(tell_killed(status))
            words = complaint.splitlines()[-1] if complaint else "it said nothing"
            raise TrialError(
                f"the worker of {self._what} died with status {status}: {words}",
                f"cat {shlex.quote(str(self._stderr_path))}",
            ) from error
        if isinstance(decoded, Failure):
            raise ReadyMade(decoded)
        if isinstance(decoded, Record):
            return decoded
        failure, kind = decoded.failure, TrialError if decoded.unready else HostError
        return self._tell_state(kind(failure.message, failure.hint) if failure else None)

    def _tell_state(self, error: GuestbenchError | None) -> StateMade:
        assert isinstance(self.job, State)
        return StateMade(self.job, error)

    def _stand_in(self, killed: NotMade) -> Record | StateMade:
        if isinstance(self.job, State):
            return self._tell_state(HostError(killed.reason, "free -h"))
        cpu_ns = 0  # Nobody has counted it.
        return make_record(self.job, TrialResult(outcome=killed), self._begun, cpu_ns)

    def close(self) -> None:
        """End the process, if it still runs."""
        self._stack.close()


@overload
def execute_in_workers(jobs: Iterable[Job], slots: int, tick: Tick) -> Iterator[Record]:
    """Make trials alone."""


@overload
def execute_in_workers(jobs: Iterable[Job | State], slots: int, tick: Tick) -> Iterator[Record | StateMade]:
    """Make trials and states."""


def execute_in_workers(jobs: Iterable[Job | State], slots: int, tick: Tick) -> Iterator[Record | StateMade]:
    """Make trials and states in fresh processes, at most `slots` at a time; what comes of them as they end.

    Raises:
        GuestbenchError: what a worker of a trial raised, with its exit code. The others are ended.
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
        """Make timed trials one after another, and others side by side; each record by itself.

        What they go on from is made before them, and what others of such a round do, side by side.
        """
        room = self.count_slots(run.header.platform)
        for timed, together in groupby(tasks, key=lambda task: task.timed):
            trials = tuple(chain.from_iterable(task.trials for task in together))
            states = _list_states_ahead(trials, run, timed=timed)
            if timed:
                yield from self._make_all(_Queue(states, (), run, room), room, run)
                yield from self._make_all(_Queue((), trials, run, 1), 1, run)
            else:
                most = room + count_waiting(run.header.platform)
                yield from self._make_all(_Queue(states, trials, run, room), most, run)

    def search(self, ask: Ask, run: Made) -> Iterator[tuple[Record, ...]]:
        """Make trials of a search side by side: whenever one has ended it is asked what comes next."""
        under_way: list[Trial] = []

        def start(trial: Trial) -> Job:
            under_way.append(trial)
            return _make_job(trial, run)

        jobs, slots = _Asking(lambda: ask(under_way), start), self.count_slots(run.header.platform)
        while ask(()):
            for (record,) in self._make_all(jobs, slots, run):
                under_way.remove(record.trial)
                yield (record,)

    def _make_all(self, jobs: Iterator[Job | State], slots: int, run: Made) -> Iterator[tuple[Record]]:
        for made in self._execute(jobs, slots, run.tick):
            if isinstance(jobs, _Queue):
                jobs.take(made)
            if isinstance(made, Record):
                yield (made,)
            elif made.error is not None:
                run.failed[made.state.asked] = made.error


def _list_states_ahead(trials: Sequence[Trial], run: Made, *, timed: bool) -> tuple[State, ...]:
    """What these trials go on from and has to be made, and what others of such a round do.

    Where they need nothing, what can be made beside them: disks that are to settle.
    """
    needed = next(list_states(trials, run.header, run.folder, run.failed), None) is not None
    if timed and not needed:
        return ()
    cycle = max(trial.cycle for trial in trials)
    ahead = (trial for trial in run.header.trials if trial.cycle <= cycle)
    order = [guest.system.name for guest in run.header.largest_first]
    states = [
        state
        for state in list_states(ahead, run.header, run.folder, run.failed)
        if needed or state.start is None
    ]
    return tuple(sorted(states, key=lambda state: order.index(state.guest.system.name)))


def _make_job(trial: Trial, run: Made) -> Job:
    run.started(trial)
    return make_job(trial, run.header, run.folder, run.records, run.failed)


class _Queue(Iterator[Job | State]):
    """States, and behind them trials; one that goes on from a state which is still made waits for that.

    Disks that are to settle take longest, and what is found out without a boot is known at once: those two
    come before all others. When so many are under way as there is `room` for, there is still some for trials
    that mostly wait.
    """

    def __init__(self, states: Sequence[State], trials: Sequence[Trial], run: Made, room: int) -> None:
        self._states, self._trials, self._run, self._room = list(states), list(trials), run, room
        self.under_way = {state.asked for state in states}
        self._working: set[object] = set()
        self._soon = {
            record.trial.system
            for record in run.records
            for mark in record.marks
            if mark.name == READY and mark.t_ns < SOON_S * 1e9
        }

    def take(self, made: Record | StateMade) -> None:
        """One of them has come to its end."""
        if isinstance(made, Record):
            self._working.discard(made.trial.id)
        else:
            self._working.discard(made.state.asked)
            self.under_way.discard(made.state.asked)

    def __next__(self) -> Job | State:
        for state in [state for state in self._states if state.settled in self._run.failed]:
            self._states.remove(state)
            self.under_way.discard(state.asked)
        states = [each for each in self._states if each.start is None or each.settled not in self.under_way]
        quick = (trial for trial in self._trials if not find_purpose(trial.purpose).boots)
        ready = (trial for trial in self._trials if self.under_way.isdisjoint(self._list_needed(trial)))
        to_settle = (state for state in states if state.start is None)
        if len(self._working) < self._room:
            following: State | Trial = next(chain[State | Trial](to_settle, quick, states, ready))
        else:
            following = next(trial for trial in ready if self._waits(trial))
        if isinstance(following, State):
            self._states.remove(following)
            self._working.add(following.asked)
            self._run.started(following)
            return following
        self._trials.remove(following)
        if not self._waits(following):
            self._working.add(following.id)
        return _make_job(following, self._run)

    def _waits(self, trial: Trial) -> bool:
        """Whether its guest has little to do for most of the trial."""
        return find_purpose(trial.purpose).waits and not trial.workload and trial.system in self._soon

    def _list_needed(self, trial: Trial) -> set[Asked]:
        return {state.asked for state in list_needed(trial, self._run.header, self._run.folder)}


class _Asking(Iterator[Job]):
    """Jobs of a search."""

    def __init__(self, ask: Callable[[], Sequence[Task]], start: Callable[[Trial], Job]) -> None:
        self._ask, self._start = ask, start

    def __next__(self) -> Job:
        for task in self._ask():
            return self._start(task.trials[0])
        raise StopIteration


LOCAL = Local()
