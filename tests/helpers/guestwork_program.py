"""The C workload program on this host, and what it must answer."""

from __future__ import annotations

import hashlib
import shutil
import socket
from pathlib import Path

import pytest

from guestbench.host import process

SOURCES = Path(__file__).parents[2] / "src" / "guestbench" / "workloads" / "programs" / "guestwork"
FLAGS = (
    *("-std=c11", "-O2", "-static", "-nostdlib", "-ffreestanding", "-fno-stack-protector"),
    *("-fno-asynchronous-unwind-tables", "-fno-tree-loop-distribute-patterns", "-march=x86-64"),
    *("-fno-pie", "-no-pie", "-Wl,--build-id=none", "-Wall", "-Wextra", "-Werror"),
    *('-DSOURCE="0123456789abcdef"', '-DCOMPILER="gcc-0"', '-DFLAGS="-O2,-static"'),
)
ANSWER_S = 30.0


def compile_program(folder: Path) -> Path:
    """The program, compiled with the flags it is always compiled with."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    file = folder / "guestwork"
    process.run(["gcc", *FLAGS, "-o", file, *sorted(SOURCES.glob("*.c"))])
    return file


def digest_of(*numbers: int) -> str:
    """The digest of a result: its numbers, each as 8 bytes."""
    packed = b"".join(number.to_bytes(8, "little") for number in numbers)
    return hashlib.sha256(packed).hexdigest()[:32]


def count_primes(limit: int) -> int:
    """Odd primes below `limit`, from a sieve."""
    prime = bytearray([1]) * limit
    for number in range(2, limit):
        prime[2 * number :: number] = bytes(len(range(2 * number, limit, number)))
    return sum(prime[3:])


def receive(client: socket.socket, size: int) -> bytes:
    """Exactly `size` bytes."""
    received = bytearray()
    while len(received) < size:
        chunk = client.recv(min(65536, size - len(received)))
        assert chunk, f"the server closed after {len(received)} of {size} bytes"
        received += chunk
    return bytes(received)


def receive_all(client: socket.socket) -> bytes:
    """Everything until the server closes."""
    received = bytearray()
    while chunk := client.recv(65536):
        received += chunk
    return bytes(received)
