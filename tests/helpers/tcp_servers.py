"""TCP servers of this host that keep to their protocols, and some that do not."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Serve = Callable[[socket.socket], None]
PATIENCE_S = 20.0


@contextmanager
def serving(serve: Serve) -> Iterator[int]:
    """A port of this host where `serve` is called with each connection, in a thread of its own."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def handle(sock: socket.socket) -> None:
        with sock, suppress(OSError):
            sock.settimeout(PATIENCE_S)
            serve(sock)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=handle, args=(listener.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(PATIENCE_S)


def echo(sock: socket.socket) -> None:
    """RFC 862."""
    while data := sock.recv(65536):
        sock.sendall(data)


def discard(sock: socket.socket) -> None:
    """RFC 863."""
    while sock.recv(65536):
        pass


def chargen_from(line: int) -> Serve:
    """RFC 864, beginning with a line of the pattern; written apart from the code under test."""

    def serve(sock: socket.socket) -> None:
        number = line
        while True:
            lines = (
                "".join(chr(32 + (n + i) % 95) for i in range(72)) + "\r\n"
                for n in range(number, number + 95)
            )
            sock.sendall("".join(lines).encode())
            number += 95

    return serve


def chargen_until(size_bytes: int) -> Serve:
    """So many bytes of RFC 864's pattern, then nothing more."""

    def serve(sock: socket.socket) -> None:
        lines = (
            "".join(chr(32 + (n + i) % 95) for i in range(72)) + "\r\n" for n in range(size_bytes // 74 + 1)
        )
        sock.sendall("".join(lines).encode()[:size_bytes])
        time.sleep(PATIENCE_S)

    return serve


def silence(sock: socket.socket) -> None:
    """Takes the connection and neither reads nor writes, until the other side goes."""
    time.sleep(1.5)


def deaf_after(most_bytes: int, gone: threading.Event) -> Callable[[Serve], Serve]:
    """Makes servers that share a link: once so many bytes came at a time, none of them says or takes more."""

    def make(serve: Serve) -> Serve:
        def deaf(sock: socket.socket) -> None:
            if not gone.is_set() and len(sock.recv(65536, socket.MSG_PEEK)) < most_bytes:
                serve(sock)
                return
            gone.set()
            time.sleep(PATIENCE_S)

        return deaf

    return make


def echo_until(number: int) -> Serve:
    """Answers so many bytes, then reads nothing and says nothing."""

    def serve(sock: socket.socket) -> None:
        for _ in range(number):
            sock.sendall(sock.recv(1))
        time.sleep(PATIENCE_S)

    return serve


def reset(sock: socket.socket) -> None:
    """Reads a little and resets the connection."""
    sock.recv(10)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def flood(sock: socket.socket) -> None:
    """Sends zeros for as long as anyone takes them, and reads nothing."""
    while True:
        sock.sendall(bytes(65536))


def close(sock: socket.socket) -> None:
    """Ends its stream at once, in good form, and reads on."""
    sock.shutdown(socket.SHUT_WR)
    discard(sock)


def wrong_echo(sock: socket.socket) -> None:
    """Answers each byte with another."""
    while data := sock.recv(1):
        sock.sendall(bytes(255 - byte for byte in data))


def double_echo(sock: socket.socket) -> None:
    """Answers each byte twice."""
    while data := sock.recv(1):
        sock.sendall(data * 2)
