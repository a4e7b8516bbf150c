"""Reading real disk images, made here without root: partitions, files inside, sizes."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guestbench.errors import ImageError
from guestbench.host import process
from guestbench.images.check import check_bootable
from guestbench.images.formats import disk, partitions
from guestbench.images.formats.partitions import open_partition
from guestbench.images.inspection import Partition
from guestbench.images.source import open_source
from guestbench.model import Disk, DiskFormat, GuestFamily, Role, System

MIB = 1 << 20
ROOT_AT, OTHER_AT = 4 * MIB, 20 * MIB
LINUX_ROOT, LINUX_DATA = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
HOSTILE_NAMES = ('a "quoted" b', "new\nline", "-R", "<2>", "tab\there", "$(id)", "ünï", "a?offset=0")
GUEST = System(
    name="guest", title="Guest", family=GuestFamily.LINUX, boot=Disk(), ready="login: ", timeout_s=1
)


def fill_root(root: Path) -> None:
    """A root file system in small, with merged /usr and links as Debian has them."""
    for folder in ("etc", "usr/sbin", "usr/lib", "boot", "srv"):
        (root / folder).mkdir(parents=True)
    (root / "usr/lib/os-release").write_text("ID=debian\n")
    (root / "etc/os-release").symlink_to("../usr/lib/os-release")
    (root / "sbin").symlink_to("usr/sbin")
    (root / "usr/sbin/init").write_text("init")
    for release in ("6.1.0-9-amd64", "6.1.0-37-amd64"):
        (root / f"boot/vmlinuz-{release}").write_bytes(release.encode() * 1000)
        (root / f"boot/initrd.img-{release}").write_bytes(release.encode() * 3000)
    (root / "vmlinuz").symlink_to("boot/vmlinuz-6.1.0-37-amd64")
    (root / "absolute").symlink_to("/etc/../vmlinuz")
    (root / "up").symlink_to("../../../../etc/os-release")
    (root / "loop").symlink_to("loop")
    (root / "far").symlink_to("srv/" + "../srv/" * 20 + "name")
    (root / "srv/name").write_text("through a slow link")
    for name in HOSTILE_NAMES:
        (root / "srv" / name).write_text(f"I am {name!r}")


def make_filesystem(raw: Path, offset: int, size_kib: int, tree: Path | None, kind: str = "ext4") -> None:
    """Put a file system into a raw disk with mke2fs."""
    content: list[str | Path] = ["-d", tree] if tree else []
    process.run(["mke2fs", "-q", "-F", "-t", kind, *content, "-E", f"offset={offset}", raw, f"{size_kib}k"])


def partition(raw: Path, table: str) -> None:
    """Write a partition table with sfdisk."""
    process.run(["sfdisk", "-q", raw], input=table.encode())


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that becomes the root file system."""
    folder = tmp_path_factory.mktemp("tree")
    fill_root(folder)
    return folder


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory, tree: Path) -> Path:
    """A GPT disk with a BIOS boot partition, a larger data partition and the root, under a hard name."""
    path = tmp_path_factory.mktemp("disk ?offset=1") / "a disk?offset=7, 'x'.raw"
    with path.open("wb") as file:
        file.truncate(64 * MIB)
    table = "label: gpt\nunit: sectors\n"
    table += "14 : start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649\n"
    table += f"2 : start={OTHER_AT // 512}, size={40 * MIB // 512}, type={LINUX_DATA}\n"
    table += f"1 : start={ROOT_AT // 512}, size={16 * MIB // 512}, type={LINUX_ROOT}\n"
    partition(path, table)
    make_filesystem(path, ROOT_AT, 16 * 1024, tree)
    make_filesystem(path, OTHER_AT, 40 * 1024, None)
    return path


def list_files(raw: Path, partition: Partition, folder: str) -> tuple[str, ...]:
    """The names in a folder."""
    with open_source(raw) as source:
        return open_partition(source, partition).list_folder(folder)


def extract(raw: Path, partition: Partition, path: str, dest: Path) -> None:
    """Copy a file out."""
    with open_source(raw) as source:
        open_partition(source, partition).extract(path, dest)


def find_partitions(raw: Path) -> tuple[Partition, ...]:
    """The partitions of a raw disk."""
    with open_source(raw) as source:
        return partitions.find_partitions(source)


def find_root(raw: Path) -> Partition:
    """The partition with the root file system."""
    with open_source(raw) as source:
        return partitions.find_root(source)


@pytest.fixture(scope="module")
def root(raw: Path) -> Partition:
    """The root partition of `raw`."""
    return find_root(raw)


def test_partitions_are_found_with_their_file_systems(raw: Path) -> None:
    """Nothing inside a disk could be measured."""
    found = find_partitions(raw)
    assert [(p.number, p.start_bytes, p.size_bytes, p.content) for p in found] == [
        (1, ROOT_AT, 16 * MIB, "ext4"),
        (2, OTHER_AT, 40 * MIB, "ext4"),
        (14, MIB, MIB, ""),
    ]
    assert found[0].type == LINUX_ROOT


def test_root_is_the_partition_with_a_system_on_it(root: Partition) -> None:
    """A large data partition would be measured as the guest's root."""
    assert root.number == 1


@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4"])
def test_disk_without_partition_table_is_one_file_system(tmp_path: Path, tree: Path, kind: str) -> None:
    """Images that hold a file system alone could not be read."""
    path = tmp_path / "whole1"
    make_filesystem(path, 0, 8 * 1024, tree, kind)
    found = find_root(path)
    assert (found.number, found.start_bytes, found.content) == (0, 0, kind)
    extract(path, found, "/sbin/init", tmp_path / "init")
    assert (tmp_path / "init").read_text() == "init"


def test_mbr_disk_is_read_like_a_gpt_disk(tmp_path: Path, tree: Path) -> None:
    """Older disk images could not be read."""
    path = tmp_path / "mbr"
    path.write_bytes(b"")
    with path.open("r+b") as file:
        file.truncate(24 * MIB)
    partition(path, "label: dos\n1 : start=2048, size=4096, type=82\n3 : start=8192, type=83\n")
    make_filesystem(path, ROOT_AT, 16 * 1024, tree)
    assert [(p.number, p.type) for p in find_partitions(path)] == [(1, "82"), (3, "83")]
    assert find_root(path).number == 3


def test_disk_without_a_root_is_refused(tmp_path: Path) -> None:
    """The error would not say what the disk holds instead."""
    path = tmp_path / "empty"
    path.write_bytes(b"\0" * MIB)
    with pytest.raises(ImageError, match=r"no ext4 file system with a root folder \(found: no partition\)"):
        find_root(path)


def test_hostile_file_names_are_listed_as_they_are(raw: Path, root: Partition) -> None:
    """A file name in an image could be taken for another file, or for a command of debugfs."""
    assert list_files(raw, root, "/srv") == tuple(sorted((*HOSTILE_NAMES, "name")))


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_file_names_are_extracted(raw: Path, root: Partition, tmp_path: Path, name: str) -> None:
    """A file with quotes, spaces or newlines in its name would be mixed up with another."""
    extract(raw, root, f"/srv/{name}", tmp_path / "out")
    assert (tmp_path / "out").read_text() == f"I am {name!r}"
    with open_source(raw) as source:
        file = open_partition(source, root).find_file(f"/srv/{name}")
    assert file.size_bytes == len(f"I am {name!r}".encode())


@pytest.mark.parametrize(
    ("path", "start"),
    [
        ("/vmlinuz", b"6.1.0-37-amd64"),
        ("/absolute", b"6.1.0-37-amd64"),
        ("/up", b"ID=debian"),
        ("/etc/os-release", b"ID=debian"),
        ("//sbin/../sbin/./init", b"init"),
        ("/far", b"through a slow link"),
    ],
)
def test_links_are_followed_inside_the_image(
    raw: Path, root: Partition, tmp_path: Path, path: str, start: bytes
) -> None:
    """/vmlinuz could not be extracted, or a link could lead to a file of the host."""
    extract(raw, root, path, tmp_path / "out")
    assert (tmp_path / "out").read_bytes().startswith(start)


@pytest.mark.parametrize("path", ["/loop", "/none", "/boot", "/etc/os-release/x", "/", "/boot/../.."])
def test_what_is_no_file_is_refused(raw: Path, root: Partition, tmp_path: Path, path: str) -> None:
    """A link to itself would hang the tool, and a missing kernel leave an empty file behind."""
    with pytest.raises(ImageError, match="has no file"):
        extract(raw, root, path, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_missing_folder_is_refused(raw: Path, root: Partition) -> None:
    """A folder that is not there would look empty."""
    for folder in ("/none", "/vmlinuz"):
        with pytest.raises(ImageError, match=f"has no folder {folder}"):
            list_files(raw, root, folder)


@pytest.mark.parametrize("options", [[], ["-b", "4096"], ["-O", "^64bit,^has_journal"]])
def test_usage_agrees_with_dumpe2fs(tmp_path: Path, tree: Path, options: list[str]) -> None:
    """The used bytes of a root file system would be wrong in the report."""
    path = tmp_path / "whole"
    process.run(["mke2fs", "-q", "-F", "-t", "ext4", *options, "-d", tree, path, "30M"])
    words = process.run(["dumpe2fs", "-h", path]).stdout.decode()
    said = {name: int(value) for name, value in re.findall(r"^([\w ]+): +(\d+)$", words, re.MULTILINE)}
    with open_source(path) as source:
        usage = open_partition(source, find_root(path)).superblock
    assert usage.block_bytes == said["Block size"]
    assert usage.blocks == said["Block count"]
    assert usage.free_blocks == said["Free blocks"]
    assert usage.used_bytes == (said["Block count"] - said["Free blocks"]) * said["Block size"]


def to_qcow2(raw: Path, path: Path, *options: str) -> Path:
    """A qcow2 copy of a raw disk."""
    process.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, raw, path])
    return path


@pytest.mark.parametrize(
    "options", [(), ("-c",), ("-c", "-o", "compression_type=zstd"), ("-o", "compat=0.10")]
)
def test_qcow2_is_converted_to_the_same_sparse_disk(
    raw: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    """What is measured inside a disk would depend on its container, or fill the host's disk."""
    image = to_qcow2(raw, tmp_path / "a b.qcow2", *options)
    info = disk.read_info(image)
    assert (info.format, info.virtual_bytes) == (DiskFormat.QCOW2, 64 * MIB)
    copy = tmp_path / "copy"
    disk.convert_to_raw(image, copy)
    assert copy.stat().st_blocks * 512 < 16 * MIB
    assert copy.read_bytes() == raw.read_bytes()


def test_raw_image_is_never_probed(raw: Path, tmp_path: Path) -> None:
    """A guest that writes another format's header to its raw disk could make QEMU open files of the host."""
    assert disk.read_info(raw).format is DiskFormat.RAW
    disk.convert_to_raw(raw, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == raw.read_bytes()


def test_files_named_in_an_image_are_not_opened(tmp_path: Path) -> None:
    """A downloaded image could copy a secret of the host into the results."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 1000)
    overlay = tmp_path / "overlay.qcow2"
    process.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", secret, "-F", "raw", overlay])
    with pytest.raises(ImageError, match="is an overlay of"):
        disk.read_info(overlay)
    with pytest.raises(ImageError, match="is an overlay of"):
        disk.convert_to_raw(overlay, tmp_path / "copy")
    with pytest.raises(ImageError, match="is an overlay of"):
        check_bootable(GUEST, Role.DISK, overlay)

    external = tmp_path / "external.qcow2"
    process.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={tmp_path}/data", external, "1M"]
    )
    for read in (disk.read_info, lambda image: disk.convert_to_raw(image, tmp_path / "copy")):
        with pytest.raises(ImageError, match="keeps its data in another file"):
            read(external)


@pytest.mark.parametrize("options", [(), ("-c",), ("-o", "cluster_size=4k"), ("-o", "extended_l2=on")])
def test_boot_sector_is_checked_inside_qcow2(raw: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    """A qcow2 image without a boot loader would be booted until it times out."""
    image = to_qcow2(raw, tmp_path / "blank.qcow2", *options)
    with pytest.raises(ImageError, match="there is no boot code"):
        check_bootable(GUEST, Role.DISK, image)
    bootable = tmp_path / "bootable"
    bootable.write_bytes(b"\xeb\xfe" + raw.read_bytes()[2:])
    image = to_qcow2(bootable, tmp_path / "bootable.qcow2", *options)
    check_bootable(GUEST, Role.DISK, image)


LAYOUTS = [
    (),
    ("-c",),
    ("-c", "-o", "compression_type=zstd"),
    ("-o", "cluster_size=4k"),
    ("-o", "extended_l2=on"),
    ("-o", "preallocation=metadata"),
    ("-o", "compat=0.10"),
]


@pytest.mark.parametrize("options", LAYOUTS)
def test_broken_off_download_is_noticed(raw: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    """Of a disk that is cut off the first packages would be counted, and it would boot until it reads on."""
    image = to_qcow2(raw, tmp_path / "image.qcow2", *options)
    whole = image.stat().st_size
    for kept in (0.97, 0.88, 0.6, 0.3, 0.02):
        os.truncate(image, int(whole * kept))
        for read in (lambda path: check_bootable(GUEST, Role.DISK, path), disk.read_info):
            with pytest.raises(ImageError, match=r"is truncated: .* the file at byte"):
                read(image)


@pytest.mark.parametrize("options", LAYOUTS)
@pytest.mark.parametrize("size_bytes", [10 * MIB, 10 * MIB + 5 * 512, 3 * 512])
def test_whole_disk_of_any_size_and_layout_is_not_taken_for_a_cut_one(
    tmp_path: Path, options: tuple[str, ...], size_bytes: int
) -> None:
    """A sound disk whose last cluster is not full would be refused."""
    raw = tmp_path / "raw"
    chunks = {0: 600, size_bytes // 2: 700, max(0, size_bytes - 600): 600}
    with raw.open("wb") as file:
        file.truncate(size_bytes)
        for at, length in chunks.items():
            file.seek(at)
            file.write(random.Random(at).randbytes(min(length, size_bytes - at)))
    assert disk.read_info(to_qcow2(raw, tmp_path / "image.qcow2", *options)).virtual_bytes == size_bytes


def test_disk_that_was_written_to_by_a_guest_is_not_taken_for_a_cut_one(tmp_path: Path) -> None:
    """A disk with a few clusters of all kinds, as a VMM leaves it, would be refused."""
    image = tmp_path / "image.qcow2"
    process.run(["qemu-img", "create", "-q", "-f", "qcow2", image, str(10 * MIB + 512)])
    for command in ("write 5M 512", "write -z 6M 128k", "write -c 7M 64k", "write 10M 512", "discard 5M 64k"):
        process.run(["qemu-io", "-c", command, image])
        disk.read_info(image)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(
            st.one_of(
                st.integers(0, 17 * 512),
                st.integers(ROOT_AT + 1024, ROOT_AT + 1024 + 300),
                st.integers(ROOT_AT + 2048, ROOT_AT + 300 * 1024),
            ),
            st.binary(min_size=1, max_size=64),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_damaged_disks_raise_only_image_errors(
    raw: Path, tmp_path: Path, changes: list[tuple[int, bytes]]
) -> None:
    """A damaged file system would end a run with a traceback."""
    path = tmp_path / "damaged"
    contents = bytearray(raw.read_bytes()[: 21 * MIB])
    for offset, change in changes:
        contents[offset : offset + len(change)] = change
    path.write_bytes(bytes(contents))
    with path.open("r+b") as file:
        file.truncate(64 * MIB)
    try:
        found = find_root(path)
        list_files(path, found, "/boot")
        extract(path, found, "/vmlinuz", tmp_path / "out")
    except ImageError as error:
        assert str(path) in error.message


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    changes=st.lists(
        st.tuples(st.integers(4, 300) | st.integers(0, 5 << 16), st.binary(min_size=1, max_size=16)),
        min_size=1,
        max_size=6,
    )
)
def test_damaged_qcow2_images_raise_only_image_errors(
    raw: Path, tmp_path: Path, changes: list[tuple[int, bytes]]
) -> None:
    """A damaged image would end a run with a traceback."""
    path = tmp_path / "damaged.qcow2"
    good = tmp_path / "good.qcow2"
    if not good.exists():
        to_qcow2(raw, good)
    contents = bytearray(good.read_bytes())
    for offset, change in changes:
        contents[offset : offset + len(change)] = change
    path.write_bytes(bytes(contents))
    for read in (disk.read_info, lambda image: check_bootable(GUEST, Role.DISK, image)):
        try:
            read(path)
        except ImageError as error:
            assert error.message.startswith(str(path))
