"""The console shell in real guests on a real QEMU: outputs are what they ought to be, byte for byte."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from guestbench import provision
from guestbench.definition.systems import load_catalogue
from guestbench.errors import ShellError
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import Answer, Shell, open_shell
from guestbench.model import Accel, Platform
from guestbench.vmm import find_vmm

PLATFORM = Platform(accel=Accel.TCG)
LOGIN_S = 180.0
ALL_BYTES = "".join(f"\\{byte:03o}" for byte in range(256))


@contextmanager
def guest_shell(name: str, folder: Path) -> Iterator[Shell]:
    """A shell in a guest of the catalogue that has just printed its login prompt."""
    catalogue = load_catalogue()
    guest = provision.prepare(catalogue[name], {}, catalogue, say=lambda _: None)
    assert guest.system.login is not None
    snapshot = provision.take_snapshot(guest, PLATFORM, lambda _: None)
    with find_vmm(PLATFORM.vmm).start(snapshot.launch_spec(folder)) as machine:
        yield open_shell(machine, guest.system.login, SerialLog(), timeout_s=LOGIN_S)


@pytest.fixture(scope="module")
def minimal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell in the minimal Linux, which has nothing but busybox."""
    with guest_shell("linux-minimal", tmp_path_factory.mktemp("guest")) as shell:
        yield shell


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell in Debian 12."""
    with guest_shell("debian-12-nocloud", tmp_path_factory.mktemp("guest")) as shell:
        yield shell


def check_bytes_and_long_output(shell: Shell) -> None:
    """All byte values on both outputs, and a megabyte."""
    answer = shell.run(f"printf '{ALL_BYTES}'; printf '{ALL_BYTES}' >&2; exit 200")
    assert answer == Answer(status=200, stdout=bytes(range(256)), stderr=bytes(range(256)))
    kept = "/dev/gb-random"
    digest = shell.run(f"dd if=/dev/urandom of={kept} bs=65536 count=16 && sha256sum {kept}").stdout.split()[
        0
    ]
    data = shell.run(f"cat {kept}; rm {kept}").stdout
    assert len(data) == 1 << 20
    assert hashlib.sha256(data).hexdigest().encode() == digest


def check_timeout(shell: Shell) -> None:
    """A command that takes too long is gone, and others work."""
    with pytest.raises(ShellError, match="took more than 2 s in the guest and was ended"):
        shell.run("trap '' INT TERM; sleep 12345; echo no", timeout_s=2.0)
    found = shell.run("for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$f; echo; done 2>/dev/null")
    assert b"12345" not in found.stdout
    assert shell.run("echo next").stdout == b"next\n"


@pytest.mark.qemu
@pytest.mark.network
def test_minimal_linux_answers_exactly(minimal: Shell) -> None:
    """Probes of a guest with busybox alone would get damaged outputs, or hang after a slow command."""
    check_bytes_and_long_output(minimal)
    check_timeout(minimal)


@pytest.mark.qemu
@pytest.mark.network
def test_a_lease_that_ends_leaves_the_address_of_the_link(minimal: Shell) -> None:
    """Whether a guest has an IPv6 address would be a race between its kernel and its DHCP client."""
    found = minimal.run(
        "for n in 0 1 2 3 4 5 6 7 8; do ip -6 address show dev eth0 | grep -q fe80 && break; sleep 1; done; "
        "interface=eth0 /etc/dhcp deconfig; ip address show dev eth0"
    ).stdout
    assert b"inet6 fe80:" in found
    assert b"inet " not in found


@pytest.mark.qemu
@pytest.mark.network
def test_a_command_that_ends_its_own_shell_is_told_within_seconds(tmp_path: Path) -> None:
    """`guestbench systems exec` would wait for an hour."""
    with guest_shell("linux-minimal", tmp_path) as shell:
        with pytest.raises(ShellError, match="asks for a login again"):
            shell.run("kill -9 $$", timeout_s=3600)
        with pytest.raises(ShellError):
            shell.run("true")


def make_commands(count: int) -> Iterator[tuple[bytes, Answer]]:
    """Different commands of all sorts, each with the answer that Python computes."""
    chance = random.Random(20260101)
    for number in range(count):
        data = chance.randbytes(chance.randrange(1, 400))
        octal = "".join(f"\\{byte:03o}" for byte in data)
        plain = data.replace(b"\0", b"0").replace(b"'", b'"')
        a, b, status = chance.randrange(1 << 30), chance.randrange(1, 1 << 15), chance.randrange(256)
        words = " ".join(data.hex()[i : i + 7] for i in range(0, 40, 7)).strip()
        digest = hashlib.sha256(f"{words}\n".encode()).hexdigest()
        counted = "".join(f"{i}\n" for i in range(b, b + 51))
        file = f"/tmp/gb-file-{number}"
        kinds: tuple[tuple[str | bytes, str | bytes, str | bytes, int], ...] = (
            (f"printf '{octal}'", data, "", 0),
            (f"printf '{octal}' >&2; exit {status}", "", data, status),
            (b"printf %s '" + plain + b"'", plain, "", 0),
            (f"seq {b} {b + 50}", counted, "", 0),
            (f"echo $(({a} * {b} % 1000003)) $(({a} / {b}))", f"{a * b % 1000003} {a // b}\n", "", 0),
            (f"printf '{octal}' >{file}; cat {file} {file}; rm {file}", data * 2, "", 0),
            (f"# {words}\nexit {status}", "", "", status),
            (
                f"f() {{\n echo \"$1 '$2'\" >&2\n return {status}\n}}\nf '{words}' \\\\",
                "",
                f"{words} '\\'\n",
                status,
            ),
            (f"cat <<'E' | sha256sum\n{words}\nE", f"{digest}  -\n", "", 0),
            (f'for w in {words}; do\n\techo "<$w>"\ndone', "".join(f"<{w}>\n" for w in words.split()), "", 0),
        )
        command, stdout, stderr, ended = kinds[number % len(kinds)]
        answer = Answer(status=ended, stdout=to_bytes(stdout), stderr=to_bytes(stderr))
        yield to_bytes(command), answer


def to_bytes(text: str | bytes) -> bytes:
    """ASCII text as bytes."""
    return text.encode() if isinstance(text, str) else text


@pytest.mark.qemu
@pytest.mark.image
@pytest.mark.network
@pytest.mark.slow
def test_debian_answers_200_commands_exactly(debian: Shell) -> None:
    """A long series of probes on one login would drift: an answer taken for another's, or damaged."""
    for command, expected in make_commands(200):
        assert debian.run(command) == expected


@pytest.mark.qemu
@pytest.mark.image
@pytest.mark.network
@pytest.mark.slow
def test_debian_sends_all_bytes_and_recovers_from_a_timeout(debian: Shell) -> None:
    """Files of the guest would arrive damaged, and one slow command would cost all later probes."""
    check_bytes_and_long_output(debian)
    check_timeout(debian)
