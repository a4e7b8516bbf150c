"""Images of git revisions, built in checkouts of their own."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from git_history import git, make_history

from guestbench.errors import UsageError
from guestbench.provision.revisions import LOG_NAME, BuildFailed, Repository, read_recipe

RECIPE = read_recipe("sh build.sh 'two words'", "out/image.bin")
BUILD = 'mkdir out && cat source > out/image.bin && echo "built $1" && pwd'


@pytest.fixture
def history(tmp_path: Path) -> tuple[Path, list[str]]:
    """A repository with a commit that builds, one that does not, and one that builds another image."""
    commits = [
        {"source": "one", "build.sh": BUILD},
        {"build.sh": "echo first; echo 'no compiler \x1b[31mhere' >&2; exit 3"},
        {"source": "two", "build.sh": BUILD},
        {"build.sh": "true"},
    ]
    return tmp_path / "repository", make_history(tmp_path / "repository", commits)


def build(repository: Path, revision: str, folder: Path) -> Path:
    """Build a revision into a folder."""
    found = Repository(repository)
    return found.build(found.find_commit(revision), RECIPE, folder, lambda _: None)


def test_each_revision_has_its_own_image_and_log(history: tuple[Path, list[str]], tmp_path: Path) -> None:
    """A version would be measured against itself, or its build could not be looked into."""
    repository, hashes = history
    (repository / "source").write_text("not committed")
    images = [build(repository, each, tmp_path / each) for each in ("HEAD~1", hashes[0])]
    assert [image.read_text() for image in images] == ["two", "one"]
    log = (images[0].parent.with_name(LOG_NAME)).read_text()
    assert log.startswith("built two words\n")
    assert str(repository) not in log
    assert (repository / "source").read_text() == "not committed"


def test_a_folder_of_a_repository_is_built_in_that_folder(tmp_path: Path) -> None:
    """A guest that is one part of a repository could not be built."""
    repository = tmp_path / "repository"
    make_history(repository, [{"guests/mine/source": "deep", "guests/mine/build.sh": BUILD}])
    assert build(repository / "guests" / "mine", "main", tmp_path / "built").read_text() == "deep"


@pytest.mark.parametrize(
    ("revision", "said"),
    [("HEAD~2", "status 3: first / no compiler \\x1b[31mhere"), ("HEAD", "left no out/image.bin")],
)
def test_a_build_that_fails_is_told_with_its_last_lines(
    revision: str, said: str, history: tuple[Path, list[str]], tmp_path: Path
) -> None:
    """Whoever's commit does not build would have to guess which, and why."""
    with pytest.raises(BuildFailed) as told:
        build(history[0], revision, tmp_path / "built")
    assert told.value.message.startswith(f"{revision} (")
    assert said in told.value.message
    assert Path(told.value.hint.split()[-1]).is_file()


@pytest.mark.parametrize("revision", ["HEAD~3", "HEAD~2"])
def test_no_checkout_is_left(revision: str, history: tuple[Path, list[str]], tmp_path: Path) -> None:
    """The user's repository would gather worktrees, and the disk fill."""
    with contextlib.suppress(BuildFailed):
        build(history[0], revision, tmp_path / "built")
    assert len(git(history[0], "worktree", "list").splitlines()) == 1


def test_no_checkout_is_left_by_a_build_that_is_interrupted(
    history: tuple[Path, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C would leave a worktree, and git refuse to delete its branch."""
    monkeypatch.setattr("guestbench.provision.revisions._run_build", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        build(history[0], "HEAD", tmp_path / "built")
    assert len(git(history[0], "worktree", "list").splitlines()) == 1


def _interrupt(*_: object) -> int:
    raise KeyboardInterrupt


def test_an_image_that_is_there_is_not_built_again(history: tuple[Path, list[str]], tmp_path: Path) -> None:
    """A search that goes on would build for an hour what it had."""
    first = build(history[0], "HEAD~1", tmp_path / "built")
    before = first.stat().st_mtime_ns
    log = first.parent.with_name(LOG_NAME)
    os.utime(log, (0, 0))
    assert build(history[0], "HEAD~1", tmp_path / "built").stat().st_mtime_ns == before
    assert log.stat().st_mtime == 0


def test_an_image_of_another_command_is_built_anew(history: tuple[Path, list[str]], tmp_path: Path) -> None:
    """A version would be measured that was built in another way than the one that is told."""
    build(history[0], "HEAD~1", tmp_path / "built")
    found = Repository(history[0])
    other = read_recipe("sh -c 'mkdir out && echo other > out/image.bin'", "out/image.bin")
    image = found.build(found.find_commit("HEAD~1"), other, tmp_path / "built", lambda _: None)
    assert image.read_text() == "other\n"


def test_hooks_of_the_user_do_not_run(history: tuple[Path, list[str]], tmp_path: Path) -> None:
    """A hook that deploys, or asks a question, would be run for each commit that is tried."""
    hook = history[0] / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    build(history[0], "HEAD~1", tmp_path / "built")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("command", "image", "said"),
    [
        ("", "image", "--build is empty"),
        ("make 'x", "image", "No closing quotation"),
        ("make", "/etc/passwd", "not a path inside"),
        ("make", "../image", "not a path inside"),
    ],
)
def test_what_cannot_be_a_build_is_refused(command: str, image: str, said: str) -> None:
    """A slip of the pen would be told after the first checkout, or a file of the host be measured."""
    with pytest.raises(UsageError, match=said):
        read_recipe(command, image)


@pytest.mark.parametrize("revision", ["nowhere", "--all", "HEAD~99", "HEAD:source"])
def test_what_is_no_commit_is_refused(revision: str, history: tuple[Path, list[str]]) -> None:
    """git's own words about its arguments would be all that the user is told."""
    with pytest.raises(UsageError, match="is no commit of this repository"):
        Repository(history[0]).find_commit(revision)


def test_a_folder_without_repository_is_refused(tmp_path: Path) -> None:
    """The error would be that of a command that the user never typed."""
    with pytest.raises(UsageError, match="is in no git repository"):
        Repository(tmp_path)
