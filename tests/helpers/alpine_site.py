"""A web server on this machine that publishes what it is given, and archives like Alpine's."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from guestbench.definition.systems import load_catalogue
from guestbench.provision import cpio
from guestbench.provision.recipes import find_recipe
from guestbench.provision.recipes.alpine_initramfs import AlpineInitramfs

RELEASE = "6.18.0-0-virt"


class Site:
    """What the server has by path, and what it was asked for. `cut` bytes into a path it hangs up."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.files: dict[str, bytes] = {}
        self.cut: dict[str, int] = {}
        self.asked: list[tuple[str, str]] = []

    def publish(self, path: str, data: bytes) -> None:
        """Put a file on the server, with its list of checksums beside it."""
        line = f"{hashlib.sha512(data).hexdigest()}  {path.rsplit('/', 1)[-1]}\n"
        self.files |= {path: data, f"{path}.sha512": line.encode()}


@contextmanager
def serve() -> Iterator[Site]:
    """A server on 127.0.0.1 that knows ranges."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range") or ""
            site.asked.append((self.path, asked))
            body = site.files.get(self.path)
            if body is None:
                self.send_error(404)
                return
            start = int(asked.removeprefix("bytes=").rstrip("-") or 0)
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            self.wfile.write(body[start : site.cut.get(self.path)])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site = Site(f"http://127.0.0.1:{server.server_address[1]}/mirror")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def recipe() -> AlpineInitramfs:
    """The catalogue's recipe."""
    build = load_catalogue()["alpine"].provision.build
    assert build is not None
    found = find_recipe(build)
    assert isinstance(found, AlpineInitramfs)
    return found


def path_of(url: str) -> str:
    """Where the server has what is published at an address."""
    return "/mirror/" + url.split("/", 3)[3]


def pack(members: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    """A gzip-compressed tar archive. Names that end in `/` are folders, `links` symbolic."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.mode = 0o755
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return out.getvalue()


def module(depends: str) -> bytes:
    """The part of a kernel module that is looked at."""
    return b"\x7fELF\0license=GPL\0depends=" + depends.encode() + b"\0name=x\0"


def netboot_initramfs(
    modules: Mapping[str, bytes], built_in: str = "kernel/drivers/virtio/virtio_pci.ko\n"
) -> bytes:
    """An initial ramdisk like mkinitfs makes: modules compressed one by one, a list of those built in."""
    folder = f"lib/modules/{RELEASE}"
    entries = {
        f"{folder}/kernel/drivers/{name}.ko.gz": cpio.regular_file(gzip.compress(data, mtime=0))
        for name, data in modules.items()
    }
    entries[f"{folder}/modules.builtin"] = cpio.regular_file(built_in.encode())
    return gzip.compress(cpio.pack(entries), mtime=0)
