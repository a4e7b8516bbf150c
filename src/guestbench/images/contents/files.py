"""Takes the inventory of a root file system: who and what is in it, with which rights; it runs nothing.

It works on a `Tree`, so that a disk and an initial ramdisk are judged alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from guestbench.images.contents.known import BUSYBOX, NAMES, Kind, drop_version
from guestbench.images.inspection import (
    Distribution,
    Executables,
    FileFound,
    Known,
    PasswordState,
    Program,
    Unit,
    User,
    known,
    unknown,
)
from guestbench.images.tree import Entry, Tree, show, show_path

T = TypeVar("T")

MAX_TEXT_BYTES = 4 << 20
"""Of a configuration file; real ones have some KiB."""
MAX_LISTED = 100_000
"""Files of one sort that are listed."""
UNSEEN_MOUNTS = ("/proc/", "/sys/", "/dev/", "/run/", "/tmp/", "/media/", "/mnt/", "/.snapshots/")
"""Mounts that hold nothing of the inventory: the last has earlier states of the same files."""
NO_FILES = ("swap", "proc", "sysfs", "tmpfs", "devpts", "devtmpfs", "cgroup", "cgroup2", "efivarfs", "ignore")
"""File systems of which nothing is on a disk."""
_OCTAL = re.compile(rb"\\([0-7]{3})")
"""How fstab(5) writes a space."""
MAX_MOUNTS = 20
MAX_SHELLS = 1000
FOLDERS = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin")
"""Where programs lie, as in Debian's PATH."""
_CAPABILITY_NAMES = (
    "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable "
    "net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot "
    "sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease "
    "audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read "
    "perfmon bpf checkpoint_restore"
)
"""By number, as in capabilities(7)."""
_CAPABILITIES = _CAPABILITY_NAMES.split()
_IDENTIFIER = re.compile(rb"\s*(?:\+|(-))?0*([0-9]{1,10})")
LARGEST_IDENTIFIER = (1 << 32) - 1
_MODULE = re.compile(rb"(usr/)?lib/modules/.+\.ko(\.(gz|xz|zst|bz2|lz4|lzma))?", re.DOTALL)


def _read_lines(tree: Tree, path: str) -> list[bytes]:
    """The lines of a configuration file; none if there is no such file. Only a newline ends one.

    Raises:
        ImageError: it cannot be read, or is longer than MAX_TEXT_BYTES.
    """
    entry = tree.find_file(path)
    return tree.read_whole(entry, MAX_TEXT_BYTES).split(b"\n") if entry is not None else []


class FstabRow(NamedTuple):
    """A line of /etc/fstab: what is mounted, where, as what and with which options."""

    source: str
    point: str
    kind: str
    options: str


def read_fstab(tree: Tree) -> tuple[FstabRow, ...]:
    """What /etc/fstab mounts over the root and could hold files of the system.

    Raises:
        ImageError: it cannot be read, or is too long.
    """
    rows = {}
    for line in _read_lines(tree, "etc/fstab"):
        fields = [show(_OCTAL.sub(lambda found: bytes([int(found[1], 8) & 255]), f)) for f in line.split()]
        if len(fields) < 3 or fields[0].startswith("#") or fields[2] in NO_FILES:
            continue
        point = fields[1].rstrip("/")
        if point.startswith("/") and not f"{point}/".startswith(UNSEEN_MOUNTS):
            rows[point] = FstabRow(fields[0], point, fields[2], ",".join(fields[3:4]))
    return tuple(rows[point] for point in sorted(rows))


def name_points(points: Sequence[str]) -> str:
    """Where something is mounted, in words."""
    more = [f"and {len(points) - MAX_MOUNTS} more"] if len(points) > MAX_MOUNTS else []
    return ", ".join([*points[:MAX_MOUNTS], *more])


def find_distribution(tree: Tree) -> Known[Distribution]:
    """The distribution by /etc/os-release."""
    reason = "there is no os-release file"
    for path in ("etc/os-release", "usr/lib/os-release"):
        if tree.find_file(path) is None:
            continue
        fields = {}
        for line in _read_lines(tree, path):
            name, equals, value = line.strip().partition(b"=")
            if equals and not name.startswith(b"#"):
                fields[name] = show(value.strip(b"\"'"))
        title = fields.get(b"PRETTY_NAME") or fields.get(b"NAME", "")
        if title or fields.get(b"ID"):
            return known(
                Distribution(
                    id=fields.get(b"ID", ""), version=fields.get(b"VERSION_ID", ""), title=title or "?"
                ),
                f"/{path}",
            )
        reason = f"/{path} names no distribution"
    return unknown(reason)


# --- files --------------------------------------------------------------------------------------------


def count_executables(tree: Tree) -> Known[Executables]:
    """Executables by their first bytes."""
    elf = scripts = size = 0
    seen: set[int] = set()
    kinds: dict[int, bytes] = {}
    for entry in tree:
        if not entry.is_executable or entry.size_bytes < 2:
            continue
        start = kinds.get(entry.inode)
        if start is None:
            start = kinds[entry.inode] = tree.read(entry, 4)
        if not start.startswith((b"\x7fELF", b"#!")):
            continue
        elf += start.startswith(b"\x7fELF")
        scripts += start.startswith(b"#!")
        if entry.inode not in seen:
            seen.add(entry.inode)
            size += entry.size_bytes
    return known(
        Executables(elf=elf, scripts=scripts, bytes=size),
        "regular files with an execute bit that begin as ELF or with #!; bytes of hard links once",
    )


def find_by_mode(tree: Tree, bit: int) -> Known[tuple[FileFound, ...]]:
    """Regular files with a mode bit set, such as 0o4000 for SUID."""
    return _list_files((e for e in tree if e.is_regular and e.mode & bit), f"inodes, mode & {bit:04o}")


def find_world_writable(tree: Tree) -> Known[tuple[FileFound, ...]]:
    """Regular files that anyone may write, and folders without the sticky bit in which anyone may."""
    found = (e for e in tree if e.mode & 0o002 and (e.is_regular or (e.is_folder and not e.mode & 0o1000)))
    return _list_files(found, "inodes, mode & 0002; folders only without 1000")


def find_capabilities(tree: Tree) -> Known[tuple[FileFound, ...]]:
    """Files with capabilities, where the store keeps extended attributes."""
    if not tree.has_attributes:
        return known((), "cpio keeps no extended attributes, so that the kernel gives the files none")
    found = (e for e in tree if e.is_regular and e.capability is not None)
    return _list_files(found, "extended attribute security.capability")


def _list_files(entries: Iterable[Entry], source: str) -> Known[tuple[FileFound, ...]]:
    found = [
        FileFound(
            path=show_path(e.path),
            mode=f"{e.mode & 0o7777:04o}",
            uid=e.uid,
            gid=e.gid,
            detail=_name_capabilities(e.capability) if e.capability is not None else "",
        )
        for e in sorted(entries)
    ]
    return _list_all(found, source)


def _list_all(found: list[T], source: str) -> Known[tuple[T, ...]]:
    if len(found) > MAX_LISTED:
        return unknown(f"there are more than {MAX_LISTED}", source)
    return known(tuple(found), source)


def _name_capabilities(value: bytes) -> str:
    """The permitted capabilities of a `vfs_cap_data`, as getcap(8) names them."""
    if len(value) < 12 or value[3] not in (1, 2, 3):
        return "not sound"
    permitted = int.from_bytes(value[4:8], "little")
    if value[3] > 1 and len(value) >= 20:
        permitted |= int.from_bytes(value[12:16], "little") << 32
    names = [
        f"cap_{_CAPABILITIES[n]}" if n < len(_CAPABILITIES) else f"cap_{n}"
        for n in range(64)
        if permitted >> n & 1
    ]
    return ",".join(names) + ("=ep" if value[0] & 1 else "=p")


def count_modules(tree: Tree) -> Known[int]:
    """Kernel modules on disk."""
    if tree.find("lib/modules") is None and tree.find("usr/lib/modules") is None:
        return known(0, "there is no folder /lib/modules")
    count = sum(e.is_regular and _MODULE.fullmatch(e.path) is not None for e in tree)
    return known(count, "regular files *.ko below /lib/modules, compressed ones too")


# --- people and programs ------------------------------------------------------------------------------


def find_users(tree: Tree) -> Known[tuple[User, ...]]:
    """Users with the state of their passwords."""
    if tree.find_file("etc/passwd") is None:
        return unknown("there is no /etc/passwd")
    shadow: dict[bytes, bytes] = {}
    for line in _read_lines(tree, "etc/shadow"):
        name, colon, rest = line.partition(b":")
        if colon:
            shadow.setdefault(name, rest.split(b":")[0])
    users = []
    for line in _read_lines(tree, "etc/passwd"):
        fields = line.lstrip().split(b":", 6)
        numbers = [_to_identifier(field) for field in fields[2:4]]
        # As glibc reads it (fgetpwent(3)), which wants no more than a group, and leaves out what it cannot.
        if len(numbers) < 2 or None in numbers or fields[0][:1] in (b"#", b"+", b"-"):
            continue
        fields += [b""] * (7 - len(fields))
        secret = shadow.get(fields[0]) if fields[1] == b"x" else fields[1]
        users.append(
            User(
                name=show(fields[0]),
                uid=numbers[0] or 0,
                shell=show(fields[6]) or "/bin/sh",
                password=_password_state(secret),
            )
        )
    if not users:
        return unknown("/etc/passwd lists no user")
    return _list_all(users, "/etc/passwd; password state from /etc/shadow")


def _to_identifier(field: bytes) -> int | None:
    """A user's or group's number as glibc reads it; None if it is none."""
    found = _IDENTIFIER.fullmatch(field)
    if found is None:
        return None
    number = int(found[2])
    # There is a -0, and no other number below zero.
    return None if number > LARGEST_IDENTIFIER or (found[1] and number) else number


def _password_state(secret: bytes | None) -> PasswordState:
    if secret is None:
        return PasswordState.UNKNOWN
    if not secret:
        return PasswordState.EMPTY
    # A hash has 13 characters or begins with $ (crypt(5)); all else never matches a password.
    is_hash = secret.startswith((b"$", b"_")) or (len(secret) == 13 and secret[:1] not in b"!*")
    return PasswordState.SET if is_hash else PasswordState.LOCKED


def find_shells(tree: Tree) -> Known[tuple[Program, ...]]:
    """Shells that exist: those of /etc/shells and the well-known ones."""
    listed = [
        line.strip().lstrip(b"/") for line in _read_lines(tree, "etc/shells") if line.strip().startswith(b"/")
    ]
    if len(listed) > MAX_SHELLS:
        return unknown(f"/etc/shells lists more than {MAX_SHELLS} programs")
    found = _find_programs(tree, [*listed, *_find_paths(tree, NAMES[Kind.SHELL] | {BUSYBOX})])
    return known(found, "/etc/shells and well-known names in /bin and /usr/bin")


def find_interpreters(tree: Tree) -> Known[tuple[Program, ...]]:
    """Interpreters that exist, by well-known names."""
    found = _find_programs(tree, _find_paths(tree, NAMES[Kind.INTERPRETER]))
    return known(found, "well-known names in /bin and /usr/bin")


def find_package_managers(tree: Tree) -> Known[tuple[Program, ...]]:
    """Package managers that exist, by well-known names."""
    found = _find_programs(tree, _find_paths(tree, NAMES[Kind.PACKAGE_MANAGER]))
    return known(found, "well-known names in /bin, /sbin, /usr/bin and /usr/sbin")


def _find_paths(tree: Tree, names: frozenset[str]) -> list[bytes]:
    """The paths with these names, versions left out, where programs lie."""
    folders = {found.path for folder in FOLDERS if (found := tree.find(folder))}
    return sorted(
        e.path
        for e in tree
        if e.folder in folders and drop_version(e.name.decode("utf-8", "replace")) in names
    )


def _find_programs(tree: Tree, paths: Iterable[bytes]) -> tuple[Program, ...]:
    """Programs among `paths`: one for each name and file that it leads to."""
    found: dict[tuple[bytes, bytes], Program] = {}
    for path in paths:
        target = tree.find_file(path)
        if target is not None and target.is_executable:
            key = path.rpartition(b"/")[2], target.path
            found.setdefault(key, Program(path=show_path(path), target=show_path(target.path)))
    return tuple(sorted(found.values(), key=lambda program: (program.target, program.path)))


def find_units(tree: Tree) -> Known[tuple[Unit, ...]]:
    """Units that links in /etc/systemd/system enable; links to /dev/null are masks and do not count."""
    if tree.find("usr/lib/systemd/system") is None and tree.find("lib/systemd/system") is None:
        return unknown("there is no systemd")
    units = []
    for entry in tree.below("etc/systemd/system"):
        wanted_by, dot, relation = entry.folder.rpartition(b"/")[2].rpartition(b".")
        if dot and relation in (b"wants", b"requires") and entry.is_symlink and entry.link != b"/dev/null":
            units.append(Unit(name=show(entry.name), wanted_by=show(wanted_by)))
    units.sort(key=lambda unit: (unit.name, unit.wanted_by))
    return _list_all(units, "links in /etc/systemd/system/*.wants and *.requires")
