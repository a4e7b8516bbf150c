"""Work that goes wrong on a real QEMU: each way is an outcome with its reason and a kept record."""

from __future__ import annotations

import gzip
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest
from report_pages import contents_of
from silent_progress import SilentProgress

from guestbench.errors import ImageError
from guestbench.host import process
from guestbench.model import (
    BootWork,
    Crashed,
    Guest,
    Header,
    Image,
    Kit,
    KitWork,
    Ok,
    Outcome,
    Record,
    Role,
    Service,
    TimedOut,
    VmmFailed,
    Workload,
    Wrong,
)
from guestbench.provision import cpio, ext4
from guestbench.provision.kit import run_on_host
from guestbench.report import write_reports
from guestbench.run.jobs import make_job
from guestbench.run.prepare import complete, prepare
from guestbench.run.request import Request
from guestbench.run.store import create_store, read_store
from guestbench.run.trials import make_trials
from guestbench.run.worker import run_trial
from guestbench.vmm import Chunk, Lacking, LaunchSpec, find_vmm
from guestbench.vmm.qemu.machine import QemuMachine

pytestmark = [pytest.mark.qemu, pytest.mark.network]

SOURCE = Path(__file__).parents[2] / "guests" / "misworks.c"
GCC = (
    *("gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-nostdlib", "-ffreestanding"),
    *("-fno-stack-protector", "-fno-pie", "-no-pie", "-Wl,--build-id=none"),
)
MODES = ("good", "crashes", "lies", "fails", "hangs", "eats", "silent")
MEMORY_MIB = 128
"""Little, so that a guest is soon out of it."""
HANG_S = 3.0
BOOT_S = 12.0
"""What the guest that is booted with its work has for the boot: it takes 2.5 s under emulation."""

EXPERIMENT = f"""
name = "faults"
title = "Work that goes wrong"
systems = ["linux-minimal", "linux-app"]
metrics = ["work"]
[work]
settle_s = 1
cycles = 1
workloads = ["cpu"]
[platform]
accel = "tcg"
memory_mib = {MEMORY_MIB}
"""


def describe(path: Path) -> Image:
    """An image file, of which nothing is remembered in the cache."""
    stat = path.stat()
    return Image(path=str(path), size_bytes=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=str(stat.st_ino))


def make_kit(folder: Path) -> Kit:
    """A kit whose every workload is one way of going wrong, held against the one that does not."""
    tree = folder / "tree"
    tree.mkdir()
    program = tree / "misworks"
    process.run([*GCC, "-o", program, SOURCE])
    ext4.write_image(folder / "kit.ext4", tree)
    workloads = [
        Workload(
            name=mode,
            title=f"It {mode}",
            program=program.name,
            arguments=(mode,),
            metric=f"work.{mode}",
            unit="rounds",
            timeout_s=HANG_S if mode == "hangs" else 60.0,
        )
        for mode in MODES
    ]
    # Its lines are all of one name, whatever way it goes wrong in.
    expected = run_on_host(describe(program), msgspec.structs.replace(workloads[0], name="misworks"))
    works = [KitWork(workload=each, program=describe(program), expected=expected) for each in workloads]
    return Kit(works=tuple(works), disk=describe(folder / "kit.ext4"), server=describe(program))


def teach(guest: Guest, kit: Kit, folder: Path) -> Guest:
    """The guest, able to do what is in the kit."""
    system = msgspec.structs.replace(guest.system, workloads=MODES)
    if not isinstance(system.work, BootWork):
        return msgspec.structs.replace(guest, system=system)
    assert kit.server is not None
    program = cpio.regular_file(Path(kit.server.path).read_bytes(), executable=True)
    initrd = folder / "initrd.gz"
    packed = gzip.compress(cpio.pack({"misworks": program}), mtime=0)
    initrd.write_bytes(Path(guest.images[Role.INITRD].path).read_bytes() + packed)
    return msgspec.structs.replace(
        guest,
        system=msgspec.structs.replace(system, timeout_s=BOOT_S),
        images={**guest.images, Role.INITRD: describe(initrd)},
    )


@pytest.fixture(scope="module")
def header(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Header]:
    """A run of faults that is about to begin; what it makes in the cache is in one of its own."""
    folder = tmp_path_factory.mktemp("faults")
    experiment = folder / "faults.toml"
    experiment.write_text(EXPERIMENT)
    found = prepare(Request(experiment=str(experiment), seed=1), lambda _: None)
    kit = make_kit(folder)
    guests = tuple(teach(guest, kit, folder) for guest in found.guests)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield complete(msgspec.structs.replace(found, guests=guests, kit=kit))


@pytest.fixture(scope="module")
def folder(header: Header, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of that run, made."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    with create_store(folder, header) as store:
        make_trials(store, header, (), SilentProgress())
    return folder


# --- programs that go wrong -------------------------------------------------------------------------------


CASES: dict[str, dict[str, tuple[type[Outcome], tuple[str, ...]]]] = {
    "linux-minimal": {
        "good": (Ok, ()),
        "crashes": (Crashed, ("crashes began but did not end", "ended by signal 11")),
        "lies": (Wrong, ("lies printed digest 1111", "on the host the same program printed 0000")),
        "fails": (Crashed, ("fails ended with status 3",)),
        "hangs": (Crashed, ("misworks hangs", "took more than 3 s in the guest and was ended")),
        "eats": (Crashed, ("eats began but did not end", "killed by the guest's kernel for want of memory")),
        "silent": (Crashed, ("silent did not begin its work; ended with status 0",)),
    },
    "linux-app": {
        "good": (Ok, ()),
        "crashes": (Crashed, ("kernel panic: ", "Attempted to kill init!")),
        "lies": (Wrong, ("lies printed digest 1111", "on the host the same program printed 0000")),
        "hangs": (TimedOut, ("hangs began but did not end", "took more than 15 s")),
        "eats": (Crashed, ("kernel panic: ", "deadlocked on memory")),
        "silent": (Crashed, ("silent did not begin its work",)),
    },
}


@pytest.mark.parametrize(
    ("system", "mode"),
    [(system, mode) for system, modes in CASES.items() for mode in modes],
)
def test_a_program_that_goes_wrong_is_an_outcome(folder: Path, system: str, mode: str) -> None:
    """A guest that computes wrongly would have a speed, or one that hangs or dies would stop the run."""
    kind, words = CASES[system][mode]
    (record,) = [r for r in read_store(folder)[1] if (r.trial.system, r.trial.workload) == (system, mode)]
    assert isinstance(record.outcome, kind), record.outcome
    assert [word for word in words if word not in record.outcome.reason] == [], record.outcome.reason
    assert [report.workload for report in record.work] == ([] if mode == "silent" else ["misworks"])
    assert (folder / record.artifacts["serial"]).stat().st_size > 0


def test_the_report_of_such_a_run_gives_the_reasons(folder: Path) -> None:
    """A reader would see an empty cell where a guest failed, and not know that it had."""
    header, records = read_store(folder)
    report = write_reports(folder, contents_of(header, records))["comparison_results.md"].read_text()
    for told in ("the guest's kernel for want of memory", "Attempted to kill init!", "took more than 15 s"):
        assert told in report
    assert len(records) == len(header.trials) == 2 * len(MODES)


# --- hosts that go wrong ----------------------------------------------------------------------------------


def make(header: Header, folder: Path, system: str, mode: str) -> Record:
    """One trial of the run, in this process."""
    (trial,) = [t for t in header.trials if (t.system, t.workload) == (system, mode)]
    return run_trial(make_job(trial, header, folder))


@pytest.mark.parametrize("system", ["linux-minimal", "linux-app"])
def test_a_qemu_that_is_killed_at_work_is_an_outcome(
    header: Header, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str
) -> None:
    """The run would stop, or wait for a guest that is no more, when the host's kernel kills a VMM."""
    heard = bytearray()
    read = QemuMachine.read_serial

    def read_and_kill(machine: QemuMachine, timeout_s: float) -> Chunk | None:
        chunk = read(machine, timeout_s)
        heard.extend(chunk.data if chunk else b"")
        if b"[work begin" in heard and machine.pid and machine.exit_status() is None:
            os.kill(machine.pid, signal.SIGKILL)
        return chunk

    monkeypatch.setattr(QemuMachine, "read_serial", read_and_kill)
    record = make(header, tmp_path, system, "hangs")
    assert isinstance(record.outcome, VmmFailed)
    assert "the VMM itself ended by SIGKILL" in record.outcome.reason
    # It takes 5 s; nobody waits for a guest that is no more.
    assert record.wall_ns < 50e9
    # What a snapshot's guest printed, if one was made first, is in no trial's log.
    assert heard.endswith((tmp_path / record.artifacts["serial"]).read_bytes())


def test_a_guest_without_its_tools_disk_is_an_outcome(header: Header, tmp_path: Path) -> None:
    """A guest that does not see the disk would be said to lack a shell, or stop the run."""
    assert header.kit is not None
    without = msgspec.structs.replace(header, kit=msgspec.structs.replace(header.kit, disk=None))
    record = make(without, tmp_path, "linux-minimal", "good")
    assert isinstance(record.outcome, Crashed)
    assert "no disk has the serial number guestbench" in record.outcome.reason


def test_a_tools_disk_that_has_changed_stops_the_run(header: Header, tmp_path: Path) -> None:
    """Guests of one run would be given different programs."""
    assert header.kit is not None
    assert header.kit.disk is not None
    disk = tmp_path / "kit.ext4"
    disk.write_bytes(Path(header.kit.disk.path).read_bytes())
    kit = msgspec.structs.replace(header.kit, disk=describe(disk))
    (trial,) = [t for t in header.trials if (t.system, t.workload) == ("linux-minimal", "good")]
    job = make_job(trial, msgspec.structs.replace(header, kit=kit), tmp_path)
    disk.unlink()
    with pytest.raises(ImageError, match=r"kit\.ext4"):
        run_trial(job)


# --- ports ------------------------------------------------------------------------------------------------


@contextmanager
def serve(guest: Guest, header: Header, folder: Path) -> Iterator[int]:
    """A running guest that serves, and the port of this host that leads to its echo service."""
    folder.mkdir()
    spec = LaunchSpec(
        boot=guest.system.boot,
        images=guest.images,
        platform=header.platform,
        folder=folder,
        forwards=(Service.ECHO.port,),
    )
    with find_vmm(header.platform.vmm).start(spec) as machine:
        heard = bytearray()
        while guest.system.ready.encode() not in heard:
            chunk = machine.read_serial(60.0)
            assert chunk is not None
            assert chunk.data, bytes(heard[-200:])
            heard += chunk.data
        assert not isinstance(machine.forwards, Lacking)
        yield machine.forwards[Service.ECHO.port]


def echo(port: int, data: bytes) -> bytes:
    """What comes back for `data`; nothing if nobody listens."""
    try:
        with socket.create_connection(("127.0.0.1", port), 30.0) as client:
            client.sendall(data)
            return client.recv(len(data))
    except ConnectionRefusedError:
        return b""


def test_two_guests_are_reached_at_the_same_time(header: Header, tmp_path: Path) -> None:
    """A second run on the host would find its ports taken, or measure the guest of the first."""
    (guest,) = [guest for guest in header.guests if guest.system.name == "linux-app"]
    with ExitStack() as stack:
        one = stack.enter_context(serve(guest, header, tmp_path / "one"))
        with serve(guest, header, tmp_path / "two") as two:
            assert one != two
            assert (echo(one, b"one"), echo(two, b"two")) == (b"one", b"two")
        assert (echo(one, b"one"), echo(two, b"two")) == (b"one", b"")
