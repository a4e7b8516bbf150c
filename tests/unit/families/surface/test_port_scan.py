"""The port scan on a scripted guest: what it says of guests that lose packets, limit, lie or die."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator, Sequence

import pytest
from link_guest import LEASE, MAC, Stack, ask_dhcp, run_guest, to_frame

from guestbench.families.surface.network import ports
from guestbench.families.surface.network.link_host import MAC as HOST_MAC
from guestbench.families.surface.network.link_host import LinkHost, make_packet
from guestbench.families.surface.network.packets import (
    BROADCAST_ADDRESS,
    Arp,
    ArpOperation,
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
)
from guestbench.families.surface.network.ports import PortScan, scan
from guestbench.families.surface.network.scan_target import ENDED, FLOODS, LOST
from guestbench.families.surface.network.tcp_scan import format_ranges
from guestbench.families.surface.network.udp_scan import PORTS as UDP_PORTS
from guestbench.families.surface.network.udp_scan import make_question
from guestbench.guest.serial import SerialLog
from guestbench.vmm import Chunk
from guestbench.vmm.fake import FakeMachine
from guestbench.vmm.qemu.link import SocketLink

FEW = range(1, 2001)
ROUTER = bytes([10, 0, 2, 2])


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest in this process answers at once: wait less for those that never will."""
    monkeypatch.setattr("guestbench.families.surface.network.ports.IPV6_S", 0.3)
    monkeypatch.setattr("guestbench.families.surface.network.udp_scan.WAIT_S", 0.3)
    monkeypatch.setattr("guestbench.families.surface.network.tcp_scan.PAUSE_S", 0.1)


def scanned(
    stack: Stack,
    tcp: Sequence[int] = FEW,
    machine: FakeMachine | None = None,
    *,
    address_s: float = 2.0,
    tcp_s: float = 120.0,
) -> PortScan:
    """The scan of a guest."""
    with run_guest(stack) as link:
        return scan(
            machine or FakeMachine((), None, ("fake",)),
            SerialLog(),
            LinkHost(link),
            ports=tcp,
            address_s=address_s,
            tcp_s=tcp_s,
        )


def test_ports_are_open_closed_or_filtered() -> None:
    """The report's open ports would be wrong, or a firewall be taken for a port where nobody listens."""
    stack = Stack(
        open_tcp=frozenset({7, 22, 2000}),
        dropped_tcp=lambda port: 100 <= port < 200 or port == 9,
        refused_tcp=frozenset({500}),
    )
    found = scanned(stack)
    assert found.reason == ""
    assert (found.address, found.mac) == ("10.0.2.15", "52:54:00:12:34:56")
    assert found.tcp is not None
    assert found.tcp.open == (7, 22, 2000)
    assert (found.tcp.filtered, found.tcp.filtered_ranges) == (102, "9,100-199,500")
    assert (found.tcp.closed, found.tcp.undecided) == (2000 - 3 - 102, 0)
    # Three times for what did not answer: it may have been lost.
    assert found.tcp.sent == 2000 + 2 * 101


def test_each_port_is_asked_once_and_no_connection_is_made() -> None:
    """A scan would take minutes, or leave thousands of half-open connections in the guest."""
    some = ports.PORTS[::8]
    stack = Stack(open_tcp=frozenset({1, 4241, 65529}))
    found = scanned(stack, some)
    assert found.tcp is not None
    assert found.tcp.open == (1, 4241, 65529)
    assert found.tcp.closed == len(some) - 3
    segments = [(packet, Tcp.decode(packet)) for packet in stack.heard if packet.protocol == Protocol.TCP]
    resets = [segment for _, segment in segments if segment and segment.flags & TcpFlag.RST]
    assert sorted(segment.port for segment in resets) == [1, 4241, 65529]
    syns = [segment for _, segment in segments if segment and segment.flags == TcpFlag.SYN]
    assert [segment.port for segment in syns] == list(some)
    assert {segment.sequence for segment in resets} == {(syns[0].sequence + 1) % 2**32}


def test_a_guest_that_filters_everything_costs_no_more_time() -> None:
    """The scan of a firewalled guest would take the time-out of each port."""
    began = time.monotonic()
    found = scanned(Stack(open_tcp=frozenset({443}), dropped_tcp=lambda port: port != 443), range(1, 10001))
    assert found.tcp is not None
    assert found.tcp.open == (443,)
    assert (found.tcp.filtered, found.tcp.closed) == (9999, 0)
    assert time.monotonic() - began < 30


def test_a_firewall_that_limits_its_refusals_costs_no_more_time() -> None:
    """The scan of a usual firewall would go on until its time is out, and call the ports undecided."""
    refused = frozenset(range(101, 1001))
    found = scanned(Stack(refused_tcp=refused, refuse_each=17), range(1, 1001))
    assert found.reason == ""
    assert found.tcp is not None
    assert (found.tcp.filtered_ranges, found.tcp.closed) == ("101-1000", 100)
    assert found.tcp.sent <= 3 * 1000


def test_lost_packets_are_sent_again() -> None:
    """Ports would look filtered because a packet was lost on the way."""
    found = scanned(Stack(open_tcp=frozenset({7, 22}), open_udp=frozenset({53}), lose=0.1))
    assert found.tcp is not None
    assert found.udp is not None
    assert (found.tcp.open, found.tcp.closed, found.tcp.filtered) == ((7, 22), 1998, 0)
    assert found.tcp.sent > 2000
    assert found.udp.open == (53,)


def test_packets_that_come_twice_count_once() -> None:
    """A port would be counted twice, or the pace of the scan run away."""
    found = scanned(Stack(open_tcp=frozenset({7}), open_udp=frozenset({53}), twice=True))
    assert found.tcp is not None
    assert found.udp is not None
    assert (found.tcp.open, found.tcp.closed) == ((7,), 1999)
    assert (found.udp.open, found.udp.closed) == ((53,), len(UDP_PORTS) - 1)


@pytest.mark.parametrize(
    "noise",
    [
        b"\0",
        b"\xff" * 1514,
        to_frame(Ipv4(source=LEASE, destination=ROUTER, protocol=Protocol.TCP, payload=bytes(20))),
        to_frame(Ipv4(source=b"\1\2\3\4", destination=ROUTER, protocol=99, payload=bytes(1000))),
        # An answer to a question that was never asked.
        to_frame(
            Ipv4(
                source=LEASE,
                destination=ROUTER,
                protocol=Protocol.TCP,
                payload=Tcp(
                    source_port=99,
                    port=40000,
                    sequence=0,
                    acknowledged=1,
                    flags=int(TcpFlag.SYN | TcpFlag.ACK),
                ).encode(LEASE, ROUTER),
            )
        ),
    ],
)
def test_frames_that_make_no_sense_change_nothing(noise: bytes) -> None:
    """A guest could invent open ports, or stop the scan."""
    found = scanned(Stack(open_tcp=frozenset({7}), noise=noise), range(1, 301))
    assert found.tcp is not None
    assert (found.tcp.open, found.tcp.closed, found.tcp.filtered) == ((7,), 299, 0)


def test_a_guest_that_floods_its_link_is_scanned_all_the_same() -> None:
    """A guest could hold the scan up for ever, or make its memory grow, by sending without end."""
    stack = Stack(open_tcp=frozenset({7}), floods=to_frame(ask_dhcp(DhcpKind.DISCOVER)))
    found = scanned(stack, range(1, 301))
    assert found.tcp is not None
    assert (found.tcp.open, found.tcp.closed, found.tcp.filtered) == ((7,), 299, 0)


def test_a_guest_that_limits_its_resets_is_asked_until_it_has_answered() -> None:
    """Closed ports of a system that sends some hundred resets a second would look filtered."""
    found = scanned(Stack(open_tcp=frozenset({7}), rst_per_s=300), range(1, 1001))
    assert found.tcp is not None
    assert (found.tcp.open, found.tcp.closed, found.tcp.filtered) == ((7,), 999, 0)


def test_udp_ports_are_open_closed_or_silent() -> None:
    """A silent service would be reported as closed, or a closed port as open."""
    stack = Stack(open_udp=frozenset({53, 5355}), silent_udp=frozenset({9, 514, 51820}), icmp_limit=6)
    found = scanned(stack, ())
    assert found.udp is not None
    assert (found.udp.open, found.udp.no_answer) == ((53, 5355), 3)
    # Linux would have refused six of them had all been asked from one address.
    assert found.udp.closed == found.udp.asked - 5


@pytest.mark.parametrize("address", ["fe80::5054:ff:fe12:3456", "fe80::1234:5678:9abc:def0"])
def test_ports_that_only_ipv6_reaches_are_found(address: str) -> None:
    """A guest whose firewall knows only IPv4 would seem to have nothing open."""
    raw = socket.inet_pton(socket.AF_INET6, address)
    stack = Stack(address_ipv6=raw, open_tcp_ipv6=frozenset({22}), dropped_tcp=lambda _: True)
    with run_guest(stack) as link:
        host = LinkHost(link)
        host._learn(raw)
        found = scan(FakeMachine((), None, ("fake",)), SerialLog(), host, ports=range(1, 301))
    assert found.tcp is not None
    assert found.tcp_ipv6 is not None
    assert (found.tcp.open, found.tcp.filtered) == ((), 300)
    assert (found.tcp_ipv6.open, found.tcp_ipv6.closed) == ((22,), 299)
    assert (found.address_ipv6, found.reason_ipv6) == (address, "")


def test_a_guest_without_ipv6_is_a_result() -> None:
    """No IPv6 address would be reported as no open ports."""
    found = scanned(Stack(), ())
    assert (found.tcp_ipv6, found.reason_ipv6, found.reason) == (None, ports.NO_IPV6, "")


def test_services_of_multicast_groups_are_asked_there_too() -> None:
    """Responders that drop what comes by itself, as systemd's does, would not be seen."""
    stack = Stack()
    scanned(stack, ())
    groups = {packet.destination: packet for packet in stack.heard if packet.destination[0] == 224}
    assert {group[3] for group in groups} == {251, 252}
    datagram = Udp.decode(groups[bytes([224, 0, 0, 252])])
    assert datagram is not None
    assert datagram.port == 5355


def test_a_question_for_llmnr_asks_for_the_guests_own_address() -> None:
    """The one service that Debian has open would not answer."""
    assert b"\x0215\x012\x010\x0210\x07in-addr\x04arpa\0" in make_question(5355, LEASE)


# --- guests that cannot be scanned --------------------------------------------------------------------


def test_a_guest_without_a_network_is_a_result() -> None:
    """Guests without a network would end the run with an error."""
    found = scan(FakeMachine((), None, ("fake",)), SerialLog(), None)
    assert found == PortScan(reason=ports.NO_NETWORK, reason_ipv6=ports.NO_NETWORK)


def test_a_guest_without_an_address_is_a_result() -> None:
    """No address would be reported as no open ports."""
    silent = PortScan(reason=ports.SILENT, reason_ipv6=ports.SILENT)
    assert scanned(Stack(address=None), address_s=0.4) == silent
    probe = Arp(operation=ArpOperation.REQUEST, sender_mac=MAC, sender=bytes(4), target=LEASE)
    talks = Stack(address=None, noise=to_frame(probe))
    found = scanned(talks, address_s=0.4)
    assert found == PortScan(reason=ports.NO_ADDRESS, reason_ipv6=ports.NO_IPV6)


def test_a_guest_that_dies_is_not_said_to_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that crashes under the scan would look like one with a firewall."""
    monkeypatch.setattr("guestbench.families.surface.network.scan_target.LOST_S", 1.0)
    monkeypatch.setattr("guestbench.families.surface.network.tcp_scan.LOST_S", 1.0)
    found = scanned(Stack(dies_after=500))
    assert found.reason == LOST
    assert found.tcp is not None
    assert found.udp is None
    assert found.tcp.filtered == 0
    assert found.tcp.closed + found.tcp.undecided == 2000
    assert found.tcp.undecided > 1000


def test_a_vmm_that_goes_ends_the_scan_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scan of a guest that has gone would wait out its time, or be an error."""
    for where in ("scan_target", "tcp_scan"):
        monkeypatch.setattr(f"guestbench.families.surface.network.{where}.LOST_S", 60.0)
    began = time.monotonic()
    found = scanned(Stack(closes_after=500))
    assert found.reason == ENDED
    assert time.monotonic() - began < 30
    off = scanned(Stack(), machine=FakeMachine((), 0, ("fake",)))
    assert (off.reason, off.tcp) == (ENDED, None)


def test_the_console_is_read_and_kept_during_the_scan() -> None:
    """The guest would stop at a full console, and what it says of the scan be lost."""
    log = SerialLog()
    machine = FakeMachine((Chunk(t_ns=0, data=b"possible SYN flooding\n"),), None, ("fake",))
    with run_guest(Stack()) as link:
        scan(machine, log, LinkHost(link), ports=FEW)
    assert bytes(log.data) == b"possible SYN flooding\n"


def test_a_guest_that_floods_its_console_is_not_scanned_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scan would fill the memory with what a guest prints."""
    monkeypatch.setattr("guestbench.families.surface.network.scan_target.FLOOD_BYTES", 1000)
    machine = FakeMachine((Chunk(t_ns=0, data=b"spam" * 300),), None, ("fake",))
    assert scanned(Stack(), machine=machine).reason == FLOODS


def test_a_scan_that_takes_too_long_says_what_it_knows() -> None:
    """A slow guest would hold the run up for hours, or ports never asked be called filtered."""
    found = scanned(Stack(rst_per_s=20), range(1, 1001), tcp_s=1.0)
    assert found.reason == ports.LATE
    assert found.tcp is not None
    assert found.tcp.filtered == 0
    assert found.tcp.undecided > 500


# --- the host at the other end ------------------------------------------------------------------------


def test_a_guest_that_asks_gets_its_lease() -> None:
    """Guests that want DHCP would have no address to be scanned at."""
    stack = Stack(address=None, asks_dhcp=True, open_tcp=frozenset({22}))
    found = scanned(stack, range(1, 101))
    assert found.address == "10.0.2.15"
    assert found.tcp is not None
    assert found.tcp.open == (22,)


@pytest.mark.parametrize("address", [bytes([10, 0, 2, 99]), bytes([192, 168, 7, 2])])
def test_a_guest_with_an_address_of_its_own_is_found(address: bytes) -> None:
    """Only guests with the address that QEMU's user network leases could be scanned."""
    hello = Arp(operation=ArpOperation.REQUEST, sender_mac=MAC, sender=address, target=address)
    stack = Stack(address=address, open_tcp=frozenset({22}))
    with run_guest(stack) as link:
        host = LinkHost(link)
        host._learn(hello.sender)
        found = scan(FakeMachine((), None, ("fake",)), SerialLog(), host, ports=(22,))
    assert found.address == ".".join(map(str, address))
    assert {packet.source[:3] for packet in stack.heard} == {address[:3]}


class Wire:
    """A host, and what the guest's end of its link hears."""

    def __init__(self, link: SocketLink, host: LinkHost) -> None:
        self.link = link
        self.host = host

    def tell(self, *packets: Arp | Ipv4 | Ipv6) -> list[Ethernet]:
        """What the host answers to these."""
        self.link.send(*(to_frame(packet) for packet in packets))
        self.host()
        frames = [Ethernet.decode(data) for data in self.link.receive()]
        return [frame for frame in frames if frame is not None]


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A host on a link, and the guest's end."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Wire(SocketLink(theirs), LinkHost(SocketLink(ours)))


def only(frames: list[Ethernet]) -> Ipv4:
    """The packet in the one frame that came."""
    (frame,) = frames
    assert frame.source == HOST_MAC
    packet = Ipv4.decode(frame.payload)
    assert packet is not None
    return packet


@pytest.mark.parametrize(("last", "answers"), [(2, True), (3, True), (15, False), (1, False)])
def test_the_host_answers_arp_for_its_own_addresses_only(wire: Wire, last: int, answers: bool) -> None:
    """A guest that checks whether its address is free would be told that it is not, and have none."""
    target = bytes([10, 0, 2, last])
    asked = Arp(operation=ArpOperation.REQUEST, sender_mac=MAC, sender=bytes(4), target=target)
    frames = wire.tell(asked)
    assert len(frames) == answers
    for frame in frames:
        reply = Arp.decode(frame.payload)
        assert reply is not None
        assert (reply.operation, reply.sender, reply.sender_mac) == (ArpOperation.REPLY, target, HOST_MAC)
        assert frame.destination == MAC


def test_the_host_answers_for_its_ipv6_address_only(wire: Wire) -> None:
    """The guest could not answer a scan over IPv6, or would be told that its address is taken."""
    own = socket.inet_pton(socket.AF_INET6, "fe80::1")
    router = socket.inet_pton(socket.AF_INET6, "fe80::2")

    def ask(source: bytes, target: bytes) -> list[Ethernet]:
        question = Neighbour(kind=NeighbourKind.SOLICITATION, target=target, mac=MAC)
        return wire.tell(make_packet(source, target, question))

    (frame,) = ask(own, router)
    packet = Ipv6.decode(frame.payload)
    assert packet is not None
    answer = Neighbour.decode(packet)
    assert answer == Neighbour(kind=NeighbourKind.ADVERTISEMENT, target=router, mac=HOST_MAC)
    assert wire.host.candidates_ipv6 == [own]
    other = socket.inet_pton(socket.AF_INET6, "fe80::3")
    assert ask(bytes(16), other) == []
    assert ask(own, other) == []
    assert set(wire.host.candidates_ipv6) == {own, other}


def test_the_host_answers_ping(wire: Wire) -> None:
    """Guests that wait for their gateway would not get ready."""
    ping = Icmp(kind=IcmpKind.ECHO, code=0, payload=b"\0\1\0\2data").encode()
    packet = only(wire.tell(Ipv4(source=LEASE, destination=ROUTER, protocol=Protocol.ICMP, payload=ping)))
    reply = Icmp.decode(packet)
    assert reply == Icmp(kind=IcmpKind.ECHO_REPLY, code=0, payload=b"\0\1\0\2data")
    assert wire.host.candidates == [LEASE]


def test_the_host_refuses_connections_and_fails_lookups(wire: Wire) -> None:
    """A guest that calls home would wait for a time-out before it is ready."""
    syn = Tcp(source_port=5, port=80, sequence=9, flags=int(TcpFlag.SYN)).encode(LEASE, ROUTER)
    packet = only(wire.tell(Ipv4(source=LEASE, destination=ROUTER, protocol=Protocol.TCP, payload=syn)))
    reset = Tcp.decode(packet)
    assert reset is not None
    assert (reset.port, reset.acknowledged, reset.flags) == (5, 10, TcpFlag.RST | TcpFlag.ACK)
    server = bytes([10, 0, 2, 3])
    query = make_question(53, LEASE)
    datagram = Udp(source_port=1000, port=53, payload=query).encode(LEASE, server)
    packet = only(wire.tell(Ipv4(source=LEASE, destination=server, protocol=Protocol.UDP, payload=datagram)))
    answer = Udp.decode(packet)
    assert answer is not None
    assert answer.payload == query[:2] + b"\x81\x82" + query[4:]


@pytest.mark.parametrize(
    ("kind", "wanted", "answer"),
    [
        (DhcpKind.DISCOVER, b"", DhcpKind.OFFER),
        (DhcpKind.REQUEST, LEASE, DhcpKind.ACK),
        (DhcpKind.REQUEST, b"", DhcpKind.ACK),
        (DhcpKind.REQUEST, bytes([192, 168, 1, 1]), DhcpKind.NAK),
        (DhcpKind.RELEASE, b"", None),
    ],
)
def test_the_host_leases_one_address(
    wire: Wire, kind: DhcpKind, wanted: bytes, answer: DhcpKind | None
) -> None:
    """Guests with DHCP would get no lease, or keep one of another network."""
    frames = wire.tell(ask_dhcp(kind, {DhcpOption.REQUESTED_ADDRESS: wanted} if wanted else {}))
    if answer is None:
        assert frames == []
        return
    packet = only(frames)
    assert packet.destination == BROADCAST_ADDRESS
    datagram = Udp.decode(packet)
    assert datagram is not None
    message = Dhcp.decode(datagram.payload)
    assert message is not None
    assert (message.kind, message.transaction, datagram.port) == (answer, b"abcd", 68)
    if answer is not DhcpKind.NAK:
        assert message.yours == LEASE
        assert message.options[DhcpOption.ROUTER] == ROUTER
        assert message.options[DhcpOption.SUBNET_MASK] == b"\xff\xff\xff\0"
    assert wire.host.candidates == ([LEASE] if answer is DhcpKind.ACK else [])


def test_a_guest_of_many_addresses_is_remembered_within_bounds(wire: Wire) -> None:
    """A guest that sends from millions of addresses would fill the memory."""
    for last in range(100):
        source = bytes([10, 0, 9, last])
        wire.tell(Arp(operation=ArpOperation.REPLY, sender_mac=MAC, sender=source, target=ROUTER))
    assert len(wire.host.candidates) <= 16
    assert wire.host.candidates[-1] == bytes([10, 0, 9, 99])


@pytest.mark.parametrize(("numbers", "text"), [((), ""), ((5,), "5"), ((1, 2, 3, 7, 9, 10), "1-3,7,9-10")])
def test_ranges_are_written_as_people_write_them(numbers: tuple[int, ...], text: str) -> None:
    """The evidence for filtered ports could not be read."""
    assert format_ranges(numbers) == text
