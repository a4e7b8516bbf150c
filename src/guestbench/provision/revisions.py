"""Builds the image of a revision in a git repository, in a worktree of its own; it never touches the user's.

The command is a list of arguments and no shell sees it. What it prints is kept in a log beside the image, so
that a build which fails can be looked into after its worktree is gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import shlex
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from guestbench.errors import HostError, ToolFailed, UsageError, hint_of
from guestbench.host import process
from guestbench.model import Commit, Frozen, Say
from guestbench.provision.cache import scratch
from guestbench.text import visible

LOG_NAME = "build.log"
LINES_TOLD = 5
"""How many of a failed build's last lines are told."""


class BuildFailed(HostError):
    """A revision could not be built, or left no image."""


class Recipe(Frozen):
    """How an image is made of a checkout: the command, and where the image lies then, both in its folder."""

    command: tuple[str, ...]
    image: str

    def name(self, commit: Commit) -> str:
        """What the folder of a build is called: that of another command, or another image, is another."""
        digest = hashlib.sha256(repr((self.command, self.image)).encode()).hexdigest()
        return f"{commit.short}-{digest[:8]}"

    def describe(self, commit: Commit) -> str:
        """Of which commit an image is, and how it was made."""
        return f"commit {commit.hash} ({commit.subject}), built by {shlex.join(self.command)}"


def read_recipe(command: str, image: str) -> Recipe:
    """The recipe that the user typed.

    Raises:
        UsageError: the command is empty, its quotes do not match, or the image lies outside of the checkout.
    """
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise UsageError(f"--build {command!r}: {error}", "guestbench ab --help") from None
    if not words:
        raise UsageError("--build is empty", "guestbench ab --help")
    if Path(image).is_absolute() or ".." in Path(image).parts:
        raise UsageError(
            f"--image {visible(image)} is not a path inside of the repository", "guestbench ab --help"
        )
    return Recipe(command=words, image=image)


class Repository:
    """The git repository around a folder; `prefix` is the folder's path in it.

    Raises:
        UsageError: there is none.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self.prefix = self._ask("rev-parse", "--show-prefix").strip()
        except ToolFailed:
            raise UsageError(f"{folder} is in no git repository", f"git -C {folder} status") from None

    def _ask(self, *arguments: str) -> str:
        # A hook of the user's is not to run in a checkout that is ours.
        argv: list[str | Path] = ["git", "-c", "core.hooksPath=/dev/null", "-C", self._folder, *arguments]
        return process.run(argv).stdout.decode("utf-8", "replace")

    def find_commit(self, revision: str) -> Commit:
        """The commit that a revision names.

        Raises:
            UsageError: there is none of that name.
        """
        try:
            found = self._ask(
                "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
            )
        except ToolFailed:
            raise UsageError(
                f"{visible(revision)!r} is no commit of this repository", "git log --oneline"
            ) from None
        commit = found.strip()
        subject = self._ask("log", "-1", "--format=%s", commit).strip()
        return Commit(hash=commit, subject=visible(subject), name="" if revision == commit else revision)

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether one commit can be reached from the other."""
        try:
            self._ask("merge-base", "--is-ancestor", older, newer)
        except ToolFailed:
            return False
        return True

    def list_suspects(self, bad: str, good: Sequence[str]) -> tuple[str, ...]:
        """What can be reached from `bad` and from none of `good`, that first which halves it best."""
        told = self._ask("rev-list", "--bisect-all", bad, *(f"^{each}" for each in good))
        return tuple(line.split()[0] for line in told.splitlines() if line)

    def has_changes(self) -> bool:
        """Whether files that git knows differ from the last commit."""
        return bool(self._ask("status", "--porcelain", "--untracked-files=no").strip())

    @contextmanager
    def _check_out(self, commit: Commit) -> Iterator[Path]:
        """A worktree of the commit, which is removed afterwards."""
        with scratch("commit") as folder:
            tree = folder / "tree"
            self._ask("worktree", "add", "--detach", "--quiet", str(tree), commit.hash)
            try:
                yield tree / self.prefix
            finally:
                with contextlib.suppress(ToolFailed):
                    self._ask("worktree", "remove", "--force", "--force", str(tree))

    def build(self, commit: Commit, recipe: Recipe, builds: Path, say: Say) -> Path:
        """Build the commit's image and keep it, and the log, in a folder of `builds`; the path of the image.

        An image that is there already is not built again.

        Raises:
            BuildFailed: the command failed, or there is no image afterwards.
            HostError: git or the folder does not do what it should.
        """
        folder = builds / recipe.name(commit)
        kept = folder / "image" / Path(recipe.image).name
        if kept.exists():
            return kept
        log = folder / LOG_NAME
        say(f"building {commit.short} ({commit.subject})")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._check_out(commit) as tree:
                status = _run_build(recipe, tree, log)
                if status:
                    raise _failed(commit, log, f"its build ended with status {status}")
                if not (tree / recipe.image).exists():
                    raise _failed(commit, log, f"its build left no {visible(recipe.image)}")
                _keep(tree / recipe.image, kept)
        except OSError as error:
            raise HostError(
                f"{error.filename or folder}: {error.strerror}", hint_of(error, folder)
            ) from error
        return kept


def _run_build(recipe: Recipe, tree: Path, log: Path) -> int:
    """Run the build in the checkout; its exit status."""
    program, *arguments = recipe.command
    if "/" in program and not Path(program).is_absolute():
        program = str(tree / program)
        if not Path(program).exists():
            log.write_text(f"{recipe.command[0]}: no such file\n")
            return 127
    with (
        log.open("wb") as output,
        process.start([program, *arguments], stdout=output, stderr=output, cwd=tree) as child,
    ):
        while (status := child.wait(3600.0)) is None:
            pass
    return status


def _keep(image: Path, target: Path) -> None:
    """Copy a file or a folder; it is there whole or not at all."""
    unfinished = target.parent.with_name("unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    if image.is_dir():
        shutil.copytree(image, unfinished / target.name)
    else:
        shutil.copyfile(image, unfinished / target.name)
    unfinished.rename(target.parent)


def _failed(commit: Commit, log: Path, why: str) -> BuildFailed:
    lines = process.tail_file(log).strip().splitlines()[-LINES_TOLD:] if log.exists() else []
    said = " / ".join(lines) or "it printed nothing"
    name = f"{visible(commit.name)} ({commit.short})" if commit.name else commit.short
    return BuildFailed(f"{name}: {why}: {said}", f"less {shlex.quote(str(log))}")
