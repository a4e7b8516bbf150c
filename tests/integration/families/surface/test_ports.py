"""The port scan of real guests on a real QEMU: it shows what listens, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import misbehaving_guest
import msgspec
import pytest

from guestbench import provision
from guestbench.definition.systems import load_catalogue
from guestbench.families.surface.network.link_host import LinkHost
from guestbench.families.surface.network.ports import NO_IPV6, NO_NETWORK, SILENT, PortScan, scan
from guestbench.families.surface.network.tcp_scan import TcpPorts
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import Shell, open_shell
from guestbench.guest.watch import watch_boot
from guestbench.model import Accel, Image, Net, Ok, Platform, Role, System
from guestbench.vmm import Lacking, LaunchSpec, Machine, Need
from guestbench.vmm.qemu.machine import start

pytestmark = pytest.mark.qemu

TCG = Platform(accel=Accel.TCG)
LINK = frozenset({Need.LINK})


class Booted:
    """A guest that is ready, with a host at the other end of its link."""

    def __init__(self, machine: Machine, system: System, log: SerialLog, host: LinkHost | None) -> None:
        self.machine = machine
        self.system = system
        self.log = log
        self.host = host

    def scan(self) -> PortScan:
        """Its ports."""
        found = scan(self.machine, self.log, self.host)
        print(found)  # noqa: T201 the figures, for whoever runs this with -s
        return found

    def enter(self) -> Shell:
        """A shell in it."""
        assert self.system.login is not None
        return open_shell(self.machine, self.system.login, self.log, timeout_s=180.0, meanwhile=self.host)


@contextmanager
def boot(
    system: System, images: dict[Role, Image], folder: Path, platform: Platform = TCG
) -> Iterator[Booted]:
    """A guest, started and waited for until it is ready."""
    spec = LaunchSpec(boot=system.boot, images=images, platform=platform, folder=folder, needs=LINK)
    log = SerialLog()
    with start(spec) as machine:
        host = None if isinstance(machine.link, Lacking) else LinkHost(machine.link)
        booted = watch_boot(machine, system, log, host)
        assert isinstance(booted.outcome, Ok), booted.outcome
        yield Booted(machine, system, log, host)


@contextmanager
def boot_from_catalogue(name: str, folder: Path, platform: Platform = TCG) -> Iterator[Booted]:
    """A guest of the catalogue."""
    catalogue = load_catalogue()
    guest = provision.prepare(catalogue[name], {}, catalogue, say=lambda _: None)
    with boot(guest.system, guest.images, folder, platform) as booted:
        yield booted


def check_complete(found: PortScan, tcp_open: tuple[int, ...], filtered: str = "") -> None:
    """All TCP ports were decided, in time, and these are open and filtered; the rest is closed."""
    assert found.reason == ""
    assert found.address == "10.0.2.15"
    check_ports(found.tcp, tcp_open, filtered)


def check_ipv6(found: PortScan, tcp_open: tuple[int, ...]) -> None:
    """So it is over IPv6, where nothing is filtered."""
    assert found.reason_ipv6 == ""
    assert found.address_ipv6.startswith("fe80::")
    check_ports(found.tcp_ipv6, tcp_open, "")


def check_ports(tcp: TcpPorts | None, tcp_open: tuple[int, ...], filtered: str) -> None:
    """All were decided, and would be within a minute on a quiet host."""
    assert tcp is not None
    assert tcp.open == tcp_open
    assert (tcp.filtered_ranges, tcp.undecided) == (filtered, 0)
    assert tcp.closed == 65535 - len(tcp_open) - tcp.filtered
    assert tcp.duration_s < 5 * 60


@pytest.mark.network
def test_minimal_linux_shows_exactly_what_listens(tmp_path: Path) -> None:
    """The report would say that a guest has no open port when it has one, or the other way round."""
    with boot_from_catalogue("linux-minimal", tmp_path) as guest:
        before = guest.scan()
        check_complete(before, ())
        check_ipv6(before, ())
        assert before.udp is not None
        assert before.udp.open == ()
        assert before.udp.closed == before.udp.asked
        shell = guest.enter()
        listing = "sleep 1; cat /proc/net/tcp /proc/net/tcp6"
        nc = f"nc -l -p 7777 </dev/null >/dev/null 2>&1 & {listing}"
        assert b":1E61 " in shell.run(nc, meanwhile=guest.host).stdout
        during = guest.scan()
        check_complete(during, (7777,))
        check_ipv6(during, (7777,))
        # No connection was made: it would have ended nc.
        assert b":1E61 " in shell.run(listing, meanwhile=guest.host).stdout


@pytest.mark.network
@pytest.mark.image
@pytest.mark.slow
def test_debian_shows_its_name_service_and_what_it_filters(tmp_path: Path) -> None:
    """A firewall's silence would be reported as a closed port, or the one open port of Debian be missed."""
    with boot_from_catalogue("debian-12-nocloud", tmp_path) as guest:
        found = guest.scan()
        check_complete(found, (5355,))
        assert found.udp is not None
        assert found.udp.open == (5355,)
        assert found.udp.closed + found.udp.no_answer == found.udp.asked - 1
        shell = guest.enter()
        rule = shell.run("iptables -A INPUT -p tcp --dport 9999 -j DROP", meanwhile=guest.host)
        assert rule.status == 0, rule.stderr
        found = guest.scan()
        check_complete(found, (5355,), filtered="9999")
        # The rule is one for IPv4.
        check_ipv6(found, (5355,))


@pytest.mark.network
def test_a_guest_resumed_on_a_link_keeps_its_address(tmp_path: Path) -> None:
    """The scan would cost a boot for each system, though there is a snapshot."""
    catalogue = load_catalogue()
    guest = provision.prepare(catalogue["linux-minimal"], {}, catalogue, say=lambda _: None)
    snapshot = provision.take_snapshot(guest, TCG, lambda _: None)
    spec = msgspec.structs.replace(snapshot.launch_spec(tmp_path), needs=LINK)
    with start(spec) as machine:
        assert not isinstance(machine.link, Lacking)
        found = scan(machine, SerialLog(), LinkHost(machine.link))
    check_complete(found, ())


def test_guests_without_a_network_are_results(tmp_path: Path) -> None:
    """The floor would end the whole run, or count as a guest without open ports."""
    for net, reason in ((Net.USER, SILENT), (Net.NONE, NO_NETWORK)):
        platform = msgspec.structs.replace(TCG, net=net)
        with boot_from_catalogue("floor", tmp_path, platform) as guest:
            found = scan(guest.machine, guest.log, guest.host, address_s=1.0)
            assert found == PortScan(reason=reason, reason_ipv6=reason)


def test_a_guest_with_one_open_port_shows_exactly_that(tmp_path: Path) -> None:
    """What is found on guests with an operating system would be theirs and not the scan's merit."""
    with boot(misbehaving_guest.SYSTEM, misbehaving_guest.build(tmp_path), tmp_path) as guest:
        assert re.search(misbehaving_guest.PLACES + rb"\[ready\]", guest.log.data)
        found = guest.scan()
    check_complete(found, (misbehaving_guest.OPEN_PORT,))
    assert found.reason_ipv6 == NO_IPV6
    assert found.tcp is not None
    assert found.tcp.sent == 65535
    assert found.udp is not None
    assert (found.udp.open, found.udp.no_answer) == ((), found.udp.asked)
