"""Reports while a run goes on: when they are made, and when not."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from factories import make_run
from silent_progress import SilentProgress
from steered import make_steered

from guestbench.families import find_purpose
from guestbench.model import Job, Record
from guestbench.report import HTML_NAME
from guestbench.run import partial
from guestbench.run.partial import PartialReports
from guestbench.run.pool import Local
from guestbench.run.store import create_store
from guestbench.run.trials import make_trials


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """The folder of a run of which a third is made."""
    header, records = make_run()
    with create_store(tmp_path / "run", header) as store:
        for record in records[:21]:
            store.append(record)
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first report is due at once."""
    monkeypatch.setattr(partial, "FIRST_S", 0.0)


def test_a_report_is_made_and_its_summary_handed_on(stored: Path) -> None:
    """Terminal and page would stay empty until the end."""
    shown: list[str] = []
    reports = PartialReports(stored, shown.append)
    reports.offer(21)
    reports.wait()
    (summary,) = shown
    lines = summary.splitlines()
    assert lines[0].startswith("system") and "45.97 ± 0.86 s" in summary
    assert lines[-1].startswith("partial: 21 of 60 planned trials; to come: boot time (39 trials)")
    assert "data-stamp" in (stored / HTML_NAME).read_text("utf-8")
    reports.offer(22)
    assert not reports.poll(), "another one so soon would take more than its share"


class FakeChild:
    """A report that takes four seconds, by a clock of the test's."""

    def __init__(self, now: list[float]) -> None:
        self.now, self.ends = now, now[0] + 4.0
        self.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "rb")

    def poll(self) -> int | None:
        """Whether it has ended."""
        return 0 if self.now[0] >= self.ends else None

    def cpu_ns(self) -> int:
        """It waits rather than works."""
        return 10**8


@pytest.mark.parametrize("timed", [True, False])
def test_reports_take_a_small_share_of_the_run(
    stored: Path, monkeypatch: pytest.MonkeyPatch, timed: bool
) -> None:
    """A run of short blocks would spend its time on reports, or one of sizes have none for minutes."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    @contextmanager
    def start(*_: object, **__: object) -> Iterator[FakeChild]:
        yield FakeChild(now)

    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=sleep)
    monkeypatch.setattr(partial, "time", clock)
    monkeypatch.setattr(partial, "process", SimpleNamespace(start=start, PIPE=-1))
    shown: list[float] = []
    reports = PartialReports(stored, lambda _: shown.append(now[0]))
    for trials in range(1, 3601):
        reports.offer(trials)
        if timed:
            reports.wait()
        else:
            reports.poll()
        sleep(1.0)
    share = len(shown) * 4.0 / now[0]
    assert partial.SHARE * 0.8 < share < partial.SHARE * 1.1 if timed else share > 0.15
    gaps = [after - before for before, after in pairwise(shown)]
    assert min(gaps) >= partial.LEAST_S


def test_a_report_that_hangs_is_given_up(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that has no time for reports would have no run either."""
    hangs = stored / "hangs"
    hangs.write_text("#!/bin/sh\nexec sleep 600\n")
    hangs.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(hangs))
    monkeypatch.setattr(partial, "LONGEST_S", 0.5)
    reports = PartialReports(stored, lambda _: pytest.fail("there is none"))
    reports.offer(21)
    assert reports.poll()
    began = time.monotonic()
    reports.wait()
    assert time.monotonic() - began < 30
    reports.close()


class Watching:
    """Reports that take until somebody waits, and what was made meanwhile."""

    def __init__(self) -> None:
        self.making = False
        self.offered: list[int] = []
        self.made: list[Record] = []

    def offer(self, made: int) -> None:
        """Begin one."""
        assert made == len(self.made)
        self.making = True
        self.offered.append(len(self.made))

    def poll(self) -> None:
        """Time goes by."""

    def wait(self) -> None:
        """End it."""
        self.making = False


def test_no_report_is_made_beside_or_within_what_is_timed(tmp_path: Path) -> None:
    """Boots of one block would be measured beside a report, and of another not."""
    header, records = make_steered("ci=2.5%", 0.05)
    known = {record.trial.id: record for record in records}
    reports = Watching()

    def execute(jobs: Iterable[Job], _: int, __: Callable[[], None]) -> Iterator[Record]:
        for job in jobs:
            assert not (job.purpose.timed and reports.making)
            reports.made.append(known[job.trial.id])
            yield known[job.trial.id]

    with create_store(tmp_path / "run", header) as store:
        make_trials(store, header, (), SilentProgress(), Local(execute), reports=reports)
    blocks = [record.trial.block for record in reports.made]
    assert all(find_purpose(record.trial.purpose).timed for record in reports.made if record.trial.block)
    ends = [place for place in range(1, len(blocks)) if blocks[place] != blocks[place - 1]]
    assert ends and set(ends) <= set(reports.offered)
    inside = {place for place in range(1, len(blocks)) if blocks[place] == blocks[place - 1] != 0}
    assert not inside & set(reports.offered)
