"""Looking into disks by the inspector guest: partition tables, volumes, and the layouts of distributions."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import disks
import msgspec
import pytest
from disks import (
    MIB,
    RELEASE,
    Part,
    files_of,
    fill_boot,
    fill_root,
    fill_usr,
    inspect,
    make_ext,
    make_gpt,
    opened,
    tree_of,
    without_size,
)

from guestbench.errors import ImageError
from guestbench.host import process
from guestbench.images.contents.linux import find_boot_files
from guestbench.images.inspection import FileSystem

pytestmark = [pytest.mark.qemu, pytest.mark.network]


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
        for point, name in (("/", "root"), ("/opt", "home"))
    ]
    root = fill_root(
        tmp_path / "root",
        with_boot=False,
        fstab="\n".join([*lines, "LABEL=boot\\040x /boot ext4 defaults 1 2\n"]),
    )
    (root / "tmp").chmod(0o755)
    (root / "opt").mkdir()
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
    assert [each.path for each in files.suid.value or ()] == ["/opt/of-home", "/usr/bin/tool"]
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
