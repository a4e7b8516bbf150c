"""The figures of a guest's network side: which of its ports are open, as its own link shows."""

from __future__ import annotations

import msgspec

from guestbench.families.surface.network.link_host import LinkHost
from guestbench.families.surface.network.ports import PortScan, scan
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
        undecided = f"; {found.tcp.undecided:,} not decided: {found.reason}" if found.tcp.undecided else ""
        detail = f"{name_some(found.tcp.open)}{undecided}"
        seen.add("surface.open_tcp", len(found.tcp.open), "ports", detail=detail)
        seen.add("surface.closed_tcp", found.tcp.closed, "ports")
        seen.add("surface.filtered_tcp", found.tcp.filtered, "ports", detail=found.tcp.filtered_ranges[:200])
    if found.tcp_ipv6 is None:
        seen.miss(["surface.open_tcp_ipv6"], found.reason_ipv6 or found.reason)
    else:
        ports = found.tcp_ipv6.open
        seen.add("surface.open_tcp_ipv6", len(ports), "ports", detail=name_some(ports))
    if found.udp is None:
        seen.miss(["surface.open_udp"], found.reason)
    else:
        udp = found.udp
        counted = f"of {udp.asked} asked, {udp.closed} closed, {udp.no_answer} without an answer"
        detail = f"{name_some(udp.open)}; {counted}" if udp.open else counted
        seen.add("surface.open_udp", len(udp.open), "ports", detail=detail)
    return seen
