"""Recordings and guests for tests that replay serial logs with the fake VMM."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from guestbench.guest.serial import SerialLog
from guestbench.model import (
    FORMAT_VERSION,
    Accel,
    AccelChoice,
    Experiment,
    FailurePattern,
    Guest,
    GuestFamily,
    Header,
    Host,
    Image,
    Kernel,
    Milestone,
    Origin,
    Platform,
    Role,
    System,
)
from guestbench.run.prepare import complete
from guestbench.vmm import Chunk

FAKE = Platform(vmm="fake", accel=Accel.TCG)

HOST = Host(
    digest="host-1",
    cpu_model="Test CPU",
    cpus=2,
    memory_mib=4096,
    kernel="6.1.0",
    os="Debian GNU/Linux 12",
    virtualization="none",
    vmm_version="7.2.0",
    vmm_path="/usr/bin/qemu-system-x86_64",
    python="3.11.2",
)


def write_recording(
    folder: Path, chunks: Iterable[tuple[float, bytes]], exit_status: int | None = None
) -> Path:
    """A recording of `(milliseconds, bytes)` chunks in `folder`; the path of its log."""
    folder.mkdir(parents=True, exist_ok=True)
    log = SerialLog()
    for t_ms, data in chunks:
        log.append(Chunk(t_ns=round(t_ms * 1e6), data=data))
    log.write(folder, exit_status)
    return folder / "serial.log"


def make_system(name: str = "tiny", **fields: object) -> System:
    """A unikernel-like system with a milestone and a failure pattern."""
    defaults: dict[str, object] = {
        "title": f"The {name} guest",
        "family": GuestFamily.UNIKERNEL,
        "boot": Kernel(),
        "ready": "[init done]",
        "timeout_s": 10.0,
        "milestones": (Milestone(name="banner", pattern="Powered by"),),
        "failures": (FailurePattern(pattern="CRIT:", reason="the unikernel aborted"),),
    }
    return System(name=name, **(defaults | fields))  # type: ignore[arg-type]


def make_image(path: Path) -> Image:
    """An existing file as an image."""
    stat = path.stat()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Image(path=str(path), size_bytes=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=digest)


def make_guest(system: System, recording: Path) -> Guest:
    """A guest that replays `recording`."""
    images = {Role.KERNEL: make_image(recording)}
    return Guest(
        system=system, images=images, pristine=images, origin=Origin(kind="given", detail=str(recording))
    )


def make_header(guests: tuple[Guest, ...], experiment: Experiment, seed: int = 7) -> Header:
    """The header of a run of `guests` on the fake VMM."""
    header = Header(
        version=FORMAT_VERSION,
        run="20260101-000000-test",
        created="2026-01-01T00:00:00+00:00",
        tool="0.1.0",
        command=("run",),
        experiment=msgspec.structs.replace(experiment, seed=seed),
        guests=guests,
        absent=(),
        platform=FAKE,
        accel=AccelChoice(requested=Accel.TCG, used=Accel.TCG, reason="asked for"),
        host=HOST,
        load_1m=0.1,
        metrics=(),
        trials=(),
    )
    return complete(header)
