"""Checks a publisher's list of checksums by its signature, where there is one and this host has the keys.

The list of a release is signed in a file beside it, as those of Debian's images are; gpgv checks it with keys
that came with packages of this host, so that no key is believed that came with the list.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from guestbench.errors import ImageError, ToolMissing
from guestbench.host import process
from guestbench.provision.cache import scratch
from guestbench.text import visible

SUFFIX = ".sign"
LIST_NAME = re.compile(r"(MD5|SHA\d+)SUMS")
"""A list of many files; what is beside a single file is of another form."""
KEYRINGS = tuple(
    Path("/usr/share/keyrings") / name for name in ("debian-role-keys.gpg", "debian-archive-keyring.gpg")
)
_GOOD = re.compile(r"(?m)^\[GNUPG:\] GOODSIG ([0-9A-F]+) (.*)$")
_BAD = re.compile(r"(?m)^\[GNUPG:\] BADSIG ([0-9A-F]+) ")
_MISSING = re.compile(r"(?m)^\[GNUPG:\] NO_PUBKEY ([0-9A-F]+)$")


def check_signature(url: str, data: bytes, read: Callable[[str], bytes | None], again: str) -> str:
    """In words, how far the list `data` of `url` is signed; empty where such files have no signature.

    `read` gives what is at an address, None where there is nothing. `again` is the hint of an error.

    Raises:
        ImageError: the list is not what was signed.
    """
    if not LIST_NAME.fullmatch(url.rpartition("/")[2]):
        return ""
    keyrings = [path for path in KEYRINGS if path.is_file()]
    if not keyrings:
        return "its signature was not looked for: debian-keyring, which has the keys, is not installed"
    try:
        process.find_tool("gpgv")
    except ToolMissing as error:
        return f"its signature was not looked for: {error.message}"
    signature = read(url + SUFFIX)
    if signature is None:
        return "it is not signed"
    with scratch("signature") as folder:
        signed, by = folder / "list", folder / "signature"
        signed.write_bytes(data)
        by.write_bytes(signature)
        options = [word for path in keyrings for word in ("--keyring", str(path))]
        done = process.run(["gpgv", "--status-fd", "1", *options, by, signed], check=False)
    told = done.stdout.decode("utf-8", "replace")
    if _BAD.search(told):
        raise ImageError(f"{url} is not what its publisher signed: its signature is of another list", again)
    if done.status == 0 and (found := _GOOD.search(told)):
        return f"signed by {visible(found[2])}, {found[1]}"
    if found := _MISSING.search(told):
        return f"signed by a key that this host does not have, {found[1]}"
    return "its signature could not be checked"
