"""`guestbench history`: what people and programs read of many runs, and which runs it finds."""

from __future__ import annotations

import shlex
from pathlib import Path

import msgspec
import numpy as np
import pytest
from diff_factories import make_boots, with_metric
from msgspec.structs import replace

from golden import check_golden
from guestbench.cli import run_cli
from guestbench.report.history import HistoryDocument
from guestbench.run.store import STORE_NAME


@pytest.fixture
def nights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with twelve runs in `nights`, of a guest that got slower with the eighth."""
    random = np.random.default_rng(4)
    for number in range(1, 13):
        times = ((1.1 if number >= 8 else 1.0) * np.exp(random.normal(0, 0.01, 8))).tolist()
        header, records = make_boots({"uk": times}, f"night-{number:02}")
        tool = "0.2.0" if number > 5 else "0.1.0"
        run = replace(header, created=f"2024-01-{number:02}T02:00:00+00:00", tool=tool), records
        run = with_metric(run, "image.file", [5000 + 4096 * (number > 10)])
        folder = tmp_path / "nights" / f"{number:02}"
        folder.mkdir(parents=True)
        lines = (msgspec.json.encode(line) + b"\n" for line in (run[0], *run[1]))
        (folder / STORE_NAME).write_bytes(b"".join(lines))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("nights")
def test_text_is_the_one_that_people_read(capsys: pytest.CaptureFixture[str]) -> None:
    """The table on the terminal would change without anybody having looked at it."""
    assert run_cli(["history", "nights"]) == 0
    check_golden("history.txt", capsys.readouterr().out.encode())


@pytest.mark.usefixtures("nights")
def test_runs_are_found_at_any_depth_and_counted_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A night that is named twice would count twice, or a store that is named by itself not at all."""
    typed = ["history", ".", "nights/01", f"nights/02/{STORE_NAME}", "--json"]
    assert run_cli(typed) == 0
    history = msgspec.json.decode(capsys.readouterr().out, type=HistoryDocument).history
    assert history.runs == 12
    turns = {each.metric: [each.stages[turn.stage].run for turn in each.turns] for each in history.series}
    assert turns == {"image.file": ["night-11"], "boot.ready": ["night-08"]}


def test_a_damaged_run_is_left_out_and_named(nights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One night on a full disk would end the history of a year."""
    (nights / "nights" / "03" / STORE_NAME).write_text("x\n")
    assert run_cli(["history", "nights", "--metric", "boot.ready", "--markdown"]) == 0
    out = capsys.readouterr().out
    assert "left out: nights/03/store.jsonl:1 is damaged" in out.replace("\\", "")
    assert "# History of 11 runs" in out and "image.file" not in out


def test_the_page_has_a_plot_of_each_figure(nights: Path) -> None:
    """Whoever looks at a year of nights would have to read it as a table."""
    assert run_cli(["history", "nights", "--html", "history.html"]) == 0
    page = (nights / "history.html").read_text()
    assert page.count('<svg role="img"') == 2
    assert "uk: Boot time over the runs. +9.9" in page


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["empty"], 2, "empty holds no run"),
        (["nights", "--metric", "boot.redy"], 2, "no run has figures of boot.redy; there are the systems uk"),
        (["nights", "--only-system", "ku"], 2, "no run has figures of ku"),
        ([], 2, "Missing argument"),
        (["nights", "--html", "nowhere/x.html"], 2, "nowhere/x.html cannot be written"),
    ],
)
def test_bad_input_is_one_error_line_and_a_hint(
    nights: Path, arguments: list[str], status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip of the hand would end in a traceback, or in an empty table."""
    (nights / "empty").mkdir()
    assert run_cli(["history", *arguments]) == status
    out, err = capsys.readouterr()
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    (hint,) = [line for line in err.splitlines() if line.startswith("hint: ")]
    assert len(errors) == 1 and words in errors[0]
    assert out == "" and shlex.split(hint.removeprefix("hint: "))
