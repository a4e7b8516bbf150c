"""What `guestbench inspect` finds in an image, as frozen types; it reads nothing itself.

Every fact carries where it comes from. What could not be found out is a reason, never 0 and never empty.
Texts taken from an image are in one line of printable characters; other characters appear as escapes.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Generic, TypeVar

from guestbench.model import Frozen

T = TypeVar("T")


class Known(Frozen, Generic[T]):
    """A fact and its `source`. `value` is None exactly where `unknown` gives the reason."""

    value: T | None
    source: str
    unknown: str = ""


def known(value: T, source: str) -> Known[T]:
    """A fact that was found."""
    return Known(value=value, source=source)


def unknown(reason: str, source: str = "") -> Known[T]:
    """A fact that could not be found out, with the reason."""
    return Known(value=None, source=source, unknown=reason)


class Kind(StrEnum):
    """What an image file is."""

    DISK = "disk image"
    INITRAMFS = "initramfs"
    ELF = "ELF image"
    LINUX_KERNEL = "Linux kernel (bzImage)"
    UKI = "unified kernel image"


class Partition(Frozen):
    """A partition; number 0 is a file system that fills a disk without a partition table.

    `type` is a GPT type GUID or an MBR type in hexadecimal, as sfdisk prints them, and `purpose` what it
    stands for. `content` is a file system or what else is in it. They are empty where they are not known.
    `volume` is `group/name` of a logical volume that begins in the partition, in place of what else is there.
    """

    number: int
    start_bytes: int
    size_bytes: int
    type: str
    content: str
    purpose: str = ""
    is_root: bool = False
    volume: str = ""


# --- a root file system -------------------------------------------------------------------------------


class Distribution(Frozen):
    """The distribution by os-release: ID, VERSION_ID and PRETTY_NAME; texts may be empty."""

    id: str
    version: str
    title: str


class Package(Frozen):
    """An installed package. `kind` is deb or apk; `source` is the source package, if the database says so."""

    kind: str
    name: str
    version: str
    architecture: str
    source: str = ""


class Executables(Frozen):
    """Regular files with an execute bit. Each path counts; bytes are counted once for hard links."""

    elf: int
    scripts: int
    bytes: int

    @property
    def count(self) -> int:
        """ELF files and scripts."""
        return self.elf + self.scripts


class FileFound(Frozen):
    """A file that matters for privileges. `mode` is octal; `detail` names capabilities, for instance."""

    path: str
    mode: str
    uid: int
    gid: int
    detail: str = ""


class PasswordState(StrEnum):
    """The state of a user's password, by the field of /etc/shadow or /etc/passwd that holds its hash."""

    SET = "set"
    EMPTY = "empty"
    LOCKED = "locked"
    UNKNOWN = "unknown"


class User(Frozen):
    """A user of /etc/passwd. The password's hash is never kept."""

    name: str
    uid: int
    shell: str
    password: PasswordState


class Program(Frozen):
    """A program by one of its names; `target` is the file it leads to, through symbolic links."""

    path: str
    target: str


class Unit(Frozen):
    """A systemd unit that a link below /etc enables; `wanted_by` is the unit that pulls it in."""

    name: str
    wanted_by: str


class Option(Frozen):
    """A kernel configuration option: y, m, n (not set), a value, or `absent` (this kernel has none of it)."""

    name: str
    state: str


class KernelConfig(Frozen):
    """A kernel's configuration: number of `=y` and `=m` options, and those that harden it."""

    builtin: int
    modules: int
    hardening: tuple[Option, ...]


class FileSystem(Frozen):
    """What a root file system holds."""

    distribution: Known[Distribution]
    packages: Known[tuple[Package, ...]]
    executables: Known[Executables]
    suid: Known[tuple[FileFound, ...]]
    sgid: Known[tuple[FileFound, ...]]
    capabilities: Known[tuple[FileFound, ...]]
    world_writable: Known[tuple[FileFound, ...]]
    users: Known[tuple[User, ...]]
    shells: Known[tuple[Program, ...]]
    interpreters: Known[tuple[Program, ...]]
    package_managers: Known[tuple[Program, ...]]
    units: Known[tuple[Unit, ...]]
    modules: Known[int]
    kernel: Known[str]
    kernel_config: Known[KernelConfig]
    kernel_cmdline: Known[str]
    kernel_bytes: Known[int]
    initrd_bytes: Known[int]
    entries: int


# --- code ---------------------------------------------------------------------------------------------


class SegmentFound(Frozen):
    """A LOAD segment; `flags` is like `R-E`."""

    vaddr: int
    file_bytes: int
    memory_bytes: int
    flags: str


class Count(Frozen):
    """How often something is there."""

    name: str
    count: int


class Signature(Frozen):
    """A property of code and what it was concluded from; `state` is a word such as present or absent."""

    name: str
    state: str
    evidence: str


class Gadgets(Frozen):
    """Places in code from which an attacker can run a few instructions up to a return.

    `places` is how many start addresses there are; `distinct` how many differ in their bytes, None where only
    a share of the returns was looked at. `returns` is how many return opcodes there are, aligned or not.
    """

    places: int
    distinct: int | None
    returns: int
    share: float


class CodeFile(Frozen):
    """The gadgets of one file of an image."""

    name: str
    code_bytes: int
    gadgets: Known[Gadgets]


class Elf(Frozen):
    """An ELF image: a unikernel, or a kernel. `stripped` is None where its table of sections is cut."""

    bits: int
    machine: str
    wrapper: str
    entry: int
    stripped: bool | None
    segments: tuple[SegmentFound, ...]
    wx_segments: Known[int]
    code_bytes: Known[int]
    symbols: Known[tuple[Count, ...]]
    libraries: Known[tuple[Count, ...]]
    mitigations: tuple[Signature, ...]
    syscall_entry: Known[tuple[Count, ...]]
    syscall_handlers: Known[int]
    programs: Known[tuple[str, ...]]
    gadgets: Known[Gadgets]


class LinuxKernel(Frozen):
    """A bzImage: what its header says, its embedded configuration if it has one, and the kernel in it.

    `cmdline` is None where no command line comes with it.
    """

    version: Known[str]
    config: Known[KernelConfig]
    program: Known[Elf]
    cmdline: Known[str] | None = None


class Inspection(Frozen):
    """What one image holds. Parts that do not apply to its kind are None.

    `used_bytes` are those of the blocks in use in the file systems of a disk's system, /boot excepted.
    """

    file: str
    kind: Kind
    detail: str
    size_bytes: int
    partitions: tuple[Partition, ...] | None = None
    used_bytes: int | None = None
    files: Known[FileSystem] | None = None
    elf: Elf | None = None
    kernel: LinuxKernel | None = None
    code: Known[tuple[CodeFile, ...]] | None = None
    notes: tuple[str, ...] = ()
