"""What is said of a run while it goes on."""

from __future__ import annotations

import msgspec
from work_factories import make_report, make_work_run, work_record

from guestbench.run.progress import Forecast, describe_record, describe_trial


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
    assert forecast.describe() == "2 min 50 s left"
