"""TCP connections to a guest's standard services, through the forwarded ports of its VMM; it starts no VM."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import msgspec

from guestbench.errors import GuestbenchError, ShellError
from guestbench.families.net import FAMILY, HTTP
from guestbench.families.net.tcp import ReadyProbe, Transfer, receive, send, time_echo
from guestbench.families.work import Settings, cross_check
from guestbench.families.work.cross_check import HostProgram
from guestbench.guest.console import watch
from guestbench.guest.programs import bring_program, open_tools
from guestbench.guest.serial import SerialLog
from guestbench.guest.watch import watch_boot
from guestbench.model import (
    READY,
    Gap,
    Image,
    Incomplete,
    Mark,
    Ok,
    OpenShell,
    Sample,
    Service,
    ShellWork,
    System,
    TrialResult,
)
from guestbench.vmm import Lacking, Machine

SERVICES = tuple(Service)
ANSWER_S = 60.0
"""How long a server may take to answer once it was started: the guest's DHCP may not be over."""
IMAGE_ANSWER_S = 5.0
"""How long after ready an image may take to answer that serves by itself."""
TRANSFER_S = 60.0
NO_CLIENT = "wrk, the client, is brought along only with cross_checks = true"
WARMUPS = 50


def serve(
    machine: Machine,
    system: System,
    log: SerialLog,
    plan: Settings,
    server: Image | None,
    wrk: tuple[str, ...] = (),
    open_: OpenShell | None = None,
) -> TrialResult:
    """Measure the TCP services of a guest, which its image offers by itself, or else `server` in its shell.

    `machine` was started with the services' ports forwarded. `wrk` is the beginning of the command line of
    the HTTP client, if it is there; `open_` the shell, if that is open.
    """
    forwards = machine.forwards
    if isinstance(forwards, Lacking):
        return TrialResult(outcome=Ok(), gaps=_gaps(forwards.reason))
    if isinstance(system.work, ShellWork) and server is not None:
        every = {service: forwards[service.port] for service in SERVICES}
        started = _serve_from_shell(machine, system, log, server, open_)
        result = started or _transfer_when_it_answers(machine, log, plan, every)
        return _add_http(result, machine, log, forwards.get(Service.HTTP.port), wrk)
    ports = {service: forwards[service.port] for service in SERVICES if service in system.services}
    if Service.ECHO not in ports:
        return TrialResult(outcome=Ok(), gaps=_gaps("the system lists no echo service"))
    begin_ns = time.monotonic_ns() - machine.now_ns()
    with ReadyProbe(ports[Service.ECHO]) as probe:
        booted = watch_boot(machine, system, log, probe)
        if not isinstance(booted.outcome, Ok):
            return TrialResult(outcome=booted.outcome, marks=booted.marks)
        _wait(machine, log, lambda: probe.answered_ns is not None, probe, IMAGE_ANSWER_S)
    if probe.answered_ns is None:
        seconds = f"{IMAGE_ANSWER_S:g} s of ready"
        asked = f"{probe.attempts} connections brought no byte back"
        reason = f"this image does not answer on port {Service.ECHO.port} within {seconds}: {asked}"
        return TrialResult(outcome=Ok(), marks=booted.marks, gaps=_gaps(reason))
    t_ns = probe.answered_ns - begin_ns
    marks = (*booted.marks, Mark(name="network ready", t_ns=t_ns))
    result = _transfer(ports, plan)
    served = msgspec.structs.replace(
        result,
        marks=tuple(sorted(marks, key=lambda mark: (mark.t_ns, mark.name == READY))),
        samples=(Sample(metric="net.ready", value=t_ns / 1e9), *result.samples),
    )
    return _add_http(served, machine, log, ports.get(Service.HTTP), wrk)


def _add_http(
    result: TrialResult, machine: Machine, log: SerialLog, port: int | None, wrk: tuple[str, ...]
) -> TrialResult:
    """The result with the HTTP requests that the guest answers, if it answers any and there is a client."""
    if any(gap.metric == HTTP for gap in result.gaps):
        return result
    reason = "the system lists no http service" if port is None else "" if wrk else NO_CLIENT
    if port is not None and wrk:
        with HostProgram(cross_check.wrk(port), wrk, timeout_s=TRANSFER_S) as client:
            _wait(machine, log, lambda: client.result is not None, client, TRANSFER_S)
            found = client.result
        if isinstance(found, float):
            sample = Sample(metric=HTTP, value=found)
            return msgspec.structs.replace(result, samples=(*result.samples, sample))
        reason = found.reason if found is not None else "wrk did not end"
    gap = Gap(metric=HTTP, reason=reason)
    return msgspec.structs.replace(result, gaps=(*result.gaps, gap))


def _serve_from_shell(
    machine: Machine,
    system: System,
    log: SerialLog,
    server: Image,
    open_: OpenShell | None,
) -> TrialResult | None:
    try:
        shell = open_tools(machine, system, log, open_)
        program = bring_program(shell, system, server)
        shell.run(f"{program} serve </dev/null >/dev/null 2>&1 &")
    except ShellError as error:
        return TrialResult(outcome=Incomplete(reason=error.message), gaps=_gaps(error.message))
    return None


def _transfer_when_it_answers(
    machine: Machine, log: SerialLog, plan: Settings, ports: dict[Service, int]
) -> TrialResult:
    late = Gap(metric="net.ready", reason="its image answers nobody: the server is started over the shell")
    with ReadyProbe(ports[Service.ECHO], attempt_s=0.2) as probe:
        _wait(machine, log, lambda: probe.answered_ns is not None, probe, ANSWER_S)
    if probe.answered_ns is None:
        reason = f"the server that was started in the guest does not answer within {ANSWER_S:g} s"
        return TrialResult(outcome=Incomplete(reason=reason), gaps=_gaps(reason))
    result = _transfer(ports, plan)
    return msgspec.structs.replace(result, gaps=(late, *result.gaps))


def _wait(
    machine: Machine, log: SerialLog, done: Callable[[], bool], step: Callable[[], float], seconds: float
) -> None:
    """Read the console, and take steps meanwhile, until `done` or for so many seconds."""
    end_ns = machine.now_ns() + round(seconds * 1e9)
    while not done() and machine.now_ns() < end_ns and machine.exit_status() is None:
        deadline_ns = machine.now_ns() + 50_000_000
        watch(machine, log, texts={}, until=None, failures=(), deadline_ns=deadline_ns, meanwhile=step)


def _transfer(ports: dict[Service, int], plan: Settings) -> TrialResult:
    """All transfers with those services that there are; what fails is told, and stops no other."""
    size_bytes = plan.transfer_mib << 20

    def echo(port: int) -> list[Sample]:
        times = time_echo(port, requests=plan.requests, warmups=WARMUPS, timeout_s=TRANSFER_S)
        return [
            Sample(
                metric="net.echo",
                value=find_quantile(times, quantile),
                labels={"quantile": f"{quantile:g}"},
            )
            for quantile in (0.5, 0.99)
        ]

    def goodput(move: Callable[..., Transfer], metric: str) -> Callable[[int], list[Sample]]:
        return lambda port: [Sample(metric=metric, value=move(port, size_bytes, timeout_s=TRANSFER_S).rate)]

    steps = (
        ("net.echo", Service.ECHO, echo),
        ("net.goodput_in", Service.DISCARD, goodput(send, "net.goodput_in")),
        ("net.goodput_out", Service.CHARGEN, goodput(receive, "net.goodput_out")),
    )
    samples: list[Sample] = []
    gaps: list[Gap] = []
    failed = []
    for metric, service, step in steps:
        if service not in ports:
            gaps.append(Gap(metric=metric, reason=f"the system lists no {service.value} service"))
            continue
        try:
            samples += step(ports[service])
        except GuestbenchError as error:
            failed.append(f"{service.value}: {error.message}")
            gaps.append(Gap(metric=metric, reason=error.message))
    outcome = Incomplete(reason="; ".join(failed)) if failed else Ok()
    return TrialResult(outcome=outcome, samples=tuple(samples), gaps=tuple(gaps))


def find_quantile(values: tuple[float, ...], quantile: float) -> float:
    """The least of the values that at least the share `quantile` of them does not exceed.

    The median of an even number of values is the mean of the two in the middle.
    """
    if quantile == 0.5:
        return statistics.median(values)
    ordered = sorted(values)
    # Rounded first: a product of such numbers may come out a little above a whole one.
    return ordered[max(1, math.ceil(round(quantile * len(ordered), 6))) - 1]


def _gaps(reason: str) -> tuple[Gap, ...]:
    return tuple(Gap(metric=metric.name, reason=reason) for metric in FAMILY.metrics)
