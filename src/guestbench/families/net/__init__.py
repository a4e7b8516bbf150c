"""Network: TCP connections to a guest's standard services."""

from __future__ import annotations

from guestbench.model import Better, Family, Kit, Metric, Purpose

HTTP = "net.http"


SPANS = {
    "net.goodput_in": "throughput of TCP into the guest",
    "net.echo": "time of a byte to the guest and back",
}
MEDIAN = (("quantile", "0.5"),)


def _metric(name: str, title: str, unit: str, better: Better, text: str) -> Metric:
    return Metric(
        name=name,
        title=title,
        family="net",
        unit=unit,
        better=better,
        help=text,
        compared=True,
        span=SPANS.get(name, ""),
        shown_labels=MEDIAN if name == "net.echo" else (),
    )


METRICS = (
    _metric(
        "net.ready",
        "Network ready",
        "s",
        Better.LOWER,
        "From the exec of the VMM to the first byte that comes back from the guest's echo service, to which "
        "new connections are tried all the time. That the VMM accepts a connection does not count.",
    ),
    _metric(
        "net.goodput_in",
        "TCP into the guest",
        "bytes/s",
        Better.HIGHER,
        "Payload sent to the guest's discard service on one connection, over the time from the first byte to "
        "the guest's end of the connection, which it sends when it has read everything.",
    ),
    _metric(
        "net.goodput_out",
        "TCP out of the guest",
        "bytes/s",
        Better.HIGHER,
        "Payload read from the guest's character generator (RFC 864) on one connection, over the time from "
        "the first byte to the last.",
    ),
    _metric(
        "net.echo",
        "Echo of one byte",
        "s",
        Better.LOWER,
        "Round trip of one byte to the guest's echo service and back, one after the other on one connection; "
        "label quantile=0.5 or 0.99 of one trial.",
    ),
    _metric(
        HTTP,
        "HTTP requests",
        "requests/s",
        Better.HIGHER,
        "Requests that the guest's HTTP service answered to wrk on the host, with 4 connections that are "
        "kept, by wrk's own count; only in experiments with cross_checks, which bring wrk along.",
    ),
)


def list_metrics(kit: Kit | None) -> tuple[Metric, ...]:
    """All of them, if there is anything that guests can be given to serve connections with."""
    return METRICS if kit else ()


FAMILY = Family(
    name="net",
    title="Network",
    order=6,
    metrics=METRICS,
    purposes=(Purpose(name="net", works=True),),
)
