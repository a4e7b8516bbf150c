"""What a QEMU may take: more than any trial needs, of whatever it is started for."""

from __future__ import annotations

import struct
from pathlib import Path

import msgspec
import pytest

from guestbench.model import GIB, MIB, Accel, Disk, DiskFormat, Image, Kernel, Platform, Role
from guestbench.vmm import DAY_S, LaunchSpec, Need
from guestbench.vmm.qemu.limits import OWN_FILE, OWN_MEMORY, find_limits


def make_spec(folder: Path, disk: bytes | None = None, **platform: object) -> LaunchSpec:
    """A launch with a disk that begins so, or with a kernel."""
    image = folder / "image"
    image.write_bytes(disk or b"")
    role = Role.KERNEL if disk is None else Role.DISK
    return LaunchSpec(
        boot=Kernel() if disk is None else Disk(format=DiskFormat.QCOW2),
        images={role: Image(path=str(image), size_bytes=0, mtime_ns=0, sha256="")},
        platform=Platform(accel=Accel.TCG, **platform),  # type: ignore[arg-type]
        folder=folder,
    )


def test_limits_follow_what_is_started(tmp_path: Path) -> None:
    """A large guest would be stopped by the limits of a small one, and its failure be called the guest's."""
    small = find_limits(make_spec(tmp_path, memory_mib=64, cpus=1), own_user=False)
    large = find_limits(make_spec(tmp_path, memory_mib=65536, cpus=8), own_user=True)
    assert small.memory_bytes is not None and large.memory_bytes is not None
    assert small.memory_bytes >= 64 * MIB + OWN_MEMORY
    assert large.memory_bytes >= 64 * GIB + OWN_MEMORY
    assert small.cpu_s >= DAY_S * 2
    assert large.cpu_s >= DAY_S * 9
    assert small.processes is None
    assert large.processes is not None and large.processes > 64 + 8
    # Its memory may lie in a file, and its state is written to one.
    assert large.file_bytes is not None and large.file_bytes > 64 * GIB


def test_a_disk_may_be_filled(tmp_path: Path) -> None:
    """A guest that writes its whole disk would be stopped for it."""
    header = b"QFI\xfb" + struct.pack(">IQIIQ", 3, 0, 0, 16, 40 * GIB) + bytes(80)
    assert find_limits(make_spec(tmp_path, header), own_user=False).file_bytes == 40 * GIB + OWN_FILE
    raw = find_limits(make_spec(tmp_path, bytes(2 * MIB), memory_mib=1), own_user=False)
    assert raw.file_bytes is not None and raw.file_bytes >= 2 * MIB + OWN_FILE
    (tmp_path / "image").unlink()
    hostile = make_spec(tmp_path, b"QFI\xfb" + bytes(20) + b"\xff" * 8)
    assert find_limits(hostile, own_user=False).file_bytes == (1 << 62) + OWN_FILE


def test_a_trace_of_the_console_may_be_long(tmp_path: Path) -> None:
    """A guest that prints much would be stopped for the trace of it, and not for its flood."""
    traced = msgspec.structs.replace(make_spec(tmp_path), needs=frozenset({Need.STAMPS}))
    found = find_limits(traced, own_user=False).file_bytes
    assert found is not None and found > 64 * MIB * 200


@pytest.mark.parametrize("extra", [("-m", "8G"), ("-device", "ivshmem-plain,memdev=m")])
def test_further_options_may_ask_for_more(extra: tuple[str, ...], tmp_path: Path) -> None:
    """A user's own option would be refused by a limit that knows nothing of it."""
    found = find_limits(make_spec(tmp_path, extra=extra), own_user=False)
    assert found.memory_bytes is found.file_bytes is None
    assert found.cpu_s
