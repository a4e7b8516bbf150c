"""The host's side of TCP measurements, against servers that keep to the protocol and servers that do not."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from tcp_servers import (
    PATIENCE_S,
    Serve,
    chargen_from,
    chargen_until,
    close,
    discard,
    double_echo,
    echo,
    echo_until,
    flood,
    reset,
    serving,
    silence,
    wrong_echo,
)

from guestbench.families.net import tcp
from guestbench.families.net.tcp import ReadyProbe, Transfer, TransferError


def test_echo_times_each_request() -> None:
    """Latencies would be of other requests than those asked for, or nonsense."""
    with serving(echo) as port:
        times = tcp.time_echo(port, requests=300, warmups=10, timeout_s=PATIENCE_S)
    assert len(times) == 300
    assert all(0 < each < PATIENCE_S for each in times)


def test_send_and_receive_time_whole_transfers() -> None:
    """Throughput would be of less than the whole, or not at all."""
    size = 3_000_001
    with serving(discard) as port:
        sent = tcp.send(port, size, timeout_s=PATIENCE_S)
    assert sent.size_bytes == size
    assert sent.rate == pytest.approx(size / sent.seconds)
    for line in (0, 1, 94):
        with serving(chargen_from(line)) as port:
            assert tcp.receive(port, size, timeout_s=PATIENCE_S).size_bytes == size
    assert Transfer(size_bytes=10, seconds=2.0).rate == 5


def test_sending_lasts_until_the_guest_has_read_all() -> None:
    """What waits in buffers on the way would count as received: a slow guest would look fast."""

    def slow(sock: socket.socket) -> None:
        time.sleep(0.5)
        discard(sock)

    with serving(slow) as port:
        assert tcp.send(port, 1000, timeout_s=PATIENCE_S).seconds > 0.4


@pytest.mark.parametrize(
    ("serve", "reason"),
    [
        (wrong_echo, "byte 0x00 was sent, and 0xff came back"),
        (double_echo, "came back"),
        (close, "closed the connection instead of answering"),
        (reset, "reset"),
        (flood, "0x00000000"),
        (silence, "no byte had come back when 0.5 s were over"),
    ],
)
def test_bad_echoes_are_told(serve: Serve, reason: str) -> None:
    """A guest that answers anything at once would have the best latency, or hang the run."""
    with serving(serve) as port, pytest.raises(TransferError, match=reason):
        tcp.time_echo(port, requests=5, warmups=1, timeout_s=0.5)


@pytest.mark.parametrize(
    ("serve", "reason"),
    [
        (flood, "when 0.5 s were over|sent bytes|was reset"),
        (close, "closed before all was sent"),
        (reset, "was reset; [0-9]+ of 50000000 bytes had been taken"),
        (silence, "bytes had been taken when 0.5 s were over"),
        (echo, "when 0.5 s were over|sent bytes"),
    ],
)
def test_bad_discards_are_told(serve: Serve, reason: str) -> None:
    """A guest that takes nothing would have a throughput, or hang the run."""
    with serving(serve) as port, pytest.raises(TransferError, match=reason):
        tcp.send(port, 50_000_000, timeout_s=0.5)


@pytest.mark.parametrize(
    ("measure", "serve", "reason"),
    [
        (lambda port: tcp.time_echo(port, requests=50), echo_until(0), "no byte had come back"),
        (lambda port: tcp.time_echo(port, requests=50), echo_until(70), "70 of 100 bytes had come back"),
        (lambda port: tcp.send(port, 50_000_000), silence, "of 50000000 bytes had been taken"),
        (lambda port: tcp.receive(port, 20_000), silence, "none of 20000 bytes had come"),
        (lambda port: tcp.receive(port, 20_000), chargen_until(7400), "7400 of 20000 bytes had come"),
    ],
)
def test_a_guest_that_goes_deaf_is_told_with_how_far_it_got(
    measure: Callable[[int], object], serve: Serve, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest that is deaf after a full frame would cost a minute a figure, and not say how far it came."""
    monkeypatch.setattr(tcp, "SILENCE_S", 0.4)
    with serving(serve) as port, pytest.raises(TransferError, match=f"{reason}, then silence for 0.4 s"):
        measure(port)


def test_a_slow_guest_is_not_deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that takes long over what lies in buffers would be called deaf."""
    monkeypatch.setattr(tcp, "SILENCE_S", 0.2)

    def slow(sock: socket.socket) -> None:
        time.sleep(1)
        discard(sock)

    with serving(slow) as port:
        assert tcp.send(port, 1000, timeout_s=PATIENCE_S).seconds > 0.9


def test_a_discard_that_never_ends_is_told() -> None:
    """Bytes in buffers would be taken for bytes that a guest has read."""
    with serving(silence) as port, pytest.raises(TransferError, match="had not closed the connection"):
        tcp.send(port, 100, timeout_s=0.5)


def almost_chargen(sock: socket.socket) -> None:
    """The pattern with one wrong byte."""
    text = "".join("".join(chr(32 + (n + i) % 95) for i in range(72)) + "\r\n" for n in range(95)).encode()
    sock.sendall(text + text[:5000] + b"\x1b" + text[5001:] + text)
    discard(sock)


@pytest.mark.parametrize(
    ("serve", "reason"),
    [
        (almost_chargen, "byte 12031 is 0x1b, and RFC 864's pattern has 0x"),
        (flood, "byte 1 is 0x00, with which no line"),
        (close, "closed the connection; none of 20000 bytes had come"),
        (silence, "none of 20000 bytes had come when 0.5 s were over"),
    ],
)
def test_bad_generators_are_told(serve: Serve, reason: str) -> None:
    """A guest that sends damaged bytes, or ever the same page, would have a throughput."""
    with serving(serve) as port, pytest.raises(TransferError, match=reason):
        tcp.receive(port, 20_000, timeout_s=0.5)


def test_a_port_where_nothing_listens_is_told() -> None:
    """A guest without the service would end in a traceback."""
    with serving(echo) as port:
        pass
    for measure in (tcp.time_echo, lambda p: tcp.send(p, 1), lambda p: tcp.receive(p, 1)):
        with pytest.raises(TransferError, match="refused"):
            measure(port)


# --- readiness ----------------------------------------------------------------------------------------


def call(probe: ReadyProbe, seconds: float) -> None:
    """Call a probe as a wait for a guest does, until it has its answer or the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and probe.answered_ns is None:
        wait_s = probe()
        assert 0.001 <= wait_s <= 1
        time.sleep(wait_s)


def count_sockets() -> int:
    """Open sockets of this process."""
    links = []
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            links.append(os.readlink(each))  # noqa: PTH115
    return sum(link.startswith("socket:") for link in links)


def test_ready_is_when_a_byte_comes_back() -> None:
    """Readiness would be the moment at which the VMM takes a connection, long before the guest is there."""
    ready = threading.Event()

    def late(sock: socket.socket) -> None:
        if ready.is_set():
            echo(sock)
        else:
            time.sleep(PATIENCE_S)

    before = count_sockets()
    with serving(late) as port, ReadyProbe(port) as probe:
        call(probe, 0.3)
        assert probe.answered_ns is None
        ready_ns = time.monotonic_ns()
        ready.set()
        call(probe, PATIENCE_S)
        assert probe.answered_ns is not None
        assert ready_ns < probe.answered_ns < ready_ns + 5_000_000_000
        assert probe.byte == probe.attempts - 1
        assert probe() == tcp.DONE_S
    assert count_sockets() <= before + probe.attempts  # the server's threads still hold theirs


def test_probing_keeps_few_connections_and_closes_them() -> None:
    """Probing a guest that never answers would run out of file descriptors."""
    before = count_sockets()
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    with listener:
        with ReadyProbe(listener.getsockname()[1], attempt_s=0.001, most_open=5) as probe:
            call(probe, 0.5)
            assert probe.attempts > 10
            assert count_sockets() <= before + 1 + 5
        assert count_sockets() == before + 1


@pytest.mark.parametrize("serve", [wrong_echo, reset, close, flood])
def test_a_wrong_answer_is_no_answer(serve: Serve) -> None:
    """A guest that sends anything at all would count as ready."""
    with serving(serve) as port, ReadyProbe(port) as probe:
        call(probe, 0.4)
        assert probe.answered_ns is None
        assert probe.trouble


def test_probing_waits_for_the_vmm_to_listen() -> None:
    """A VMM that is slow to start would end the probing."""
    with serving(echo) as port:
        pass
    with ReadyProbe(port) as probe:
        call(probe, 0.1)
        assert "refused" in probe.trouble
        with socket.create_server(("127.0.0.1", port)) as listener:

            def answer() -> None:
                with listener.accept()[0] as sock:
                    sock.sendall(sock.recv(1))

            # Beside the probing: a slow host may not have sent the byte by the time at which it is awaited.
            threading.Thread(target=answer, daemon=True).start()
            call(probe, PATIENCE_S)
    assert probe.answered_ns is not None
