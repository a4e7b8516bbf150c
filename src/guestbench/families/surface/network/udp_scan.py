"""A scan of a guest's commonest UDP ports: which answer, refuse or stay silent; it never guesses.

A port is open if anything answers a question that fits, closed if the guest says by ICMP that nobody listens,
and else it cannot be told: a service is seen only if it understands what it is asked. The questions are in
`udp_scan.toml`. Numbers and names there are those of IANA's registry of services; the choice is ours: what
servers, network devices and Unix systems really run.
"""

from __future__ import annotations

import socket
import struct
import time
import tomllib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from guestbench.families.surface.network.link_host import Arrival
from guestbench.families.surface.network.packets import PORT_UNREACHABLE, Icmp, Protocol, Udp
from guestbench.families.surface.network.scan_target import Target
from guestbench.model import Frozen

OPEN, CLOSED = 1, 2
"""What is known of a port; 0 while nothing is."""

ROUNDS = 3
WAIT_S = 1.0
PER_SOURCE = 4
"""Linux sends six ICMP refusals to one address at once, and then one a second (icmp_ratelimit): so ask from
many addresses, and never more often than that from one."""
BURST = 40
"""Linux sends 50 at once to all together, then 1,000 a second (icmp_msgs_burst, icmp_msgs_per_sec)."""
GAP_S = 0.06
SOURCE_PORT = 50000


class Service(Frozen):
    """A row of `udp_scan.toml`, which says what the fields mean."""

    name: str
    text: str = ""
    hex: str = ""
    size: int = 0
    group: str = ""


_ROWS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
SERVICES = {int(port): msgspec.convert(row, Service) for port, row in _ROWS.items()}
PORTS = tuple(SERVICES)
LLMNR_PORT = 5355


class UdpPorts(Frozen):
    """What came of the UDP ports that were `asked`: of those with no answer, nobody can say more.

    `sent` counts questions.
    """

    asked: int = 0
    open: tuple[int, ...] = ()
    closed: int = 0
    no_answer: int = 0
    sent: int = 0
    duration_s: float = 0.0


class UdpScan:
    """A scan under way. Each port is asked from a port of its own, which tells the answers apart."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._states = dict.fromkeys(PORTS, 0)
        self._sent = 0
        self._began_s = time.monotonic()

    def run(self) -> None:
        """Ask the ports, those that do not answer several times. Raises Stop."""
        for number in range(ROUNDS):
            silent = [port for port in PORTS if not self._states[port]]
            self._run_round(silent, number)
        if not all(self._states.values()):
            self._target.check()

    def to_ports(self) -> UdpPorts:
        """What has been found so far."""
        states = list(self._states.values())
        return UdpPorts(
            asked=len(states),
            open=tuple(port for port, state in self._states.items() if state == OPEN),
            closed=states.count(CLOSED),
            no_answer=len(states) - states.count(OPEN) - states.count(CLOSED),
            sent=self._sent,
            duration_s=time.monotonic() - self._began_s,
        )

    def _run_round(self, ports: Sequence[int], number: int) -> None:
        sources = self._target.sources
        for at in range(0, len(ports), BURST):
            frames = []
            for place, port in enumerate(ports[at : at + BURST], at):
                # Each round goes on with the sources where the last one stopped.
                used = number * (len(PORTS) // PER_SOURCE + 1) + place // PER_SOURCE
                source = sources[used % len(sources)]
                datagram = Udp(_own_port(port), port, make_question(port, self._target.address))
                frames.append(self._target.frame(source, datagram))
                if group := SERVICES[port].group:
                    frames.append(self._target.frame(source, datagram, socket.inet_aton(group)))
            if self._target.send(frames):
                self._sent += len(frames)
            self._listen(GAP_S)
        self._listen(WAIT_S)

    def _listen(self, seconds: float) -> None:
        if not all(self._states.values()):
            for arrival in self._target.listen_for(seconds):
                self._take(arrival)
                if all(self._states.values()):
                    return

    def _take(self, arrival: Arrival) -> None:
        match arrival.content:
            case Udp(port=own):
                # Some services answer from another port than they were asked at.
                port = _asked_from(own)
                if port is not None and arrival.destination in self._target.sources:
                    self._states[port] = OPEN
            case Icmp(code=code) as message:
                quoted = message.quoted()
                if quoted is None or code != PORT_UNREACHABLE or quoted.protocol != Protocol.UDP:
                    return
                ours = _asked_from(quoted.source_port) == quoted.port
                if ours and quoted.destination == self._target.address:
                    self._states[quoted.port] = self._states[quoted.port] or CLOSED


def make_question(port: int, guest: bytes) -> bytes:
    """What to send to a UDP port of the guest whose IPv4 address is `guest`.

    A responder of LLMNR answers only for names that are its own. The one that is known from outside is that
    of its address.
    """
    if port != LLMNR_PORT:
        service = SERVICES[port]
        known = service.text.encode() or bytes.fromhex(service.hex)
        return known.ljust(service.size if known or service.size else 8, b"\0")
    labels = (*reversed(socket.inet_ntoa(guest).split(".")), "in-addr", "arpa", "")
    name = b"".join(bytes([len(label)]) + label.encode() for label in labels)
    return struct.pack("!HHHHHH", 0x6762, 0, 1, 0, 0, 0) + name + struct.pack("!HH", 12, 1)


def _own_port(port: int) -> int:
    return SOURCE_PORT + PORTS.index(port)


def _asked_from(own: int) -> int | None:
    place = own - SOURCE_PORT
    return PORTS[place] if 0 <= place < len(PORTS) else None
