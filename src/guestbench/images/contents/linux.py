"""Finds what a Linux is configured as: the kernel in /boot, its options, its version, its command line.

Source for the configuration embedded in a kernel: its scripts/extract-ikconfig.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Sequence

from guestbench.images.contents.hardening import OPTIONS
from guestbench.images.formats.kernel import MAX_KERNEL_BYTES, SEARCHED_BYTES, find_linux_header
from guestbench.images.inspection import KernelConfig, Known, Option, known, unknown
from guestbench.images.source import Source
from guestbench.images.tree import Entry, Tree, show

MAX_CONFIG_BYTES = 4 << 20
NO_KERNEL = "there is no kernel in /boot"
_LINE = re.compile(rb"(?m)^(?:# )?CONFIG_(\w+)(?:=(.*)| is not set[ \t]*)$")
_LINUX_LINE = re.compile(rb"(?m)^[ \t]*linux(?:16|efi)?[ \t]+(\S+)[ \t]*([^\r\n]*)")
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


def find_newest(names: Sequence[str]) -> tuple[str, str | None] | None:
    """Of the file names in /boot, the newest Linux kernel's and its initial ramdisk's; None without a kernel.

    Initial ramdisks are found under the names that Debian, Fedora and SUSE give them. A kernel with one is
    preferred to one without, as distributions keep rescue kernels and leftovers beside the one they boot.
    """
    there = set(names)
    found = []
    for name in names:
        if not name.startswith("vmlinuz-"):
            continue
        release = name.removeprefix("vmlinuz-")
        initrds = (f"initrd.img-{release}", f"initramfs-{release}.img", f"initrd-{release}")
        initrd = next((each for each in initrds if each in there), None)
        found.append((initrd is not None, _natural(release), name, initrd))
    if not found:
        return None
    *_, kernel, initrd = max(found, key=lambda each: each[:2])
    return kernel, initrd


def _natural(text: str) -> list[tuple[int, str]]:
    """A sort key by which 6.1.0-9 comes before 6.1.0-37."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]+)", text)]


def find_kernel(boot: Tree, folder: str) -> Entry | None:
    """The newest kernel in a folder, by its name; None if there is none."""
    inside = boot.find(folder)
    by_name = {os.fsdecode(e.name): e for e in boot.below(folder) if inside and e.folder == inside.path}
    newest = find_newest(list(by_name))
    return by_name[newest[0]] if newest else None


def find_kernel_name(boot: Tree, folder: str) -> Known[str]:
    """The name of the newest kernel in a folder."""
    newest = find_kernel(boot, folder)
    return known(show(newest.name), "the newest vmlinuz in /boot") if newest else unknown(NO_KERNEL)


def find_config(boot: Tree, folder: str) -> Known[KernelConfig]:
    """The configuration of the newest kernel in a folder.

    Raises:
        ImageError: it cannot be read, or is too long.
    """
    newest = find_kernel(boot, folder)
    if newest is None:
        return unknown(NO_KERNEL)
    release = newest.name.removeprefix(b"vmlinuz-")
    entry = boot.find_file(folder.encode() + b"/config-" + release)
    place = f"/boot/config-{show(release)}"
    if entry is None:
        return unknown(f"there is no {place}")
    return parse_config(boot.read_whole(entry, MAX_CONFIG_BYTES), place)


def find_cmdline(boot: Tree, folder: str) -> Known[str]:
    """The kernel command line of the first menu entry of grub.cfg, or of the first loader entry.

    Raises:
        ImageError: a file cannot be read, or is too long.
    """
    if find_kernel(boot, folder) is None:
        return unknown(NO_KERNEL)
    for path in ("grub/grub.cfg", "grub2/grub.cfg"):
        entry = boot.find_file(f"{folder}/{path}")
        found = _LINUX_LINE.search(boot.read_whole(entry, MAX_CONFIG_BYTES)) if entry else None
        if found:
            return known(show(found[2].strip()), f"the first linux line of /boot/{path}")
    for entry in boot.below(f"{folder}/loader/entries"):
        found = _BLS_LINE.search(boot.read_whole(entry, MAX_CONFIG_BYTES)) if entry.is_regular else None
        if found:
            return known(show(found[1].strip()), "the first entry in /boot/loader/entries")
    return unknown("there is no grub.cfg with a linux line in /boot")


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
