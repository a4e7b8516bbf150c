"""Shows on standard error how a run goes on; it never measures, and never starts a thread."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from guestbench.analysis.forecast import Forecast
from guestbench.families import find_family, find_hook, find_purpose
from guestbench.model import Ok, Record, State, Trial
from guestbench.page.numbers import show_duration

if TYPE_CHECKING:
    from rich.live import Live


FIRST_SILENCE_S, SILENCE_S = 1.0, 30.0
"""After so long without a line, one says what is running: sooner where none has been printed yet."""


def _is_planned(trial: Trial) -> bool:
    """Whether the trial was known when the run began, so that it counts."""
    return not find_purpose(trial.purpose).search


def describe_trial(trial: Trial) -> str:
    """Which trial it is, for a line of progress."""
    size = f" with {trial.memory_mib} MiB" if trial.memory_mib else ""
    what = find_purpose(trial.purpose).title or trial.purpose
    what = f"{what} {trial.workload}" if trial.workload else what
    return f"{trial.system} {what} {trial.cycle}{size}"


def describe_state(state: State) -> str:
    """What is made before trials that wait for it, for a line of progress."""
    name = state.guest.system.name
    if state.start is None:
        return f"settling {name}: its disk is booted once before it is measured"
    return f"booting {name} for a snapshot that trials go on from"


def describe_left(forecast: Forecast, running_s: float = 0.0) -> str:
    """The time left as text, `at least` where some kind of trial has not been seen yet."""
    seconds, unknown = forecast.count_seconds()
    if unknown and not seconds:
        return "time left not known yet"
    return f"{'at least ' if unknown else ''}{show_duration(max(0.0, seconds - running_s))} left"


def describe_record(record: Record) -> str:
    """What came of a trial, in one line of printable text."""
    name = describe_trial(record.trial)
    purpose = find_purpose(record.trial.purpose)
    if not isinstance(record.outcome, Ok) and not purpose.search:
        return f"{name}: FAILED: {record.outcome.reason}"
    describe = find_hook(find_family(purpose.name).name, "plan", "describe")
    return f"{name}: {(describe(record) if describe else '') or 'done'}"


class PlainProgress:
    """A line for each finished trial, and one for what is running where nothing was said for a while."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._running: dict[str, str] = {}
        self._said, self._silence_s = time.monotonic(), FIRST_SILENCE_S
        self._total = self._done = 0
        self._forecast = Forecast(())

    def begin(self, trials: Sequence[Trial], done: Sequence[Record]) -> None:
        """Start counting."""
        self._total, self._done = len(trials), sum(_is_planned(record.trial) for record in done)
        self._forecast = Forecast(trials)
        for record in done:
            self._forecast.learn(record)

    def trial_started(self, trial: Trial) -> None:
        """Remember it: its line comes when it ends."""
        self._running[trial.id] = describe_trial(trial)

    def state_started(self, state: State) -> None:
        """Print it: nothing else would come for a while."""
        self._print(describe_state(state))

    def _print(self, line: str, style: str = "") -> None:
        print(line, file=self._stream, flush=True)

    def tick(self) -> None:
        """Say what is running, if nothing has been said for long."""
        if not self._running or time.monotonic() - self._said < self._silence_s:
            return
        self._said, self._silence_s = time.monotonic(), SILENCE_S
        print(f"running: {', '.join(self._running.values())}", file=self._stream, flush=True)

    def trial_finished(self, record: Record) -> None:
        """Print what came of it and the time left."""
        self._running.pop(record.trial.id, None)
        self._said, self._silence_s = time.monotonic(), SILENCE_S
        line = self._take(record)
        left = f"; {describe_left(self._forecast)}" if self._done < self._total else ""
        self._print(f"{line}{left}")

    def show(self, summary: str) -> None:
        """Print what is known so far."""
        print(f"\n{summary}", file=self._stream, flush=True)

    def _take(self, record: Record) -> str:
        """Count the record; returns the line for it. Trials of a search have no number: how many is open."""
        if not _is_planned(record.trial):
            return f"[search] {describe_record(record)}"
        self._done += 1
        self._forecast.learn(record)
        return f"[{self._done}/{self._total}] {describe_record(record)}"


class LiveProgress(PlainProgress):
    """The same lines, and below them what is known so far, the running trial and the time left."""

    def __init__(self, live: Live) -> None:
        super().__init__(sys.stderr)
        self._live = live
        self._summary = ""
        self._trial: Trial | None = None
        self._since = 0.0

    def trial_started(self, trial: Trial) -> None:
        """Show the trial."""
        self._trial, self._since = trial, time.monotonic()
        self.tick()

    def tick(self) -> None:
        """Redraw."""
        if self._trial is not None:
            running_s = time.monotonic() - self._since
            trial = self._trial
            number, left = "[search]", ""
            if _is_planned(trial):
                number = f"[{self._done + 1}/{self._total}]"
                left = f"; {describe_left(self._forecast, running_s)}"
            self._draw(f"{number} {describe_trial(trial)}: running for {show_duration(running_s)}{left}")

    def show(self, summary: str) -> None:
        """Show it instead of the one before."""
        self._summary = summary
        self.tick()

    def _draw(self, line: str) -> None:
        from rich.text import Text

        text = Text(f"{self._summary}{line}", no_wrap=True, overflow="ellipsis")
        self._live.update(text, refresh=True)

    def _print(self, line: str, style: str = "") -> None:
        """Print it above the live line."""
        from rich.text import Text

        self._live.console.print(Text(line, style=style))

    def trial_finished(self, record: Record) -> None:
        """Print what came of it above the live line."""
        good = isinstance(record.outcome, Ok) or not _is_planned(record.trial)
        self._print(self._take(record), "" if good else "bold red")
        self._trial = None
        self._draw(describe_left(self._forecast))


@contextmanager
def show_progress() -> Iterator[PlainProgress]:
    """Give the Progress that fits standard error; rich honours NO_COLOR by itself."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield PlainProgress(sys.stderr)
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        yield LiveProgress(live)
