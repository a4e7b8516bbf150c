"""Makes disks of many layouts without root or loop devices: file systems by mkfs programs, tables by hand."""

from __future__ import annotations

import gzip
import shutil
import stat
import struct
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from guestbench.errors import ToolMissing
from guestbench.host import process
from guestbench.images.inspection import FileSystem, Inspection
from guestbench.images.tree import Tree
from guestbench.inspect import inspect_image
from guestbench.inspect.system import DiskSystem, open_system
from guestbench.model import Inspector
from guestbench.provision import cpio
from guestbench.provision.inspector import build_inspector

MIB = 1 << 20
ROOT, DATA = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
ESP, BIOS = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "21686148-6449-6E6F-744E-656564454649"
USR, LVM = "8484680C-9521-48C6-9C11-B0720656F69E", "E6D6D379-F507-44C2-A23C-238F2A3DF928"
FLATCAR_USR = "5DFBF5F4-2848-4BAC-AA5E-0D9A20B745A6"
RELEASE = "6.1.0-9-amd64"
STATUS = """Package: a
Status: install ok installed
Architecture: amd64
Version: 1

Package: b
Status: deinstall ok config-files
Architecture: amd64
Version: 2

Package: c
Status: install ok installed
Architecture: all
Version: 3

"""
PACKAGES = {"xfs": "xfsprogs", "btrfs": "btrfs-progs", "erofs": "erofs-utils", "vfat": "mtools"}


def find_tool(name: str, package: str) -> None:
    """Skip a test where a program is not installed that only tests need."""
    try:
        process.find_tool(name)
    except ToolMissing:
        pytest.skip(f"{name} is not installed (apt-get install {package})")


def get_inspector() -> Inspector:
    """What looks into disks, from the user's cache where it is there."""
    return build_inspector(lambda _: None)


def inspect(image: Path, scratch: Path) -> Inspection:
    """What is in an image; nothing that was found before is taken for it."""
    inspector = msgspec.structs.replace(get_inspector(), kept=str(scratch / "kept"))
    return inspect_image(image, scratch, lambda: (inspector, uuid.uuid4().hex))


def files_of(found: Inspection) -> FileSystem:
    """The root file system of an image, which must be known."""
    assert found.files is not None
    assert found.files.value is not None, found.files.unknown
    return found.files.value


def without_size(found: Inspection) -> FileSystem:
    """The files of an image but the number of all entries: some file systems have folders of their own."""
    return msgspec.structs.replace(files_of(found), entries=0)


@contextmanager
def opened(image: Path, scratch: Path) -> Iterator[DiskSystem]:
    """The system in an image."""
    with open_system(image, get_inspector(), scratch) as found:
        yield found


def tree_of(found: DiskSystem) -> Tree:
    """The files of a system, which must be known."""
    assert found.tree.value is not None, found.tree.unknown
    return found.tree.value


# --- trees --------------------------------------------------------------------------------------------


def fill_root(root: Path, *, fstab: str = "", with_usr: bool = True, with_boot: bool = True) -> Path:
    """A root file system in small, with privileged files, users, packages, units and a kernel."""
    for folder in ("etc", "var/lib/dpkg", "srv", "open", "tmp", "boot", "usr"):
        (root / folder).mkdir(parents=True)
    for name in ("bin", "sbin", "lib"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home:/usr/sbin/nologin\n")
    (root / "etc/fstab").write_text(fstab)
    (root / "etc/os-release").symlink_to("../usr/lib/os-release")
    (root / "var/lib/dpkg/status").write_text(STATUS)
    (root / "open").chmod(0o777)
    (root / "tmp").chmod(0o1777)
    (root / "srv/zeros").write_bytes(bytes(3 * MIB) + b"end")
    if with_usr:
        fill_usr(root / "usr")
    if with_boot:
        fill_boot(root / "boot")
    return root


def fill_usr(usr: Path) -> Path:
    """What is in /usr."""
    for folder in ("bin", "sbin", "lib"):
        (usr / folder).mkdir(parents=True)
    (usr / "lib/os-release").write_text('ID=small\nVERSION_ID=7\nPRETTY_NAME="Small 7"\n')
    (usr / "sbin/init").write_text("#!/bin/sh\n")
    (usr / "bin/tool").write_bytes(b"\x7fELF" + b"x" * 5000)
    (usr / "bin/script").write_text("#!/bin/sh\n")
    (usr / "bin/data").write_text("no program")
    for name, mode in {
        "sbin/init": 0o755,
        "bin/tool": 0o4755,
        "bin/script": 0o2755,
        "bin/data": 0o755,
    }.items():
        (usr / name).chmod(mode)
    return usr


def fill_boot(boot: Path) -> Path:
    """What is in /boot."""
    boot.mkdir(exist_ok=True)
    (boot / f"vmlinuz-{RELEASE}").write_bytes(b"kernel" * 1000)
    (boot / f"initrd.img-{RELEASE}").write_bytes(b"initrd" * 3000)
    (boot / f"config-{RELEASE}").write_text("CONFIG_A=y\nCONFIG_B=m\n")
    return boot


# --- file systems -------------------------------------------------------------------------------------


def make_ext(tree: Path, image: Path, *options: str, size_mib: int = 24) -> Path:
    """An ext file system with the contents of a folder."""
    process.run(["mke2fs", "-q", "-F", *options, "-d", tree, image, f"{size_mib}M"])
    return image


def make_xfs(tree: Path, image: Path, *options: str) -> Path:
    """An xfs file system; the prototype file knows neither hard links nor names with spaces."""
    find_tool("mkfs.xfs", "xfsprogs")
    _truncate(image, 320)
    prototype = image.with_suffix(".proto")
    lines = ["/dev/null", "0 0", "d--755 0 0", *_describe(tree), "$", ""]
    prototype.write_text("\n".join(lines))
    process.run(["mkfs.xfs", "-q", "-f", *options, "-p", prototype, image])
    return image


def _describe(folder: Path) -> list[str]:
    """The lines of a prototype file (mkfs.xfs(8)) for what is in a folder."""
    lines = []
    for path in sorted(folder.iterdir()):
        mode = path.lstat().st_mode
        kind = {stat.S_IFDIR: "d", stat.S_IFLNK: "l", stat.S_IFREG: "-"}[stat.S_IFMT(mode)]
        bits = ("u" if mode & 0o4000 else "-") + ("g" if mode & 0o2000 else "-")
        line = f"{path.name} {kind}{bits}{mode & 0o777:03o} 0 0"
        if kind == "l":
            lines.append(f"{line} {path.readlink()}")
        elif kind == "-":
            lines.append(f"{line} {path}")
        else:
            lines += [line, *_describe(path), "$"]
    return lines


def make_btrfs(tree: Path, image: Path, *options: str) -> Path:
    """A btrfs file system with all in its top level."""
    find_tool("mkfs.btrfs", "btrfs-progs")
    _truncate(image, 128)
    process.run(["mkfs.btrfs", "-q", "-f", *options, "--rootdir", tree, image])
    return image


def make_erofs(tree: Path, image: Path, *options: str) -> Path:
    """An erofs file system."""
    find_tool("mkfs.erofs", "erofs-utils")
    process.run(["mkfs.erofs", "--quiet", *options, image, tree])
    return image


def make_squashfs(tree: Path, image: Path, *options: str) -> Path:
    """A squashfs file system."""
    find_tool("mksquashfs", "squashfs-tools")
    process.run(["mksquashfs", tree, image, "-quiet", "-noappend", "-no-progress", *options])
    return image


def make_vfat(tree: Path, image: Path, label: str = "EFI") -> Path:
    """A FAT file system."""
    find_tool("mkfs.vfat", "dosfstools")
    find_tool("mcopy", "mtools")
    _truncate(image, 40)
    process.run(["mkfs.vfat", "-F", "32", "-n", label, image])
    there = sorted(tree.iterdir())
    process.run(["mcopy", "-s", "-i", image, *there, "::"], env={"MTOOLS_SKIP_CHECK": "1"})
    return image


def _truncate(image: Path, size_mib: int) -> None:
    with image.open("wb") as file:
        file.truncate(size_mib * MIB)


# --- tables -------------------------------------------------------------------------------------------


class Part(NamedTuple):
    """A partition to make: its contents, type, and number if not the next one."""

    image: Path | None
    type: str = DATA
    label: str = ""
    number: int = 0
    attributes: int = 0


def make_gpt(path: Path, parts: Sequence[Part], sector_bytes: int = 512) -> Path:
    """A disk with a GPT (UEFI 2.10, 5.3), each partition as large as its image, at a whole MiB."""
    entries = bytearray(128 * 128)
    at = MIB
    places = []
    for position, part in enumerate(parts, 1):
        size = -(-(part.image.stat().st_size if part.image else MIB) // MIB) * MIB
        number = part.number or position
        label = part.label.encode("utf-16-le")
        raw = uuid.UUID(part.type).bytes_le + uuid.uuid4().bytes_le
        raw += (
            struct.pack("<QQQ", at // sector_bytes, (at + size) // sector_bytes - 1, part.attributes) + label
        )
        entries[(number - 1) * 128 : (number - 1) * 128 + len(raw)] = raw
        places.append((at, part.image))
        at += size
    sectors = (at + MIB) // sector_bytes
    table = len(entries) // sector_bytes
    with path.open("wb") as file:
        file.truncate(sectors * sector_bytes)
        mbr = (
            bytes(446) + struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff" * 3, 1, sectors - 1) + bytes(48)
        )
        file.write(mbr + b"\x55\xaa")
        for mine, other, first in ((1, sectors - 1, 2), (sectors - 1, 1, sectors - 1 - table)):
            usable = (2 + table, sectors - 2 - table)
            file.seek(mine * sector_bytes)
            file.write(_gpt_header(mine, other, *usable, first, bytes(entries)))
            file.seek(first * sector_bytes)
            file.write(entries)
    for at, image in places:
        if image is not None:
            _write_at(path, at, image)
    return path


def _gpt_header(mine: int, other: int, first: int, last: int, table: int, entries: bytes) -> bytes:
    def pack(checksum: int) -> bytes:
        head = struct.pack("<8sIIII", b"EFI PART", 0x10000, 92, checksum, 0)
        head += struct.pack("<QQQQ", mine, other, first, last) + bytes(15) + b"\1"
        return head + struct.pack("<QIII", table, 128, 128, zlib.crc32(entries))

    return pack(zlib.crc32(pack(0)))


def _write_at(path: Path, at: int, image: Path) -> None:
    with path.open("r+b") as dest, image.open("rb") as source:
        dest.seek(at)
        while chunk := source.read(MIB):
            # Holes stay holes.
            dest.seek(len(chunk), 1) if not any(chunk) else dest.write(chunk)


EXTENT_BYTES = 4 * MIB


def make_lvm(path: Path, volumes: Mapping[str, Path], *, stripes: int = 1, kind: str = "striped") -> Path:
    """A physical volume with logical volumes of group `small-vg`, as pvcreate and lvcreate lay them out.

    With `stripes`, they lie in turns of 64 KiB on so many parts of it, which stand for as many disks.
    """
    extents = {
        name: -(-image.stat().st_size // (EXTENT_BYTES * stripes)) * stripes
        for name, image in volumes.items()
    }
    total = sum(extents.values())
    identifier = "AbCdEf" + "0123456789" * 2 + "zyxwvu"
    dashed = "-".join([identifier[:6], *(identifier[at : at + 4] for at in range(6, 26, 4)), identifier[26:]])
    sections, begin, data = [], 0, MIB
    with path.open("wb") as file:
        file.truncate(MIB + total * EXTENT_BYTES)
    for number, (name, image) in enumerate(volumes.items()):
        each = extents[name] // stripes
        where = ", ".join(f'"pv0", {begin + stripe * each}' for stripe in range(stripes))
        size = "stripe_size = 128\n" if stripes > 1 else ""
        sections.append(
            f'{name} {{\nid = "x{number}"\nstatus = ["READ", "WRITE", "VISIBLE"]\nsegment_count = 1\n'
            f'segment1 {{\nstart_extent = 0\nextent_count = {extents[name]}\ntype = "{kind}"\n'
            f"stripe_count = {stripes}\n{size}stripes = [\n{where}\n]\n}}\n}}\n"
        )
        _write_striped(path, image, data + begin * EXTENT_BYTES, stripes, each * EXTENT_BYTES)
        begin += extents[name]
    text = (
        f'small-vg {{ # a comment\nid = "g"\nextent_size = {EXTENT_BYTES // 512}\n'
        "physical_volumes {\npv0 {\n"
        f'id = "{dashed}"\npe_start = {MIB // 512}\n}}\n}}\nlogical_volumes {{\n{"".join(sections)}}}\n}}\n'
        'contents = "Text Format Volume Group"\nversion = 1\n'
    ).encode() + b"\0"
    area, area_bytes, start = 4096, MIB - 4096, MIB - 4096 - 200  # so that the text runs round
    ring = text[: area_bytes - start], text[area_bytes - start :]
    label = b"LABELONE" + struct.pack("<QII", 1, 0, 32) + b"LVM2 001" + identifier.encode()
    label += struct.pack("<QQQQQ", MIB + total * EXTENT_BYTES, MIB, 0, 0, 0)
    label += struct.pack("<QQQQ", area, area_bytes, 0, 0)
    header = bytes(4) + b" LVM2 x[5A%r0N*>" + struct.pack("<IQQ", 1, area, area_bytes)
    header += struct.pack("<QQII", start, len(text), 0, 0)
    with path.open("r+b") as file:
        for at, data_bytes in ((512, label), (area, header), (area + start, ring[0]), (area + 512, ring[1])):
            file.seek(at)
            file.write(data_bytes)
    return path


def _write_striped(path: Path, image: Path, at: int, stripes: int, each: int) -> None:
    chunk_bytes = 65536
    with path.open("r+b") as dest, image.open("rb") as source:
        number = 0
        while chunk := source.read(chunk_bytes):
            if any(chunk):
                dest.seek(at + number % stripes * each + number // stripes * chunk_bytes)
                dest.write(chunk)
            number += 1


# --- what needs a mounted file system -----------------------------------------------------------------

SUBVOLUMES = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <linux/btrfs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *names[] = {NAMES};

static void load(const char *listing)
{
	char line[400];
	FILE *file = fopen(listing, "r");
	while (file && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		syscall(SYS_finit_module, open(line, O_RDONLY), "", 0);
	}
}

static int drop(const char *path, const struct stat *facts, int kind, struct FTW *place)
{
	(void)facts, (void)kind;
	return place->level ? remove(path) : 0;
}

/* The first of the names becomes a snapshot of all, the others subvolumes with a file in each. */
int main(void)
{
	struct btrfs_ioctl_vol_args args = {0};
	int top;

	mkdir("/dev", 0700), mkdir("/m", 0700);
	mount("none", "/dev", "devtmpfs", 0, NULL);
	load("/etc/modules"), load("/etc/modules.btrfs");
	if (mount("/dev/vda", "/m", "btrfs", 0, NULL))
		perror("mount");
	top = open("/m", O_RDONLY);
	args.fd = top;
	strcpy(args.name, names[0]);
	if (ioctl(top, BTRFS_IOC_SNAP_CREATE, &args))
		perror(names[0]);
	for (int i = 0; i < COUNT; i++) {
		char path[64];
		snprintf(path, sizeof(path), "/m/%s", (const char *[]){DROPPED}[i]);
		nftw(path, drop, 16, FTW_DEPTH | FTW_PHYS);
		remove(path);
	}
	for (unsigned i = 1; i < sizeof(names) / sizeof(*names); i++) {
		char path[64];
		struct btrfs_ioctl_vol_args other = {0};
		strcpy(other.name, names[i]);
		snprintf(path, sizeof(path), "/m/%s/of-%s", names[i], names[i]);
		if (ioctl(top, BTRFS_IOC_SUBVOL_CREATE, &other) || close(open(path, O_CREAT | O_WRONLY, 0600)))
			perror(names[i]);
		chmod(path, 04755);
	}
	close(top);
	if (umount("/m") == 0)
		puts("[made]");
	reboot(RB_POWER_OFF);
}
"""


def make_subvolumes(image: Path, scratch: Path, names: Sequence[str], dropped: Sequence[str]) -> Path:
    """Move all that a btrfs image holds into a subvolume, the first name; others have a SUID file each."""
    inspector = get_inspector()

    def quoted(texts: Sequence[str]) -> str:
        return ", ".join(f'"{text}"' for text in texts)

    source = SUBVOLUMES.replace("NAMES", quoted(names)).replace("DROPPED", quoted(dropped))
    (scratch / "make.c").write_text(source.replace("COUNT", str(len(dropped))))
    process.run(["gcc", "-static", "-O1", "-o", scratch / "make", scratch / "make.c"])
    init = cpio.pack({"init": cpio.regular_file((scratch / "make").read_bytes(), executable=True)})
    initrd = scratch / "make.initrd"
    initrd.write_bytes(Path(inspector.initrd.path).read_bytes() + gzip.compress(init))
    done = process.run(
        [
            *("qemu-system-x86_64", "-nodefaults", "-no-reboot", "-display", "none", "-machine", "q35"),
            *("-accel", "tcg", "-m", "512M", "-serial", "stdio", "-kernel", inspector.kernel.path),
            *("-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1 no_timer_check"),
            *("-drive", f"file={image},format=raw,if=none,id=d", "-device", "virtio-blk-pci,drive=d"),
        ],
        timeout_s=120,
    )
    assert b"[made]" in done.stdout, done.stdout[-500:]
    return image


def copy(image: Path, dest: Path) -> Path:
    """A copy that may be changed."""
    shutil.copyfile(image, dest)
    return dest
