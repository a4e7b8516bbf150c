"""Reads the package databases of dpkg and apk in a file system; what is not installed does not count."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from guestbench.images.inspection import Known, Package, known, unknown
from guestbench.images.tree import Entry, Tree, show

MAX_DATABASE_BYTES = 16 << 20
"""Debian's with 288 packages has 0.3 MiB."""
MAX_PACKAGES = 100_000
_DPKG, _DPKG_FOLDER = "var/lib/dpkg/status", "var/lib/dpkg/status.d"
_APK = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
_OTHERS = ("var/lib/rpm", "usr/lib/sysimage/rpm", "var/lib/pacman/local")


def find_packages(tree: Tree) -> Known[tuple[Package, ...]]:
    """Installed packages, by name and architecture.

    Raises:
        ImageError: a database cannot be read.
    """
    databases = list(_find_databases(tree))
    if not databases:
        other = next((path for path in _OTHERS if tree.find(path)), None)
        if other:
            return unknown(f"the package database in /{other} cannot be read: only dpkg's and apk's can")
        return unknown("no package database of dpkg or apk")
    sources = " and ".join(dict.fromkeys(f"/{place}" for place, _ in databases))
    packages: set[Package] = set()
    for place, entry in databases:
        data = tree.read(entry, MAX_DATABASE_BYTES)
        rows = _read_apk(data) if place in _APK else read_dpkg(data, needs_status=place == _DPKG)
        packages |= set(islice(rows, MAX_PACKAGES + 1))
        if len(packages) > MAX_PACKAGES:
            return unknown(f"the package database lists more than {MAX_PACKAGES} packages", sources)
    ordered = sorted(packages, key=lambda p: (p.name, p.architecture, p.version, p.kind))
    return known(tuple(ordered), f"{sources}, installed packages only")


def _find_databases(tree: Tree) -> Iterator[tuple[str, Entry]]:
    """The files to read, each with the place that it counts as."""
    status = tree.find_file(_DPKG)
    if status is not None and status.size_bytes:
        yield _DPKG, status
    # Distroless images have one file a package, and only installed ones.
    for entry in tree.below(_DPKG_FOLDER):
        if entry.is_regular and not entry.path.endswith(b".md5sums"):
            yield _DPKG_FOLDER, entry
    yield from [(path, found) for path in _APK if (found := tree.find_file(path))][:1]


def read_dpkg(status: bytes, *, needs_status: bool = True) -> Iterator[Package]:
    """The installed packages in a status file of dpkg; without `needs_status`, those that say nothing too."""
    for fields in parse_control(status):
        installed = fields.get("Status", b"").split()[-1:] == [b"installed"] or not needs_status
        if "Package" in fields and installed:
            name, version, architecture, source = (
                show(fields.get(field, b"")) for field in ("Package", "Version", "Architecture", "Source")
            )
            yield Package(
                kind="deb",
                name=name,
                version=version,
                architecture=architecture,
                source=source.partition(" ")[0],
            )


def parse_control(data: bytes) -> Iterator[dict[str, bytes]]:
    """The paragraphs of a Debian control file; of a field that spans lines, the first line."""
    for paragraph in re.split(rb"\n[ \t\r]*\n", data):
        fields: dict[str, bytes] = {}
        for line in paragraph.split(b"\n"):
            name, colon, value = line.partition(b":")
            if colon and not name.startswith((b" ", b"\t")):
                fields.setdefault(name.decode("ascii", "replace"), value.strip())
        if fields:
            yield fields


def _read_apk(data: bytes) -> Iterator[Package]:
    for record in data.split(b"\n\n"):
        fields = {
            line[:1]: show(line[2:].strip()) for line in reversed(record.split(b"\n")) if line[1:2] == b":"
        }
        if b"P" in fields:
            name, version, architecture, source = (fields.get(key, "") for key in (b"P", b"V", b"A", b"o"))
            yield Package(kind="apk", name=name, version=version, architecture=architecture, source=source)
