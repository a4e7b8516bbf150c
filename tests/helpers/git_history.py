"""Makes git repositories for tests; it measures nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from guestbench.host import process

WHO = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "A tester"), ("EMAIL", "tester@example.org"), ("DATE", "1700000000 +0000"))
}


def git(folder: Path, *arguments: str, stdin: bytes = b"") -> str:
    """What git prints, in a folder, by an author who is always the same."""
    argv: list[str | Path] = ["git", "-C", folder, *arguments]
    return process.run(argv, input=stdin, env=WHO).stdout.decode().strip()


def make_history(folder: Path, commits: Sequence[Mapping[str, str]]) -> list[str]:
    """A repository with one commit after another, each of which writes these files; their hashes."""
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    hashes = []
    for number, files in enumerate(commits):
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--allow-empty", "--no-verify", "-m", f"Change {number}")
        hashes.append(git(folder, "rev-parse", "HEAD"))
    return hashes


def make_graph(folder: Path, parents: Sequence[Sequence[int]]) -> list[str]:
    """A repository of commits without files, each of which has earlier ones for parents; their hashes."""
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")
    tree = git(folder, "mktree")
    hashes: list[str] = []
    for number, mine in enumerate(parents):
        options = [word for parent in mine for word in ("-p", hashes[parent])]
        hashes.append(git(folder, "commit-tree", tree, *options, "-m", f"Change {number}"))
    git(folder, "update-ref", "refs/heads/main", hashes[-1])
    return hashes
