"""Builds a minimal Linux guest: a Debian kernel, and an initramfs of static busybox and a few files of ours.

Packages are downloaded and unpacked, never installed; no root is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from guestbench.host import process
from guestbench.model import TOOL_DRIVERS, Role, Say
from guestbench.model.kinds import DebianPackage, FileName, FileNames, SourceFolder
from guestbench.provision import cpio, initramfs
from guestbench.provision.cache import Made
from guestbench.provision.packages import fetch_kernel, find_one
from guestbench.provision.programs import build_program, describe_build, program_sources
from guestbench.provision.recipes import Recipe, Site

BUSYBOX_PACKAGE = "busybox-static"
KERNEL = "vmlinuz"


class DebianInitramfs(Recipe, tag="debian-initramfs"):
    """A Debian kernel and an initramfs that holds static busybox and a few files.

    `tree` names a folder in the system's folder whose files become the root of the initramfs; `modules`
    are kernel modules to put into it, their dependencies included, listed in load order in /etc/modules.
    `programs` are workload programs to put into its root; `busybox` says whether that is there as well.
    `drivers` are modules for an archive of their own beside the image, for trials that attach a disk.
    """

    images: ClassVar[Mapping[Role, str]] = {Role.KERNEL: KERNEL, Role.INITRD: initramfs.NAME}

    suite: FileName
    kernel_package: DebianPackage
    tree: SourceFolder = ""
    modules: FileNames = ()
    drivers: FileNames = ()
    programs: FileNames = ()
    busybox: bool = True

    def sources(self, folder: Path) -> Mapping[str, Path]:
        """The tree, and the sources of the programs."""
        sources = initramfs.tree_sources(folder, self.tree)
        for program in self.programs:
            sources |= {f"{program}/{name}": path for name, path in program_sources(program).items()}
        return sources

    def tools(self) -> object:
        """What packs the ramdisk, and what the programs are compiled with."""
        return [initramfs.PACKER, [describe_build(name) for name in self.programs]]

    def build(self, site: Site, work: Path, say: Say) -> Made:
        """Fetch the packages and write kernel and ramdisk.

        Raises:
            HostError: the packages cannot be had, or are not what the recipe takes them for.
            ToolMissing, ToolFailed: apt or dpkg-deb is not installed, or failed.
        """
        also = (BUSYBOX_PACKAGE,) if self.busybox else ()
        say(f"downloading and unpacking {' and '.join((self.kernel_package, *also))}")
        kernel, unpacked, packages = fetch_kernel(work, self.suite, self.kernel_package, also)
        say("writing kernel and initramfs")
        kernel.rename(work / KERNEL)
        entries = initramfs.tree_entries(initramfs.tree_sources(site.folder, self.tree))
        if self.busybox:
            entries |= busybox_entries(find_one(unpacked, "bin/busybox", BUSYBOX_PACKAGE))
        programs = {name: build_program(name, say) for name in self.programs}
        for name, program in programs.items():
            entries[name] = cpio.regular_file(Path(program.path).read_bytes(), executable=True)
        entries |= initramfs.module_entries(unpacked, self.modules)
        initramfs.write_archive(work / initramfs.NAME, entries)
        files = [*self.images.values()]
        if self.drivers:
            drivers = initramfs.module_entries(unpacked, self.drivers, TOOL_DRIVERS)
            initramfs.write_archive(work / initramfs.DRIVERS_NAME, drivers)
            files.append(initramfs.DRIVERS_NAME)
        digests = {name: program.sha256 for name, program in programs.items()}
        return Made(files=tuple(files), packages=packages, programs=digests)


def busybox_entries(busybox: Path) -> dict[str, cpio.Entry]:
    """busybox and a link to it for every applet it has, so that none need be made while the guest boots."""
    listing = process.run([busybox, "--list"]).stdout.decode()
    links = {f"bin/{applet}": cpio.symbolic_link("busybox") for applet in listing.split()}
    program = cpio.regular_file(busybox.read_bytes(), executable=True)
    return links | {"bin/busybox": program, "init": cpio.symbolic_link("bin/busybox")}


RECIPE = DebianInitramfs
