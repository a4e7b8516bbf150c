"""Opens web addresses without waiting long for hosts that do not answer; it never stores what they say.

What urllib does by itself would wait for each of a host's addresses in turn: minutes, behind a firewall that
drops what it does not let through.
"""

from __future__ import annotations

import http.client
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import Future
from typing import Any

CONNECT_S = 10.0
"""Longest time until a server has accepted a connection: to look up its name and try all its addresses."""
SILENCE_S = 30.0
"""Longest silence of a server that has accepted one."""

_Address = tuple[Any, ...]


def open_url(request: urllib.request.Request) -> http.client.HTTPResponse:
    """Ask a web server; proxies are taken from the environment, as urllib does.

    Raises:
        urllib.error.HTTPError: it refuses.
        urllib.error.URLError: it cannot be reached, or not in time.
        OSError, http.client.HTTPException: it breaks off.
    """
    # An opener of its own for each request: it notes the environment's proxies when it is made.
    opener = urllib.request.build_opener(_HttpHandler, _HttpsHandler, _KeepEncrypted)
    answer: http.client.HTTPResponse = opener.open(request, timeout=SILENCE_S)
    return answer


def connect(address: tuple[str, int], *_: object) -> socket.socket:
    """A connection to a host and port within `CONNECT_S`; stands for `socket.create_connection`.

    Raises:
        OSError: none of the host's addresses accepts one in time, or it has none.
    """
    end = time.monotonic() + CONNECT_S
    addresses = _look_up(address, CONNECT_S)
    trouble = OSError(f"no address is known for {address[0]}")
    for number, (family, kind, protocol, _, where) in enumerate(addresses):
        made = socket.socket(family, kind, protocol)
        try:
            # Each gets its share of the time that is left, so that the last one is tried as well.
            made.settimeout(max(end - time.monotonic(), 0.1) / (len(addresses) - number))
            made.connect(where)
        except OSError as error:
            made.close()
            late = isinstance(error, TimeoutError)
            trouble = TimeoutError(f"no connection within {CONNECT_S:.0f} s") if late else error
        else:
            made.settimeout(CONNECT_S)
            return made
    raise trouble


def _look_up(address: tuple[str, int], timeout_s: float) -> list[_Address]:
    """The addresses of a host. A resolver without network may take a minute: it is left to itself then."""
    found: Future[list[_Address]] = Future()

    def ask() -> None:
        try:
            found.set_result(list(socket.getaddrinfo(*address, type=socket.SOCK_STREAM)))
        except OSError as error:
            found.set_exception(error)
        except UnicodeError:
            found.set_exception(OSError(f"no name of a host: {address[0]!r}"))

    threading.Thread(target=ask, daemon=True).start()
    try:
        return found.result(timeout_s)
    except TimeoutError:
        raise TimeoutError(f"the name {address[0]} was not found within {timeout_s:.0f} s") from None


class _Patient(http.client.HTTPConnection):
    """A connection that is made as above, and then may be silent for a while."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._create_connection = connect

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(SILENCE_S)


class _PatientHttps(_Patient, http.client.HTTPSConnection):
    """The same, encrypted."""


class _HttpHandler(urllib.request.HTTPHandler):
    def do_open(self, http_class: Any, req: Any, **settings: Any) -> Any:
        return super().do_open(_Patient, req, **settings)


class _KeepEncrypted(urllib.request.HTTPRedirectHandler):
    """Follows nobody from an encrypted address to one that is not."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if req.type == "https" and urllib.parse.urlsplit(newurl).scheme != "https":
            raise urllib.error.URLError(f"it leads to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def do_open(self, http_class: Any, req: Any, **settings: Any) -> Any:
        return super().do_open(_PatientHttps, req, **settings)
