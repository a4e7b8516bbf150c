"""What guestbench reads of images, each as a check of any bytes: it fails where a promise is broken.

A check raises what its parser may not raise, or an AssertionError where a figure cannot be right or a text
could harm whoever reads it. Where another program reads the same format, it can be asked as well: `Others`.
"""

from __future__ import annotations

import gzip
import itertools
import json
import random
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import alpine_site
import image_files
import msgspec

from guestbench.artifact import archive
from guestbench.errors import GuestbenchError
from guestbench.host import process
from guestbench.images import check
from guestbench.images.contents import packages, symbols
from guestbench.images.formats import disk, elf, volumes
from guestbench.images.inspection import Inspection
from guestbench.images.source import open_source
from guestbench.images.tree import show
from guestbench.inspect import lvm
from guestbench.model import Role
from guestbench.provision import cpio, tarball


class Target(NamedTuple):
    """A check of any bytes, inputs to begin with, and words that its format knows.

    `mutate` makes an input of the seeds, where changes of bytes would hardly ever leave a sound one. A test
    tries `short` inputs, in about a second.
    """

    check: Callable[[bytes, Path], None]
    seeds: Callable[[], tuple[bytes, ...]]
    words: tuple[bytes, ...] = ()
    mutate: Callable[[random.Random, Sequence[bytes]], bytes] | None = None
    short: int = 400


class Others:
    """Whether other programs are asked about what was accepted; each time costs a process."""

    asked = False


def check_texts(found: object) -> None:
    """Every text is one line of printable characters, and no number is below zero."""
    for each in _walk(msgspec.to_builtins(found)):
        if isinstance(each, str):
            assert each.isprintable(), f"a text that does more than show: {each!r:.200}"
        elif isinstance(each, int | float) and not isinstance(each, bool):
            assert 0 <= each < 1 << 65, f"a figure that there cannot be: {each}"


def _walk(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        yield from itertools.chain.from_iterable(map(_walk, (*value, *value.values())))
    elif isinstance(value, list | tuple):
        yield from itertools.chain.from_iterable(map(_walk, value))
    else:
        yield value


# --- images -------------------------------------------------------------------------------------------


def inspect(data: bytes, folder: Path) -> Inspection | None:
    """What is found in an image that is no disk; None where it is refused."""
    image = folder / "image"
    image.write_bytes(data)
    try:
        found = image_files.inspect_file(image, folder)
    except GuestbenchError as error:
        assert all(message.isprintable() for message in error.messages)
        return None
    check_texts(found)
    assert found.size_bytes == len(data)
    return found


def check_elf(data: bytes, folder: Path) -> None:
    """Headers, symbols, code and notes of an ELF file."""
    found = inspect(data, folder)
    with suppress(GuestbenchError):
        check.check_bootable(image_files.KERNEL, Role.KERNEL, folder / "image")
    if found is None or found.elf is None:
        return
    assert found.elf.code_bytes.value is None or found.elf.segments
    _compare_elf(folder / "image")


def _compare_elf(image: Path) -> None:
    """Symbols as pyelftools counts them, where it can."""
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    with open_source(image) as source:
        headers = elf.read_elf_at(source, 0)
        try:
            ours = len(headers.read_symbols(source))
        except GuestbenchError:
            return
    try:
        with image.open("rb") as file:
            theirs = ELFFile(file)
            assert theirs.header["e_entry"] == headers.entry
            table = next((s for s in theirs.iter_sections() if isinstance(s, SymbolTableSection)), None)
            if table is None or table["sh_type"] != "SHT_SYMTAB" or table["sh_entsize"] not in (16, 24):
                return
            counted = sum(
                s["st_shndx"] != "SHN_UNDEF" and bool(s["st_name"] and s.name) for s in table.iter_symbols()
            )
    except Exception:
        return  # it is not made for damaged files
    if not headers.stripped:
        assert ours == counted, f"{ours} symbols; another reader has {counted}"


def seed_elf() -> tuple[bytes, ...]:
    """Small ELF files of every kind that is read, one with symbols."""
    return (
        image_files.elf64(note=image_files.pvh_note()),
        image_files.wrap_elf64(image_files.elf64()),
        image_files.elf64(multiboot=image_files.multiboot_header(), symbols=True),
        elf_with_symbols([b"main", b"uk_syscall_r_read", b"camlStdlib__List", b"x" * 1500]),
    )


def elf_with_symbols(names: list[bytes], sections: int = 3) -> bytes:
    """A 64-bit ELF file with a function of each name; with `sections` 0, their number is in the first one."""
    strings, rows = b"\0", struct.pack("<IBBHQQ", 0, 0, 0, 0, 0, 0)
    for number, name in enumerate(names):
        rows += struct.pack("<IBBHQQ", len(strings), 0x12, 0, 1, 0x100000 + number, 1)
        strings += name + b"\0"
    base = image_files.elf64()
    at = len(base)
    headers = struct.pack("<2I4Q2I2Q", 0, 0, 0, 0, 0, 0 if sections else 3, 0, 0, 0, 0)
    headers += struct.pack("<2I4Q2I2Q", 0, 2, 0, 0, at, len(rows), 2, 1, 8, 24)
    headers += struct.pack("<2I4Q2I2Q", 0, 3, 0, 0, at + len(rows), len(strings), 0, 0, 1, 0)
    data = bytearray(base + rows + strings)
    struct.pack_into("<Q", data, 40, len(data))
    struct.pack_into("<HHH", data, 58, 64, sections, 0)
    return bytes(data) + headers


def check_kernel(data: bytes, folder: Path) -> None:
    """A bzImage or a unified kernel image, with what is packed in it."""
    inspect(data, folder)


def seed_kernel() -> tuple[bytes, ...]:
    """A bzImage with a program and a configuration in it, and a unified kernel image of it."""
    config = b"IKCFG_ST" + gzip.compress(b"CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\n", mtime=0)
    inner = image_files.elf64((image_files.Load(5, config + b"\x0f\x05\xc3" * 20),))
    payload = gzip.compress(inner, mtime=0)
    kernel = bytearray(image_files.bzimage(0))
    struct.pack_into("<H", kernel, 0x20E, 0x100)
    kernel[0x300:0x310] = b"6.1.0-37-amd64\0\0"
    struct.pack_into("<II", kernel, 0x248, 0, len(payload))
    bz = bytes(kernel) + payload
    ramdisk = cpio.pack({"init": cpio.regular_file(b"#!/bin/sh\n", executable=True)})
    return (
        bz,
        make_uki({b".linux": bz, b".cmdline": b"root=/dev/vda1 quiet", b".initrd": ramdisk}),
        b"MZ" + bz,
    )


def make_uki(parts: dict[bytes, bytes]) -> bytes:
    """A PE file with these sections."""
    at = 0x200
    rows, body = b"", b""
    for name, data in parts.items():
        rows += struct.pack("<8s4I16x", name, len(data), 0, len(data), at + len(body))
        body += data
    start = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    header = struct.pack("<4sHH12xHH", b"PE\0\0", 0x8664, len(parts), 0, 0)
    return (start + header + rows).ljust(at, b"\0") + body


ROOT_FILES: dict[str, cpio.Entry] = {
    "etc/passwd": cpio.regular_file(b"root:x:0:0:root:/root:/bin/sh\nd:*:1:1::/:/usr/sbin/nologin\n"),
    "etc/shadow": cpio.regular_file(b"root::19000:0:99999:7:::\nd:!:19000::::::\n"),
    "etc/os-release": cpio.regular_file(b'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian 12"\n'),
    "etc/shells": cpio.regular_file(b"/bin/sh\n/bin/bash\n"),
    "etc/fstab": cpio.regular_file(b"/dev/vda1 / ext4 rw 0 1\nUUID=1 /boot\\040x vfat rw 0 2\n"),
    "bin/busybox": cpio.Entry(mode=0o104755, data=b"\x7fELF" + bytes(60)),
    "bin/sh": cpio.symbolic_link("busybox"),
    "boot/vmlinuz-6.1.0-1": cpio.regular_file(image_files.bzimage(64)),
    "boot/config-6.1.0-1": cpio.regular_file(b"CONFIG_A=y\n# CONFIG_B is not set\n"),
    "boot/grub/grub.cfg": cpio.regular_file(b"\tlinux /vmlinuz root=/dev/vda1 quiet\n"),
    "etc/systemd/system/a.wants/b.service": cpio.symbolic_link("/usr/lib/systemd/system/b.service"),
    "usr/lib/systemd/system/b.service": cpio.regular_file(b"[Unit]\n"),
    "lib/modules/6.1.0-1/a.ko": cpio.regular_file(b"\x7fELF"),
    "var/lib/dpkg/status": cpio.regular_file(b"Package: a\nStatus: install ok installed\nVersion: 1\n\n"),
    "lib/apk/db/installed": cpio.regular_file(b"P:b\nV:2\nA:x86_64\no:src\n\n"),
}
"""A root file system in small, with a file of every kind that is read."""


def check_ramdisk(data: bytes, folder: Path) -> None:
    """An initial ramdisk, however packed, and the inventory of what is in it."""
    found = inspect(data, folder)
    if found is not None and found.files is not None and (inside := found.files.value) is not None:
        for listed in (inside.suid, inside.sgid, inside.world_writable):
            assert listed.value is None or len(listed.value) <= inside.entries
        assert inside.modules.value is None or inside.modules.value <= inside.entries


def seed_ramdisk() -> tuple[bytes, ...]:
    """An archive of a root file system plain, packed, behind another, and with links in the way."""
    plain = cpio.pack(ROOT_FILES)
    links = {
        "usr/lib/modules/1/a.ko": cpio.regular_file(b"\x7fELF"),
        "lib": cpio.symbolic_link("usr/lib"),
        "a": cpio.symbolic_link("b"),
        "b": cpio.symbolic_link("a"),
    }
    sums = plain.replace(b"070701", b"070702")
    lz4 = b"\x02\x21\x4c\x18" + struct.pack("<I", 12) + b"\xa0070701000" + bytes(4)
    return plain, gzip.compress(plain, mtime=0), cpio.pack(links) + bytes(8) + plain, sums, lz4


TEXT_FILES = tuple(path for path, entry in ROOT_FILES.items() if b"\n" in entry.data)


def check_inventory(data: bytes, folder: Path) -> None:
    """The text files of a root file system: parts of the input, in an order that the first byte chooses."""
    parts = data[1:].split(b"\0\0\xff")
    turn = data[0] if data else 0
    entries = dict(ROOT_FILES)
    for number, part in enumerate(parts[: len(TEXT_FILES)]):
        path = TEXT_FILES[(number + turn) % len(TEXT_FILES)]
        entries[path] = msgspec.structs.replace(entries[path], data=part)
    check_ramdisk(cpio.pack(entries), folder)


def seed_inventory() -> tuple[bytes, ...]:
    """Each of the files in its own place, and all together."""
    texts = [ROOT_FILES[path].data for path in TEXT_FILES]
    alone = (bytes([number]) + text for number, text in enumerate(texts))
    return (*alone, b"\0" + b"\0\0\xff".join(texts))


def check_packages(data: bytes, folder: Path) -> None:
    """A database of dpkg, which must not list what dpkg would not."""
    found = list(packages.read_dpkg(data))
    check_texts(found)
    if Others.asked and b"\0" not in data and data.rstrip(b" \t\r").endswith(b"\n"):
        _compare_dpkg(data, folder, sorted({each.name for each in found}))


def _compare_dpkg(data: bytes, folder: Path, ours: list[str]) -> None:
    """The same packages as dpkg-query lists, where it takes the file."""
    (folder / "status").write_bytes(data)
    for name in ("info", "updates"):
        (folder / name).mkdir(exist_ok=True)
    form = "${db:Status-Status} ${Package}\n"
    done = process.run(["dpkg-query", f"--admindir={folder}", "-W", "-f", form], check=False)
    if done.status != 0 or b"warning" in done.stderr:
        return
    lines = [line.partition(b" ") for line in done.stdout.splitlines()]
    # What is shown of a name is bounded.
    theirs = sorted({show(name) for state, _, name in lines if state == b"installed"})
    assert ours == theirs, f"{ours}; dpkg lists {theirs}"


def seed_packages() -> tuple[bytes, ...]:
    """Packages in every state, fields in another case, and fields of several lines."""
    return (
        b"Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1-1\nMaintainer: x\n"
        b"Description: one\n two\n .\n Package: b\n\nPackage: c\nStatus: deinstall ok config-files\n"
        b"Architecture: amd64\nVersion: 2\nMaintainer: x\nDescription: d\n\n",
        b"package: lower\nstatus: install ok installed\narchitecture: all\nversion: 1\nmaintainer: x\n"
        b"description: d\n\n",
        b"Package: half\nStatus: install ok half-configured\nArchitecture: amd64\nVersion: 1\n"
        b"Maintainer: x\nDescription: d\nSource: src (2)\n\n",
    )


# --- disks --------------------------------------------------------------------------------------------


def check_qcow2(data: bytes, folder: Path) -> None:
    """A qcow2 file: what is taken leads to no other file, and is as large as QEMU says."""
    image = folder / "disk.qcow2"
    image.write_bytes(data)
    with suppress(GuestbenchError):
        check.check_bootable(image_files.QCOW2_DISK, Role.DISK, image)
    try:
        info = disk.read_info(image)
    except GuestbenchError as error:
        assert all(message.isprintable() for message in error.messages)
        return
    if Others.asked and info.format == "qcow2":
        _compare_qcow2(image, info)


def _compare_qcow2(image: Path, info: disk.DiskInfo) -> None:
    argv = ["qemu-img", "info", "-U", "--output=json", "-f", "qcow2", str(image)]
    done = process.run(argv, check=False, timeout_s=20)
    if done.status == 0:
        told = json.loads(done.stdout)
        assert told["virtual-size"] == info.virtual_bytes
        assert not {"backing-filename", "full-backing-filename"} & told.keys(), "it has a backing file"
        assert not told["format-specific"]["data"].get("data-file"), "it has an external data file"
        assert not told.get("encrypted")


def seed_qcow2() -> tuple[bytes, ...]:
    """qcow2 files with and without a backing file, an external data file and small clusters."""
    small = image_files.qcow2(cluster_bits=9, virtual_bytes=4096)
    return (
        small,
        image_files.qcow2(version=2, cluster_bits=9, virtual_bytes=4096, data_at=512),
        image_files.qcow2(cluster_bits=10, backing=b"/etc/passwd"),
        image_files.qcow2(cluster_bits=9, features=4),
    )


def check_table(data: bytes, folder: Path) -> None:
    """The first sectors of a disk: tables of partitions, and signatures of file systems."""
    del folder
    for sector_bytes in (512, 4096):
        check_texts(
            [list(row) for row in volumes.read_rows(data, sector_bytes).values() if row.priority >= 0]
        )
        rows = volumes.read_rows(data, sector_bytes)
        assert all(row.label.isprintable() and row.uuid.isprintable() for row in rows.values())
        assert all(end >= 0 for end in volumes.find_ends(data, sector_bytes).values())
    found = volumes.find_content(data)
    assert found.label.isprintable() and found.uuid.isprintable()


def seed_table() -> tuple[bytes, ...]:
    """Disks with an MBR and a GPT, and the beginning of an ext file system."""
    ext = bytearray(4096)
    ext[1080:1082] = b"\x53\xef"
    esp, root = volumes.ESP, next(iter(volumes.ROOTS))
    return image_files.mbr_disk(), image_files.gpt_disk(esp, root), bytes(ext)


VOLUME_GROUP = """vg { id = "x" seqno = 3 extent_size = 8192 flags = []
physical_volumes { pv0 { id = "ab-cd" pe_start = 2048 } }
logical_volumes { root { status = ["READ", "VISIBLE"] segment_count = 1
segment1 { start_extent = 0 extent_count = 10 type = "striped" stripe_count = 1 stripes = ["pv0", 5] } } } }
"""


def physical_volume(text: bytes, *, area: int = 4096, length: int = 8192, start: int = 512) -> bytes:
    """A physical volume with this text as its metadata, whatever its header then says."""
    label = b"LABELONE" + struct.pack("<QII", 1, 0, 32) + b"LVM2 001" + b"abcd".ljust(32, b"\0")
    label += struct.pack("<QQQQQ", 1 << 20, 1 << 20, 0, 0, 0) + struct.pack("<QQQQ", area, length, 0, 0)
    header = bytes(4) + b" LVM2 x[5A%r0N*>" + struct.pack("<IQQ", 1, area, length)
    header += struct.pack("<QQII", start, len(text), 0, 0)
    return (bytes(512) + label).ljust(4096, b"\0") + header.ljust(512, b"\0") + text + b"\0"


def check_lvm(data: bytes, folder: Path) -> None:
    """The label, the metadata and the text of LVM: a device-mapper table of whole numbers, or a reason."""
    del folder

    def read(at: int, length: int) -> bytes:
        struct.pack("<QQ", at, length)  # as a request has them
        return data[at : at + length]

    with suppress(ValueError):
        identifier, text = lvm.read_physical_volume(read)
        for volume in lvm.find_volumes(text, {identifier: "/dev/vda1", "abcd": "/dev/vda1"}):
            row = r"\d+ \d+ (linear /dev/vda1 \d+|striped \d+ \d+( /dev/vda1 \d+)+)"
            for line in volume.table.split("\n") if volume.table else ():
                assert re.fullmatch(row, line), f"not a row of device-mapper: {line!r}"
                assert all(int(each) < 1 << 64 for each in re.findall(r" (\d+)", line))
            assert volume.table or volume.problem


def seed_lvm() -> tuple[bytes, ...]:
    """A sound volume, and one whose header leads far away."""
    text = VOLUME_GROUP.encode()
    return physical_volume(text), physical_volume(text, length=(1 << 64) - 1, start=(1 << 64) - 2)


# --- archives and tables of symbols -------------------------------------------------------------------


def check_archive(data: bytes, folder: Path) -> None:
    """A tar archive of a root file system: names that stay inside, and no more than may be."""
    archive = folder / "root.tar.gz"
    archive.write_bytes(gzip.compress(data, 1, mtime=0))
    try:
        entries = tarball.read_entries(archive)
    except GuestbenchError as error:
        assert all(message.isprintable() for message in error.messages)
        return
    for name, entry in entries.items():
        assert ".." not in name.split("/")
        assert not name.startswith("/")
        assert 0 <= entry.uid < 1 << 32
    cpio.pack(entries)


def seed_archive() -> tuple[bytes, ...]:
    """An archive with a file, a folder, links and a long name."""
    files = {"etc/passwd": b"root:x:0:0\n", "bin/" + "x" * 150: b"\x7fELF", "init": b"#!/bin/sh\n"}
    return (gzip.decompress(alpine_site.pack(files, {"bin/sh": "busybox", "lib": "/usr/lib"})),)


def check_artifact(data: bytes, folder: Path) -> None:
    """An archive that goes with a paper: what is accepted is what is written, to the byte."""
    path = folder / "artifact.tar.gz"
    path.write_bytes(gzip.compress(data, 1, mtime=0))
    try:
        found = dict(archive.read_archive(path))
    except GuestbenchError as error:
        assert all(message.isprintable() for message in error.messages)
        return
    tops = {name.partition("/")[0] for name in found}
    if len(tops) == 1:
        again = {name.partition("/")[2]: member for name, member in found.items()}
        assert gzip.decompress(archive.write_archive(again, tops.pop())) == data


def seed_artifact() -> tuple[bytes, ...]:
    """An archive with an empty file, a program and a long name."""
    files = {"run/store.jsonl": b"{}\n", f"run/{'x' * 90}/serial.log": b"ready", "empty": b""}
    members = {name: archive.Member(data) for name, data in files.items()}
    members["reproduce.sh"] = archive.Member(b"#!/bin/sh\n", program=True)
    return (gzip.decompress(archive.write_archive(members, "top")),)


def check_symbols(data: bytes, folder: Path) -> None:
    """A table of symbols: places in their order, none in another."""
    del folder
    found = symbols.parse_table(data, "a table")
    starts = [place.address for place in found.places]
    assert starts == sorted(set(starts))
    ends = [place.end for place in found.places]
    assert all(start < end for start, end in zip(starts, ends, strict=True))
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))


def seed_symbols() -> tuple[bytes, ...]:
    """Lines of nm, and of /proc/kallsyms with a module."""
    return (
        b"0000000000100000 T start\n0000000000100010 t inner\n                 U other\n",
        b"ffffffff81000000 T _text\nffffffff81000000 T startup_64\nffffffffc0000000 t init\t[virtio_net]\n",
    )
