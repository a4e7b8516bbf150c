"""Reports of a run that goes on, or was stopped, on a real QEMU."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from guestbench.cli import run_cli
from guestbench.families import find_purpose
from guestbench.host import process
from guestbench.report import HTML_NAME, JSON_NAME, MARKDOWN_NAME, STAMP_NAME
from guestbench.run import partial
from guestbench.run.progress import PlainProgress
from guestbench.run.store import STORE_NAME, read_store

pytestmark = pytest.mark.qemu

SYSTEMS = ("floor", "reference-unikernel")
FIRST_BLOCK = 2 + 2 + 3
"""Trials up to the end of it: images, warm-ups, and a boot of each with the floor's twin."""


def arguments(folder: Path, cycles: int) -> list[str]:
    """A run of both systems."""
    only = [word for name in SYSTEMS for word in ("--only-system", name)]
    settings = ["--accel", "tcg", "--set", "platform.memory_mib=64", "--cycles", str(cycles)]
    return ["run", "seed", "--metrics", "image,boot", *only, *settings, "-o", str(folder)]


def test_reports_come_while_the_run_goes_on_and_beside_no_timed_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first figure would come with the last, or reports take time from what is measured."""
    folder = tmp_path / "run"
    busy: list[tuple[float, float]] = []
    seen: list[tuple[int, dict[str, Any], str]] = []

    @contextmanager
    def start(argv: list[str], **options: Any) -> Iterator[process.Child]:
        begun = time.time()
        with process.start(argv, **options) as child:
            yield child
        busy.append((begun, time.time()))

    def show(progress: PlainProgress, summary: str) -> None:
        results = json.loads((folder / JSON_NAME).read_bytes())
        seen.append((len(results["trials"]), results, (folder / HTML_NAME).read_text("utf-8")))
        shown(progress, summary)

    shown = PlainProgress.show
    monkeypatch.setattr(PlainProgress, "show", show)
    monkeypatch.setattr(
        "guestbench.run.partial.process", type("Fake", (), {"start": start, "PIPE": process.PIPE})
    )
    monkeypatch.setattr(partial, "FIRST_S", 0.0)
    monkeypatch.setattr(partial, "LEAST_S", 0.0)
    monkeypatch.setattr(partial, "SHARE", 1.0)
    assert run_cli(arguments(folder, 4)) == 0
    header, records = read_store(folder)
    timed = [each for each in records if find_purpose(each.trial.purpose).timed]
    for record in timed:
        begun = datetime.fromisoformat(record.started).timestamp()
        ended = begun + record.wall_ns / 1e9
        assert all(end < begun or ended < start for start, end in busy), record.trial.id
    counts = [count for count, _, _ in seen]
    assert len(seen) >= 3 and counts == sorted(set(counts))
    for count, results, page in seen[:-1]:
        assert f"partial: {count} of {len(header.trials)} planned trials" in page
        assert "data-stamp" in page
        assert results["to_come"]
        assert not [each for each in results["comparisons"] if each["verdict"] in ("smaller", "larger")]
    assert "data-stamp" not in (folder / HTML_NAME).read_text("utf-8")
    assert json.loads((folder / JSON_NAME).read_bytes())["to_come"] == []
    assert not (folder / STAMP_NAME).exists() and not list(folder.glob(".*"))
    told = capsys.readouterr().err
    assert told.count("system ") >= 3 and "to come: boot time" in told


def stop(folder: Path, number: signal.Signals) -> str:
    """A run that gets a signal after its first block; what it has said."""
    argv = [sys.executable, "-m", "guestbench", *arguments(folder, 100)]
    with (folder.parent / "stderr").open("wb") as words, process.start(argv, stderr=words) as child:
        deadline = time.monotonic() + 120
        store = folder / STORE_NAME
        while not store.exists() or store.read_bytes().count(b"\n") <= FIRST_BLOCK:
            assert time.monotonic() < deadline and child.poll() is None
            time.sleep(0.1)
        os.kill(child.pid, number)
        assert child.wait(60) == (-9 if number is signal.SIGKILL else 130)
    return (folder.parent / "stderr").read_text("utf-8")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_a_report_worth_reading(tmp_path: Path, number: signal.Signals) -> None:
    """An hour of measuring would leave lines of JSON, or a page that waits for more for ever."""
    folder = tmp_path / "run"
    words = stop(folder, number)
    if number is signal.SIGKILL:
        process.run([sys.executable, "-m", "guestbench", "report", folder])
    else:
        assert f"what was found so far: {folder / HTML_NAME}" in words
    report, page = ((folder / name).read_text("utf-8") for name in (MARKDOWN_NAME, HTML_NAME))
    assert "**The run is not complete** (partial: " in report
    assert "`guestbench run --resume .` makes the rest" in report
    assert "| Boot time " in report and "`reference-unikernel`" in report
    assert "data-stamp" not in page and not (folder / STAMP_NAME).exists()
    results = json.loads((folder / JSON_NAME).read_bytes())
    assert {each["system"] for each in results["summaries"] if each["metric"] == "boot.ready"} == {*SYSTEMS}
