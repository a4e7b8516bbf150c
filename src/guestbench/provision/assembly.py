"""Builds a multiboot kernel from one assembly source; it never runs it."""

from __future__ import annotations

from pathlib import Path

from guestbench.host import process
from guestbench.model import Assembly

LOAD_ADDRESS = 0x100000
"""1 MiB: the lowest address that a PC leaves to a kernel as it pleases."""


def build(recipe: Assembly, folder: Path, work: Path) -> None:
    """Build `work/kernel.elf`, a static 32-bit ELF file, from the recipe's source in the system's folder.

    Raises:
        ToolMissing, ToolFailed: gcc is not installed, or failed.
    """
    process.run(
        [
            "gcc",
            "-m32",
            "-nostdlib",
            "-static",
            "-ffreestanding",
            "-fno-pic",
            "-no-pie",
            "-s",
            "-Wl,--build-id=none",
            "-Wl,-z,noexecstack",
            # Code and data in one segment, without padding to pages: QEMU copies it to memory as it is.
            "-Wl,--nmagic",
            f"-Wl,-Ttext={LOAD_ADDRESS:#x}",
            "-o",
            work / "kernel.elf",
            folder / recipe.source,
        ]
    )
