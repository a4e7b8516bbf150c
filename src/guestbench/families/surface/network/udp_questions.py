"""The questions that a guest's commonest UDP ports are asked, read from `udp_questions.toml`.

A UDP port says nothing of itself: a service is seen only if it understands what it is asked. Numbers and
names are those of IANA's registry of services; the choice is ours: what servers, network devices and Unix
systems really run. Ports without a question of their own are sent a few zero bytes.
"""

from __future__ import annotations

import socket
import struct
import tomllib
from pathlib import Path

import msgspec

from guestbench.model import Frozen


class Service(Frozen):
    """A row of the file, which says what the fields mean."""

    name: str
    text: str = ""
    hex: str = ""
    size: int = 0
    group: str = ""

    @property
    def question(self) -> bytes:
        """What the service is asked."""
        known = self.text.encode() or bytes.fromhex(self.hex)
        return known.ljust(self.size if known or self.size else 8, b"\0")


_ROWS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
SERVICES = {int(port): msgspec.convert(row, Service) for port, row in _ROWS.items()}
PORTS = tuple(SERVICES)
LLMNR_PORT = 5355


def make_question(port: int, guest: bytes) -> bytes:
    """What to send to a UDP port of the guest whose IPv4 address is `guest`.

    A responder of LLMNR answers only for names that are its own. The one that is known from outside is that
    of its address.
    """
    if port != LLMNR_PORT:
        return SERVICES[port].question
    labels = (*reversed(socket.inet_ntoa(guest).split(".")), "in-addr", "arpa", "")
    name = b"".join(bytes([len(label)]) + label.encode() for label in labels)
    return struct.pack("!HHHHHH", 0x6762, 0, 1, 0, 0, 0) + name + struct.pack("!HH", 12, 1)
