"""Finds the system in a disk: its root and what is mounted over it, as one tree; the inspector guest reads.

The root is the volume with what only a root has. What /etc/fstab mounts is put where it says; a /usr or /boot
that it does not name is found by its contents. Of several roots, as A/B images have them, one counts, and the
others are named.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from guestbench.errors import ImageError
from guestbench.images.contents.files import FstabRow, name_points, read_fstab
from guestbench.images.contents.linux import find_boot_kernel
from guestbench.images.formats import disk
from guestbench.images.formats.disk import SECTOR
from guestbench.images.formats.volumes import (
    BOOT_SIGNATURE,
    LVM,
    PROBED_BYTES,
    ROOTS,
    USRS,
    Content,
    Row,
    find_content,
    find_ends,
    has_gpt,
    read_rows,
)
from guestbench.images.inspection import Known, Partition, known, unknown
from guestbench.images.source import open_source, reason_of, truncated, unusable
from guestbench.images.tree import ROOT_MARKS, Entry, Tree, show
from guestbench.inspect import lvm
from guestbench.inspect.guest import SECTORS, Device, InspectorGuest, Mount, MountError, look_into, read_entry
from guestbench.model import DiskFormat, Inspector
from guestbench.text import visible

NOTHING = "is no disk with partitions or a known file system, and no other image"
MAX_VOLUMES = 16
"""So many volumes are mounted: each takes time, and memory of the guest."""
_EXT = ("ext4", ("minixdf", "minixdf,noload"))
_KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    **dict.fromkeys(("ext2", "ext3", "ext4"), _EXT),
    "xfs": ("xfs", ("nouuid", "nouuid,norecovery")),
    "btrfs": ("btrfs", ("", "rescue=nologreplay")),
    "erofs": ("erofs", ("",)),
    "squashfs": ("squashfs", ("",)),
    "iso9660": ("iso9660", ("",)),
    "vfat": ("vfat", ("",)),
}
"""What the kernel calls it, and options to try in this order: the last ones leave a journal alone."""
_SUBVOLUMES = ("@", "root", "@rootfs", "@root")
"""Names that distributions give to the subvolume that is the root."""
_DEVICE = re.compile(r"/dev/(?:[svh]d[a-z]|xvd[a-z]|nvme\d+n\d+p|mmcblk\d+p)(\d+)")
_BOOT_MARKS = ("grub", "grub2", "loader", "EFI/Linux", "flatcar", "extlinux", "syslinux", "kernels")


class Volume(NamedTuple):
    """A disk, a partition or a logical volume: the guest's device, and what is known of it.

    `lv` is `group/name` of a logical volume.
    """

    device: str
    partition: Partition
    content: Content
    row: Row = Row()
    lv: str = ""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"volume {self.lv}" if self.lv else f"partition {self.partition.number}"


class DiskSystem(NamedTuple):
    """What is on a disk. `tree` is the system's, or a reason why there is none to see.

    `used_bytes` are those of the file systems that the system is on, /boot excepted.
    """

    partitions: tuple[Partition, ...]
    tree: Known[Tree]
    notes: tuple[str, ...] = ()
    used_bytes: int = 0


def check_disk(image: Path) -> None:
    """Refuse what is no disk, as far as its first bytes tell, before a guest is started to look into it.

    Raises:
        ImageError: it is none, or one of an unknown format, or is cut.
    """
    if disk.read_info(image).format is DiskFormat.RAW:
        with open_source(image) as source:
            start = source.read_some(0, PROBED_BYTES)
        if not (find_content(start).name or start[510:512] == BOOT_SIGNATURE or has_gpt(start)):
            raise unusable(image, NOTHING)


@contextmanager
def open_system(image: Path, inspector: Inspector, scratch: Path) -> Iterator[DiskSystem]:
    """The system in a disk; its files can be read until the context ends. `scratch` is a folder to write to.

    Raises:
        ImageError: it is no disk, or is cut, or makes the guest fail that looks into it.
        HostError: QEMU is missing or does not start, or looking takes too long.
    """
    info = disk.read_info(image)
    with look_into(image, info, inspector, scratch) as guest:
        found = _Disk(guest, image)
        if not found.volumes:
            raise unusable(image, NOTHING)
        yield found.find_system()


class _Root(NamedTuple):
    volume: Volume
    mount: Mount
    subvolume: str = ""

    @property
    def name(self) -> str:
        return (
            f"{self.volume.name}, subvolume {show(self.subvolume.encode())}"
            if self.subvolume
            else self.volume.name
        )


class _Disk:
    """A disk in the guest."""

    def __init__(self, guest: InspectorGuest, image: Path) -> None:
        self._guest, self._image = guest, image
        self._mounted: dict[tuple[str, str], Mount] = {}
        self._notes: list[str] = []
        self._reasons: list[str] = []
        self._rows: dict[int, Row] = {}
        self.volumes: list[Volume] = []
        for sector_bytes, name in SECTORS.items():
            devices = guest.list_devices(name)
            if devices and not any(volume.content.name for volume in self.volumes):
                self._look_at(sector_bytes, *devices)
        self.volumes += list(self._find_logical_volumes())

    def _look_at(self, sector_bytes: int, whole: Device, *parts: Device) -> None:
        """Find the volumes of the disk as it is with sectors of this size.

        Raises:
            ImageError: its partition table names more than there is, or is damaged.
        """
        start = self._guest.read_device(whole.name, 0, PROBED_BYTES)
        self._rows = read_rows(start, sector_bytes)
        again = len(parts) - len({part.start_bytes for part in parts})
        if again:
            self._reasons.append(f"{again} partitions begin where others do: the table leads back to itself")
        there = [self._probe(part if sector_bytes == SECTOR else self._map_part(part)) for part in parts]
        if find_content(start).name and not any(volume.content.name for volume in there):
            there = [self._probe(whole)]
        elif sector_bytes == SECTOR or has_gpt(start, sector_bytes):
            for what, end in find_ends(start, sector_bytes).items():
                if end > whole.size_bytes:
                    raise truncated(self._image, what, end, whole.size_bytes, "disk")
            if self._rows and not parts:
                raise unusable(self._image, "has a partition table that Linux does not take: it is damaged")
        if sector_bytes == SECTOR or any(volume.content.name for volume in there):
            self.volumes = there

    def _map_part(self, part: Device) -> Device:
        """A partition of a disk with large sectors, where no file system of small blocks can be mounted."""
        first, sectors = part.start_bytes // SECTOR, part.size_bytes // SECTOR
        table = f"0 {sectors} linear /dev/{SECTORS[SECTOR]} {first}"
        try:
            return part._replace(name=self._guest.map_device(f"part{part.number}", table))
        except MountError as error:
            raise unusable(
                self._image, f"has a partition {part.number} that cannot be read: {error}"
            ) from error

    def _probe(self, device: Device, lv: str = "", number: int | None = None) -> Volume:
        row = self._rows.get(device.number, Row())
        content = find_content(self._guest.read_device(device.name, 0, PROBED_BYTES))
        partition = Partition(
            number=device.number if number is None else number,
            start_bytes=device.start_bytes,
            size_bytes=device.size_bytes,
            type=row.type,
            purpose=row.purpose,
            content=content.name,
            volume=lv,
        )
        return Volume(device.name, partition, content, row, lv)

    # --- logical volumes ------------------------------------------------------------------------------

    def _find_logical_volumes(self) -> Iterator[Volume]:
        devices: dict[str, str] = {}
        texts: dict[str, Volume] = {}
        for volume in self.volumes:
            if volume.content.name != LVM:
                continue
            try:
                read = partial(self._guest.read_device, volume.device)
                identifier, text = lvm.read_physical_volume(read)
            except ValueError as error:
                self._reasons.append(f"{volume.name}: {error}")
                continue
            devices[identifier] = f"/dev/{volume.device}"
            if text:
                texts.setdefault(text, volume)
        for text, volume in texts.items():
            try:
                found = list(lvm.find_volumes(text, devices))
                if len(found) > MAX_VOLUMES:
                    words = f"only the first {MAX_VOLUMES} of {len(found)} logical volumes are looked at"
                    self._reasons.append(f"{volume.name}: {words}")
                yield from self._map_volumes(found[:MAX_VOLUMES], volume)
            except ValueError as error:
                self._reasons.append(f"{volume.name}: {error}")

    def _map_volumes(self, found: list[lvm.LogicalVolume], owner: Volume) -> Iterator[Volume]:
        for number, each in enumerate(found):
            name = visible(f"{each.group}/{each.name}")
            if each.problem:
                self._reasons.append(f"volume {name}: {each.problem}")
                continue
            try:
                device = self._guest.map_device(f"lv{number}", each.table)
            except MountError as error:
                self._reasons.append(f"volume {name}: it cannot be put together: {error}")
                continue
            size = sum(int(line.split()[1]) for line in each.table.splitlines()) * SECTOR
            yield self._probe(Device(device, -1, 0, size), name, owner.partition.number)

    # --- mounts ---------------------------------------------------------------------------------------

    def _mount(self, volume: Volume, option: str = "") -> Mount:
        """Mount a volume, once.

        Raises:
            MountError: it cannot be.
        """
        there = self._mounted.get((volume.device, option))
        if there is not None:
            return there
        kind, ways = _KINDS[volume.content.name]
        problem = ""
        for way in ways:
            try:
                options = ",".join(filter(None, (way, option)))
                # What is only in the journal may be counted, or not.
                unnamed = None if problem else volume.content.unnamed
                mount = self._guest.mount(volume.device, kind, options, unnamed)
            except MountError as error:
                if way == ways[-1]:
                    raise MountError(error.status, problem or str(error)) from error
                problem = str(error)
                continue
            break
        if problem:
            words = "was not unmounted: what only its journal holds is not seen"
            self._note(f"{volume.name} {words} ({problem})")
        for _, text in self._guest.read_messages():
            if "with errors" in text:
                self._note(f"{volume.name}: the kernel warns: {text}")
        self._mounted[volume.device, option] = mount
        return mount

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)

    def _mount_all(self) -> Iterator[tuple[Volume, Mount]]:
        there = [volume for volume in self.volumes if volume.content.name in _KINDS]
        for volume in sorted(there, key=lambda v: -v.partition.size_bytes)[:MAX_VOLUMES]:
            try:
                yield volume, self._mount(volume)
            except MountError as error:
                self._reasons.append(f"{volume.name}: {error}")
        if len(there) > MAX_VOLUMES:
            self._reasons.append(f"only the {MAX_VOLUMES} largest file systems are looked at")

    # --- the system -----------------------------------------------------------------------------------

    def find_system(self) -> DiskSystem:
        """The root and what is mounted over it.

        Raises:
            ImageError: the guest that looks into the disk fails.
        """
        mounts = list(self._mount_all())
        roots = sorted(
            (root for volume, mount in mounts for root in self._find_roots(volume, mount)),
            key=lambda r: (ROOTS.get(r.volume.row.type) != "x86-64", -r.volume.partition.size_bytes),
        )
        usrs = sorted(
            (_Root(volume, mount) for volume, mount in mounts if _is_usr(mount)),
            key=lambda u: (u.volume.row.type not in USRS, -u.volume.row.priority, u.volume.partition.number),
        )
        root = next(iter(roots), None)
        self._notes += [
            f"{each.name} holds another root file system, which is not looked at" for each in roots[1:]
        ]
        try:
            tree, used = self._assemble(root, usrs, mounts)
        except (ImageError, MountError) as error:
            reason = reason_of(error, self._image) if isinstance(error, ImageError) else str(error)
            return DiskSystem(self._mark(root), unknown("; ".join([reason, *self._reasons])))
        if tree is None:
            found = ", ".join(sorted({v.content.name or "unknown" for v in self.volumes}))
            none = f"no root file system can be read (found: {found})"
            return DiskSystem(self._mark(None), unknown("; ".join([none, *self._reasons])))
        source = "the root file system"
        return DiskSystem(self._mark(root), known(tree, source), (*self._notes, *self._reasons), used)

    def _mark(self, root: _Root | None) -> tuple[Partition, ...]:
        rows = (
            msgspec.structs.replace(volume.partition, is_root=root is not None and volume == root.volume)
            for volume in self.volumes
        )
        return tuple(rows)

    def _find_roots(self, volume: Volume, mount: Mount) -> Iterator[_Root]:
        if volume.content.name == "vfat" or _is_usr(mount):
            return
        if any(map(mount.has, ROOT_MARKS)):
            yield _Root(volume, mount)
        elif volume.content.name == "btrfs":
            with suppress(MountError):
                yield from self._find_subvolumes(volume)

    def _find_subvolumes(self, volume: Volume) -> Iterator[_Root]:
        top = self._mount(volume, "subvolid=5")
        names = [entry.name for entry in top.list_entries(depth=1) if entry.path and entry.is_folder]
        texts = [name.decode() for name in names if _is_plain(name)]
        found = [name for name in texts if any(top.has(f"{name}/{mark}") for mark in ROOT_MARKS)]
        for name in sorted(found, key=lambda n: (_SUBVOLUMES.index(n) if n in _SUBVOLUMES else 99, n)):
            yield _Root(volume, self._mount(volume, f"subvol={name}"), name)

    def _assemble(
        self, root: _Root | None, usrs: list[_Root], mounts: list[tuple[Volume, Mount]]
    ) -> tuple[Tree | None, int]:
        if root is None and not usrs:
            return None, 0
        entries = root.mount.list_entries() if root else [_folder(b"")]
        used = {root.volume.device: root.mount.count_used()[0]} if root else {}
        tree = _to_tree(entries)
        if root is None:
            self._notes.append("there is no root file system but /usr: the rest of it is made when it boots")
        over: list[tuple[str, Volume, Mount]] = []
        unseen = []
        for row in read_fstab(tree):
            source = self._resolve(row)
            if source is None or source.content.name not in _KINDS:
                unseen.append(row.point)
                continue
            options = [o for o in row.options.split(",") if o.startswith(("subvol=", "subvolid="))]
            plain = all(_is_plain(option.encode(), b"/=") for option in options)
            if source.content.name != "btrfs" or not plain:
                options = []
            try:
                over.append((row.point, source, self._mount(source, ",".join(options))))
            except MountError as error:
                self._reasons.append(f"{source.name}, which is {row.point}: {error}")
                unseen.append(row.point)
        if unseen:
            told = f"/etc/fstab mounts other file systems, which are not looked at: {name_points(unseen)}"
            if "/usr" in unseen:
                raise unusable(self._image, f"has no /usr that can be read: {told}")
            self._notes.append(told)
        if not any(point == "/usr" for point, *_ in over) and not (
            tree.find("usr/bin") or tree.find("usr/lib")
        ):
            over += [("/usr", usr.volume, usr.mount) for usr in usrs[:1]]
            self._notes += [f"{usr.name} holds another /usr, which is not looked at" for usr in usrs[1:]]
        for point, volume, mount in sorted(over, key=lambda each: each[0]):
            tree = _graft(tree, point, mount)
            if not point.startswith(("/boot", "/efi")):
                used[volume.device] = mount.count_used()[0]
        taken = {volume.device for _, volume, _ in over}
        others = [(v, m) for v, m in mounts if v.device not in taken | used.keys()]
        return self._add_boot(tree, others), sum(used.values())

    def _add_boot(self, tree: Tree, others: list[tuple[Volume, Mount]]) -> Tree:
        """The tree, with the volume as /boot that has a kernel where the tree has none."""
        with suppress(ImageError):  # whoever asks for the kernel is told why
            if find_boot_kernel(tree) is not None:
                return tree
            for volume, mount in others:
                names = mount.list_entries(depth=1)
                if not (any(map(mount.has, _BOOT_MARKS)) or any(b"vmlinuz" in entry.name for entry in names)):
                    continue
                grafted = _graft(tree, "/boot", mount)
                if find_boot_kernel(grafted) is not None:
                    self._notes.append(f"{volume.name} is taken for /boot: the kernel is there")
                    return grafted
        return tree

    def _resolve(self, row: FstabRow) -> Volume | None:
        """The volume that a line of /etc/fstab mounts; None if it is not on this disk."""
        kind, _, name = row.source.replace("/dev/disk/by-", "by-").partition("=")
        if kind.startswith("by-"):
            kind, _, name = kind.removeprefix("by-").partition("/")
        name = name.strip("\"'")
        device = _DEVICE.fullmatch(row.source)
        for volume in self.volumes:
            lv = volume.lv.replace("-", "--").replace("/", "-")
            if (
                (kind.upper() == "UUID" and name and name.lower() == volume.content.uuid.lower())
                or (kind.upper() == "LABEL" and name and name == volume.content.label)
                or (kind.upper() == "PARTUUID" and name and name.lower() == volume.row.uuid.lower())
                or (kind.upper() == "PARTLABEL" and name and name == volume.row.label)
                or (volume.lv and row.source in (f"/dev/{volume.lv}", f"/dev/mapper/{lv}"))
                or (device and not volume.lv and int(device[1]) == volume.partition.number)
            ):
                return volume
        return None


def _is_usr(mount: Mount) -> bool:
    """Whether it is a /usr: a root has the same names, where they are links into one."""
    return mount.has("lib/os-release") and mount.has("bin") and not mount.has("usr")


def _is_plain(name: bytes, also: bytes = b"") -> bool:
    """Whether a name can stand in a mount's options."""
    return bool(name) and all(chr(byte).isalnum() or byte in b"@._-" + also for byte in name if byte < 128)


def _folder(path: bytes) -> Entry:
    return Entry(path=path, inode=0, mode=stat.S_IFDIR | 0o755, uid=0, gid=0, size_bytes=0)


def _to_tree(entries: list[Entry]) -> Tree:
    return Tree(entries, read_entry, has_attributes=True)


def _graft(tree: Tree, point: str, mount: Mount) -> Tree:
    """The tree with a mount in the place of a folder, which hides what is in it."""
    there = tree.find(point)
    path = there.path if there is not None else point.strip("/").encode()
    kept = [each for each in tree if each.path != path and not each.path.startswith(path + b"/")]
    known_paths = {each.path for each in kept}
    above = [path[: found.start()] for found in re.finditer(b"/", path)]
    kept += [_folder(each) for each in above if each not in known_paths]
    inner = mount.list_entries()
    return _to_tree([*kept, *(e._replace(path=path + b"/" + e.path if e.path else path) for e in inner)])
