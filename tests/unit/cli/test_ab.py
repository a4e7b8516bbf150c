"""`guestbench ab` and `bisect` on the replaying VMM: what they take, what they decide, and how they go on."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from git_history import git, make_history
from in_process import in_process
from replay import write_recording
from silent_progress import SilentProgress

from guestbench.cli import bisect, run_cli
from guestbench.run.pool import Local
from guestbench.run.store import STORE_NAME, read_store
from guestbench.run.trials import make_trials

FAKE = ("--set", "platform.vmm=fake")
SYSTEM = """
name = "mine"
title = "A guest"
family = "unikernel"
ready = "[init done]"
timeout_s = 2
[boot]
type = "kernel"
[provision]
path = "serial.log"
hint = "none"
"""
SMALL, LARGE, HANGING = b"ab [init done]", b"abcdefgh [init done]", b"ab"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with three versions of a guest: a small one, a larger one, and one that hangs."""
    for name, text in (("small", SMALL), ("large", LARGE), ("hanging", HANGING)):
        write_recording(tmp_path / name, [(100.0, text)])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # What workers do is tested elsewhere; hundreds of them take minutes to start.
    monkeypatch.setattr(make_trials, "__defaults__", (Local(in_process),))
    return tmp_path


def interrupt_after(monkeypatch: pytest.MonkeyPatch, trials: int) -> None:
    """Have Ctrl-C pressed when so many trials have ended."""
    finished = 0

    def interrupt(*_: object) -> None:
        nonlocal finished
        finished += 1
        if finished == trials:
            raise KeyboardInterrupt

    monkeypatch.setattr("guestbench.run.progress.PlainProgress.trial_finished", interrupt)


def ab(old: str, new: str, *options: str, cycles: int = 6) -> int:
    """The exit status of a comparison into the folder `out`."""
    versions = [f"{each}/serial.log" for each in (old, new)]
    asked = ["--as", "mirage-unikraft", *FAKE, "--cycles", f"{cycles}", "-o", "out"]
    return run_cli(["ab", *versions, *asked, *options])


def test_both_versions_and_the_null_guest_are_in_the_same_blocks(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A host that slows down between two runs would count against the second version."""
    assert ab("small", "large") == 0
    header, records = read_store(project / "out")
    assert [system.name for system in header.systems] == ["floor", "old", "new"]
    assert header.experiment.baseline == "old"
    boots = [record.trial for record in records if record.trial.block]
    assert [sum(trial.system == name for trial in boots) for name in ("old", "new")] == [6, 6]
    for block in range(1, 7):
        assert {trial.system for trial in boots if trial.block == block} == {"floor", "old", "new"}
    out = capsys.readouterr().out
    assert "gate boot.ready>5%: " in out
    assert "gate failures: passed" in out
    assert "old: 0 of 6 failed" in out
    assert "out/comparison_results.md" in out


def test_a_version_that_hangs_fails_without_any_gate_being_named(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CI would let through a commit after which the guest no longer boots."""
    assert ab("small", "hanging") == 1
    err = capsys.readouterr().err
    assert "error: 2 of 3 decisions: gate boot.ready>5%: failed" in err
    assert "6 of 6 failed" in err


def test_an_old_version_that_never_boots_is_no_pass(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A broken baseline would let everything through."""
    assert ab("hanging", "small") == 4
    assert "error: no boot of OLD succeeded" in capsys.readouterr().err


def test_gates_decide_the_exit_status_and_are_written_as_junit(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CI would not stop a change that the user will not have, or not show it."""
    gates = ["--fail-on", "image.file>0%", "--fail-on", "boot.ready>50%", "--junit", "gates.xml"]
    assert ab("small", "large", *gates) == 1
    assert "image.file" in capsys.readouterr().err
    suite = Xml.parse(project / "gates.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")


def test_other_gates_judge_a_finished_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever forgot a gate would have to measure again."""
    assert ab("small", "large") == 0
    before = (project / "out" / STORE_NAME).read_bytes()
    assert run_cli(["ab", "--resume", "out", "--fail-on", "image.file>0%"]) == 1
    assert run_cli(["ab", "--resume", "out", "--fail-on", "image.fil>0%"]) == 2
    assert (project / "out" / STORE_NAME).read_bytes() == before


def test_an_interrupted_run_goes_on_with_its_gates(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C would cost all that was measured, or the gates be forgotten."""
    interrupt_after(monkeypatch, 9)
    assert ab("small", "large", "--fail-on", "image.file>0%") == 130
    monkeypatch.setattr("guestbench.run.progress.PlainProgress.trial_finished", SilentProgress.trial_finished)
    hint = capsys.readouterr().err.splitlines()[-1].removeprefix("hint: ")
    assert len(read_store(project / "out")[1]) == 9
    assert run_cli(shlex.split(hint)[1:]) == 1
    header, records = read_store(project / "out")
    assert len(records) == len(header.trials)


def test_a_rule_that_ends_the_run_decides_how_gates_are_judged(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Looking five times would stop twice as many commits that changed nothing as looking once."""
    assert ab("small", "large", "--until", "verdict", "--json", cycles=12) == 0
    found = json.loads(capsys.readouterr().out)["diff"]
    header, _ = read_store(project / "out")
    assert header.until is not None
    assert found["new"][0]["missing"] == 0
    assert found["alpha"] == header.until.alpha < 0.05


def test_the_same_file_twice_is_said_to_be(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever gives one file twice by mistake would read that nothing changed."""
    assert ab("small", "small") == 0
    assert "the same file: this is an A/A run" in capsys.readouterr().err


def test_json_is_the_only_thing_on_stdout(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A script could not read what was found."""
    assert ab("small", "large", "--json") == 0
    found = json.loads(capsys.readouterr().out)["diff"]
    assert found["paired"]
    (ready,) = (
        each["comparison"] for each in found["changes"] if each["comparison"]["metric"] == "boot.ready"
    )
    assert (ready["method"], ready["n"]) == ("blocks", 6)


def test_folders_with_a_definition_are_versions(project: Path) -> None:
    """A version that boots in another way could not be compared with the one before."""
    for name in ("small", "large"):
        (project / name / "system.toml").write_text(SYSTEM)
    assert run_cli(["ab", "small", "large", *FAKE, "--cycles", "2", "-o", "out"]) == 0
    header, _ = read_store(project / "out")
    paths = [Path(image.path) for name in ("old", "new") for image in header.find_guest(name).images.values()]
    assert paths == [project / "small/serial.log", project / "large/serial.log"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["small/serial.log"], "OLD and NEW are needed"),
        (["linux-app", "nowhere"], "'nowhere' is neither a file, nor a folder, nor a system"),
        (["small/serial.log", "large/serial.log"], "is an image of no system of the catalogue: "),
        (["small/serial.log", "small/serial.log", "--as", "mirage"], "unknown system"),
        (["HEAD", "HEAD", "--build", "make"], "--build and --image need one another"),
        (["HEAD", "HEAD", "--build", "make", "--image", "image"], "is in no git repository"),
        (["a", "b", "--fail-on", "boot.ready"], "is not of the form"),
        (["a", "b", "--fail-on", "boots.ready>5%"], "there is no boots"),
        (["a", "b", "--metrics", "image", "--fail-on", "boot.ready>5%"], "which --metrics leaves out"),
        (["a", "b", "--resume", "out"], "takes no versions"),
    ],
)
def test_what_cannot_be_compared_is_one_error_and_a_hint(
    arguments: list[str], said: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever mistypes would be told late, or in a traceback."""
    assert run_cli(["ab", *arguments]) == 2
    err = capsys.readouterr().err
    (error,) = (line for line in err.splitlines() if line.startswith("error: "))
    assert said in error
    assert err.splitlines()[-1].startswith("hint: ")
    assert not (project / "results").exists()


# --- revisions ----------------------------------------------------------------------------------------

OPTIONS = ("--build", "sh build.sh", "--image", "out", *FAKE)


def make_repository(folder: Path, texts: list[bytes], broken: Mapping[int, str] | None = None) -> list[str]:
    """A repository of a guest whose console says these texts; commits in `broken` have another build."""
    commits = []
    for number, text in enumerate(texts):
        build = (broken or {}).get(number, "mkdir out && cp guest/* out")
        files = {"guest/system.toml": SYSTEM, "guest/serial.log": text.decode(), "build.sh": build}
        commits.append(files)
    return make_history(folder, commits)


def test_revisions_are_built_and_compared(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever asks whether a commit made boot slower would have to build both versions by hand."""
    hashes = make_repository(project / "repository", [SMALL, LARGE])
    monkeypatch.chdir(project / "repository")
    (project / "repository" / "build.sh").write_text("exit 1")
    gate = ["--fail-on", "image.file>0%"]
    assert run_cli(["ab", "HEAD~1", "HEAD", *OPTIONS, *gate, "--cycles", "2", "-o", "../out"]) == 1
    assert "what is not committed is no part of any revision" in capsys.readouterr().err
    header, _ = read_store(project / "out")
    for name, commit in (("old", hashes[0]), ("new", hashes[1])):
        assert header.find_guest(name).origin.detail.startswith(f"commit {commit} (Change ")
        assert list((project / "out" / "builds").glob(f"{commit[:12]}-*/build.log"))
    assert len(git(Path(), "worktree", "list").splitlines()) == 1


def test_a_revision_that_does_not_build_is_one_error(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason would have to be looked for in pages of a compiler's output."""
    make_repository(project / "repository", [SMALL, LARGE], {1: "echo no compiler; exit 2"})
    monkeypatch.chdir(project / "repository")
    assert run_cli(["ab", "HEAD~1", "HEAD", *OPTIONS]) == 3
    err = capsys.readouterr().err
    assert "error: HEAD (" in err
    assert "its build ended with status 2: no compiler" in err


def test_bisect_finds_the_commit_and_goes_on_where_it_was(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An interrupted search would measure and build everything again."""
    hashes = make_repository(project / "repository", [SMALL] * 4 + [LARGE] * 4, {2: "exit 1"})
    monkeypatch.chdir(project / "repository")
    monkeypatch.setattr("guestbench.analysis.bisection.LOOKS", (2, 4))
    asked = ["bisect", hashes[0], "main", *OPTIONS, "--fail-on", "image.file>0%", "--state", "../state"]
    keep, kept = bisect._Measuring.keep, 0

    def interrupt(measuring: bisect._Measuring, state: object) -> None:
        nonlocal kept
        keep(measuring, state)  # type: ignore[arg-type]
        kept += 1
        if kept == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(bisect._Measuring, "keep", interrupt)
    assert run_cli(asked) == 130
    assert "interrupted; every finished step is kept" in capsys.readouterr().err
    stores = {path: path.read_bytes() for path in (project / "state").rglob(STORE_NAME)}
    assert run_cli([*asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["commits"] == [hashes[4]]
    assert all(path.read_bytes() == content for path, content in stores.items())
    assert run_cli([*asked, "--fail-on", "failures"]) == 2
    assert "holds a bisection that was asked something else" in capsys.readouterr().err


def test_bisect_goes_on_with_a_run_that_was_interrupted(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C would cost the blocks of the step that was under way."""
    hashes = make_repository(project / "repository", [SMALL, LARGE])
    monkeypatch.chdir(project / "repository")
    monkeypatch.setattr("guestbench.analysis.bisection.LOOKS", (2, 4))
    asked = ["bisect", hashes[0], "main", *OPTIONS, "--fail-on", "image.file>0%", "--state", "../state"]
    asked += ["--metrics", "image,boot"]
    interrupt_after(monkeypatch, 4)
    assert run_cli(asked) == 130
    hint = capsys.readouterr().err.splitlines()[-1].removeprefix("hint: ")
    (store,) = (project / "state").rglob(STORE_NAME)
    before = store.read_bytes()
    assert len(read_store(store.parent)[1]) == 4
    monkeypatch.setattr("guestbench.run.progress.PlainProgress.trial_finished", SilentProgress.trial_finished)
    assert run_cli(shlex.split(hint)[1:]) == 0
    assert store.read_bytes().startswith(before)
    assert hashes[1] in capsys.readouterr().out


def test_bisect_tells_a_range_and_what_was_passed_over(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A commit that was never measured would be blamed."""
    hashes = make_repository(project / "repository", [SMALL, SMALL, LARGE, LARGE], {2: "exit 1"})
    monkeypatch.chdir(project / "repository")
    monkeypatch.setattr("guestbench.analysis.bisection.LOOKS", (2, 4))
    assert run_cli(["bisect", "HEAD~3", "HEAD", *OPTIONS, "--fail-on", "image.file>0%"]) == 0
    out = capsys.readouterr().out
    assert "It cannot be decided between these 2 commits" in out
    assert all(each in out for each in hashes[2:])
    assert f"{hashes[2][:12]} was passed over" in out


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        (["HEAD", "HEAD~1"], "HEAD does not come before HEAD~1"),
        (["HEAD~1", "HEAD"], "HEAD shows nothing against HEAD~1"),
    ],
)
def test_bisect_refuses_what_has_nothing_to_be_found(
    ends: list[str],
    said: str,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Hours would be spent on commits of which none is to blame."""
    make_repository(project / "repository", [SMALL, SMALL])
    monkeypatch.chdir(project / "repository")
    monkeypatch.setattr("guestbench.analysis.bisection.LOOKS", (2, 4))
    assert run_cli(["bisect", *ends, *OPTIONS, "--fail-on", "image.file>0%"]) == 2
    assert said in capsys.readouterr().err
