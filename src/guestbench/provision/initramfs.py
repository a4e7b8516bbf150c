"""Builds a minimal Linux guest: a Debian kernel, and an initramfs of static busybox and a few files of ours.

Packages are downloaded and unpacked, never installed; no root is needed.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from guestbench.errors import HostError
from guestbench.host import process
from guestbench.model import DebianInitramfs, Say
from guestbench.provision import cpio
from guestbench.provision.packages import PrivateApt
from guestbench.provision.programs import build_program

BUSYBOX_PACKAGE = "busybox-static"
DRIVERS_NAME = "drivers.gz"
"""An archive of kernel modules beside an initial ramdisk, appended to it where they are needed."""
DRIVER_LIST = "etc/tool-drivers"
"""In that archive: the paths of the modules in load order, a line each."""
FOLDERS = ("dev", "etc", "proc", "root", "run", "sys", "tmp", "var")


def build(recipe: DebianInitramfs, folder: Path, work: Path, say: Say) -> tuple[tuple[str, str], ...]:
    """Build `work/vmlinuz` and `work/initrd.gz` and return the packages in them (name, version).

    `folder` is the system's own, with the recipe's `tree` in it. If the recipe names drivers, they come to
    lie in `work/drivers.gz`.

    Raises:
        HostError: the packages cannot be had, or are not what the recipe takes them for.
        ToolMissing, ToolFailed: apt or dpkg-deb is not installed, or failed.
    """
    say("fetching package lists")
    apt = PrivateApt(work / "apt", recipe.suite)
    kernel_package = _find_kernel_package(apt, recipe.kernel_package)
    packages = [kernel_package, *([BUSYBOX_PACKAGE] if recipe.busybox else [])]
    say(f"downloading {' and '.join(packages)}")
    archives = apt.download(packages)
    say("unpacking")
    unpacked = work / "unpacked"
    for archive in archives.values():
        process.run(["dpkg-deb", "--extract", archive, unpacked])
    say("writing kernel and initramfs")
    kernel = _find_one(unpacked, "boot/vmlinuz-*", kernel_package)
    entries = tree_entries(folder / recipe.tree if recipe.tree else None)
    if recipe.busybox:
        entries |= busybox_entries(_find_one(unpacked, "bin/busybox", BUSYBOX_PACKAGE))
    for name in recipe.programs:
        program = Path(build_program(name, say).path)
        entries[name] = cpio.regular_file(program.read_bytes(), executable=True)
    entries |= module_entries(unpacked, recipe.modules)
    if recipe.drivers:
        drivers = cpio.pack(module_entries(unpacked, recipe.drivers, DRIVER_LIST))
        (work / DRIVERS_NAME).write_bytes(gzip.compress(drivers, mtime=0))
    kernel.rename(work / "vmlinuz")
    (work / "initrd.gz").write_bytes(gzip.compress(cpio.pack(entries), mtime=0))
    return tuple(sorted((name, _version(path)) for name, path in archives.items()))


def _find_kernel_package(apt: PrivateApt, package: str) -> str:
    """The package that holds the kernel itself; `package` may be one that depends on the newest of them."""
    images = [name for name in apt.depends(package) if name.startswith("linux-image-")]
    return images[0] if images else package


def _version(archive: Path) -> str:
    return archive.stem.split("_")[1].replace("%3a", ":")


def _find_one(unpacked: Path, pattern: str, package: str) -> Path:
    found = sorted(path for path in unpacked.glob(pattern) if path.is_file() and not path.is_symlink())
    if len(found) != 1:
        raise HostError(f"package {package} holds {len(found)} files {pattern}", "guestbench systems list")
    return found[0]


def tree_entries(tree: Path | None) -> dict[str, cpio.Entry]:
    """The files below `tree`, if there is one, and the folders every root has.

    What begins with `#!` is made executable.
    """
    entries = {name: cpio.directory(0o1777 if name == "tmp" else 0o755) for name in FOLDERS}
    # The kernel opens this one before anything is mounted.
    entries["dev/console"] = cpio.character_device(5, 1)
    for path in tree.rglob("*") if tree else ():
        if tree and path.is_file():
            data = path.read_bytes()
            entries[str(path.relative_to(tree))] = cpio.regular_file(data, executable=data.startswith(b"#!"))
    return entries


def busybox_entries(busybox: Path) -> dict[str, cpio.Entry]:
    """busybox and a link to it for every applet it has, so that none need be made while the guest boots."""
    listing = process.run([busybox, "--list"]).stdout.decode()
    links = {f"bin/{applet}": cpio.symbolic_link("busybox") for applet in listing.split()}
    program = cpio.regular_file(busybox.read_bytes(), executable=True)
    return links | {"bin/busybox": program, "init": cpio.symbolic_link("bin/busybox")}


def module_entries(
    unpacked: Path, names: Sequence[str], listing: str = "etc/modules"
) -> dict[str, cpio.Entry]:
    """The kernel modules `names` and all they depend on, and `listing`: their paths in load order.

    Raises:
        HostError: the kernel package has no such module.
    """
    there = {path.stem: path.read_bytes for path in unpacked.glob("lib/modules/**/*.ko")}
    try:
        modules = order_modules(there, names)
    except KeyError as missing:
        raise HostError(
            f"the kernel package has no module {missing.args[0]}", "guestbench systems list"
        ) from None
    return pack_modules(modules, listing)


def order_modules(there: Mapping[str, Callable[[], bytes]], names: Sequence[str]) -> dict[str, bytes]:
    """The kernel modules `names` and all they depend on, by name, each behind those that it needs.

    `there` gives the contents of every module of the kernel by its name, in which `-` and `_` are the same.

    Raises:
        KeyError: there is no such module; its name.
    """
    known = {name.replace("-", "_"): read for name, read in there.items()}
    ordered: dict[str, bytes] = {}
    pending: list[str] = []

    def add(name: str) -> None:
        if name in ordered or name in pending:
            return
        pending.append(name)
        module = known[name]()
        for needed in module_dependencies(module):
            add(needed)
        ordered[name] = module

    for name in names:
        add(name.replace("-", "_"))
    return ordered


def pack_modules(modules: Mapping[str, bytes], listing: str) -> dict[str, cpio.Entry]:
    """Files of kernel modules, and the file `listing`: their paths, a line each, in the order given."""
    files = {f"lib/modules/{name}.ko": cpio.regular_file(module) for name, module in modules.items()}
    lines = "".join(f"/{path}\n" for path in files)
    return files | {listing: cpio.regular_file(lines.encode())}


def module_dependencies(module: bytes) -> tuple[str, ...]:
    """The modules that a kernel module's `.modinfo` section names as needed before it."""
    found = re.search(rb"(?:^|\0)depends=([^\0]*)\0", module)
    return tuple(name.replace("-", "_") for name in found[1].decode().split(",") if name) if found else ()
