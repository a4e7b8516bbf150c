"""What goes beside the program: completion in shells, the man page, the citation, the container."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from guestbench import __version__
from guestbench.cli import cli
from guestbench.host import process

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("guestbench")


def complete(shell: str, words: str, number: int) -> str:
    """What the program offers a shell for the word of this number, counted from 0."""
    environment = {
        "_GUESTBENCH_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(number),
    }
    if shell == "fish":
        environment["COMP_CWORD"] = words.split()[number] if number < len(words.split()) else ""
    return process.run([PROGRAM], env=environment, timeout_s=60).stdout.decode()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_completes_commands_and_options(shell: str) -> None:
    """The tab key would do nothing, or offer what there is not."""
    found = complete(shell, "guestbench pro", 1)
    assert "profile" in found
    assert "report" not in found
    assert "--fail-on" in complete(shell, "guestbench ab --fa", 2)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_that_the_guide_names_is_one_of_the_shell(shell: str, tmp_path: Path) -> None:
    """The shell would complain at each start."""
    guide = ROOT / "docs" / "how-to" / "install.md"
    assert f"_GUESTBENCH_COMPLETE={shell}_source guestbench" in guide.read_text()
    environment = {"_GUESTBENCH_COMPLETE": f"{shell}_source"}
    script = process.run([PROGRAM], env=environment, timeout_s=60).stdout
    assert b"_GUESTBENCH_COMPLETE=" in script
    (tmp_path / "script").write_bytes(script)
    if shutil.which(shell):
        process.run([shell, "-n", tmp_path / "script"])


def test_bash_itself_completes(tmp_path: Path) -> None:
    """The script would be well-formed, and complete nothing."""
    lines = (
        f'PATH="{PROGRAM.parent}:$PATH"',
        'eval "$(_GUESTBENCH_COMPLETE=bash_source guestbench)"',
        "COMP_WORDS=(guestbench doc) COMP_CWORD=1",
        "_guestbench_completion guestbench doc guestbench",
        'printf "%s\\n" "${COMPREPLY[@]}"',
    )
    done = process.run(["bash", "--norc", "-c", "\n".join(lines)], cwd=tmp_path, timeout_s=60)
    assert done.stdout.decode().split() == ["doctor"]


def test_man_page_has_every_command_and_is_well_formed(tmp_path: Path) -> None:
    """`man guestbench` would show half of the page."""
    done = process.run([sys.executable, ROOT / "tools" / "make_man_page.py"], timeout_s=60)
    page = done.stdout.decode()
    for name in cli.commands:
        assert f'.SS "guestbench {name}' in page
    assert '.SS "guestbench systems list' in page
    assert "\\-\\-fail\\-on" in page
    if shutil.which("groff"):
        (tmp_path / "guestbench.1").write_text(page)
        shown = process.run(["groff", "-ww", "-man", "-Tutf8", "-z", tmp_path / "guestbench.1"])
        assert shown.stderr == b""


def test_citation_is_of_this_version() -> None:
    """A paper would cite a version that its figures were not made with."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == __version__
    assert citation["license"] == "Apache-2.0"
    assert f"## {__version__}\n" in (ROOT / "CHANGELOG.md").read_text()


def test_the_container_is_made_of_what_the_clone_has() -> None:
    """The image would not build, or start something that it has not."""
    lines = (ROOT / "Containerfile").read_text().splitlines()
    steps = dict(line.split(maxsplit=1) for line in lines if not line.startswith("#"))
    assert list(steps) == ["FROM", "COPY", "RUN", "ENV", "WORKDIR", "ENTRYPOINT", "CMD"]
    where, folder = steps["COPY"].split()
    assert where == "."
    script = steps["RUN"].split()[1]
    assert (ROOT / Path(script).relative_to(folder)).is_file()
    assert steps["ENV"].startswith(f'PATH="{folder}/.venv/bin:')
    assert (json.loads(steps["ENTRYPOINT"]), json.loads(steps["CMD"])) == (["guestbench"], ["--help"])
    # What a clone has of its own would make the image large, or be taken for what set-up makes there.
    assert {".venv", ".git", "results"} <= set((ROOT / ".containerignore").read_text().split())
