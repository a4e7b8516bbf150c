"""System files: what is said about those that do not load."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest
from definition_files import SYSTEM, problems_of_system, write_system
from hypothesis import given
from hypothesis import strategies as st

from guestbench.definition.decode import find_mistakes
from guestbench.definition.rules import system_meanings
from guestbench.model import System


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('ready = "up"', 'ready = ""', "ready: must not be empty"),
        ('ready = "up"', "", "ready: missing; text is needed"),
        ("timeout_s = 10", "timeout_s = inf", "timeout_s: more than 0 seconds are needed, found inf"),
        ("timeout_s = 10", "timeout_s = 0", "timeout_s: more than 0 seconds are needed, found 0"),
        ('name = "toy"', 'name = "../toy"', 'name: "../toy" cannot be a name'),
        ('name = "toy"', 'name = "a\\u001bb"', 'name: "a\\x1bb" cannot be a name'),
        (
            'family = "unikernel"',
            'family = "bsd"',
            'family: unknown value "bsd"; known: unikernel, linux, floor',
        ),
        ('type = "kernel"', 'type = "kernal"', '[boot] type: unknown value "kernal"; did you mean kernel?'),
        ('type = "kernel"', "", "[boot] type: missing; one of kernel, disk is needed"),
        ('type = "kernel"', 'type = "disk"\ncmdline = "x"', "[boot] cmdline: unknown key; known: format"),
        ('type = "kernel"', 'type = "kernel"\ndisk = "vmdk"', '[boot] disk: unknown value "vmdk"; known: '),
        (
            "[boot]",
            "[provision]\nshare = 'flor'\n[boot]",
            '[provision] share: unknown system "flor"; did you mean',
        ),
        ("[boot]", "[login]\nuser = ''\n[boot]", "[login] user: must not be empty"),
        (
            "[boot]",
            "[load]\ntype = 'command'\ncommand = ' '\n[boot]",
            "[load] command: must not be empty",
        ),
        ("[boot]", "[load]\ntype = 'own-work'\n[boot]", "[load] end: missing; text is needed"),
        (
            "[boot]",
            "[load]\ntype = 'stress'\n[boot]",
            '[load] type: unknown value "stress"; known: command, own-work',
        ),
        (
            "[boot]",
            "[[memory_reports]]\nmetric = 'memory.used'\nbefore = 'x'\n[boot]",
            '[[memory_reports]] #1 metric: unknown metric that a guest can print "memory.used"; did you mean '
            "memory.guest_used?",
        ),
        (
            "[boot]",
            "[[milestones]]\nname = 'a'\n[boot]",
            "[[milestones]] #1 pattern: missing; text is needed",
        ),
        (
            "[boot]",
            "[[milestones]]\nname = 'ready'\npattern = 'x'\n[boot]",
            'milestones: the name "ready" is taken',
        ),
        (
            "[boot]",
            "[[milestones]]\nname = 'a;b'\npattern = 'x'\n[boot]",
            'milestones: "a;b" cannot be a name',
        ),
        (
            "[boot]",
            "milestones = [{name = 'a', pattern = 'x'}, {name = 'a', pattern = 'y'}]\n[boot]",
            'milestones: "a" is named 2 times',
        ),
        (
            "[boot]",
            "[provision.build]\nmethod = 'assembly'\nsource = 'toy.s'\n[boot]",
            '[provision.build] source: no file "toy.s" beside system.toml; did you mean toy.S?',
        ),
        (
            "[boot]",
            "[provision.build]\nmethod = 'assembly'\nsource = '../../etc/passwd'\n[boot]",
            "[provision.build] source: the name of a file beside system.toml is needed",
        ),
        (
            "[boot]",
            "[provision.build]\nmethod = 'docker'\n[boot]",
            '[provision.build] method: unknown value "docker"; known: alpine-initramfs, ',
        ),
        (
            "[boot]",
            "[provision.fetch]\nurl = 'debian.qcow2'\nsums_url = 'https://a/b'\n[boot]",
            "[provision.fetch] url: an address that begins with https:// is needed",
        ),
        (
            "[boot]",
            "[provision.fetch]\nurl = 'https://a/b'\nsums_url = 'https://a/b'\nalgorithm = 'sha521'\n[boot]",
            '[provision.fetch] algorithm: unknown checksum algorithm "sha521"; did you mean sha512?',
        ),
        ("[boot]", "[work]\ntype = 'ssh'\n[boot]", '[work] type: unknown value "ssh"; did you mean shell?'),
        (
            "timeout_s = 10",
            "timeout_s = 10\nworkloads = ['cpuu']",
            'workloads #1: unknown workload "cpuu"; did you mean cpu?',
        ),
        (
            "[boot]",
            "[work]\ntype = 'boot-argument'\ncmdline = 'rdinit=/{program}'\n[boot]",
            "[work] cmdline: {program} and {arguments} must be in it once each",
        ),
        (
            "[boot]",
            "[work]\ntype = 'boot-argument'\ncmdline = '{program} {arguments} {0}'\n[boot]",
            "[work] cmdline: {program} and {arguments} must be in it once each, and no other brace",
        ),
        ("[boot]", "[work]\ntype = 'image'\ntimeout_s = 0\n[boot]", "[work] timeout_s: more than 0 seconds"),
        (
            "[boot]",
            "[load]\ntype = 'program'\narguments = ['; reboot']\n[boot]",
            "[load] arguments #1: letters, digits and the characters",
        ),
    ],
)
def test_system_value_that_cannot_be(tmp_path: Path, old: str, new: str, problem: str) -> None:
    """A guest would be booted, built or reported in a way its author did not mean."""
    folder = write_system(tmp_path / "toy", "")
    (folder / "toy.S").write_text("hlt\n")
    found = problems_of_system(folder, SYSTEM.replace(old, new))
    assert len(found) == 1
    assert found[0].startswith(problem)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('packages = ["bash", "Bash!"]', '[provision.build] packages #2: "Bash!" cannot be a Debian package'),
        ("packages = []", "[provision.build] packages: must not be empty"),
        (
            'packages = ["a1"]\nfiles = {"etc/x" = ""}',
            '[provision.build] files: "etc/x" is not an absolute path',
        ),
        ('packages = ["a1"]\nfiles = {"/etc/x" = 1}', '[provision.build.files] "/etc/x": text is needed'),
        ('packages = ["a1"]\ngrub_timeout_s = -1', "[provision.build] grub_timeout_s: at least 0 is needed"),
    ],
)
def test_disk_recipe_that_cannot_be(tmp_path: Path, line: str, problem: str) -> None:
    """An image build would fail after minutes, or write outside its image."""
    recipe = 'method = "debian-disk"\nsuite = "bookworm"\nkernel_package = "k1"\nsize_mib = 100\ncmdline = ""'
    found = problems_of_system(tmp_path / "toy", f"{SYSTEM}\n[provision.build]\n{recipe}\n{line}\n")
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_unknown_kind_of_table_still_tells_of_keys_that_fit_none(tmp_path: Path) -> None:
    """A user would mend the kind and only then learn of the other mistake."""
    text = SYSTEM.replace('type = "kernel"', 'type = "floppy"\ncmdlin = "quiet"')
    assert problems_of_system(tmp_path, text) == (
        '[boot] type: unknown value "floppy"; known: kernel, disk',
        "[boot] cmdlin: unknown key; did you mean cmdline?",
    )


def test_catalogue_system_is_named_as_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system of the catalogue would be listed under one name and measured under another."""
    monkeypatch.setattr("guestbench.definition.systems.SYSTEMS", tmp_path)
    assert problems_of_system(tmp_path / "other", SYSTEM) == (
        'name: must be the folder\'s name, "other"; found "toy"',
    )


TOML_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(field=st.sampled_from(System.__struct_fields__), value=TOML_VALUES)
def test_any_value_in_any_field_is_taken_or_told(field: str, value: object) -> None:
    """Some value of some key would end in a traceback, or be told of by nothing but the library's words."""
    data = {**tomllib.loads(SYSTEM), field: value}
    found = find_mistakes(data, System, system_meanings(Path(), (), ()))
    assert all(each.isprintable() and "Expected" not in each for each in found)
    if not found:
        msgspec.convert(data, System)


@pytest.mark.parametrize("number", ["9" * 5000, "0x" + "f" * 5000, "1e", "0b2", "--1"])
def test_number_of_too_many_digits_is_a_mistake(number: str, tmp_path: Path) -> None:
    """Python refuses to read some numbers by an error of its own, which would end in a traceback."""
    text = SYSTEM.replace("timeout_s = 10", f"timeout_s = {number}")
    assert text != SYSTEM
    (problem, *_) = problems_of_system(tmp_path / "toy", text)
    assert problem.isprintable()
