"""Guests, images and links that are made to do harm, each with what must come of it; docs/security.md tells.

Real guests are multiboot kernels of a few hundred bytes (`GUESTS`), booted by one run. The others are files
that are inspected (`IMAGES`), consoles and shells that are read (`CONSOLES`), and links that are scanned
(`LINKS`). Each check fails where something else comes of it.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import stat
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import image_files
import parser_targets
import pytest
from hostile_run import check_safe
from link_guest import Stack, run_guest
from shell_guest import ScriptedMachine

from guestbench.errors import ImageError, ShellError
from guestbench.families.surface.network.link_host import LinkHost
from guestbench.families.surface.network.ports import PortScan, scan
from guestbench.guest import console, contract, shell_protocol
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import Shell
from guestbench.guest.shell_protocol import Checksum, Encoding
from guestbench.guest.shell_question import Console
from guestbench.host import process
from guestbench.images import check
from guestbench.images.formats import disk
from guestbench.inspect import lvm
from guestbench.model import Role
from guestbench.provision import cpio
from guestbench.provision.digests import digest_file
from guestbench.vmm.fake import FakeMachine

SOON_S = 60.0
"""What is refused or read takes a second; a bound for busy hosts."""
INJECTION = "=1+1|<script>alert(1)</script> ![x](http://e.example) `a` \x1b[2J\u202e"
"""A text that a spreadsheet, a browser, a Markdown reader and a terminal would each act on."""
ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "security.md"
BEGIN, END = "<!-- hostile guests: begin -->\n", "<!-- hostile guests: end -->\n"


class Guest(NamedTuple):
    """A guest in assembly, with what it does and what must come of it.

    `outcome` is a pattern for its outcome and the reason, and `told` a text that the report must have.
    """

    does: str
    must: str
    body: str
    outcome: str
    told: str = ""


class Case(NamedTuple):
    """Something hostile that is made and tried by `check`, in a folder of its own."""

    does: str
    must: str
    check: Callable[[Path], None]


# --- real guests --------------------------------------------------------------------------------------


def saying(text: bytes, *, times: int = 1) -> str:
    """Instructions that print a text so often; 0 is for ever."""
    octal = "".join(f"\\{byte:03o}" for byte in text)
    count = f"        mov $1, %ebp\n1:      mov ${times}, %ebx\n" if times else "        mov $0, %ebx\n"
    return (
        f"{count}again:  mov $text, %esi\n        call say\n"
        "        dec %ebx\n        jnz again\n        jmp after\n"
        f'text:   .asciz "{octal}"\nafter:\n'
    )


READY = "        mov $ready, %esi\n        call say\n"
NOT_READY = r"timed-out: no '\[ready\]' within "
GUESTS = {
    "floods": Guest(
        "prints on and on, without a line end", "times out on time", saying(b"spam ", times=0), NOT_READY
    ),
    "echoes": Guest(
        "prints the marker in the echo of its command line",
        "is not ready",
        saying(b"Kernel command line: quiet [ready]\r\n"),
        NOT_READY,
    ),
    "echoes-on": Guest(
        "does so on and on, without a line end",
        "is not ready, and times out on time",
        saying(b"Command line: [ready] ", times=0),
        NOT_READY,
    ),
    "titles": Guest(
        "puts the marker into the title of a window",
        "is not ready",
        saying(b"\x1b]0;[ready]\x07\x1bP[ready]\x1b\\ nothing else\r\n"),
        NOT_READY,
    ),
    "splits": Guest(
        "puts control characters into the marker",
        "is not ready, and the reason says that the marker is there without them",
        saying(b"[re\x08ad\ry]\r\n"),
        NOT_READY + r".*once control characters",
    ),
    "injects": Guest(
        "ends with HTML, Markdown, a formula and escape sequences",
        "times out; its last words do nothing in any report",
        saying(b"\x1b[2J\x1b]0;owned\x07" + INJECTION.encode() + b"\r\n"),
        NOT_READY + r".*last line",
    ),
    "asks": Guest(
        "asks the terminal 5,000 times where its cursor is, and waits for no answer",
        "is ready; 100 questions are answered",
        saying(b"\x1b[6n", times=5000) + READY,
        "ok",
    ),
    "resets": Guest(
        "faults until the machine resets itself",
        "has crashed, and is not started again",
        "        lidt empty\n        int3\nempty:  .word 0\n        .long 0\n",
        r"crashed: .*powered off or reset itself",
    ),
    "ends": Guest(
        "powers the machine off before it is ready",
        "has crashed",
        saying(b"goodbye\r\n") + "        mov $0x604, %dx\n        mov $0x2000, %ax\n        out %ax, %dx\n",
        r"crashed: .*powered off or reset itself.*goodbye",
    ),
    "panics": Guest(
        "says in one write that it is ready and that it panics",
        "is ready, and the report says what followed at once",
        saying(b"[ready] PANIC: not at all\r\n"),
        "ok",
        "panics: in 1 of 1 boots something followed at once on being ready, such as: the guest panicked",
    ),
}


def check_reports(folder: Path) -> None:
    """Nothing in any report of a run does anything but show."""
    check_safe((folder / "comparison_results.md").read_text())
    html = (folder / "report.html").read_text()
    assert "<script>alert" not in html
    assert not re.search(r"<(?:img|a)\b[^>]*e\.example", html)
    assert all(each.isprintable() or each in "\n\t" for each in html)
    json.loads((folder / "results.json").read_bytes())
    for row in csv.reader(io.StringIO((folder / "results.csv").read_text())):
        assert not any(cell.startswith(("=", "+", "@", "\t", "\r")) for cell in row)


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

# --- consoles and shells ------------------------------------------------------------------------------


def _try_work(folder: Path) -> None:
    del folder
    said = b"[work end cpu done=1 guest_ns=1]\r\n[work begin cpu source=x]\r\n"
    said += b"[work end other done=5]\r\n[work end cpu done=9999999999999999999 digest=x guest_ns=-1]\r\n"
    (report,) = contract.find_reports(said, lambda at: at)
    assert (report.workload, report.done, report.guest_ns) == ("cpu", None, None)
    assert report.end_ns == len(said) - 3
    flood = b"[work begin cpu]" * 100_000
    assert len(contract.find_reports(flood, lambda at: at)) == contract.MOST_REPORTS


def _try_output(folder: Path) -> None:
    del folder

    def say(line: bytes) -> bytes:
        nonce: bytes = re.findall(rb"\b[0-9a-f]{16}\b", line)[-1]
        payload = b"r,0,%d,0," % 10**14
        return nonce + b"{" + payload + b"|" + Checksum.MD5.compute(payload) + b"}" + nonce + b"\n"

    shell = Shell(Console(ScriptedMachine(say), SerialLog()), Encoding.BASE64, Checksum.MD5)
    with pytest.raises(ShellError, match="printed 100,000,000,000,000 bytes"):
        shell.run("true")


def _try_brackets(folder: Path) -> None:
    del folder
    began_s = time.monotonic()
    shell_protocol.clean(b"[" * (2 << 20))
    data = b"Command line: [ready] " * (1 << 20)
    assert console.place_texts(data, [len(data)], {"ready": b"[ready]"}) == {}
    assert time.monotonic() - began_s < SOON_S


CONSOLES = {
    "work": Case(
        "work that ends before it begins, is another's, has 19 nines of items, or begins 100,000 times",
        "counts for nothing that a record cannot hold; 1,000 pieces are kept",
        _try_work,
    ),
    "output": Case(
        "a shell whose command prints 100 TB, in sound blocks", "ends at 32 MiB, with the reason", _try_output
    ),
    "brackets": Case(
        "2 MiB of brackets or a million echoes in one line", "is searched within seconds", _try_brackets
    ),
}

# --- links --------------------------------------------------------------------------------------------


def _scanned(stack: Stack, ports: range) -> PortScan:
    with run_guest(stack) as link:
        machine = FakeMachine((), None, ("fake",))
        return scan(machine, SerialLog(), LinkHost(link), ports=ports, address_s=5.0, tcp_s=60.0)


def _try_every_port(folder: Path) -> None:
    del folder
    found = _scanned(Stack(open_tcp=frozenset(range(65536))), range(1, 4001))
    assert found.tcp is not None
    assert (len(found.tcp.open), found.tcp.closed, found.tcp.filtered) == (4000, 0, 0)


def _try_noise(folder: Path) -> None:
    del folder
    for noise in (b"\xff" * 60, bytes(60), b"\x45" * 1500, b"\x01"):
        found = _scanned(Stack(open_tcp=frozenset({7}), noise=noise), range(1, 200))
        assert found.tcp is not None
        assert (found.tcp.open, found.tcp.closed) == ((7,), 198)


def _try_flood(folder: Path) -> None:
    del folder
    began_s = time.monotonic()
    found = _scanned(Stack(open_tcp=frozenset({7}), floods=b"\xff" * 1500), range(1, 200))
    assert found.tcp is not None
    assert found.tcp.open == (7,)
    assert time.monotonic() - began_s < 2 * SOON_S


LINKS = {
    "every-port": Case(
        "a guest that answers on every TCP port", "has them all open, none guessed", _try_every_port
    ),
    "nonsense": Case("a guest that sends frames that are none", "changes no figure", _try_noise),
    "endless": Case("a guest that sends frames without end", "is scanned all the same, in time", _try_flood),
}


def render_table() -> str:
    """The table of the document."""
    rows = ["| what | what it does | what must come of it |", "|---|---|---|"]
    rows += [f"| guest `{name}` | {each.does} | {each.must} |" for name, each in GUESTS.items()]
    for kind, cases in (("image", IMAGES), ("console", CONSOLES), ("link", LINKS)):
        rows += [f"| {kind} `{name}` | {each.does} | {each.must} |" for name, each in cases.items()]
    return "\n".join([*rows, ""])
