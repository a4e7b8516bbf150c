"""A family of another package, which nothing here knows: planned, measured, stored, reported and compared."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from replay import write_recording

from guestbench.run.store import read_store

PACKAGE = Path(__file__).parents[3] / "examples" / "package" / "chatter"
ENTRY_POINT = "[guestbench.families]\nchatter = chatter\n"
EXPERIMENT = """
name = "mine"
title = "My comparison"
systems = ["./guests/quiet", "./guests/loud"]
metrics = ["chatter"]
baseline = "quiet"
[chatter]
boots = 4
[platform]
vmm = "fake"
"""
SYSTEM = """
name = "{name}"
title = "The {name} guest"
family = "unikernel"
ready = "[init done]"
timeout_s = 2
[boot]
type = "kernel"
[provision]
path = "images/{name}/serial.log"
"""
BOTH = {"chatter.bytes", "chatter.lines"}


def guestbench(folder: Path, *arguments: str, status: int = 0) -> tuple[str, str]:
    """The command in a process of its own, with the package installed; its standard output and error."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "site"), "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "guestbench", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout, done.stderr


def record_guests(folder: Path, more: str = "") -> None:
    """Guests, one of which prints `more` after it is ready."""
    for name, said in (("quiet", "one\n"), ("loud", "one\ntwo\nthree\n" * 20)):
        lines = [(1.0, said.encode()), (5.0, b"[init done]"), (50.0, f"{more}\n".encode())]
        write_recording(folder / "images" / name, lines)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working folder with the package, an experiment, and two runs: in the second, guests print more."""
    folder = tmp_path_factory.mktemp("own")
    shutil.copytree(PACKAGE, folder / "site" / "chatter", ignore=shutil.ignore_patterns("__pycache__"))
    info = folder / "site" / "chatter-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: chatter\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINT)
    for name in ("quiet", "loud"):
        (folder / "guests" / name).mkdir(parents=True)
        (folder / "guests" / name / "system.toml").write_text(SYSTEM.format(name=name))
    (folder / "mine.toml").write_text(EXPERIMENT)
    record_guests(folder)
    guestbench(folder, "run", "./mine.toml", "-o", "before")
    record_guests(folder, more="a few words more")
    guestbench(
        folder, "run", "./mine.toml", "-o", "after", "--metrics", "chatter", "--set", "chatter.boots=5"
    )
    yield folder


def test_it_is_listed_with_its_settings(folder: Path) -> None:
    """Nobody could find out that the package is there, or what can be set."""
    said = " ".join(guestbench(folder, "run", "--help")[0].split())
    assert "calibration Calibration chatter Chatter" in said
    assert "chatter.boots=3 Boots of each system." in said
    assert "chatter.after_s=1.0 How long after ready it is listened to." in said


def test_a_mistake_in_its_table_is_told_like_any_other(folder: Path) -> None:
    """A slip in the settings of a package would end in a traceback, or be taken for a setting."""
    text = EXPERIMENT.replace("boots = 4", "boots = 0\nbotos = 1")
    (folder / "wrong.toml").write_text(text)
    _, said = guestbench(folder, "run", "./wrong.toml", status=2)
    assert "[chatter] boots: at least 1 is needed, found 0" in said
    assert "[chatter] botos: unknown key; did you mean boots?" in said


def test_its_trials_are_planned_and_made_and_kept(folder: Path) -> None:
    """A package could say what it measures, and nothing would measure it."""
    for run, boots in (("before", 4), ("after", 5)):
        header, records = read_store(folder / run)
        assert header.experiment.settings["chatter"] == {"boots": boots, "after_s": 1.0}
        assert {metric.name for metric in header.metrics} == BOTH
        assert [record.trial.purpose for record in records] == ["listen"] * 2 * boots
        values = {(r.trial.system, s.metric, *s.labels.values()): s.value for r in records for s in r.samples}
        assert values["loud", "chatter.lines", "booting"] == 60
        assert values["loud", "chatter.lines", "ready"] == 1
    assert values["quiet", "chatter.bytes"] == len("one\n[init done]a few words more\n")


def test_its_figures_are_in_what_programs_read(folder: Path) -> None:
    """A program that reads results would have to be told of the package."""
    with (folder / "before" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["metric"] for row in rows} == BOTH
    assert {row["unit"] for row in rows if row["metric"] == "chatter.lines"} == {"lines"}
    results = json.loads((folder / "before" / "results.json").read_text())
    assert {summary["metric"] for summary in results["summaries"]} == BOTH
    assert {each["metric"] for each in results["comparisons"]} == {"chatter.bytes"}


def test_its_figures_are_in_what_people_read(folder: Path) -> None:
    """A package's figures would be measured and never shown."""
    report = (folder / "before" / "comparison_results.md").read_text()
    page = (folder / "before" / "report.html").read_text()
    for text in (report, page):
        assert "Bytes printed" in text and "Lines printed" in text
        assert "Line ends among them" in text
    table, _ = guestbench(folder, "report", "before")
    assert "system printed quiet 16 bytes loud 292 bytes" in " ".join(table.split())


def test_runs_are_compared_in_its_figures_and_gates_hold_them(folder: Path) -> None:
    """A change for the worse in what a package measures would pass every gate."""
    found = json.loads(guestbench(folder, "diff", "before", "after", "--json")[0])["diff"]
    assert {change["comparison"]["metric"] for change in found["changes"]} == {"chatter.bytes"}
    gate = ("--fail-on", "chatter.bytes>5%")
    _, said = guestbench(folder, "diff", "before", "after", *gate, status=1)
    assert "chatter.bytes" in said
    guestbench(folder, "diff", "before", "before", *gate)


def test_progress_says_what_it_measured(folder: Path) -> None:
    """Whoever waits for a run would see that a trial is over, and not what came of it."""
    _, said = guestbench(folder, "run", "./mine.toml", "-o", "third")
    assert "quiet listen 1: 32 bytes printed" in said
