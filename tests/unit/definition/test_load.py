"""Definition files: what loads, and what is said about what does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from definition_files import EXPERIMENT, SYSTEM, problems_of_experiment, write_experiment, write_system

from guestbench.definition.experiments import list_experiments, load_experiment
from guestbench.definition.systems import find_system, load_catalogue, system_folder
from guestbench.errors import DefinitionError, UsageError
from guestbench.families import list_families
from guestbench.model import Accel, GuestFamily, Kernel, Net

# --- what comes with the package ----------------------------------------------------------------------


@pytest.mark.parametrize("name", list(load_catalogue()))
def test_every_system_of_the_catalogue_loads(name: str) -> None:
    """A system that comes with the tool could not be measured."""
    system = load_catalogue()[name]
    assert system.name == name
    assert system.ready


@pytest.mark.parametrize("name", list_experiments())
def test_every_experiment_of_the_package_loads(name: str) -> None:
    """An experiment that comes with the tool could not be run."""
    assert load_experiment(name).name == name


def test_no_quiet_guest_needs_what_a_quiet_kernel_does_not_say() -> None:
    """A guest would never be ready: it would wait for a message that its own command line forbids."""
    catalogue = load_catalogue()
    references = {ref for name in list_experiments() for ref in load_experiment(name).systems}
    systems = [*catalogue.values(), *(find_system(ref, catalogue, Path()) for ref in references)]
    quiet = [s for s in systems if "quiet" in getattr(s.boot, "cmdline", "").split()]
    assert {s.name for s in quiet} >= {"debian-12-quiet", "linux-app-quiet"}
    assert not [s.name for s in quiet for milestone in s.milestones if milestone.required]


def test_seed_experiment_is_the_comparison_that_was_asked_for() -> None:
    """The default command would compare other systems, or under other settings, than documented."""
    seed = load_experiment("seed")
    assert {*seed.systems} == {
        *("floor", "reference-unikernel", "linux-app", "linux-minimal"),
        *("debian-12-direct", "debian-12-nocloud"),
    }
    assert seed.optional == ("alpine", "mirage-unikraft")
    assert (*seed.metrics, "calibration") == tuple(family.name for family in list_families())
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
            'a metric is needed, such as boot.ready or cost.instructions_guest, found "speed"',
        ),
    ],
)
def test_what_is_compared_and_claimed_has_to_be_measured(tmp_path: Path, line: str, problem: str) -> None:
    """A misspelt claim would be undecided for ever, and nobody know why."""
    problems = problems_of_experiment(tmp_path, f"{EXPERIMENT}\n{line}\n")
    assert any(problem in each for each in problems), problems


def test_mirage_system_boots_what_the_user_brings() -> None:
    """The unikernel would not be found, or its crashes would be taken for slow boots."""
    system = load_catalogue()["mirage-unikraft"]
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
    catalogue = load_catalogue(tmp_path)
    assert list(catalogue) == ["broken", "toy"]
    assert "broken" in catalogue
    assert find_system("toy", catalogue, tmp_path).title == "A toy"
    with pytest.raises(DefinitionError, match=r"broken/system\.toml"):
        find_system("broken", catalogue, tmp_path)


def test_unknown_system_names_the_nearest() -> None:
    """A user who mistypes a system would have to look its name up."""
    with pytest.raises(UsageError) as caught:
        find_system("mirage-unikernel", load_catalogue(), Path())
    assert 'unknown system "mirage-unikernel"; did you mean mirage-unikraft?' in caught.value.message
    assert caught.value.hint == "guestbench systems list"


def test_folder_reference_is_relative_to_the_experiment_file(tmp_path: Path) -> None:
    """An experiment that brings its own guest would load only from its own folder."""
    folder = write_system(tmp_path / "guests" / "toy", SYSTEM)
    reference = write_experiment(
        tmp_path, 'name = "mine"\ntitle = "t"\nsystems = ["./guests/toy", "mirage-unikraft"]'
    )
    experiment = load_experiment(reference)
    assert experiment.systems == (str(folder), "mirage-unikraft")
    system = find_system(experiment.systems[0], load_catalogue(), Path("/"))
    assert system.name == "toy"
    assert system_folder(experiment.systems[0]) == folder


def test_system_folder_holds_the_sources_of_a_catalogue_system() -> None:
    """A guest built from source would not find its source."""
    assert (system_folder("mirage-unikraft") / "system.toml").is_file()


def test_unknown_experiment_names_the_nearest() -> None:
    """A user who mistypes an experiment would not learn which there are."""
    with pytest.raises(UsageError, match="did you mean seed"):
        load_experiment("sed")


def test_missing_experiment_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    """A mistyped path would end in a traceback."""
    with pytest.raises(DefinitionError, match=r"gone\.toml: no such file"):
        load_experiment(str(tmp_path / "gone.toml"))


def test_experiment_that_is_a_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    """A folder given where a file is wanted would end in a traceback."""
    with pytest.raises(DefinitionError, match="cannot be read: Is a directory"):
        load_experiment(str(tmp_path))


def test_experiment_that_is_not_text_is_an_error_that_names_it(tmp_path: Path) -> None:
    """An image given where an experiment is wanted would end in a traceback."""
    file = tmp_path / "image.toml"
    file.write_bytes(b"\x7fELF\xff\xfe")
    with pytest.raises(DefinitionError, match="not UTF-8"):
        load_experiment(str(file))


def test_nesting_without_end_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    """A hostile file would end in a traceback."""
    with pytest.raises(DefinitionError, match=r"experiment\.toml: not TOML"):
        load_experiment(write_experiment(tmp_path, "a = " + "[" * 100_000))


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
        load_experiment(write_experiment(tmp_path, EXPERIMENT + "cycle = 3"))
    assert caught.value.exit_code == 2
    assert caught.value.hint.startswith("cat ")


def test_unknown_system_hints_at_the_list(tmp_path: Path) -> None:
    """The hint would not help with the mistake."""
    with pytest.raises(DefinitionError) as caught:
        load_experiment(write_experiment(tmp_path, EXPERIMENT.replace("mirage-unikraft", "nixos")))
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
            "metrics #1: one of image, boot, cost, memory, surface, work, net, calibration is needed, found "
            "the number 1",
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
        load_experiment(reference)
    assert caught.value.messages == (
        f"{reference}: title: missing; text is needed",
        f"{tmp_path}/toy/system.toml: timeout_s: more than 0 seconds are needed, found -1",
    )


def test_own_system_cannot_take_the_name_of_one_beside_it(tmp_path: Path) -> None:
    """Two guests' values would be mixed under one name."""
    write_system(tmp_path / "toy", SYSTEM.replace('"toy"', '"mirage-unikraft"'))
    text = EXPERIMENT.replace('["mirage-unikraft"]', '["mirage-unikraft", "./toy"]')
    assert problems_of_experiment(tmp_path, text) == ('system "mirage-unikraft" is named 2 times',)


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
