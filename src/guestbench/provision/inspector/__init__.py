"""Makes the inspector guest, which looks into disks: a Debian kernel, and a program of ours as its init."""

from __future__ import annotations

from pathlib import Path

from guestbench.host import process
from guestbench.model import Inspector, Say
from guestbench.provision import cache, cpio, initramfs
from guestbench.provision.packages import SUITE, fetch_kernel
from guestbench.provision.versions import find_versions

SOURCE = Path(__file__).with_name("inspector.c")
FLAGS = (
    *("-std=gnu11", "-Os", "-static", "-s", "-fno-pie", "-no-pie", "-march=x86-64", "-Wl,--build-id=none"),
    *("-Wall", "-Wextra", "-Wno-format-truncation"),
)
KERNEL_PACKAGE = "linux-image-cloud-amd64"
KERNEL = "vmlinuz"
MODULES = {
    "modules": ("virtio_pci", "virtio_console", "virtio_blk"),
    "modules.btrfs": ("xxhash_generic", "blake2b_generic", "btrfs"),
    "modules.dm": ("dm-mod",),
    "modules.erofs": ("erofs",),
    "modules.iso9660": ("isofs",),
    "modules.squashfs": ("squashfs",),
    "modules.vfat": ("nls_cp437", "nls_ascii", "nls_utf8", "vfat"),
    "modules.xfs": ("xfs",),
}
"""The kernel modules for the start, and for each kind of file system, by the names of their lists in /etc."""


def build_inspector(say: Say) -> Inspector:
    """The guest that looks into disks, from the cache where it is there.

    Raises:
        HostError: no Debian mirror is known or can be reached, or the disk is full.
        ToolMissing, ToolFailed: apt, dpkg-deb or gcc is not installed, or failed.
    """

    def build(work: Path, say: Say) -> cache.Made:
        say(f"fetching a kernel, {KERNEL_PACKAGE}")
        kernel, modules, packages = fetch_kernel(work, SUITE, KERNEL_PACKAGE)
        kernel.rename(work / KERNEL)
        process.run(["gcc", *FLAGS, "-o", work / "init", SOURCE])
        entries = {name: cpio.directory(0o755) for name in ("dev", "etc", "proc", "sys")}
        # The kernel opens this one before anything is mounted.
        entries["dev/console"] = cpio.character_device(5, 1)
        entries["init"] = cpio.regular_file((work / "init").read_bytes(), executable=True)
        for listing, names in MODULES.items():
            entries |= initramfs.module_entries(modules, names, f"etc/{listing}")
        initramfs.write_archive(work / initramfs.NAME, entries)
        return cache.Made(files=(KERNEL, initramfs.NAME), packages=packages)

    facts = [FLAGS, MODULES, KERNEL_PACKAGE, SUITE, initramfs.PACKER, find_versions("gcc", "ld")]
    doing = "building the guest that looks into disks"
    kept = cache.make(cache.Plan("inspector", doing, build, facts, {SOURCE.name: SOURCE}), say)
    kernel, initrd = (cache.read_image(kept.folder / name) for name in (KERNEL, initramfs.NAME))
    return Inspector(kernel=kernel, initrd=initrd, kept=str(cache.cache_folder() / "inspections"))
