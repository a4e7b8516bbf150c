"""Downloads what publishers publish and verifies it against their checksums; keeps nothing unverified.

A download that breaks off is kept beside the cache's images and gone on with the next time. Everything comes
from the publisher's own address or, where `$GUESTBENCH_MIRROR` is set, from the same path below that one.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import os
import re
import shlex
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from guestbench.errors import HostError, ImageError, UsageError
from guestbench.host.facts import free_bytes
from guestbench.model import MIB, Fetch, Say
from guestbench.provision.cache import cache_folder, hash_file, storing
from guestbench.provision.connect import open_url
from guestbench.provision.signature import check_signature

MIRROR_VARIABLE = "GUESTBENCH_MIRROR"
BLOCK_BYTES = MIB
SUMS_LIMIT_BYTES = MIB
REPORT_EVERY_S = 5.0


Aim = Literal["fetch", "build"]
"""What a download is for: an official image, or something that an image is built from."""


class _Errand(NamedTuple):
    system: str
    aim: Aim

    @property
    def again(self) -> str:
        """What to type to go on with a download that broke off."""
        return f"guestbench systems {self.aim} {shlex.quote(self.system)}"

    @property
    def way_out(self) -> str:
        """What to type where the server cannot be had."""
        if self.aim == "fetch":
            return f"guestbench systems build {shlex.quote(self.system)}"
        if os.environ.get(MIRROR_VARIABLE):
            return f"unset {MIRROR_VARIABLE}"
        return f"export {MIRROR_VARIABLE}=URL, the address of a mirror that this host can reach"


class Published(NamedTuple):
    """A file as the publisher's checksum list has it: the list's line, and the digest in it."""

    source: Fetch
    line: str
    digest: str
    errand: _Errand
    signed: str = ""

    def describe(self) -> str:
        """Where the verified file came from, the line of the list that it agrees with, and who signed that.

        A mirror is not named: it is an affair of the host's, and what it served is what was published.
        """
        mirrored = ", from a mirror" if find_address(self.source.url) != self.source.url else ""
        signed = f"; the list: {self.signed}" if self.signed else ""
        return f"{self.source.url} ({self.source.algorithm} {self.line}{mirrored}{signed})"

    def download(self, say: Say) -> Path:
        """Download the file, verify it, and return where it is, which the caller moves to where it belongs.

        Raises:
            HostError: the server cannot be reached, refuses or breaks off; or the disk is full.
            ImageError: what came is not what the publisher's list says; it is not kept.
        """
        # The digest in the name: a part of a file that has been replaced since is not gone on with.
        part = _downloads() / f"{self.errand.system}-{self.digest[:16]}.part"
        if not self._agrees(part):
            url = find_address(self.source.url)
            _transfer(url, part, self.errand, say)
            say("verifying the checksum")
            if not self._agrees(part):
                found = hash_file(part, self.source.algorithm)
                part.unlink()
                raise ImageError(
                    f"{url} is not what its publisher's list says: {self.source.algorithm} is {found[:16]}…, "
                    f"not {self.digest[:16]}…; the download was thrown away",
                    self.errand.again,
                )
        return part

    def keep(self, say: Say) -> Path:
        """The file in the cache, where it stays; downloaded as by `download` unless it is there."""
        # Whatever the address ends in, the name leads nowhere else, and tells two versions of a file apart.
        name = re.sub(r"[^A-Za-z0-9._-]", "_", _file_name(self.source.url))
        kept = _downloads() / f"{self.digest[:16]}-{name}"
        if not self._agrees(kept):
            part = self.download(say)
            with storing(kept.parent):
                part.rename(kept)
        return kept

    def _agrees(self, file: Path) -> bool:
        return file.is_file() and hmac.compare_digest(hash_file(file, self.source.algorithm), self.digest)


def read_sums(source: Fetch, system: str, aim: Aim = "fetch") -> Published:
    """Download the checksum list and find the file's line in it.

    Raises:
        HostError: the server cannot be reached or refuses.
        ImageError: the list does not name the file, or is not what its publisher signed.
        UsageError: `source.algorithm` is not one that Python knows, or `$GUESTBENCH_MIRROR` is no address.
    """
    if source.algorithm not in hashlib.algorithms_available:
        raise UsageError(
            f"system {system}: unknown checksum algorithm {source.algorithm!r}", "guestbench systems list"
        )
    errand, url = _Errand(system, aim), find_address(source.sums_url)
    data = _read_small(url, errand)
    text = data.decode("utf-8", "replace")
    name = _file_name(source.url)
    digits = hashlib.new(source.algorithm).digest_size * 2
    for line in text.splitlines():
        # As sha512sum writes it: digest, a space, a space or asterisk, the name.
        found = re.fullmatch(r"([0-9a-fA-F]+) [ *](?:\./)?(.+)", line.rstrip())
        if found and found[2] == name and len(found[1]) == digits:
            signed = check_signature(url, data, lambda url: _read_if_there(url, errand), errand.way_out)
            return Published(source, line.rstrip(), found[1].lower(), errand, signed)
    raise ImageError(f"{url} has no {source.algorithm} sum of {name}", errand.way_out)


def _read_small(url: str, errand: _Errand) -> bytes:
    with _open(url, errand) as answer, _reading(url, errand):
        return answer.read(SUMS_LIMIT_BYTES)


def _read_if_there(url: str, errand: _Errand) -> bytes | None:
    try:
        return _read_small(url, errand)
    except HostError as error:
        refusal = error.__cause__
        missing = (http.HTTPStatus.NOT_FOUND, http.HTTPStatus.GONE, http.HTTPStatus.FORBIDDEN)
        if isinstance(refusal, urllib.error.HTTPError) and refusal.code in missing:
            return None
        raise


def find_address(url: str) -> str:
    """Where to get what is published at `url`: there, or at the same path below `$GUESTBENCH_MIRROR`.

    Raises:
        UsageError: the variable holds no address of a web server.
    """
    mirror = os.environ.get(MIRROR_VARIABLE, "").strip()
    if not mirror:
        return url
    try:
        parts = urllib.parse.urlsplit(mirror)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or not mirror.isprintable() or " " in mirror:
        raise UsageError(
            f"{MIRROR_VARIABLE} is {mirror!r}, which is not the address of a web server (http://… or https://…)",
            f"unset {MIRROR_VARIABLE}",
        )
    published = urllib.parse.urlsplit(url)
    return mirror.rstrip("/") + urllib.parse.urlunsplit(published._replace(scheme="", netloc=""))


def _downloads() -> Path:
    folder = cache_folder() / "downloads"
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return folder


def _transfer(url: str, part: Path, errand: _Errand, say: Say) -> None:
    have = part.stat().st_size if part.exists() else 0
    with _open(url, errand, start=have) as answer:
        if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else None
        if total is not None and total - have > free_bytes(part.parent):
            raise HostError(
                f"{url} has {total // MIB} MiB, but only {free_bytes(part.parent) // MIB} MiB are free",
                f"df -h {part.parent}",
            )
        of_all = f" of {total // MIB}" if total else ""
        next_report = 0.0
        with storing(part.parent), part.open("ab" if have else "wb") as file:
            while True:
                if time.monotonic() >= next_report:
                    say(f"downloading: {have // MIB}{of_all} MiB")
                    next_report = time.monotonic() + REPORT_EVERY_S
                with _reading(url, errand):
                    block = answer.read(BLOCK_BYTES)
                if not block:
                    break
                file.write(block)
                have += len(block)
    if total is not None and have != total:
        raise HostError(f"{url} broke off after {have} of {total} bytes", errand.again)


@contextmanager
def _open(url: str, errand: _Errand, start: int = 0) -> Iterator[http.client.HTTPResponse]:
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    with _reading(url, errand):
        try:
            answer = open_url(request)
        except urllib.error.HTTPError as refusal:
            if refusal.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not start:
                raise
            # The part we have is as long as the whole, and still wrong: begin again.
            answer = open_url(urllib.request.Request(url))
    with answer:
        yield answer


@contextmanager
def _reading(url: str, errand: _Errand) -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError as refusal:
        raise HostError(f"{url}: HTTP status {refusal.code} {refusal.reason}", errand.way_out) from refusal
    except urllib.error.URLError as trouble:
        raise HostError(f"{url} cannot be reached: {trouble.reason}", errand.way_out) from trouble
    except (OSError, http.client.HTTPException) as trouble:
        words = str(trouble) or type(trouble).__name__
        raise HostError(f"{url} broke off: {words}", errand.way_out) from trouble


def _file_name(url: str) -> str:
    return urllib.parse.unquote(urllib.parse.urlsplit(url).path.rsplit("/", 1)[-1])
