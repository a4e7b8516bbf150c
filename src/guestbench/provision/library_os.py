"""Builds the reference unikernel: the library operating system of this project, beside one static program.

The kernel is compiled from the sources in the folder of the system; the TCP/IP stack lwIP, which no file of
this project contains, comes from Debian's source package. The kernel is the same for every program: the
program lies beside it and is given to QEMU as the initial ramdisk. Nothing here runs either of them.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from guestbench.definition.load import SYSTEMS, list_programs
from guestbench.errors import HostError
from guestbench.host import process
from guestbench.model import LibraryOs, Say
from guestbench.provision.libraries import Unpacked, fetch_source
from guestbench.provision.programs import build_program, program_sources

KERNEL = "kernel.elf"
PROGRAM = "program"
KERNEL_SOURCES = SYSTEMS / "reference-unikernel" / "kernel"
NETWORK = "network"
"""The folder of those sources that is left out of a kernel without a network."""
STACK_PACKAGE = "lwip"
STACK_SOURCES = (
    *(f"core/{name}.c" for name in ("def", "inet_chksum", "init", "ip", "mem", "memp", "netif", "pbuf")),
    *(f"core/{name}.c" for name in ("tcp", "tcp_in", "tcp_out", "timeouts", "udp")),
    *(f"core/ipv4/{name}.c" for name in ("dhcp", "etharp", "icmp", "ip4", "ip4_addr")),
    "netif/ethernet.c",
)
"""The files of lwIP that make TCP over IPv4 over Ethernet with DHCP, below its folder `src`."""
FLAGS = (
    *("-std=c11", "-O2", "-Wall", "-Wextra", "-ffreestanding", "-nostdlib"),
    *("-fpie", "-static-pie", "-mgeneral-regs-only", "-mno-red-zone", "-march=x86-64"),
    *("-fno-stack-protector", "-fno-asynchronous-unwind-tables", "-fno-tree-loop-distribute-patterns"),
    *("-fcf-protection=none", "-ffunction-sections", "-fdata-sections"),
    *("-Wl,--build-id=none", "-Wl,-z,max-page-size=4096", "-Wl,-z,noexecstack", "-Wl,--gc-sections"),
)
"""`-mgeneral-regs-only`: the program's floating-point registers are never saved, as the kernel uses none."""


def sources(recipe: LibraryOs, folder: Path) -> dict[str, Path]:
    """The files that the image depends on: the kernel's sources and the program, or the program's sources."""
    found = {
        f"kernel/{path.relative_to(KERNEL_SOURCES)}": path
        for path in sorted(KERNEL_SOURCES.rglob("*"))
        if path.is_file() and (recipe.network or NETWORK not in path.relative_to(KERNEL_SOURCES).parts)
    }
    if recipe.program in list_programs():
        return found | {f"program/{name}": path for name, path in program_sources(recipe.program).items()}
    return found | {"program": folder / recipe.program}


def build(recipe: LibraryOs, folder: Path, work: Path, say: Say) -> tuple[tuple[tuple[str, str], ...], str]:
    """Build `work/kernel.elf` and put the program beside it as `work/program`.

    Returns the Debian packages in the kernel (name, version), and what it lacks, in words: where lwIP cannot
    be fetched, the kernel is built without a network.

    Raises:
        HostError: the program cannot be built here.
        ToolMissing, ToolFailed: gcc is not installed, or failed.
    """
    packages: tuple[tuple[str, str], ...] = ()
    stack, lacks = None, ""
    if recipe.network:
        try:
            stack = fetch_source(STACK_PACKAGE, recipe.suite, say)
            packages = ((STACK_PACKAGE, stack.version),)
        except HostError as error:
            lacks = f"without a network: {error.message} (mended by: {error.hint})"
    say("compiling the kernel")
    compile_kernel(work / KERNEL, stack)
    if recipe.program in list_programs():
        program = Path(build_program(recipe.program, say).path)
    else:
        program = folder / recipe.program
    shutil.copyfile(program, work / PROGRAM)
    return packages, lacks


def compile_kernel(target: Path, stack: Unpacked | None, kernel: Path = KERNEL_SOURCES) -> None:
    """Compile the sources in `kernel` to `target`, with a network if `stack` has the sources of lwIP.

    Raises:
        ToolMissing, ToolFailed: gcc is not installed, or failed.
    """
    files = _find_sources(kernel)
    argv: list[str | Path] = ["gcc", *FLAGS, f"-I{kernel}", f"-Wl,-T,{kernel / 'link.ld'}", "-o", target]
    if stack is not None:
        network, lwip = kernel / NETWORK, stack.folder / "src"
        argv += ["-DNETWORK", f"-I{network}", f"-I{network / 'lwip'}", f"-I{lwip / 'include'}"]
        files += [*_find_sources(network), *(lwip / name for name in STACK_SOURCES)]
    process.run([*argv, *files])


def _find_sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in (".c", ".S"))
