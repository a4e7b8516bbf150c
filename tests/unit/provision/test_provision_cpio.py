"""The initial ramdisk: the archive format, and what goes into the minimal Linux guest."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cpio_archive import unpack

from guestbench.errors import HostError
from guestbench.provision import cpio, initramfs
from guestbench.provision.initramfs import module_entries


def test_archive_holds_what_went_in() -> None:
    """The kernel would find damaged files, or none."""
    packed = cpio.pack(
        {
            "a": cpio.regular_file(b"12345"),
            "bin/sh": cpio.symbolic_link("busybox"),
            "bin/busybox": cpio.regular_file(b"\x7fELF", executable=True),
            "dev/console": cpio.character_device(5, 1),
        }
    )
    entries = unpack(packed)
    assert entries["a"] == (stat.S_IFREG | 0o644, b"12345")
    assert entries["bin/sh"] == (stat.S_IFLNK | 0o777, b"busybox")
    assert entries["bin/busybox"][0] == stat.S_IFREG | 0o755
    assert stat.S_ISCHR(entries["dev/console"][0])


def test_folders_come_before_what_is_in_them() -> None:
    """The kernel drops files whose folder does not exist yet."""
    names = list(unpack(cpio.pack({"etc/init.d/x": cpio.regular_file(b"")})))
    assert names == ["etc", "etc/init.d", "etc/init.d/x"]


def test_archive_does_not_depend_on_the_order_of_entries() -> None:
    """Two builds of the same recipe would have different digests."""
    one, two = cpio.regular_file(b"1"), cpio.regular_file(b"2")
    assert cpio.pack({"a": one, "b": two}) == cpio.pack({"b": two, "a": one})


def test_scripts_of_the_tree_are_executable_whatever_their_mode(tmp_path: Path) -> None:
    """An installation that loses file modes would build a guest whose init cannot run its scripts."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "rc").write_text("#!/bin/sh\n")
    (tmp_path / "etc" / "inittab").write_text("::sysinit:/etc/rc\n")
    entries = initramfs.tree_entries(initramfs.tree_sources(tmp_path.parent, tmp_path.name))
    assert entries["etc/rc"].mode & 0o111
    assert not entries["etc/inittab"].mode & 0o111


@pytest.mark.parametrize("mode", [0o4755, 0o600, 0o755, 0o640, 0o2711, 0o444])
def test_files_of_the_tree_keep_their_modes(tmp_path: Path, mode: int) -> None:
    """A program that a user adds could not be run in the guest, or a secret be read by all there."""
    (tmp_path / "root" / "bin").mkdir(parents=True)
    file = tmp_path / "root" / "bin" / "tool"
    file.write_bytes(b"\x7fELF")
    file.chmod(mode)
    entries = initramfs.tree_entries(initramfs.tree_sources(tmp_path, "root"))
    assert unpack(cpio.pack(entries))["bin/tool"] == (stat.S_IFREG | mode, b"\x7fELF")


def make_module(folder: Path, name: str, depends: str) -> None:
    """A file with the part of a kernel module that is looked at."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.ko").write_bytes(
        b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0retpoline=Y\0"
    )


def test_modules_come_after_those_they_need(tmp_path: Path) -> None:
    """The network driver would not load, and the guest would have no network."""
    modules = tmp_path / "lib" / "modules" / "6.1"
    make_module(modules, "virtio_net", "net_failover,virtio")
    make_module(modules, "net_failover", "failover")
    make_module(modules, "failover", "")
    make_module(modules, "virtio", "")
    make_module(modules, "other", "")
    entries = module_entries(tmp_path, ["virtio_net"])
    order = entries["etc/modules"].data.decode().split()
    names = [Path(line).stem for line in order]
    assert names == ["failover", "net_failover", "virtio", "virtio_net"]
    assert all(line.lstrip("/") in entries for line in order)


def test_unknown_module_is_named(tmp_path: Path) -> None:
    """A recipe with a mistyped module would build a guest without it."""
    with pytest.raises(HostError, match="no module virtio_nett"):
        module_entries(tmp_path, ["virtio_nett"])
