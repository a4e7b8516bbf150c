"""Which ports of a guest are open, seen from its own link; it asks the guest nothing and starts no VM.

All 65,535 TCP ports and the commonest UDP ports of the guest's IPv4 address are tried, see `tcp_scan` and
`udp_scan`; then the TCP ports of its IPv6 address of the link: a firewall may know only one of the two.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from msgspec.structs import replace

from guestbench.families.surface.network.link_host import LinkHost
from guestbench.families.surface.network.scan_target import Stop, Target, Watch
from guestbench.families.surface.network.tcp_scan import TcpPorts, TcpScan
from guestbench.families.surface.network.udp_scan import UdpPorts, UdpScan
from guestbench.guest.serial import SerialLog
from guestbench.model import Frozen
from guestbench.vmm import Machine

PORTS = range(1, 65536)

NO_NETWORK = "the guest has no network"
NO_ADDRESS = "the guest has no address on the link"
SILENT = "the guest sent nothing on the link"
NO_IPV6 = "the guest answers for no IPv6 address on the link"
LATE = "the scan took too long"

ADDRESS_S = 20.0
"""How long a ready guest may take to have an address: some ask for one beside their login prompt."""
IPV6_S = 2.0
"""How long to ask for its IPv6 address. Guests make one a second or two after they have a network."""
TCP_S = 120.0
"""How long the TCP ports may take."""


class PortScan(Frozen):
    """A guest's network side. With a `reason`, not everything could be scanned, or nothing.

    `tcp` and `udp` are None where there was no address to scan, or the scan did not get that far; so is
    `tcp_ipv6`, for the address of the link, and `reason_ipv6` says why. UDP is not scanned over IPv6.
    """

    address: str = ""
    mac: str = ""
    tcp: TcpPorts | None = None
    udp: UdpPorts | None = None
    reason: str = ""
    address_ipv6: str = ""
    tcp_ipv6: TcpPorts | None = None
    reason_ipv6: str = ""


def scan(
    machine: Machine,
    log: SerialLog,
    host: LinkHost | None,
    *,
    ports: Sequence[int] = PORTS,
    address_s: float = ADDRESS_S,
    tcp_s: float = TCP_S,
) -> PortScan:
    """Scan a guest that has booted with `host` at the other end of its link (None: it has no network).

    The console is read meanwhile, into `log`. Waits `address_s` seconds for the guest to have an address, and
    gives up on TCP ports after `tcp_s`. A guest that has no address, or goes away, is a result, not an error.
    """
    if host is None:
        return PortScan(reason=NO_NETWORK, reason_ipv6=NO_NETWORK)
    watch = Watch(machine, log, host)
    found = PortScan()
    try:
        guest = watch.find_guest(address_s)
        if guest is None:
            found = replace(found, reason=NO_ADDRESS if host.heard else SILENT)
        else:
            address, mac = guest
            found = replace(found, address=socket.inet_ntoa(address), mac=mac.hex(":"))
            target = Target(watch, address, mac)
            tcp = TcpScan(target, ports, tcp_s)
            try:
                tcp.run()
            finally:
                found = replace(found, tcp=tcp.to_ports(), reason=LATE if tcp.is_late else "")
            udp = UdpScan(target)
            try:
                udp.run()
            finally:
                found = replace(found, udp=udp.to_ports())
    except Stop as stop:
        return replace(found, reason=str(stop), reason_ipv6=str(stop))
    return _scan_ipv6(watch, found, ports, tcp_s)


def _scan_ipv6(watch: Watch, found: PortScan, ports: Sequence[int], tcp_s: float) -> PortScan:
    if not watch.host.heard:
        return replace(found, reason_ipv6=SILENT)
    try:
        guest = watch.find_guest(IPV6_S, ipv6=True)
        if guest is None:
            return replace(found, reason_ipv6=NO_IPV6)
        found = replace(found, address_ipv6=socket.inet_ntop(socket.AF_INET6, guest[0]))
        tcp = TcpScan(Target(watch, *guest), ports, tcp_s)
        try:
            tcp.run()
        finally:
            found = replace(found, tcp_ipv6=tcp.to_ports(), reason_ipv6=LATE if tcp.is_late else "")
    except Stop as stop:
        return replace(found, reason_ipv6=str(stop))
    return found
