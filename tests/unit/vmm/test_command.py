"""QEMU's command line for its machine types: what each has, and what Linux has to be told on it."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from guestbench.errors import HostError, UsageError
from guestbench.host.facts import SANDBOX
from guestbench.model import Accel, DiskFormat, Image, Kernel, Net, Platform, Role
from guestbench.vmm import Lacking, LaunchSpec, Need
from guestbench.vmm.qemu import _try_sandbox, check, tsc
from guestbench.vmm.qemu.capabilities import SerialTrace
from guestbench.vmm.qemu.command import build_argv, build_interactive_argv

MICROVM = Platform(machine="microvm", accel=Accel.TCG)
ALL = frozenset(Need)


def make_spec(folder: Path, platform: Platform, kernel: bytes = b"", **fields: object) -> LaunchSpec:
    """How a guest with this kernel and a disk is started."""
    path = folder / "kernel"
    path.write_bytes(kernel)
    image = Image(path=str(path), size_bytes=len(kernel), mtime_ns=0, sha256="")
    images = {Role.KERNEL: image, Role.DISK: msgspec.structs.replace(image, path="/d,1")}
    defaults = {"boot": Kernel(cmdline="quiet"), "images": images, "platform": platform, "folder": folder}
    return LaunchSpec(**(defaults | fields))  # type: ignore[arg-type]


def linux() -> bytes:
    """The beginning of a Linux kernel."""
    return bytes(0x202) + b"HdrS" + bytes(64)


def option(argv: tuple[str, ...], name: str) -> list[str]:
    """The values of an option."""
    return [value for each, value in pairwise(argv) if each == name]


def test_devices_are_those_of_the_machines_bus(tmp_path: Path) -> None:
    """A machine without PCI would be refused, or its guest have no network, disk or balloon."""
    disk = Kernel(disk=DiskFormat.QCOW2)
    for platform, ending in ((Platform(), "pci"), (MICROVM, "device")):
        spec = make_spec(tmp_path, platform, boot=disk, tools=Path("/tools"), needs=ALL)
        devices = option(build_argv(spec), "-device")
        kinds = {device.partition(",")[0] for device in devices}
        assert {f"virtio-{name}-{ending}" for name in ("net", "balloon", "blk")} == kinds
    drives = option(build_argv(make_spec(tmp_path, MICROVM, boot=disk)), "-drive")
    assert drives == ["file=/d,,1,if=none,id=disk,format=qcow2,snapshot=on"]
    drives = option(build_argv(make_spec(tmp_path, Platform(), boot=disk)), "-drive")
    assert drives == ["file=/d,,1,if=virtio,format=qcow2,snapshot=on"]


def test_the_serial_port_is_traced_only_where_its_stamps_are_wanted(tmp_path: Path) -> None:
    """A trace would cost time in every boot, or the stamps could not be checked."""
    plain = build_argv(make_spec(tmp_path, Platform()))
    assert "-trace" not in plain and "-msg" not in plain
    argv = build_argv(make_spec(tmp_path, Platform(), needs=frozenset({Need.STAMPS})))
    assert option(argv, "-trace") == [f"enable=serial_write,file={tmp_path}/serial.trace"]
    # Without this a trace has no times.
    assert option(argv, "-msg") == ["timestamp=on"]


def test_blocks_are_counted_only_where_that_is_wanted(tmp_path: Path) -> None:
    """A plugin would slow every boot down, or a comma in a text or in a path end its option."""
    assert "-plugin" not in build_argv(make_spec(tmp_path, Platform(), plugin=Path("/p.so")))
    needs = frozenset({Need.HISTOGRAM})
    spec = make_spec(tmp_path, Platform(), needs=needs, plugin=Path("/a,b.so"), cuts=(b"a,b", b"login: "))
    argv = build_argv(spec)
    files = f"histogram={tmp_path}/histogram,console={tmp_path}/console.bytes"
    assert option(argv, "-plugin") == [f"/a,,b.so,{files},text=612c62,text=6c6f67696e3a20"]
    assert option(argv, "-serial") == ["chardev:console"]
    assert option(argv, "-chardev") == [f"stdio,id=console,logfile={tmp_path}/console.bytes,logappend=on"]


def test_qemu_is_held_and_its_guest_kept_in_unless_asked_otherwise(tmp_path: Path) -> None:
    """A guest that breaks out could start programs, or one from a stranger reach the host's network."""
    argv = build_argv(make_spec(tmp_path, Platform()))
    assert option(argv, "-sandbox") == [SANDBOX]
    assert "user,id=n0,restrict=on" in argv
    free = build_argv(make_spec(tmp_path, Platform(sandbox=False, internet=True)))
    assert "-sandbox" not in free and "user,id=n0,restrict=off" in free
    own = build_argv(make_spec(tmp_path, Platform(extra=("-sandbox", "on,spawn=deny"))))
    assert option(own, "-sandbox") == ["on,spawn=deny"]


@pytest.mark.parametrize("says", ["-sandbox support is not enabled in this QEMU binary", ""])
def test_a_qemu_without_a_sandbox_is_told_before_the_run(
    says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every trial would fail in the same words, after the images were built."""
    qemu = tmp_path / "qemu-system-x86_64"
    qemu.write_text(f"#!/bin/sh\necho '{says}' >&2; exit 1\n")
    qemu.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    _try_sandbox.cache_clear()
    try:
        with pytest.raises(HostError, match=says or "status 1") as caught:
            check(Platform())
        assert caught.value.hint == "guestbench run --set platform.sandbox=false"
        check(Platform(sandbox=False))
        check(Platform(extra=("-sandbox", "off")))
    finally:
        _try_sandbox.cache_clear()


def test_stamps_are_of_the_bytes_that_the_guest_sent(tmp_path: Path) -> None:
    """The divisor of the baud rate would be taken for bytes of the guest, and stamps be of others."""
    trace = tmp_path / "serial.trace"
    began_ns = time.monotonic_ns() - 5_000_000_000
    stamps = SerialTrace(trace, lambda: time.monotonic_ns() - began_ns)
    assert stamps.read() == ()
    now_s = time.time_ns() // 10**9
    writes = [("3", "80"), ("0", "01"), ("3", "03"), ("0", "68"), ("1", "00"), ("0", "69")]
    lines = (
        f"4711@{now_s}.{10 * n:06}:serial_write write addr 0x0{register} val 0x{value}\n"
        for n, (register, value) in enumerate(writes)
    )
    trace.write_text("".join(lines))
    found = stamps.read()
    assert not isinstance(found, Lacking)
    assert [chunk.data for chunk in found] == [b"h", b"i"]
    assert found[1].t_ns - found[0].t_ns == pytest.approx(20_000, abs=1)
    assert found[0].t_ns == pytest.approx(5e9, abs=2e9)


@pytest.mark.parametrize("step_s", [-86400.0, -0.5, -0.05, 0.05, 0.5, 86400.0])
def test_no_stamps_are_told_where_the_clock_was_set(
    step_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own stamps would be found wrong by as much as somebody set the host's clock."""
    clock_ns, now_ns = 10**18, 10**9
    monkeypatch.setattr(time, "time_ns", lambda: clock_ns)
    stamps = SerialTrace(tmp_path / "serial.trace", lambda: now_ns)
    now_ns += 10**10
    clock_ns += 10**10 + 5_000_000  # as fast as a clock is adjusted
    assert stamps.read() == ()
    clock_ns += round(step_s * 1e9)
    found = stamps.read()
    assert isinstance(found, Lacking)
    assert found.reason.startswith("this host's clock was set meanwhile, by ")


def test_the_machines_own_options_come_before_the_users(tmp_path: Path) -> None:
    """A user could not turn anything of the machine off, or the guest's memory could not be counted."""
    platform = msgspec.structs.replace(MICROVM, machine="microvm,rtc=off")
    (machine,) = option(build_argv(make_spec(tmp_path, platform, needs=ALL)), "-machine")
    assert machine.startswith("microvm,acpi=on,")
    assert machine.index("rtc=on") < machine.index("rtc=off") < machine.index("memory-backend=ram")
    assert option(build_argv(make_spec(tmp_path, Platform())), "-machine") == ["q35"]


def test_linux_is_told_the_time_where_it_cannot_measure_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy host Linux would hang on microvm, two boots of three."""
    monkeypatch.setattr(tsc, "measure_tsc_khz", lambda: 2_596_100)
    told = "quiet tsc_early_khz=2596100 tsc=reliable"
    assert option(build_argv(make_spec(tmp_path, MICROVM, linux())), "-append") == [told]
    assert option(build_interactive_argv(make_spec(tmp_path, MICROVM, linux())), "-append") == [told]
    kvm = msgspec.structs.replace(MICROVM, accel=Accel.KVM)
    for platform, kernel in ((Platform(), linux()), (kvm, linux()), (MICROVM, b"\x7fELF")):
        assert option(build_argv(make_spec(tmp_path, platform, kernel)), "-append") == ["quiet"]
    monkeypatch.setattr(tsc, "measure_tsc_khz", lambda: None)
    assert option(build_argv(make_spec(tmp_path, MICROVM, linux())), "-append") == ["quiet"]


def test_the_counter_of_this_host_is_measured_twice_alike() -> None:
    """Linux would run its clocks too fast or too slow."""
    frequencies = [tsc.measure_tsc_khz() for _ in range(3)]
    if None in frequencies:
        pytest.skip("this host has no such counter")
    low, high = min(filter(None, frequencies)), max(filter(None, frequencies))
    assert 100_000 < low <= high < 1.001 * low


def test_machines_and_their_versions_are_known() -> None:
    """A mistake in a machine's name would show in each trial, as a QEMU that does not start."""
    for name in ("q35", "pc", "microvm", "pc-q35-7.2", "pc-i440fx-7.2", "q35,hpet=off"):
        check(Platform(machine=name))
    for name in ("q53", "pc-q35-", "microvm-7.2", ""):
        with pytest.raises(UsageError, match="q35, pc, microvm"):
            check(Platform(machine=name))


def test_nothing_is_added_for_what_is_not_needed(tmp_path: Path) -> None:
    """Timed boots would carry devices and a monitor that only other trials need."""
    argv = build_argv(make_spec(tmp_path, Platform(net=Net.NONE)))
    assert not {"-device", "-object", "-no-shutdown", "-icount", "-mon", "-netdev"} & set(argv)
    assert "-no-shutdown" in build_argv(make_spec(tmp_path, Platform(), needs=frozenset({Need.MEMORY})))
