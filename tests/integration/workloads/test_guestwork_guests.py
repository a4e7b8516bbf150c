"""The C workload program as the only process of a real kernel: it works, serves, and turns the guest off."""

from __future__ import annotations

import gzip
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
from guestwork_program import ANSWER_S, count_primes, digest_of, receive, receive_all

from guestbench import provision
from guestbench.definition.systems import load_catalogue
from guestbench.host import process
from guestbench.model import Role
from guestbench.provision import cpio

pytestmark = [pytest.mark.qemu, pytest.mark.network]

BOOT_S = 120.0


@pytest.fixture(scope="session")
def machine(program: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """How to start QEMU with a Debian kernel, its modules, and the program in an archive behind them."""
    catalogue = load_catalogue()
    images = provision.prepare(catalogue["linux-minimal"], {}, catalogue, say=lambda _: None).images
    packed = cpio.pack({"guestwork": cpio.regular_file(program.read_bytes(), executable=True)})
    initrd = tmp_path_factory.mktemp("initrd") / "initrd.gz"
    initrd.write_bytes(Path(images[Role.INITRD].path).read_bytes() + gzip.compress(packed, mtime=0))
    return [
        *("qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-m", "256", "-nodefaults"),
        *("-display", "none", "-serial", "stdio", "-no-reboot"),
        *("-kernel", images[Role.KERNEL].path, "-initrd", initrd),
    ]


@contextmanager
def boot(machine: list[str | Path], words: str, *options: str) -> Iterator[tuple[process.Child, IO[bytes]]]:
    """A guest whose command line ends with `words`, and its console."""
    cmdline = f"console=ttyS0 quiet rdinit=/guestwork {words}"
    with process.start([*machine, *options, "-append", cmdline], stdout=process.PIPE) as child:
        assert child.stdout is not None
        yield child, child.stdout


def run(machine: list[str | Path], words: str) -> str:
    """What a guest prints until it turns itself off."""
    with boot(machine, words) as (child, console):
        printed = console.read().decode("ascii", "replace")
        assert child.wait(BOOT_S) == 0, printed
    assert "panic" not in printed
    return printed


def test_it_works_and_turns_the_guest_off(machine: list[str | Path]) -> None:
    """A guest with nothing but the program could not be measured, or would never end."""
    printed = run(machine, "-- cpu limit=10000 events=3")
    assert "error" not in printed
    assert re.search(
        r"\[work begin cpu source=\S+ compiler=\S+ flags=\S+ limit=10000 events=3\]\r\n", printed
    )
    digest = digest_of(*[count_primes(10000)] * 3)
    assert re.search(rf"\[work end cpu done=3 digest={digest} guest_ns=\d+\]\r\n", printed)


def test_a_mistake_turns_the_guest_off(machine: list[str | Path]) -> None:
    """A misspelt parameter would hang the guest, or make its kernel panic."""
    assert "error: cpu does not know evnts=3\r\n" in run(machine, "-- cpu evnts=3")


def test_a_block_larger_than_memory_turns_the_guest_off(machine: list[str | Path]) -> None:
    """A guest with too little memory would be waited for until the time is out."""
    assert "error: no memory for bytes:" in run(machine, "-- memory parts=write:64G:64G")


@pytest.mark.parametrize(
    "words", ["", "foreign -- serve ports=7,19"], ids=["no subcommand", "a foreign word"]
)
def test_it_serves_on_the_network(machine: list[str | Path], words: str) -> None:
    """The network of a guest with nothing but the program could not be measured."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    net = (
        "-netdev",
        f"user,id=n0,hostfwd=tcp:127.0.0.1:{port}-:7",
        "-device",
        "virtio-net-pci,netdev=n0,romfile=",
    )
    started = time.monotonic()
    with boot(machine, words, *net) as (child, console):
        printed = b""
        while not printed.endswith(b"[serve ready]\r\n"):
            line = console.readline()
            assert line, printed
            printed += line
        assert time.monotonic() - started < BOOT_S
        data = bytes(range(256)) * 4096
        with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as client:
            for start in range(0, len(data), 65536):
                client.sendall(data[start : start + 65536])
                assert receive(client, 65536) == data[start : start + 65536]
            client.shutdown(socket.SHUT_WR)
            assert receive_all(client) == b""
        assert child.poll() is None
    assert b"cannot" not in printed
    assert (b"error: not a subcommand, ignored: foreign" in printed) == ("foreign" in words)
