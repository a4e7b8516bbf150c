"""Finds what a Linux is configured as: the kernel in /boot, its options, its version, its command line.

Source for the configuration embedded in a kernel: its scripts/extract-ikconfig.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from guestbench.errors import ImageError
from guestbench.images.contents.hardening import OPTIONS
from guestbench.images.formats.kernel import MAX_KERNEL_BYTES, SEARCHED_BYTES, find_linux_header, open_vmlinux
from guestbench.images.formats.uki import Uki, read_uki
from guestbench.images.inspection import KernelConfig, Known, Option, known, unknown
from guestbench.images.source import Source, hold, reason_of
from guestbench.images.tree import Entry, Tree, show, show_path

MAX_CONFIG_BYTES = 4 << 20
NO_KERNEL = "there is no kernel in /boot, nor beside its modules"
_KERNEL_NAME = re.compile(r"(?:vmlinuz|bzImage|Image|vmlinux)(?:-(.+))?|kernel-(.+)|(?:.+)-bzImage")
_NO_KERNELS = (".sig", ".hmac", ".sha256", ".sha512", ".gz", ".efi.signed", ".asc")
"""Ends of names of what lies beside a kernel."""
_BESIDE_MODULES = (b"vmlinuz", b"vmlinuz-virt.efi", b"vmlinuz.efi")
_LINE = re.compile(rb"(?m)^(?:# )?CONFIG_(\w+)(?:=(.*)| is not set[ \t]*)$")
_LINUX_LINE = re.compile(rb"(?m)^[ \t]*linux(?:16|efi)?[ \t]+(\S+)[ \t]*([^\r\n]*)")
_BLS_LINUX = re.compile(rb"(?m)^linux[ \t]+/*([^\r\n]*)")
_BLS_VERSION = re.compile(rb"(?m)^version[ \t]+([^\r\n]*)")
_BLS_LINE = re.compile(rb"(?m)^options[ \t]+([^\r\n]*)")


def read_options(text: bytes) -> dict[str, str]:
    """The options in a kernel configuration; one that is not set is `n`."""
    rows = _LINE.findall(b"\n".join(text.splitlines()))
    return {name.decode(): (value.strip() or b"n").decode("utf-8", "replace") for name, value in rows}


def parse_config(text: bytes, source: str) -> Known[KernelConfig]:
    """Count a kernel configuration's options, and look up those that harden it. `source` is its origin."""
    options = read_options(text)
    if not options:
        return unknown("the configuration holds no option", source)
    hardening = tuple(Option(name=o.name, state=show(o.state_in(options).encode())) for o in OPTIONS)
    builtin, modules = (sum(state == each for state in options.values()) for each in ("y", "m"))
    return known(KernelConfig(builtin=builtin, modules=modules, hardening=hardening), source)


class BootKernel(NamedTuple):
    """A kernel in a file system: its file, its release as far as that is known, and where it was found."""

    entry: Entry
    release: str
    where: str


def find_newest(names: Sequence[str]) -> tuple[str, str | None] | None:
    """Of the file names in /boot, the newest Linux kernel's and its initial ramdisk's; None without a kernel.

    Both are found under the names that distributions give them. A kernel with an initial ramdisk is preferred
    to one without, as distributions keep rescue kernels and leftovers beside the one they boot.
    """
    there = set(names)
    found = []
    for name in names:
        release = _release_in(name)
        if release is None:
            continue
        initrd = next((each for each in _initrds(release) if each in there), None)
        # vmlinux: the same without compression, for debuggers.
        found.append((initrd is not None, not name.startswith("vmlinux"), _natural(release), name, initrd))
    if not found:
        return None
    *_, kernel, initrd = max(found, key=lambda each: each[:3])
    return kernel, initrd


def _release_in(name: str) -> str | None:
    """The release in a kernel's file name, which may be empty; None if it is no kernel's name."""
    found = _KERNEL_NAME.fullmatch(name)
    return (found[1] or found[2] or "") if found and not name.endswith(_NO_KERNELS) else None


def _initrds(release: str) -> Iterator[str]:
    """Names of a kernel's initial ramdisk with Debian, Fedora, SUSE, Alpine, Gentoo and NixOS."""
    if not release:
        yield from ("initrd.img", "initramfs.img", "initrd", "initramfs", "initrd.gz")
        return
    for form in (
        "initrd.img-%s",
        "initramfs-%s.img",
        "initrd-%s",
        "initramfs-%s",
        "initrd-%s.img",
        "%s-initrd",
    ):
        yield form % release


def _natural(text: str) -> list[tuple[int, str]]:
    """A sort key by which 6.1.0-9 comes before 6.1.0-37."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", text)]


def find_boot_kernel(root: Tree) -> BootKernel | None:
    """The newest kernel in /boot, or in the folders that boot loaders have in it; None without one.

    Raises:
        ImageError: a loader's entry cannot be read.
    """
    return (
        _find_named(root, "boot")
        or _find_by_entries(root)
        or _find_ukis(root)
        or _find_named(root, "boot/kernels")
        or _find_named(root, "boot/flatcar")
    )


def find_kernel(root: Tree) -> BootKernel | None:
    """As `find_boot_kernel`, or else the newest kernel beside its modules.

    Raises:
        ImageError: a loader's entry cannot be read.
    """
    return find_boot_kernel(root) or _find_by_modules(root)


def _list_files(root: Tree, folder: str) -> dict[str, Entry]:
    """The regular files in a folder by their names, and what links in it lead to; some lead nowhere."""
    inside = root.find(folder)
    names = [os.fsdecode(e.name) for e in root.below(folder) if inside and e.folder == inside.path]
    return {name: file for name in names if (file := root.find_file(os.fsencode(f"{folder}/{name}")))}


def find_boot_files(root: Tree) -> tuple[Entry, Entry | None] | None:
    """The newest kernel that /boot has under its name, and its initial ramdisk; None without a kernel."""
    files = _list_files(root, "boot")
    newest = find_newest(list(files))
    return None if newest is None else (files[newest[0]], files[newest[1]] if newest[1] else None)


def _find_named(root: Tree, folder: str) -> BootKernel | None:
    files = _list_files(root, folder)
    newest = find_newest(list(files))
    if newest is None:
        return None
    kind = "vmlinuz" if newest[0].startswith("vmlinuz") else "kernel"
    return BootKernel(files[newest[0]], _release_in(newest[0]) or "", f"the newest {kind} in /{folder}")


def _find_by_entries(root: Tree) -> BootKernel | None:
    """The kernel of the newest entry of systemd-boot, by the entries' names."""
    entries = (e for e in root.below("boot/loader/entries") if e.is_regular)
    for entry in sorted(entries, key=lambda e: _natural(os.fsdecode(e.name)), reverse=True):
        text = root.read_whole(entry, MAX_CONFIG_BYTES)
        path, version = _BLS_LINUX.search(text), _BLS_VERSION.search(text)
        # From the root of the file system that /boot is, or is in.
        named = path[1].strip() if path else b""
        file = root.find_file(b"boot/" + named) or root.find_file(named)
        if file is not None:
            release = os.fsdecode(version[1].strip()) if version else ""
            return BootKernel(file, release, f"/boot/loader/entries/{show(entry.name)}")
    return None


def _find_ukis(root: Tree) -> BootKernel | None:
    """The newest unified kernel image."""
    for place in ("boot/EFI/Linux", "boot/efi/EFI/Linux", "efi/EFI/Linux"):
        images = [e for e in root.below(place) if e.is_regular and e.name.lower().endswith(b".efi")]
        if images:
            newest = max(images, key=lambda e: _natural(os.fsdecode(e.name)))
            return BootKernel(newest, "", f"the newest unified kernel image in /{place}")
    return None


def _find_by_modules(root: Tree) -> BootKernel | None:
    """The newest kernel that lies beside its modules."""
    for place in ("usr/lib/modules", "lib/modules"):
        kernels = [e for e in root.below(place) if e.is_regular and e.name in _BESIDE_MODULES]
        if kernels:
            newest = max(kernels, key=lambda e: _natural(os.fsdecode(e.folder)))
            release = os.fsdecode(newest.folder.rpartition(b"/")[2])
            return BootKernel(newest, release, f"the newest kernel in /{place}")
    return None


def find_kernel_name(root: Tree) -> Known[str]:
    """The name of the newest kernel.

    Raises:
        ImageError: a loader's entry cannot be read.
    """
    newest = find_kernel(root)
    return known(show(newest.entry.name), newest.where) if newest else unknown(NO_KERNEL)


def find_config(root: Tree, scratch: Path) -> Known[KernelConfig]:
    """The configuration of the newest kernel in a folder: a file beside it or its modules, or else its own.

    Raises:
        ImageError: it, or the kernel, cannot be read, or is too long.
        ToolMissing: zstd is needed to unpack the kernel, and not installed.
        OSError: `scratch` cannot be written.
    """
    newest = find_kernel(root)
    if newest is None:
        return unknown(NO_KERNEL)
    release = newest.release or _release_of_uki(root, newest.entry)
    for place in (
        f"boot/config-{release}",
        f"usr/lib/modules/{release}/config",
        f"lib/modules/{release}/config",
    ):
        if release and (entry := root.find_file(os.fsencode(place))):
            return parse_config(root.read_whole(entry, MAX_CONFIG_BYTES), show_path(os.fsencode(place)))
    missing = (
        f"there is no /boot/config-{show(os.fsencode(release or 'RELEASE'))}, nor one beside its modules"
    )
    shown = Path(show_path(newest.entry.path))
    with hold(root.read_whole(newest.entry, MAX_KERNEL_BYTES), shown) as source:
        try:
            with open_vmlinux(source, scratch) as vmlinux:
                inside = find_embedded_config(vmlinux)
        except ImageError as error:
            return unknown(f"{missing}; the kernel {reason_of(error, shown)}")
    return unknown(f"{missing}; {inside.unknown}") if inside.value is None else inside


def _release_of_uki(tree: Tree, entry: Entry) -> str:
    uki = _read_uki(tree, entry)
    return uki.release if uki else ""


def _read_uki(tree: Tree, entry: Entry) -> Uki | None:
    if tree.read(entry, 2) != b"MZ":
        return None
    with hold(tree.read_whole(entry, MAX_KERNEL_BYTES), Path(show_path(entry.path))) as source:
        return read_uki(source)


def find_cmdline(root: Tree) -> Known[str]:
    """The kernel command line: a unified kernel image's own, grub.cfg's first, or that of a loader entry.

    Raises:
        ImageError: a file cannot be read, or is too long.
    """
    newest = find_kernel(root)
    if newest is None:
        return unknown(NO_KERNEL)
    if newest.entry.name.lower().endswith(b".efi"):
        uki = _read_uki(root, newest.entry)
        if uki is None or uki.cmdline is None:
            return unknown(
                f"{show(newest.entry.name)} has no command line in it: the boot loader gives it one"
            )
        return known(show(uki.cmdline.encode()), f"the section .cmdline of {show_path(newest.entry.path)}")
    for path in ("boot/grub/grub.cfg", "boot/grub2/grub.cfg"):
        entry = root.find_file(path)
        found = _LINUX_LINE.search(root.read_whole(entry, MAX_CONFIG_BYTES)) if entry else None
        if found:
            return known(show(found[2].strip()), f"the first linux line of /{path}")
    entries = [entry for entry in root.below("boot/loader/entries") if entry.is_regular]
    # That of the kernel, where it was found by one.
    for entry in sorted(entries, key=lambda e: not newest.where.endswith(f"/{show(e.name)}")):
        found = _BLS_LINE.search(root.read_whole(entry, MAX_CONFIG_BYTES))
        if found:
            return known(show(found[1].strip()), f"/boot/loader/entries/{show(entry.name)}")
    return unknown("there is no grub.cfg with a linux line in /boot, and no loader entry with options")


# --- a kernel file ------------------------------------------------------------------------------------


def find_version(source: Source) -> Known[str]:
    """The version string of a bzImage.

    Raises:
        ImageError: the file cannot be read.
    """
    header = find_linux_header(source.read_some(0, SEARCHED_BYTES))
    if header is None or not header.version_at:
        return unknown("the setup header has no version string")
    raw = source.read_some(header.version_at, 256).split(b"\0")[0]
    if not raw:
        return unknown("its version string is empty")
    return known(show(raw), "the setup header's kernel_version")


def find_embedded_config(vmlinux: Source) -> Known[KernelConfig]:
    """The configuration in a kernel that was built with CONFIG_IKCONFIG.

    Raises:
        ImageError: the file cannot be read.
    """
    contents = vmlinux.read_some(0, MAX_KERNEL_BYTES)
    at = contents.find(b"IKCFG_ST\x1f\x8b")
    if at < 0:
        return unknown("the kernel has no embedded configuration (CONFIG_IKCONFIG)")
    engine = zlib.decompressobj(wbits=31)
    try:
        text = engine.decompress(contents[at + 8 : at + (4 << 20)], MAX_CONFIG_BYTES)
    except zlib.error:
        return unknown("the embedded configuration is damaged")
    if not engine.eof:
        return unknown(f"the embedded configuration is cut, or longer than {MAX_CONFIG_BYTES >> 20} MiB")
    return parse_config(text, "the configuration embedded in the kernel (IKCFG)")
