"""The Alpine guest, built from archives like Alpine's and booted on a real QEMU.

Kernel, modules and busybox are Debian's: what is tried is how archives become a guest that boots, not Alpine.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import pytest
from alpine_site import Site, netboot_initramfs, pack, path_of, recipe, serve

from guestbench import provision
from guestbench.definition.systems import load_catalogue
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import open_shell
from guestbench.guest.watch import watch_boot
from guestbench.host import process
from guestbench.model import Accel, Guest, Ok, Platform
from guestbench.provision import cache
from guestbench.provision.packages import PrivateApt
from guestbench.provision.recipes.debian_initramfs import BUSYBOX_PACKAGE
from guestbench.vmm import LaunchSpec, find_vmm

PLATFORM = Platform(accel=Accel.TCG)
LOGIN_S = 180.0
IN_SBIN = {"getty", "init", "insmod", "ip", "reboot", "poweroff", "udhcpc"}


def publish(site: Site, folder: Path) -> None:
    """Put archives on the server that hold what Alpine's hold, made of Debian's kernel and busybox."""
    apt = PrivateApt(folder / "apt", "bookworm")
    kernel = next(each for each in apt.depends("linux-image-cloud-amd64") if each.startswith("linux-image-"))
    unpacked = folder / "unpacked"
    apt.unpack([kernel, BUSYBOX_PACKAGE], unpacked)
    (vmlinuz,) = unpacked.glob("boot/vmlinuz-*")
    modules = {
        path.stem: path.read_bytes() for path in unpacked.glob("lib/modules/*/kernel/drivers/**/*virtio*.ko")
    }
    modules |= {
        path.stem: path.read_bytes() for path in unpacked.glob("lib/modules/*/kernel/**/*failover.ko")
    }
    (built_in,) = unpacked.glob("lib/modules/*/modules.builtin")
    initramfs = netboot_initramfs(modules, built_in.read_text())
    site.publish(
        path_of(recipe().kernel.url),
        pack({"boot/vmlinuz-virt": vmlinuz.read_bytes(), "boot/initramfs-virt": initramfs}),
    )
    busybox = unpacked / "bin" / "busybox"
    applets = process.run([busybox, "--list"]).stdout.decode().split()
    links = {
        f"./{'sbin' if each in IN_SBIN else 'bin'}/{each}": "/bin/busybox"
        for each in applets
        if each != "busybox"
    }
    files = {
        "./bin/busybox": busybox.read_bytes(),
        "./etc/passwd": b"root:x:0:0:root:/root:/bin/sh\n",
        "./etc/group": b"root:x:0:\n",
        "./etc/shadow": b"root:*::0:::::\n",
        "./etc/securetty": b"console\ntty1\n",
        "./etc/alpine-release": b"0.0.0\n",
        "./etc/inittab": b"::sysinit:/sbin/openrc sysinit\n",
    }
    folders = {f"./{each}/": b"" for each in ("bin", "etc", "proc", "root", "sbin", "sys", "tmp")}
    site.publish(path_of(recipe().root.url), pack({**folders, **files}, links))


def check_that_it_works(guest: Guest, folder: Path) -> None:
    """Boot, log in as root, and use the network."""
    spec = LaunchSpec(boot=guest.system.boot, images=guest.images, platform=PLATFORM, folder=folder)
    with find_vmm(PLATFORM.vmm).start(spec) as machine:
        log = SerialLog()
        result = watch_boot(machine, guest.system, log)
        assert isinstance(result.outcome, Ok), result.outcome.reason
        names = [mark.name for mark in result.marks]
        assert names == ["first byte", *(each.name for each in guest.system.milestones), "ready"]
        assert guest.system.login is not None
        shell = open_shell(machine, guest.system.login, log, timeout_s=LOGIN_S)
        answer = shell.run("cat /etc/alpine-release; id -u; cut -d' ' -f1 /proc/modules | sort")
        assert answer.stdout.decode().split()[:2] == ["0.0.0", "0"]
        assert "virtio_net" in answer.stdout.decode().split()
        # DHCP goes on beside the login prompt.
        waiting = "until ip -4 address show eth0 | grep -q inet; do sleep 1; done; ip -4 address show eth0"
        assert b"inet 10.0.2.15/24" in shell.run(waiting, timeout_s=LOGIN_S).stdout
        assert b"1 packets received" in shell.run("ping -c 1 10.0.2.2").stdout


@pytest.mark.qemu
@pytest.mark.network
def test_alpine_has_a_login_a_shell_and_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest would be built of verified archives and then not boot, or nobody could log in."""
    with serve() as site:
        publish(site, tmp_path)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setenv("GUESTBENCH_MIRROR", site.url)
        catalogue = load_catalogue()
        guest = provision.build(catalogue["alpine"], catalogue, lambda _: None)
    provision.check(guest)
    (folder,) = (cache.cache_folder() / "images").glob("alpine-*/")
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=cache.Manifest)
    assert recipe().kernel.url in manifest.made.source
    assert gzip.decompress((folder / "initrd.gz").read_bytes()).startswith(b"070701")
    check_that_it_works(guest, tmp_path)
