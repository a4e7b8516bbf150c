"""Tells how far a run is from its folder alone, while another process makes it or when nobody does."""

from __future__ import annotations

import time
from pathlib import Path

from guestbench.analysis.budget import may_search
from guestbench.analysis.forecast import Forecast
from guestbench.analysis.partial import find_to_come
from guestbench.analysis.stopping import trim
from guestbench.model import Frozen, ToCome
from guestbench.run.pool import WORKER_STDERR
from guestbench.run.progress import describe_trial
from guestbench.run.store import is_held, read_store
from guestbench.run.worker import trial_folder


class Running(Frozen):
    """A trial that is being made, in words, and for how long it has been."""

    trial: str
    what: str
    seconds: float


class Status(Frozen):
    """How far a run is: `state` is running, stopped or finished.

    `seconds` is what the rest takes one after the other, as far as the like of its trials was made;
    `at_least` says that there are others, of which that is not known.
    """

    run: str
    state: str
    made: int
    planned: int
    running: tuple[Running, ...]
    to_come: tuple[ToCome, ...]
    seconds: float
    at_least: bool


def read_status(folder: Path) -> Status:
    """How far the run in a folder is.

    Raises:
        StoreError: there is none, or it cannot be read.
    """
    held = is_held(folder)
    header, records = read_store(folder)
    header = trim(header, records)
    to_come = find_to_come(header, records, searches=may_search(header, records))
    done = {record.trial.id for record in records}
    missing = [trial for trial in header.trials if trial.id not in done]
    forecast = Forecast(missing)
    for record in records:
        forecast.learn(record)
    seconds, unknown = forecast.count_seconds()
    planned = {trial.id: describe_trial(trial) for trial in header.trials}
    running = []
    for said in sorted((folder / trial_folder("x")).parent.glob(f"*/{WORKER_STDERR}")) if held else ():
        name = said.parent.name
        if name not in done:
            since = max(0.0, time.time() - said.stat().st_mtime)
            running.append(Running(trial=name, what=planned.get(name, name), seconds=since))
    return Status(
        run=header.run,
        state="running" if held else "stopped" if to_come else "finished",
        made=len(header.trials) - len(missing),
        planned=len(header.trials),
        running=tuple(running),
        to_come=to_come,
        seconds=seconds,
        at_least=bool(unknown) or any(each.search for each in to_come),
    )
