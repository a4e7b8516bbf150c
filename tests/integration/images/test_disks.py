"""Looking into disks by the inspector guest: every file system, table and layout that a Linux lies in."""

from __future__ import annotations

import os
import re
import shutil
import stat
import struct
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import disks
import msgspec
import pytest
from disks import MIB, RELEASE, Part, files_of, fill_boot, fill_root, fill_usr, inspect, make_ext, make_gpt

from guestbench.errors import HostError, ImageError
from guestbench.host import process
from guestbench.images.contents import files as contents
from guestbench.images.contents.linux import find_boot_files
from guestbench.images.formats.volumes import PROBED_BYTES, find_content
from guestbench.images.inspection import FileSystem, Inspection
from guestbench.images.inspector import inspect_image
from guestbench.images.system import DiskSystem, open_system
from guestbench.images.tree import Tree

pytestmark = [pytest.mark.qemu, pytest.mark.network]

HOSTILE_NAMES = (
    'a "quoted" b',
    "new\nline",
    "-R",
    "<2>",
    "tab\there",
    "$(id)",
    "ünï",
    "esc\x1b[31m",
    "a?offset=0",
)
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
"""cap_net_raw=ep, as ping has it."""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that becomes a root file system, with nothing that a file system cannot keep."""
    root = fill_root(tmp_path_factory.mktemp("tree") / "root")
    (root / "tmp").chmod(0o755)
    return root


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system with names, links and attributes that are hard to keep."""
    root = fill_root(tmp_path_factory.mktemp("hard") / "root")
    (root / "usr/bin/again").hardlink_to(root / "usr/bin/tool")
    (root / "srv/loop").symlink_to("loop")
    (root / "srv/absolute").symlink_to("/etc/../srv/zeros")
    (root / "srv/up").symlink_to("../../../../etc/os-release")
    (root / "srv/long").symlink_to("x" * 900)
    (root / "usr/lib/many").mkdir()
    for number in range(1500):
        (root / f"usr/lib/many/a-name-that-is-rather-long-{number}").touch()
    for name in HOSTILE_NAMES:
        (root / "srv" / name).write_text(f"I am {name!r}")
    os.close(os.open(os.fsencode(root / "srv") + b"/latin\xe9", os.O_CREAT | os.O_WRONLY))
    return root


@pytest.fixture(scope="module")
def ext4(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system as one ext4."""
    return make_ext(tree, tmp_path_factory.mktemp("image") / "ext4", "-t", "ext4")


@pytest.fixture(scope="module")
def inventory(ext4: Path, tmp_path_factory: pytest.TempPathFactory) -> FileSystem:
    """What is in the root, whatever it lies in."""
    return without_size(inspect(ext4, tmp_path_factory.mktemp("scratch")))


def without_size(found: Inspection) -> FileSystem:
    """The files of an image but the number of all entries: some file systems have folders of their own."""
    return msgspec.structs.replace(files_of(found), entries=0)


@contextmanager
def opened(image: Path, scratch: Path) -> Iterator[DiskSystem]:
    """The system in an image."""
    with open_system(image, disks.get_inspector(), scratch) as found:
        yield found


def tree_of(found: DiskSystem) -> Tree:
    """The files of a system, which must be known."""
    assert found.tree.value is not None, found.tree.unknown
    return found.tree.value


# --- file systems -------------------------------------------------------------------------------------

KINDS: dict[str, Callable[[Path, Path], Path]] = {
    "ext4 bigalloc": lambda tree, image: make_ext(tree, image, "-t", "ext4", "-b", "1024", "-O", "bigalloc"),
    "ext4 inline": lambda tree, image: make_ext(tree, image, "-t", "ext4", "-O", "inline_data", "-I", "256"),
    "ext4 meta_bg": lambda tree, image: make_ext(tree, image, "-t", "ext4", "-O", "meta_bg,^resize_inode"),
    "ext3": lambda tree, image: make_ext(tree, image, "-t", "ext3", "-b", "1024"),
    "ext2": lambda tree, image: make_ext(tree, image, "-t", "ext2"),
    "xfs": disks.make_xfs,
    "btrfs": disks.make_btrfs,
    "erofs": disks.make_erofs,
    "erofs lz4": lambda tree, image: disks.make_erofs(tree, image, "-zlz4hc"),
    "squashfs xz": lambda tree, image: disks.make_squashfs(tree, image, "-comp", "xz"),
    "squashfs zstd": lambda tree, image: disks.make_squashfs(tree, image, "-comp", "zstd"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_inventory_is_the_same_in_every_file_system(
    kind: str, tree: Path, inventory: FileSystem, tmp_path: Path
) -> None:
    """A distribution would seem to have no packages or users only because of its file system."""
    image = KINDS[kind](tree, tmp_path / "image")
    found = inspect(image, tmp_path)
    assert without_size(found) == inventory
    assert found.notes == ()
    assert (found.used_bytes or 0) > 0
    assert [p.content for p in found.partitions or ()] == [kind.split()[0]]


def test_inventory_itself_is_right(inventory: FileSystem) -> None:
    """All file systems could agree on the wrong figures."""
    assert [p.name for p in inventory.packages.value or ()] == ["a", "c"]
    assert [f.path for f in inventory.suid.value or ()] == ["/usr/bin/tool"]
    assert [f.path for f in inventory.sgid.value or ()] == ["/usr/bin/script"]
    assert [f.path for f in inventory.world_writable.value or ()] == ["/open"]
    assert [u.name for u in inventory.users.value or ()] == ["root", "user"]
    assert inventory.executables.value is not None
    assert (inventory.executables.value.elf, inventory.executables.value.scripts) == (1, 2)
    assert inventory.distribution.value is not None
    assert inventory.distribution.value.title == "Small 7"
    assert inventory.kernel.value == f"vmlinuz-{RELEASE}"
    assert (inventory.kernel_bytes.value, inventory.initrd_bytes.value) == (6000, 18000)
    assert inventory.kernel_config.value is not None
    assert (inventory.kernel_config.value.builtin, inventory.kernel_config.value.modules) == (1, 1)


@pytest.mark.parametrize("kind", ["ext4", "btrfs", "squashfs"])
def test_every_entry_is_found_as_it_is(kind: str, hard: Path, tmp_path: Path) -> None:
    """A file would be missing, or have another name, mode, owner, link or contents."""
    image = tmp_path / "image"
    make = {"ext4": lambda t, i: make_ext(t, i, "-t", "ext4"), "btrfs": disks.make_btrfs}
    make.get(kind, disks.make_squashfs)(hard, image)
    if kind == "ext4":
        (tmp_path / "value").write_bytes(CAPABILITY)
        command = f"ea_set -f {tmp_path / 'value'} /usr/bin/script security.capability"
        process.run(["debugfs", "-w", "-R", command, image])
    with opened(image, tmp_path) as system:
        found = {entry.path: entry for entry in tree_of(system)}
        there = {os.fsencode(path.relative_to(hard)): path for path in hard.rglob("*")}
        assert set(found) - {b"lost+found"} == {b"", *there}
        for name, path in there.items():
            facts, entry = path.lstat(), found[name]
            assert (entry.mode, entry.uid, entry.gid) == (facts.st_mode, facts.st_uid, facts.st_gid), name
            if stat.S_ISREG(facts.st_mode):
                assert entry.size_bytes == facts.st_size
                assert tree_of(system).read(entry, 10) == path.read_bytes()[:10]
            if stat.S_ISLNK(facts.st_mode):
                assert os.fsdecode(entry.link) == str(path.readlink())
        assert found[b"usr/bin/tool"].inode == found[b"usr/bin/again"].inode
        zeros = tree_of(system).find_file("srv/absolute")
        assert zeros is not None
        assert tree_of(system).read_whole(zeros, 4 * MIB) == (hard / "srv/zeros").read_bytes()
        assert tree_of(system).find("srv/loop") is None
        if kind == "ext4":
            capable = contents.find_capabilities(tree_of(system)).value
            assert [(each.path, each.detail) for each in capable or ()] == [
                ("/usr/bin/script", "cap_net_raw=ep")
            ]


@pytest.mark.parametrize("options", [[], ["-b", "4096"], ["-O", "^64bit,^has_journal"], ["-O", "bigalloc"]])
def test_used_bytes_agree_with_dumpe2fs(tree: Path, tmp_path: Path, options: list[str]) -> None:
    """The used bytes of a root file system would be wrong in the report."""
    image = make_ext(tree, tmp_path / "image", "-t", "ext4", *options)
    words = process.run(["dumpe2fs", "-h", image]).stdout.decode()
    said = {name: int(value) for name, value in re.findall(r"^([\w ]+): +(\d+)$", words, re.MULTILINE)}
    found = inspect(image, tmp_path)
    assert found.used_bytes == (said["Block count"] - said["Free blocks"]) * said["Block size"]


@pytest.mark.parametrize("kind", ["ext4 bigalloc", "ext2", "xfs", "btrfs", "erofs", "vfat"])
def test_identifiers_and_labels_are_those_that_blkid_tells(kind: str, tree: Path, tmp_path: Path) -> None:
    """What /etc/fstab names by UUID or LABEL would not be found."""
    image = tmp_path / "image"
    if kind == "vfat":
        disks.make_vfat(fill_boot(tmp_path / "boot"), image, "A LABEL")
    else:
        KINDS[kind](tree, image)
    told = process.run(["blkid", "--probe", "--output", "export", image]).stdout.decode()
    said = dict(line.split("=", 1) for line in told.splitlines())
    with image.open("rb") as file:
        content = find_content(file.read(PROBED_BYTES))
    assert (content.name, content.uuid) == (said["TYPE"], said["UUID"])
    assert content.label == said.get("LABEL", "").replace("\\ ", " ")


# --- tables and layouts -------------------------------------------------------------------------------


@pytest.mark.parametrize("sector_bytes", [512, 4096])
def test_disks_of_both_sizes_of_sectors_are_read(
    sector_bytes: int, tree: Path, inventory: FileSystem, tmp_path: Path
) -> None:
    """Of a disk made for 4096-byte sectors the table would not be found, or small blocks not be mounted."""
    image = make_ext(tree, tmp_path / "image", "-t", "ext4", "-b", "1024")
    parts = [Part(None, disks.BIOS, number=14), Part(image, disks.ROOT, number=1)]
    found = inspect(make_gpt(tmp_path / "disk", parts, sector_bytes), tmp_path)
    assert without_size(found) == inventory
    assert [(p.number, p.content, p.is_root) for p in found.partitions or ()] == [
        (1, "ext4", True),
        (14, "", False),
    ]
    assert [(p.start_bytes, p.size_bytes) for p in found.partitions or ()] == [
        (2 * MIB, 24 * MIB),
        (MIB, MIB),
    ]
    assert (found.partitions or ())[0].type == disks.ROOT


def test_logical_partition_of_an_mbr_is_read(ext4: Path, inventory: FileSystem, tmp_path: Path) -> None:
    """An older disk's root beyond the fourth partition would not be seen."""
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(40 * MIB)
    table = (
        "label: dos\n1: start=2048, size=4096, type=82\n2: start=8192, type=5\n5: start=16384, size=49152\n"
    )
    process.run(["sfdisk", "-q", image], input=table.encode())
    with image.open("r+b") as file:
        file.seek(16384 * 512)
        file.write(ext4.read_bytes())
    found = inspect(image, tmp_path)
    assert without_size(found) == inventory
    assert [(p.number, p.is_root) for p in found.partitions or ()] == [(1, False), (2, False), (5, True)]


def test_file_system_whose_first_sector_looks_like_a_table_is_read(
    ext4: Path, inventory: FileSystem, tmp_path: Path
) -> None:
    """The signature of a boot sector alone would be taken for a partition table."""
    image = disks.copy(ext4, tmp_path / "image")
    with image.open("r+b") as file:
        file.write(b"\xfa" * 446 + bytes(range(64)) + b"\x55\xaa")
    assert without_size(inspect(image, tmp_path)) == inventory


@pytest.mark.parametrize("kept", [0.97, 0.6, 0.3])
def test_disk_that_is_cut_is_refused(ext4: Path, tmp_path: Path, kept: float) -> None:
    """Of a download that broke off the first files would be counted."""
    image = make_gpt(tmp_path / "disk", [Part(ext4, disks.ROOT)])
    os.truncate(image, int(image.stat().st_size * kept) // 512 * 512)
    with pytest.raises(ImageError, match=r"is truncated: .* ends at byte"):
        inspect(image, tmp_path)


def test_table_that_linux_does_not_take_is_refused(ext4: Path, tmp_path: Path) -> None:
    """A damaged table would be an empty disk, or one partition that covers all."""
    image = make_gpt(tmp_path / "disk", [Part(ext4, disks.ROOT)])
    size = image.stat().st_size
    with image.open("r+b") as file:
        for at in (512 + 40, size - 512 + 40):
            file.seek(at)
            file.write(b"\xff")
    with pytest.raises(ImageError, match="a partition table that Linux does not take"):
        inspect(image, tmp_path)


def test_disk_without_anything_known_is_refused(tmp_path: Path) -> None:
    """A file of zeros would be a system without packages."""
    (tmp_path / "image").write_bytes(bytes(MIB))
    with pytest.raises(ImageError, match="no disk with partitions or a known file system"):
        inspect(tmp_path / "image", tmp_path)


def test_disk_without_a_root_says_what_is_on_it(tmp_path: Path) -> None:
    """A data disk would be a system with no users."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("x")
    found = inspect(make_ext(tmp_path / "data", tmp_path / "image"), tmp_path)
    assert found.files is not None
    assert found.files.value is None
    assert found.files.unknown == "no root file system can be read (found: ext2)"


def test_ubuntu_s_layout(tmp_path: Path, inventory: FileSystem) -> None:
    """Of Ubuntu 24.04's cloud image the kernel would be missing, which has a partition of its own."""
    fstab = "LABEL=cloudimg-rootfs / ext4 discard 0 1\nLABEL=BOOT /boot ext4 defaults 0 2\n"
    root = fill_root(
        tmp_path / "root", with_boot=False, fstab=f"{fstab}LABEL=UEFI /boot/efi vfat umask=0077 0 1\n"
    )
    (root / "tmp").chmod(0o755)
    boot = fill_boot(tmp_path / "boot")
    (boot / "efi").mkdir()
    esp = tmp_path / "esp"
    (esp / "EFI/ubuntu").mkdir(parents=True)
    (esp / "EFI/ubuntu/grub.cfg").write_text("configfile")
    parts = [
        Part(make_ext(root, tmp_path / "r", "-t", "ext4", "-L", "cloudimg-rootfs"), disks.ROOT, number=1),
        Part(None, disks.BIOS, number=14),
        Part(disks.make_vfat(esp, tmp_path / "e", "UEFI"), disks.ESP, number=15),
        Part(make_ext(boot, tmp_path / "b", "-t", "ext4", "-L", "BOOT"), number=16),
    ]
    disk = make_gpt(tmp_path / "disk", parts)
    assert without_size(found := inspect(disk, tmp_path)) == inventory
    assert found.notes == ()
    with opened(disk, tmp_path) as system:
        names = {entry.path for entry in tree_of(system)}
        assert b"boot/efi/EFI/ubuntu/grub.cfg" in names
        newest = find_boot_files(tree_of(system))
    assert newest is not None
    assert newest[0].path == f"boot/vmlinuz-{RELEASE}".encode()


def test_rocky_s_layout(tmp_path: Path, inventory: FileSystem) -> None:
    """Of Rocky's and RHEL's images, on LVM and xfs, there would be nothing to see."""
    identifier = str(uuid.uuid4())
    fstab = f"/dev/mapper/small--vg-root / xfs defaults 0 0\nUUID={identifier} /boot xfs defaults 0 0\n"
    root = fill_root(
        tmp_path / "root", with_boot=False, fstab=f"{fstab}/dev/small-vg/swap none swap defaults 0 0\n"
    )
    (root / "tmp").chmod(0o755)
    boot = disks.make_xfs(fill_boot(tmp_path / "boot"), tmp_path / "b", "-m", f"uuid={identifier}")
    swap = tmp_path / "swap"
    swap.write_bytes(bytes(5 * MIB))
    volumes = {"swap": swap, "root": disks.make_xfs(root, tmp_path / "r")}
    parts = [Part(boot), Part(disks.make_lvm(tmp_path / "pv", volumes), disks.LVM)]
    found = inspect(make_gpt(tmp_path / "disk", parts), tmp_path)
    assert without_size(found) == inventory
    assert found.notes == ()
    roots = [(p.number, p.volume) for p in found.partitions or () if p.is_root]
    assert roots == [(2, "small-vg/root")]


@pytest.mark.parametrize("default", [False, True])
def test_fedora_s_layout(tmp_path: Path, inventory: FileSystem, *, default: bool) -> None:
    """Of Fedora's image the root would not be found in its subvolume, or what is in others be missing."""
    identifier, esp = str(uuid.uuid4()), tmp_path / "esp"
    lines = [
        f"UUID={identifier} {point} btrfs subvol={name} 0 0"
        for point, name in (("/", "root"), ("/home", "home"))
    ]
    root = fill_root(
        tmp_path / "root",
        with_boot=False,
        fstab="\n".join([*lines, "LABEL=boot\\040x /boot ext4 defaults 1 2\n"]),
    )
    (root / "tmp").chmod(0o755)
    (root / "home").mkdir()
    image = disks.make_btrfs(root, tmp_path / "r", "-U", identifier)
    names = ["root", "home", "snapshots"]
    disks.make_subvolumes(image, tmp_path, names, sorted(path.name for path in root.iterdir()))
    esp.mkdir()
    (esp / "file").write_text("x")
    boot = make_ext(fill_boot(tmp_path / "boot"), tmp_path / "b", "-t", "ext4", "-L", "boot x")
    parts = [Part(disks.make_vfat(esp, tmp_path / "e"), disks.ESP), Part(boot), Part(image)]
    found = inspect(make_gpt(tmp_path / "disk", parts), tmp_path)
    files = without_size(found)
    # What another subvolume holds is there, and of what nothing mounts there is nothing.
    assert [each.path for each in files.suid.value or ()] == ["/home/of-home", "/usr/bin/tool"]
    assert msgspec.structs.replace(files, suid=inventory.suid) == inventory
    assert found.notes == ()


def test_flatcar_s_layout(tmp_path: Path, inventory: FileSystem) -> None:
    """Of Flatcar's image, whose /usr has two slots, there would be nothing to see, or the wrong slot."""
    esp = tmp_path / "esp"
    (esp / "flatcar").mkdir(parents=True)
    (esp / "flatcar/vmlinuz-a").write_bytes(b"kernel" * 1000)
    usr, other = fill_usr(tmp_path / "usr"), fill_usr(tmp_path / "other")
    (other / "bin/tool").chmod(0o755)
    state = tmp_path / "state"
    (state / "home").mkdir(parents=True)
    parts = [
        Part(disks.make_vfat(esp, tmp_path / "e", "EFI-SYSTEM"), disks.ESP, "EFI-SYSTEM"),
        Part(make_ext(other, tmp_path / "a", "-t", "ext4"), disks.FLATCAR_USR, "USR-A", attributes=1 << 48),
        Part(disks.make_erofs(usr, tmp_path / "b"), disks.FLATCAR_USR, "USR-B", attributes=2 << 48),
        Part(make_ext(state, tmp_path / "s", "-t", "ext4", "-L", "ROOT"), disks.DATA, "ROOT", number=9),
    ]
    found = inspect(make_gpt(tmp_path / "disk", parts), tmp_path)
    files = files_of(found)
    assert files.suid == inventory.suid
    assert files.executables == inventory.executables
    assert files.distribution.value == (inventory.distribution.value)
    assert files.kernel.value == "vmlinuz-a"
    # What is made at the first boot is not zero.
    assert files.users.value is None
    assert files.packages.value is None
    assert any("/usr: the rest of it is made when it boots" in note for note in found.notes)
    assert "partition 2 holds another /usr, which is not looked at" in found.notes


def test_usr_of_its_own_is_put_in_its_place(tmp_path: Path, inventory: FileSystem) -> None:
    """A root whose programs are on another partition would have none."""
    root = fill_root(tmp_path / "root", with_usr=False)
    (root / "tmp").chmod(0o755)
    usr = disks.make_erofs(fill_usr(tmp_path / "usr"), tmp_path / "u")
    parts = [Part(usr, disks.USR), Part(make_ext(root, tmp_path / "r"), disks.ROOT)]
    found = inspect(make_gpt(tmp_path / "disk", parts), tmp_path)
    assert without_size(found) == inventory
    assert found.notes == ()


def test_usr_that_is_not_on_the_disk_leaves_the_system_unknown(tmp_path: Path) -> None:
    """A root without its programs would be a system that has none."""
    fstab = "LABEL=elsewhere /usr ext4 ro 0 0\n"
    image = make_ext(fill_root(tmp_path / "root", with_usr=False, fstab=fstab), tmp_path / "image")
    found = inspect(image, tmp_path)
    assert found.files is not None
    assert found.files.value is None
    assert "no /usr that can be read" in found.files.unknown


def test_other_mounts_that_are_not_on_the_disk_are_named(tmp_path: Path) -> None:
    """Files on another disk would be missing without a word."""
    lines = (
        "/dev/vdz1 /data ext4 defaults 0 0",
        "server:/x /nfs nfs defaults 0 0",
        "tmpfs /var/log tmpfs size=1M 0 0",
    )
    fstab = "\n".join([*lines, ""])
    found = inspect(make_ext(fill_root(tmp_path / "root", fstab=fstab), tmp_path / "image"), tmp_path)
    assert files_of(found).entries > 20
    assert found.notes == ("/etc/fstab mounts other file systems, which are not looked at: /data, /nfs",)


def test_second_root_is_named(ext4: Path, inventory: FileSystem, tmp_path: Path) -> None:
    """Half of an A/B image would be passed over without a word."""
    parts = [Part(ext4, disks.ROOT, "A"), Part(ext4, disks.ROOT, "B")]
    found = inspect(make_gpt(tmp_path / "disk", parts), tmp_path)
    assert without_size(found) == inventory
    assert found.notes == ("partition 2 holds another root file system, which is not looked at",)


def test_striped_volume_is_read(ext4: Path, inventory: FileSystem, tmp_path: Path) -> None:
    """A volume on several disks would be read in the wrong order."""
    found = inspect(disks.make_lvm(tmp_path / "pv", {"root": ext4}, stripes=2), tmp_path)
    assert without_size(found) == inventory


def test_volume_that_cannot_be_read_is_named(ext4: Path, tmp_path: Path) -> None:
    """A thin volume would make a system of zeros."""
    found = inspect(disks.make_lvm(tmp_path / "pv", {"root": ext4}, kind="thin"), tmp_path)
    assert found.files is not None
    assert found.files.unknown.endswith("volume small-vg/root: it is of type thin")


def test_encrypted_disk_says_so(tmp_path: Path) -> None:
    """A disk that nobody can read would be a system of zeros."""
    image = tmp_path / "image"
    image.write_bytes(b"LUKS\xba\xbe\0\2" + bytes(2 * MIB - 8))
    found = inspect(image, tmp_path)
    assert found.files is not None
    assert found.files.unknown == "no root file system can be read (found: encrypted (LUKS))"


# --- damage -------------------------------------------------------------------------------------------


def test_journal_that_was_not_replayed_is_told(ext4: Path, tmp_path: Path) -> None:
    """Whoever inspects a disk of a running guest would not know that its newest changes are missing."""
    image = disks.copy(ext4, tmp_path / "image")
    process.run(["debugfs", "-w", "-R", "feature needs_recovery", image])
    before = image.read_bytes()
    found = inspect(image, tmp_path)
    files_of(found)
    assert any("what only its journal holds is not seen" in note for note in found.notes)
    assert image.read_bytes() == before


HOLED = "usr/lib/many"


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        (["link <2> /srv/again"], "damaged file system"),
        (["link /usr /usr/lib/again"], "damaged file system"),
        ([f"punch /{HOLED} 1 1"], "files are in use that no folder names"),
        (["set_inode_field /usr mode 0100644"], "files are in use that no folder names"),
        (["clri /usr/bin/tool"], "damaged file system"),
        (["set_inode_field /var/lib/dpkg/status block[0] 0xffffff"], "damaged"),
    ],
)
def test_damage_is_told_and_never_counted(
    hard: Path, tmp_path: Path, commands: list[str], words: str
) -> None:
    """Of a damaged disk what can still be read would be taken for all, or a loop of folders hang the tool."""
    image = make_ext(
        hard, tmp_path / "image", "-t", "ext4", "-b", "1024", "-O", "^metadata_csum,^64bit,^extent,^dir_index"
    )
    for command in commands:
        process.run(["debugfs", "-w", "-R", command, image])
    found = inspect(image, tmp_path)
    assert found.files is not None
    reasons = [found.files.unknown]
    if found.files.value is not None:
        reasons = [found.files.value.packages.unknown, found.files.value.executables.unknown]
    assert any(re.search(words, reason) for reason in reasons), (reasons, found.notes)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "erofs", "squashfs"])
def test_file_system_with_random_damage_is_told_or_whole(
    kind: str, tree: Path, inventory: FileSystem, tmp_path: Path
) -> None:
    """A damaged file system would end the tool with a traceback, hang it, or give other figures."""
    image = tmp_path / "image"
    make = KINDS | {"ext4": lambda t, i: make_ext(t, i, "-t", "ext4"), "squashfs": disks.make_squashfs}
    make[kind](tree, image)
    with image.open("r+b") as file:
        # From behind the superblocks on: in the metadata that come first, a byte in each 4 KiB.
        for at in range(20 << 10, min(image.stat().st_size, 2 * MIB), 4096):
            file.seek(at + 100)
            file.write(b"\xa5")
    try:
        found = inspect(image, tmp_path)
    except ImageError as error:
        assert str(image) in error.message
        return
    assert found.files is not None
    if found.files.value is not None:
        for name in ("suid", "users", "executables"):
            fact, right = getattr(found.files.value, name), getattr(inventory, name)
            assert fact == right or fact.unknown, name


# --- what was found before, and what is not there -----------------------------------------------------


def test_second_look_at_the_same_disk_starts_nothing(
    ext4: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run and each command would look into the same disk for seconds."""
    inspector = msgspec.structs.replace(disks.get_inspector(), kept=str(tmp_path / "kept"))
    first = inspect_image(ext4, tmp_path, lambda: (inspector, "digest"))
    monkeypatch.setenv("PATH", "/nowhere")
    copy = shutil.copy(ext4, tmp_path / "other-name")
    again = inspect_image(Path(copy), tmp_path, lambda: (inspector, "digest"))
    assert again == msgspec.structs.replace(first, file="other-name")
    for path in (tmp_path / "kept").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(HostError):
        inspect_image(ext4, tmp_path, lambda: (inspector, "digest"))


def test_qemu_that_does_not_start_is_an_error_of_the_host(ext4: Path, tmp_path: Path) -> None:
    """A broken QEMU would be told as a damaged disk."""
    inspector = disks.get_inspector()
    gone = msgspec.structs.replace(inspector.kernel, path="/nonexistent/kernel")
    broken = msgspec.structs.replace(inspector, kernel=gone, kept=str(tmp_path / "kept"))
    with pytest.raises(HostError, match=r"the inspector guest does not run: .*/nonexistent/kernel"):
        inspect_image(ext4, tmp_path, lambda: (broken, "digest"))
    assert sorted(path.name for path in tmp_path.iterdir()) == []
