"""`guestbench profile`: what it takes, and how it compares profiles that were saved."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from factories import make_run
from profiles import ROWS, make_profile

from guestbench.cli import run_cli
from guestbench.model.profile import Region
from guestbench.report.profile import render_files, render_json
from guestbench.run.store import create_store


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two saved profiles, one as `-o` leaves it, one as a file."""
    (tmp_path / "old").mkdir()
    for name, content in render_files(make_profile()).items():
        (tmp_path / "old" / name).write_bytes(content)
    grown = make_profile([*ROWS, ("ready", Region.KERNEL, "", "loop", 100_000)])
    (tmp_path / "new.json").write_bytes(render_json(grown))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_saved_profiles_are_compared(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two builds could be compared only by booting both again."""
    assert run_cli(["profile", "--diff", "old", "new.json"]) == 0
    out, err = capsys.readouterr()
    assert not err
    assert [line for line in out.splitlines() if "+100,000" in line][1].split()[2] == "loop"
    assert run_cli(["profile", "--diff", "new.json", "old", "--json"]) == 0
    (change,) = json.loads(capsys.readouterr().out)["changes"]
    assert (change["symbol"], change["old"], change["new"]) == ("loop", 100_000, 0)


def test_a_saved_profile_is_shown_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page that was lost would cost another boot, of a guest that may be gone."""
    assert run_cli(["profile", "old", "-o", "again"]) == 0
    out, err = capsys.readouterr()
    assert "memset" in out
    assert err.splitlines() == [f"again/{name}" for name in render_files(make_profile())]
    for name, content in render_files(make_profile()).items():
        assert (folder / "again" / name).read_bytes() == content


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "one SYSTEM is needed"),
        (["a", "b"], "one SYSTEM is needed"),
        (["--diff", "a"], "--diff compares two: OLD and NEW"),
        (["--diff", "old", "new.json", "-o", "out"], "--diff writes no files"),
        (["nonesuch"], "'nonesuch' is neither a file, nor a folder, nor a system of the catalogue"),
        (["--diff", "old", "bad.json"], "bad.json is no profile"),
        (["--diff", "old", "gone.json"], "'gone.json' is neither a file"),
        (["--diff", "old", "empty"], "empty is a folder without system.toml, saved profile or"),
        (["old", "--symbols", "bad.json"], "a saved profile boots nothing, and takes no --system, --as or"),
        (["empty"], "empty is a folder without system.toml, saved profile or a system's images"),
        (["floor", "--symbols", "gone"], "gone does not exist"),
        (["floor", "--symbols", "bad.json"], "bad.json is neither an ELF file nor a table of symbols"),
        (["floor", "--system", "other=x"], "--system names other, and floor is to be booted"),
        (["floor.elf", "--as", "floor", "--system", "floor=x"], "an image by itself, so that --system gives"),
        (["floor", "--system", "floor=gone"], "gone does not exist"),
        (["floor", "--system", "floor"], "'floor' is not of the form NAME=PATH"),
    ],
)
def test_bad_input_is_one_error_and_one_hint(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], error: str
) -> None:
    """A mistake on the command line would end in a traceback, or be measured all the same."""
    (folder / "bad.json").write_bytes(b"{nothing")
    (folder / "empty").mkdir()
    (folder / "floor.elf").write_bytes(b"")
    assert run_cli(["profile", *arguments]) == 2
    out, err = capsys.readouterr()
    assert not out
    first, second = err.splitlines()
    assert first.startswith("error: ") and error in first
    assert second.startswith("hint: ")


@pytest.fixture
def run_folder(folder: Path) -> Path:
    """A finished run beside the saved profiles."""
    header, records = make_run()
    with create_store(folder / "run", header) as store:
        for record in records:
            store.append(record)
    return folder / "run"


def test_profile_is_added_to_a_run_s_report(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The report of a run would not say where its instructions go."""
    assert run_cli(["report", str(run_folder)]) == 0
    assert "Where the instructions of a boot go" not in (run_folder / "report.html").read_text()
    assert run_cli(["profile", "old", "--into", "run"]) == 0
    err = capsys.readouterr().err
    assert "run/profiles/mine/profile.html\n" in err
    assert err.endswith("run/report.html\n")
    for name in ("report.html", "comparison_results.md"):
        text = (run_folder / name).read_text()
        assert "Where the instructions of a boot go" in text
        assert "memset" in text
        # No system of that name is in the run.
        assert "This run did not measure it." in text
    (run_folder / "profiles/mine/profile.json").write_text("{}")
    assert run_cli(["report", str(run_folder)]) == 0
    text = (run_folder / "comparison_results.md").read_text().replace("\\", "")
    assert "profiles/mine/profile.json is no profile" in text
    assert "memset" not in text


def test_profile_of_another_image_says_so(run_folder: Path, folder: Path) -> None:
    """A profile of another build would be read as that of the run."""
    header, _ = make_run()
    guest = next(each for each in header.guests if each.system.name == "floor")
    images = {role: image.sha256 for role, image in guest.pristine.items()}
    for same in (False, True):
        profile = make_profile(name="floor")
        if same:
            profile = msgspec.structs.replace(profile, images=images)
        (folder / "floor.json").write_bytes(render_json(profile))
        assert run_cli(["profile", "floor.json", "--into", "run"]) == 0
        text = (run_folder / "comparison_results.md").read_text()
        assert ("another image than the one that this run measured" in text) is not same
        assert "This run did not measure it." not in text


@pytest.mark.parametrize("name", ["../mine", "/etc", "..", "a\0b", ""])
def test_profile_is_written_nowhere_else(
    name: str, run_folder: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A profile from elsewhere could write files outside of the run's folder."""
    (folder / "odd.json").write_bytes(render_json(make_profile(name=name)))
    before = sorted(folder.rglob("*"))
    assert run_cli(["profile", "odd.json", "--into", "run"]) == 2
    assert "cannot be the name of a folder" in capsys.readouterr().err
    assert sorted(folder.rglob("*")) == before


def test_into_takes_a_run_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A guest would be booted for a report that is not there."""
    assert run_cli(["profile", "old", "--into", "nowhere"]) == 3
    assert "nowhere" in capsys.readouterr().err
    assert run_cli(["profile", "--diff", "old", "new.json", "--into", "run"]) == 2
    assert "--diff writes no files" in capsys.readouterr().err
