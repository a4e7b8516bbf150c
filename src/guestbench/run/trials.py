"""Makes the trials of a run one after another and stores each record as it comes; it computes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Protocol

from guestbench.analysis.budget import may_search
from guestbench.analysis.stopping import find_steered, trim
from guestbench.families import find_hook
from guestbench.model import Header, Record, State, Trial, Wanted
from guestbench.run.jobs import Failed
from guestbench.run.plan import Task, list_tasks, plan_more
from guestbench.run.pool import LOCAL, Made, Pool
from guestbench.run.store import Store


class Progress(Protocol):
    """Something that shows how a run goes on."""

    def begin(self, trials: Sequence[Trial], done: Sequence[Record]) -> None:
        """A run of `trials` starts or goes on; `done` holds what an earlier process has finished."""

    def trial_started(self, trial: Trial) -> None:
        """A trial starts."""

    def state_started(self, state: State) -> None:
        """A state that trials wait for is being made."""

    def tick(self) -> None:
        """Time has gone by."""

    def trial_finished(self, record: Record) -> None:
        """A trial has ended and its record is stored."""


class Reports(Protocol):
    """Something that makes reports of what is stored so far, in a process of its own."""

    def offer(self, made: int) -> None:
        """Nothing that is timed runs, and so many trials are made: one may be begun."""

    def poll(self) -> object:
        """Time has gone by."""

    def wait(self) -> None:
        """Something timed is to begin: none may be in the making."""


def make_trials(
    store: Store,
    header: Header,
    done: Sequence[Record],
    progress: Progress,
    pool: Pool = LOCAL,
    *,
    reports: Reports | None = None,
) -> tuple[Record, ...]:
    """Make every trial of the run that `done` does not hold, storing each as it ends; all records in order.

    `reports` are made beside trials that are not timed, and between the rounds of those that are.

    Raises:
        GuestbenchError: something stopped the run; what was finished is in the store.
    """
    records = list(done)
    needed = _Needed(header, records)
    progress.begin(needed.header.trials, done)
    making = _Making(store, header, records, progress, pool, reports)
    for together in _group(tuple(list_tasks(header.trials, done)), header, at_once=pool.at_once):
        if needed.look_before(together[0].trials[0]):
            progress.begin(needed.header.trials, records)
        if needed.holds(together[0].trials[0]):
            making.make(together)
    for family in header.experiment.metrics:
        if follow_up := find_hook(family, "plan", "follow_up"):
            making.search(follow_up)
    return tuple(records)


class _Making:
    """A run in the making: `records` grow as trials end and are stored."""

    def __init__(
        self,
        store: Store,
        header: Header,
        records: list[Record],
        progress: Progress,
        pool: Pool,
        reports: Reports | None,
    ) -> None:
        self._store, self._header, self._records, self._progress = store, header, records, progress
        self._pool, self._reports = pool, reports
        self._failed: Failed = {}

    def make(self, tasks: Sequence[Task]) -> None:
        """Make the trials of tasks, all of which are timed, or none."""
        timed = tasks[0].timed
        if self._reports and self._records and timed:
            if _begins_round(tasks[0].trials[0], self._records[-1].trial):
                self._reports.offer(len(self._records))
            self._reports.wait()
        self._keep(self._pool.make(tasks, self._tell(timed=timed)), timed=timed)

    def search(self, follow_up: Callable[[Header, Sequence[Record], int], Sequence[Wanted]]) -> None:
        """Make trials of a search, none of which is timed, until there is nothing more to try."""
        slots = self._pool.count_slots(self._header.platform)

        def ask(under_way: Sequence[Trial]) -> tuple[Task, ...]:
            if not may_search(self._header, self._records):
                return ()
            wanted = follow_up(self._header, self._records, slots)
            return tuple(list_tasks(plan_more(self._header, wanted, self._records, under_way), self._records))

        self._keep(self._pool.search(ask, self._tell(timed=False)), timed=False)

    def _tell(self, *, timed: bool) -> Made:
        def tick() -> None:
            self._progress.tick()
            if self._reports and not timed:
                self._reports.poll()
                self._reports.offer(len(self._records))

        def started(what: Trial | State) -> None:
            if isinstance(what, Trial):
                self._progress.trial_started(what)
            else:
                self._progress.state_started(what)

        folder = self._store.path.parent
        return Made(self._header, folder, self._records, self._failed, started, tick)

    def _keep(self, all_made: Iterable[Sequence[Record]], *, timed: bool) -> None:
        for made in all_made:
            self._store.append(*made)
            for record in made:
                self._records.append(record)
                self._progress.trial_finished(record)
            if self._reports and not timed:
                self._reports.offer(len(self._records))


def _group(tasks: Sequence[Task], header: Header, *, at_once: bool) -> Iterator[Sequence[Task]]:
    """The tasks with those together that are made side by side; `at_once`, all where nothing is looked at."""
    by_round = header.budget is not None
    if tasks and at_once and header.until is None and not by_round:
        yield tasks
        return
    for (timed, *_), alike in groupby(tasks, lambda task: (task.timed, by_round and task.trials[0].round)):
        together = list(alike)
        yield from [[task] for task in together] if timed else [together]


def _begins_round(trial: Trial, before: Trial) -> bool:
    """Whether a trial belongs to another round than the one before it."""
    return (trial.round, trial.block, trial.cycle) != (before.round, before.block, before.cycle)


class _Needed:
    """Which trials are needed by the rule of the run and its budget, as of the last look."""

    def __init__(self, header: Header, records: Sequence[Record]) -> None:
        self._planned, self._records = header, records
        self._looked = self._round = 0
        self._steered = find_steered(header, counted=False)
        self._take(trim(header, records))

    def _take(self, header: Header) -> None:
        self.header = header
        self._ids = {trial.id for trial in header.trials}

    def holds(self, trial: Trial) -> bool:
        """Whether the trial is to be made."""
        return trial.id in self._ids

    def look_before(self, trial: Trial) -> bool:
        """Look, if this is the first trial of a round, or after so many blocks; whether others are needed."""
        rule, blocks = self.header.until, trial.block - 1
        steers = rule is not None and trial.purpose in self._steered and self.holds(trial)
        if rule is not None and steers and blocks in rule.looks and blocks > self._looked:
            self._looked = blocks
        elif self.header.budget is None or trial.round == self._round:
            return False
        self._round, before = trial.round, self._ids
        self._take(trim(self._planned, self._records))
        return self._ids != before
