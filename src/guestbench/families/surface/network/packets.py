"""Packets as a guest's link carries them, to bytes and back; pure: it sends nothing and knows no state.

Only what a scan needs: Ethernet II, ARP, IPv4 without fragments, IPv6 without extension headers and its
neighbour discovery, ICMP, UDP, TCP, DHCP. Each `decode` takes any bytes and returns None for what is not a
whole packet of its kind with the right checksum. Addresses are bytes: 4 for IPv4, 16 for IPv6, 6 for
Ethernet. Sources: RFC 826, 791, 792, 8200, 4861, 768, 9293, 2131 and 1071 (the checksum).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum, IntFlag
from typing import NamedTuple

BROADCAST_MAC = b"\xff" * 6
NO_MAC = bytes(6)
NO_ADDRESS = bytes(4)
BROADCAST_ADDRESS = b"\xff" * 4
LEAST_FRAME_BYTES = 60
"""Shorter frames are padded on a real Ethernet (IEEE 802.3: 64 bytes with the check sequence)."""
TTL = 64


class EtherType(IntEnum):
    """What an Ethernet frame carries."""

    IPV4 = 0x0800
    ARP = 0x0806
    IPV6 = 0x86DD


class Protocol(IntEnum):
    """What an IP packet carries."""

    ICMP = 1
    TCP = 6
    UDP = 17
    ICMPV6 = 58


def checksum(data: bytes) -> int:
    """The Internet checksum: a sum of 16-bit words modulo 65535 (RFC 1071), and so one remainder."""
    number = int.from_bytes(data if len(data) % 2 == 0 else data + b"\0", "big")
    folded = number % 0xFFFF or (0xFFFF if number else 0)
    return 0xFFFF - folded


def _with_checksum(data: bytes, at: int, cover: bytes = b"") -> bytes:
    """`data` with its checksum at offset `at`, where it has zeros now; `cover` is summed up with it."""
    return data[:at] + checksum(cover + data).to_bytes(2, "big") + data[at + 2 :]


class Ethernet(NamedTuple):
    """An Ethernet II frame. Its payload may be longer than was sent: short frames are padded."""

    destination: bytes
    source: bytes
    kind: int
    payload: bytes

    def encode(self) -> bytes:
        """The frame as bytes, padded."""
        head = struct.pack("!6s6sH", self.destination, self.source, self.kind)
        return (head + self.payload).ljust(LEAST_FRAME_BYTES, b"\0")

    @classmethod
    def decode(cls, data: bytes) -> Ethernet | None:
        """Read a frame."""
        if len(data) < 14:
            return None
        destination, source, kind = struct.unpack_from("!6s6sH", data)
        return cls(destination, source, kind, data[14:])


class ArpOperation(IntEnum):
    """Question and answer."""

    REQUEST = 1
    REPLY = 2


class Arp(NamedTuple):
    """An ARP packet for IPv4 on Ethernet."""

    operation: int
    sender_mac: bytes
    sender: bytes
    target: bytes
    target_mac: bytes = NO_MAC

    def encode(self) -> bytes:
        """The packet as bytes."""
        head = struct.pack("!HHBBH", 1, EtherType.IPV4, 6, 4, self.operation)
        return head + self.sender_mac + self.sender + self.target_mac + self.target

    @classmethod
    def decode(cls, data: bytes) -> Arp | None:
        """Read a packet."""
        if len(data) < 28 or data[:6] != b"\0\x01\x08\0\x06\x04":
            return None
        operation, sender_mac, sender, target_mac, target = struct.unpack_from("!6xH6s4s6s4s", data)
        return cls(operation, sender_mac, sender, target, target_mac)


class Ipv4(NamedTuple):
    """An IPv4 packet; options are dropped when one is read."""

    source: bytes
    destination: bytes
    protocol: int
    payload: bytes

    def encode(self) -> bytes:
        """The packet as bytes, not to be fragmented. Raises struct.error if it is too long."""
        total = 20 + len(self.payload)
        head = struct.pack("!BBHHHBBH", 0x45, 0, total, 0, 0x4000, TTL, self.protocol, 0)
        return _with_checksum(head + self.source + self.destination, 10) + self.payload

    @classmethod
    def decode(cls, data: bytes) -> Ipv4 | None:
        """Read a packet; None for a fragment, too."""
        if len(data) < 20 or data[0] >> 4 != 4:
            return None
        total, fragment, protocol, source, destination = struct.unpack_from("!2xH2xHxB2x4s4s", data)
        head_bytes = (data[0] & 15) * 4
        if not 20 <= head_bytes <= total <= len(data) or fragment & 0x3FFF or checksum(data[:head_bytes]):
            return None
        return cls(source, destination, protocol, data[head_bytes:total])


class Ipv6(NamedTuple):
    """An IPv6 packet without extension headers; one that has some is read as carrying the first of them."""

    source: bytes
    destination: bytes
    protocol: int
    payload: bytes

    def encode(self) -> bytes:
        """The packet as bytes. Raises struct.error if it is too long."""
        # Neighbour discovery demands this hop limit, and nothing else minds (RFC 4861, 7.1).
        head = struct.pack("!IHBB", 6 << 28, len(self.payload), self.protocol, 255)
        return head + self.source + self.destination + self.payload

    @classmethod
    def decode(cls, data: bytes) -> Ipv6 | None:
        """Read a packet."""
        if len(data) < 40 or data[0] >> 4 != 6:
            return None
        size, protocol, source, destination = struct.unpack_from("!4xHBx16s16s", data)
        if len(data) < 40 + size:
            return None
        return cls(source, destination, protocol, data[40 : 40 + size])


def _pseudo_header(source: bytes, destination: bytes, protocol: int, size: int) -> bytes:
    """What the checksums of TCP and UDP cover beside their own packet.

    That of IPv6 has wider fields with the same sum.
    """
    return source + destination + struct.pack("!HH", protocol, size)


def _is_whole(packet: Ipv4 | Ipv6, data: bytes) -> bool:
    """Whether the checksum is right in the `data` of a protocol that covers the packet's addresses."""
    return not checksum(_pseudo_header(packet.source, packet.destination, packet.protocol, len(data)) + data)


class IcmpKind(IntEnum):
    """Types of ICMP messages."""

    ECHO_REPLY = 0
    UNREACHABLE = 3
    ECHO = 8


PORT_UNREACHABLE = 3
"""The code of an ICMP message that nobody listens at a port."""


class Icmp(NamedTuple):
    """An ICMP message: `payload` begins with the four bytes whose meaning its type gives."""

    kind: int
    code: int
    payload: bytes

    def encode(self, source: bytes = b"", destination: bytes = b"") -> bytes:
        """The message as bytes, whose checksum does not depend on addresses."""
        return _with_checksum(bytes([self.kind, self.code, 0, 0]) + self.payload, 2)

    @classmethod
    def decode(cls, packet: Ipv4) -> Icmp | None:
        """Read the message that an IPv4 packet carries."""
        data = packet.payload
        if packet.protocol != Protocol.ICMP or len(data) < 8 or checksum(data):
            return None
        return cls(data[0], data[1], data[4:])

    def quoted(self) -> Quoted | None:
        """What an error message is about: it quotes the header and eight bytes of the packet."""
        data = self.payload[4:]
        head_bytes = (data[0] & 15) * 4 if data else 0
        if self.kind != IcmpKind.UNREACHABLE or not 20 <= head_bytes <= len(data) - 4:
            return None
        return Quoted(data[16:20], data[9], *struct.unpack_from("!HH", data, head_bytes))


class Quoted(NamedTuple):
    """Where a packet went that an ICMP message quotes."""

    destination: bytes
    protocol: int
    source_port: int
    port: int


class NeighbourKind(IntEnum):
    """IPv6's question who has an address, and the answer: types of ICMPv6 messages."""

    SOLICITATION = 135
    ADVERTISEMENT = 136


SOLICITED = 0x60000000
"""Flags of an advertisement that answers a question and goes before what was known."""


class Neighbour(NamedTuple):
    """A message of IPv6 neighbour discovery: `mac` is the sender's, or empty where it does not say it."""

    kind: int
    target: bytes
    mac: bytes = b""

    def encode(self, source: bytes, destination: bytes) -> bytes:
        """The message as bytes, its checksum made for a packet from `source` to `destination`."""
        asks = self.kind == NeighbourKind.SOLICITATION
        option = bytes([1 if asks else 2, 1]) + self.mac if self.mac else b""
        data = struct.pack("!BBHI", self.kind, 0, 0, 0 if asks else SOLICITED) + self.target + option
        return _with_checksum(data, 2, _pseudo_header(source, destination, Protocol.ICMPV6, len(data)))

    @classmethod
    def decode(cls, packet: Ipv6) -> Neighbour | None:
        """Read the message that an IPv6 packet carries."""
        data = packet.payload
        if packet.protocol != Protocol.ICMPV6 or len(data) < 24 or data[0] not in list(NeighbourKind):
            return None
        if not _is_whole(packet, data):
            return None
        has_mac = len(data) >= 32 and data[24] in (1, 2) and data[25] == 1
        return cls(data[0], data[8:24], data[26:32] if has_mac else b"")


class Udp(NamedTuple):
    """A UDP datagram."""

    source_port: int
    port: int
    payload: bytes

    def encode(self, source: bytes, destination: bytes) -> bytes:
        """The datagram as bytes, its checksum made for a packet from `source` to `destination`."""
        size = 8 + len(self.payload)
        data = struct.pack("!HHHH", self.source_port, self.port, size, 0) + self.payload
        data = _with_checksum(data, 6, _pseudo_header(source, destination, Protocol.UDP, size))
        # A sum of zero is sent as all ones: zero says that there is none.
        return data if data[6:8] != b"\0\0" else data[:6] + b"\xff\xff" + data[8:]

    @classmethod
    def decode(cls, packet: Ipv4) -> Udp | None:
        """Read the datagram that an IPv4 packet carries."""
        data = packet.payload
        if packet.protocol != Protocol.UDP or len(data) < 8:
            return None
        source_port, port, size, check = struct.unpack_from("!HHHH", data)
        if not 8 <= size <= len(data) or (check and not _is_whole(packet, data[:size])):
            return None
        return cls(source_port, port, data[8:size])


class TcpFlag(IntFlag):
    """Flags of a TCP segment."""

    FIN = 1
    SYN = 2
    RST = 4
    PSH = 8
    ACK = 16


MSS_OPTION = b"\x02\x04\x05\xb4"
"""1460 bytes, as on any Ethernet."""


class Tcp(NamedTuple):
    """A TCP segment; `size` is how many sequence numbers it takes, SYN and FIN included."""

    source_port: int
    port: int
    sequence: int
    flags: int
    acknowledged: int = 0
    size: int = 0

    def encode(self, source: bytes, destination: bytes) -> bytes:
        """The segment as bytes, without data; with the one option that a SYN needs."""
        options = MSS_OPTION if self.flags & TcpFlag.SYN else b""
        offset = (20 + len(options)) // 4 << 4
        data = struct.pack("!HHII", self.source_port, self.port, self.sequence, self.acknowledged)
        data += struct.pack("!BBHHH", offset, self.flags, 0xFFFF, 0, 0) + options
        return _with_checksum(data, 16, _pseudo_header(source, destination, Protocol.TCP, len(data)))

    @classmethod
    def decode(cls, packet: Ipv4 | Ipv6) -> Tcp | None:
        """Read the segment that a packet carries."""
        data = packet.payload
        if packet.protocol != Protocol.TCP or len(data) < 20:
            return None
        source_port, port, sequence, acknowledged, offset, flags = struct.unpack_from("!HHIIBB", data)
        head_bytes = (offset >> 4) * 4
        if not 20 <= head_bytes <= len(data) or not _is_whole(packet, data):
            return None
        size = len(data) - head_bytes + bool(flags & TcpFlag.SYN) + bool(flags & TcpFlag.FIN)
        return cls(source_port, port, sequence, flags, acknowledged, size)

    def refusal(self) -> Tcp:
        """The RST that answers this segment (RFC 9293, 3.5.2)."""
        if self.flags & TcpFlag.ACK:
            return Tcp(self.port, self.source_port, self.acknowledged, TcpFlag.RST)
        acknowledged = (self.sequence + self.size) % 2**32
        return Tcp(self.port, self.source_port, 0, TcpFlag.RST | TcpFlag.ACK, acknowledged)


class DhcpKind(IntEnum):
    """Types of DHCP messages."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    ACK = 5
    NAK = 6
    RELEASE = 7


class DhcpOption(IntEnum):
    """Options of DHCP messages (RFC 2132)."""

    SUBNET_MASK = 1
    ROUTER = 3
    DNS = 6
    REQUESTED_ADDRESS = 50
    LEASE_SECONDS = 51
    KIND = 53
    SERVER = 54


COOKIE = b"\x63\x82\x53\x63"
LEAST_DHCP_BYTES = 300
"""Some clients refuse shorter messages (RFC 1542, 2.1)."""


class Dhcp(NamedTuple):
    """A DHCP message; `operation` is 1 from the client and 2 from the server."""

    operation: int
    transaction: bytes
    mac: bytes
    options: dict[int, bytes]
    flags: int = 0
    client: bytes = NO_ADDRESS
    yours: bytes = NO_ADDRESS
    server: bytes = NO_ADDRESS

    @property
    def kind(self) -> int:
        """The message's type, 0 if it says none."""
        return int.from_bytes(self.options.get(DhcpOption.KIND, b"")[:1], "big")

    def encode(self) -> bytes:
        """The message as bytes."""
        head = struct.pack("!BBBB4sHH", self.operation, 1, 6, 0, self.transaction, 0, self.flags)
        addresses = self.client + self.yours + self.server + NO_ADDRESS
        names = self.mac.ljust(16, b"\0") + bytes(64 + 128)
        options = b"".join(bytes([code, len(value)]) + value for code, value in self.options.items())
        return (head + addresses + names + COOKIE + options + b"\xff").ljust(LEAST_DHCP_BYTES, b"\0")

    @classmethod
    def decode(cls, data: bytes) -> Dhcp | None:
        """Read a message."""
        if len(data) < 240 or data[1:3] != b"\x01\x06" or data[236:240] != COOKIE:
            return None
        operation, transaction, *rest, mac = struct.unpack_from("!B3x4s2xH4s4s4s4x6s", data)
        options: dict[int, bytes] = {}
        for code, value in _options(data[240:]):
            # An option that is there twice is one in two parts (RFC 3396).
            options[code] = options.get(code, b"") + value
        return cls(operation, transaction, mac, options, *rest)


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data) and data[at] != 0xFF:
        if data[at] == 0:
            at += 1
            continue
        if at + 1 >= len(data) or at + 2 + data[at + 1] > len(data):
            return
        yield data[at], data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]
