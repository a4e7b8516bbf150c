"""Definition files: what loads, and what is said about what does not."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestbench.definition import load
from guestbench.definition.decode import find_mistakes
from guestbench.definition.rules import system_meanings
from guestbench.errors import DefinitionError, UsageError
from guestbench.families import list_families
from guestbench.model import (
    Accel,
    GuestFamily,
    Kernel,
    Net,
    System,
)

EXPERIMENT = """
name = "mine"
title = "Two of them"
systems = ["mirage-unikraft"]
"""

SYSTEM = """
name = "toy"
title = "A toy"
family = "unikernel"
ready = "up"
timeout_s = 10

[boot]
type = "kernel"
"""


def write_experiment(folder: Path, text: str) -> str:
    """Write an experiment file and return its path as a user would type it."""
    file = folder / "experiment.toml"
    file.write_text(text)
    return str(file)


def write_system(folder: Path, text: str) -> Path:
    """Make a system folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "system.toml").write_text(text)
    return folder


def problems_of_experiment(folder: Path, text: str) -> tuple[str, ...]:
    """What is said about an experiment, without the file's name in front."""
    reference = write_experiment(folder, text)
    with pytest.raises(DefinitionError) as caught:
        load.load_experiment(reference)
    assert all(each.startswith(f"{reference}: ") for each in caught.value.messages)
    return tuple(each.removeprefix(f"{reference}: ") for each in caught.value.messages)


def problems_of_system(folder: Path, text: str) -> tuple[str, ...]:
    """What is said about a system file, without the file's name in front."""
    write_system(folder, text)
    with pytest.raises(DefinitionError) as caught:
        load.load_system(folder, ("floor", "debian-12-nocloud"))
    return tuple(each.removeprefix(f"{folder}/system.toml: ") for each in caught.value.messages)


# --- what comes with the package ----------------------------------------------------------------------


@pytest.mark.parametrize("name", list(load.load_catalogue()))
def test_every_system_of_the_catalogue_loads(name: str) -> None:
    """A system that comes with the tool could not be measured."""
    system = load.load_catalogue()[name]
    assert system.name == name
    assert system.ready


@pytest.mark.parametrize("name", load.list_experiments())
def test_every_experiment_of_the_package_loads(name: str) -> None:
    """An experiment that comes with the tool could not be run."""
    assert load.load_experiment(name).name == name


def test_seed_experiment_is_the_comparison_that_was_asked_for() -> None:
    """The default command would compare other systems, or under other settings, than documented."""
    seed = load.load_experiment("seed")
    assert {*seed.systems} == {
        *("floor", "reference-unikernel", "linux-app", "linux-minimal"),
        *("debian-12-direct", "debian-12-nocloud"),
    }
    assert seed.optional == ("alpine", "mirage-unikraft")
    assert seed.metrics == tuple(family.name for family in list_families())
    assert (seed.cycles, seed.warmups) == (10, 1)
    platform = seed.platform
    assert (platform.machine, platform.memory_mib, platform.cpus) == ("q35", 512, 1)
    assert (platform.accel, platform.net) == (Accel.AUTO, Net.USER)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("baseline = 'debian-12'", 'baseline: unknown system of this experiment "debian-12"'),
        (
            "[[claims]]\ntext='t'\nmetric='boot.ready'\nsystem='uk'",
            "[claims] 1: system: unknown system of this",
        ),
        (
            "[[claims]]\ntext='t'\nmetric='speed'\nsystem='unikernel'",
            'a metric is needed, such as boot.ready or image.file, found "speed"',
        ),
    ],
)
def test_what_is_compared_and_claimed_has_to_be_measured(tmp_path: Path, line: str, problem: str) -> None:
    """A misspelt claim would be undecided for ever, and nobody know why."""
    problems = problems_of_experiment(tmp_path, f"{EXPERIMENT}\n{line}\n")
    assert any(problem in each for each in problems), problems


def test_mirage_system_boots_what_the_user_brings() -> None:
    """The unikernel would not be found, or its crashes would be taken for slow boots."""
    system = load.load_catalogue()["mirage-unikraft"]
    assert system.family is GuestFamily.UNIKERNEL
    assert system.boot == Kernel()
    assert (system.ready, system.provision.path) == ("[init done]", "dist/hello.qemu")
    assert "--system mirage-unikraft=" in system.provision.hint
    crash = "[    0.115561] CRIT: [libmusl] <abort.c @    7> abort called"
    assert any(each.pattern in crash for each in system.failures)
    assert not any(each.pattern in system.ready for each in system.failures)


# --- finding things -----------------------------------------------------------------------------------


def test_broken_system_breaks_no_other(tmp_path: Path) -> None:
    """One mistake in one folder of the catalogue would stop every comparison."""
    write_system(tmp_path / "toy", SYSTEM)
    write_system(tmp_path / "broken", "name = ")
    catalogue = load.load_catalogue(tmp_path)
    assert list(catalogue) == ["broken", "toy"]
    assert "broken" in catalogue
    assert load.find_system("toy", catalogue, tmp_path).title == "A toy"
    with pytest.raises(DefinitionError, match=r"broken/system\.toml"):
        load.find_system("broken", catalogue, tmp_path)


def test_unknown_system_names_the_nearest() -> None:
    """A user who mistypes a system would have to look its name up."""
    with pytest.raises(UsageError) as caught:
        load.find_system("mirage-unikernel", load.load_catalogue(), Path())
    assert 'unknown system "mirage-unikernel"; did you mean mirage-unikraft?' in caught.value.message
    assert caught.value.hint == "guestbench systems list"


def test_folder_reference_is_relative_to_the_experiment_file(tmp_path: Path) -> None:
    """An experiment that brings its own guest would load only from its own folder."""
    folder = write_system(tmp_path / "guests" / "toy", SYSTEM)
    reference = write_experiment(
        tmp_path, 'name = "mine"\ntitle = "t"\nsystems = ["./guests/toy", "mirage-unikraft"]'
    )
    experiment = load.load_experiment(reference)
    assert experiment.systems == (str(folder), "mirage-unikraft")
    system = load.find_system(experiment.systems[0], load.load_catalogue(), Path("/"))
    assert system.name == "toy"
    assert load.system_folder(experiment.systems[0]) == folder


def test_system_folder_holds_the_sources_of_a_catalogue_system() -> None:
    """A guest built from source would not find its source."""
    assert (load.system_folder("mirage-unikraft") / "system.toml").is_file()


def test_unknown_experiment_names_the_nearest() -> None:
    """A user who mistypes an experiment would not learn which there are."""
    with pytest.raises(UsageError, match="did you mean seed"):
        load.load_experiment("sed")


def test_missing_experiment_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    """A mistyped path would end in a traceback."""
    with pytest.raises(DefinitionError, match=r"gone\.toml: no such file"):
        load.load_experiment(str(tmp_path / "gone.toml"))


def test_experiment_that_is_a_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    """A folder given where a file is wanted would end in a traceback."""
    with pytest.raises(DefinitionError, match="cannot be read: Is a directory"):
        load.load_experiment(str(tmp_path))


def test_experiment_that_is_not_text_is_an_error_that_names_it(tmp_path: Path) -> None:
    """An image given where an experiment is wanted would end in a traceback."""
    file = tmp_path / "image.toml"
    file.write_bytes(b"\x7fELF\xff\xfe")
    with pytest.raises(DefinitionError, match="not UTF-8"):
        load.load_experiment(str(file))


def test_nesting_without_end_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    """A hostile file would end in a traceback."""
    with pytest.raises(DefinitionError, match=r"experiment\.toml: not TOML"):
        load.load_experiment(write_experiment(tmp_path, "a = " + "[" * 100_000))


# --- mistakes in experiments --------------------------------------------------------------------------


def test_all_mistakes_of_an_experiment_come_at_once(tmp_path: Path) -> None:
    """A user would mend one mistake after the other, running the tool each time."""
    assert problems_of_experiment(
        tmp_path,
        """
name = "bad name"
systems = ["mirage-unikarft", "mirage-unikraft", "mirage-unikraft"]
metrics = ["image", "bot"]
cycles = 0
warmup = 1
seed = "one"

[platform]
memory_mb = 512
cpus = 1.5
accel = "KVM"
""",
    ) == (
        "warmup: unknown key; did you mean warmups?",
        "name: \"bad name\" cannot be a name: a letter or digit, then letters, digits, '.', '_' or '-'",
        "title: missing; text is needed",
        'systems: "mirage-unikraft" is named 2 times',
        'systems #1: unknown system "mirage-unikarft"; did you mean mirage-unikraft?',
        'metrics #2: unknown family of metrics "bot"; did you mean boot?',
        "cycles: at least 1 is needed, found 0",
        'seed: a whole number is needed, found text "one"',
        "[platform] memory_mb: unknown key; did you mean memory_mib?",
        "[platform] cpus: a whole number is needed, found the number 1.5",
        '[platform] accel: unknown value "KVM"; did you mean kvm?',
    )


def test_mistakes_in_an_experiment_exit_with_2(tmp_path: Path) -> None:
    """A script could not tell bad input from a host that cannot do it."""
    with pytest.raises(DefinitionError) as caught:
        load.load_experiment(write_experiment(tmp_path, EXPERIMENT + "cycle = 3"))
    assert caught.value.exit_code == 2
    assert caught.value.hint.startswith("cat ")


def test_unknown_system_hints_at_the_list(tmp_path: Path) -> None:
    """The hint would not help with the mistake."""
    with pytest.raises(DefinitionError) as caught:
        load.load_experiment(write_experiment(tmp_path, EXPERIMENT.replace("mirage-unikraft", "nixos")))
    assert caught.value.hint == "guestbench systems list"


def test_syntax_error_says_the_line(tmp_path: Path) -> None:
    """A user would have to search a whole file for a missing quote."""
    (problem,) = problems_of_experiment(tmp_path, 'name = "mine"\ntitle = "Two')
    assert problem.startswith("not TOML: ")
    assert "line 2" in problem or "end of document" in problem


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("warmups = -1", "warmups: at least 0 is needed, found -1"),
        ("cycles = true", "cycles: a whole number is needed, found true"),
        (
            "cycles = 9999999999999999999999",
            "cycles: at most 100000 is possible, found 9999999999999999999999",
        ),
        ("seed = -1", "seed: at least 0 is needed, found -1"),
        ("metrics = []", "metrics: must not be empty"),
        ("metrics = 'boot'", 'metrics: a list is needed, found text "boot"'),
        (
            "metrics = [1]",
            "metrics #1: one of image, boot, memory, surface, work, net is needed, found the number 1",
        ),
        ("optional = ['mirage-unikraft']", 'system "mirage-unikraft" is named 2 times'),
        ("optional = ['./nowhere']", 'optional #1: no system.toml in folder "./nowhere"'),
        ("platform = 'q35'", 'platform: a table is needed, found text "q35"'),
        ("platform.memory_mib = 0", "[platform] memory_mib: at least 1 is needed, found 0"),
        ("platform.extra = ['-s', '']", "[platform] extra #2: must not be empty"),
        ("memory.cycles = 0", "[memory] cycles: at least 1 is needed, found 0"),
        ("surface.boots = 0", "[surface] boots: at least 1 is needed, found 0"),
        ("memory.settle_s = -1", "[memory] settle_s: more than 0 seconds are needed, found -1"),
        ("cycles = 2024-01-01", "cycles: a whole number is needed, found a date"),
    ],
)
def test_experiment_value_that_cannot_be(tmp_path: Path, line: str, problem: str) -> None:
    """A run would start with a setting that makes no sense."""
    found = problems_of_experiment(tmp_path, EXPERIMENT + line)
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_experiment_without_systems_is_a_mistake(tmp_path: Path) -> None:
    """A run of nothing would succeed."""
    text = EXPERIMENT.replace('["mirage-unikraft"]', "[]")
    assert problems_of_experiment(tmp_path, text) == ("systems: must not be empty",)


def test_mistakes_in_a_folder_of_the_experiment_are_told_with_its_own(tmp_path: Path) -> None:
    """A user would learn of the guest's mistakes only after mending the experiment's."""
    write_system(tmp_path / "toy", SYSTEM.replace("timeout_s = 10", "timeout_s = -1"))
    reference = write_experiment(tmp_path, 'name = "mine"\nsystems = ["./toy"]')
    with pytest.raises(DefinitionError) as caught:
        load.load_experiment(reference)
    assert caught.value.messages == (
        f"{reference}: title: missing; text is needed",
        f"{tmp_path}/toy/system.toml: timeout_s: more than 0 seconds are needed, found -1",
    )


def test_own_system_cannot_take_the_name_of_one_beside_it(tmp_path: Path) -> None:
    """Two guests' values would be mixed under one name."""
    write_system(tmp_path / "toy", SYSTEM.replace('"toy"', '"mirage-unikraft"'))
    text = EXPERIMENT.replace('["mirage-unikraft"]', '["mirage-unikraft", "./toy"]')
    assert problems_of_experiment(tmp_path, text) == ('system "mirage-unikraft" is named 2 times',)


# --- mistakes in systems ------------------------------------------------------------------------------


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
    recipe = 'method = "debian-disk"\nsuite = "bookworm"\nsize_mib = 100\ncmdline = ""'
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
    monkeypatch.setattr(load, "SYSTEMS", tmp_path)
    assert problems_of_system(tmp_path / "other", SYSTEM) == (
        'name: must be the folder\'s name, "other"; found "toy"',
    )


def test_message_shows_no_control_characters(tmp_path: Path) -> None:
    """A definition file from elsewhere could drive the user's terminal."""
    found = problems_of_experiment(
        tmp_path, EXPERIMENT + '"\\u001b[2J" = 1\nseed = "\\u001b[31m"\noptional = ["\\u009b"]'
    )
    assert len(found) == 3
    assert all(each.isprintable() for each in found)


def test_message_is_of_bounded_length(tmp_path: Path) -> None:
    """A long value would push all other mistakes off the screen."""
    (found,) = problems_of_experiment(tmp_path, EXPERIMENT + f'seed = "{"x" * 10_000}"')
    assert len(found) < 200


# --- properties ---------------------------------------------------------------------------------------

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
