"""A guest's TCP services, with servers on this host in the place of the guest's."""

from __future__ import annotations

import itertools
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from replay import make_system
from shell_guest import start_guest, wait_for_login
from tcp_servers import Serve, chargen_from, deaf_after, discard, echo, serving, silence, wrong_echo
from work_factories import make_kit

from guestbench.families.net import FAMILY, tcp
from guestbench.families.net import services as network
from guestbench.families.work import Settings
from guestbench.guest import programs, shell_protocol
from guestbench.guest.serial import SerialLog
from guestbench.model import (
    Image,
    ImageWork,
    Incomplete,
    Login,
    Ok,
    Service,
    ShellWork,
    System,
    TimedOut,
    TrialResult,
)
from guestbench.vmm import Chunk, Lacking
from guestbench.vmm.fake import FakeMachine

PLAN = Settings(transfer_mib=1, requests=20)
IMAGE = make_system("mirage", work=ImageWork(), services=(Service.ECHO, Service.DISCARD, Service.CHARGEN))
SERVER = make_kit().server
WELL: dict[Service, Serve] = {
    Service.ECHO: echo,
    Service.DISCARD: discard,
    Service.CHARGEN: chargen_from(0),
}
ALL = {metric.name for metric in FAMILY.metrics}
NO_HTTP = {"net.http": "the system lists no http service"}


class Booting(FakeMachine):
    """A guest that says that it is ready 50 ms after its start, in real time."""

    def __init__(self, text: bytes = b"[init done]\r\n") -> None:
        super().__init__((), None, ())
        self._began_ns = time.monotonic_ns()
        self._text = text

    def now_ns(self) -> int:
        """Nanoseconds since its start."""
        return time.monotonic_ns() - self._began_ns

    def read_serial(self, timeout_s: float) -> Chunk | None:
        """The one text, when its time has come."""
        time.sleep(min(timeout_s, 0.005))
        if self._text and self.now_ns() > 50_000_000:
            data, self._text = self._text, b""
            return Chunk(t_ns=self.now_ns(), data=data)
        return None


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits of seconds are shortened."""
    monkeypatch.setattr(network, "IMAGE_ANSWER_S", 0.5)
    monkeypatch.setattr(network, "ANSWER_S", 0.5)
    monkeypatch.setattr(network, "TRANSFER_S", 10.0)


def serve(
    services: Mapping[Service, Serve],
    system: System = IMAGE,
    machine: FakeMachine | None = None,
    server: Image | None = SERVER,
    wrk: tuple[str, ...] = (),
    plan: Settings = PLAN,
) -> TrialResult:
    """What is measured where the guest's ports lead to these servers; to nothing where there are none."""
    machine = machine or Booting()
    with ExitStack() as stack:
        ports = {service.port: stack.enter_context(serving(answer)) for service, answer in services.items()}
        machine.forwards = ports or Lacking(reason="the guest has no network")
        return network.serve(machine, system, SerialLog(), plan, server, wrk)


def reasons(result: TrialResult) -> dict[str, str]:
    """Why there is no figure, by metric."""
    return {gap.metric: gap.reason for gap in result.gaps}


def figures(result: TrialResult) -> dict[str, float]:
    """The figures by metric and quantile."""
    return {sample.metric + "".join(sample.labels.values()): sample.value for sample in result.samples}


def test_all_services_of_an_image_are_measured() -> None:
    """A figure of the network would be missing from the report."""
    result = serve(WELL)
    assert result.outcome == Ok()
    found = figures(result)
    assert set(found) == {"net.ready", "net.goodput_in", "net.goodput_out", "net.echo0.5", "net.echo0.99"}
    assert all(value > 0 for value in found.values())
    assert found["net.echo0.5"] <= found["net.echo0.99"]
    assert reasons(result) == NO_HTTP
    names = [mark.name for mark in result.marks]
    assert {"ready", "network ready"} <= set(names)
    assert [mark.t_ns for mark in result.marks] == sorted(mark.t_ns for mark in result.marks)


def test_the_network_is_ready_when_a_byte_comes_back_and_not_before() -> None:
    """A connection that the VMM accepts for a guest that is not there would count as its answer."""
    began = time.monotonic()

    def late_echo(sock: socket.socket) -> None:
        while time.monotonic() < began + 0.3:
            time.sleep(0.01)
        echo(sock)

    result = serve({**WELL, Service.ECHO: late_echo})
    ready = figures(result)["net.ready"]
    assert 0.25 < ready < 0.3 + 5
    (mark,) = (mark for mark in result.marks if mark.name == "network ready")
    assert mark.t_ns / 1e9 == ready


@pytest.mark.parametrize("answer", [silence, wrong_echo, lambda sock: None])
def test_an_image_that_never_answers_is_told_and_is_no_failure(answer: Serve) -> None:
    """An image without servers would be a failed trial, or be waited for without end."""
    result = serve({**WELL, Service.ECHO: answer})
    assert result.outcome == Ok()
    assert set(reasons(result)) == ALL
    (reason,) = set(reasons(result).values())
    assert reason.startswith("this image does not answer on port 7 within 0.5 s of ready: ")
    assert reason.endswith(" connections brought no byte back")
    assert result.samples == ()


def test_a_service_that_fails_takes_no_figure_from_the_others() -> None:
    """One broken server would cost all figures of the network."""
    result = serve({**WELL, Service.CHARGEN: echo_of_zeros})
    assert isinstance(result.outcome, Incomplete)
    assert result.outcome.reason.startswith("chargen: ")
    assert set(reasons(result)) == {"net.goodput_out", *NO_HTTP}
    assert {"net.ready", "net.goodput_in", "net.echo0.5"} <= set(figures(result))


def test_a_guest_that_goes_deaf_keeps_what_it_had_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that hears nothing after its first full frame would lose its latencies, or cost minutes."""
    monkeypatch.setattr(tcp, "SILENCE_S", 0.5)
    link = deaf_after(1000, threading.Event())
    large = msgspec.structs.replace(PLAN, transfer_mib=32)
    result = serve({service: link(answer) for service, answer in WELL.items()}, plan=large)
    assert isinstance(result.outcome, Incomplete)
    assert {"net.ready", "net.echo0.5", "net.echo0.99"} == set(figures(result))
    told = reasons(result)
    assert re.search(r"\d+ of 33554432 bytes had been taken, then silence for 0.5 s", told["net.goodput_in"])
    assert told["net.goodput_out"].endswith("none of 33554432 bytes had come, then silence for 0.5 s")
    assert "discard: " in result.outcome.reason and "chargen: " in result.outcome.reason


def echo_of_zeros(sock: socket.socket) -> None:
    """Sends what no character generator sends."""
    sock.sendall(bytes(65536))


def test_a_service_that_the_system_does_not_list_is_not_asked_for() -> None:
    """An image without a character generator would be Incomplete each time."""
    two = msgspec.structs.replace(IMAGE, services=(Service.ECHO, Service.DISCARD))
    result = serve(WELL, two)
    assert result.outcome == Ok()
    assert reasons(result) == {"net.goodput_out": "the system lists no chargen service", **NO_HTTP}
    none = serve(WELL, msgspec.structs.replace(IMAGE, services=(Service.DISCARD,)))
    assert (none.outcome, none.samples) == (Ok(), ())
    assert set(reasons(none).values()) == {"the system lists no echo service"}


@pytest.mark.parametrize(
    ("script", "figure", "reason"),
    [
        ("echo 'Requests/sec:   1234.50'", 1234.5, ""),
        ("echo 'unable to connect'; exit 1", None, "unable to connect"),
        ("", None, network.NO_CLIENT),
    ],
)
def test_http_is_measured_where_its_client_is_there(
    script: str, figure: float | None, reason: str, tmp_path: Path
) -> None:
    """A client that failed would be a figure, or take the figures of TCP with it."""
    client = tmp_path / "wrk"
    client.write_text(f"#!/bin/sh\n{script}\n")
    client.chmod(0o755)
    system = msgspec.structs.replace(IMAGE, services=tuple(Service))
    result = serve({**WELL, Service.HTTP: discard}, system, wrk=("/bin/sh", str(client)) if script else ())
    assert figures(result).get("net.http") == figure
    assert reason in reasons(result).get("net.http", "")
    assert {"net.ready", "net.goodput_in", "net.goodput_out"} <= set(figures(result))


def test_a_platform_without_a_network_is_told() -> None:
    """An experiment with `net = "none"` would end with a traceback."""
    for system in (IMAGE, msgspec.structs.replace(IMAGE, work=ShellWork(), login=Login(user="root"))):
        result = serve({}, system)
        assert (result.outcome, result.samples) == (Ok(), ())
        assert set(reasons(result)) == ALL
        assert "no network" in reasons(result)["net.ready"]


def test_a_guest_that_does_not_get_ready_is_a_failure_of_its_own() -> None:
    """A guest that hangs would count as one without a network."""
    never = msgspec.structs.replace(IMAGE, timeout_s=0.3)
    result = serve({**WELL, Service.ECHO: silence}, never, Booting(b"Powered by\r\n"))
    assert isinstance(result.outcome, TimedOut)
    assert "last line: Powered by" in result.outcome.reason
    assert result.samples == ()


# --- guests with a shell --------------------------------------------------------------------------------


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the tools disk in a guest that is a shell on this host."""
    folder = tmp_path / "tools"
    folder.mkdir()
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    monkeypatch.setattr(shell_protocol, "FOLDERS", (str(outputs),))
    monkeypatch.setattr(programs, "TOOLS", str(folder))
    monkeypatch.setattr(programs, "MOUNT", "true")
    yield folder


def serve_from_shell(folder: Path, script: str, services: Mapping[Service, Serve]) -> TrialResult:
    """What is measured where the program on the tools disk is this script."""
    program = folder / "guestwork"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    system = make_system("debian", login=Login(user="root"), work=ShellWork())
    with start_guest("dash -i", folder, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}) as machine:
        log = wait_for_login(machine)
        with ExitStack() as stack:
            machine.forwards = {
                service.port: stack.enter_context(serving(services.get(service, discard)))
                for service in Service
            }
            return network.serve(machine, system, log, PLAN, SERVER)


def test_the_server_is_started_over_the_shell(tools: Path) -> None:
    """A guest whose image serves nobody would have no figures of its network."""
    asked = tools / "asked"
    result = serve_from_shell(tools, f'echo "$@" >{asked}; exec sleep 20', WELL)
    assert result.outcome == Ok()
    assert set(figures(result)) == {"net.goodput_in", "net.goodput_out", "net.echo0.5", "net.echo0.99"}
    late = "its image answers nobody: the server is started over the shell"
    assert reasons(result)["net.ready"] == late
    assert set(reasons(result)) == {"net.ready", "net.http"}
    assert asked.read_text().split() == ["serve"]


def test_a_server_that_never_answers_is_told(tools: Path) -> None:
    """A guest whose server died would be waited for without end."""
    result = serve_from_shell(tools, "sleep 20", {**WELL, Service.ECHO: silence})
    assert isinstance(result.outcome, Incomplete)
    assert "does not answer within 0.5 s" in result.outcome.reason
    assert set(reasons(result)) == ALL


def test_a_guest_without_the_tools_disk_is_told(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason would be that the server does not answer."""
    monkeypatch.setattr(programs, "MOUNT", "echo no such disk >&2; exit 3")
    result = serve_from_shell(tools, "sleep 20", WELL)
    assert isinstance(result.outcome, Incomplete)
    assert "tools disk cannot be mounted in the guest: no such disk" in result.outcome.reason
    assert set(reasons(result)) == ALL


# --- quantiles ------------------------------------------------------------------------------------------


@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=400).map(tuple), st.sampled_from([0.9, 0.99, 0.999, 1.0])
)
def test_a_quantile_is_the_least_value_that_covers_its_share(
    values: tuple[float, ...], quantile: float
) -> None:
    """The 99th percentile would be that of another share of the round trips."""
    found = network.find_quantile(values, quantile)
    covered = sum(value <= found for value in values)
    below = sum(value < found for value in values)
    assert covered >= quantile * len(values) - 1e-6
    assert below < quantile * len(values)


def test_quantiles_of_a_thousand() -> None:
    """The percentile would be one value off."""
    values = tuple(float(n) for n in itertools.chain(range(501, 1001), range(1, 501)))
    assert network.find_quantile(values, 0.99) == 990
    assert network.find_quantile(values, 0.5) == 500.5
    assert network.find_quantile((3.0,), 0.99) == network.find_quantile((3.0,), 0.5) == 3
