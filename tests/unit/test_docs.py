"""The documents: what they tell the reader to type, to write and to open must be there."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from pathlib import Path

import click
import pytest

from guestbench import load
from guestbench.cli import cli
from guestbench.model import Kernel, Provision

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
EXTENDING = ROOT / "docs" / "extending.md"


def blocks(file: Path, language: str) -> list[str]:
    """The code blocks of a document in one language."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", file.read_text())


def commands(file: Path) -> list[list[str]]:
    """The command lines of a document's shell blocks and inline code, as words."""
    lines = [line for block in blocks(file, "sh") for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"(?ms)^```.*?^```$", "", file.read_text())
    lines += [code for code in re.findall(r"`([^`\n]+)`", prose) if code.startswith(("guestbench ", "make "))]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def name_of(file: Path) -> str:
    """A file's name as pytest shows it."""
    return str(file.relative_to(ROOT))


def parse(words: list[str]) -> None:
    """Let click parse a command line without running it. Raises click.ClickException if it cannot."""
    command: click.Command = cli
    context: click.Context | None = None
    while isinstance(command, click.Group):
        context = click.Context(command, parent=context)
        name, *words = words
        found = command.get_command(context, name)
        assert found is not None, f"no command {name}"
        command = found
    # A sentence may name a command without its arguments.
    with suppress(click.MissingParameter):
        command.make_context(command.name, words)


@pytest.mark.parametrize("file", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(file: Path) -> None:
    """A reader would follow a link to nothing."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", file.read_text()):
        if "://" not in target:
            assert (file.parent / target).exists(), target


@pytest.mark.parametrize("file", DOCUMENTS, ids=name_of)
def test_commands_can_be_typed(file: Path) -> None:
    """A reader would type a command or option that does not exist."""
    targets = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text()))
    for words in commands(file):
        program, arguments = words[0].removeprefix(".venv/bin/"), words[1:]
        if program == "guestbench":
            # Prose may name several subcommands at once.
            if not any(word.endswith(",") for word in arguments):
                parse(arguments)
        elif program == "make" and not arguments[0].startswith("-"):
            assert arguments[0] in targets, words


def test_example_guest_is_one_that_loads(tmp_path: Path) -> None:
    """Whoever copies the documented guest would be told of mistakes in it."""
    guest, _ = blocks(EXTENDING, "toml")
    (tmp_path / "system.toml").write_text(guest)
    system = load.load_system(tmp_path, ())
    assert isinstance(system.boot, Kernel)
    assert system.name == "my-kernel"
    assert len(system.milestones) == 2
    assert system.failures
    assert system.provision.path


def test_example_experiment_is_one_that_loads(tmp_path: Path) -> None:
    """Whoever copies the documented experiment would be told of mistakes in it."""
    guest, experiment = blocks(EXTENDING, "toml")
    folder = tmp_path / "guests" / "my-kernel"
    folder.mkdir(parents=True)
    (folder / "system.toml").write_text(guest)
    file = tmp_path / "my-kernel.toml"
    file.write_text(experiment)
    loaded = load.load_experiment(str(file))
    assert loaded.systems == ("floor", "linux-minimal", str(folder))
    assert loaded.seed == 1


def test_lock_command_in_the_guide_is_the_one_make_runs() -> None:
    """Whoever renews the lock by hand would get another one than `make lock`."""
    recipe = re.search(r"(?ms)^lock:\n\t(.*?)\n\n", (ROOT / "Makefile").read_text())
    assert recipe
    documented = next(block for block in blocks(EXTENDING, "sh") if block.startswith("uv "))
    assert recipe[1].replace("\\\n", " ").split() == documented.replace("\\\n", " ").split()


def test_documented_provision_keys_exist() -> None:
    """A documented key of system.toml would be refused as unknown."""
    table = re.findall(r"(?m)^\| `\[?(?:provision\.)?(\w+)[^`]*` \|", EXTENDING.read_text())
    assert set(table) == set(Provision.__struct_fields__)
