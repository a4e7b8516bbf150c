"""Reads the package databases of dpkg and apk in a file system; it never counts what is not installed."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TypeAlias

from guestbench.images.inspection import (
    Known,
    Package,
    known,
    unknown,
)
from guestbench.images.tree import Tree, show

MAX_DATABASE_BYTES = 16 << 20
"""Debian's with 288 packages has 0.3 MiB."""
MAX_PACKAGES = 100_000
_Row: TypeAlias = tuple[str, str, str, str, str]
"""Kind, name, version, architecture, source package."""
_DPKG, _DPKG_FOLDER = "var/lib/dpkg/status", "var/lib/dpkg/status.d"
_APK = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
_RPM = ("var/lib/rpm", "usr/lib/sysimage/rpm", "var/lib/pacman/local")


def find_packages(tree: Tree) -> Known[tuple[Package, ...]]:
    """Installed packages, by name and architecture.

    Raises:
        ImageError: a database cannot be read.
    """
    packages: set[_Row] = set()
    sources = []
    status = tree.find_file(_DPKG)
    if status is not None and status.size_bytes:
        packages |= _some(_parse_dpkg(tree.read(status, MAX_DATABASE_BYTES), needs_status=True))
        sources.append(f"/{_DPKG}")
    # Distroless images have one file a package, and only installed ones.
    single = (
        []
        if len(packages) > MAX_PACKAGES
        else [e for e in tree.below(_DPKG_FOLDER) if e.is_regular and not e.path.endswith(b".md5sums")]
    )
    for entry in single:
        packages |= _some(_parse_dpkg(tree.read(entry, MAX_DATABASE_BYTES), needs_status=False))
    if single:
        sources.append(f"/{_DPKG_FOLDER}")
    for path in _APK:
        found = tree.find_file(path)
        if found is not None:
            packages |= _some(_parse_apk(tree.read(found, MAX_DATABASE_BYTES)))
            sources.append(f"/{path}")
            break
    if not sources:
        other = next((path for path in _RPM if tree.find(path)), None)
        if other:
            return unknown(f"the package database in /{other} cannot be read: only dpkg's and apk's can")
        return unknown("no package database of dpkg or apk")
    if len(packages) > MAX_PACKAGES:
        return unknown(f"the package database lists more than {MAX_PACKAGES} packages", " and ".join(sources))
    rows = sorted(packages, key=lambda row: (row[1], row[3], row[2], row[0]))
    items = tuple(
        Package(kind=kind, name=name, version=version, architecture=architecture, source=source)
        for kind, name, version, architecture, source in rows
    )
    return known(items, f"{' and '.join(sources)}, installed packages only")


def _some(rows: Iterator[_Row]) -> set[_Row]:
    """The rows, but few more than are allowed."""
    return set(islice(rows, MAX_PACKAGES + 1))


def _parse_dpkg(data: bytes, *, needs_status: bool) -> Iterator[_Row]:
    wanted = (b"Package", b"Status", b"Version", b"Architecture", b"Source")
    for stanza in data.replace(b"\r\n", b"\n").split(b"\n\n"):
        fields: dict[bytes, str] = {}
        for line in stanza.split(b"\n"):
            name, colon, value = line.partition(b":")
            if colon and name in wanted:
                fields.setdefault(name, show(value.strip()))
        installed = fields.get(b"Status", "").split()[-1:] == ["installed"] or not needs_status
        if b"Package" in fields and installed:
            source = fields.get(b"Source", "").partition(" ")[0]
            yield (
                "deb",
                fields[b"Package"],
                fields.get(b"Version", ""),
                fields.get(b"Architecture", ""),
                source,
            )


def _parse_apk(data: bytes) -> Iterator[_Row]:
    for record in data.split(b"\n\n"):
        fields = {
            line[:1]: show(line[2:].strip()) for line in reversed(record.split(b"\n")) if line[1:2] == b":"
        }
        if b"P" in fields:
            yield (
                "apk",
                fields[b"P"],
                fields.get(b"V", ""),
                fields.get(b"A", ""),
                fields.get(b"o", ""),
            )
