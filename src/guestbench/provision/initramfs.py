"""What initial ramdisks are made of: files of ours, kernel modules in load order; and the archive itself."""

from __future__ import annotations

import gzip
import re
import stat
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from guestbench.errors import GuestbenchError, HostError, ImageError
from guestbench.provision import cpio

NAME = "initrd.gz"
DRIVERS_NAME = "drivers.gz"
"""An archive of kernel modules beside an initial ramdisk, appended to it where they are needed."""
FOLDERS = ("dev", "etc", "proc", "root", "run", "sys", "tmp", "var")
PACKER = ["zlib", zlib.ZLIB_RUNTIME_VERSION]
"""What the bytes of an archive depend on besides what is in it."""


def write_archive(archive: Path, entries: Mapping[str, cpio.Entry]) -> None:
    """Write a compressed archive that Linux unpacks; the same for the same entries."""
    archive.write_bytes(gzip.compress(cpio.pack(entries), mtime=0))


def tree_sources(folder: Path, tree: str) -> dict[str, Path]:
    """The files below the folder `tree` of a system's folder, by their paths in the ramdisk.

    Raises:
        ImageError: there is none.
    """
    if not tree:
        return {}
    root = folder / tree
    sources = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    if not sources:
        raise ImageError(f"{root} holds no files to build from", "guestbench systems list")
    return sources


def tree_entries(sources: Mapping[str, Path]) -> dict[str, cpio.Entry]:
    """Files by their paths in the ramdisk, and the folders that every root has.

    Files keep their modes, and are root's. What begins with `#!` is made executable, as a wheel loses that.
    """
    entries = {name: cpio.directory(0o1777 if name == "tmp" else 0o755) for name in FOLDERS}
    # The kernel opens this one before anything is mounted.
    entries["dev/console"] = cpio.character_device(5, 1)
    for name, path in sources.items():
        data = path.read_bytes()
        mode = stat.S_IMODE(path.stat().st_mode) | (0o111 if data.startswith(b"#!") else 0)
        entries[name] = cpio.Entry(mode=stat.S_IFREG | mode, data=data)
    return entries


def order_modules(
    there: Mapping[str, Callable[[], bytes]], names: Sequence[str], refuse: Callable[[str], GuestbenchError]
) -> dict[str, bytes]:
    """The kernel modules `names` and all they depend on, by name, each behind those that it needs.

    `there` gives the contents of every module of the kernel by its name, in which `-` and `_` are the same.
    What `refuse` says of a name is raised for one that is not there.
    """
    known = {name.replace("-", "_"): read for name, read in there.items()}
    ordered: dict[str, bytes] = {}
    pending: list[str] = []

    def add(name: str) -> None:
        if name in ordered or name in pending:
            return
        pending.append(name)
        if name not in known:
            raise refuse(name)
        module = known[name]()
        # What its `.modinfo` section names as needed before it.
        if found := re.search(rb"(?:^|\0)depends=([^\0]*)\0", module):
            for needed in filter(None, found[1].decode().split(",")):
                add(needed.replace("-", "_"))
        ordered[name] = module

    for name in names:
        add(name.replace("-", "_"))
    return ordered


def pack_modules(modules: Mapping[str, bytes], listing: str) -> dict[str, cpio.Entry]:
    """Files of kernel modules, and the file `listing`: their paths, a line each, in the order given."""
    files = {f"lib/modules/{name}.ko": cpio.regular_file(module) for name, module in modules.items()}
    lines = "".join(f"/{path}\n" for path in files)
    return files | {listing: cpio.regular_file(lines.encode())}


def module_entries(
    unpacked: Path, names: Sequence[str], listing: str = "etc/modules"
) -> dict[str, cpio.Entry]:
    """The kernel modules `names` and all they depend on, and `listing`: their paths in load order.

    Raises:
        HostError: the kernel package has no such module.
    """
    there = {path.stem: path.read_bytes for path in unpacked.glob("lib/modules/**/*.ko")}
    where, hint = "the kernel package has no module", "guestbench systems list"
    modules = order_modules(there, names, lambda name: HostError(f"{where} {name}", hint))
    return pack_modules(modules, listing)
