"""`guestbench calibrate` on the real QEMU: what is planted is recovered, and a guest equals itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from guestbench.cli import run_cli

pytestmark = pytest.mark.qemu


def test_what_is_planted_is_recovered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The instruments would be off by an amount that no report tells."""
    folder = tmp_path / "run"
    assert run_cli(["calibrate", "--blocks", "3", "-o", str(folder), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    found = {each["metric"]: each for each in results["recoveries"]}
    delays, memory = found["calibration.ready"], found["calibration.touched"]
    # On a busy host single boots are late by more than what is planted; the interval then says so.
    covered = delays["interval"]["low"] <= 1 <= delays["interval"]["high"]
    assert 0.8 <= delays["slope"] <= 1.2 or covered
    assert memory["slope"] == pytest.approx(1, abs=0.001)
    same = [each for each in results["known_ratios"] if each["expected"] == 1]
    assert {each["system"] for each in same} == {"floor", "reference-unikernel"}
    assert all(each["n"] == 3 and each["interval"] and each["told"] for each in same)
    stamps = [each["value"] for each in results["samples"] if each["metric"] == "calibration.stamp"]
    assert len(stamps) == 6
    assert min(stamps) > -0.001
    assert results["host"] and "cpu_policy" in results
    report = (folder / "comparison_results.md").read_text()
    assert "By that scatter this host tells differences of" in report
