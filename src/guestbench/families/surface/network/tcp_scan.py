"""A scan of a guest's TCP ports: open, closed or filtered; it makes no connection and never guesses.

A SYN goes to each port, and a RST to whatever accepts. What makes "nothing came" mean something: behind
every few SYNs goes an ARP request (in IPv6, a neighbour solicitation), which any guest that is on the network
must answer. Its answer says that the guest has seen what was sent before it. It clocks the scan, so that a
guest is sent no more than it can take, and filtered ports cost no more time than closed ones. Ports that did
not answer are asked again in later rounds, until two rounds in a row have found nothing; and a guest that has
stopped answering ARP is not said to filter anything.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from guestbench.families.surface.network.link_host import Arrival
from guestbench.families.surface.network.packets import Arp, Icmp, Neighbour, Protocol, Tcp, TcpFlag
from guestbench.families.surface.network.scan_target import LOST_S, Target
from guestbench.model import Frozen

BATCH = 32
"""SYNs before an ARP request."""
BATCHES = 16
"""The most batches under way: 528 frames, what two receive rings of a virtio device hold."""
FIRST_WAIT_S, LEAST_WAIT_S, MOST_WAIT_S = 1.0, 0.3, 3.0
"""How long to wait for an ARP answer: four times what it usually takes, within these bounds."""
QUIET_ROUNDS = 2
PAUSE_S = 0.5
"""Between rounds: a guest that limits how fast it refuses may do so again after that."""
SOURCE_PORT = 40000


class TcpPorts(Frozen):
    """What came of the TCP ports: the open ones; how many closed and filtered, and how many were not decided.

    `filtered_ranges` names the filtered ones, such as `1-21,23`. `sent` counts SYNs.
    """

    open: tuple[int, ...] = ()
    closed: int = 0
    filtered: int = 0
    undecided: int = 0
    filtered_ranges: str = ""
    sent: int = 0
    duration_s: float = 0.0


OPEN, CLOSED, REFUSED = 1, 2, 3
"""What is known of a port; 0 while nothing is."""


class _Batch(NamedTuple):
    """SYNs that were sent together, with an ARP request behind them."""

    number: int
    ports: Sequence[int]
    sent_s: float


class TcpScan:
    """A scan of TCP ports under way."""

    def __init__(self, target: Target, ports: Sequence[int], limit_s: float) -> None:
        self._target = target
        self._ports = ports
        self._states = bytearray(65536)
        self._sequence = int.from_bytes(os.urandom(4), "big")
        self._under_way: deque[_Batch] = deque()
        self._number = 0
        self._window = 2.0
        self._usual_s = 0.0
        self._wait_s = FIRST_WAIT_S
        self._sent = 0
        self._began_s = time.monotonic()
        self._end_s = self._began_s + limit_s
        self._sure = False
        self.is_late = False

    def run(self) -> None:
        """Ask the ports until all have answered, or asking again is of no use. Raises Stop."""
        todo, quiet, known = self._ports, -1, 0
        while todo and quiet < QUIET_ROUNDS and not self.is_late:
            self._run_round(todo)
            # To be refused is to be filtered, as to get no answer is: it counts for nothing new.
            news = self._count(OPEN) + self._count(CLOSED) - known
            known += news
            if quiet < 0 or not news:
                quiet += 1
            else:
                # They did answer in the end: something was lost or held back, so send less at once.
                quiet, self._window = 0, max(1.0, self._window / 2)
            todo = [port for port in self._ports if not self._states[port]]
            if todo:
                # For late answers, and for a guest that limits its refusals to be ready for more.
                for arrival in self._target.listen_for(PAUSE_S):
                    self._take(arrival)
        if todo:
            self._target.check()
        self._sure = not self.is_late

    def to_ports(self) -> TcpPorts:
        """What has been found so far."""
        silent = [port for port in self._ports if self._states[port] in (0, REFUSED)]
        filtered = silent if self._sure else [port for port in silent if self._states[port]]
        return TcpPorts(
            open=tuple(port for port in self._ports if self._states[port] == OPEN),
            closed=self._count(CLOSED),
            filtered=len(filtered),
            undecided=len(silent) - len(filtered),
            filtered_ranges=format_ranges(filtered),
            sent=self._sent,
            duration_s=time.monotonic() - self._began_s,
        )

    def _count(self, state: int) -> int:
        return sum(self._states[port] == state for port in self._ports)

    def _run_round(self, todo: Sequence[int]) -> None:
        at = 0
        while at < len(todo) or self._under_way:
            while at < len(todo) and len(self._under_way) < int(self._window):
                if not self._send(todo[at : at + BATCH]):
                    break
                at += BATCH
            now_s = time.monotonic()
            due_s = self._under_way[0].sent_s + self._wait_s if self._under_way else now_s + LEAST_WAIT_S
            for arrival in self._target.listen(due_s - now_s):
                self._take(arrival)
            self._give_up()
            now_s = time.monotonic()
            if now_s > self._end_s:
                self.is_late = True
                self._under_way.clear()
                return
            if now_s - self._target.heard_s > LOST_S:
                self._target.check()

    def _send(self, ports: Sequence[int]) -> bool:
        source = self._target.sources[0]
        frames = [
            self._target.frame(source, Tcp(SOURCE_PORT, port, self._sequence, TcpFlag.SYN)) for port in ports
        ]
        frames.append(self._target.ask(self._number))
        if not self._target.send(frames):
            return False
        self._under_way.append(_Batch(self._number, ports, time.monotonic()))
        self._number += 1
        self._sent += len(ports)
        return True

    def _take(self, arrival: Arrival) -> None:
        match arrival.content:
            case Tcp() as segment:
                self._take_segment(segment)
            case Icmp() as message:
                quoted = message.quoted()
                if quoted and quoted.protocol == Protocol.TCP and quoted.destination == self._target.address:
                    self._states[quoted.port] = self._states[quoted.port] or REFUSED
            case Arp() | Neighbour():
                number = self._target.answered(arrival)
                if number is not None:
                    self._take_answer(number)

    def _take_segment(self, segment: Tcp) -> None:
        if segment.port != SOURCE_PORT:
            return
        fits = segment.acknowledged == (self._sequence + 1) % 2**32
        accepts = TcpFlag.SYN | TcpFlag.ACK
        if fits and segment.flags & (accepts | TcpFlag.RST) == accepts:
            self._states[segment.source_port] = OPEN
        elif fits and segment.flags & TcpFlag.RST and self._states[segment.source_port] != OPEN:
            self._states[segment.source_port] = CLOSED

    def _take_answer(self, number: int) -> None:
        """The guest has seen the batch with this number, and so all before it."""
        count = len(self._target.sources)
        place = next((i for i, each in enumerate(self._under_way) if each.number % count == number), None)
        if place is None:
            return
        took_s = time.monotonic() - self._under_way[place].sent_s
        self._usual_s = took_s if not self._usual_s else 0.8 * self._usual_s + 0.2 * took_s
        self._wait_s = min(max(4 * self._usual_s, LEAST_WAIT_S), MOST_WAIT_S)
        self._window = min(self._window + 0.5 * (place + 1), BATCHES)
        for _ in range(place + 1):
            self._under_way.popleft()

    def _give_up(self) -> None:
        """Wait no longer for batches whose ARP request was lost, unless all of their ports have answered."""
        now_s = time.monotonic()
        while self._under_way:
            oldest = self._under_way[0]
            if not all(self._states[port] for port in oldest.ports):
                if now_s < oldest.sent_s + self._wait_s:
                    return
                self._window = max(1.0, self._window / 2)
                self._wait_s = min(2 * self._wait_s, MOST_WAIT_S)
            self._under_way.popleft()


def format_ranges(ports: Sequence[int]) -> str:
    """Ascending port numbers as people write them: `1-21,23`."""
    ranges: list[list[int]] = []
    for port in ports:
        if ranges and port == ranges[-1][1] + 1:
            ranges[-1][1] = port
        else:
            ranges.append([port, port])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges)
