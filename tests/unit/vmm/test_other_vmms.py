"""A VMM of another package: found by its entry point, named in an experiment, and run like ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from other_package import installed
from replay import write_recording

from guestbench.cli import run_cli
from guestbench.errors import UsageError
from guestbench.registry import VMMS
from guestbench.run.store import read_store
from guestbench.vmm import find_vmm

TAPE = '''
"""The fake VMM, with a console that is heard a second later."""

from contextlib import contextmanager

from guestbench.errors import UsageError
from guestbench.vmm import Chunk, fake

TRAITS = fake.TRAITS
describe = describe_interactive = fake.describe
identify = fake.identify


def check(platform):
    if platform.machine != "reel":
        raise UsageError(f"a tape has no machine {platform.machine!r}", "guestbench --help")


@contextmanager
def start(spec):
    with fake.start(spec) as machine:
        heard = machine.read_serial

        def hear_later(timeout_s):
            chunk = heard(timeout_s)
            return chunk and Chunk(t_ns=chunk.t_ns + 1_000_000_000, data=chunk.data)

        machine.read_serial = hear_later
        yield machine
'''

SYSTEM = """
name = "one"
title = "One"
family = "unikernel"
ready = "[init done]"
timeout_s = 9
[boot]
type = "kernel"
[provision]
path = "images/one/serial.log"
"""

EXPERIMENT = """
name = "mine"
title = "Mine"
systems = ["./one"]
metrics = ["image", "boot", "memory"]
cycles = 2
warmups = 0
[memory]
cycles = 1
[platform]
vmm = "tape"
machine = "{machine}"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with an experiment of one guest, whose image is a recording."""
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "system.toml").write_text(SYSTEM)
    write_recording(tmp_path / "images/one", [(1.0, b"hello "), (500.0, b"[init done]")])
    (tmp_path / "mine.toml").write_text(EXPERIMENT.format(machine="reel"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # Each trial is made in a process of its own, which has to find the package too.
    paths = filter(None, [str(tmp_path / "site"), os.environ.get("PYTHONPATH")])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    return tmp_path


def test_a_run_is_made_with_a_vmm_of_another_package(project: Path) -> None:
    """A second VMM would need a change in every module that starts a guest or asks it something."""
    entry_points = "[guestbench.vmms]\ntape = recorder.tape\n"
    with installed(project / "site", "recorder", entry_points, {"tape.py": TAPE}):
        assert VMMS.names() == ("fake", "qemu", "tape")
        assert run_cli(["run", "./mine.toml", "-o", "out"]) == 4
    header, records = read_store(project / "out")
    assert header.platform.vmm == "tape"
    ready = [s.value for r in records for s in r.samples if s.metric == "boot.ready"]
    assert ready == [1.5, 1.5]
    # What it lacks is a reason that a reader can see, and no figure.
    (counted,) = [r for r in records if r.trial.purpose == "memory"]
    assert counted.outcome.reason == "this VMM replays a recording: there is no guest"
    assert not counted.samples
    assert counted.outcome.reason in (project / "out" / "comparison_results.md").read_text()


def test_a_vmm_refuses_machines_that_it_does_not_know(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every trial of a run would fail in the VMM's own words."""
    (project / "mine.toml").write_text(EXPERIMENT.format(machine="cassette"))
    entry_points = "[guestbench.vmms]\ntape = recorder.tape\n"
    with installed(project / "site", "recorder", entry_points, {"tape.py": TAPE}):
        assert run_cli(["run", "./mine.toml", "-o", "out"]) == 2
    assert "a tape has no machine 'cassette'" in capsys.readouterr().err
    assert not (project / "out").exists()


def test_a_vmm_that_is_not_there_is_a_mistake_of_the_experiment(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run would end in a traceback where the other package is not installed."""
    assert run_cli(["run", "./mine.toml", "-o", "out"]) == 2
    said = capsys.readouterr().err
    assert 'mine.toml: [platform] vmm: unknown VMM "tape"' in said
    with pytest.raises(UsageError, match="there is no 'tape'"):
        find_vmm("tape")
