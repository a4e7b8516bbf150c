"""What a guest can reach of its host through the VMM, and how the VMM is held; it touches no device.

QEMU is asked for its devices and the regions that the guest can read and write; /proc says what the VMM's
process may do. Which devices the guest's drivers turned on is read from the PCI command registers and the
virtio status, without asking the guest.

Sources: PCI Local Bus 3.0, 6.2.2 (command register); virtio 1.2, 2.1 (device status); seccomp(2), proc(5).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import msgspec

from guestbench.errors import HostError
from guestbench.families.surface.paging.monitor import Unknown, ask_monitor, parse_dump
from guestbench.model import Frozen
from guestbench.vmm import Machine, Qmp

T = TypeVar("T")

NO_PID = "the VMM has no process id"
NOTHING = "QEMU's answer has not the form that is read"
SHOWN = 120
"""A device's own words are cut after so many characters."""


# --- devices ------------------------------------------------------------------------------------------


class Role(StrEnum):
    """What a device is to the guest; the platform is all that the machine has besides."""

    NIC = "nic"
    DISK = "disk"
    CONSOLE = "console"
    MEMORY = "memory"
    PLATFORM = "platform"


_ROLES = (
    (Role.NIC, re.compile(r"virtio-net|e1000|rtl8139|ne2k|pcnet|vmxnet|igb|tulip|usb-net")),
    (
        Role.DISK,
        re.compile(r"virtio-(blk|scsi)|scsi-|ide-(hd|cd)|nvme|floppy|usb-storage|sd-card|vhost-user-blk"),
    ),
    (
        Role.CONSOLE,
        re.compile(r"serial|virtconsole|VGA|virtio-gpu|cirrus|qxl|bochs-display|debugcon|parallel"),
    ),
    (Role.MEMORY, re.compile(r"virtio-(balloon|mem|pmem)|pc-dimm|nvdimm")),
)


class Device(Frozen):
    """A device of the guest: QEMU's type and id for it, what it is plugged into, and its role.

    `pci` is its PCI address as `00:02.0`; `description` is the class that QEMU names, for PCI devices.
    """

    type: str
    id: str
    bus: str
    role: Role
    pci: str = ""
    description: str = ""


_BUS = re.compile(r"( *)bus: (.{1,120})")
_BUS_TYPE = re.compile(r" *type (.{1,120})")
_DEVICE = re.compile(r'( *)dev: ([^,]{1,120}), id "([^"]{0,120})"')
_CLASS = re.compile(r" *class (.{1,120}), addr ([0-9a-f]{2}:[0-9a-f]{2}\.[0-7]), pci id .*")


_PROXY_BUSES = ("virtio-pci-bus", "virtio-mmio-bus", "virtual-css-bus")
"""On a bus of these types a virtio device is listed again, as what is behind the one that is plugged in."""


def find_role(device_type: str) -> Role:
    """The role of a QEMU device type."""
    return next((role for role, types in _ROLES if types.search(device_type)), Role.PLATFORM)


def parse_qtree(text: str) -> tuple[Device, ...]:
    """The devices in the answer to `info qtree`, in its order; a virtio device counts once."""
    devices: list[Device] = []
    buses: list[tuple[int, str, str]] = []  # indent, name, type of the buses that the line is in
    hidden = False
    for line in text.splitlines():
        if match := _BUS.fullmatch(line):
            buses = [bus for bus in buses if bus[0] < len(match[1])] + [(len(match[1]), match[2], "")]
        elif match := _DEVICE.fullmatch(line):
            buses = [bus for bus in buses if bus[0] < len(match[1])]
            _, bus_name, bus_type = buses[-1] if buses else (0, "", "")
            hidden = bus_type in _PROXY_BUSES
            if not hidden:
                devices.append(Device(type=match[2], id=match[3], bus=bus_name, role=find_role(match[2])))
        elif (match := _BUS_TYPE.fullmatch(line)) and buses and not buses[-1][2]:
            buses[-1] = (*buses[-1][:2], match[1])
        elif (match := _CLASS.fullmatch(line)) and devices and not hidden:
            devices[-1] = msgspec.structs.replace(devices[-1], description=match[1], pci=match[2])
    return tuple(devices)


# --- regions ------------------------------------------------------------------------------------------


class Kind(StrEnum):
    """What is behind a region: a device model, memory, or memory that only firmware writes."""

    DEVICE = "device"
    RAM = "ram"
    ROM = "rom"


class Regions(Frozen):
    """The regions of one kind: in how many pieces, what is behind them, and their bytes together."""

    kind: Kind
    pieces: int
    names: tuple[str, ...]
    size_bytes: int


class AddressView(Frozen):
    """Address spaces that look alike: `I/O` is port I/O, `memory` is what the CPUs see of memory and MMIO.

    The others are what single devices see when they read and write by themselves.
    """

    spaces: tuple[str, ...]
    regions: tuple[Regions, ...]


_SPACE = re.compile(r' AS "(.{1,120})", root: .*')
_ROOT = re.compile(r" Root memory region: (.{1,120})")
_REGION = re.compile(
    r"  ([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, (?:nv-)?(ramd|romd|ram|rom|i/o)\): (.{1,200}?)"
    r"(?: @[0-9a-f]{16})?(?: KVM)?"
)
_KINDS = {"ram": Kind.RAM, "ramd": Kind.RAM, "rom": Kind.ROM, "romd": Kind.ROM, "i/o": Kind.DEVICE}


def parse_mtree(text: str) -> tuple[AddressView, ...]:
    """The views in the answer to `info mtree -f`, less what is left of the root itself: it is unassigned."""
    views = []
    for part in re.split(r"(?m)^FlatView #\d+$", text)[1:]:
        spaces: list[str] = []
        root = ""
        found: dict[Kind, list[tuple[str, int]]] = {}
        for line in part.splitlines():
            if match := _REGION.fullmatch(line):
                if match[4] != root:
                    size_bytes = int(match[2], 16) - int(match[1], 16) + 1
                    found.setdefault(_KINDS[match[3]], []).append((match[4], size_bytes))
            elif match := _SPACE.fullmatch(line):
                spaces.append(match[1])
            elif match := _ROOT.fullmatch(line):
                root = match[1]
        regions = tuple(
            Regions(
                kind=kind,
                pieces=len(pieces),
                names=tuple(dict.fromkeys(name for name, _ in pieces)),
                size_bytes=sum(size_bytes for _, size_bytes in pieces),
            )
            for kind, pieces in sorted(found.items())
        )
        views.append(AddressView(spaces=tuple(spaces), regions=regions))
    return tuple(views)


# --- what the guest's drivers turned on ---------------------------------------------------------------


class PciDevice(Frozen):
    """A PCI device, and what of it was turned on: port I/O, memory, reading and writing RAM by itself.

    Firmware turns port I/O and memory on for every device; `masters`, bus mastering, is the drivers' doing,
    apart from the devices that the firmware booted from.
    """

    address: str
    ids: str
    description: str
    id: str
    io: bool | Unknown
    memory: bool | Unknown
    masters: bool | Unknown


class VirtioDevice(Frozen):
    """A virtio device, and whether a driver said that it drives it (DRIVER_OK)."""

    name: str
    path: str
    driven: bool | Unknown


def parse_pci(answer: object) -> Iterator[tuple[tuple[int, int, int], str, str, str]]:
    """Of each device in the answer to `query-pci`: bus, slot and function; ids; class; QEMU's id."""
    for bus in answer if isinstance(answer, list) else ():
        for device in bus.get("devices", ()):
            ids, kind = device.get("id", {}), device.get("class_info", {})
            numbers = (device["bus"], device["slot"], device["function"])
            names = f"{ids.get('vendor', 0):04x}:{ids.get('device', 0):04x}"
            yield numbers, names, str(kind.get("desc", ""))[:SHOWN], str(device.get("qdev_id", ""))
            bridge = device.get("pci_bridge")
            if isinstance(bridge, dict):
                yield from parse_pci([{"devices": bridge.get("devices", ())}])


_WINDOW = re.compile(r"(?m)^  ([0-9a-f]{16})-[0-9a-f]{16} \(prio -?\d+, i/o\): pcie-mmcfg-mmio$")


def read_pci(qmp: Qmp, mtree: str) -> tuple[PciDevice, ...]:
    """The PCI devices, with their command registers where the configuration space is mapped in memory.

    Raises:
        HostError: as `Qmp.command`.
    """
    window = _WINDOW.search(mtree)
    devices = []
    for (bus, slot, function), ids, description, name in parse_pci(qmp.command("query-pci")):
        command: int | Unknown = Unknown(reason="this machine does not map PCI configuration space in memory")
        if window is not None:
            # PCI Express base specification, 7.2.2: 4 KiB a function; the command register is 4 bytes in.
            at = int(window[1], 16) + (bus << 20 | slot << 15 | function << 12) + 4
            values = parse_dump(ask_monitor(qmp, f"xp /1hx {at:#x}"), 2)
            command = Unknown(reason="QEMU shows no command register")
            if values is not None:
                command = values.get(at, 0)
        flags = [command if isinstance(command, Unknown) else bool(command >> bit & 1) for bit in range(3)]
        devices.append(
            PciDevice(
                address=f"{bus:02x}:{slot:02x}.{function}",
                ids=ids,
                description=description,
                id=name,
                io=flags[0],
                memory=flags[1],
                masters=flags[2],
            )
        )
    return tuple(devices)


def read_virtio(qmp: Qmp) -> tuple[VirtioDevice, ...]:
    """The virtio devices and whether they are driven; QEMU tells since 7.2.

    Raises:
        HostError: as `Qmp.command`.
    """
    listing = qmp.command("x-query-virtio")
    return tuple(
        VirtioDevice(
            name=str(each.get("name", "")),
            path=(path := str(each.get("path", ""))),
            driven=is_driven(qmp.command("x-query-virtio-status", path=path)),
        )
        for each in (listing if isinstance(listing, list) else ())
    )


def is_driven(answer: object) -> bool | Unknown:
    """Whether DRIVER_OK is among the states in the answer to `x-query-virtio-status`."""
    status = answer.get("status") if isinstance(answer, dict) else None
    states = status.get("statuses") if isinstance(status, dict) else None
    if not isinstance(states, list):
        return Unknown(reason="QEMU does not show the status of this device")
    return any("DRIVER_OK" in str(state) for state in states)


# --- the VMM's process --------------------------------------------------------------------------------


class VmmProcess(Frozen):
    """What the VMM's process may do to the host, from /proc/PID.

    `sandbox` is whether its own system-call filter is on: asked for on the command line, and more filters in
    force than this process has itself, since a container's are inherited. `capabilities` are those in effect
    (CapEff): none is what an ordinary user has.
    """

    sandbox: bool | Unknown
    sandbox_option: str
    seccomp_mode: int | Unknown
    filters: int | Unknown
    filters_inherited: int | Unknown
    uid: int | Unknown
    capabilities: int | Unknown
    no_new_privileges: bool | Unknown
    threads: int | Unknown
    open_files: int | Unknown


def parse_status(text: str) -> dict[str, str]:
    """The fields of a /proc/PID/status."""
    return dict(re.findall(r"(?m)^([A-Za-z_]{1,40}):\s*(.*)$", text))


def find_sandbox_option(argv: Sequence[str]) -> str:
    """The value of QEMU's option -sandbox; empty if it is not given."""
    values = [value for name, value in pairwise(argv) if name in ("-sandbox", "--sandbox")]
    return values[-1] if values else ""


def judge_sandbox(
    option: str, mode: int | Unknown, filters: int | Unknown, own: int | Unknown
) -> bool | Unknown:
    """Whether the VMM's own filter is in force, from its option and the kernel's counts."""
    if isinstance(mode, Unknown):
        return mode
    asked = option.split(",")[0] in ("on", "enable=on")
    if not asked or mode != 2:
        return False
    if isinstance(filters, Unknown):
        return filters
    if isinstance(own, Unknown):
        return own
    return filters > own


def read_process(pid: int | None, argv: Sequence[str], proc: Path = Path("/proc")) -> VmmProcess:
    """How the VMM's process is held. What the kernel does not show is unknown."""
    status = _read_status(proc / str(pid)) if pid is not None else Unknown(reason=NO_PID)
    own = _read_status(proc / "self")
    option = find_sandbox_option(argv)
    mode, filters = _number(status, "Seccomp"), _number(status, "Seccomp_filters")
    inherited = _number(own, "Seccomp_filters")
    no_new = _number(status, "NoNewPrivs")
    open_files: int | Unknown = Unknown(reason=NO_PID)
    if pid is not None:
        try:
            open_files = sum(1 for _ in (proc / str(pid) / "fd").iterdir())
        except OSError as error:
            open_files = Unknown(reason=f"/proc/{pid}/fd: {error.strerror}")
    return VmmProcess(
        sandbox=judge_sandbox(option, mode, filters, inherited),
        sandbox_option=option,
        seccomp_mode=mode,
        filters=filters,
        filters_inherited=inherited,
        uid=_number(status, "Uid"),
        capabilities=_number(status, "CapEff", 16),
        no_new_privileges=no_new if isinstance(no_new, Unknown) else bool(no_new),
        threads=_number(status, "Threads"),
        open_files=open_files,
    )


def _read_status(folder: Path) -> dict[str, str] | Unknown:
    try:
        return parse_status((folder / "status").read_text())
    except OSError as error:
        return Unknown(reason=f"{folder}/status: {error.strerror}")


def _number(status: dict[str, str] | Unknown, name: str, base: int = 10) -> int | Unknown:
    """The first number of a field."""
    if isinstance(status, Unknown):
        return status
    try:
        return int(status[name].split()[0], base)
    except (KeyError, IndexError, ValueError):
        return Unknown(reason=f"the kernel shows no {name} of a process")


# --- all of it ----------------------------------------------------------------------------------------


class HostFacing(Frozen):
    """What lies between a guest and its host; `raw` holds QEMU's answers by the name of their file."""

    devices: tuple[Device, ...] | Unknown
    views: tuple[AddressView, ...] | Unknown
    pci: tuple[PciDevice, ...] | Unknown
    virtio: tuple[VirtioDevice, ...] | Unknown
    process: VmmProcess
    raw: dict[str, bytes] = {}


def read_host_facing(machine: Machine) -> HostFacing:
    """Ask QEMU, and read its /proc; the guest runs on. What cannot be had says why. Takes about 20 ms.

    Raises:
        RuntimeError: the machine was started without QMP.
    """
    qmp = machine.qmp
    qtree = _ask(lambda: ask_monitor(qmp, "info qtree"))
    mtree = _ask(lambda: ask_monitor(qmp, "info mtree -f"))
    listings = {"qtree.txt": qtree, "mtree.txt": mtree}
    return HostFacing(
        devices=qtree if isinstance(qtree, Unknown) else parse_qtree(qtree) or Unknown(reason=NOTHING),
        views=mtree if isinstance(mtree, Unknown) else parse_mtree(mtree) or Unknown(reason=NOTHING),
        pci=mtree if isinstance(mtree, Unknown) else _ask(lambda: read_pci(qmp, mtree)),
        virtio=_ask(lambda: read_virtio(qmp)),
        process=read_process(machine.pid, machine.argv),
        raw={name: text.encode() for name, text in listings.items() if isinstance(text, str)},
    )


def _ask(question: Callable[[], T]) -> T | Unknown:
    try:
        return question()
    except HostError as error:
        return Unknown(reason=error.message)
