"""The C workload program on this host: what it prints and computes, and how it serves hostile clients."""

from __future__ import annotations

import hashlib
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from guestwork_program import ANSWER_S, count_primes, digest_of, receive, receive_all

from guestbench.host import process

TOLD = "source=0123456789abcdef compiler=gcc-0 flags=-O2,-static"
END = r"\[work end {} done=(\d+) digest=([0-9a-f]{{32}}) guest_ns=\d+\]"
SERVICES = ("echo", "discard", "chargen", "http")
REQUEST = b"GET / HTTP/1.1\r\nHost: guest\r\n\r\n"


def run(program: Path, *arguments: str) -> list[str]:
    """The lines that it prints."""
    return process.run([program, *arguments]).stdout.decode("ascii").splitlines()


# --- work -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "events"), [(1, 1), (4, 2), (1000, 9), (10000, 17)])
def test_cpu_counts_the_primes(program: Path, limit: int, events: int) -> None:
    """A guest could report a rate of work that it did not do, or did wrong."""
    begin, end = run(program, "cpu", f"limit={limit}", f"events={events}")
    assert begin == f"[work begin cpu {TOLD} limit={limit} events={events}]"
    found = re.fullmatch(END.format("cpu"), end)
    assert found
    assert found.groups() == (str(events), digest_of(*[count_primes(limit)] * events))


def test_parameters_left_out_are_reported_with_their_defaults(program: Path) -> None:
    """Two runs could not be told apart where one has other parameters."""
    assert run(program, "cpu", "limit=10")[0] == f"[work begin cpu {TOLD} limit=10 events=400]"
    lines = run(program, "memory")
    assert [line.split("op=")[1] for line in lines if "op=" in line] == [
        "write block=1048576 total=4294967296]",
        "read block=1048576 total=4294967296]",
        "write block=1024 total=4294967296]",
    ]


def memory_sum(op: str, words: int, passes: int) -> int:
    """What the accesses of one part add up to, computed from the words that each pass leaves."""

    def word(index: int, number: int) -> int:
        return words - index + number

    total, unchecked, at, last = 0, 0, 0, passes if op == "write" else 0
    for number in range(1, passes + 1):
        if op == "read":
            total += word(words - 1, 0)
        unchecked += words
        if unchecked >= 8192:
            total = total * 31 + word(at, number if op == "write" else 0)
            unchecked, at = 0, (at + 97) % words
    for index in range(0, words, -(-4096 // passes) | 1):
        total = total * 31 + word(index, last)
    return total % 2**64


@pytest.mark.parametrize(("op", "words", "passes"), [("write", 1, 1), ("write", 130, 900), ("read", 9000, 7)])
def test_memory_notices_what_is_written_and_read(program: Path, op: str, words: int, passes: int) -> None:
    """A guest that loses stores would pass for a fast one."""
    begin, end = run(program, "memory", f"parts={op}:{8 * words}:{8 * words * passes}")
    total = 8 * words * passes
    assert begin == f"[work begin memory {TOLD} op={op} block={8 * words} total={total}]"
    found = re.fullmatch(END.format("memory"), end)
    assert found
    assert found.groups() == (str(total), digest_of(memory_sum(op, words, passes)))


def test_memory_does_its_parts_in_order(program: Path) -> None:
    """Results would be put down to another part of the work."""
    lines = run(program, "memory", "parts=write:1K:1M,read:8:16,write:1M:1M")
    begins = [line for line in lines if line.startswith("[work begin memory ")]
    assert len(lines) == 6
    assert lines[::2] == begins
    assert [line.split(" op=")[1] for line in begins] == [
        "write block=1024 total=1048576]",
        "read block=8 total=16]",
        "write block=1048576 total=1048576]",
    ]


def test_a_block_larger_than_memory_is_an_error(program: Path) -> None:
    """A guest with too little memory would crash in an unclear way."""
    done = process.run([program, "memory", "parts=write:1000000G:1000000G"], check=False)
    assert (done.status, done.stdout) == (1, b"")
    assert done.stderr == b"error: no memory for bytes: 1073741824000000\n"


@pytest.mark.parametrize(
    "arguments",
    [
        *((), ("cup",), ("cpu", "evnts=3"), ("cpu", "events"), ("cpu", "events="), ("cpu", "events=0")),
        *(("cpu", "events=3x"), ("cpu", "limit=4294967296"), ("cpu", "limit=99999999999999999999")),
        *(("memory", "part=write:8:8"), ("memory", "parts="), ("memory", "parts=copy:8:8")),
        *(("memory", "parts=write:12:24"), ("memory", "parts=write:16:24"), ("memory", "parts=write:0:0")),
        *(("memory", "parts=write:8:0"), ("memory", "parts=write:8:8,"), ("memory", "parts=write:8")),
        *(("memory", "parts=write:8:99999999999G"), ("serve", "ports=8"), ("serve", "ports=echo:0")),
        *(("serve", "ports=echo:65536"), ("serve", "ports=telnet:23"), ("serve", "ports=7,")),
        *(("serve", "bind=127.0.0"), ("serve", "bind=127.0.0.256"), ("serve", "address=10.0.2.15")),
        *(("serve", "address=10.0.2.15/33"), ("serve", "gateway=10.0.2.2/24"), ("serve", "port=7")),
    ],
    ids=" ".join,
)
def test_a_mistake_in_the_arguments_is_told_at_once(program: Path, arguments: tuple[str, ...]) -> None:
    """A misspelt parameter would be measured as if it had been left out."""
    done = process.run([program, *arguments], check=False, timeout_s=ANSWER_S)
    assert (done.status, done.stdout) == (2, b"")
    assert re.fullmatch(rb"error: [ -~]+\n", done.stderr)


def test_an_argument_of_any_length_is_told_in_one_line(program: Path) -> None:
    """A long argument would write past the end of a line, or leave the line open."""
    done = process.run([program, "cpu", "x" * 5000], check=False)
    assert done.status == 2
    assert len(done.stderr) == 512
    assert done.stderr.endswith(b"x\n")


# --- service --------------------------------------------------------------------------------------------


class Server:
    """A running `serve`."""

    def __init__(self, child: process.Child, ports: dict[str, int]) -> None:
        self.child = child
        self.ports = ports

    def connect(self, service: str, *, receive_bytes: int | None = None) -> socket.socket:
        """A client; `receive_bytes` makes its receive buffer so small."""
        client = socket.socket()
        if receive_bytes is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        client.settimeout(ANSWER_S)
        client.connect(("127.0.0.1", self.ports[service]))
        return client


@contextmanager
def serve(program: Path) -> Iterator[Server]:
    """The server, listening on ports that nobody else uses."""
    with ExitStack() as free:
        found = [free.enter_context(socket.socket()) for _ in SERVICES]
        for each in found:
            each.bind(("127.0.0.1", 0))
        ports = {service: each.getsockname()[1] for service, each in zip(SERVICES, found, strict=True)}
    listing = ",".join(f"{service}:{port}" for service, port in ports.items())
    argv: list[str | Path] = [program, "serve", f"ports={listing}", "bind=127.0.0.1"]
    with process.start(argv, stdout=process.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"[serve ready]\n"
        yield Server(child, ports)
        assert child.poll() is None, "the server ended"


@pytest.fixture
def server(program: Path) -> Iterator[Server]:
    """A server of this test's own."""
    with serve(program) as running:
        yield running


def check_echo(server: Server, data: bytes = b"still there?") -> None:
    """The server answers a new client."""
    with server.connect("echo") as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == data


def test_echo_is_byte_exact(server: Server) -> None:
    """Data would be lost or mixed up on the guest's network without anyone noticing."""
    data = hashlib.shake_256(b"guestwork").digest(2**20)
    with server.connect("echo", receive_bytes=4096) as client:
        client.setblocking(False)
        sent, received, end = 0, bytearray(), time.monotonic() + ANSWER_S
        while len(received) < len(data) and time.monotonic() < end:
            # Writing as much as goes before reading makes the server keep what we do not take.
            try:
                while sent < len(data):
                    sent += client.send(data[sent : sent + 65536])
            except BlockingIOError:
                pass
            try:
                received += client.recv(65536)
            except BlockingIOError:
                time.sleep(0.001)
        assert bytes(received) == data


def test_echo_sends_the_rest_after_the_client_has_ended(server: Server) -> None:
    """The end of a stream would be lost."""
    check_echo(server, bytes(range(256)) * 1000)


def test_discard_answers_the_end_with_the_end(server: Server) -> None:
    """A sender could not tell when the guest has taken all of its data."""
    with server.connect("discard") as client:
        client.sendall(bytes(3_000_000))
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == b""


def test_chargen_sends_the_lines_of_the_rfc(server: Server) -> None:
    """Data from the guest could not be checked."""
    glyphs = "".join(map(chr, range(0x20, 0x7F)))
    lines = [(glyphs * 2)[start : start + 72] + "\r\n" for start in range(95)]
    pattern = "".join(lines).encode()
    size = 3_000_001
    with server.connect("chargen") as client:
        client.sendall(b"what a client sends is of no matter")
        assert receive(client, size) == (pattern * (size // len(pattern) + 1))[:size]
        client.shutdown(socket.SHUT_WR)
        receive_all(client)


def test_64_clients_are_served_at_once_and_no_more(server: Server) -> None:
    """Too many clients would stop the server, or take memory without bound."""
    with ExitStack() as stack:
        clients = [stack.enter_context(server.connect("echo")) for _ in range(100)]
        for number, client in enumerate(clients[:64]):
            client.sendall(b"%d" % number)
        for number, client in enumerate(clients[:64]):
            assert receive(client, len(b"%d" % number)) == b"%d" % number
        assert [receive_all(client) for client in clients[64:]] == [b""] * 36
        for client in clients[:10]:
            client.close()
        check_echo(server)


def resident_kib(server: Server) -> int:
    """The memory of the server."""
    status = Path(f"/proc/{server.child.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1])


def test_clients_that_do_not_read_stop_nobody_and_cost_little(server: Server) -> None:
    """One stuck connection would spoil the measurement of the others, or fill the guest's memory."""
    with ExitStack() as stack:
        for service in ("echo", "chargen", "http"):
            for _ in range(8):
                client = stack.enter_context(server.connect(service, receive_bytes=4096))
                client.setblocking(False)
                try:
                    for _ in range(1000):
                        client.send(REQUEST * 200)
                except (BlockingIOError, ConnectionError):
                    pass
        for _ in range(20):
            check_echo(server)
        before = server.child.cpu_ns() or 0
        time.sleep(0.5)
        assert (server.child.cpu_ns() or 0) - before < 100_000_000, "it spins"
        assert resident_kib(server) < 2048


def test_clients_that_vanish_are_forgotten(server: Server) -> None:
    """Broken connections would use up the places of others, or end the server."""
    for round_number in range(100):
        client = server.connect(SERVICES[round_number % 4])
        client.send(REQUEST * 100)
        # Closing with this set sends a reset.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    check_echo(server)


# --- HTTP -----------------------------------------------------------------------------------------------


def http_answer(server: Server) -> bytes:
    """The one answer of the server, taken from a connection that ends after it."""
    with server.connect("http") as client:
        client.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\nconnection: Close\r\n\r\nGET / ")
        answer = receive_all(client)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")
    return answer


def test_http_connections_are_kept(server: Server) -> None:
    """A load generator would measure connections rather than requests."""
    answer = http_answer(server)
    with server.connect("http") as client:
        for _ in range(50):
            client.sendall(REQUEST)
            assert receive(client, len(answer)) == answer
        for byte in REQUEST:
            client.send(bytes([byte]))
        assert receive(client, len(answer)) == answer


def test_http_requests_may_come_before_the_answers(server: Server) -> None:
    """Pipelined requests would be answered too often or not at all."""
    answer = http_answer(server)
    with server.connect("http") as client:
        client.sendall(REQUEST * 1000 + REQUEST[:-1])
        assert receive(client, 1000 * len(answer)) == answer * 1000
        client.sendall(REQUEST[-1:])
        client.shutdown(socket.SHUT_WR)
        assert receive_all(client) == answer


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /" + b"x" * 9000,
        b"POST / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01",
        b"GET / HTTP/1.1\r\n" + b"a: b\n" * 3000,
    ],
    ids=["too long", "other method", "not HTTP", "no end"],
)
def test_http_refuses_what_it_does_not_know(server: Server, request_bytes: bytes) -> None:
    """A client with a wrong request would wait for ever, or take memory without bound."""
    with server.connect("http") as client:
        client.sendall(REQUEST + request_bytes)
        client.shutdown(socket.SHUT_WR)
        answers = receive_all(client)
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 1
    assert answers.endswith(b"\r\n\r\n")
    assert b"HTTP/1.1 400 Bad Request\r\n" in answers


def test_a_port_in_use_is_an_error(program: Path, server: Server) -> None:
    """The server would be reported as ready although it does not listen."""
    argv: list[str | Path] = [program, "serve", f"ports=echo:{server.ports['echo']}", "bind=127.0.0.1"]
    done = process.run(argv, check=False, timeout_s=ANSWER_S)
    assert (done.status, done.stdout) == (1, b"")
    assert done.stderr == f"error: cannot listen on port {server.ports['echo']}\n".encode()
