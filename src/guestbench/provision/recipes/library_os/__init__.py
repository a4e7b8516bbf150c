"""Builds the reference unikernel: the library operating system of this project, beside one static program.

The kernel is compiled from the sources in the folder `kernel`; the TCP/IP stack lwIP, which no file of
this project contains, comes from Debian's source package. The kernel is the same for every program: the
program lies beside it and is given to QEMU as the initial ramdisk. Nothing here runs either of them.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar

from guestbench.definition.workloads import list_programs
from guestbench.errors import HostError
from guestbench.host import process
from guestbench.model import Role, Say
from guestbench.model.kinds import FileName, Kind, of
from guestbench.provision.cache import Made, Package
from guestbench.provision.packages import Unpacked, fetch_source
from guestbench.provision.programs import build_program, describe_build, program_sources
from guestbench.provision.recipes import Recipe, Site
from guestbench.provision.versions import find_versions

KERNEL = "kernel.elf"
PROGRAM = "program"
KERNEL_SOURCES = Path(__file__).parent / "kernel"
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


class LibraryOs(Recipe, tag="library-os"):
    """The library operating system of this project, and one program.

    `program` is a static Linux program beside system.toml, or the name of a workload program. With `network`
    a TCP/IP stack is linked in, from Debian's source package of lwIP in `suite`.
    """

    images: ClassVar[Mapping[Role, str]] = {Role.KERNEL: KERNEL, Role.INITRD: PROGRAM}

    program: Annotated[str, of(Kind.PROGRAM)]
    network: bool = True
    suite: FileName = "bookworm"

    def sources(self, folder: Path) -> Mapping[str, Path]:
        """The kernel's sources, and the program or its sources."""
        found = {
            f"kernel/{path.relative_to(KERNEL_SOURCES)}": path
            for path in sorted(KERNEL_SOURCES.rglob("*"))
            if path.is_file() and (self.network or NETWORK not in path.relative_to(KERNEL_SOURCES).parts)
        }
        if self.program in list_programs():
            return found | {f"program/{name}": path for name, path in program_sources(self.program).items()}
        return found | {"program": folder / self.program}

    def tools(self) -> object:
        """The compiler and its flags, and what the program is compiled with."""
        return [FLAGS, STACK_SOURCES, find_versions("gcc", "ld"), describe_build(self.program)]

    def build(self, site: Site, work: Path, say: Say) -> Made:
        """Compile the kernel and put the program beside it.

        Where lwIP cannot be fetched, the kernel is built without a network, and that is said.

        Raises:
            HostError: the program cannot be built here.
            ToolMissing, ToolFailed: gcc is not installed, or failed.
        """
        stack, lacks = None, ""
        if self.network:
            try:
                stack = fetch_source(STACK_PACKAGE, self.suite, say)
            except HostError as error:
                lacks = f"without a network: {error.message} (mended by: {error.hint})"
        say("compiling the kernel")
        compile_kernel(work / KERNEL, stack)
        own = self.program not in list_programs()
        program = site.folder / self.program if own else build_program(self.program, say).path
        shutil.copyfile(program, work / PROGRAM)
        packages = (Package(name=STACK_PACKAGE, version=stack.version),) if stack else ()
        return Made(files=(KERNEL, PROGRAM), packages=packages, lacks=lacks)

    def describe(self, made: Made) -> str:
        """Its own source, and lwIP's."""
        return "".join(["source", *(f" and Debian's {each.name} {each.version}" for each in made.packages)])


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


RECIPE = LibraryOs
