"""Whether QEMU agrees with what is said of kernels before it is started."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_files import KERNEL, bzimage, elf64, multiboot_header, pvh_note, wrap_elf64

from guestbench.errors import ImageError
from guestbench.host import process
from guestbench.images.check import check_bootable
from guestbench.model import Role

KERNELS = {
    "bzImage": bzimage(),
    "wrapped": wrap_elf64(elf64()),
    "pvh": elf64(note=pvh_note()),
    "flat": b"\0" * 16 + multiboot_header(0x10000, 0x100010, 0x100000, 0, 0, 0x100040) + b"\x90" * 64,
    "flat with an end": b"\0" * 16
    + multiboot_header(0x10000, 0x100010, 0x100000, 0x100040, 0x101000, 0x100030)
    + b"\x90" * 64,
    "64-bit with addresses": elf64(
        multiboot=multiboot_header(0x10003, 0x1000E8, 0x100000, 0x100100, 0x100200, 0x100100)
    ),
    "64-bit": elf64(),
    "64-bit multiboot": elf64(multiboot=multiboot_header()),
    "64-bit multiboot with PVH": elf64(multiboot=multiboot_header(), note=pvh_note()),
    "AArch64": elf64(machine=183, multiboot=multiboot_header()),
    "multiboot text": multiboot_header() + b"\0" * 9000,
    "cut off": b"\0" * 16
    + multiboot_header(0x10000, 0x100010, 0x100000, 0x110000, 0x110000, 0x100030)
    + b"\x90" * 64,
}


@pytest.mark.qemu
@pytest.mark.parametrize("name", KERNELS)
def test_qemu_loads_just_the_kernels_that_pass(tmp_path: Path, name: str) -> None:
    """A kernel that QEMU would load is refused, or one that it refuses starts a run."""
    path = tmp_path / "kernel"
    path.write_bytes(KERNELS[name])
    try:
        check_bootable(KERNEL, Role.KERNEL, path)
        passes = True
    except ImageError:
        passes = False
    # Stopped before the first instruction: the kernel is loaded, and the monitor ends QEMU.
    argv = ["qemu-system-x86_64", "-machine", "q35,accel=tcg", "-m", "64", "-nodefaults", "-display", "none"]
    argv += ["-S", "-monitor", "stdio", "-kernel", str(path)]
    done = process.run(argv, input=b"quit\n", timeout_s=60, check=False)
    assert (done.status == 0) is passes, done.stderr
