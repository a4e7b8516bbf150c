"""Images that are made to do harm, each with what must come of it; docs/security.md tells.

`IMAGES` are read on this host, and `DISKS` by an inspector guest. Each check fails where something else
comes of it.
"""

from __future__ import annotations

import gzip
import json
import os
import stat
import struct
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import disks
import image_files
import parser_targets
import pytest

from guestbench.errors import ImageError
from guestbench.host import process
from guestbench.images import check
from guestbench.images.formats import disk
from guestbench.inspect import lvm
from guestbench.model import Role
from guestbench.provision import cpio
from guestbench.provision.digests import digest_file

SOON_S = 60.0
"""What is refused or read takes a second; a bound for busy hosts."""
INJECTION = "=1+1|<script>alert(1)</script> ![x](http://e.example) `a` \x1b[2J\u202e"
"""A text that a spreadsheet, a browser, a Markdown reader and a terminal would each act on."""


class Case(NamedTuple):
    """Something hostile that is made and tried by `check`, in a folder of its own."""

    does: str
    must: str
    check: Callable[[Path], None]


# --- images -------------------------------------------------------------------------------------------


def _refused(image: Path, words: str) -> None:
    """A run and an inspection refuse a disk soon, by these words, and before qemu-img sees it."""
    began_s = time.monotonic()
    with pytest.MonkeyPatch.context() as without:
        for module in (check, disk):
            without.setattr(module, "run_qemu_img", None)
        for look in (partial(check.check_bootable, image_files.QCOW2_DISK, Role.DISK), disk.read_info):
            with pytest.raises(ImageError, match=words) as caught:
                look(image)
            assert caught.value.message.isprintable()
    assert time.monotonic() - began_s < SOON_S


def _try_backing_file(folder: Path) -> None:
    image = folder / "disk.qcow2"
    options = ["-f", "qcow2", "-F", "raw", "-b", "/etc/passwd"]
    process.run(["qemu-img", "create", "-q", *options, image, "1M"])
    _refused(image, "is an overlay of /etc/passwd; it cannot be used alone")
    with pytest.raises(ImageError):
        disk.convert_to_raw(image, folder / "out.raw")
    assert not (folder / "out.raw").exists()


def _try_data_file(folder: Path) -> None:
    image = folder / "disk.qcow2"
    other = folder / "other.raw"
    process.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={other}", image, "1M"])
    _refused(image, "keeps its data in another file")


def _try_snapshots(folder: Path) -> None:
    image = folder / "disk.qcow2"
    process.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "1M"])
    for number, name in enumerate(("one", "two")):
        write = ["-c", f"write -P {number + 1} 0 64k"]
        process.run(["qemu-io", *write, image])
        process.run(["qemu-img", "snapshot", "-c", name, image])
    process.run(["qemu-io", "-c", "write -P 9 0 64k", image])
    before = digest_file(image)
    disk.convert_to_raw(image, folder / "out.raw")
    assert (folder / "out.raw").read_bytes() == b"\x09" * 65536 + bytes((1 << 20) - 65536)
    assert digest_file(image) == before


def _try_beyond_end(folder: Path) -> None:
    image = folder / "disk.qcow2"
    image.write_bytes(image_files.qcow2(data_at=1 << 40))
    _refused(image, "is truncated: a cluster of data ends at byte 1099511693312")


def _try_tables(folder: Path) -> None:
    image = folder / "disk.qcow2"
    data = bytearray(image_files.qcow2(cluster_bits=9, virtual_bytes=64 * 512 * 8))
    data[2 * 512 : 2 * 512 + 64] = data[2 * 512 : 2 * 512 + 8] * 8  # each entry names the same table
    data[36:40] = (8).to_bytes(4, "big")
    image.write_bytes(data)
    _refused(image, "is damaged: its L1 table is not sound")


def _try_sparse(folder: Path) -> None:
    image = folder / "disk.raw"
    image.write_bytes(image_files.mbr_disk())
    os.truncate(image, 10 << 30)
    began_s = time.monotonic()
    assert digest_file(image).startswith("blocks:")
    check.check_bootable(image_files.RAW_DISK, Role.DISK, image)
    assert disk.read_info(image).virtual_bytes == 10 << 30
    assert image.stat().st_blocks * 512 < 1 << 20
    assert time.monotonic() - began_s < SOON_S


def _try_itself(folder: Path) -> None:
    image = folder / "uki.efi"
    data = bytearray(parser_targets.make_uki({b".linux": b"x" * 64}))
    data[0x58 + 8 : 0x58 + 24] = b"".join(each.to_bytes(4, "little") for each in (len(data), 0, len(data), 0))
    image.write_bytes(data)
    found = image_files.inspect_file(image, folder)
    assert found.kernel is not None
    assert "is not a bzImage" in found.kernel.program.unknown


def _try_maze(folder: Path) -> None:
    entries = {f"l{level}": cpio.symbolic_link("d/../" * 800 + f"l{level - 1}") for level in range(1, 39)}
    entries |= {f"bin/python3.{number}": cpio.symbolic_link("/l38") for number in range(3000)}
    entries |= {"d/x": cpio.regular_file(b""), "l0": cpio.symbolic_link("l0")}
    image = folder / "initrd"
    image.write_bytes(gzip.compress(cpio.pack(entries), 1))
    began_s = time.monotonic()
    found = image_files.inspect_file(image, folder)
    assert found.files is not None
    assert "steps are not walked" in found.files.unknown
    assert time.monotonic() - began_s < 2 * SOON_S


def make_injecting_root() -> dict[str, cpio.Entry]:
    """A root file system whose packages, users, units, files and command line are `INJECTION`."""
    text = INJECTION.encode()
    name = INJECTION.replace("/", "")
    lines = {
        "var/lib/dpkg/status": b"Package: %b\nStatus: install ok installed\nVersion: %b\nSource: %b\n\n",
        "etc/passwd": b"%b:x:0:0:%b:/:%b\n",
        "etc/os-release": b"ID=%b\nVERSION_ID=%b\nPRETTY_NAME=%b\n",
        "boot/grub/grub.cfg": b"linux /vmlinuz-1 root=/dev/vda1 %b\n# %b %b\n",
    }
    entries = {
        path: cpio.regular_file(line % ((text.replace(b":", b""),) * 3)) for path, line in lines.items()
    }
    units = f"etc/systemd/system/{name}.wants/{name}.service"
    return entries | {
        "boot/vmlinuz-1": cpio.regular_file(b"none"),
        f"bin/{name}": cpio.Entry(mode=stat.S_IFREG | 0o6755, data=b"\x7fELF"),
        units: cpio.symbolic_link("/x"),
        "usr/lib/systemd/system/a": cpio.regular_file(b""),
    }


def _try_injection(folder: Path) -> None:
    image = folder / "initrd"
    image.write_bytes(cpio.pack(make_injecting_root()))
    argv = [sys.executable, "-m", "guestbench", "inspect", str(image)]
    shown = process.run(argv).stdout.decode()
    assert all(each.isprintable() or each == "\n" for each in shown)
    assert r"=1+1|<script>alert(1)</script>" in shown
    found = image_files.inspect_file(image, folder)
    parser_targets.check_texts(found)
    assert found.files is not None
    assert found.files.value is not None
    assert len(found.files.value.users.value or ()) == 1
    assert len(found.files.value.units.value or ()) == 1
    assert len(found.files.value.packages.value or ()) == 1
    assert json.loads(process.run([*argv, "--json"]).stdout)


def _try_lvm(folder: Path) -> None:
    del folder
    text = parser_targets.VOLUME_GROUP.replace("10 type", '"1\n0 1 zero" type').encode()
    for device in (
        parser_targets.physical_volume(text, length=(1 << 64) - 1, start=(1 << 64) - 2),
        parser_targets.physical_volume(text),
    ):
        with pytest.raises(ValueError, match=r"outside of their area|not sound"):
            _, found = lvm.read_physical_volume(partial(_read_device, device))
            list(lvm.find_volumes(found, {"abcd": "/dev/vda1"}))


def _read_device(device: bytes, at: int, length: int) -> bytes:
    return device[at : at + length]


IMAGES = {
    "qcow2-backing": Case(
        "a qcow2 whose backing file is `/etc/passwd`",
        "is refused before QEMU or qemu-img sees it; the other file is not opened",
        _try_backing_file,
    ),
    "qcow2-data-file": Case(
        "a qcow2 that keeps its data in an external file", "is refused so, too", _try_data_file
    ),
    "qcow2-snapshots": Case(
        "a qcow2 with internal snapshots that differ",
        "what it holds now is read; nothing in it changes",
        _try_snapshots,
    ),
    "qcow2-far": Case("a qcow2 whose data lie behind the end of the file", "is refused", _try_beyond_end),
    "qcow2-tables": Case("a qcow2 of which all tables are one", "is refused", _try_tables),
    "sparse": Case(
        "a disk of 10 GiB that takes no room", "is read and digested without its holes", _try_sparse
    ),
    "uki-itself": Case(
        "a unified kernel image that holds itself", "its kernel is told unreadable", _try_itself
    ),
    "maze": Case(
        "an initial ramdisk with loops of links, and 3,000 links through 30,000 folders each",
        "the walk ends; the inventory is unknown, with the reason",
        _try_maze,
    ),
    "names": Case(
        "packages, users, units, programs and a command line with HTML, Markdown, formulas and escapes",
        "each counts as one, and does nothing where it is shown",
        _try_injection,
    ),
    "lvm": Case(
        "LVM metadata beyond all disks, or with rows for device-mapper in a number",
        "is refused",
        _try_lvm,
    ),
}

# --- disks, which an inspector guest looks into -------------------------------------------------------


def make_looping_disk() -> bytes:
    """A disk whose extended partition is in itself."""
    image = bytearray(4 << 20)
    for at, *entries in ((0, (0x05, 8, 8000)), (4096, (0x83, 8, 16), (0x05, 0, 8000))):
        for number, (kind, first, sectors) in enumerate(entries):
            struct.pack_into("<4xB3xII", image, at + 446 + 16 * number, kind, first, sectors)
        image[at + 510 : at + 512] = b"\x55\xaa"
    image[:2] = b"\xeb\xfe"
    return bytes(image)


def _try_table(folder: Path) -> None:
    image = folder / "disk.raw"
    image.write_bytes(make_looping_disk())
    found = disks.inspect(image, folder)
    assert found.partitions is not None
    assert 2 < len(found.partitions) < 256
    assert found.files is not None
    assert "partitions begin where others do: the table leads back to itself" in found.files.unknown


DISKS = {
    "table": Case(
        "a disk whose extended partition is in itself",
        "the kernel that looks into it ends the loop, and it is told",
        _try_table,
    ),
}
