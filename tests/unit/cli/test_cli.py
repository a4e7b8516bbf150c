"""The command line end to end on the replaying VMM: exit codes, error and hint lines, what lands where."""

from __future__ import annotations

import json
import shlex
import signal
import struct
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest
from replay import write_recording

from guestbench.cli import run_cli, talk
from guestbench.cli.lazy import LazyGroup
from guestbench.cli.talk import as_typed, slowly
from guestbench.definition.settings import find_tables, list_settings
from guestbench.families import list_families
from guestbench.page.blocks import Page
from guestbench.run.store import STORE_NAME, read_store

HEAVY = {"numpy", "scipy", "matplotlib", "rich", "elftools", "asyncio", "guestbench.run.trials"}
HELP_LOADS = {
    f"guestbench{each}"
    for each in ("", ".cli", ".cli.lazy", ".cli.streams", ".cli.talk", ".errors", ".version")
}

SYSTEM = """
name = "{name}"
title = "The {name} guest"
family = "unikernel"
ready = "[init done]"
timeout_s = 2
[boot]
type = "kernel"
[[failures]]
pattern = "CRIT:"
reason = "the unikernel aborted"
[provision]
path = "images/{name}/serial.log"
hint = "guestbench run --system {name}=PATH"
"""

EXPERIMENT = """
name = "mine"
title = "My comparison"
systems = ["./guests/one", "./guests/two"]
optional = ["./guests/three"]
metrics = ["boot"]
cycles = 3
[platform]
vmm = "fake"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an experiment of three replaying guests, the third without an image."""
    for name in ("one", "two", "three"):
        folder = tmp_path / "guests" / name
        folder.mkdir(parents=True)
        (folder / "system.toml").write_text(SYSTEM.format(name=name))
    write_recording(tmp_path / "images/one", [(1.0, b"hello "), (1500.0, b"[init done]")])
    write_recording(tmp_path / "images/two", [(1.0, b"hello "), (500.0, b"[init done]")])
    (tmp_path / "mine.toml").write_text(EXPERIMENT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_a_run_writes_its_reports_and_prints_a_summary(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one command a newcomer types would not end in a comparison."""
    assert run_cli(["run", "./mine.toml", "-o", "out"]) == 0
    out, err = capsys.readouterr()
    assert "out/comparison_results.md" in out
    assert "one" in out
    assert "1.5" in out
    assert "leaving out three" in err
    assert "--system three=" in err
    assert "[8/8]" in err
    for name in ("comparison_results.md", "results.json", "results.csv", STORE_NAME):
        assert (project / "out" / name).stat().st_size > 0
    header, records = read_store(project / "out")
    assert [a.system for a in header.absent] == ["three"]
    assert len(records) == 8
    assert header.command == ("run", "./mine.toml", "-o", "out")


def test_a_run_is_held_to_the_images_of_another(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A repetition would measure other images, and be taken for one."""
    once = ["run", "./mine.toml", "--cycles", "1", "--warmups", "0", "--only-system", "two"]
    assert run_cli([*once, "-o", "out"]) == 0
    assert run_cli([*once, "--images-of", "out", "-o", "again"]) == 0
    write_recording(project / "images/two", [(1.0, b"hullo "), (500.0, b"[init done]")])
    capsys.readouterr()
    assert run_cli([*once, "--images-of=out", "-o", "other"]) == 2
    error, hint = capsys.readouterr().err.splitlines()[-2:]
    assert error.startswith("error: system two is not as it was in run ")
    assert hint.startswith(f"hint: {shlex.join(['guestbench', *once, '-o', 'other'])}  # ")
    assert run_cli([*once, "--images-of", "nowhere"]) == 3


def test_json_is_the_only_thing_on_stdout(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`guestbench run --json | jq` would choke on talk."""
    assert run_cli(["run", "./mine.toml", "-o", "out", "--json", "--only-system", "two"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((project / "out/results.json").read_text())


def test_a_report_is_made_again_from_the_store_alone(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A report could not be made on another machine, years later."""
    run_cli(["run", "./mine.toml", "-o", "out"])
    names = ("comparison_results.md", "results.json", "results.csv")
    before = {name: (project / "out" / name).read_bytes() for name in names}
    moved = project / "elsewhere"
    moved.mkdir()
    (moved / STORE_NAME).write_bytes((project / "out" / STORE_NAME).read_bytes())
    capsys.readouterr()
    assert run_cli(["report", "elsewhere"]) == 0
    assert {name: (moved / name).read_bytes() for name in names} == before


def test_a_failed_trial_is_reported_and_the_exit_status_says_so(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """CI would take a comparison with crashed guests for a good one."""
    write_recording(project / "images/two", [(1.0, b"CRIT: \x1b[31mboom\n")], exit_status=0)
    assert run_cli(["run", "./mine.toml", "-o", "out"]) == 4
    err = capsys.readouterr().err
    assert "error: 4 of 8 trials failed" in err
    assert "the unikernel aborted: CRIT: \\x1b[31mboom" in err
    assert "hint: less out/comparison_results.md" in err
    assert "boom" in (project / "out/comparison_results.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["run", "sead"], 2, "unknown experiment"),
        (["run", "./mine.toml", "--only-system", "onne"], 2, "'onne' is not in experiment mine"),
        (["run", "./mine.toml", "--system", "one"], 2, "not of the form NAME=PATH"),
        (["run", "./mine.toml", "--system", "one=nowhere"], 2, "nowhere"),
        (["run", "./mine.toml", "--metrics", "boot,sise"], 2, "unknown metric family 'sise'"),
        (["run", "./mine.toml", "--cycles", "0"], 2, "0 is not in the range"),
        (["run", "./mine.toml", "--cycles", "9" * 400], 2, "is not in the range 1<=x<=100000"),
        (["run", "./mine.toml", "--warmups", "100001"], 2, "is not in the range 0<=x<=100000"),
        (["run", "./mine.toml", "--seed", str(2**63)], 2, "is not in the range"),
        (["calibrate", "--blocks", "100001"], 2, "is not in the range"),
        (["run", "./mine.toml", "--accel", "hvf"], 2, "'hvf' is not one of"),
        (["run", "./mine.toml", "--set", "memory.bots=3"], 2, "there are: cycles, settle_s, boots, well_s"),
        (["run", "--resume", "nowhere"], 3, "cannot read nowhere/store.jsonl"),
        (["run", "--resume", "nowhere", "--cycles", "3"], 2, "takes no other setting"),
        (["run", "--resume", "nowhere", "--warmups", "0"], 2, "takes no other setting"),
        (["run", "./nowhere.toml"], 2, "no such file"),
        (["run", "--no-such-option"], 2, "No such option"),
        (["report", "nowhere"], 3, "cannot read nowhere/store.jsonl"),
        (["status", "nowhere"], 3, "cannot read nowhere/store.jsonl"),
        (["run", "./mine.toml", "--budget", "soon"], 2, "'soon' is no time such as 90s"),
        (["systems", "show", "debain-12-nocloud"], 2, "debian-12-nocloud"),
        (["systems", "build", "no-such-system"], 2, "no-such-system"),
        (["systems", "fetch", "floor"], 2, "floor"),
        (["nonsense"], 2, "No such command"),
    ],
)
@pytest.mark.usefixtures("project")
def test_bad_input_is_one_error_line_and_one_hint(
    arguments: list[str], status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip of the hand would end in a traceback, or in an error that does not say what to type."""
    assert run_cli(arguments) == status
    out, err = capsys.readouterr()
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    hints = [line for line in err.splitlines() if line.startswith("hint: ")]
    assert len(errors) == 1
    assert words in errors[0]
    assert len(hints) == 1
    assert out == ""
    assert shlex.split(hints[0].removeprefix("hint: "))
    assert not Path("results").exists()


def test_all_mistakes_of_an_experiment_are_told_at_once(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The user would mend a file one mistake at a time."""
    (project / "mine.toml").write_text(
        EXPERIMENT.replace("cycles = 3", 'cycels = 3\nwarmups = "one"').replace("vmm", "vvm")
    )
    assert run_cli(["run", "./mine.toml"]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 3
    assert any("cycels" in line and "cycles" in line for line in errors)
    assert any("warmups" in line for line in errors)
    assert any("platform" in line and "vvm" in line and "vmm" in line for line in errors)
    assert not (project / "results").exists()


def test_a_results_folder_in_use_is_not_touched(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second run into the same folder would destroy the first."""
    assert run_cli(["run", "./mine.toml", "-o", "out"]) == 0
    before = (project / "out" / STORE_NAME).read_bytes()
    capsys.readouterr()
    assert run_cli(["run", "./mine.toml", "-o", "out"]) == 3
    assert "out holds a run already" in capsys.readouterr().err
    assert (project / "out" / STORE_NAME).read_bytes() == before


def test_help_of_run_lists_families_and_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody could find out what `--metrics` and `--set` take."""
    assert run_cli(["run", "--help"]) == 0
    words = set(capsys.readouterr().out.split())
    assert {family.name for family in list_families()} <= words
    assert {f"{each.name}={each.default}" for each in list_settings(find_tables())} <= words


def test_settings_of_tables_are_those_of_the_run(project: Path) -> None:
    """A setting on the command line would be taken and forgotten."""
    settings = ["--set", "platform.memory_mib=64", "--set", "memory.boots=5", "--set", "work.workloads=cpu"]
    assert run_cli(["run", "./mine.toml", "-o", "out", "--cycles", "1", *settings]) == 0
    experiment = read_store(project / "out")[0].experiment
    assert (experiment.platform.memory_mib, experiment.platform.cpus) == (64, 1)
    assert (experiment.settings["memory"]["boots"], experiment.settings["memory"]["cycles"]) == (5, 2)
    assert experiment.settings["work"]["workloads"] == ["cpu"]


def test_settings_and_their_values_are_completed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever presses the tab key would have to look names up."""
    monkeypatch.setenv("_GUESTBENCH_COMPLETE", "zsh_complete")
    monkeypatch.setenv("COMP_WORDS", "guestbench run --set work.workloads=mer")
    monkeypatch.setenv("COMP_CWORD", "3")
    with pytest.raises(SystemExit):
        run_cli([])
    assert "work.workloads=merkle" in capsys.readouterr().out.splitlines()


def test_a_run_without_output_folder_names_it_after_the_run(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Results would be scattered, or overwrite each other."""
    assert run_cli(["run", "./mine.toml", "--cycles", "1"]) == 0
    (folder,) = (project / "results").iterdir()
    assert read_store(folder)[0].run == folder.name
    assert str(folder.relative_to(project) / "comparison_results.md") in capsys.readouterr().out


def modules_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after `code`."""
    code = f"import atexit, sys; atexit.register(lambda: print('', *sys.modules, sep=' ')); {code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["systems", "--help"]])
def test_help_loads_nothing_but_click(arguments: list[str]) -> None:
    """`guestbench --help` would load what only a command needs, and take a second."""
    ours = modules_after(f"from guestbench.cli import run_cli; run_cli({arguments})")
    clicks = modules_after("import click; click.Group('x').main(['--help'], standalone_mode=False)")
    assert ours - clicks - {f"guestbench.cli.{each}" for each in arguments} == HELP_LOADS | {"signal"}


@pytest.mark.parametrize("arguments", [["run"], ["systems", "exec"], ["export"], ["diff"], ["doctor"]])
def test_help_of_a_command_loads_no_science(arguments: list[str]) -> None:
    """The options of a command could not be looked up, or completed, without waiting for NumPy."""
    code = f"from guestbench.cli import run_cli; run_cli({[*arguments, '--help']})"
    assert not (HEAVY - {"asyncio"}) & modules_after(code)


@pytest.mark.parametrize("group", ["guestbench.cli", "guestbench.cli.systems"])
def test_listed_help_is_that_of_the_command(group: str) -> None:
    """`guestbench --help` would say something else of a command than the command itself."""
    package = import_module(group)
    found: LazyGroup = getattr(package, "command", None) or package.cli
    files = {each.stem for each in Path(str(package.__file__)).parent.iterdir()} - {"__pycache__", "__init__"}
    commands = {name: import_module(f"{group}.{name}") for name in files}
    real = {name: each.command for name, each in commands.items() if hasattr(each, "command")}
    assert {name: each.help for name, each in found.commands.items()} == {
        name: each.help.splitlines()[0] for name, each in real.items()
    }
    assert all(each.name == name for name, each in real.items())


def test_completion_of_a_command_imports_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shell would freeze at each press of the tab key."""
    monkeypatch.setenv("_GB_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "guestbench ")
    monkeypatch.setenv("COMP_CWORD", "1")
    code = "from guestbench.cli import cli; cli.main([], 'guestbench', '_GB_COMPLETE', False)"
    loaded = modules_after(code)
    assert "click.shell_completion" in loaded
    assert {each for each in loaded if each.startswith("guestbench")} == HELP_LOADS


@pytest.mark.parametrize("family", [family.name for family in list_families()])
def test_a_worker_is_light(family: str) -> None:
    """Every trial would pay for modules that only the parent needs, or that find other packages."""
    code = f"""
import sys, guestbench.run.worker, guestbench.vmm.qemu.machine
from guestbench.families import find_hook
find_hook({family!r}, "probe", "measure")
print(*sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    parents = {f"guestbench.{each}" for each in ("run.trials", "definition", "provision", "analysis", "page")}
    assert not (HEAVY | parents | {"click", "importlib.metadata"}) & set(done.stdout.split())


def test_hints_call_guestbench_as_the_user_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `make compare` guestbench is not on the PATH, and the hint would not work when typed."""
    monkeypatch.setenv("PATH", "/nowhere")
    hint = "df -h .  # then: guestbench run --resume results/x-guestbench"
    expected = "df -h .  # then: .venv/bin/guestbench run --resume results/x-guestbench"
    assert as_typed(hint, ".venv/bin/guestbench") == expected
    assert as_typed(hint, "/usr/bin/pytest") == hint


BAD_IMAGES = {
    "empty": b"",
    "text": b"#!/bin/sh\necho hello\n",
    "arm": b"\x7fELF\x02\x01\x01"
    + bytes(9)
    + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0),
    "zeros": bytes(1 << 20),
    "qcow2": b"QFI\xfb" + struct.pack(">I", 3) + bytes(96),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
@pytest.mark.parametrize("system", ["mirage-unikraft", "debian-12-nocloud"])
@pytest.mark.usefixtures("project")
def test_a_bad_image_is_refused_before_anything_starts(
    system: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A damaged image would cost a timeout for each of ten boots, and then be called a slow guest."""
    Path("bad image").write_bytes(BAD_IMAGES[kind])
    assert run_cli(["run", "seed", "--only-system", system, "--system", f"{system}=bad image"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "bad image" in errors[0]
    assert shlex.split(err.splitlines()[-1].removeprefix("hint: "))
    assert not Path("results").exists()


def test_what_takes_long_is_told_and_what_does_not_is_not(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user would not know why nothing happens, or be told of every moment."""
    monkeypatch.setattr(talk, "SILENT_S", 3600)
    before = signal.getsignal(signal.SIGALRM)
    left = signal.getitimer(signal.ITIMER_REAL)
    with slowly("reading \udcff"):
        pass
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(talk, "SILENT_S", 0.01)
    with slowly("reading \udcff"):
        time.sleep(0.2)
        time.sleep(0.2)
    assert capfd.readouterr().err == "reading \\udcff …\n"
    assert signal.getsignal(signal.SIGALRM) == before
    assert (signal.getitimer(signal.ITIMER_REAL)[0] > 0) is (left[0] > 0)


def test_inspection_that_takes_long_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large image would be looked into for a quarter of a minute in silence."""
    monkeypatch.setattr(talk, "SILENT_S", 0.01)
    monkeypatch.setattr("guestbench.inspect.inspect_image", lambda *_: time.sleep(0.2))
    monkeypatch.setattr("guestbench.report.inspection.describe_inspection", lambda _: Page(title="x"))
    image = tmp_path / "image"
    image.write_bytes(b"\x7fELF" + bytes(60))
    assert run_cli(["inspect", str(image)]) == 0
    assert f"looking into {image}: files, programs and code …" in capfd.readouterr().err
