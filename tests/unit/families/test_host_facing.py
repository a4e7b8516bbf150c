"""What lies between a guest and its host, out of QEMU's recorded answers and of /proc."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from monitor_guest import MonitorMachine, load_recording

from guestbench.families.surface.host.facing import (
    HostFacing,
    Kind,
    Role,
    find_sandbox_option,
    is_driven,
    judge_sandbox,
    parse_mtree,
    parse_qtree,
    read_host_facing,
    read_pci,
    read_process,
)
from guestbench.families.surface.paging.monitor import Unknown

QTREE = """\
bus: main-system-bus
  type System
  dev: q35-pcihost, id ""
    bus: pcie.0
      type PCIE
      dev: virtio-serial-pci, id "vs0"
        class Communication controller, addr 00:03.0, pci id 1af4:1003 (sub 1af4:0003)
        bus: virtio-bus
          type virtio-pci-bus
          dev: virtio-serial-device, id ""
            bus: vs0.0
              type virtio-serial-bus
              dev: virtconsole, id "c0"
      dev: virtio-net-pci, id ""
        class Ethernet controller, addr 00:02.0, pci id 1af4:1000 (sub 1af4:0001)
        bus: virtio-bus
          type virtio-pci-bus
          dev: virtio-net-device, id ""
            netdev = "n0"
  dev: hpet, id ""
"""
MTREE = """\
FlatView #0
 AS "I/O", root: io
 Root memory region: io
  0000000000000000-0000000000000007 (prio 0, i/o): dma-chan
  0000000000000008-00000000000003f7 (prio 0, i/o): io
  00000000000003f8-00000000000003ff (prio 0, i/o): serial

FlatView #1
 AS "memory", root: system
 AS "cpu-memory-0", root: system
 Root memory region: system
  0000000000000000-000000000009ffff (prio 0, ram): ram KVM
  00000000000c0000-00000000000dffff (prio 1, rom): pc.rom @00000000000c0000
  00000000b0000000-00000000bfffffff (prio 0, i/o): pcie-mmcfg-mmio
  00000000fffc0000-00000000ffffffff (prio 0, romd): system.flash

FlatView #2
 AS "nothing", root: none
  No rendered FlatView
"""


def test_devices_have_roles_and_count_once() -> None:
    """A virtio device would be two devices, or a network card part of the platform."""
    devices = parse_qtree(QTREE)
    assert [(each.type, each.id, each.bus, each.role) for each in devices] == [
        ("q35-pcihost", "", "main-system-bus", Role.PLATFORM),
        ("virtio-serial-pci", "vs0", "pcie.0", Role.CONSOLE),
        ("virtconsole", "c0", "vs0.0", Role.CONSOLE),
        ("virtio-net-pci", "", "pcie.0", Role.NIC),
        ("hpet", "", "main-system-bus", Role.PLATFORM),
    ]
    assert (devices[3].pci, devices[3].description) == ("00:02.0", "Ethernet controller")


def test_regions_are_told_apart_and_holes_are_left_out() -> None:
    """All of the ports, or all of the RAM, would count as device registers that a guest can attack."""
    ports, memory, nothing = parse_mtree(MTREE)
    assert ports.spaces == ("I/O",)
    assert [(each.kind, each.pieces, each.size_bytes) for each in ports.regions] == [(Kind.DEVICE, 2, 16)]
    assert memory.spaces == ("memory", "cpu-memory-0")
    assert [(each.kind, each.pieces, each.size_bytes) for each in memory.regions] == [
        (Kind.DEVICE, 1, 1 << 28),
        (Kind.RAM, 1, 0xA0000),
        (Kind.ROM, 2, 0x20000 + 0x40000),
    ]
    assert memory.regions[1].names == ("ram",)
    assert nothing.regions == ()


def test_real_guests_devices_are_found() -> None:
    """What a guest can reach of QEMU would be missing from its table."""
    found = read_host_facing(load_recording("linux-minimal").as_machine())
    assert not isinstance(found.devices, Unknown)
    assert [each.type for each in found.devices if each.role is Role.NIC] == ["virtio-net-pci"]
    assert not isinstance(found.views, Unknown)
    spaces = {space: view for view in found.views for space in view.spaces}
    ram = [each for each in spaces["memory"].regions if each.kind is Kind.RAM]
    assert sum(each.size_bytes for each in ram) <= 512 << 20
    assert {each.kind for each in spaces["I/O"].regions} == {Kind.DEVICE}
    assert not isinstance(found.pci, Unknown)
    nic = next(each for each in found.pci if each.ids == "1af4:1000")
    assert nic.masters is True
    assert not isinstance(found.virtio, Unknown)
    assert [each.driven for each in found.virtio] == [True]
    assert msgspec.json.decode(msgspec.json.encode(found), type=HostFacing) == found


def test_guest_that_drives_nothing() -> None:
    """A network card that no driver has touched would count as in use."""
    found = read_host_facing(load_recording("floor").as_machine())
    assert not isinstance(found.virtio, Unknown)
    assert [each.driven for each in found.virtio] == [False]


def test_each_answer_that_is_missing_says_why() -> None:
    """One command that an older QEMU does not know would take all the others' answers with it."""
    found = read_host_facing(MonitorMachine({"info qtree": QTREE, "info mtree -f": MTREE}).as_machine())
    assert not isinstance(found.devices, Unknown)
    assert not isinstance(found.views, Unknown)
    assert isinstance(found.pci, Unknown)
    assert found.virtio == Unknown(reason="QMP x-query-virtio: no such command")
    assert isinstance(found.process.threads, Unknown)
    assert set(found.raw) == {"qtree.txt", "mtree.txt"}


def test_command_register_is_unknown_where_it_is_not_in_memory() -> None:
    """Devices of a machine without PCI Express would all seem to be off."""
    machine = MonitorMachine(
        {"query-pci": [{"bus": 0, "devices": [{"bus": 0, "slot": 2, "function": 0, "id": {}}]}]}
    )
    (device,) = read_pci(machine, "")
    assert isinstance(device.masters, Unknown)
    assert device.address == "00:02.0"


def test_virtio_status_of_other_shapes_is_unknown() -> None:
    """An answer that is not understood would mean that a device is not in use."""
    assert is_driven({"status": {"statuses": ["VIRTIO_CONFIG_S_DRIVER_OK: Driver setup and ready"]}}) is True
    assert is_driven({"status": {"statuses": []}}) is False
    assert isinstance(is_driven({"status": 7}), Unknown)


@pytest.mark.parametrize(
    ("option", "mode", "filters", "own", "sandbox"),
    [
        ("on", 2, 3, 1, True),
        ("on", 2, 1, 1, False),
        ("", 2, 1, 1, False),
        ("off", 2, 2, 1, False),
        ("on", 0, 0, 0, False),
    ],
)
def test_sandbox_of_a_container_is_not_qemus(
    option: str, mode: int, filters: int, own: int, sandbox: bool
) -> None:
    """QEMU in a container would look confined by itself, since it inherits the container's filter."""
    assert judge_sandbox(option, mode, filters, own) is sandbox


def test_sandbox_is_unknown_where_the_kernel_does_not_count_filters() -> None:
    """An old kernel would make a sandbox look off, or on."""
    missing = Unknown(reason="no such field")
    assert judge_sandbox("on,obsolete=deny", 2, missing, 1) == missing
    assert find_sandbox_option(["qemu", "-m", "1", "-sandbox", "on,spawn=deny"]) == "on,spawn=deny"
    assert find_sandbox_option(["qemu"]) == ""


def test_process_is_read_from_proc() -> None:
    """What the VMM may do to the host would be unknown on every host."""
    found = read_process(os.getpid(), ["qemu"])
    assert found.uid == os.getuid()
    assert isinstance(found.threads, int)
    assert isinstance(found.open_files, int)
    assert found.open_files > 2
    assert isinstance(found.capabilities, int)
    assert found.sandbox is False


def test_process_that_has_gone_is_unknown(tmp_path: Path) -> None:
    """A VMM that has ended would have no threads and no capabilities: the safest of all."""
    found = read_process(1, ["qemu"], tmp_path)
    for value in (found.threads, found.open_files, found.capabilities, found.uid, found.sandbox):
        assert isinstance(value, Unknown)


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    """An unforeseen answer of QEMU's would stop a run in the middle."""
    parse_qtree(text)
    parse_mtree("FlatView #0\n" + text)
