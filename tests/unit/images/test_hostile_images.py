"""Image files that are made to crash, to stop or to mislead what reads them."""

from __future__ import annotations

import ctypes
import stat
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import image_files
import parser_targets
import pytest
from image_files import inspect_file
from parser_targets import Others

from guestbench.errors import GuestbenchError, ImageError
from guestbench.images import tree as tree_module
from guestbench.images.contents import files, packages
from guestbench.images.formats import elf, kernel, qcow2, unpack
from guestbench.images.formats.initramfs import open_initramfs
from guestbench.images.inspection import FileSystem
from guestbench.images.source import open_source
from guestbench.images.tree import Entry, Tree
from guestbench.inspect import lvm

REGULAR, FOLDER, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777


def entry(name: str, mode: int, data: bytes = b"", *, inode: bytes = b"00000001") -> bytes:
    """An entry of a newc archive."""
    numbers = b"%s%08X%s%08X" % (inode, mode, b"0" * 16 + b"%08X" % 1 + b"0" * 8, len(data))
    header = b"070701" + numbers + b"0" * 32 + b"%08X" % (len(name) + 1) + b"0" * 8 + name.encode() + b"\0"
    return header + bytes(-len(header) % 4) + data + bytes(-len(data) % 4)


TRAILER = entry("TRAILER!!!", 0)


def list_paths(archive: bytes, folder: Path) -> tuple[dict[str, Entry], tuple[str, ...]]:
    """What is in an initial ramdisk by path, and what is said about it."""
    image = folder / "initrd"
    image.write_bytes(archive)
    with open_source(image) as source, open_initramfs(source, folder) as (tree, _, notes):
        return {each.path.decode(): each for each in tree if each.path}, notes


# --- kernels and programs -----------------------------------------------------------------------------


def test_unified_kernel_image_that_holds_itself_is_refused(tmp_path: Path) -> None:
    """A file of 600 bytes would end the tool with a traceback, after a thousand copies of it in memory."""
    image = tmp_path / "uki.efi"
    data = bytearray(parser_targets.make_uki({b".linux": b"x" * 64}))
    struct.pack_into("<4I", data, 0x58 + 8, len(data), 0, len(data), 0)
    image.write_bytes(bytes(data))
    with (
        open_source(image) as source,
        pytest.raises(ImageError, match="not a bzImage"),
        kernel.open_vmlinux(source, tmp_path),
    ):
        raise AssertionError
    found = inspect_file(image, tmp_path)
    assert found.kernel is not None
    assert "not a bzImage" in found.kernel.program.unknown


def test_section_of_a_kernel_cannot_write_to_the_terminal(tmp_path: Path) -> None:
    """A kernel's file could clear the screen of whoever looks at it, or write lines of its own."""
    image = tmp_path / "uki.efi"
    data = bytearray(parser_targets.make_uki({b".linux": b"x" * 64, b"\x1b[2J\nhi": b"y"}))
    image.write_bytes(bytes(data[:-1]))
    with pytest.raises(ImageError) as caught:
        inspect_file(image, tmp_path)
    assert caught.value.message.isprintable()
    assert r"its section \x1b[2J\nhi" in caught.value.message


@pytest.mark.parametrize("length", [1, 1022, 1023, 1024, 1025, 5000])
def test_symbols_with_names_of_any_length_are_counted(length: int, tmp_path: Path) -> None:
    """Functions of C++ and Rust, whose names are long, would be left out without a word."""
    image = tmp_path / "kernel"
    names = [b"main", b"_ZN" + b"x" * length, b"uk_syscall_r_read"]
    image.write_bytes(parser_targets.elf_with_symbols(names))
    with open_source(image) as source:
        symbols = elf.read_elf(source).read_symbols(source)
    assert [len(each.name) for each in symbols] == [4, min(3 + length, elf.MAX_SYMBOL_BYTES), 17]


@pytest.mark.parametrize(
    ("at", "form", "value", "words"),
    [
        (64 + 40, "<I", 3, "in a section that it does not have"),
        (64 + 40, "<I", 0, "beyond the section of names"),
        (128 + 32, "<Q", 0, "beyond the section of names"),
        (128 + 32, "<Q", 5, "beyond the section of names"),
    ],
)
def test_symbols_without_their_names_are_not_taken_for_none(
    at: int, form: str, value: int, words: str, tmp_path: Path
) -> None:
    """A damaged kernel would be shown as one without symbols, and its functions be counted as none."""
    data = bytearray(parser_targets.elf_with_symbols([b"main", b"other"]))
    struct.pack_into(form, data, struct.unpack_from("<Q", data, 40)[0] + at, value)
    image = tmp_path / "kernel"
    image.write_bytes(bytes(data))
    with open_source(image) as source, pytest.raises(ImageError, match=words):
        elf.read_elf(source).read_symbols(source)
    found = inspect_file(image, tmp_path)
    assert found.elf is not None and words in found.elf.symbols.unknown


def test_number_of_sections_beyond_the_headers_field_is_read(tmp_path: Path) -> None:
    """A file with a section for each of many functions would be shown as stripped."""
    image = tmp_path / "kernel"
    names = [b"main", b"other"]
    for sections in (3, 0):
        image.write_bytes(parser_targets.elf_with_symbols(names, sections))
        with open_source(image) as source:
            headers = elf.read_elf(source)
            assert not headers.stripped
            assert [each.name for each in headers.read_symbols(source)] == ["main", "other"]
    far = bytearray(parser_targets.elf_with_symbols(names, 0))
    struct.pack_into("<Q", far, struct.unpack_from("<Q", far, 40)[0] + 32, 1 << 40)
    image.write_bytes(bytes(far))
    with open_source(image) as source, pytest.raises(ImageError, match="1099511627776 sections"):
        elf.read_elf(source)


def test_program_without_segments_has_no_figures(tmp_path: Path) -> None:
    """An object file would be shown as a program of 0 bytes of code that is protected by nothing."""
    image = tmp_path / "object.o"
    image.write_bytes(image_files.elf64((), symbols=True))
    found = inspect_file(image, tmp_path).elf
    assert found is not None
    assert found.mitigations == ()
    reasons = {
        each.unknown for each in (found.code_bytes, found.wx_segments, found.syscall_entry, found.gadgets)
    }
    assert reasons == {"there are no LOAD segments"}


# --- initial ramdisks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "number", [b"+0000001", b" 0000001", b"0x000001", b"0_000_01", b"0000001 ", b"-0000001"]
)
def test_number_that_linux_reads_otherwise_is_refused(number: bytes, tmp_path: Path) -> None:
    """Python takes signs, blanks and underscores for part of a number, and Linux stops at them."""
    with pytest.raises(ImageError, match="a bad cpio header at byte 0"):
        list_paths(entry("a", REGULAR, inode=number) + TRAILER, tmp_path)


@pytest.mark.parametrize(
    ("link", "target"), [("lib", b"usr/lib"), ("lib", b"/usr/lib"), ("lib", b"./usr/../usr/lib")]
)
def test_files_behind_links_are_where_linux_puts_them(link: str, target: bytes, tmp_path: Path) -> None:
    """Modules put into /lib, a link to /usr/lib, would not be there, or be there twice."""
    folders = b"".join(entry(path, FOLDER) for path in ("usr", "usr/lib", "usr/lib/modules"))
    first = folders + entry("usr/lib/modules/a.ko", REGULAR, b"1") + entry(link, LINK, target) + TRAILER
    second = entry("lib/modules", FOLDER) + entry("lib/modules/a.ko", REGULAR, b"22")
    second += entry("lib/modules/b.ko", REGULAR) + TRAILER
    paths, notes = list_paths(first + second, tmp_path)
    assert set(paths) == {
        *("usr", "usr/lib", "usr/lib/modules", "usr/lib/modules/a.ko", "usr/lib/modules/b.ko", "lib")
    }
    assert paths["usr/lib/modules/a.ko"].size_bytes == 2
    assert notes == ()
    found = inspect_file(tmp_path / "initrd", tmp_path).files
    assert found is not None
    assert isinstance(found.value, FileSystem)
    assert found.value.modules.value == 2


@pytest.mark.parametrize(
    "archive",
    [
        entry("a", LINK, b"b") + entry("b", LINK, b"a") + entry("a/x", REGULAR),
        entry("a", LINK, b"nowhere") + entry("a/x", REGULAR),
        entry("a", REGULAR) + entry("a/x", REGULAR),
        entry("a", FOLDER) + entry("a/y", REGULAR) + entry("a", REGULAR, b"in its place"),
        entry("a", FOLDER, b"a folder with contents"),
        entry("a", LINK, b"x" * 4097),
    ],
)
def test_entries_that_linux_cannot_make_are_left_out_and_told(archive: bytes, tmp_path: Path) -> None:
    """Files would be counted that the guest never has."""
    paths, notes = list_paths(archive + entry("z", REGULAR) + TRAILER, tmp_path)
    assert "a/x" not in paths
    assert "z" in paths
    assert "a" not in paths or not paths["a"].is_regular or not paths["a"].size_bytes
    (note,) = notes
    assert note.startswith("1 entries are left out, /a")


def test_folders_that_are_not_there_are_told(tmp_path: Path) -> None:
    """Linux makes no folder that an archive leaves out, and so nothing in it; the count would be too high."""
    paths, notes = list_paths(entry("etc/a", REGULAR) + entry("dev/null", REGULAR) + TRAILER, tmp_path)
    assert "etc/a" in paths
    assert notes == (
        "1 folders are not in it, /etc the first: Linux does not make them, and leaves out what is in them",
    )


def test_path_of_two_thousand_folders_is_read(tmp_path: Path) -> None:
    """A path of 4 KiB would end the tool with a traceback."""
    paths, _ = list_paths(entry("/".join("d" * 2000), REGULAR) + TRAILER, tmp_path)
    assert len(paths) == 2000


def test_zstd_frame_of_empty_blocks_is_refused_soon(tmp_path: Path) -> None:
    """A file of nothing but empty blocks would be read for minutes."""
    image = tmp_path / "initrd"
    image.write_bytes(b"\x28\xb5\x2f\xfd\0\x58" + bytes(3 * (unpack._MOST_BLOCKS + 10)) + b"\1\0\0")
    began_s = time.monotonic()
    with open_source(image) as source, pytest.raises(ImageError, match="its zstd data has no end"):
        unpack._measure_zstd(source, 0, source.size_bytes)
    assert time.monotonic() - began_s < 60


# --- file systems -------------------------------------------------------------------------------------


def make_tree(contents: dict[str, bytes], links: Sequence[tuple[str, bytes]] = ()) -> Tree:
    """A tree of files and links."""
    found = [Entry(b"", 0, FOLDER, 0, 0, 0)]
    folders = {path[:at] for path in contents for at, c in enumerate(path) if c == "/"}
    found += [Entry(path.encode(), 0, FOLDER, 0, 0, 0) for path in folders]
    found += [
        Entry(path.encode(), 1, REGULAR | 0o111, 0, 0, len(data), where=data)
        for path, data in contents.items()
    ]
    found += [Entry(path.encode(), 2, LINK, 0, 0, 0, link=target) for path, target in links]
    return Tree(found, lambda each, limit: each.where[:limit], has_attributes=False)


def test_maze_of_links_is_left_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Links to links to links, a thousand folders each, would keep the tool for days."""
    monkeypatch.setattr(tree_module, "MAX_STEPS", 100_000)
    maze = [(f"l{level}", b"d/../" * 800 + b"l%d" % (level - 1)) for level in range(1, 39)]
    names = [(f"bin/python3.{number}", b"/l38") for number in range(5000)]
    tree = make_tree({"l0": b"x", "d/x": b"", "bin/x": b""}, [*maze, *names])
    assert tree.find("l38") is not None
    with pytest.raises(ImageError, match="more than 100,000 steps are not walked"):
        files.find_interpreters(tree)


PASSWD = (
    *(b"a:x:0:0", b"a:x:0", b"a:x:-1:0:::", b"a:x:00000000000:0:::", b"a:x: 5:0:::/s:h", b"#a:x:0:0:::"),
    *(b"  a:x:0:0:::/s", b"a:x:99999999999:0:::", b"a:x:4294967296:0:::", b"a:x:4294967295:0:::"),
    *(
        b"a:x:5x:0:::",
        b"a:x:+5:0:::",
        b"a:x:-0:0:::/s",
        b"a:x:0:0:g\rb:x:0:0:::/s",
        b"a:x::0:::",
        b"a:x:0::::",
    ),
    *(b"a:x:- 1:0:::", b"a:x:-+1:0:::", b"::0:0:::", b"a:x:1:" + b"9" * 5000 + b":::", b"a:x:0:0:\x0b:/:/s"),
)


class _Passwd(ctypes.Structure):
    _fields_ = [
        *(("name", ctypes.c_char_p), ("password", ctypes.c_char_p), ("uid", ctypes.c_uint32)),
        *(("gid", ctypes.c_uint32), ("gecos", ctypes.c_char_p), ("home", ctypes.c_char_p)),
        ("shell", ctypes.c_char_p),
    ]


def read_with_libc(passwd: Path) -> list[tuple[int, bytes]]:
    """Users' numbers and shells as the C library of this host reads them."""
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    libc.fgetpwent.restype = ctypes.POINTER(_Passwd)
    libc.fgetpwent.argtypes = [ctypes.c_void_p]
    libc.fclose.argtypes = [ctypes.c_void_p]
    stream = libc.fopen(str(passwd).encode(), b"r")
    found = []
    while row := libc.fgetpwent(stream):
        found.append((row[0].uid, row[0].shell))
    libc.fclose(stream)
    return found


@pytest.mark.parametrize("line", PASSWD)
def test_users_are_those_of_the_c_library(line: bytes, tmp_path: Path) -> None:
    """A user that the guest knows would be left out, or one be counted that it does not know."""
    passwd = b"first:x:7:7:::/bin/first\n" + line + b"\nlast:x:8:8:::/bin/last\n"
    (tmp_path / "passwd").write_bytes(passwd)
    users = files.find_users(make_tree({"etc/passwd": passwd})).value
    assert users is not None
    told = [(uid, shell.decode() or "/bin/sh") for uid, shell in read_with_libc(tmp_path / "passwd")]
    assert [(each.uid, each.shell) for each in users] == told


@pytest.mark.parametrize("name", ["Package", "package", "PACKAGE", "Package "])
def test_fields_of_dpkg_are_read_whatever_their_case(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Packages that dpkg takes for installed would not be listed."""
    rows = f"{name}: a\nSTATUS: install ok installed\nversion: 1\nArchitecture: all\n"
    rows += "Maintainer: x\nDescription: d\n\n"
    monkeypatch.setattr(Others, "asked", True)
    parser_targets.check_packages(rows.encode(), tmp_path)
    (found,) = packages.find_packages(make_tree({"var/lib/dpkg/status": rows.encode()})).value or ()
    assert (found.name, found.version, found.architecture) == ("a", "1", "all")


# --- disks --------------------------------------------------------------------------------------------


def read_volumes(device: bytes) -> list[lvm.LogicalVolume]:
    """What LVM's reader makes of a device whose reads are requests of 64 bits each."""

    def read(at: int, length: int) -> bytes:
        struct.pack("<QQ", at, length)
        return device[at : at + length]

    identifier, text = lvm.read_physical_volume(read)
    return list(lvm.find_volumes(text, {identifier: "/dev/vda1"}))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("pe_start = 2048", "pe_start = -1"),
        lambda text: text.replace("pe_start = 2048", "pe_start = " + "9" * 5000),
        lambda text: text.replace('"pv0", 5', '"pv0", -5'),
        lambda text: text.replace('"pv0", 5', '"pv0", "5 0 zero"'),
        lambda text: text.replace('["pv0", 5]', "[]"),
        lambda text: text.replace('["pv0", 5]', '"pv0"'),
        lambda text: text.replace("extent_count = 10", 'extent_count = "1\n0 1 zero"'),
        lambda text: text.replace("extent_size = 8192", "extent_size = 1_0"),
        lambda text: text.replace("segment_count = 1", "segment_count = \u0661"),
    ],
)
def test_numbers_of_lvm_that_are_none_are_refused(change: Callable[[str], str]) -> None:
    """A volume group could put rows of its own into the table that the kernel gets, or crash the tool."""
    text = change(parser_targets.VOLUME_GROUP)
    assert text != parser_targets.VOLUME_GROUP
    with pytest.raises(ValueError, match="not sound"):
        list(lvm.find_volumes(text, {"abcd": "/dev/vda1"}))


@pytest.mark.parametrize(
    ("area", "length", "start"),
    [(4096, (1 << 64) - 1, (1 << 64) - 2), (4096, (1 << 64) - 4096, 1 << 63), (4096, 1 << 63, 512)],
)
def test_metadata_of_lvm_beyond_all_disks_are_refused(area: int, length: int, start: int) -> None:
    """An offset that wraps around would end the tool with a traceback."""
    text = parser_targets.VOLUME_GROUP.encode()
    with pytest.raises(ValueError, match="lie outside of their area"):
        read_volumes(parser_targets.physical_volume(text, area=area, length=length, start=start))


def test_sparse_qcow2_of_a_million_tables_is_checked_soon(tmp_path: Path) -> None:
    """A file that takes 8 MB on the disk would keep the tool for an hour."""
    image = tmp_path / "disk.qcow2"
    bits, count = 16, 1 << 20
    cluster, per_table = 1 << bits, 1 << bits - 3
    first = 256 * cluster
    header = struct.pack(
        ">4sIQIIQIIQQIIQ",
        *(qcow2.MAGIC, 2, 0, 0, bits, count * per_table * cluster, 0, count, 2 * cluster, cluster, 1, 0, 0),
    )
    with image.open("wb") as file:
        file.write(header)
        file.seek(2 * cluster)
        file.write(struct.pack(f">{count}Q", *(first + number * cluster for number in range(count))))
        file.truncate(first + count * cluster)
    began_s = time.monotonic()
    with open_source(image) as source:
        qcow2.check_complete(source, qcow2.read_header(source))
    assert time.monotonic() - began_s < 60


@pytest.mark.parametrize("data", [b"", b"\0", b"QFI\xfb", b"MZ" + bytes(62), b"070701", b"\x7fELF\x02\x01"])
def test_beginnings_alone_are_refused(data: bytes, tmp_path: Path) -> None:
    """What is cut right behind what tells its kind would end the tool with a traceback."""
    image = tmp_path / "image"
    image.write_bytes(data)
    with pytest.raises(GuestbenchError):
        inspect_file(image, tmp_path)
