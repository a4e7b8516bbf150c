"""Downloads an official image and verifies it against its publisher's checksums; keeps nothing unverified.

A download that breaks off is kept beside the cache's images and gone on with the next time.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import re
import shlex
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from guestbench.errors import HostError, ImageError, UsageError
from guestbench.model import Fetch, Frozen
from guestbench.provision.cache import cache_folder, free_bytes, hash_file

Say = Callable[[str], None]

TIMEOUT_S = 30.0
"""Longest silence of a server."""
BLOCK_BYTES = 1 << 20
SUMS_LIMIT_BYTES = 1 << 20
REPORT_EVERY_S = 5.0
MIB = 1 << 20


class Listed(Frozen):
    """What the publisher's checksum list says of an image: the line, and the digest in it."""

    line: str
    digest: str


def read_sums(source: Fetch, system: str) -> Listed:
    """Download the checksum list and find the image's line in it.

    Raises:
        HostError: the server cannot be reached or refuses.
        ImageError: the list does not name the image.
        UsageError: `source.algorithm` is not one that Python knows.
    """
    if source.algorithm not in hashlib.algorithms_available:
        raise UsageError(
            f"system {system}: unknown checksum algorithm {source.algorithm!r}", "guestbench systems list"
        )
    with _open(source.sums_url, system) as answer, _reading(source.sums_url, system):
        text = answer.read(SUMS_LIMIT_BYTES).decode("utf-8", "replace")
    name = _file_name(source.url)
    digits = hashlib.new(source.algorithm).digest_size * 2
    for line in text.splitlines():
        # As sha512sum writes it: digest, a space, a space or asterisk, the name.
        found = re.fullmatch(r"([0-9a-fA-F]+) [ *](?:\./)?(.+)", line.rstrip())
        if found and found[2] == name and len(found[1]) == digits:
            return Listed(line=line.rstrip(), digest=found[1].lower())
    raise ImageError(f"{source.sums_url} has no {source.algorithm} sum of {name}", _way_out(system))


def download_image(source: Fetch, listed: Listed, system: str, say: Say) -> Path:
    """Download the image, verify it, and return its file, which the caller moves to where it belongs.

    Raises:
        HostError: the server cannot be reached, refuses or breaks off; or the disk is full.
        ImageError: what came is not what the publisher's list says; it is not kept.
    """
    folder = cache_folder() / "downloads"
    with _storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    # The digest in the name: a part of an image that has been replaced since is not gone on with.
    part = folder / f"{system}-{listed.digest[:16]}.part"
    if not (part.exists() and _agrees(part, source, listed)):
        _transfer(source.url, part, system, say)
        say("verifying the checksum")
        if not _agrees(part, source, listed):
            found = hash_file(part, source.algorithm)
            part.unlink()
            raise ImageError(
                f"{source.url} is not what its publisher's list says: {source.algorithm} is {found[:16]}…, "
                f"not {listed.digest[:16]}…; the download was thrown away",
                f"guestbench systems fetch {shlex.quote(system)}",
            )
    return part


def _agrees(part: Path, source: Fetch, listed: Listed) -> bool:
    return hmac.compare_digest(hash_file(part, source.algorithm), listed.digest)


def _transfer(url: str, part: Path, system: str, say: Say) -> None:
    have = part.stat().st_size if part.exists() else 0
    with _open(url, system, start=have) as answer:
        if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
            have = 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else None
        if total is not None and total - have > free_bytes(part.parent):
            raise HostError(
                f"{url} has {total // MIB} MiB, but only {free_bytes(part.parent) // MIB} MiB are free",
                f"df -h {part.parent}",
            )
        with _storing(part), part.open("ab" if have else "wb") as file:
            got = _copy(answer, file, url, system, have, total, say)
    if total is not None and got != total:
        raise HostError(
            f"{url} broke off after {got} of {total} bytes", f"guestbench systems fetch {shlex.quote(system)}"
        )


def _copy(
    answer: http.client.HTTPResponse,
    file: IO[bytes],
    url: str,
    system: str,
    have: int,
    total: int | None,
    say: Say,
) -> int:
    next_report = 0.0
    while True:
        if time.monotonic() >= next_report:
            say(f"downloading: {have // MIB}{f' of {total // MIB}' if total else ''} MiB")
            next_report = time.monotonic() + REPORT_EVERY_S
        with _reading(url, system):
            block = answer.read(BLOCK_BYTES)
        if not block:
            return have
        file.write(block)
        have += len(block)


@contextmanager
def _open(url: str, system: str, start: int = 0) -> Iterator[http.client.HTTPResponse]:
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    with _reading(url, system):
        try:
            answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as refusal:
            if refusal.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not start:
                raise
            # The part we have is as long as the whole, and still wrong: begin again.
            answer = urllib.request.urlopen(url, timeout=TIMEOUT_S)
    with answer:
        yield answer


@contextmanager
def _reading(url: str, system: str) -> Iterator[None]:
    try:
        yield
    except urllib.error.HTTPError as refusal:
        raise HostError(f"{url}: HTTP status {refusal.code} {refusal.reason}", _way_out(system)) from refusal
    except urllib.error.URLError as trouble:
        raise HostError(f"{url} cannot be reached: {trouble.reason}", _way_out(system)) from trouble
    except (OSError, http.client.HTTPException) as trouble:
        words = str(trouble) or type(trouble).__name__
        raise HostError(f"{url} broke off: {words}", _way_out(system)) from trouble


@contextmanager
def _storing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as problem:
        raise HostError(
            f"cannot write {path}: {problem.strerror or problem}", f"df -h {path.parent}"
        ) from problem


def _file_name(url: str) -> str:
    return urllib.parse.unquote(urllib.parse.urlsplit(url).path.rsplit("/", 1)[-1])


def _way_out(system: str) -> str:
    return f"guestbench systems build {shlex.quote(system)}"
