"""Downloads of official images, against a server of our own on this machine."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from guestbench import provision
from guestbench.errors import HostError, ImageError, UsageError
from guestbench.model import Disk, Fetch, GuestFamily, Provision, System
from guestbench.provision import cache, connect, download, signature

NAME = "disk-amd64.qcow2"
IMAGE = bytes(range(256)) * 8192


class Site:
    """What the server has, and what it was asked for. `cut` bytes into an image it hangs up."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.image = IMAGE
        self.sums = f"{hashlib.sha512(IMAGE).hexdigest()}  {NAME}\n"
        self.cut: int | None = None
        self.ranges = True
        self.asked: list[tuple[str, str]] = []

    @property
    def source(self) -> Fetch:
        """Where the image is."""
        return Fetch(url=f"{self.url}/{NAME}", sums_url=f"{self.url}/SHA512SUMS")

    @property
    def system(self) -> System:
        """A system whose official image is here."""
        return System(
            name="debian",
            title="Debian",
            family=GuestFamily.LINUX,
            boot=Disk(),
            ready="login: ",
            timeout_s=1,
            provision=Provision(fetch=self.source),
        )


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server with an image and its checksum list."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GUESTBENCH_MIRROR", raising=False)
    monkeypatch.setattr(signature, "KEYRINGS", ())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range") or ""
            here.asked.append((self.path, asked))
            body = {f"/{NAME}": here.image, "/SHA512SUMS": here.sums.encode()}.get(self.path)
            if body is None:
                self.send_error(404)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-") or 0) if here.ranges else 0
            if start and start >= len(body):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            self.wfile.write(body[start : here.cut if self.path == f"/{NAME}" else None])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here = Site(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield here
    server.shutdown()
    server.server_close()
    thread.join()


def quiet(_: str) -> None:
    """Say nothing."""


def find_parts() -> list[Path]:
    """What is kept of downloads."""
    return list((cache.cache_folder() / "downloads").glob("*"))


def test_fetched_image_is_verified_and_kept_with_its_sum(site: Site) -> None:
    """`systems fetch` would not give the guest that the publisher published."""
    guest = provision.fetch(site.system, quiet)
    (image,) = guest.pristine.values()
    assert Path(image.path).read_bytes() == IMAGE
    assert guest.origin.kind == "fetched"
    assert hashlib.sha512(IMAGE).hexdigest() in guest.origin.detail
    assert find_parts() == []


def test_published_image_is_not_fetched_twice(site: Site) -> None:
    """Every fetch would download 300 MB again."""
    provision.fetch(site.system, quiet)
    provision.fetch(site.system, quiet)
    assert [path for path, _ in site.asked].count(f"/{NAME}") == 1


def test_newly_published_image_replaces_the_old(site: Site) -> None:
    """Users could never get a newer official image."""
    provision.fetch(site.system, quiet)
    site.image = b"newer"
    site.sums = f"{hashlib.sha512(b'newer').hexdigest()} *{NAME}\n"
    (image,) = provision.fetch(site.system, quiet).pristine.values()
    assert Path(image.path).read_bytes() == b"newer"


def test_image_that_is_not_the_published_one_is_thrown_away(site: Site) -> None:
    """A tampered image would be measured as the official one, now or at the next try."""
    site.image = IMAGE[:-1] + b"?"
    with pytest.raises(ImageError, match="not what its publisher's list says"):
        provision.fetch(site.system, quiet)
    assert find_parts() == []
    with pytest.raises(ImageError, match="no image"):
        provision.locate(site.system, {}, {})


def test_broken_off_download_is_gone_on_with(site: Site) -> None:
    """A bad line would make the download begin at the start each time."""
    site.cut = 500_000
    with pytest.raises(HostError, match="500000 of"):
        provision.fetch(site.system, quiet)
    site.cut = None
    (image,) = provision.fetch(site.system, quiet).pristine.values()
    assert Path(image.path).read_bytes() == IMAGE
    assert site.asked[-1] == (f"/{NAME}", "bytes=500000-")


def test_server_without_ranges_starts_again(site: Site) -> None:
    """A server that cannot resume would leave an image with its beginning twice."""
    site.cut = 500_000
    with pytest.raises(HostError):
        provision.fetch(site.system, quiet)
    site.cut, site.ranges = None, False
    (image,) = provision.fetch(site.system, quiet).pristine.values()
    assert Path(image.path).read_bytes() == IMAGE


def test_wrong_part_of_full_length_starts_again(site: Site) -> None:
    """A damaged part as long as the image would make every later fetch fail."""
    folder = cache.cache_folder() / "downloads"
    folder.mkdir(parents=True)
    (folder / f"debian-{hashlib.sha512(IMAGE).hexdigest()[:16]}.part").write_bytes(b"?" * len(IMAGE))
    (image,) = provision.fetch(site.system, quiet).pristine.values()
    assert Path(image.path).read_bytes() == IMAGE


def test_missing_file_says_the_status_and_the_way_out(site: Site) -> None:
    """A moved image would look like a fault of the tool."""
    gone = msgspec.structs.replace(site.source, sums_url=f"{site.url}/GONE")
    with pytest.raises(HostError, match="HTTP status 404") as caught:
        download.read_sums(gone, "debian")
    assert caught.value.hint == "guestbench systems build debian"


def test_no_network_says_so_and_the_way_out() -> None:
    """A user without network would see a traceback."""
    nowhere = Fetch(url="http://127.0.0.1:9/x.qcow2", sums_url="http://127.0.0.1:9/SUMS")
    with pytest.raises(HostError, match="cannot be reached") as caught:
        download.read_sums(nowhere, "debian")
    assert caught.value.hint == "guestbench systems build debian"


@pytest.mark.parametrize("sums", ["", "0123  disk-amd64.qcow2\n", f"{'0' * 128}  other.qcow2\n", "\0\xff"])
def test_list_without_the_image_is_refused(site: Site, sums: str) -> None:
    """An image would be taken unverified where the list does not name it."""
    site.sums = sums
    with pytest.raises(ImageError, match="has no sha512 sum"):
        download.read_sums(site.source, "debian")


def test_full_disk_is_found_before_the_download(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download would run for minutes before it fails for want of space."""
    monkeypatch.setattr(download, "free_bytes", lambda _: 1 << 20)
    with pytest.raises(HostError, match="only 1 MiB are free"):
        provision.fetch(site.system, quiet)


def test_system_without_official_image_is_refused(site: Site) -> None:
    """`systems fetch floor` would end in a traceback."""
    without = msgspec.structs.replace(site.system, provision=Provision())
    with pytest.raises(UsageError, match="no official image"):
        provision.fetch(without, quiet)


def test_mirror_stands_for_the_publisher(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that reaches only a mirror could have no official image, or its report name that mirror."""
    monkeypatch.setenv("GUESTBENCH_MIRROR", f"{site.url}/")
    far = Fetch(url=f"https://publisher.invalid/{NAME}", sums_url="https://publisher.invalid/SHA512SUMS")
    system = msgspec.structs.replace(site.system, provision=Provision(fetch=far))
    origin = provision.fetch(system, quiet).origin
    assert [path for path, _ in site.asked] == ["/SHA512SUMS", f"/{NAME}"]
    assert far.url in origin.detail
    assert "from a mirror" in origin.detail
    assert site.url not in origin.detail


def test_addresses_below_a_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files would be looked for at addresses that the mirror does not have."""
    monkeypatch.setenv("GUESTBENCH_MIRROR", "http://[::1]:8080/mirrors/")
    address = download.find_address("https://host/a%20b/c.tar.gz?x=1")
    assert address == "http://[::1]:8080/mirrors/a%20b/c.tar.gz?x=1"
    monkeypatch.setenv("GUESTBENCH_MIRROR", " ")
    assert download.find_address("https://host/c") == "https://host/c"


def test_hosts_that_do_not_answer_take_no_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run behind a firewall that drops packets would wait for each address of a server in turn."""
    monkeypatch.setattr(connect, "CONNECT_S", 0.5)
    full = [socket.socket() for _ in range(3)]
    try:
        for each in full:
            # A queue of no place that holds a connection already: the next one gets no answer.
            each.bind(("127.0.0.1", 0))
            each.listen(0)
        waiting = [socket.create_connection(each.getsockname()) for each in full]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", each.getsockname()) for each in full]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        began = time.monotonic()
        with pytest.raises(HostError, match="cannot be reached: no connection within"):
            download.read_sums(Fetch(url="http://host/x", sums_url="http://host/SUMS"), "debian")
        assert time.monotonic() - began < 5
    finally:
        for each in [*full, *waiting]:
            each.close()


def test_name_that_nobody_resolves_takes_no_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run on a machine whose name server is out of reach would wait for it again and again."""
    monkeypatch.setattr(connect, "CONNECT_S", 0.3)
    never = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [()] if never.wait(20) else [])
    with pytest.raises(HostError, match="cannot be reached: the name host was not found within"):
        download.read_sums(Fetch(url="http://host/x", sums_url="http://host/SUMS"), "debian")
    never.set()


def test_second_address_of_a_host_is_tried(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with broken IPv6 could download nothing."""
    port = int(site.url.rsplit(":", 1)[1])
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 9, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    source = Fetch(url=f"http://host:{port}/{NAME}", sums_url=f"http://host:{port}/SHA512SUMS")
    assert download.read_sums(source, "debian").digest == hashlib.sha512(IMAGE).hexdigest()
