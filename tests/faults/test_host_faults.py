"""Clocks that jump, hosts that sleep, QEMUs that hang and terminals that go away, under real runs."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from small_guests import GUEST, SAY_READY, SYSTEM

from guestbench.model import Ok, Record, TimedOut
from guestbench.run.store import read_store

pytestmark = [pytest.mark.qemu, pytest.mark.slow]

GUESTBENCH = [sys.executable, "-m", "guestbench"]
RUN = ["run", "seed", "--metrics", "boot", "--accel", "tcg", "--warmups", "0", "--only-system", "floor"]
RUN += ["--set", "platform.memory_mib=64", "-o", "run"]
LATEST_S = 300.0
BUSY_S = 10.0
"""What a trial may take beside its time on a busy host; on a quiet one it is half a second."""
CLOCKS = Path(__file__).with_name("clocks.c")
HANGING_QEMU = """#!/bin/sh
case "$*" in
    *kernel.elf*) exec sleep 1000 ;;
    *) exec {qemu} "$@" ;;
esac
"""


def run(folder: Path, *arguments: str, **environment: str) -> tuple[Record, ...]:
    """The records of a whole run, which tells of no traceback."""
    done = subprocess.run(
        [*GUESTBENCH, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=LATEST_S,
        check=False,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    header, records = read_store(folder / "run")
    assert {record.trial.id for record in records} == {trial.id for trial in header.trials}
    assert (folder / "run" / "comparison_results.md").is_file()
    return records


@pytest.fixture(scope="module")
def clocks(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The library by which clocks jump."""
    library = tmp_path_factory.mktemp("clocks") / "clocks.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, CLOCKS], check=True)
    return str(library)


def test_a_wall_clock_that_jumps_moves_no_figure(clocks: str, tmp_path: Path) -> None:
    """A correction of the clock in mid-run would be a boot of an hour, or one that ended before it began."""
    records = run(tmp_path, *RUN, "--cycles", "6", LD_PRELOAD=clocks, STEP_WALL="1")
    started = [record.started for record in records]
    assert started != sorted(started), "the clock did not jump"
    for record in records:
        assert isinstance(record.outcome, Ok)
        (ready_s,) = (each.value for each in record.samples if each.metric == "boot.ready")
        assert 0.005 < ready_s < record.wall_ns / 1e9 < 60


def test_a_host_that_slept_is_told(clocks: str, tmp_path: Path) -> None:
    """A boot during which the lid of the laptop was closed would be taken for one like the others."""
    slept = tmp_path / "slept"
    environment = {**os.environ, "LD_PRELOAD": clocks, "SLEPT": str(slept)}
    with subprocess.Popen(
        [*GUESTBENCH, *RUN, "--cycles", "8"],
        cwd=tmp_path,
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as tool:
        await_records(tmp_path / "run", 2)
        # All of it stands still, as it does when a host is suspended, and wakes a minute later.
        tree = [tool.pid, *find_children(tool.pid)]
        for pid in tree:
            os.kill(pid, signal.SIGSTOP)
        slept.touch()
        for pid in reversed(tree):
            os.kill(pid, signal.SIGCONT)
        _, told = tool.communicate(timeout=LATEST_S)
    assert tool.returncode == 0, told.decode()
    header, records = read_store(tmp_path / "run")
    assert len(records) == len(header.trials)
    slept_s = [s for record in records if isinstance(s := record.conditions.suspended_s, float)]
    # Between two trials it is nobody's.
    assert len(slept_s) <= 1
    assert all(59 < each < 61 for each in slept_s)
    report = (tmp_path / "run/comparison_results.md").read_text()
    assert ("The host was suspended during 1 of" in report) == bool(slept_s)


def find_children(pid: int) -> list[int]:
    """All processes below one, its children first."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [each for child in map(int, found) for each in (child, *find_children(child))]


def await_records(folder: Path, count: int) -> None:
    """Wait until a run has so many records."""
    deadline = time.monotonic() + LATEST_S
    while read(folder / "store.jsonl").count(b"\n") <= count:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("after", [0, 2])
def test_a_terminal_that_goes_away_ends_a_run_in_order(after: int, tmp_path: Path) -> None:
    """A closed window would take what was measured with it, or leave a QEMU behind."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tmp_path)
        os.execv(sys.executable, [*GUESTBENCH, *RUN, "--cycles", "8"])
    await_records(tmp_path / "run", after)
    os.close(terminal)
    deadline = time.monotonic() + LATEST_S
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    header, before = read_store(tmp_path / "run")
    assert after <= len(before) < len(header.trials)
    assert not [each for each in Path("/proc").glob("[0-9]*/cmdline") if str(tmp_path).encode() in read(each)]
    records = run(tmp_path, "run", "--resume", "run")
    assert records[: len(before)] == before


def read(file: Path) -> bytes:
    """A file, empty where there is none."""
    try:
        return file.read_bytes()
    except OSError:
        return b""


def test_a_qemu_that_hangs_at_start_costs_its_time_and_no_more(tmp_path: Path) -> None:
    """A night's run would stand still, or each such trial take what nobody had allowed it."""
    make_guest(tmp_path, "hangs")
    (tmp_path / "bin").mkdir()
    qemu = subprocess.run(["which", "qemu-system-x86_64"], capture_output=True, text=True, check=True)
    (tmp_path / "bin/qemu-system-x86_64").write_text(HANGING_QEMU.format(qemu=qemu.stdout.strip()))
    (tmp_path / "bin/qemu-system-x86_64").chmod(0o755)
    experiment = (
        'name = "x"\ntitle = "x"\nsystems = ["./hangs"]\nmetrics = ["boot"]\ncycles = 2\nwarmups = 0\n'
    )
    (tmp_path / "x.toml").write_text(experiment)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    records = run(tmp_path, "run", "./x.toml", "--accel", "tcg", "-o", "run", PATH=path)
    assert len(records) == 2
    assert all(isinstance(record.outcome, TimedOut) for record in records)
    assert all(6 <= record.wall_ns / 1e9 <= 6 + BUSY_S for record in records)


def make_guest(folder: Path, name: str, body: str = SAY_READY) -> None:
    """A guest of a few instructions, whose time is 6 s."""
    (folder / name).mkdir()
    (folder / name / "system.toml").write_text(SYSTEM.format(name=name))
    (folder / name / "guest.S").write_text(GUEST.format(body=body))


def test_a_qemu_that_freezes_costs_its_time_and_no_more(tmp_path: Path) -> None:
    """A trial that is asked something all the while would end when nobody had answered, and not on time."""
    make_guest(tmp_path, "silent", "")
    experiment = 'name = "x"\ntitle = "x"\nsystems = ["./silent"]\nmetrics = ["memory"]\nwarmups = 0\n'
    (tmp_path / "x.toml").write_text(f"{experiment}[memory]\ncycles = 1\nboots = 1\n")
    argv = [*GUESTBENCH, "run", "./x.toml", "--accel", "tcg", "-o", "run"]
    with subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as tool:
        frozen: set[int] = set()
        while tool.poll() is None:
            for pid in find_children(tool.pid):
                words = read(Path(f"/proc/{pid}/cmdline")).split(b"\0")
                if pid not in frozen and b"qemu-system" in words[0] and b"-kernel" in words:
                    time.sleep(1.0)  # by then it waits for its guest
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGSTOP)
                        frozen.add(pid)
            time.sleep(0.05)
    _, records = read_store(tmp_path / "run")
    stuck = [record for record in records if isinstance(record.outcome, TimedOut)]
    assert frozen
    assert stuck
    assert all(record.wall_ns / 1e9 <= 6 + BUSY_S for record in stuck)
