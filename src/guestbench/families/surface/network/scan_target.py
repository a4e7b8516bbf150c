"""A guest under scan: where it is, what is sent to it, and what comes from it; it judges no port."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from guestbench.families.surface.network.link_host import (
    HOST_IPV6,
    LEASE,
    ROUTER,
    Arrival,
    Content,
    LinkHost,
    make_packet,
)
from guestbench.families.surface.network.packets import Arp, ArpOperation, Neighbour, NeighbourKind
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
            self._console_due_s = now_s + self.CONSOLE_S
            chunk = self._machine.read_serial(0.0)
            if chunk is not None:
                if not chunk.data:
                    raise Stop(ENDED)
                self._log.append(chunk)
                if len(self._log.data) - self._began_bytes > FLOOD_BYTES:
                    raise Stop(FLOODS)
        if self.host.link.is_closed:
            raise Stop(ENDED)
        return self.host.serve(min(max(timeout_s, 0.0), self.CONSOLE_S))

    def find_guest(self, timeout_s: float, *, ipv6: bool = False) -> tuple[bytes, bytes] | None:
        """The first address of the guest's for which it answers, and its MAC address; None if none in time.

        With `ipv6` that is an address of the link.
        """
        end_s = time.monotonic() + timeout_s
        due_s = 0.0
        while (now_s := time.monotonic()) < end_s:
            if now_s >= due_s:
                due_s = now_s + ASK_S
                wanted = self._list_addresses_ipv6() if ipv6 else self._list_addresses()
                self.host.link.send(*(self.host.ask(each, sender) for each, sender in wanted.items()))
            for arrival in self.listen(due_s - now_s):
                if _is_reply(arrival) and arrival.source in wanted:
                    told = arrival.content
                    return arrival.source, told.sender_mac if isinstance(told, Arp) else self.host.guest_mac
        return None

    def _list_addresses(self) -> dict[bytes, bytes]:
        """The addresses that the guest may have, each with that which asks for it."""
        # A guest of another network would not answer a stranger to it.
        return {
            address: ROUTER if address[:3] == ROUTER[:3] else self.host.adopt(address)[0]
            for address in (LEASE, *reversed(self.host.candidates))
        }

    def _list_addresses_ipv6(self) -> dict[bytes, bytes]:
        # The last is the one that an interface has unless it is told otherwise (RFC 4291, appendix A).
        mac = self.host.guest_mac
        usual = HOST_IPV6[:8] + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
        return dict.fromkeys((*reversed(self.host.candidates_ipv6), usual), HOST_IPV6)


def _is_reply(arrival: Arrival) -> bool:
    match arrival.content:
        case Arp(operation=ArpOperation.REPLY):
            return True
        case Neighbour(kind=NeighbourKind.ADVERTISEMENT, target=target):
            return target == arrival.source
    return False


class Target:
    """The guest's address, and the means to send to it and to hear from it."""

    def __init__(self, watch: Watch, address: bytes, mac: bytes) -> None:
        self._watch = watch
        self.address = address
        self.mac = mac
        self.sources = watch.host.adopt(address)
        self.heard_s = time.monotonic()

    def frame(self, source: bytes, content: Content, group: bytes = b"") -> bytes:
        """A frame to the guest, or to a multicast group (RFC 1112 has its MAC)."""
        packet = make_packet(source, group or self.address, content)
        mac = b"\x01\x00\x5e" + bytes([group[1] & 127]) + group[2:] if group else self.mac
        return self._watch.host.frame(packet, to=mac)

    def ask(self, number: int) -> bytes:
        """A frame with an ARP request; `answered` finds this number, modulo how many sources there are."""
        return self._watch.host.ask(self.address, self.sources[number % len(self.sources)], to=self.mac)

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

    def listen_for(self, seconds: float) -> Iterator[Arrival]:
        """What the guest sends in so many seconds, as it comes."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            yield from self.listen(left_s)

    def check(self) -> None:
        """Raise Stop unless the guest still answers ARP."""
        end_s = time.monotonic() + LOST_S
        while time.monotonic() < end_s:
            self.send([self.ask(0)])
            if any(self.answered(arrival) is not None for arrival in self.listen_for(ASK_S)):
                return
        raise Stop(LOST)
