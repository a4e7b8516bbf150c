"""`guestbench artifact --check`: what was changed in an artifact is found, whatever it is."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from artifacts import LOG, copy_recorded, edit, pack, read_members, repack

from guestbench.artifact import check
from guestbench.artifact.archive import Member
from guestbench.artifact.parts import find_makers
from guestbench.cli import run_cli


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the recorded run."""
    return pack(copy_recorded(tmp_path_factory.mktemp("recorded")))


@pytest.fixture
def members(packed: Path) -> dict[str, Member]:
    """What is in it, by the paths in the artifact."""
    return read_members(packed)


def drop(path: str) -> Callable[[dict[str, Member]], None]:
    """A change that leaves a file out."""
    return lambda members: members.pop(path) and None


def add(members: dict[str, Member]) -> None:
    """A file that nobody packed."""
    members["run/trials/999/serial.txt"] = Member(b"[init done]")
    members["extra.md"] = Member(b"# Better\n")


RESULTS = "run/results.json"
CHANGES = {
    "a mean": (edit(RESULTS, '"mean": 0.383', '"mean": 0.283'), f"{RESULTS}: summaries[hello boot.ready]"),
    "a verdict": (edit(RESULTS, '"inconclusive"', '"smaller"'), "and ought to be 'inconclusive'"),
    "a value": (edit("run/results.csv", "0.", "0.1"), "run/results.csv: "),
    "a ruling": (edit("artifact.json", '"undecided"', '"confirmed"'), "ought to be 'undecided'"),
    "a time": (edit("artifact.json", '"elapsed_s": ', '"elapsed_s": 1'), "times.elapsed_s is 1"),
    "a sentence": (edit("README.md", "seconds", "days"), "README.md: line "),
    "the page": (edit("run/report.html", "</title>", "!</title>"), "run/report.html: line "),
    "blanks": (edit(RESULTS, "{\n", "{ \n"), f"{RESULTS}: line 1 is '{{ ', and ought to be '{{'"),
    "a number": (edit(RESULTS, '"mean": 0.383', f'"mean": {"9" * 400}'), f"{RESULTS}: cannot be read"),
    "no JSON": (edit(RESULTS, "{\n", "[[[\n"), f"{RESULTS}: cannot be read"),
    "the script": (edit("reproduce.sh", "exec ", "exec sudo "), "reproduce.sh: line "),
    "the experiment": (edit("experiment.toml", "cycles = 10", "cycles = 1"), "experiment.toml: line "),
    "a version": (edit("environment.json", '"numpy": "', '"numpy": "1'), "environment.json: is not the file"),
    "the evidence": (edit(LOG, "what", "that"), f"{LOG}: is not the file that SHA256SUMS has"),
    "a digest": (edit("SHA256SUMS", "  run/store", "  run/other"), "run/store.jsonl: is not the file"),
    "a trial": (edit("run/store.jsonl", '"value":0.2', '"value":0.1'), f"{RESULTS}: "),
    "no report": (drop("run/report.html"), "run/report.html: is not there"),
    "no evidence": (drop(LOG), f"{LOG}: is not the file"),
    "more": (add, "extra.md: is no part of the artifact"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_was_changed_is_found(
    name: str, members: dict[str, Member], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A figure that nobody measured would be taken for one that follows from the records."""
    change, words = CHANGES[name]
    change(members)
    path = repack(tmp_path, members)
    capsys.readouterr()
    assert run_cli(["artifact", "--check", str(path)]) == 1
    out, err = capsys.readouterr()
    assert words in out
    error, hint = [line for line in err.splitlines() if not line.startswith(("note:", "making"))]
    assert "is not what follows from its records" in error
    assert hint == f"hint: guestbench artifact --check {shlex.quote(str(path))} -o unpacked"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guestbench of other code."""
    makers = msgspec.structs.replace(find_makers(), code="f" * 64)
    monkeypatch.setattr(check, "find_makers", lambda: makers)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (edit("README.md", "seconds", "moments"), 0),
        (edit("run/report.html", "</title>", "!</title>"), 0),
        (edit("run/results.json", '"title": "', '"title": "New '), 0),
        (edit("run/results.json", '"mean": 0.3833', '"mean": 0.3834'), 1),
        (edit("run/results.csv", ",0.3", ",0.4"), 1),
        (edit("run/results.json", '"inconclusive"', '"smaller"'), 1),
        (edit("artifact.json", '"undecided"', '"confirmed"'), 1),
        (edit("artifact.json", '"elapsed_s": ', f'"elapsed_s": {"9" * 400}'), 1),
    ],
)
@pytest.mark.usefixtures("elsewhere")
def test_another_version_compares_figures_and_not_words(
    change: Callable[[dict[str, Member]], None],
    status: int,
    members: dict[str, Member],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An artifact could be checked in the year of its paper alone, or a wrong figure pass in the next."""
    change(members)
    capsys.readouterr()
    assert run_cli(["artifact", "--check", str(repack(tmp_path, members))]) == status
    out, err = capsys.readouterr()
    assert "note: packed by guestbench" in err and "(ffffffffffff)" in err
    assert status or re.search(r"9 are the same byte for byte, and 11\d{3} of 11\d{3} values", out)


@pytest.mark.usefixtures("elsewhere")
def test_values_that_are_not_there_are_counted_by_another_version_too(
    members: dict[str, Member], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of figures could be emptied, and all that is left of it be called the same."""
    for name in ("run/results.json", "artifact.json"):
        members[name] = Member(b"{}")
    capsys.readouterr()
    assert run_cli(["artifact", "--check", str(repack(tmp_path, members))]) == 0
    found = re.search(r"and (\d+) of (\d+) values", capsys.readouterr().out)
    assert found and int(found[1]) < int(found[2]) / 3


@pytest.mark.usefixtures("elsewhere")
def test_the_last_digits_of_other_libraries_are_no_difference(
    members: dict[str, Member], tmp_path: Path
) -> None:
    """Every artifact would fail its check on the next processor."""
    text = members["run/results.json"].data.decode()
    found = re.search(r'"mean": (0\.\d{12,})', text)
    assert found
    for factor, status in ((1 + 1e-13, 0), (1 + 1e-7, 1)):
        changed = f'"mean": {float(found[1]) * factor!r}'
        members["run/results.json"] = Member(text.replace(found[0], changed, 1).encode())
        assert run_cli(["artifact", "--check", str(repack(tmp_path, members))]) == status


@pytest.mark.parametrize("sources", ["[[]]", "[", f"[{'9' * 400}]"])
def test_a_damaged_list_of_versions_is_one_error_line(
    sources: str, members: dict[str, Member], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A damaged archive would end in a traceback."""
    edit("environment.json", '"sources": []', f'"sources": {sources}')(members)
    capsys.readouterr()
    assert run_cli(["artifact", "--check", str(repack(tmp_path, members))]) == 2
    error, _ = capsys.readouterr().err.splitlines()
    assert "environment.json in it is damaged: " in error
