"""Builds a minimal Alpine Linux guest from Alpine's official archives; it changes nothing in what they hold.

The kernel, and the few of its modules that are wanted, come out of the netboot archive; the mini root file
system becomes an initramfs, with a few files of ours on top. Nothing is installed; no root is needed.
"""

from __future__ import annotations

import io
import posixpath
import re
import stat
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar

import msgspec

from guestbench.errors import ImageError
from guestbench.images.formats.initramfs import open_initramfs
from guestbench.images.formats.unpack import find_compression, unpack
from guestbench.images.source import hold, open_source, unusable
from guestbench.images.tree import MAX_SYMLINKS, Entry, Tree
from guestbench.model import MIB, Fetch, Role, Say
from guestbench.model.kinds import FileNames, SourceFolder
from guestbench.provision import cpio, initramfs, tarball
from guestbench.provision.cache import Made
from guestbench.provision.download import read_sums
from guestbench.provision.recipes import Recipe, Site

KERNEL = "boot/vmlinuz-virt"
INITRAMFS = "boot/initramfs-virt"
"""Alpine's kernel for virtual machines, and the initial ramdisk with its modules, in the netboot archive."""
INIT = "sbin/init"
MODULE_LIST = "etc/modules-in-order"

MAX_KERNEL_BYTES = 128 * MIB
MAX_INITRAMFS_BYTES = 512 * MIB
MAX_MODULE_BYTES = 64 * MIB
MAX_LIST_BYTES = MIB

_MODULE = re.compile(r"(?:usr/)?lib/modules/[^/]+/(?:.+/)?([^/]+)\.ko(?:\.\w+)?")
_BUILT_IN = re.compile(r"(?:usr/)?lib/modules/[^/]+/modules\.builtin")


class AlpineInitramfs(Recipe, tag="alpine-initramfs"):
    """Alpine Linux's kernel and an initramfs of its mini root file system and a few files of ours.

    `kernel` is the official netboot archive, `root` the official archive of the mini root file system.
    `tree` names a folder in the system's folder whose files go on top of that; `modules` are kernel modules
    to put into it, their dependencies included, listed in load order in /etc/modules-in-order.
    """

    images: ClassVar[Mapping[Role, str]] = {Role.KERNEL: "vmlinuz", Role.INITRD: initramfs.NAME}

    kernel: Fetch
    root: Fetch
    tree: SourceFolder
    modules: FileNames = ()

    def sources(self, folder: Path) -> Mapping[str, Path]:
        """The tree."""
        return initramfs.tree_sources(folder, self.tree)

    def tools(self) -> object:
        """What packs the ramdisk."""
        return initramfs.PACKER

    def build(self, site: Site, work: Path, say: Say) -> Made:
        """Fetch the archives and write kernel and ramdisk.

        Raises:
            HostError: the archives cannot be downloaded.
            ImageError: they are not what was published, or not what the recipe takes them for.
            UsageError: `$GUESTBENCH_MIRROR` is no address.
        """
        say("reading the publisher's checksums")
        # The small one first: whatever is wrong with the server or the line shows before the large one.
        both = [read_sums(source, site.system, "build") for source in (self.root, self.kernel)]
        root, kernel = (published.keep(say) for published in both)
        say("unpacking the archives")
        entries = tarball.read_entries(root)
        if _resolve(entries, INIT) not in entries:
            raise unusable(root, f"is no root file system: it holds no /{INIT}")
        netboot = work / "netboot-initramfs"
        wanted = {KERNEL: (work / "vmlinuz", MAX_KERNEL_BYTES), INITRAMFS: (netboot, MAX_INITRAMFS_BYTES)}
        tarball.copy_members(kernel, wanted)
        say("writing kernel and initramfs")
        modules = read_modules(netboot, self.modules, kernel, work)
        for added in (
            initramfs.tree_entries(self.sources(site.folder)),
            initramfs.pack_modules(modules, MODULE_LIST),
            # The kernel starts /init; the mini root file system has none.
            {"init": cpio.symbolic_link(f"/{INIT}")},
        ):
            entries = put_on_top(entries, added)
        initramfs.write_archive(work / initramfs.NAME, entries)
        told = "; ".join(published.describe() for published in both)
        return Made(files=tuple(self.images.values()), source=told)


def put_on_top(entries: Mapping[str, cpio.Entry], added: Mapping[str, cpio.Entry]) -> dict[str, cpio.Entry]:
    """`entries` with `added` in their places; a folder that is there stays, a replaced file keeps its mode.

    A path that leads through links in `entries` ends up where they lead, as it would in the guest.
    """
    merged = dict(entries)
    for path, entry in sorted(added.items()):
        place = _resolve(merged, path)
        there = merged.get(place)
        if there is not None and stat.S_ISDIR(there.mode):
            continue
        if there is not None and stat.S_ISREG(there.mode) and stat.S_ISREG(entry.mode):
            entry = msgspec.structs.replace(entry, mode=there.mode, uid=there.uid, gid=there.gid)
        merged[place] = entry
    return merged


def _resolve(entries: Mapping[str, cpio.Entry], path: str) -> str:
    """Where a path leads, links in it followed, its last part included; it never leads out of `entries`."""
    for _ in range(MAX_SYMLINKS):
        parts = path.split("/")
        for length in range(1, len(parts) + 1):
            ahead = "/".join(parts[:length])
            entry = entries.get(ahead)
            if entry is not None and stat.S_ISLNK(entry.mode):
                target = posixpath.join("/", posixpath.dirname(ahead), entry.data.decode())
                path = posixpath.normpath(posixpath.join(target, *parts[length:])).lstrip("/")
                break
        else:
            return path
    return path


def read_modules(ramdisk: Path, names: tuple[str, ...], archive: Path, work: Path) -> dict[str, bytes]:
    """The kernel modules `names` and those they need, unpacked, in load order, out of the initial ramdisk.

    What is built into the kernel is left out. `archive` is named in errors; `work` is a folder.

    Raises:
        ImageError: the ramdisk is damaged, or has no such module.
    """
    with open_source(ramdisk, shown=archive) as source, open_initramfs(source, work) as (tree, *_):
        there: dict[str, Callable[[], bytes]] = {}
        built_in: set[str] = set()
        for entry in tree:
            path = entry.path.decode("utf-8", "replace")
            if entry.is_regular and (found := _MODULE.fullmatch(path)):
                there[found[1]] = partial(_read_module, tree, entry, archive)
            elif entry.is_regular and _BUILT_IN.fullmatch(path):
                lines = tree.read(entry, MAX_LIST_BYTES).decode("utf-8", "replace").split()
                built_in |= {posixpath.basename(line).split(".")[0].replace("-", "_") for line in lines}
        wanted = [name for name in names if name.replace("-", "_") not in built_in]
        where, hint = f"{INITRAMFS} in {archive} has no kernel module", "guestbench systems list"
        return initramfs.order_modules(there, wanted, lambda name: ImageError(f"{where} {name}", hint))


def _read_module(tree: Tree, entry: Entry, archive: Path) -> bytes:
    """A kernel module as insmod takes it: Alpine's busybox has none that unpacks."""
    module = tree.read(entry, MAX_MODULE_BYTES)
    if find_compression(module[:8]) is None:
        return module
    unpacked = io.BytesIO()
    with hold(module, archive) as source:
        unpack(source, 0, len(module), unpacked, MAX_MODULE_BYTES)
    return unpacked.getvalue()


RECIPE = AlpineInitramfs
