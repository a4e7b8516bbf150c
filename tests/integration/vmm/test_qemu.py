"""The real QEMU on the floor guest: stamps, outcomes, and what is left behind."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import msgspec
import pytest

from guestbench import provision
from guestbench.definition.systems import load_catalogue
from guestbench.families.calibration.probe import find_late_ns
from guestbench.guest.serial import SerialLog
from guestbench.guest.watch import Booted, watch_boot
from guestbench.host import process
from guestbench.host.limits import Limits
from guestbench.model import READY, Accel, Crashed, Guest, Ok, Platform, Role, System, TimedOut, VmmFailed
from guestbench.run.store import STORE_NAME, read_store
from guestbench.vmm import Lacking, LaunchSpec, Need
from guestbench.vmm.fake import FakeMachine, read_recording
from guestbench.vmm.qemu.machine import start

pytestmark = pytest.mark.qemu

TCG = Platform(accel=Accel.TCG)
HALT, SPIN = b"\xfa\xf4\xeb\xfc", b"\xfa\x90\xeb\xfc"
"""How the floor ends, `cli; hlt; jmp`, and how it would not."""


@pytest.fixture(scope="module")
def floor() -> Guest:
    """The floor guest, built."""
    catalogue = load_catalogue()
    return provision.prepare(catalogue["floor"], {}, catalogue, build=True, say=lambda _: None)


def boot(guest: Guest, folder: Path, platform: Platform = TCG, **changes: object) -> Booted:
    """Boot a guest, its system changed by `changes`."""
    system: System = msgspec.structs.replace(guest.system, **changes)
    spec = LaunchSpec(boot=system.boot, images=guest.images, platform=platform, folder=folder)
    with start(spec) as machine:
        return watch_boot(machine, system, SerialLog())


def test_the_floor_gets_ready(floor: Guest, tmp_path: Path) -> None:
    """The instrument's own zero point would be missing."""
    result = boot(floor, tmp_path)
    assert isinstance(result.outcome, Ok)
    ready_s = next(mark.t_ns / 1e9 for mark in result.marks if mark.name == READY)
    assert 0.005 < ready_s < 10
    assert result.cpu_ns is not None
    assert 0.001 < result.cpu_ns / 1e9 < 10 * ready_s
    times = [mark.t_ns for mark in result.marks]
    assert times == sorted(times)


@pytest.mark.parametrize(
    ("bounds", "told"),
    [
        (Limits(cpu_s=1), "it reached its limit of 1 s of CPU time"),
        (Limits(cpu_s=60, memory_bytes=64 << 20), "it got no more memory, of which its limit is 64 MiB"),
        (Limits(cpu_s=60, file_bytes=1 << 20), "it reached its limit of 1 MiB for a file"),
    ],
)
def test_a_limit_that_is_reached_is_named(
    bounds: Limits, told: str, floor: Guest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users would look for the mistake in their guest, or in QEMU."""
    monkeypatch.setattr("guestbench.vmm.qemu.limits.find_limits", lambda *_, **__: bounds)
    kernel = Path(floor.images[Role.KERNEL].path).read_bytes()
    assert HALT in kernel
    (tmp_path / "kernel").write_bytes(kernel.replace(HALT, SPIN))
    image = msgspec.structs.replace(floor.images[Role.KERNEL], path=str(tmp_path / "kernel"))
    system = msgspec.structs.replace(floor.system, ready="never", timeout_s=60)
    spec = LaunchSpec(
        boot=system.boot,
        images={Role.KERNEL: image},
        platform=TCG,
        folder=tmp_path,
        needs=frozenset({Need.MEMORY}) if bounds.file_bytes else frozenset(),  # which lies in a file
    )
    with start(spec) as machine:
        outcome = watch_boot(machine, system, SerialLog()).outcome
    assert outcome == VmmFailed(reason=f"the VMM was stopped: {told}")


def test_stamps_agree_with_those_qemu_makes(floor: Guest, tmp_path: Path) -> None:
    """Every boot time would be wrong by what our reading of the console adds."""
    spec = LaunchSpec(
        boot=floor.system.boot,
        images=floor.images,
        platform=TCG,
        folder=tmp_path,
        needs=frozenset({Need.STAMPS}),
    )
    late_ms = []
    for _ in range(7):
        with start(spec) as machine:
            result = watch_boot(machine, floor.system, SerialLog())
            ready_ns = next(mark.t_ns for mark in result.marks if mark.name == READY)
            late_ns = find_late_ns(machine, floor.system.ready.encode(), ready_ns)
        assert not isinstance(late_ns, Lacking)
        late_ms.append(late_ns / 1e6)
    assert -0.1 < median(late_ms) < 1.5
    assert min(late_ms) > -0.1


@pytest.mark.network
def test_a_reader_that_is_kept_waiting_loses_no_byte(tmp_path: Path) -> None:
    """On a busy host a marker could miss a byte, and a guest that was ready be called one that hangs."""
    catalogue = load_catalogue()
    guest = provision.prepare(catalogue["linux-minimal"], {}, catalogue, say=lambda _: None)
    spec = LaunchSpec(
        boot=guest.system.boot,
        images=guest.images,
        platform=TCG,
        folder=tmp_path,
        needs=frozenset({Need.STAMPS}),
    )
    heard = bytearray()
    with start(spec) as machine:
        while guest.system.ready.encode() not in heard and machine.now_ns() < 60e9:
            chunk = machine.read_serial(1.0)
            heard += chunk.data if chunk else b""
            time.sleep(0.02)
        assert not isinstance(machine.stamps, Lacking)
        written = machine.stamps.read()
        assert not isinstance(written, Lacking)
        sent = b"".join(chunk.data for chunk in written)
    assert len(heard) > 10_000
    assert bytes(heard) == sent[: len(heard)]


def test_a_marker_that_never_comes_times_out(floor: Guest, tmp_path: Path) -> None:
    """A guest that hangs would hang the run."""
    result = boot(floor, tmp_path, ready="never said", timeout_s=1.5)
    assert isinstance(result.outcome, TimedOut)
    assert "last line" in result.outcome.reason


def test_a_qemu_that_refuses_is_a_crash_that_quotes_it(floor: Guest, tmp_path: Path) -> None:
    """A bad `extra` option would look like a guest that never boots."""
    platform = msgspec.structs.replace(TCG, extra=("-device", "no-such-device"))
    result = boot(floor, tmp_path, platform)
    assert isinstance(result.outcome, Crashed)
    assert "exited with status 1" in result.outcome.reason
    assert "no-such-device" in result.outcome.reason


@pytest.mark.parametrize("how", [signal.SIGABRT, signal.SIGSEGV])
def test_a_qemu_that_breaks_is_not_the_guests_crash(
    how: signal.Signals, floor: Guest, tmp_path: Path
) -> None:
    """A QEMU that aborts by its own assertion would be a guest that crashes, or lacks memory."""
    never = msgspec.structs.replace(floor.system, ready="never said", timeout_s=20.0)
    spec = LaunchSpec(boot=floor.system.boot, images=floor.images, platform=TCG, folder=tmp_path)
    with start(spec) as machine:
        assert machine.pid is not None
        timer = threading.Timer(0.5, os.kill, (machine.pid, how))
        timer.start()
        outcome = watch_boot(machine, never, SerialLog()).outcome
        timer.join()
    assert isinstance(outcome, VmmFailed)
    assert outcome.reason.startswith(f"the VMM itself ended by {how.name}; it said ")


def test_image_paths_with_commas_and_spaces_boot(floor: Guest, tmp_path: Path) -> None:
    """A user's `my,disk image` would be taken for QEMU options."""
    odd = tmp_path / "a,b c=d"
    odd.write_bytes(Path(floor.images[Role.KERNEL].path).read_bytes())
    image = msgspec.structs.replace(floor.images[Role.KERNEL], path=str(odd))
    result = boot(msgspec.structs.replace(floor, images={Role.KERNEL: image}), tmp_path)
    assert isinstance(result.outcome, Ok)


def start_run(folder: Path, cycles: int) -> list[str]:
    """The command of a run of the floor's image and boots alone."""
    argv = [sys.executable, "-m", "guestbench", "run", "--only-system", "floor", "--accel", "tcg"]
    return [*argv, "--metrics", "image,boot", "--cycles", str(cycles), "-o", str(folder)]


def wait_for_records(folder: Path, count: int) -> None:
    """Wait until a run has stored `count` lines."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        store = folder / STORE_NAME
        if store.exists() and store.read_bytes().count(b"\n") >= count:
            return
        time.sleep(0.01)
    raise AssertionError(f"no {count} records within a minute")


def find_children(ancestor: int) -> set[int]:
    """All processes below `ancestor` now."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found: set[int] = set()
    while more := {pid for pid, parent in parents.items() if parent in found | {ancestor}} - found:
        found |= more
    return found


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("delay_s", [0.0, 0.03, 0.08, 0.15])
def test_sigkill_leaves_no_vm_and_loses_no_finished_trial(
    floor: Guest, tmp_path: Path, delay_s: float
) -> None:
    """A killed run would leave a QEMU that disturbs every later measurement, or lose what it had."""
    folder = tmp_path / "run"
    with process.start(start_run(folder, 500)) as child:
        wait_for_records(folder, 5)
        time.sleep(delay_s)
        family = find_children(child.pid)
        os.kill(child.pid, signal.SIGKILL)
        child.wait(5)
        late = find_children(child.pid)
    deadline = time.monotonic() + 5
    while any(map(is_alive, family | late)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [pid for pid in family | late if is_alive(pid)]
    _, records = read_store(folder)
    assert len(records) >= 4
    assert [r.trial.id[:3] for r in records] == [f"{n:03}" for n in range(1, len(records) + 1)]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT as on a terminal. A background job ignores it, and so would what it starts."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, inherited)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_stops_cleanly_and_resume_goes_on(floor: Guest, tmp_path: Path) -> None:
    """Ctrl-C would end in a traceback, or the run could not be continued."""
    folder = tmp_path / "run"
    with (
        (tmp_path / "stderr").open("wb") as stderr,
        process.start(start_run(folder, 15), stderr=stderr) as child,
    ):
        wait_for_records(folder, 5)
        os.kill(child.pid, signal.SIGINT)
        assert child.wait(20) == 130
    words = (tmp_path / "stderr").read_text()
    assert "error: interrupted; every finished trial is kept" in words
    assert f"hint: guestbench run --resume {folder}" in words
    assert "Traceback" not in words
    before = (folder / STORE_NAME).read_bytes()
    done = process.run([sys.executable, "-m", "guestbench", "run", "--resume", str(folder)])
    assert str(folder / "comparison_results.md").encode() in done.stdout
    assert (folder / STORE_NAME).read_bytes().startswith(before)
    header, records = read_store(folder)
    assert [r.trial for r in records] == list(header.trials)


def test_a_trials_serial_log_can_be_replayed(floor: Guest, tmp_path: Path) -> None:
    """What a trial kept of the console would not give the same marks again."""
    folder = tmp_path / "run"
    process.run(start_run(folder, 1))
    record = read_store(folder)[1][-1]
    chunks, _ = read_recording(folder / record.artifacts["serial"])
    replayed = watch_boot(FakeMachine(chunks, None, ("fake",)), floor.system, SerialLog())
    assert [mark.name for mark in replayed.marks] == [mark.name for mark in record.marks]
    for again, mark in zip(replayed.marks, record.marks, strict=True):
        assert abs(again.t_ns - mark.t_ns) < 2_000_000
