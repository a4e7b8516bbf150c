"""What is said of a run while it goes on."""

from __future__ import annotations

import io

import msgspec
import pytest
from work_factories import make_report, make_work_run, work_record

from guestbench.analysis.forecast import Forecast
from guestbench.model import Start, State
from guestbench.run.progress import PlainProgress, describe_left, describe_record, describe_trial


def test_progress_says_what_work_took() -> None:
    """Whoever waits for a run would not see what it does."""
    record = work_record("debian", [make_report("cpu", seconds=2.345)], workload="cpu", cycle=2)
    assert describe_trial(record.trial) == "debian work cpu 2"
    assert describe_record(record) == "debian work cpu 2: cpu 2.35 s"
    idle = work_record("mirage")
    assert describe_record(idle) == "mirage work 1: it does no such work"
    _, records = make_work_run()
    lines = [describe_record(each) for each in records]
    assert "debian net 1: done" in lines
    assert "debian cross-check iperf3-in 1: done" in lines
    assert any(line.startswith("linux-app work cpu 2: FAILED: cpu was killed") for line in lines)


def test_the_time_left_is_known_for_each_workload_apart() -> None:
    """A workload of minutes would be forecast from one of seconds."""
    kinds = [("debian", "cpu"), ("debian", "memory"), ("mirage", "")]
    records = [
        work_record(system, workload=workload, cycle=cycle) for cycle in (1, 2) for system, workload in kinds
    ]
    forecast = Forecast([record.trial for record in records])
    for seconds, record in zip((10, 60, 100), records[:3], strict=True):
        forecast.learn(msgspec.structs.replace(record, wall_ns=seconds * 10**9))
    assert describe_left(forecast) == "2 min 50 s left"


def test_log_says_what_is_running_where_nothing_ends_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a log, a run of minutes would begin with minutes of silence."""
    header, records = make_work_run()
    now = [100.0]
    monkeypatch.setattr("guestbench.run.progress.time.monotonic", lambda: now[0])
    log = io.StringIO()
    progress = PlainProgress(log)
    progress.begin(header.trials, ())
    progress.trial_started(records[0].trial)
    for waited, lines in ((0.5, 0), (0.6, 1), (20.0, 1), (11.0, 2)):
        now[0] += waited
        progress.tick()
        assert log.getvalue().count("running: ") == lines
    assert log.getvalue().splitlines()[0] == f"running: {describe_trial(records[0].trial)}"
    for start in (None, Start()):
        progress.state_started(
            State(guest=header.guests[0], platform=header.platform, start=start, folder="", parent_pid=1)
        )
    assert log.getvalue().splitlines()[2:] == [
        "settling floor: its disk is booted once before it is measured",
        "booting floor for a snapshot that trials go on from",
    ]
    progress.trial_finished(records[0])
    now[0] += 100.0
    progress.tick()
    assert log.getvalue().count("running: ") == 2
