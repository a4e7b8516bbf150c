"""A tiny host at the other end of a guest's link, as a user network would be; it forwards nothing.

It is the router 10.0.2.2 and the name server 10.0.2.3: it answers ARP and ping, leases 10.0.2.15 to a guest
that asks, refuses connections, and fails every look-up. So a guest boots as on the user network of a host
that is off line; but of IPv6 there are only the addresses of the link, no router advertises others. It has to
be called while the guest boots: give it to whatever waits for the guest as `meanwhile`. What the guest sends
teaches it the guest's addresses.
"""

from __future__ import annotations

import socket
from enum import IntEnum
from typing import NamedTuple

from guestbench.families.surface.network.packets import (
    BROADCAST_ADDRESS,
    BROADCAST_MAC,
    NO_ADDRESS,
    Arp,
    ArpOperation,
    Dhcp,
    DhcpKind,
    DhcpOption,
    Ethernet,
    EtherType,
    Icmp,
    IcmpKind,
    Ipv4,
    Ipv6,
    Neighbour,
    NeighbourKind,
    Protocol,
    Tcp,
    TcpFlag,
    Udp,
)
from guestbench.vmm import Link

MAC = bytes.fromhex("52550a000202")
"""The address that QEMU's user network gives to its router: a guest that knew it goes on with it."""
ROUTER = socket.inet_aton("10.0.2.2")
NAME_SERVER = socket.inet_aton("10.0.2.3")
LEASE = socket.inet_aton("10.0.2.15")
NETMASK = socket.inet_aton("255.255.255.0")
LEASE_SECONDS = 86400
HOST_IPV6 = socket.inet_pton(socket.AF_INET6, "fe80::2")
NOBODY_IPV6 = bytes(16)
DNS_FAILS = 0x8182
"""Flags of an answer that a look-up failed (RFC 1035: response, recursion asked for and had, SERVFAIL)."""

POLL_S = 0.02
"""How soon a booting guest is answered. It is more than a real network takes, and less than guests mind."""
ADDRESSES_KEPT = 16
EXTRA_HOSTS = range(64, 128)
"""Last bytes of the addresses that the host takes for a scan, beside the router's: a guest may limit what it
answers to one of them."""


class Port(IntEnum):
    """Ports of the services that the host has."""

    DNS = 53
    DHCP_SERVER = 67
    DHCP_CLIENT = 68


Content = Icmp | Neighbour | Tcp | Udp
"""What an IP packet carries."""


class Arrival(NamedTuple):
    """A packet from the guest: from which address to which, and what it said."""

    source: bytes
    destination: bytes
    content: Arp | Content


class LinkHost:
    """The host at the other end of `link`. `heard` counts the frames that came; `guest_mac` sent the last.

    `candidates` holds addresses of IPv4 that the guest may have: those it said in ARP, or sent from, or got
    a lease for; the last one last. `candidates_ipv6` holds those of IPv6, of the link.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.heard = 0
        self.guest_mac = BROADCAST_MAC
        self.candidates: list[bytes] = []
        self.candidates_ipv6: list[bytes] = []
        self._ours = {ROUTER, NAME_SERVER, HOST_IPV6}

    def __call__(self) -> float:
        """Answer what has come; returns after how many seconds to call again. See `vmm.Meanwhile`."""
        self.serve()
        return POLL_S

    def serve(self, timeout_s: float = 0.0) -> list[Arrival]:
        """Answer what has come, or comes within `timeout_s` seconds, and return it. Of a flood, a part."""
        arrivals, answers = [], []
        for frame in self.link.receive(timeout_s):
            self.heard += 1
            ethernet = Ethernet.decode(frame)
            # A group's address cannot have sent anything; to answer it would be to answer everyone.
            if ethernet is None or ethernet.source[0] & 1:
                continue
            arrival = _decode(ethernet)
            if arrival is None:
                continue
            self.guest_mac = ethernet.source
            self._learn(arrival.source)
            arrivals.append(arrival)
            if answer := self._answer(arrival):
                answers.append(answer)
        if answers:
            self.link.send(*answers)
        return arrivals

    def adopt(self, guest: bytes) -> tuple[bytes, ...]:
        """Become more hosts on the network (all but 8 bits) of the guest's address; their addresses."""
        network = guest[:-1] if len(guest) == len(ROUTER) else HOST_IPV6[:-1]
        hosts = (network + bytes([last]) for last in (ROUTER[3], *EXTRA_HOSTS))
        ours = tuple(host for host in hosts if host != guest)
        self._ours.update(ours)
        return ours

    def frame(self, payload: Arp | Ipv4 | Ipv6, *, to: bytes = b"") -> bytes:
        """A frame to the guest, or to the MAC address `to`."""
        return Ethernet(to or self.guest_mac, MAC, KINDS[type(payload)], payload.encode()).encode()

    def ask(self, target: bytes, sender: bytes, *, to: bytes = b"") -> bytes:
        """The frame that asks, for our address `sender`, who has `target`; it goes to `to`, or to everyone.

        That is a request of ARP, or of IPv6's neighbour discovery, to all that may have it (RFC 4291, 2.7.1).
        """
        if len(target) == len(ROUTER):
            return self.frame(Arp(ArpOperation.REQUEST, MAC, sender, target), to=to or BROADCAST_MAC)
        group = bytes.fromhex("ff0200000000000000000001ff") + target[13:]
        question = Neighbour(NeighbourKind.SOLICITATION, target, MAC)
        packet = make_packet(sender, target if to else group, question)
        return self.frame(packet, to=to or b"\x33\x33" + group[12:])

    def _learn(self, address: bytes) -> None:
        # 0.0.0.0, loopback, multicast and broadcast are nobody's.
        if address in self._ours:
            return
        if len(address) == len(HOST_IPV6):
            if address[:2] == HOST_IPV6[:2]:
                _move_to_end(self.candidates_ipv6, address)
        elif address[0] not in (0, 127) and address[0] < 224:
            _move_to_end(self.candidates, address)

    def _answer(self, arrival: Arrival) -> bytes | None:
        is_ours = arrival.destination in self._ours
        match arrival.content:
            case Arp(operation=ArpOperation.REQUEST) as asked if is_ours and asked.sender != asked.target:
                return self.frame(Arp(ArpOperation.REPLY, MAC, asked.target, asked.sender, asked.sender_mac))
            case Icmp(kind=IcmpKind.ECHO) as echo if is_ours:
                return self._reply(arrival, Icmp(IcmpKind.ECHO_REPLY, 0, echo.payload))
            case Tcp() as segment if is_ours and not segment.flags & TcpFlag.RST:
                return self._reply(arrival, segment.refusal())
            case Neighbour(kind=NeighbourKind.SOLICITATION, target=target):
                if arrival.source == NOBODY_IPV6:
                    # The guest asks whether the address is free: it wants it.
                    self._learn(target)
                elif target in self._ours:
                    answer = Neighbour(NeighbourKind.ADVERTISEMENT, target, MAC)
                    return self.frame(make_packet(target, arrival.source, answer))
            case Udp(port=Port.DHCP_SERVER) as datagram:
                return self._answer_dhcp(datagram.payload)
            case Udp(port=Port.DNS, payload=query) as datagram if is_ours and 12 <= len(query) <= 512:
                failed = query[:2] + DNS_FAILS.to_bytes(2, "big") + query[4:]
                return self._reply(arrival, Udp(datagram.port, datagram.source_port, failed))
        return None

    def _reply(self, arrival: Arrival, content: Content) -> bytes:
        return self.frame(make_packet(arrival.destination, arrival.source, content))

    def _answer_dhcp(self, payload: bytes) -> bytes | None:
        """Offer the lease to whoever asks, and refuse any other address, as QEMU's user network does."""
        message = Dhcp.decode(payload)
        if message is None or message.operation != 1:
            return None
        wanted = message.options.get(DhcpOption.REQUESTED_ADDRESS, message.client)
        answers: dict[int, DhcpKind] = {
            DhcpKind.DISCOVER: DhcpKind.OFFER,
            DhcpKind.REQUEST: DhcpKind.ACK if wanted in (LEASE, NO_ADDRESS) else DhcpKind.NAK,
        }
        kind = answers.get(message.kind)
        if kind is None:
            return None
        options: dict[int, bytes] = {DhcpOption.KIND: bytes([kind]), DhcpOption.SERVER: ROUTER}
        if kind is not DhcpKind.NAK:
            options |= {
                DhcpOption.SUBNET_MASK: NETMASK,
                DhcpOption.ROUTER: ROUTER,
                DhcpOption.DNS: NAME_SERVER,
                DhcpOption.LEASE_SECONDS: LEASE_SECONDS.to_bytes(4, "big"),
            }
        if kind is DhcpKind.ACK:
            self._learn(LEASE)
        yours = NO_ADDRESS if kind is DhcpKind.NAK else LEASE
        answer = message._replace(operation=2, options=options, client=NO_ADDRESS, yours=yours, server=ROUTER)
        datagram = Udp(Port.DHCP_SERVER, Port.DHCP_CLIENT, answer.encode())
        return self.frame(make_packet(ROUTER, BROADCAST_ADDRESS, datagram), to=BROADCAST_MAC)


def _move_to_end(addresses: list[bytes], address: bytes) -> None:
    addresses[:] = [*(each for each in addresses if each != address), address][-ADDRESSES_KEPT:]


KINDS = {Arp: EtherType.ARP, Ipv4: EtherType.IPV4, Ipv6: EtherType.IPV6}
PROTOCOLS = {Icmp: Protocol.ICMP, Neighbour: Protocol.ICMPV6, Tcp: Protocol.TCP, Udp: Protocol.UDP}


def make_packet(source: bytes, destination: bytes, content: Content) -> Ipv4 | Ipv6:
    """An IP packet of the version that the addresses have."""
    kind = Ipv4 if len(source) == len(ROUTER) else Ipv6
    return kind(source, destination, PROTOCOLS[type(content)], content.encode(source, destination))


def _decode(ethernet: Ethernet) -> Arrival | None:
    if ethernet.kind == EtherType.ARP:
        arp = Arp.decode(ethernet.payload)
        return Arrival(arp.sender, arp.target, arp) if arp else None
    packet: Ipv4 | Ipv6 | None = None
    content: Content | None = None
    if ethernet.kind == EtherType.IPV4 and (packet := Ipv4.decode(ethernet.payload)):
        content = Tcp.decode(packet) or Udp.decode(packet) or Icmp.decode(packet)
    elif ethernet.kind == EtherType.IPV6 and (packet := Ipv6.decode(ethernet.payload)):
        content = Tcp.decode(packet) or Neighbour.decode(packet)
    return Arrival(packet.source, packet.destination, content) if packet and content else None
