"""What a machine shows of itself to whoever looks at it from outside: registers, mappings, regions, devices.

Sources: Intel SDM volume 3A, 2.2.1 (EFER), 2.5 (CR0, CR4), 4.1.1 (paging modes); virtio 1.2, 2.1 (status).
"""

from __future__ import annotations

from enum import StrEnum

from guestbench.model.base import Frozen, Unknown


class Mode(StrEnum):
    """How addresses are translated (SDM 3A, 4.1.1)."""

    NONE = "none"
    BITS_32 = "32-bit"
    PAE = "PAE"
    LEVELS_4 = "4-level"
    LEVELS_5 = "5-level"


class Registers(Frozen):
    """The registers of a CPU that say what its page tables mean, and where it stands.

    `privilege` is the current privilege level: 0 for a kernel, 3 for user mode. `stack` has the base of its
    segment added.
    """

    cr0: int
    cr3: int
    cr4: int
    efer: int
    privilege: int
    instruction: int
    stack: int

    @property
    def mode(self) -> Mode:
        """The paging mode."""
        if not self.cr0 >> 31 & 1:
            return Mode.NONE
        if not self.cr4 >> 5 & 1:
            return Mode.BITS_32
        if not self.efer >> 10 & 1:
            return Mode.PAE
        return Mode.LEVELS_5 if self.cr4 >> 12 & 1 else Mode.LEVELS_4

    @property
    def write_protect(self) -> bool:
        """CR0.WP: read-only pages are so for the kernel too."""
        return bool(self.cr0 >> 16 & 1)

    @property
    def smep(self) -> bool:
        """CR4.SMEP: the kernel cannot execute pages of user mode."""
        return bool(self.cr4 >> 20 & 1)

    @property
    def smap(self) -> bool:
        """CR4.SMAP: the kernel reaches pages of user mode only where it says so."""
        return bool(self.cr4 >> 21 & 1)

    @property
    def umip(self) -> bool:
        """CR4.UMIP: user mode cannot read where the kernel's tables are."""
        return bool(self.cr4 >> 11 & 1)

    @property
    def no_execute(self) -> bool:
        """EFER.NXE: pages can be marked as not executable; never so in 32-bit paging without PAE."""
        return bool(self.efer >> 11 & 1) and self.mode not in (Mode.NONE, Mode.BITS_32)


class Listing(Frozen):
    """What a VMM itself lists of a guest's page tables: the addresses that are mapped, in its order.

    `garbled` lines had no form that is known. The sums are of all mappings, and of those that can be written.
    """

    addresses: tuple[int, ...]
    garbled: int
    mapped_kib: int | Unknown
    writable_kib: int | Unknown


class VirtioDevice(Frozen):
    """A virtio device, and whether a driver said that it drives it (DRIVER_OK)."""

    name: str
    driven: bool | Unknown


class RegionKind(StrEnum):
    """What is behind a region: a device model, memory, or memory that only firmware writes."""

    DEVICE = "device"
    RAM = "ram"
    ROM = "rom"


PORTS, MEMORY = "I/O", "memory"
"""The address spaces of the CPUs: port I/O, and what they see of memory and of devices mapped there."""


class View(Frozen):
    """Address spaces that look alike, and how many bytes of each kind are in them.

    Those beside `PORTS` and `MEMORY` are what single devices see when they read and write by themselves.
    """

    spaces: tuple[str, ...]
    size_bytes: dict[RegionKind, int]
