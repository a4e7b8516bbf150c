"""Reads what QEMU's monitor prints into typed answers; it judges nothing, and asks nothing.

Nothing here is text of the guest's, but its page tables decide how long some answers are. Lines that do not
have the form of an answer are passed over and counted. The forms are those of QEMU 7.2, and of 8 to 10.

Source: QEMU's target/i386/monitor.c and softmmu/qdev-monitor.c.
"""

from __future__ import annotations

import re

from guestbench.model import Unknown
from guestbench.model.machine import Listing, RegionKind, Registers, View

# --- a CPU and its memory -----------------------------------------------------------------------------


def parse_registers(text: str) -> Registers | Unknown:
    """The answer to `info registers`."""
    found: dict[str, int] = {}
    for name, value in re.findall(r"\b([A-Z][A-Z0-9]{1,3}) ?=([0-9a-f]{1,16})\b", text):
        found.setdefault(name, int(value, 16))
    base = re.search(r"(?m)^SS =[0-9a-f]{4} ([0-9a-f]{8,16}) ", text)
    wide = "RSP" in found
    try:
        return Registers(
            cr0=found["CR0"],
            cr3=found["CR3"],
            cr4=found["CR4"],
            efer=found["EFER"],
            privilege=found["CPL"],
            instruction=found["RIP" if wide else "EIP"],
            # In 64-bit mode the base of the stack segment is not used.
            stack=found["RSP"] if wide else (found["ESP"] + (int(base[1], 16) if base else 0)) & 0xFFFFFFFF,
        )
    except KeyError as error:
        return Unknown(reason=f"QEMU's monitor shows no register {error.args[0]}")


_TLB_LINE = re.compile(r"(?m)^([0-9a-f]{16}): [0-9a-f]{16} [X-][G-][P-][D-][A-][C-][T-][U-][W-]$")
_MEM_LINE = re.compile(r"(?m)^[0-9a-f]{16}-[0-9a-f]{16} ([0-9a-f]{16}) [u-]r([w-])$")
_DUMP_LINE = re.compile(r"(?m)^([0-9a-f]{1,16}):((?: 0x[0-9a-f]{1,16})+)$")


def parse_listing(tlb: str, mem: str | Unknown) -> Listing:
    """The answers to `info tlb`, a line a mapping, and to `info mem`, a line a range."""
    addresses = tuple(int(address, 16) for address in _TLB_LINE.findall(tlb))
    mapped_kib: int | Unknown
    writable_kib: int | Unknown
    if isinstance(mem, Unknown):
        mapped_kib = writable_kib = mem
    else:
        ranges = _MEM_LINE.findall(mem)
        mapped_kib = sum(int(size, 16) for size, _ in ranges) // 1024
        writable_kib = sum(int(size, 16) for size, write in ranges if write == "w") // 1024
    lines = sum(1 for line in tlb.splitlines() if line.strip())
    return Listing(
        addresses=addresses,
        garbled=lines - len(addresses),
        mapped_kib=mapped_kib,
        writable_kib=writable_kib,
    )


def parse_dump(text: str, item_bytes: int) -> dict[int, int] | None:
    """The values that `xp` shows and that are not 0, by their physical address; None if it shows none."""
    values = {}
    lines = _DUMP_LINE.findall(text)
    if not lines:
        return None
    for start, items in lines:
        for number, item in enumerate(items.split()):
            if value := int(item, 16):
                values[int(start, 16) + number * item_bytes] = value
    return values


# --- devices ------------------------------------------------------------------------------------------

_BUS = re.compile(r"( *)bus: .{1,120}")
_BUS_TYPE = re.compile(r" *type (.{1,120})")
_DEVICE = re.compile(r'( *)dev: ([^,]{1,120}), id "[^"]{0,120}"')
_PCI_PROXIES = ("virtio-pci-bus", "virtual-css-bus")
"""On a bus of these types a virtio device is listed again, as what is behind the one that is plugged in."""
_MMIO_PROXY = "virtio-mmio"
"""What a virtio device is plugged into where there is no PCI: a slot, which may be empty."""


def parse_devices(text: str) -> tuple[str, ...]:
    """The types of the devices in the answer to `info qtree`, in its order; a virtio device counts once."""
    devices: list[str] = []
    buses: list[tuple[int, str]] = []  # indent and type of the buses that the line is in
    for line in text.splitlines():
        if match := _BUS.fullmatch(line):
            buses = [bus for bus in buses if bus[0] < len(match[1])] + [(len(match[1]), "")]
        elif match := _DEVICE.fullmatch(line):
            buses = [bus for bus in buses if bus[0] < len(match[1])]
            behind = bool(buses) and buses[-1][1] in _PCI_PROXIES
            if not behind and match[2] != _MMIO_PROXY:
                devices.append(match[2])
        elif (match := _BUS_TYPE.fullmatch(line)) and buses and not buses[-1][1]:
            buses[-1] = (buses[-1][0], match[1])
    return tuple(devices)


_SPACE = re.compile(r' AS "(.{1,120})", root: .*')
_ROOT = re.compile(r" Root memory region: (.{1,120})")
_REGION = re.compile(
    r"  ([0-9a-f]{16})-([0-9a-f]{16}) \(prio -?\d+, (?:nv-)?(ramd|romd|ram|rom|i/o)\): (.{1,200}?)"
    r"(?: @[0-9a-f]{16})?(?: KVM)?"
)
_KINDS = {
    "ram": RegionKind.RAM,
    "ramd": RegionKind.RAM,
    "rom": RegionKind.ROM,
    "romd": RegionKind.ROM,
    "i/o": RegionKind.DEVICE,
}


def parse_views(text: str) -> tuple[View, ...]:
    """The views in the answer to `info mtree -f`, less what is left of the root itself: it is unassigned."""
    views = []
    for part in re.split(r"(?m)^FlatView #\d+$", text)[1:]:
        spaces: list[str] = []
        root = ""
        found: dict[RegionKind, int] = {}
        for line in part.splitlines():
            if match := _REGION.fullmatch(line):
                if match[4] != root:
                    size_bytes = int(match[2], 16) - int(match[1], 16) + 1
                    kind = _KINDS[match[3]]
                    found[kind] = found.get(kind, 0) + size_bytes
            elif match := _SPACE.fullmatch(line):
                spaces.append(match[1])
            elif match := _ROOT.fullmatch(line):
                root = match[1]
        views.append(View(spaces=tuple(spaces), size_bytes=found))
    return tuple(views)


def is_driven(answer: object) -> bool | Unknown:
    """Whether DRIVER_OK is among the states in the answer to `x-query-virtio-status`."""
    status = answer.get("status") if isinstance(answer, dict) else None
    states = status.get("statuses") if isinstance(status, dict) else None
    if not isinstance(states, list):
        return Unknown(reason="QEMU does not show the status of this device")
    return any("DRIVER_OK" in str(state) for state in states)


# --- the network --------------------------------------------------------------------------------------


def parse_forwards(text: str) -> dict[int, int]:
    """Host ports by guest ports, out of what `info usernet` prints of listening sockets."""
    found = re.findall(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)\s+[\d.]+\s+(\d+)", text)
    return {int(guest): int(host) for host, guest in found}
