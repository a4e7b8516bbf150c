"""A scripted guest on a link: a network stack in Python that does what a test tells it; nothing is real."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from guestbench.families.surface.network.link_host import KINDS, make_packet
from guestbench.families.surface.network.packets import (
    BROADCAST_ADDRESS,
    BROADCAST_MAC,
    NO_ADDRESS,
    PORT_UNREACHABLE,
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
from guestbench.vmm.qemu.link import SocketLink

MAC = bytes.fromhex("525400123456")
LEASE = bytes([10, 0, 2, 15])
PROHIBITED = 13


@dataclass
class Stack:
    """What the guest does.

    `lose` is the share of frames that it does not see, and of those that it does not send; `noise` a frame
    that it sends after each, `floods` one that it sends all the time; `rst_per_s` how many resets it sends in
    a second after the first hundred; `icmp_limit` how many ICMP errors to one address; of the SYNs to
    `refused_tcp` ports it refuses one of `refuse_each`. After so many frames it dies, or its link closes.
    """

    address: bytes | None = LEASE
    address_ipv6: bytes | None = None
    open_tcp: frozenset[int] = frozenset()
    open_tcp_ipv6: frozenset[int] = frozenset()
    dropped_tcp: Callable[[int], bool] = lambda _: False
    refused_tcp: frozenset[int] = frozenset()
    refuse_each: int = 1
    open_udp: frozenset[int] = frozenset()
    silent_udp: frozenset[int] = frozenset()
    lose: float = 0.0
    twice: bool = False
    noise: bytes = b""
    floods: bytes = b""
    rst_per_s: float | None = None
    dies_after: int | None = None
    closes_after: int | None = None
    asks_dhcp: bool = False
    heard: list[Ipv4] = field(default_factory=list)
    tokens: dict[bytes, int] = field(default_factory=dict)
    icmp_limit: int | None = None

    def answer(self, data: bytes) -> list[bytes]:
        """The frames that answer one."""
        frame = Ethernet.decode(data)
        assert frame is not None
        if frame.kind == EtherType.ARP:
            arp = Arp.decode(frame.payload)
            assert arp is not None
            if arp.operation != ArpOperation.REQUEST or arp.target != self.address:
                return []
            reply = Arp(
                operation=ArpOperation.REPLY,
                sender_mac=MAC,
                sender=arp.target,
                target_mac=arp.sender_mac,
                target=arp.sender,
            )
            return [to_frame(reply, frame.source)]
        if frame.kind == EtherType.IPV6:
            return self.answer_ipv6(frame)
        packet = Ipv4.decode(frame.payload)
        assert packet is not None, "the host sent a broken packet"
        return [to_frame(reply, frame.source) for reply in self.answer_packet(packet)]

    def answer_ipv6(self, frame: Ethernet) -> list[bytes]:
        """Its address is advertised; a TCP port accepts or resets."""
        packet = Ipv6.decode(frame.payload)
        assert packet is not None, "the host sent a broken packet"
        if self.address_ipv6 is None:
            return []
        question, segment = Neighbour.decode(packet), Tcp.decode(packet)
        if question and question.target == self.address_ipv6:
            answer = Neighbour(kind=NeighbourKind.ADVERTISEMENT, target=self.address_ipv6, mac=MAC)
            reply = make_packet(self.address_ipv6, packet.source, answer)
        elif segment and not segment.flags & TcpFlag.RST:
            answers = accept(segment) if segment.port in self.open_tcp_ipv6 else segment.refusal()
            reply = make_packet(self.address_ipv6, packet.source, answers)
        else:
            return []
        return [to_frame(reply, frame.source)]

    def answer_packet(self, packet: Ipv4) -> list[Ipv4]:
        """The packets that answer one."""
        self.heard.append(packet)
        if (datagram := Udp.decode(packet)) is not None:
            return self.answer_udp(packet, datagram)
        if packet.destination != self.address:
            return []
        segment = Tcp.decode(packet)
        assert segment is not None, "the host sent a broken segment"
        return self.answer_tcp(packet, segment)

    def answer_udp(self, packet: Ipv4, datagram: Udp) -> list[Ipv4]:
        """A lease is taken; a service echoes; any other port is unreachable, as often as the limit allows."""
        if (datagram.source_port, datagram.port) == (67, 68):
            return self.take_lease(datagram)
        if packet.destination != self.address or datagram.port in self.silent_udp:
            return []
        if datagram.port in self.open_udp:
            reply = Udp(source_port=datagram.port, port=datagram.source_port, payload=datagram.payload)
            payload = reply.encode(packet.destination, packet.source)
            return [reverse(packet, Protocol.UDP, payload)]
        self.tokens[packet.source] = self.tokens.get(packet.source, 0) + 1
        if self.icmp_limit is not None and self.tokens[packet.source] > self.icmp_limit:
            return []
        return [refuse(packet, PORT_UNREACHABLE)]

    def take_lease(self, datagram: Udp) -> list[Ipv4]:
        """Ask for what was offered; take what was confirmed."""
        message = Dhcp.decode(datagram.payload)
        assert message is not None
        if message.kind == DhcpKind.OFFER:
            return [ask_dhcp(DhcpKind.REQUEST, {DhcpOption.REQUESTED_ADDRESS: message.yours})]
        if message.kind == DhcpKind.ACK:
            self.address = message.yours
        return []

    def answer_tcp(self, packet: Ipv4, segment: Tcp) -> list[Ipv4]:
        """An open port accepts, a dropped one says nothing, a refused one is prohibited, others are reset."""
        if segment.flags & TcpFlag.RST or self.dropped_tcp(segment.port):
            return []
        if segment.port in self.refused_tcp:
            return [] if len(self.heard) % self.refuse_each else [refuse(packet, PROHIBITED)]
        if segment.port not in self.open_tcp:
            return [reverse(packet, Protocol.TCP, segment.refusal().encode(LEASE, packet.source))]
        payload = accept(segment).encode(packet.destination, packet.source)
        return [reverse(packet, Protocol.TCP, payload)]


def accept(segment: Tcp) -> Tcp:
    """The answer of a port that is open."""
    return Tcp(
        source_port=segment.port,
        port=segment.source_port,
        sequence=1,
        acknowledged=(segment.sequence + 1) % 2**32,
        flags=int(TcpFlag.SYN | TcpFlag.ACK),
    )


def reverse(packet: Ipv4, protocol: Protocol, payload: bytes) -> Ipv4:
    """A packet back to where one came from."""
    return Ipv4(source=packet.destination, destination=packet.source, protocol=protocol, payload=payload)


def refuse(packet: Ipv4, code: int) -> Ipv4:
    """The ICMP message that a packet's destination is unreachable."""
    quote = bytes(4) + packet.encode()[:28]
    return reverse(packet, Protocol.ICMP, Icmp(kind=IcmpKind.UNREACHABLE, code=code, payload=quote).encode())


def ask_dhcp(kind: DhcpKind, options: dict[int, bytes] | None = None) -> Ipv4:
    """A broadcast of a DHCP client."""
    message = Dhcp(
        operation=1,
        transaction=b"abcd",
        mac=MAC,
        options={DhcpOption.KIND: bytes([kind])} | (options or {}),
    )
    datagram = Udp(source_port=68, port=67, payload=message.encode())
    payload = datagram.encode(NO_ADDRESS, BROADCAST_ADDRESS)
    return Ipv4(source=NO_ADDRESS, destination=BROADCAST_ADDRESS, protocol=Protocol.UDP, payload=payload)


def to_frame(payload: Arp | Ipv4 | Ipv6, to: bytes = BROADCAST_MAC) -> bytes:
    """A frame of the guest."""
    return Ethernet(to, MAC, KINDS[type(payload)], payload.encode()).encode()


@contextmanager
def run_guest(stack: Stack) -> Iterator[SocketLink]:
    """The host's end of a link at whose other end the guest runs, in a thread of its own."""
    ours, theirs = socket.socketpair()
    stop = threading.Event()
    thread = threading.Thread(target=_live, args=(stack, SocketLink(theirs), theirs, stop))
    thread.start()
    try:
        yield SocketLink(ours)
    finally:
        stop.set()
        # A guest that waits for us to read would wait for ever.
        ours.close()
        thread.join()
        theirs.close()


def _live(stack: Stack, link: SocketLink, theirs: socket.socket, stop: threading.Event) -> None:
    chance = random.Random(1)
    seen, resets, began = 0, 0.0, time.monotonic()
    if stack.asks_dhcp:
        link.send(to_frame(ask_dhcp(DhcpKind.DISCOVER)))
    while not stop.is_set() and not link.is_closed:
        if stack.floods:
            link.send(*[stack.floods] * 50)
        for frame in link.receive(0.0 if stack.floods else 0.01):
            seen += 1
            if stack.closes_after is not None and seen > stack.closes_after:
                theirs.shutdown(socket.SHUT_RDWR)
                return
            if stack.dies_after is not None and seen > stack.dies_after:
                continue
            if chance.random() < stack.lose:
                continue
            answers = [each for each in stack.answer(frame) if chance.random() >= stack.lose]
            if stack.rst_per_s is not None and len(answers) == 1 and answers[0][23] == Protocol.TCP:
                resets += 1
                if resets > 100 + stack.rst_per_s * (time.monotonic() - began):
                    resets -= 1
                    continue
            _send(
                link, [*answers, *(answers if stack.twice else []), *([stack.noise] if stack.noise else [])]
            )


def _send(link: SocketLink, frames: list[bytes]) -> None:
    while frames and not link.send(*frames) and not link.is_closed:
        link.receive(0.001)
