"""What QEMU's monitor prints, as typed answers: recordings of real guests, and texts made here."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st
from monitor_guest import RecordedQmp, load_recording, registers_text

from guestbench.model import Unknown
from guestbench.model.machine import Mode, RegionKind, Registers, View
from guestbench.vmm.qemu.monitor import (
    is_driven,
    parse_devices,
    parse_dump,
    parse_listing,
    parse_registers,
    parse_views,
)

# --- a CPU and its memory -----------------------------------------------------------------------------


def test_registers_of_both_widths() -> None:
    """A 32-bit guest, or one without paging, would have no figures."""
    assert parse_registers(registers_text(stack=0x1234)).stack == 0x1234  # type: ignore[union-attr]
    narrow = (
        "EAX=2badb002 EBX=00009500 ECX=0 EDX=0\nESI=0 EDI=0 EBP=0 ESP=00006f00\n"
        "EIP=00100040 EFL=00000002 [-------] CPL=0 II=0 A20=1 SMM=0 HLT=1\n"
        "SS =0010 00001000 ffffffff 00cf9300 DPL=0 DS   [-WA]\n"
        "CR0=00000011 CR2=00000000 CR3=00000000 CR4=00000000\nEFER=0000000000000000\n"
    )
    registers = parse_registers(narrow)
    assert isinstance(registers, Registers)
    assert (registers.mode, registers.stack, registers.instruction) == (Mode.NONE, 0x7F00, 0x100040)
    assert parse_registers("CR0=00000011") == Unknown(reason="QEMU's monitor shows no register CR3")


def test_ten_thousand_mappings_are_read_fast_and_bad_lines_are_counted() -> None:
    """A guest with many mappings would slow every run down, or a damaged line would stop it."""
    line = "ffffffff{:08x}: 0000000001234000 XG-DA---W\n"
    text = "".join(line.format(0x81000000 + 4096 * number) for number in range(10_000))
    began = time.process_time()
    damaged = "PG disabled\n" + text + "ffffffff81000000: 12 XG-DA---W\n\n\x1b[2J<b>\n"
    listing = parse_listing(damaged, "0000000000400000-0000000000402000 0000000000002000 ur-\nx\n")
    # It takes 0.02 s.
    assert time.process_time() - began < 1
    assert (len(listing.addresses), listing.garbled) == (10_000, 3)
    assert listing.addresses[1] == 0xFFFFFFFF81001000
    assert (listing.mapped_kib, listing.writable_kib) == (8, 0)


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    """An unforeseen answer of QEMU's would stop a run in the middle."""
    parse_registers(text)
    listing = parse_listing(text, text)
    assert len(listing.addresses) + listing.garbled <= len(text.splitlines()) + text.count("\n")
    assert parse_dump(text, 8) is None or "0x" in text
    parse_devices(text)
    parse_views("FlatView #0\n" + text)


def test_dump_is_read_by_addresses() -> None:
    """Entries would be taken for those of other addresses where QEMU's lines are longer or shorter."""
    text = "0000000000001000: 0x0000000000000000 0x0000000000000003\n0000000000001010: 0x0000000000000007\n"
    assert parse_dump(text, 8) == {0x1008: 3, 0x1010: 7}
    assert parse_dump("Cannot access memory\n", 8) is None


# --- devices ------------------------------------------------------------------------------------------

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


def test_devices_count_once() -> None:
    """A virtio device would be two devices, or one behind another none."""
    assert parse_devices(QTREE) == (
        *("q35-pcihost", "virtio-serial-pci", "virtconsole", "virtio-net-pci", "hpet"),
    )


def test_regions_are_told_apart_and_holes_are_left_out() -> None:
    """All of the ports, or all of the RAM, would count as device registers that a guest can attack."""
    ports, memory, nothing = parse_views(MTREE)
    assert ports == View(spaces=("I/O",), size_bytes={RegionKind.DEVICE: 16})
    assert memory.spaces == ("memory", "cpu-memory-0")
    assert memory.size_bytes == {
        RegionKind.DEVICE: 1 << 28,
        RegionKind.RAM: 0xA0000,
        RegionKind.ROM: 0x20000 + 0x40000,
    }
    assert nothing.size_bytes == {}


def test_real_guests_devices_are_found() -> None:
    """What a guest can reach of QEMU would be missing from its table."""
    guest = load_recording("linux-minimal").monitor
    devices, views, virtio = guest.list_devices(), guest.list_views(), guest.list_virtio()
    assert not isinstance(devices, Unknown)
    assert [each for each in devices if "net" in each] == ["virtio-net-pci"]
    assert not isinstance(views, Unknown)
    spaces = {space: view for view in views for space in view.spaces}
    assert spaces["memory"].size_bytes[RegionKind.RAM] <= 512 << 20
    assert set(spaces["I/O"].size_bytes) == {RegionKind.DEVICE}
    assert not isinstance(virtio, Unknown)
    assert [each.driven for each in virtio] == [True]
    assert set(guest.evidence) == {"devices", "regions"}


def test_guest_that_drives_nothing() -> None:
    """A network card that no driver has touched would count as in use."""
    virtio = load_recording("floor").monitor.list_virtio()
    assert not isinstance(virtio, Unknown)
    assert [each.driven for each in virtio] == [False]


def test_each_answer_that_is_missing_says_why() -> None:
    """One command that an older QEMU does not know would take all the others' answers with it."""
    guest = RecordedQmp({"info qtree": QTREE, "info mtree -f": "no such thing"}).monitor
    assert not isinstance(guest.list_devices(), Unknown)
    assert guest.list_views() == Unknown(reason="QEMU's answer has not the form that is read")
    assert guest.list_virtio() == Unknown(reason="QMP x-query-virtio: no such command")


MMIO = """\
bus: main-system-bus
  type System
  dev: virtio-mmio, id ""
    bus: virtio-mmio-bus.23
      type virtio-mmio-bus
      dev: virtio-net-device, id ""
        netdev = "n0"
  dev: virtio-mmio, id ""
    bus: virtio-mmio-bus.22
      type virtio-mmio-bus
"""


def test_devices_without_pci_count_once_and_empty_slots_do_not() -> None:
    """A machine without PCI would seem to have 24 devices more, and no network card."""
    assert parse_devices(MMIO) == ("virtio-net-device",)


def test_virtio_status_of_other_shapes_is_unknown() -> None:
    """An answer that is not understood would mean that a device is not in use."""
    assert is_driven({"status": {"statuses": ["VIRTIO_CONFIG_S_DRIVER_OK: Driver setup and ready"]}}) is True
    assert is_driven({"status": {"statuses": []}}) is False
    assert isinstance(is_driven({"status": 7}), Unknown)


def test_a_question_that_ends_qemu_is_not_asked() -> None:
    """The guest would be gone, and with it all that was still to be asked of it."""
    version = {"qemu": {"major": 11, "minor": 1, "micro": 3}, "package": ""}
    qmp = RecordedQmp({"query-version": version, "x-query-virtio": [{"name": "net", "path": "/a"}]})
    assert isinstance(qmp.monitor.list_virtio(), Unknown)
    assert qmp.said == ["query-version"]
