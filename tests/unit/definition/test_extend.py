"""Files that extend another: what they have of it, in which order, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from guestbench.definition.extend import complete, weave
from guestbench.definition.systems import load_system
from guestbench.errors import DefinitionError

BASE = {
    "timeout_s": 60,
    "boot": {"type": "kernel", "initrd": True},
    "milestones": [{"name": "a", "help": "A"}, {"name": "b", "help": "B"}, {"name": "c", "help": "C"}],
}

SYSTEM = """
name = "mine"
extends = "linux"
title = "Mine"
ready = "login: "
timeout_s = 10
[boot]
type = "kernel"
"""


def extend(own: dict[str, object]) -> dict[str, object]:
    """`own` with what `BASE` has."""
    return weave(complete(own, BASE), BASE)


def load(folder: Path, text: str) -> tuple[str, ...]:
    """The mistakes in a system file, without its path."""
    (folder / "system.toml").write_text(text)
    with pytest.raises(DefinitionError) as caught:
        load_system(folder, ())
    return tuple(each.split("system.toml: ")[1] for each in caught.value.problems)


def test_own_keys_win_and_the_others_are_there() -> None:
    """A guest would boot with another's settings, or without those that it relies on."""
    assert extend({}) == BASE
    found = extend({"timeout_s": 5, "boot": {"cmdline": "quiet"}})
    assert found["timeout_s"] == 5
    assert found["boot"] == {"type": "kernel", "initrd": True, "cmdline": "quiet"}


@pytest.mark.parametrize(
    ("own", "names"),
    [
        ("x", "abcx"),
        ("xb", "axbc"),
        ("xby", "axbcy"),
        ("axc", "abxc"),
        ("xyc", "abxyc"),
        ("cxa", "bcxa"),
        ("cba", "cba"),
    ],
)
def test_milestones_keep_the_order_of_both_files(own: str, names: str) -> None:
    """Milestones would be reported in an order in which no guest passes them."""
    found = extend({"milestones": [{"name": each} for each in own]})["milestones"]
    assert isinstance(found, list)
    assert "".join(each["name"] for each in found) == names
    assert all(each.get("help") == each["name"].upper() for each in found if each["name"] in "abc")


def test_a_guest_of_ones_own_has_what_linux_guests_have(tmp_path: Path) -> None:
    """Everybody who adds a Linux guest would have to find out how Linux dies."""
    (tmp_path / "system.toml").write_text(f'{SYSTEM}[[layers]]\nname = "all"\nsince = "kernel"\n')
    system = load_system(tmp_path, ())
    assert system.family == "linux" and system.timeout_s == 10
    assert [each.name for each in system.milestones] == ["kernel"]
    assert "Kernel panic" in [each.pattern for each in system.failures]
    assert [each.since for each in system.layers] == ["kernel"]


def test_mistakes_are_told_as_they_stand_in_the_file(tmp_path: Path) -> None:
    """A user would look for a mistake in an entry that is not in the file."""
    text = f"""{SYSTEM}
[[failures]]
pattern = "lost"
[[failures]]
pattern = "Kernel panic"
[[milestones]]
pattern = "up"
[[layers]]
name = "all"
until = "kernal"
"""
    assert load(tmp_path, text) == (
        "[[milestones]] #1 name: missing; text is needed",
        "[[failures]] #1 reason: missing; text is needed",
        '[layers] 1: until: unknown milestone "kernal"; did you mean kernel?',
    )


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ('"linx"', 'extends: unknown value "linx"; did you mean linux?'),
        (
            "3",
            'extends: unknown value "3"; known: debian, debian-12-disk, debian-12-kernel, '
            "debian-disk, linux, linux-initramfs, linux-program",
        ),
        ('"../linux"', 'extends: unknown value "../linux"; did you mean linux?'),
    ],
)
def test_what_cannot_be_extended_is_told(tmp_path: Path, value: str, problem: str) -> None:
    """A typing mistake would end in a traceback, or read a file elsewhere."""
    assert problem in load(tmp_path, SYSTEM.replace('"linux"', value))
