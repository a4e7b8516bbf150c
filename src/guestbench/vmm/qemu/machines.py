"""QEMU's machine types, as data: what each has, and what it wants on the command line."""

from __future__ import annotations

import re
from typing import NamedTuple

from guestbench.errors import UsageError


class MachineType(NamedTuple):
    """A machine type, and its versions by the names that match `versions`.

    `options` go behind its name. `bus` ends the names of its virtio devices: `pci`, or `device` for slots
    that are mapped in memory. `tells_time` says that it has a clock against which Linux can measure the time
    stamp counter while the host is busy: an HPET or an ACPI timer.
    """

    name: str
    versions: str = ""
    options: tuple[str, ...] = ()
    bus: str = "pci"
    tells_time: bool = True


# microvm is told of each device that would be left out under KVM. With ACPI, which it has by default, Linux
# finds the virtio devices (Debian's kernel takes no `virtio_mmio.device=`) and can power off.
TYPES = (
    MachineType("q35", r"pc-q35-[\d.]+"),
    MachineType("pc", r"pc-i440fx-[\d.]+"),
    MachineType(
        "microvm",
        options=("acpi=on", "ioapic2=on", "pic=on", "pit=on", "rtc=on"),
        bus="device",
        tells_time=False,
    ),
)


def find_machine(machine: str) -> MachineType:
    """The type of a machine as an experiment names it, which may have options of its own behind a comma.

    Raises:
        UsageError: there is none of that name.
    """
    name = machine.partition(",")[0]
    for each in TYPES:
        if name == each.name or (each.versions and re.fullmatch(each.versions, name)):
            return each
    known = ", ".join(each.name for each in TYPES)
    raise UsageError(f"unknown machine {name!r}; QEMU's that are known here: {known}", "guestbench --help")
