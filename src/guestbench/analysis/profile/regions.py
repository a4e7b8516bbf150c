"""Names what runs at an address where no symbol tells it, by what a PC keeps where.

Sources: the memory map of PCs (SeaBIOS, "Memory layout"), the kernel's "Linux/x86 Boot Protocol", and its
"Complete virtual memory map with 4-level page tables" (Documentation/x86/x86_64/mm.rst).
"""

from __future__ import annotations

from guestbench.analysis.profile.histogram import UPPER_HALF
from guestbench.model import MIB, Frozen
from guestbench.model.profile import Region

Named = tuple[Region, str]
"""A region, and the part of it: words, or a range of addresses."""

LOW_END, SMM, OPTION_ROMS, BIOS, HIGH_START = 0xA0000, 0xA0000, 0xC0000, 0xE0000, 0x100000
FLASH = (1 << 32) - 16 * MIB, 1 << 32
PCI_HOLE_MIB = 2048
"""How much RAM lies below 4 GiB at most, on the machine that leaves most of it to devices."""
FIRMWARE_HIGH = 2 * MIB
"""SeaBIOS moves its set-up code, and option ROMs, to so much below the end of low RAM at most."""
LOADER_HIGH = 32 * MIB
"""GRUB takes memory for its modules from the end of RAM."""
SMM_FIRST, SMM_FIRST_BYTES = 0x38000, 16
"""Where a CPU enters SMM first, to be told where it is to enter from then on (Intel SDM 3C, 32.11)."""
LINUX_TEXT, LINUX_MODULES, LINUX_MODULES_END = 0xFFFFFFFF80000000, 0xFFFFFFFFC0000000, 0xFFFFFFFFFF000000
PIE_START, MMAP_START = 0x550000000000, 0x7F0000000000
"""Where Linux puts position-independent programs, and libraries, stacks and the vDSO."""
CHUNK = MIB
"""Unknown addresses are told by ranges of this size."""


class Setting(Frozen):
    """How the guest was started, as far as it decides what is where.

    `is_linux` says that a Linux kernel is what runs; `from_disk` that a firmware loaded a boot loader.
    `smm_bytes` is what the machine keeps for SMM at the end of low RAM.
    """

    memory_mib: int
    smm_bytes: int
    is_linux: bool
    from_disk: bool


def name_address(address: int, setting: Setting, *, moved_up: bool) -> Named:
    """What runs at an address; `moved_up` says that a kernel has been run in the upper half before."""
    if address >= UPPER_HALF:
        return _name_upper(address) if setting.is_linux else _unknown(address)
    if firmware := _name_firmware(address, setting, moved_up=moved_up):
        return Region.FIRMWARE, firmware
    if moved_up and setting.is_linux:
        return Region.USER, _name_user(address)
    if address < LOW_END:
        if setting.from_disk:
            return Region.LOADER, "low memory"
        return (Region.SETUP, "") if setting.is_linux else _unknown(address)
    if not setting.is_linux or moved_up:
        return _unknown(address)
    if setting.from_disk and not _is_decompressor(address, setting):
        return Region.LOADER, "high memory"
    return Region.DECOMPRESSOR, ""


def _name_firmware(address: int, setting: Setting, *, moved_up: bool) -> str:
    """The part of the firmware; empty if it is none."""
    if SMM <= address < OPTION_ROMS:
        return "SMM (0xa0000–0xbffff)"
    if OPTION_ROMS <= address < BIOS:
        return "option ROMs (0xc0000–0xdffff)"
    if BIOS <= address < HIGH_START:
        return "BIOS (0xe0000–0xfffff)"
    if FLASH[0] <= address < FLASH[1]:
        return "flash (top of 4 GiB)"
    if moved_up:
        return ""
    end = _find_end(setting) - setting.smm_bytes
    if end - FIRMWARE_HIGH <= address < end:
        return "moved to the end of low RAM"
    first = SMM_FIRST <= address < SMM_FIRST + SMM_FIRST_BYTES and not setting.from_disk
    return "SMM set-up (0x38000)" if first else ""


def _find_end(setting: Setting) -> int:
    """Where low RAM ends."""
    return min(setting.memory_mib, PCI_HOLE_MIB) * MIB


def _is_decompressor(address: int, setting: Setting) -> bool:
    """Whether a kernel unpacks itself there: a boot loader loads it at 16 MiB, and itself near the end."""
    return 16 * MIB <= address < _find_end(setting) - LOADER_HIGH


def _name_upper(address: int) -> Named:
    if LINUX_TEXT <= address < LINUX_MODULES:
        return Region.KERNEL, "no symbol"
    if LINUX_MODULES <= address < LINUX_MODULES_END:
        return Region.MODULES, "no symbol"
    return _unknown(address)


def _name_user(address: int) -> str:
    if address < PIE_START:
        return "programs at fixed addresses"
    return "programs (0x55…, 0x56…)" if address < MMAP_START else "libraries and vDSO (0x7f…)"


def _unknown(address: int) -> Named:
    low = address // CHUNK * CHUNK
    return Region.UNKNOWN, f"{low:#x}–{low + CHUNK - 1:#x}"
