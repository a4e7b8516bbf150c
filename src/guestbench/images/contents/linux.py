"""Reads Linux kernels without booting them: configuration, version, what a bzImage holds; it runs none.

Sources: the kernel's "Linux/x86 Boot Protocol", and scripts/extract-ikconfig.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from pathlib import Path

from guestbench.errors import ImageError
from guestbench.images.formats.kernel import find_linux_header, find_newest
from guestbench.images.formats.unpack import unpack
from guestbench.images.inspection import (
    KernelConfig,
    Known,
    Option,
    known,
    unknown,
)
from guestbench.images.source import (
    Source,
    open_source,
    unusable,
)
from guestbench.images.tree import Entry, Tree, show
from guestbench.text import visible

MAX_KERNEL_BYTES = 512 << 20
MAX_CONFIG_BYTES = 4 << 20
HARDENING = (
    *(
        "STACKPROTECTOR_STRONG",
        "STRICT_KERNEL_RWX",
        "STRICT_MODULE_RWX",
        "RANDOMIZE_BASE",
        "RANDOMIZE_MEMORY",
    ),
    *(
        "RANDOMIZE_KSTACK_OFFSET_DEFAULT",
        "VMAP_STACK",
        "PAGE_TABLE_ISOLATION",
        "RETPOLINE",
        "MITIGATION_RETPOLINE",
    ),
    *("X86_SMAP", "X86_UMIP", "X86_KERNEL_IBT", "CFI_CLANG", "FORTIFY_SOURCE", "HARDENED_USERCOPY"),
    *("SLAB_FREELIST_RANDOM", "SLAB_FREELIST_HARDENED", "SHUFFLE_PAGE_ALLOCATOR", "INIT_ON_ALLOC_DEFAULT_ON"),
    *("INIT_ON_FREE_DEFAULT_ON", "INIT_STACK_ALL_ZERO", "ZERO_CALL_USED_REGS", "SCHED_STACK_END_CHECK"),
    *(
        "BUG_ON_DATA_CORRUPTION",
        "DEBUG_WX",
        "REFCOUNT_FULL",
        "SECCOMP_FILTER",
        "MODULE_SIG",
        "MODULE_SIG_FORCE",
    ),
    *("SECURITY_LOCKDOWN_LSM", "SECURITY_YAMA", "SECURITY_APPARMOR", "SECURITY_SELINUX", "SECURITY_LANDLOCK"),
    *("SECURITY_DMESG_RESTRICT", "STRICT_DEVMEM", "IO_STRICT_DEVMEM", "BPF_UNPRIV_DEFAULT_OFF"),
    *("LEGACY_VSYSCALL_NONE", "STATIC_USERMODEHELPER", "RANDSTRUCT_FULL", "KFENCE", "UBSAN_BOUNDS"),
    *("DEVKMEM", "KEXEC", "HIBERNATION", "PROC_KCORE", "USER_NS", "IA32_EMULATION", "MODULES", "DEBUG_FS"),
)
"""Options that the kernel's self-protection documentation, or kernel-hardening-checker, judge. The last row
is of options that widen the attack surface."""

_LINE = re.compile(rb"(?m)^(?:# )?CONFIG_(\w+)(?:=(.*)| is not set)\r?$")
_LINUX_LINE = re.compile(rb"(?m)^[ \t]*linux(?:16|efi)?[ \t]+(\S+)[ \t]*([^\r\n]*)")
_BLS_LINE = re.compile(rb"(?m)^options[ \t]+([^\r\n]*)")
_VERSION_POINTER, _PAYLOAD = 0x20E, 0x248


def parse_config(text: bytes, source: str) -> Known[KernelConfig]:
    """Count a kernel configuration's options, and look up those that harden it. `source` is its origin."""
    states = {
        name.decode(): (value or b"n").decode("utf-8", "replace") for name, value in _LINE.findall(text)
    }
    if not states:
        return unknown("the configuration holds no option", source)
    hardening = tuple(
        Option(name=name, state=show(states.get(name, "absent").encode())) for name in HARDENING
    )
    builtin, modules = (sum(state == each for state in states.values()) for each in ("y", "m"))
    return known(KernelConfig(builtin=builtin, modules=modules, hardening=hardening), source)


def find_kernel(boot: Tree, folder: str) -> Entry | None:
    """The newest kernel in a folder, by its name; None if there is none."""
    there = boot.find(folder)
    inside = [e for e in boot.below(folder) if there is not None and e.folder == there.path]
    by_name = {os.fsdecode(entry.name): entry for entry in inside}
    newest = find_newest(list(by_name))
    return by_name[newest[0]] if newest else None


def find_boot_files(boot: Tree, folder: str) -> tuple[Known[str], Known[KernelConfig], Known[str]]:
    """The newest kernel in a folder of a tree, its configuration, and the command line of grub.cfg.

    Raises:
        ImageError: a file cannot be read.
    """
    newest = find_kernel(boot, folder)
    if newest is None:
        reason = "there is no kernel in /boot"
        return unknown(reason), unknown(reason), unknown(reason)
    release = newest.name.removeprefix(b"vmlinuz-")
    entry = boot.find_file(folder.encode() + b"/config-" + release)
    place = f"/boot/config-{show(release)}"
    config: Known[KernelConfig] = unknown(f"there is no {place}")
    if entry is not None:
        config = parse_config(boot.read(entry, MAX_CONFIG_BYTES), place)
    return known(show(newest.name), "the newest vmlinuz in /boot"), config, find_cmdline(boot, folder)


def find_cmdline(boot: Tree, folder: str) -> Known[str]:
    """The kernel command line of the first menu entry of grub.cfg, or of the first loader entry.

    Raises:
        ImageError: a file cannot be read.
    """
    for path in ("grub/grub.cfg", "grub2/grub.cfg"):
        entry = boot.find_file(f"{folder}/{path}")
        found = _LINUX_LINE.search(boot.read(entry, MAX_CONFIG_BYTES)) if entry else None
        if found:
            return known(show(found[2].strip()), f"the first linux line of /boot/{path}")
    for entry in boot.below(f"{folder}/loader/entries"):
        found = _BLS_LINE.search(boot.read(entry, MAX_CONFIG_BYTES)) if entry.is_regular else None
        if found:
            return known(show(found[1].strip()), "the first entry in /boot/loader/entries")
    return unknown("there is no grub.cfg with a linux line in /boot")


# --- a bzImage ----------------------------------------------------------------------------------------


def read_version(source: Source) -> Known[str]:
    """The version string of a bzImage.

    Raises:
        ImageError: the file cannot be read.
    """
    pointer = struct.unpack("<H", source.read(_VERSION_POINTER, 2, "the setup header"))[0]
    if not pointer:
        return unknown("the setup header has no version string")
    raw = source.read_some(pointer + 0x200, 256).split(b"\0")[0]
    return (
        known(show(raw), "the setup header's kernel_version")
        if raw
        else unknown("its version string is empty")
    )


def unpack_kernel(source: Source, dest: Path) -> None:
    """Write the program inside a bzImage (vmlinux) to `dest`.

    Raises:
        ImageError: it is not a bzImage, is damaged, or is compressed in a way that is not supported.
        ToolMissing: zstd is needed and not installed.
        OSError: `dest` cannot be written.
    """
    start = source.read_some(0, 1024)
    header = find_linux_header(start)
    if header is None or header.protocol < 0x208:
        raise unusable(source.path, "is not a bzImage of boot protocol 2.08 or newer")
    offset, length = struct.unpack_from("<II", start, _PAYLOAD)
    at = ((start[0x1F1] or 4) + 1) * 512 + offset
    if at + length > source.size_bytes or not length:
        raise unusable(source.path, "is truncated: its compressed kernel lies beyond its end")
    with dest.open("wb") as file:
        unpack(source, at, length, file, MAX_KERNEL_BYTES)


def find_embedded_config(vmlinux: Path) -> Known[KernelConfig]:
    """The configuration in a kernel that was built with CONFIG_IKCONFIG.

    Raises:
        ImageError: the file cannot be read.
    """
    with open_source(vmlinux) as source:
        contents = source.read_some(0, min(source.size_bytes, MAX_KERNEL_BYTES))
    at = contents.find(b"IKCFG_ST\x1f\x8b")
    if at < 0:
        return unknown("the kernel has no embedded configuration (CONFIG_IKCONFIG)")
    try:
        text = zlib.decompressobj(wbits=31).decompress(contents[at + 8 : at + (4 << 20)], MAX_CONFIG_BYTES)
    except zlib.error:
        return unknown("the embedded configuration is damaged")
    return parse_config(text, "the configuration embedded in the kernel (IKCFG)")


def try_unpack(source: Source, dest: Path) -> str:
    """As `unpack_kernel`; returns why it could not be done, or nothing.

    Raises:
        ToolMissing: zstd is needed and not installed.
        OSError: `dest` cannot be written.
    """
    try:
        unpack_kernel(source, dest)
    except ImageError as error:
        return error.message.removeprefix(visible(source.path)).strip()
    return ""
