"""Run-time protections of real guests: page tables, hardening and what faces the host, on a real QEMU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import misbehaving_guest
import msgspec
import pytest

from guestbench import provision
from guestbench.definition.systems import load_catalogue
from guestbench.families.surface.findings import count_varying_bits
from guestbench.families.surface.host.confinement import read_confinement
from guestbench.families.surface.linux.hardening import ask_hardening, parse_config, parse_sysctls
from guestbench.families.surface.paging.page_tables import (
    CrossCheck,
    PageTables,
    Stack,
    Text,
    read_page_tables,
    read_stacks,
)
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import open_shell
from guestbench.guest.watch import watch_boot
from guestbench.model import Accel, Guest, Image, Ok, Platform, System, Unknown
from guestbench.model import Role as ImageRole
from guestbench.model.machine import Mode
from guestbench.vmm import Introspection, Lacking, LaunchSpec, Machine, Need, find_vmm
from guestbench.vmm.qemu.machine import QemuMachine

pytestmark = [pytest.mark.qemu, pytest.mark.network]

PLATFORM = Platform(accel=Accel.TCG)
NEEDS = frozenset({Need.INTROSPECTION})


def prepare(name: str) -> Guest:
    """A guest of the catalogue."""
    catalogue = load_catalogue()
    return provision.prepare(catalogue[name], {}, catalogue, say=lambda _: None)


@contextmanager
def booted(
    system: System, images: dict[ImageRole, Image], folder: Path, platform: Platform = PLATFORM
) -> Iterator[Machine]:
    """A guest that is ready."""
    spec = LaunchSpec(boot=system.boot, images=images, platform=platform, folder=folder, needs=NEEDS)
    with find_vmm(platform.vmm).start(spec) as machine:
        assert isinstance(watch_boot(machine, system, SerialLog()).outcome, Ok)
        yield machine


def read(machine: Machine) -> PageTables:
    """Its page tables."""
    tables = read_page_tables(look(machine))
    assert isinstance(tables, PageTables), tables
    return tables


def look(machine: Machine) -> Introspection:
    """What can be seen of its guest."""
    assert not isinstance(machine.introspection, Lacking)
    return machine.introspection


def is_running(machine: Machine) -> bool:
    """Whether the guest goes on."""
    assert isinstance(machine, QemuMachine) and machine.qmp is not None
    status = machine.qmp.command("query-status")
    return isinstance(status, dict) and status["running"] is True


def test_floor_has_no_paging_and_drives_nothing(tmp_path: Path) -> None:
    """A guest without any protection would be reported as protected, or as one that cannot be read."""
    floor = prepare("floor")
    with booted(floor.system, floor.images, tmp_path) as machine:
        tables, virtio = read(machine), look(machine).list_virtio()
        held = read_confinement(machine.pid, machine.sandbox)
        assert is_running(machine)
    assert tables.mode is Mode.NONE
    assert tables.rights.writable_executable == PLATFORM.memory_mib * 256
    assert tables.null_mapped
    assert not isinstance(virtio, Unknown)
    assert [each.driven for each in virtio] == [False]
    assert held.sandbox is True
    assert held.uid == os.getuid()


def test_linux_is_protected_and_at_another_place_in_each_boot(tmp_path: Path) -> None:
    """The protections of Linux, which a unikernel is compared with, would be reported wrongly."""
    guest, bases = prepare("linux-minimal"), []
    for _ in range(3):
        with booted(guest.system, guest.images, tmp_path) as machine:
            tables, stacks = read(machine), read_stacks(look(machine), stops=5)
            virtio, devices = look(machine).list_virtio(), look(machine).list_devices()
            assert is_running(machine)
        registers = tables.registers
        assert (registers.no_execute, registers.write_protect) == (True, True)
        assert tables.rights.writable_executable == 0
        assert tables.rights.entries > 5000
        assert not tables.null_mapped
        assert isinstance(tables.check, CrossCheck)
        assert tables.check.agrees
        assert not isinstance(tables.text, Text) or tables.text.writable == 0
        assert stacks
        assert isinstance(tables.text_base, int)
        bases.append(tables.text_base)
        assert not isinstance(virtio, Unknown)
        assert [each.driven for each in virtio] == [True]
        assert not isinstance(devices, Unknown)
        assert [each for each in devices if "net" in each] == ["virtio-net-pci"]
    bits, distinct = count_varying_bits(bases)
    # Linux has 512 places of 2 MiB for its image; that three boots find one place happens once in 262,144.
    assert distinct > 1 and 0 < bits <= 9
    assert all(base % 0x200000 == 0 for base in bases)


def test_newer_cpu_shows_its_protections(tmp_path: Path) -> None:
    """Five-level tables would take half a minute or fail, and SMEP, SMAP and UMIP go unseen."""
    platform = msgspec.structs.replace(PLATFORM, extra=("-cpu", "max"))
    linux = prepare("linux-minimal")
    with booted(linux.system, linux.images, tmp_path, platform) as machine:
        tables = read(machine)
    assert tables.mode is Mode.LEVELS_5
    assert (tables.registers.smep, tables.registers.smap, tables.registers.umip) == (True, True, True)
    assert tables.rights.writable_executable == 0
    assert isinstance(tables.check, CrossCheck)
    assert tables.check.agrees


def test_sandbox_of_qemu_is_seen(tmp_path: Path) -> None:
    """A VMM that can make any system call would look like one that cannot, or the other way round."""
    floor = prepare("floor")
    with booted(floor.system, floor.images, tmp_path, Platform(accel=Accel.TCG, sandbox=False)) as machine:
        assert read_confinement(machine.pid, machine.sandbox).sandbox is False
    platform = msgspec.structs.replace(PLATFORM, extra=("-sandbox", "on,obsolete=deny,spawn=deny"))
    with booted(floor.system, floor.images, tmp_path, platform) as machine:
        assert machine.sandbox == "on,obsolete=deny,spawn=deny"
        assert read_confinement(machine.pid, machine.sandbox).sandbox is True


def test_minimal_linux_says_what_it_cannot_tell(tmp_path: Path) -> None:
    """A guest without a kernel configuration would be reported as one with every option off."""
    guest = prepare("linux-minimal")
    snapshot = provision.take_snapshot(guest, PLATFORM, lambda _: None)
    login = guest.system.login
    assert login is not None
    with find_vmm(PLATFORM.vmm).start(snapshot.launch_spec(tmp_path)) as machine:
        found = ask_hardening(open_shell(machine, login, SerialLog()))
    missing = {(gap.metric, gap.labels.get("kind", "")) for gap in found.gaps}
    assert missing >= {("surface.hardening_met", "options"), ("surface.lsms", "")}
    assert not missing & {("surface.hardening_met", "sysctls"), ("surface.cpu_flaws", "")}
    sysctls = parse_sysctls(found.raw["hardening-sysctl.txt"])
    assert not isinstance(sysctls, Unknown)
    assert {each.name: each.found for each in sysctls}["kernel.randomize_va_space"] == "2"


@pytest.mark.image
@pytest.mark.slow
def test_debian_tells_its_hardening_and_is_read_within_seconds(tmp_path: Path) -> None:
    """Debian's defences would be unknown or wrong, or its 87,000 mappings take too long."""
    guest = prepare("debian-12-nocloud")
    snapshot = provision.take_snapshot(guest, PLATFORM, lambda _: None)
    login = guest.system.login
    assert login is not None
    spec = msgspec.structs.replace(snapshot.launch_spec(tmp_path), needs=NEEDS)
    with find_vmm(PLATFORM.vmm).start(spec) as machine:
        began_ns = machine.now_ns()
        tables = read(machine)
        # It takes 1 to 2.5 s.
        assert machine.now_ns() - began_ns < 20e9
        found = ask_hardening(open_shell(machine, login, SerialLog()))
    assert tables.rights.writable_executable == 0
    assert isinstance(tables.check, CrossCheck)
    assert tables.check.agrees
    settings = parse_config(found.raw["hardening-kernel-config.txt"])
    assert not isinstance(settings, Unknown)
    options = {each.name: each for each in settings}
    assert options["CONFIG_VMAP_STACK"].met is True
    assert options["CONFIG_MODULES"].met is False
    assert "apparmor" in next(s.detail for s in found.samples if s.metric == "surface.lsms")
    assert b"[none]" in found.raw["hardening-lockdown.txt"]


def test_one_writable_and_executable_page_and_no_guard_page_are_found(tmp_path: Path) -> None:
    """The one page that an attacker needs would be lost among hundreds, or a missing guard page not told."""
    with booted(misbehaving_guest.SYSTEM, misbehaving_guest.build(tmp_path), tmp_path) as machine:
        tables, (stack,) = read(machine), read_stacks(look(machine), stops=3)
    assert tables.mode is Mode.PAE
    assert (tables.registers.no_execute, tables.registers.write_protect) == (True, True)
    assert tables.rights.writable_executable == 1
    assert not tables.null_mapped
    assert isinstance(tables.text, Text)
    assert (tables.text.start, tables.text.writable) == (0x100000, 0)
    assert isinstance(stack, Stack)
    assert stack.guarded is False
    # What an overrun overwrites before anything stops it is more than the stack's own 16 KiB.
    assert stack.below_kib > 16
    assert isinstance(tables.check, CrossCheck)
    assert tables.check.agrees
