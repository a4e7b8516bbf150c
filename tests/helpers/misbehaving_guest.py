"""Builds the guest that misbehaves on purpose (integration/guests/misbehaves.c); it boots nothing."""

from __future__ import annotations

from pathlib import Path

from guestbench.host import process
from guestbench.model import GuestFamily, Image, Kernel, Role, System

SOURCES = Path(__file__).parents[1] / "integration" / "guests"
OPEN_PORT = 4242
PLACES = rb"text=0x(\w+)-0x(\w+) wx=0x(\w+) data=0x(\w+) stack=0x(\w+)-0x(\w+)\r\n"
"""The line on its console that says where things are."""
SYSTEM = System(
    name="misbehaves",
    title="A guest that misbehaves on purpose",
    family=GuestFamily.UNIKERNEL,
    boot=Kernel(),
    ready="[ready]",
    timeout_s=20.0,
)
GCC = (
    *("gcc", "-m32", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror"),
    *("-ffreestanding", "-mgeneral-regs-only", "-fno-pic", "-fno-stack-protector", "-fcf-protection=none"),
    *("-fno-asynchronous-unwind-tables", "-nostdlib", "-static", "-no-pie", "-Wl,--build-id=none"),
)


def build(folder: Path) -> dict[Role, Image]:
    """Its kernel, built in `folder`."""
    kernel = folder / "misbehaves.elf"
    process.run([*GCC, f"-Wl,-T,{SOURCES / 'misbehaves.ld'}", SOURCES / "misbehaves.c", "-o", kernel])
    stat = kernel.stat()
    image = Image(path=str(kernel), size_bytes=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256="")
    return {Role.KERNEL: image}
