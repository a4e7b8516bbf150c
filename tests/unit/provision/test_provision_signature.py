"""Downloads over TLS, and lists of checksums that are signed, against a server of our own on this machine."""

from __future__ import annotations

import hashlib
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from guestbench.errors import HostError, ImageError
from guestbench.model import Fetch
from guestbench.provision import download, signature

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("gpg", "gpgv", "openssl"))), reason="gpg, gpgv or openssl is not installed"
)

NAME, IMAGE = "disk.qcow2", b"an image"
SUMS = f"{hashlib.sha512(IMAGE).hexdigest()}  {NAME}\n".encode()


class Site:
    """A server over TLS: what it has by its path, and where it sends those who ask for something else."""

    def __init__(self, folder: Path) -> None:
        self.has = {f"/{NAME}": IMAGE, "/SHA512SUMS": SUMS}
        self.leads: dict[str, str] = {}
        self.certificate = folder / "certificate.pem"
        argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        argv += [
            "-nodes",
            "-keyout",
            str(folder / "key.pem"),
            "-out",
            str(self.certificate),
            "-subj",
            "/CN=x",
        ]
        subprocess.run([*argv, "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, folder / "key.pem")
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = site.has.get(self.path)
                leads = site.leads.get(self.path)
                self.send_response(302 if leads else 404 if body is None else 200)
                if leads:
                    self.send_header("Location", leads)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_address[1]}"

    def read_sums(self) -> download.Published:
        """The line of its list."""
        source = Fetch(url=f"{self.url}/{NAME}", sums_url=f"{self.url}/SHA512SUMS")
        return download.read_sums(source, "debian")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server whose certificate this host trusts, and no keys."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GUESTBENCH_MIRROR", raising=False)
    monkeypatch.setattr(signature, "KEYRINGS", ())
    here = Site(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(here.certificate))
    thread = threading.Thread(target=here.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield here
    here.server.shutdown()
    here.server.server_close()
    thread.join()


def test_a_server_is_believed_by_its_certificate_alone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sits on the way could hand out another image, with a list to match."""
    assert site.read_sums().download(lambda _: None).read_bytes() == IMAGE
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(HostError, match="certificate verify failed"):
        site.read_sums()


def test_nobody_is_followed_from_tls_to_plain_text(site: Site) -> None:
    """One redirection would undo the encryption of all that follows."""
    site.has["/elsewhere"] = SUMS
    site.leads["/SHA512SUMS"] = f"{site.url}/elsewhere"
    assert site.read_sums().digest == hashlib.sha512(IMAGE).hexdigest()
    site.leads["/SHA512SUMS"] = "http://127.0.0.1:9/SHA512SUMS"
    with pytest.raises(HostError, match="which is not encrypted"):
        site.read_sums()


class Signer:
    """Someone with a key, in a folder of their own."""

    def __init__(self, folder: Path, name: str) -> None:
        self._home = folder / name
        self._home.mkdir(mode=0o700)
        self._name = f"{name} <{name}@example.org>"
        self.keyring = folder / f"{name}.gpg"
        self._run("--passphrase", "", "--quick-gen-key", self._name, "ed25519", "sign", "never")
        self.keyring.write_bytes(self._run("--export"))

    def _run(self, *words: str, data: bytes = b"") -> bytes:
        argv = ["gpg", "--homedir", str(self._home), "--batch", "--quiet", "--pinentry-mode", "loopback"]
        return subprocess.run([*argv, *words], input=data, check=True, capture_output=True).stdout

    def sign(self, data: bytes) -> bytes:
        """A detached signature."""
        return self._run("--passphrase", "", "--detach-sign", data=data)

    def leave(self) -> None:
        """End what gpg has left running."""
        subprocess.run(["gpgconf", "--homedir", str(self._home), "--kill", "all"], check=False)


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Signer, Signer]]:
    """The publisher, whose key this host has, and somebody else."""
    folder = tmp_path_factory.mktemp("keys")
    both = Signer(folder, "publisher"), Signer(folder, "stranger")
    yield both
    for each in both:
        each.leave()


def test_who_signed_a_list_is_told(
    site: Site, signers: tuple[Signer, Signer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list that nobody vouches for would look like one that its publisher has signed."""
    publisher, stranger = signers
    assert "not looked for: debian-keyring" in site.read_sums().describe()
    monkeypatch.setattr(signature, "KEYRINGS", (publisher.keyring, Path("/no/such/keyring")))
    assert site.read_sums().describe().endswith("; the list: it is not signed)")
    site.has["/SHA512SUMS.sign"] = publisher.sign(SUMS)
    assert "; the list: signed by publisher <publisher@example.org>, " in site.read_sums().describe()
    site.has["/SHA512SUMS.sign"] = stranger.sign(SUMS)
    assert "signed by a key that this host does not have, " in site.read_sums().describe()
    site.has["/SHA512SUMS.sign"] = b"no signature"
    assert site.read_sums().describe().endswith("; the list: its signature could not be checked)")


def test_a_list_that_is_not_what_was_signed_is_refused(
    site: Site, signers: tuple[Signer, Signer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image that somebody put into a mirror, and into its list, would be measured as official."""
    publisher, _ = signers
    monkeypatch.setattr(signature, "KEYRINGS", (publisher.keyring,))
    site.has["/SHA512SUMS.sign"] = publisher.sign(SUMS)
    site.has["/SHA512SUMS"] = SUMS + b"0" * 128 + b"  other\n"
    with pytest.raises(ImageError, match="SHA512SUMS is not what its publisher signed") as caught:
        site.read_sums()
    assert caught.value.hint == "guestbench systems build debian"
