"""Shares tasks out over the workers of several hosts, and has made again what was lost with a worker."""

from __future__ import annotations

import asyncio
import queue
import shlex
import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import msgspec

from guestbench.errors import HostError, StoreError, TrialError
from guestbench.model import Frozen, Header, Record
from guestbench.run import remote
from guestbench.run.jobs import find_brief
from guestbench.run.plan import Task
from guestbench.run.pool import TICK_S, Made
from guestbench.run.worker import trial_folder

LOOK_S = 1.0
LATE_S = 0.2
LOST_S = 60.0
"""How long what is left may wait for its host, where nothing else goes on."""
MOST_TRIES = 5
AHEAD = 1
"""So many trials wait at a worker for a core, so that it need not wait for them."""
TRIES = "tries.jsonl"
LOST = (OSError, asyncio.CancelledError)
"""What is raised where an answer cannot be had."""


class Try(Frozen):
    """What was made of a task by a worker that was lost: kept, and made again as a whole. Times are UTC."""

    trials: tuple[str, ...]
    host: str
    worker: str
    number: int
    began: str
    lost: str
    records: tuple[Record, ...]


@dataclass
class Worker:
    """A worker of the host of that digest, with room for `slots` trials; `running` are keys of questions."""

    address: str
    host: str
    cores: float
    slots: int
    running: set[str] = field(default_factory=set)


@dataclass
class Attempt:
    """A task that a worker is about, for the `number`th time; `records` are what it has told so far."""

    task: Task
    worker: Worker
    future: Any
    number: int
    began: str
    records: list[Record] = field(default_factory=list)


class Crew(Protocol):
    """Workers that can be asked. `attempts` are by the key of their future, `ended` holds keys."""

    on: str
    header: Header | None
    workers: dict[str, Worker]
    attempts: dict[str, Attempt]
    tries: dict[tuple[str, ...], int]
    ended: queue.SimpleQueue[str]
    looked: float

    def submit(self, address: str, question: remote.Question, cores: float = 0) -> Any:
        """Ask the worker at that address; a future of the answer, with a key."""

    def read(self, future: Any, where: str) -> remote.Answer:
        """The answer. Raises what is in `LOST` where it cannot be had."""

    def look(self) -> None:
        """See which workers there are now."""


class Dispatch:
    """Which host makes what, of tasks that are all timed or all not."""

    def __init__(self, crew: Crew, tasks: Iterable[Task], run: Made) -> None:
        self._crew, self._run = crew, run
        first = next(source := iter(tasks), None)
        self._timed = first is not None and first.timed
        self._source = chain([first] if first else [], source)
        self._again: deque[Task] = deque()
        self._queues: dict[str, deque[Task]] = defaultdict(deque)
        self._bound: dict[str, str] = {}
        self._alive = time.monotonic()

    def go(self) -> Iterator[tuple[Record, ...]]:
        """Have all made; the records of each task together.

        Raises:
            HostError: the host that is needed, or every one, is gone.
            TrialError: the workers of one task are lost again and again.
        """
        crew = self._crew
        try:
            while True:
                self._fill()
                if not crew.attempts:
                    waiting = self._again or any(self._queues.values())
                    if not waiting and not crew.workers:
                        waiting = self._peek()
                    if not waiting:
                        return
                    self._check_alive()
                else:
                    self._alive = time.monotonic()
                yield from self._wait()
                if time.monotonic() - crew.looked > LOOK_S:
                    crew.look()
                    self._give_up_lost()
        finally:
            for attempt in crew.attempts.values():
                attempt.future.cancel()
            crew.attempts.clear()

    def _peek(self) -> bool:
        task = next(self._source, None)
        if task is not None:
            self._again.append(task)
        return task is not None

    def _check_alive(self) -> None:
        if time.monotonic() - self._alive > LOST_S:
            missing = ", ".join(host[:16] for host, tasks in self._queues.items() if tasks) or "every host"
            raise HostError(
                f"what is left can be made on no worker of {self._crew.on}: {missing} is gone",
                f"guestbench doctor --on {self._crew.on}",
            )

    def _fill(self) -> None:
        """Give every worker as much as it has room for, those with most room first."""
        workers = self._crew.workers
        idle = dict(workers)
        while idle:
            address = min(idle, key=lambda each: len(workers[each].running) / workers[each].slots)
            worker = idle[address]
            if not self._has_room(worker) or (task := self._next_for(worker.host)) is None:
                del idle[address]
                continue
            self._start(task, worker)

    def _has_room(self, worker: Worker) -> bool:
        if not self._timed:
            return len(worker.running) < worker.slots + AHEAD
        mine = [other for other in self._crew.workers.values() if other.host == worker.host]
        return not any(other.running for other in mine)

    def _next_for(self, host: str) -> Task | None:
        here = {worker.host for worker in self._crew.workers.values()}
        while not self._queues[host]:
            task = self._again.popleft() if self._again else next(self._source, None)
            if task is None:
                return None
            home = task.host if task.host and task.timed else self._bound.get(task.group) or task.host
            if not home or (home not in here and not (task.host and task.timed)):
                home = host
            if task.group and not task.timed:
                self._bound[task.group] = home
            self._queues[home].append(task)
        return self._queues[host].popleft()

    def _start(self, task: Task, worker: Worker) -> None:
        crew, run = self._crew, self._run
        if crew.header is None:
            raise RuntimeError("a fleet makes trials of a run that it was told of")
        ids = tuple(trial.id for trial in task.trials)
        crew.tries[ids] += 1
        if crew.tries[ids] > MOST_TRIES:
            raise TrialError(
                f"the workers that made {ids[0]} were lost {MOST_TRIES} times",
                f"less {shlex.quote(str(run.folder / TRIES))}",
            )
        for trial in task.trials:
            run.started(trial)
        briefs = {trial.id: find_brief(trial, run.header, run.records) for trial in task.trials}
        asked = remote.Make(header=crew.header, trials=task.trials, briefs=briefs, timed=task.timed)
        future = crew.submit(
            worker.address, asked, worker.cores if task.timed else worker.cores / worker.slots
        )
        worker.running.add(future.key)
        crew.attempts[future.key] = Attempt(
            task=task, worker=worker, future=future, number=crew.tries[ids], began=_now()
        )
        future.add_done_callback(lambda ended: crew.ended.put(ended.key))

    def _wait(self) -> Iterator[tuple[Record, ...]]:
        crew = self._crew
        try:
            key = crew.ended.get(timeout=TICK_S)
        except queue.Empty:
            self._run.tick()
            return
        attempt = crew.attempts.get(key)
        if attempt is None:
            return  # given up meanwhile
        try:
            said = crew.read(attempt.future, attempt.worker.address)
        except LOST:
            # Either the next look finds its worker gone, or its answer is only late.
            crew.ended.put(key)
            time.sleep(LATE_S)
            return
        del crew.attempts[key]
        attempt.worker.running.discard(key)
        made = said.records if isinstance(said, remote.Trials) else ()
        asked = sorted(trial.id for trial in attempt.task.trials)
        if not isinstance(said, remote.Trials) or not asked == sorted(said.files) == _ids(made):
            told = f"the worker at {attempt.worker.address} gave the answer to another question"
            raise HostError(told, f"guestbench doctor --on {crew.on}")
        self._keep_files(said.files)
        yield made

    def _keep_files(self, files: dict[str, dict[str, bytes]]) -> None:
        for trial, left in files.items():
            folder = self._run.folder / trial_folder(trial)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                for name, data in left.items():
                    (folder / Path(name).name).write_bytes(data)
            except OSError as error:
                raise self._unwritable(folder, error) from error

    def _give_up_lost(self) -> None:
        """Have what lost workers were about made again, and keep what they had told."""
        crew = self._crew
        for key, attempt in list(crew.attempts.items()):
            if attempt.worker.address in crew.workers:
                continue
            del crew.attempts[key]
            attempt.future.cancel()
            self._again.append(attempt.task)
            lost = Try(
                trials=tuple(trial.id for trial in attempt.task.trials),
                host=attempt.worker.host,
                worker=attempt.worker.address,
                number=attempt.number,
                began=attempt.began,
                lost=_now(),
                records=tuple(attempt.records),
            )
            self._keep_try(lost)
        here = {worker.host for worker in crew.workers.values()}
        for host in self._queues.keys() - here:
            kept = deque(task for task in self._queues[host] if task.host and task.timed)
            self._again.extend(task for task in self._queues[host] if not (task.host and task.timed))
            self._queues[host] = kept

    def _keep_try(self, lost: Try) -> None:
        try:
            with (self._run.folder / TRIES).open("ab") as file:
                file.write(msgspec.json.encode(lost) + b"\n")
        except OSError as error:
            raise self._unwritable(self._run.folder / TRIES, error) from error

    def _unwritable(self, path: Path, error: OSError) -> StoreError:
        hint = f"df -h {shlex.quote(str(self._run.folder))}"
        return StoreError(f"cannot write {path}: {error.strerror}", hint)


def _ids(records: Iterable[Record]) -> list[str]:
    return sorted(record.trial.id for record in records)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
