"""Packets: what is written can be read again, garbage is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestbench.families.surface.network.packets import (
    Arp,
    Dhcp,
    DhcpKind,
    DhcpOption,
    Ethernet,
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
    checksum,
)

MACS = st.binary(min_size=6, max_size=6)
ADDRESSES = st.binary(min_size=4, max_size=4)
PORTS = st.integers(0, 65535)
IPV6 = st.binary(min_size=16, max_size=16)
WORDS = st.integers(0, 2**32 - 1)
PACKETS = st.builds(
    Ipv4,
    source=ADDRESSES,
    destination=ADDRESSES,
    protocol=st.integers(0, 255),
    payload=st.binary(max_size=200),
)

SYN_OF_LINUX = bytes.fromhex("4500003c1c4640004006b1e6ac100a63ac100a0c")
"""The example of an IPv4 header in many textbooks: its checksum is 0xb1e6."""


def slow_checksum(data: bytes) -> int:
    """RFC 1071, word by word."""
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def carry(protocol: Protocol, payload: bytes) -> Ipv4:
    """An IPv4 packet."""
    return Ipv4(source=b"\x0a\0\2\2", destination=b"\x0a\0\2\x0f", protocol=protocol, payload=payload)


@given(st.binary(max_size=100))
def test_checksum_is_that_of_the_rfc(data: bytes) -> None:
    """Guests would throw away every packet of the scan, and all ports look filtered."""
    assert checksum(data) == slow_checksum(data)


def test_checksum_of_a_known_header() -> None:
    """The codec would agree with itself and with no guest."""
    assert checksum(SYN_OF_LINUX) == 0
    assert checksum(SYN_OF_LINUX[:10] + b"\0\0" + SYN_OF_LINUX[12:]) == 0xB1E6
    assert checksum(b"") == 0xFFFF


@given(MACS, MACS, PORTS, st.binary(max_size=1500))
def test_frames_are_read_as_written(to: bytes, source: bytes, kind: int, payload: bytes) -> None:
    """A frame would arrive at another address, or damaged."""
    frame = Ethernet(destination=to, source=source, kind=kind, payload=payload)
    data = frame.encode()
    assert len(data) >= 60
    read = Ethernet.decode(data)
    assert read is not None
    assert read.payload.rstrip(b"\0") == payload.rstrip(b"\0")
    assert (read.destination, read.source, read.kind) == (to, source, kind)


@given(st.integers(1, 2), MACS, ADDRESSES, MACS, ADDRESSES, st.binary(max_size=20))
def test_arp_is_read_as_written(
    operation: int, mac: bytes, sender: bytes, target_mac: bytes, target: bytes, padding: bytes
) -> None:
    """The guest's address would be learnt wrongly."""
    arp = Arp(operation=operation, sender_mac=mac, sender=sender, target_mac=target_mac, target=target)
    assert Arp.decode(arp.encode() + padding) == arp


@given(PACKETS, st.binary(max_size=20))
def test_ipv4_is_read_as_written_without_its_padding(packet: Ipv4, padding: bytes) -> None:
    """Short packets would be read with the padding of their frame."""
    assert Ipv4.decode(packet.encode() + padding) == packet


@given(IPV6, IPV6, st.integers(0, 255), st.binary(max_size=200), st.binary(max_size=20))
def test_ipv6_is_read_as_written_without_its_padding(
    source: bytes, to: bytes, protocol: int, payload: bytes, padding: bytes
) -> None:
    """Short packets would be read with the padding of their frame."""
    packet = Ipv6(source=source, destination=to, protocol=protocol, payload=payload)
    assert Ipv6.decode(packet.encode() + padding) == packet


@given(st.sampled_from(NeighbourKind), IPV6, IPV6, IPV6, st.just(b"") | MACS)
def test_neighbour_discovery_is_read_as_written(
    kind: NeighbourKind, target: bytes, source: bytes, to: bytes, mac: bytes
) -> None:
    """The guest's IPv6 address would not be found."""
    message = Neighbour(kind=kind, target=target, mac=mac)
    data = message.encode(source, to)
    packet = Ipv6(source=source, destination=to, protocol=Protocol.ICMPV6, payload=data)
    assert Neighbour.decode(packet) == message
    damaged = data[:-1] + bytes([data[-1] ^ 1])
    assert Neighbour.decode(packet._replace(payload=damaged)) is None


def test_checksum_over_ipv6_is_that_of_the_rfc() -> None:
    """Guests would drop whatever the host sends over IPv6."""
    # RFC 8200, 8.1 has 32 bits for the length and 24 of zeros.
    source = bytes.fromhex("fe80000000000000505400fffe123456")
    target = bytes.fromhex("fe800000000000000000000000000002")
    wide = source + target + (32).to_bytes(4, "big") + b"\0\0\0\x3a"
    message = Neighbour(kind=NeighbourKind.SOLICITATION, target=target, mac=bytes.fromhex("525400123456"))
    assert slow_checksum(wide + message.encode(source, target)) == 0


@given(st.binary(max_size=200), PORTS, PORTS, ADDRESSES, ADDRESSES)
def test_udp_is_read_as_written(
    payload: bytes, source_port: int, port: int, source: bytes, to: bytes
) -> None:
    """Questions to services would arrive damaged, or answers be thrown away."""
    datagram = Udp(source_port=source_port, port=port, payload=payload)
    data = datagram.encode(source, to)
    assert data[6:8] != b"\0\0"
    packet = Ipv4(source=source, destination=to, protocol=Protocol.UDP, payload=data)
    assert Udp.decode(packet) == datagram


@given(PORTS, PORTS, WORDS, WORDS, st.integers(0, 255), ADDRESSES | IPV6, ADDRESSES | IPV6)
def test_tcp_is_read_as_written(
    source_port: int, port: int, sequence: int, acknowledged: int, flags: int, source: bytes, to: bytes
) -> None:
    """An open port would be taken for a closed one."""
    size = bool(flags & TcpFlag.SYN) + bool(flags & TcpFlag.FIN)
    segment = Tcp(
        source_port=source_port,
        port=port,
        sequence=sequence,
        acknowledged=acknowledged,
        flags=flags,
        size=size,
    )
    packet = Ipv4(source=source, destination=to, protocol=Protocol.TCP, payload=segment.encode(source, to))
    assert Tcp.decode(packet) == segment


def test_a_refusal_is_what_the_rfc_says() -> None:
    """Half-open connections would stay in the guest and fill its table."""
    accept = Tcp(source_port=80, port=40000, sequence=7, acknowledged=101, flags=0x12, size=1)
    assert accept.refusal() == Tcp(source_port=40000, port=80, sequence=101, flags=int(TcpFlag.RST))
    syn = Tcp(source_port=80, port=40000, sequence=2**32 - 1, flags=int(TcpFlag.SYN), size=1)
    refusal = syn.refusal()
    assert (refusal.sequence, refusal.acknowledged, refusal.flags) == (0, 0, TcpFlag.RST | TcpFlag.ACK)


@given(st.integers(0, 255), st.integers(0, 255), st.binary(min_size=4, max_size=200))
def test_icmp_is_read_as_written(kind: int, code: int, payload: bytes) -> None:
    """Closed UDP ports would not be told from silent ones."""
    message = Icmp(kind=kind, code=code, payload=payload)
    assert Icmp.decode(carry(Protocol.ICMP, message.encode())) == message


def test_an_icmp_error_names_the_packet_it_is_about() -> None:
    """A refusal would be put down to another port."""
    datagram = Udp(source_port=50000, port=53, payload=b"question")
    about = carry(Protocol.UDP, datagram.encode(b"\x0a\0\2\2", b"\x0a\0\2\x0f"))
    message = Icmp(kind=IcmpKind.UNREACHABLE, code=3, payload=bytes(4) + about.encode()[:28])
    quoted = message.quoted()
    assert quoted is not None
    assert (quoted.source_port, quoted.port, quoted.destination) == (50000, 53, about.destination)
    assert Icmp(kind=IcmpKind.ECHO, code=0, payload=message.payload).quoted() is None


@given(
    st.binary(min_size=4, max_size=4),
    MACS,
    st.dictionaries(st.integers(1, 254), st.binary(max_size=255), max_size=8),
)
def test_dhcp_is_read_as_written(transaction: bytes, mac: bytes, options: dict[int, bytes]) -> None:
    """A guest would get no lease, or another's."""
    message = Dhcp(operation=1, transaction=transaction, mac=mac, options=options)
    data = message.encode()
    assert len(data) >= 300
    assert Dhcp.decode(data) == message


def test_a_dhcp_option_in_two_parts_is_one() -> None:
    """A client that splits an option would be refused."""
    message = Dhcp(operation=1, transaction=b"1234", mac=bytes(6), options={})
    head = message.encode()[:240]
    parts = bytes([0, DhcpOption.KIND, 1, DhcpKind.DISCOVER, 12, 2]) + b"ab" + bytes([12, 1]) + b"c\xff"
    read = Dhcp.decode(head + parts)
    assert read is not None
    assert read.kind == DhcpKind.DISCOVER
    assert read.options[12] == b"abc"
    cut = Dhcp.decode(head + bytes([DhcpOption.KIND, 9, 1]))
    assert cut is not None
    assert cut.kind == 0


@given(st.binary(max_size=400))
def test_garbage_is_no_packet_and_no_error(data: bytes) -> None:
    """A guest could stop the scan with one frame."""
    Ethernet.decode(data)
    Arp.decode(data)
    Ipv4.decode(data)
    Ipv6.decode(data)
    Neighbour.decode(Ipv6(source=bytes(16), destination=bytes(16), protocol=58, payload=data))
    Dhcp.decode(data)
    Dhcp.decode(b"\1\1\6\0" + bytes(232) + b"\x63\x82\x53\x63" + data)
    for protocol in Protocol:
        packet = carry(protocol, data)
        Tcp.decode(packet)
        Udp.decode(packet)
        message = Icmp.decode(packet)
        if message:
            message.quoted()
    Icmp(kind=IcmpKind.UNREACHABLE, code=3, payload=data).quoted()


@given(PACKETS.filter(lambda packet: len(packet.payload) > 8), st.data())
def test_a_damaged_packet_is_none(packet: Ipv4, data: st.DataObject) -> None:
    """What a damaged frame seems to say would be counted as an answer of the guest."""
    encoded = bytearray(packet.encode())
    at = data.draw(st.integers(0, 19))
    bit = data.draw(st.integers(0, 7))
    encoded[at] ^= 1 << bit
    assert Ipv4.decode(bytes(encoded)) is None


@pytest.mark.parametrize("flags", [0x2000, 0x0001, 0x3FFF])
def test_a_fragment_is_none(flags: int) -> None:
    """The middle of some packet would be read as a header."""
    head = carry(Protocol.TCP, bytes(40)).encode()[:20]
    head = head[:6] + flags.to_bytes(2, "big") + head[8:10] + b"\0\0" + head[12:]
    head = head[:10] + checksum(head).to_bytes(2, "big") + head[12:]
    assert Ipv4.decode(head + bytes(40)) is None
