"""QEMU's options for a disk of tools and for ports that are forwarded, and what it says of those."""

from __future__ import annotations

from pathlib import Path

from factories import make_guest, make_system

from guestbench.model import DiskFormat, Kernel, Net, Platform
from guestbench.vmm import LaunchSpec
from guestbench.vmm.qemu.command import build_argv, build_interactive_argv
from guestbench.vmm.qemu.monitor import parse_forwards

PLATFORM = Platform()


def spec(**fields: object) -> LaunchSpec:
    """How a guest with a disk of its own is started."""
    guest = make_guest(make_system("debian", boot=Kernel(disk=DiskFormat.QCOW2)))
    defaults = {"boot": guest.system.boot, "images": guest.images, "platform": PLATFORM, "folder": Path()}
    return LaunchSpec(**(defaults | fields))  # type: ignore[arg-type]


def test_the_tools_disk_comes_last_and_can_only_be_read() -> None:
    """The guest would boot from the tools disk, or write to it."""
    plain, argv = build_argv(spec()), build_argv(spec(tools=Path("/srv/a,b/kit.ext4")))
    added = argv[len(plain) :]
    assert argv[: len(plain)] == plain
    assert added == (
        *("-drive", "file=/srv/a,,b/kit.ext4,format=raw,read-only=on,if=none,id=tools"),
        *("-device", "virtio-blk-pci,drive=tools,serial=guestbench,addr=0x10"),
    )


def test_ports_are_forwarded_from_this_host_alone() -> None:
    """A guest's services would be open to the network that the host is in."""
    argv = build_argv(spec(forwards=(7, 80)))
    assert "user,id=n0,restrict=on,hostfwd=tcp:127.0.0.1:0-:7,hostfwd=tcp:127.0.0.1:0-:80" in argv
    assert "user,id=n0,restrict=on" in build_argv(spec())
    without = build_argv(spec(forwards=(7,), platform=Platform(net=Net.NONE)))
    assert not any("hostfwd" in word for word in without)
    assert not any("hostfwd" in word for word in build_interactive_argv(spec(forwards=(7,))))


USERNET = """Hub -1 (n0):\r
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r
  TCP[HOST_FORWARD]  14       127.0.0.1 40217       10.0.2.15     7     0     0\r
  TCP[HOST_FORWARD]  13       127.0.0.1 35111       10.0.2.15    80     0     0\r
  TCP[SYN_SENT]      20       127.0.0.1 50000       10.0.2.15     9     0     0\r
  UDP[236 sec]       35       10.0.2.15    53       10.0.2.3     53     0     0\r
  ICMP[1 sec]        36       10.0.2.15     1       10.0.2.2      1     0     0\r
"""


def test_forwarded_ports_are_those_that_qemu_says() -> None:
    """The host would talk to another port than the guest's."""
    assert parse_forwards(USERNET) == {7: 40217, 80: 35111}
    assert parse_forwards("") == {}
