"""`guestbench inspect`: disks as a whole, text, JSON, bills of materials, and errors that help."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import sys
from pathlib import Path

import msgspec
import pytest
from disks import inspect
from image_files import elf64

from guestbench.cli import run_cli
from guestbench.errors import ImageError
from guestbench.host import process
from guestbench.images.inspection import Distribution, Inspection, Kind, Package, unknown
from guestbench.provision.cpio import directory, pack, regular_file
from guestbench.report.inspection import LISTED, describe_inspection
from guestbench.report.sbom import make_purl, render_sbom
from guestbench.report.terminal import render_text

pytestmark = [pytest.mark.qemu, pytest.mark.network]

MIB = 1 << 20
STATUS = (
    "Package: bash\nStatus: install ok installed\nVersion: 5.2~rc1+b2\nArchitecture: amd64\n\n"
    "Package: libstdc++6\nStatus: install ok installed\nVersion: 1:12.2-14\nArchitecture: amd64\n"
    "Source: gcc-12\n\n"
    "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n\n"
)


def fill(root: Path) -> None:
    """A root file system in small, with /boot left out."""
    for folder in ("etc", "usr/bin", "var/lib/dpkg", "srv"):
        (root / folder).mkdir(parents=True)
    (root / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian 12"\n')
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\n")
    (root / "etc/shadow").write_text("root::1::::::\n")
    (root / "var/lib/dpkg/status").write_text(STATUS)
    (root / "usr/bin/su").write_bytes(b"\x7fELF su")
    (root / "usr/bin/su").chmod(0o4755)
    for number in range(LISTED + 5):
        (root / f"srv/open\n\x1b[31m{number}").touch()
        (root / f"srv/open\n\x1b[31m{number}").chmod(0o666)


def put(raw: Path, offset: int, tree: Path) -> None:
    """A file system of the folder's contents into a raw disk."""
    process.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, "-E", f"offset={offset}", raw, "12M"])


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT disk with /boot in one partition, the root in another, and a LUKS partition."""
    folder = tmp_path_factory.mktemp("disk")
    boot, root = folder / "boot", folder / "root"
    root.mkdir()
    fill(root)
    boot.mkdir()
    (boot / "vmlinuz-6.1").write_bytes(b"no bzImage")
    (boot / "config-6.1").write_text("CONFIG_A=y\nCONFIG_B=m\n")
    raw = folder / "disk.raw"
    with raw.open("wb") as file:
        file.truncate(40 * MIB)
    table = "label: gpt\nstart=2048,size=24576,type=L\nstart=28672,size=24576,type=L\nstart=55296,size=2048\n"
    process.run(["sfdisk", "-q", raw], input=table.encode())
    put(raw, MIB, boot)
    put(raw, 14 * MIB, root)
    with raw.open("r+b") as file:
        file.seek(27 * MIB)
        file.write(b"LUKS\xba\xbe\0\x02")
    return raw


@pytest.fixture(scope="module")
def found(disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    """What is in the disk."""
    return inspect(disk, tmp_path_factory.mktemp("scratch"))


def test_disk_is_inspected_as_a_whole(disk: Path, found: Inspection) -> None:
    """The root file system of a disk would not be found, or its kernel in another partition be missed."""
    assert found.kind is Kind.DISK
    assert found.partitions is not None
    assert [(p.number, p.content, p.is_root) for p in found.partitions] == [
        (1, "ext4", False),
        (2, "ext4", True),
        (3, "encrypted (LUKS)", False),
    ]
    assert found.files is not None
    files = found.files.value
    assert files is not None
    assert files.distribution.value == Distribution(id="debian", version="12", title="Debian 12")
    assert [p.name for p in files.packages.value or ()] == ["bash", "libstdc++6"]
    assert [f.path for f in files.suid.value or ()] == ["/usr/bin/su"]
    assert files.kernel.value == "vmlinuz-6.1"
    assert files.kernel_config.value is not None
    assert (files.kernel_config.value.builtin, files.kernel_config.value.modules) == (1, 1)
    assert files.kernel_cmdline.value is None
    assert found.code is not None
    assert [row.gadgets.value for row in found.code.value or ()] == [None, None]


def test_qcow2_gives_the_same_as_raw(disk: Path, found: Inspection, tmp_path: Path) -> None:
    """What is in an image would depend on its container, or scratch files would be left behind."""
    image = tmp_path / "a b.qcow2"
    process.run(["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", disk, image])
    before = image.read_bytes()
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    other = inspect(image, scratch)
    assert (other.files, other.partitions, other.code) == (found.files, found.partitions, found.code)
    assert [path.name for path in scratch.iterdir()] == ["kept"]
    assert image.read_bytes() == before


def test_text_is_printable_and_says_where_each_line_comes_from(found: Inspection) -> None:
    """A file name in an image would take over the terminal, or a figure would have no origin."""
    text = render_text(describe_inspection(found))
    assert all(line.isprintable() for line in text.splitlines())
    assert r"srv/open\n\x1b[31m0" in text
    assert f"and {5} more: --json has all" in text
    assert "packages                 2  [/var/lib/dpkg/status, installed packages only]" in text
    assert "unknown: there is no systemd" in text
    assert "1 empty" in text
    for line in text.splitlines():
        if line.startswith("  ") and not line.startswith("    ") and not re.search("unknown: |^  note", line):
            assert line.endswith("]"), line


def test_json_has_every_item_and_reads_back(found: Inspection) -> None:
    """A program that reads the JSON would miss items or could not tell unknown from none."""
    data = msgspec.json.encode(found)
    assert msgspec.json.decode(data, type=Inspection) == found
    plain = json.loads(data)
    assert len(plain["files"]["value"]["world_writable"]["value"]) == LISTED + 5
    assert plain["files"]["value"]["units"] == {
        "value": None,
        "source": "",
        "unknown": "there is no systemd",
    }


# --- what cannot be read ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "magic", "name"),
    [(0, b"LUKS\xba\xbe", "encrypted (LUKS)"), (0, b"XFSB", "xfs"), (1024, b"\x10\x20\xf5\xf2", "f2fs")],
)
def test_unknown_or_encrypted_file_system_is_a_reason(
    tmp_path: Path, offset: int, magic: bytes, name: str
) -> None:
    """A disk that cannot be read would be reported as one without users, packages and SUID files."""
    image = tmp_path / "image"
    data = bytearray(2 * MIB)
    data[offset : offset + len(magic)] = magic
    image.write_bytes(data)
    result = inspect(image, tmp_path)
    assert result.files is not None
    assert result.files.value is None
    assert f"(found: {name})" in result.files.unknown
    assert "unknown: no root file system can be read" in render_text(describe_inspection(result))
    with pytest.raises(ImageError, match="has no bill of materials"):
        render_sbom(result, image)


def test_damaged_root_is_a_reason_and_not_an_empty_system(disk: Path, tmp_path: Path) -> None:
    """A damaged disk would look like a very safe one."""
    image = tmp_path / "image"
    data = bytearray(disk.read_bytes())
    for start in (MIB, 14 * MIB):
        data[start + 1024 + 96 : start + 1024 + 100] = b"\xff" * 4
    image.write_bytes(data)
    result = inspect(image, tmp_path)
    assert result.files is not None
    assert result.files.value is None
    assert "partition 2: EXT4-fs (vda2): " in result.files.unknown


def test_boot_partition_of_an_encrypted_disk_is_no_root(tmp_path: Path) -> None:
    """A disk with an encrypted root would be reported as a system without SUID files."""
    boot, image = tmp_path / "boot", tmp_path / "image"
    boot.mkdir()
    (boot / "vmlinuz-6.1").write_bytes(b"kernel")
    image.write_bytes(b"")
    put(image, 0, boot)
    result = inspect(image, tmp_path)
    assert result.files is not None
    assert result.files.value is None
    assert result.files.unknown == "no root file system can be read (found: ext4)"
    assert result.partitions is not None
    assert not any(partition.is_root for partition in result.partitions)


def test_file_systems_mounted_over_the_root_are_named(tmp_path: Path) -> None:
    """Packages in a /var of its own would be missing without a word."""
    root, image = tmp_path / "root", tmp_path / "image"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("")
    (root / "etc/fstab").write_text(
        "# /dev/a /home ext4\nUUID=1 / ext4 defaults 0 1\nUUID=2 /var ext4\nUUID=3 none swap\n"
        "UUID=4 /boot/efi vfat\ntmpfs /tmp tmpfs\nUUID=5 /srv/ ext4\n"
    )
    image.write_bytes(b"")
    put(image, 0, root)
    notes = inspect(image, tmp_path).notes
    assert notes == ("/etc/fstab mounts other file systems, which are not looked at: /boot/efi, /srv, /var",)


# --- bill of materials --------------------------------------------------------------------------------


def test_bill_of_materials_is_cyclonedx_and_always_the_same(disk: Path, found: Inspection) -> None:
    """Scanners of known vulnerabilities would not find the packages, or two bills could not be compared."""
    document = render_sbom(found, disk)
    assert document == render_sbom(found, disk)
    bom = json.loads(document)
    assert (bom["bomFormat"], bom["specVersion"], bom["version"]) == ("CycloneDX", "1.6", 1)
    assert bom["metadata"]["component"]["name"] == "debian"
    assert [(c["name"], c["version"], c["purl"]) for c in bom["components"]] == [
        ("bash", "5.2~rc1+b2", "pkg:deb/debian/bash@5.2~rc1%2Bb2?arch=amd64&distro=debian-12"),
        ("libstdc++6", "1:12.2-14", "pkg:deb/debian/libstdc%2B%2B6@1:12.2-14?arch=amd64&distro=debian-12"),
    ]
    references = [c["bom-ref"] for c in bom["components"]]
    assert len(set(references)) == len(references)


def test_package_url_is_left_out_where_the_distribution_is_unknown() -> None:
    """A package would be looked up in the wrong distribution."""
    package = Package(kind="apk", name="musl", version="1", architecture="x86_64")
    assert make_purl(package, None) is None
    assert make_purl(package, Distribution(id="", version="1", title="?")) is None
    alpine = Distribution(id="alpine", version="3.20", title="Alpine")
    assert make_purl(package, alpine) == "pkg:apk/alpine/musl@1?arch=x86_64&distro=alpine-3.20"


def test_bill_of_what_lists_nothing_is_refused(tmp_path: Path) -> None:
    """An empty bill of materials would say that there is nothing inside."""
    image = tmp_path / "initrd"
    image.write_bytes(gzip.compress(pack({"init": regular_file(b"#!/bin/sh\n", executable=True)})))
    with pytest.raises(ImageError, match="no package database"):
        render_sbom(inspect(image, tmp_path), image)
    bare = Inspection(file="f", kind=Kind.DISK, detail="", size_bytes=0, files=unknown("encrypted"))
    with pytest.raises(ImageError, match="encrypted"):
        render_sbom(bare, image)


# --- the command --------------------------------------------------------------------------------------


def test_command_prints_text_json_and_writes_the_bill(
    disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command would not do what the guide says."""
    assert run_cli(["inspect", str(disk)]) == 0
    assert "Debian 12" in capsys.readouterr().out
    bill = tmp_path / "bill.json"
    assert run_cli(["inspect", str(disk), "--json", "--sbom", str(bill)]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "disk image"
    assert len(json.loads(bill.read_bytes())["components"]) == 2
    assert run_cli(["inspect", str(disk), "--sbom", str(tmp_path / "none/bill")]) == 2
    assert "none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is no disk"),
        (b"just text\n" * 100, "is no disk"),
        (b"\x7fELF", "ELF header is not sound"),
        (b"KDMV" + bytes(600), "is a VMDK image"),
        (b"QFI\xfb" + bytes(600), "qcow2"),
        (b"\x1f\x8b" + bytes(600), "damaged"),
        (b"070701" + bytes(600), "bad cpio header"),
        (b"hsqs", ""),
    ],
)
def test_what_is_no_image_is_one_error_with_a_hint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], data: bytes, words: str
) -> None:
    """A wrong file would end in a traceback, or with a hint that does not work."""
    image = tmp_path / "a file"
    image.write_bytes(data)
    status = run_cli(["inspect", str(image)])
    answer = capsys.readouterr()
    if not words:
        assert status == 0
        return
    assert status == 2
    error, hint = answer.err.splitlines()
    assert error.startswith("error: ")
    assert words in error
    assert hint.startswith("hint: ")
    assert shlex.split(hint.removeprefix("hint: "))


def test_missing_image_folder_and_pipe_are_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistyped name would end in a traceback, and a pipe hang the tool."""
    os.mkfifo(tmp_path / "pipe")
    for name, words in (("none", "does not exist"), ("", "is a folder"), ("pipe", "not a regular file")):
        assert run_cli(["inspect", str(tmp_path / name)]) == 2
        assert words in capsys.readouterr().err


def test_initial_ramdisk_of_ours_is_read(tmp_path: Path) -> None:
    """The initial ramdisks that this tool builds could not be inspected."""
    image = tmp_path / "initrd.gz"
    entries = {"bin/sh": regular_file(b"\x7fELF", executable=True), "tmp": directory(0o777)}
    image.write_bytes(gzip.compress(pack(entries), mtime=0))
    result = inspect(image, tmp_path)
    assert result.kind is Kind.INITRAMFS
    assert result.files is not None
    assert result.files.value is not None
    assert [p.path for p in result.files.value.shells.value or ()] == ["/bin/sh"]
    assert [f.path for f in result.files.value.world_writable.value or ()] == ["/tmp"]
    assert all(line.isprintable() for line in render_text(describe_inspection(result)).splitlines())


def test_text_of_a_unikernel_is_complete(tmp_path: Path) -> None:
    """The text of a unikernel would lack what JSON has."""
    image = tmp_path / "unikernel"
    image.write_bytes(elf64())
    text = render_text(describe_inspection(inspect(image, tmp_path)))
    for words in (
        "segment R-E",
        "writable and executable  0",
        "RELRO",
        "ROP gadgets",
        "system call handlers",
    ):
        assert words in text


def test_help_does_not_load_the_disassembler() -> None:
    """`guestbench --help` would take a quarter of a second longer."""
    program = "import sys; from guestbench import cli; cli.run_cli(['inspect', '--help']); "
    done = process.run([sys.executable, "-c", program + "print('capstone' in sys.modules)"])
    assert done.stdout.decode().endswith("False\n")
