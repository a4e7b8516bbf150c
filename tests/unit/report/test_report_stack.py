"""STACK.md: what each layer costs is written between its markers, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from factories import make_run

from guestbench.analysis.analyse import analyse
from guestbench.definition.systems import load_catalogue, load_system
from guestbench.errors import DefinitionError, UsageError
from guestbench.families.boot.findings import find_layers
from guestbench.model import Header, Layer, Record
from guestbench.report.stack import BEGIN, END, render_stack, update_stack

ROOT = Path(__file__).parents[3]
LAYERS = (
    Layer(name="GRUB", help="The <b>boot</b> loader | waits.", since="boot loader", until="kernel"),
    Layer(name="user space", since="init", until="ready", size="image.rootfs"),
    Layer(name="silent"),
)


def make_layered_run() -> tuple[Header, tuple[Record, ...]]:
    """A run whose Debian disk has layers."""
    header, records = make_run()
    guests = tuple(
        msgspec.structs.replace(guest, system=msgspec.structs.replace(guest.system, layers=LAYERS))
        if guest.system.name == "debian-12-nocloud"
        else guest
        for guest in header.guests
    )
    return msgspec.structs.replace(header, guests=guests), records


def test_a_layer_costs_what_lies_between_its_milestones() -> None:
    """The time of one layer would be told of another."""
    (costs,) = find_layers(*make_layered_run()).values()
    grub, user, silent = costs
    assert grub.n == user.n == 9  # one of ten boots failed
    assert grub.mean == pytest.approx(46.0 * (0.33 - 0.01), rel=0.05)
    assert user.mean == pytest.approx(46.0 * (1 - 0.52), rel=0.05)
    assert user.size_bytes == 1_011_875_840
    assert (silent.n, silent.mean, silent.size_bytes) == (0, None, None)


def test_the_application_stands_at_the_top() -> None:
    """A stack would be shown upside down, or its text break the table."""
    block = render_stack(analyse(*make_layered_run()))
    assert block.index("user space") < block.index("GRUB") < len(block)
    assert "<b>" not in block and "Example CPU" in block and "1.01 GB" in block
    assert "### Shared by all" in block


def test_only_what_stands_between_the_markers_is_replaced(tmp_path: Path) -> None:
    """The author's own text would be lost, or figures pile up."""
    path = tmp_path / "STACK.md"
    path.write_text(f"before\n{BEGIN}\nold figures\n{END}\nafter\n")
    update_stack(path, analyse(*make_layered_run()))
    once = path.read_text()
    assert once.startswith(f"before\n{BEGIN}\n") and once.endswith(f"{END}\nafter\n")
    assert "old figures" not in once and "user space" in once
    update_stack(path, analyse(*make_layered_run()))
    assert path.read_text() == once
    assert [each.name for each in tmp_path.iterdir()] == ["STACK.md"]


@pytest.mark.parametrize(
    "text",
    [
        "no markers\n",
        f"{BEGIN}\n",
        f"{END}\n{BEGIN}\n",
        f"{BEGIN}\n{BEGIN}\n{END}\n",
        f"{BEGIN}\n{END}\n{END}\n",
    ],
)
def test_damaged_markers_are_refused(tmp_path: Path, text: str) -> None:
    """Half of somebody's document would be overwritten."""
    path = tmp_path / "STACK.md"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        update_stack(path, analyse(*make_layered_run()))
    assert "does not have one line" in caught.value.message
    assert caught.value.hint == f"grep -n 'guestbench:' {path}"
    assert path.read_text() == text


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A misspelt path would end in a traceback, or make a file."""
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        update_stack(tmp_path / "none.md", analyse(*make_layered_run()))
    assert not list(tmp_path.iterdir())


def test_every_system_of_the_catalogue_names_its_layers() -> None:
    """A system of the default comparison would be missing in STACK.md."""
    for system in load_catalogue().values():
        assert system.layers, system.name
        assert system.layers[-1].until == "ready"


def test_a_layer_between_unknown_milestones_is_refused(tmp_path: Path) -> None:
    """A misspelt milestone would leave a layer without a time for ever."""
    text = (ROOT / "src/guestbench/systems/floor/system.toml").read_text()
    (tmp_path / "floor.S").touch()
    (tmp_path / "system.toml").write_text(text.replace('until = "ready"', 'until = "raedy"'))
    with pytest.raises(DefinitionError) as caught:
        load_system(tmp_path, ())
    assert any('[layers] 1: until: unknown milestone "raedy"' in each for each in caught.value.problems)


def test_the_projects_own_document_has_its_markers() -> None:
    """`guestbench report DIR --update-stack STACK.md` would refuse the project's own file."""
    text = (ROOT / "STACK.md").read_text()
    assert text.count(BEGIN) == text.count(END) == 1
