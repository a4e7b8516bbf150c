"""A guest under scan: where it is, what is sent to it, and what comes from it; it judges no port."""

from __future__ import annotations

import time
from collections.abc import Iterable

from guestbench.families.surface.network.link_host import (
    HOST_IPV6,
    LEASE,
    ROUTER,
    Arrival,
    LinkHost,
    make_packet,
)
from guestbench.families.surface.network.packets import (
    Arp,
    ArpOperation,
    Ipv4,
    Neighbour,
    NeighbourKind,
    Protocol,
    Udp,
)
from guestbench.guest.console import FLOOD_BYTES
from guestbench.guest.serial import SerialLog
from guestbench.vmm import Machine

ENDED = "the guest ended during the scan"
LOST = "the guest stopped answering ARP during the scan"
FLOODS = "the guest floods its console"

ASK_S = 0.25
LOST_S = 5.0
"""A guest that is asked all the while and has answered nothing for so long is lost."""


class Stop(Exception):
    """The scan cannot go on; its text says why."""


class Watch:
    """Listens to the link, and reads the console every now and then: a guest stops if nobody does."""

    CONSOLE_S = 0.02

    def __init__(self, machine: Machine, log: SerialLog, host: LinkHost) -> None:
        self._machine = machine
        self._log = log
        self._began_bytes = len(log.data)
        self._console_due_s = 0.0
        self.host = host

    def listen(self, timeout_s: float) -> list[Arrival]:
        """What comes on the link within `timeout_s` or a little less. Raises Stop if the guest has ended."""
        now_s = time.monotonic()
        if now_s >= self._console_due_s:
            self._read_console()
            self._console_due_s = now_s + self.CONSOLE_S
        if self.host.link.is_closed:
            raise Stop(ENDED)
        return self.host.serve(min(max(timeout_s, 0.0), self.CONSOLE_S))

    def _read_console(self) -> None:
        chunk = self._machine.read_serial(0.0)
        if chunk is None:
            return
        if not chunk.data:
            raise Stop(ENDED)
        self._log.append(chunk)
        if len(self._log.data) - self._began_bytes > FLOOD_BYTES:
            raise Stop(FLOODS)

    def find_guest(self, timeout_s: float) -> Arp | None:
        """The guest's answer to ARP requests for the addresses it may have; None if none came in time."""
        end_s = time.monotonic() + timeout_s
        due_s = 0.0
        while (now_s := time.monotonic()) < end_s:
            if now_s >= due_s:
                due_s = now_s + ASK_S
                wanted = {LEASE: None} | dict.fromkeys(reversed(self.host.candidates))
                self.host.link.send(*(self._ask(address) for address in wanted))
            for arrival in self.listen(due_s - now_s):
                if _is_reply(arrival) and arrival.source in wanted and isinstance(arrival.content, Arp):
                    return arrival.content
        return None

    def find_guest_ipv6(self, timeout_s: float) -> bytes | None:
        """The guest's IPv6 address of the link, if it answers for one that it may have."""
        end_s = time.monotonic() + timeout_s
        due_s = 0.0
        while (now_s := time.monotonic()) < end_s:
            if now_s >= due_s:
                due_s = now_s + ASK_S
                usual = _make_link_address(self.host.guest_mac)
                wanted = dict.fromkeys((*reversed(self.host.candidates_ipv6), usual))
                self.host.link.send(*(self.host.ask_ipv6(address, HOST_IPV6) for address in wanted))
            for arrival in self.listen(due_s - now_s):
                if _is_reply(arrival) and arrival.source in wanted:
                    return arrival.source
        return None

    def _ask(self, address: bytes) -> bytes:
        # A guest of another network would not answer a stranger to it.
        sender = ROUTER if address[:3] == ROUTER[:3] else self.host.adopt(address)[0]
        return self.host.ask(address, sender)


def _is_reply(arrival: Arrival) -> bool:
    match arrival.content:
        case Arp() as arp:
            return arp.operation == ArpOperation.REPLY
        case Neighbour() as neighbour:
            return neighbour.kind == NeighbourKind.ADVERTISEMENT and neighbour.target == arrival.source
    return False


def _make_link_address(mac: bytes) -> bytes:
    """The address that an interface has unless it is told otherwise (RFC 4291, appendix A)."""
    return HOST_IPV6[:8] + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]


class Target:
    """The guest's address, and the means to send to it and to hear from it."""

    def __init__(self, watch: Watch, address: bytes, mac: bytes) -> None:
        self._watch = watch
        self.address = address
        self.mac = mac
        self.sources = watch.host.adopt(address)
        self.heard_s = time.monotonic()

    def packet(self, source: bytes, protocol: Protocol, payload: bytes) -> bytes:
        """A frame to the guest."""
        packet = make_packet(source, self.address, protocol, payload)
        return self._watch.host.frame(packet, to=self.mac)

    def datagram(self, source: bytes, group: bytes | None, datagram: Udp) -> bytes:
        """A frame with a UDP datagram to the guest, or to a multicast group (RFC 1112 has its MAC)."""
        to = group or self.address
        packet = Ipv4(
            source=source, destination=to, protocol=Protocol.UDP, payload=datagram.encode(source, to)
        )
        mac = b"\x01\x00\x5e" + bytes([to[1] & 127]) + to[2:] if group else self.mac
        return self._watch.host.frame(packet, to=mac)

    def ask(self, number: int) -> bytes:
        """A frame with an ARP request; `answered` finds this number, modulo how many sources there are."""
        host, source = self._watch.host, self.sources[number % len(self.sources)]
        ask = host.ask if len(self.address) == len(ROUTER) else host.ask_ipv6
        return ask(self.address, source, to=self.mac)

    def answered(self, arrival: Arrival) -> int | None:
        """The number of the ARP request that the guest answers."""
        if not _is_reply(arrival) or arrival.destination not in self.sources:
            return None
        return self.sources.index(arrival.destination)

    def send(self, frames: Iterable[bytes]) -> bool:
        """Send them all, or none and False."""
        return self._watch.host.link.send(*frames)

    def listen(self, timeout_s: float) -> list[Arrival]:
        """What the guest sends from its address."""
        arrivals = [each for each in self._watch.listen(timeout_s) if each.source == self.address]
        if arrivals:
            self.heard_s = time.monotonic()
        return arrivals

    def check(self) -> None:
        """Raise Stop unless the guest still answers ARP."""
        end_s = time.monotonic() + LOST_S
        while time.monotonic() < end_s:
            self.send([self.ask(0)])
            ask_again_s = time.monotonic() + ASK_S
            while (left_s := ask_again_s - time.monotonic()) > 0:
                if any(self.answered(arrival) is not None for arrival in self.listen(left_s)):
                    return
        raise Stop(LOST)
