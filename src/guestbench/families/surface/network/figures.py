"""The figures of a guest's network side: which of its ports are open, as its own link shows."""

from __future__ import annotations

import msgspec

from guestbench.families.surface.network.link_host import LinkHost
from guestbench.families.surface.network.ports import PORTS, PortScan, scan
from guestbench.families.surface.network.tcp_scan import TcpPorts
from guestbench.families.surface.seen import Seen, name_some
from guestbench.guest.serial import SerialLog
from guestbench.vmm import Machine

TCP_METRICS = ("surface.open_tcp", "surface.closed_tcp", "surface.filtered_tcp")


def find_ports(machine: Machine, log: SerialLog, host: LinkHost | None) -> Seen:
    """Scan a guest that has booted with `host` at the other end of its link (None: it has no network)."""
    return describe_ports(scan(machine, log, host))


def describe_ports(found: PortScan) -> Seen:
    """What a scan found. A filter of IPv4 says nothing of IPv6, so that the latter is told by itself."""
    seen = Seen()
    seen.raw["ports.json"] = msgspec.json.format(msgspec.json.encode(found), indent=2)
    if found.tcp is None:
        seen.miss(TCP_METRICS, found.reason)
    else:
        tcp = found.tcp
        _count_ports(seen, "surface.open_tcp", tcp, len(tcp.open), _name_open(tcp), found.reason)
        _count_ports(seen, "surface.closed_tcp", tcp, tcp.closed, "", found.reason)
        ranges = tcp.filtered_ranges[:200]
        _count_ports(seen, "surface.filtered_tcp", tcp, tcp.filtered, ranges, found.reason)
    if found.tcp_ipv6 is None:
        seen.miss(["surface.open_tcp_ipv6"], found.reason_ipv6 or found.reason)
    else:
        tcp = found.tcp_ipv6
        reason = found.reason_ipv6 or found.reason
        _count_ports(seen, "surface.open_tcp_ipv6", tcp, len(tcp.open), _name_open(tcp), reason)
    if found.udp is None:
        seen.miss(["surface.open_udp"], found.reason)
    else:
        udp = found.udp
        counted = f"of {udp.asked} asked, {udp.closed} closed, {udp.no_answer} without an answer"
        detail = f"{name_some(udp.open)}; {counted}" if udp.open else counted
        seen.add("surface.open_udp", len(udp.open), "ports", detail=detail)
    return seen


def _count_ports(seen: Seen, metric: str, tcp: TcpPorts, count: int, detail: str, reason: str) -> None:
    """Take a number of ports; where some are not decided it is a range, which is no figure."""
    if tcp.undecided:
        certain = f"; for certain: {detail}" if detail else ""
        most = count + tcp.undecided
        seen.miss(
            [metric],
            f"between {count:,} and {most:,}: {tcp.undecided:,} ports were not decided, {reason}{certain}",
        )
    else:
        seen.add(metric, count, "ports", detail=detail)


def _name_open(tcp: TcpPorts) -> str:
    every = len(tcp.open) == len(PORTS)
    return "it answers on every port, whatever is behind it" if every else name_some(tcp.open)
