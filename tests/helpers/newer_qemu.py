"""A QEMU that is newer than this host's, from Debian's backports: unpacked in the cache, never installed."""

from __future__ import annotations

import tempfile
from pathlib import Path

from guestbench.errors import GuestbenchError
from guestbench.host import process
from guestbench.host.facts import QEMU, check_qemu_version
from guestbench.provision.cache import cache_folder
from guestbench.provision.packages import KEYRING, find_sources

PACKAGE = "qemu-system-x86"
BIN = "bin"
WRAPPER = """\
#!/bin/sh
# QEMU with its own libraries and firmware before the host's.
root={root}
LD_LIBRARY_PATH=$root/usr/lib/x86_64-linux-gnu exec "$root/usr/bin/{qemu}" \\
    -L "$root/usr/share/qemu" -L "$root/usr/share/seabios" "$@"
"""


def find_newer_qemu() -> Path:
    """The folder with a `qemu-system-x86_64` for the beginning of PATH, fetched unless it is there.

    Raises:
        GuestbenchError: the host's release has no backports, its mirror none of QEMU, or what there is does
            not run here.
    """
    release = _read_release()
    kept = cache_folder() / f"qemu-{release}-backports"
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=_make(cache_folder())) as work:
            _fetch(Path(work), release)
            (Path(work) / "done").rename(kept)
    program = _make(kept / BIN) / QEMU
    program.write_text(WRAPPER.format(root=kept / "root", qemu=QEMU))
    program.chmod(0o755)
    check_qemu_version(process.run([program, "--version"]).stdout.decode())
    return program.parent


def _read_release() -> str:
    release = process.run(["sh", "-c", '. /etc/os-release; printf %s "$VERSION_CODENAME"']).stdout.decode()
    if not release or not find_sources(release).lines:
        raise GuestbenchError("this host's apt names no release of Debian", "apt-get update")
    return release


def _fetch(work: Path, release: str) -> None:
    """Download what this host lacks for the newer QEMU, by its mirror and packages, and unpack that."""
    sources = find_sources(release)
    mirror = sources.lines[0].split()[1]
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    suites = (release, f"{release}-backports")
    (work / "sources.list").write_text("".join(f"deb {signed}{mirror} {each} main\n" for each in suites))
    for name in ("lists/partial", "cache/archives/partial", "state"):
        _make(work / name)
    own = {
        "Dir::Etc::sourcelist": work / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferences": "-",
        "Dir::Etc::preferencesparts": "-",
        "Dir::State": work / "state",
        "Dir::State::lists": work / "lists",
        "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": work / "cache",
        "Debug::NoLocking": "true",
        "APT::Sandbox::User": "",
    }
    options = [word for name, value in own.items() for word in ("-o", f"{name}={value}")]
    process.run(["apt-get", *options, "--quiet", "--error-on=any", "update"])
    chosen = ("--target-release", suites[1], "--no-install-recommends", "--download-only", "--yes")
    process.run(["apt-get", *options, "--quiet", *chosen, "install", PACKAGE])
    for archive in sorted((work / "cache" / "archives").glob("*.deb")):
        process.run(["dpkg-deb", "--extract", archive, _make(work / "done" / "root")])


def _make(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
