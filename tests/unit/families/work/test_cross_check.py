"""Known benchmark programs: what is typed, and what is read out of outputs, honest and not."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guestbench.families.work import cross_check as checks
from guestbench.families.work.cross_check import HostProgram, Parse, Unreadable

CPU = b"""sysbench 1.0.20
Prime numbers limit: 10000\r
CPU speed:\r
    events per second:   484.25\r
\r
General statistics:
    total number of events:              2000
"""
MEMORY = b"Total operations: 65536 (944128.00 per second)\n\n64.00 MiB transferred (922.00 MiB/sec)\n"
MATRIX = b"""stress-ng: metrc: [7] stressor  bogo ops real time  usr time  sys time  bogo ops/s    bogo ops/s
stress-ng: metrc: [7]                      (secs)    (secs)    (secs)   (real time) (usr+sys time)
stress-ng: metrc: [7] matrix         500      2.11      2.10      0.00       237.25         238.10
stress-ng: metrc: [7] matrix            233016.89 add matrix ops per sec (geometic mean of 1 instances)
"""
IPERF3 = b'{"start": {}, "end": {"sum_sent": {}, "sum_received": {"bits_per_second": 745e6, "bytes": 5}}}'
WRK = b"  1574 requests in 1.00s, 1.02MB read\nRequests/sec:   1568.46\nTransfer/sec:      1.02MB\n"

READINGS: tuple[tuple[Parse, bytes, float], ...] = (
    (checks.parse_sysbench_cpu, CPU, 484.25),
    (checks.parse_sysbench_memory, MEMORY, 922 * 1048576),
    (checks.parse_stress_ng_matrix, MATRIX, 237.25),
    (checks.parse_iperf3, IPERF3, 745e6 / 8),
    (checks.parse_wrk, WRK, 1568.46),
)
PARSERS = [parse for parse, _, _ in READINGS]


@pytest.mark.parametrize(("parse", "output", "value"), READINGS)
def test_readings_are_read(parse: Parse, output: bytes, value: float) -> None:
    """Our figures would be compared with a wrong column, or in a wrong unit."""
    assert parse(output) == pytest.approx(value)


@pytest.mark.parametrize(("parse", "output", "value"), READINGS)
def test_half_or_twofold_outputs_are_no_readings(parse: Parse, output: bytes, value: float) -> None:
    """A program that was killed, or a guest that prints a figure of its own, would be believed."""
    for wrong in (b"", output[: len(output) // 3], output * 2, output + b"x" * checks.MOST_BYTES):
        found = parse(wrong)
        assert isinstance(found, Unreadable)
        assert found.reason.isprintable()


@pytest.mark.parametrize("parse", PARSERS)
@given(output=st.binary(max_size=300))
def test_no_output_breaks_a_parser(parse: Parse, output: bytes) -> None:
    """A hostile guest could end the run with a traceback, or send control codes to the terminal."""
    found = parse(output)
    assert found.reason.isprintable() if isinstance(found, Unreadable) else found > 0


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (b'{"end": {}, "error": "unable to connect to server: Connection refused"}', "Connection refused"),
        (b'{"end": {"sum_received": {"bits_per_second": 0}}}', "printed 0 as its result"),
        (b'{"end": {"sum_received": {"bits_per_second": 1e999}}}', "iperf3"),
        (b'{"end": {"sum_received": {"bits_per_second": "9"}}}', "no JSON"),
        (b'{"end": {}, "error": "\\u001b[2J"}', r"\x1b[2J"),
        (b"[" * 100_000, "no JSON"),
    ],
)
def test_iperf3_s_errors_are_reasons(output: bytes, reason: str) -> None:
    """iperf3 ends with status 0 when it could not connect: the failure would look like a broken parser."""
    found = checks.parse_iperf3(output)
    assert isinstance(found, Unreadable)
    assert reason in found.reason


def test_failed_requests_are_no_speed() -> None:
    """A guest that answers errors, or resets connections, would look fast."""
    for line in (
        b"  Non-2xx or 3xx responses: 12",
        b"  Socket errors: connect 0, read 9, write 0, timeout 0",
    ):
        found = checks.parse_wrk(line + b"\n" + WRK)
        assert isinstance(found, Unreadable)
        assert line.strip().decode() in found.reason


def test_commands_say_all_that_matters() -> None:
    """A default that another version of a program changed would change our figure."""
    command = checks.sysbench_cpu(events=7, max_prime=99).command
    assert command == "/usr/bin/sysbench cpu --cpu-max-prime=99 --threads=1 --time=0 --events=7 run"
    client = checks.iperf3_client(5001, size_bytes=10, reverse=True)
    assert client.host_argv(("ld.so", "iperf3"))[:4] == ("ld.so", "iperf3", "--client", "127.0.0.1")
    assert "--reverse" in client.argv
    assert checks.iperf3_client(5001).name != client.name
    assert checks.mount_lines("/dev/vdb", Path("/a b"))[0] == "mkdir -p '/a b'"


def script(text: str) -> tuple[str, ...]:
    """A program in Python; the check's own words follow as arguments."""
    return (sys.executable, "-c", text)


def test_a_program_on_the_host_is_read() -> None:
    """Cross-checks of the network would give nothing."""
    text = f"import sys; sys.stdout.buffer.write({WRK!r})"
    assert checks.run_on_host(checks.wrk(1), script(text), timeout_s=30) == pytest.approx(1568.46)


def test_a_program_that_hangs_or_fails_is_a_reason() -> None:
    """A guest that takes a connection and says nothing would hang the run."""
    slow = checks.run_on_host(checks.wrk(1), script("import time; time.sleep(60)"), timeout_s=0.5)
    assert slow == Unreadable(reason="wrk took more than 0.5 s")
    text = f"import sys; sys.stdout.buffer.write({WRK!r}); sys.exit(3)"
    failed = checks.run_on_host(checks.wrk(1), script(text), timeout_s=30)
    assert isinstance(failed, Unreadable)
    assert "status 3" in failed.reason


def test_a_client_that_is_too_early_tries_again(tmp_path: Path) -> None:
    """A measurement would fail whenever the guest's server starts a moment later than the client."""
    flag = tmp_path / "flag"
    text = (
        "import sys, pathlib\n"
        f"flag = pathlib.Path({str(flag)!r})\n"
        f"sys.stdout.buffer.write({IPERF3!r} if flag.exists() else b'refused')\n"
        "flag.touch()\n"
    )
    with HostProgram(checks.iperf3_client(1), script(text), timeout_s=60, tries=5) as running:
        while running.result is None:
            time.sleep(running())
        assert running.result == pytest.approx(745e6 / 8)
        assert running() == HostProgram.DONE_S
