"""Boot times from recorded serial logs."""

from __future__ import annotations

from pathlib import Path

import pytest
from replay import make_guest, make_header, make_system, write_recording

from guestbench.model import Experiment, Record
from guestbench.run.jobs import make_job
from guestbench.run.worker import run_trial

LOG = [(80.0, b"SeaBIOS"), (110.0, b"Powered by\r\n"), (1500.0, b"[init done")]
EXPERIMENT = Experiment(name="test", title="Test", systems=("tiny",), metrics=("boot",), cycles=1, warmups=0)


def measure(folder: Path, chunks: list[tuple[float, bytes]]) -> Record:
    """The record of a boot that goes so."""
    header = make_header((make_guest(make_system(), write_recording(folder, chunks)),), EXPERIMENT)
    (trial,) = header.trials
    return run_trial(make_job(trial, header, folder))


def test_a_boot_gives_its_time_its_milestones_and_what_the_vmm_took(tmp_path: Path) -> None:
    """A figure of the main table would be missing, or be that of another moment."""
    record = measure(tmp_path, [*LOG, (1702.25, b"]\r\n")])
    values = {(s.metric, s.labels.get("mark")): s.value for s in record.samples}
    assert values == {
        ("boot.ready", None): pytest.approx(1.70225),
        ("boot.mark", "first byte"): pytest.approx(0.08),
        ("boot.mark", "banner"): pytest.approx(0.110),
        ("boot.mark", "ready"): pytest.approx(1.70225),
        ("boot.cpu", None): pytest.approx(1.70225 / 2),
    }


def test_a_guest_that_does_not_get_ready_has_no_boot_time(tmp_path: Path) -> None:
    """The time of a boot that failed would be averaged with the others."""
    record = measure(tmp_path, LOG)
    assert record.samples == ()
    assert [mark.name for mark in record.marks] == ["first byte", "banner"]
