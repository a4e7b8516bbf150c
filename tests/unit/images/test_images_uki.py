"""Unified kernel images: EFI programs that hold a kernel, its command line and its initial ramdisk."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from image_files import Load, elf64, inspect_file

from guestbench.errors import ImageError
from guestbench.images.formats.uki import read_uki
from guestbench.images.inspection import Inspection, Kind
from guestbench.images.source import hold
from guestbench.provision import cpio
from guestbench.report.inspection import describe_inspection
from guestbench.report.terminal import render_text

RAMDISK = gzip.compress(
    cpio.pack(
        {
            "init": cpio.regular_file(b"#!/bin/sh\n", executable=True),
            "bin/su": cpio.Entry(mode=0o104755, data=b"\x7fELF"),
        }
    )
)
MICROCODE = cpio.pack({"kernel/x86/microcode/GenuineIntel.bin": cpio.regular_file(b"code")})


def make_kernel() -> bytes:
    """A bzImage with a program in it."""
    program = gzip.compress(elf64((Load(5, b"\x58\xc3" + b"\x90" * 64),)), mtime=0)
    setup = bytearray(4 * 512)
    setup[0x1F1] = 3
    struct.pack_into("<I", setup, 0x1F4, -(-len(program) // 16))
    setup[510:512] = b"\x55\xaa"
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<HxxxxxxH", setup, 0x206, 0x20F, 0x300 - 0x200)
    struct.pack_into("<II", setup, 0x248, 0, len(program))
    setup[0x300:0x310] = b"6.10-test (a) #1"
    return bytes(setup) + program + bytes(-len(program) % 16)


def make_uki(*sections: tuple[str, bytes], fill: int = 512) -> bytes:
    """An EFI program with these sections, each filled up in the file, behind a table that is as PE has it."""
    header_at, options = 0x80, 240
    table_at = header_at + 24 + options
    at = -(-(table_at + 40 * len(sections)) // fill) * fill
    table = body = b""
    for name, data in sections:
        in_file = -(-len(data) // fill) * fill
        table += struct.pack("<8s4I16x", name.encode(), len(data), 0x1000, in_file, at + len(body))
        body += data.ljust(in_file, b"\0")
    start = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", header_at)
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, len(sections), 0, 0, 0, options, 0x22E)
    whole = start.ljust(header_at, b"\0") + coff + bytes(options) + table
    return whole.ljust(at, b"\0") + body


SECTIONS = (
    (".text", b"stub" * 100),
    (".osrel", b"ID=debian\n"),
    (".uname", b"6.10-test"),
    (".cmdline", b"root=/dev/vda1 ro\n\0"),
    (".initrd", RAMDISK),
    (".ucode", MICROCODE),
    (".linux", make_kernel()),
)


def inspect(folder: Path, data: bytes) -> Inspection:
    """What is found in a file with these contents."""
    image = folder / "linux.efi"
    image.write_bytes(data)
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    found = inspect_file(image, scratch)
    assert not list(scratch.iterdir())
    return found


def test_all_parts_of_a_unified_kernel_image_are_shown(tmp_path: Path) -> None:
    """A system that boots by one file would be called no image at all."""
    found = inspect(tmp_path, make_uki(*SECTIONS))
    assert found.kind is Kind.UKI
    assert found.kernel is not None
    assert found.kernel.version.value == "6.10-test (a) #1"
    assert found.kernel.program.value is not None
    assert found.kernel.cmdline is not None
    assert found.kernel.cmdline.value == "root=/dev/vda1 ro"
    assert found.files is not None
    assert found.files.value is not None
    assert [each.path for each in found.files.value.suid.value or ()] == ["/bin/su"]
    assert found.notes[0] == "the files are those of its initial ramdisk: cpio, then gzip of cpio"
    assert "root=/dev/vda1 ro  [section .cmdline]" in render_text(describe_inspection(found))


def test_what_a_unified_kernel_image_lacks_is_said(tmp_path: Path) -> None:
    """A part that is missing would seem to be an empty one."""
    found = inspect(tmp_path, make_uki(SECTIONS[0], SECTIONS[-1]))
    assert found.kernel is not None
    assert found.kernel.cmdline is not None
    assert "no section .cmdline" in found.kernel.cmdline.unknown
    assert found.files is None
    assert found.notes == ("there is no initial ramdisk in it",)


def test_first_of_several_profiles_counts(tmp_path: Path) -> None:
    """The command line of a profile that is not booted by itself would be shown."""
    profiles = (*SECTIONS, (".profile", b"ID=rescue"), (".cmdline", b"rescue"))
    kernel = inspect(tmp_path, make_uki(*profiles)).kernel
    assert kernel is not None
    assert kernel.cmdline is not None
    assert kernel.cmdline.value == "root=/dev/vda1 ro"


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.8])
def test_cut_unified_kernel_image_is_refused(tmp_path: Path, kept: float) -> None:
    """The first part of a download would be shown as a whole image."""
    data = make_uki(*SECTIONS)
    with pytest.raises(ImageError, match="is truncated: its section"):
        inspect(tmp_path, data[: int(len(data) * kept)])


@pytest.mark.parametrize("place", ["boot/EFI/Linux", "efi/EFI/Linux", "boot/efi/EFI/Linux"])
def test_unified_kernel_images_in_a_file_system_are_its_kernels(tmp_path: Path, place: str) -> None:
    """A system that boots by one would be said to have no kernel and no command line."""
    files = {f"{place}/debian-6.9.efi": b"old", f"{place}/debian-6.10.EFI": make_uki(*SECTIONS)}
    entries = {path: cpio.regular_file(data) for path, data in files.items()}
    entries |= {"etc/passwd": cpio.regular_file(b"root:x:0:0::/root:/bin/sh\n")}
    entries["boot/config-6.10-test"] = cpio.regular_file(b"CONFIG_A=y\nCONFIG_B=m\n")
    found = inspect(tmp_path, cpio.pack(entries))
    assert found.files is not None
    system = found.files.value
    assert system is not None
    assert system.kernel.value == "debian-6.10.EFI"
    assert system.kernel_cmdline.value == "root=/dev/vda1 ro"
    assert system.kernel_config.value is not None
    assert (system.kernel_config.value.builtin, system.kernel_config.value.modules) == (1, 1)
    assert found.code is not None
    assert found.code.value is not None
    assert found.code.value[0].gadgets.value is not None


def test_sections_that_overlap_are_refused(tmp_path: Path) -> None:
    """A small hostile file would fill the host's memory."""
    data = bytearray(make_uki(*SECTIONS, *[(".initrd", b"")] * 200))
    for number in range(len(SECTIONS), len(SECTIONS) + 200):
        struct.pack_into("<4I", data, 0x80 + 24 + 240 + 40 * number + 8, len(data), 0, len(data), 0)
    with pytest.raises(ImageError, match="is damaged: its sections overlap"):
        inspect(tmp_path, bytes(data))


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 1000), st.binary(min_size=1, max_size=8)), max_size=6))
def test_damaged_unified_kernel_images_raise_only_image_errors(
    tmp_path: Path, changes: list[tuple[int, bytes]]
) -> None:
    """A damaged file would end the inspection with a traceback."""
    data = bytearray(make_uki(*SECTIONS))
    for offset, change in changes:
        data[offset : offset + len(change)] = change
    try:
        with hold(bytes(data), Path("image")) as source:
            read_uki(source)
    except ImageError as error:
        assert error.message.startswith("image ")
