"""Builds a multiboot kernel from one assembly source with gcc."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from guestbench.host import process
from guestbench.model import Role, Say
from guestbench.model.kinds import Kind, of
from guestbench.provision.cache import Made
from guestbench.provision.recipes import Recipe, Site
from guestbench.provision.versions import find_versions

KERNEL = "kernel.elf"
LOAD_ADDRESS = 0x100000
"""1 MiB: the lowest address that a PC leaves to a kernel as it pleases."""
FLAGS = (
    *("-m32", "-nostdlib", "-static", "-ffreestanding", "-fno-pic", "-no-pie", "-s"),
    *("-Wl,--build-id=none", "-Wl,-z,noexecstack"),
    # Code and data in one segment, without padding to pages: QEMU copies it to memory as it is.
    *("-Wl,--nmagic", f"-Wl,-Ttext={LOAD_ADDRESS:#x}"),
)


class Assembly(Recipe, tag="assembly"):
    """A static 32-bit ELF file of the file `source` in the system's folder."""

    images: ClassVar[Mapping[Role, str]] = {Role.KERNEL: KERNEL}

    source: Annotated[str, of(Kind.SOURCE_FILE)]

    def sources(self, folder: Path) -> Mapping[str, Path]:
        """The one file."""
        return {self.source: folder / self.source}

    def tools(self) -> object:
        """The compiler and its flags."""
        return [FLAGS, find_versions("gcc", "ld")]

    def build(self, site: Site, work: Path, say: Say) -> Made:
        """Compile it.

        Raises:
            ToolMissing, ToolFailed: gcc is not installed, or failed.
        """
        process.run(["gcc", *FLAGS, "-o", work / KERNEL, site.folder / self.source])
        return Made(files=(KERNEL,))


RECIPE = Assembly
