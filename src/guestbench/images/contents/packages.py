"""Reads the package databases of dpkg and apk in a file system; what is not installed does not count."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

from guestbench.images.formats.unpack import find_compression
from guestbench.images.inspection import Known, Package, known, unknown
from guestbench.images.tree import Entry, Tree, show, show_path

MAX_DATABASE_BYTES = 256 << 20
"""Debian's with 288 packages has 0.3 MiB."""
MAX_PACKAGES = 100_000
MAX_STATUS_BYTES = 1024
_GLUED = re.compile(rb"(unknown|install|hold|deinstall|purge)\s*(ok|reinstreq)\s*installed")
"""dpkg needs no blank between the words of a status."""
_DPKG, _DPKG_FOLDER = "var/lib/dpkg/status", "var/lib/dpkg/status.d"
_APK = ("lib/apk/db/installed", "usr/lib/apk/db/installed")
_OTHERS = ("var/lib/rpm", "usr/lib/sysimage/rpm", "var/lib/pacman/local")


def find_packages(tree: Tree) -> Known[tuple[Package, ...]]:
    """Installed packages, by name and architecture; unknown where a database is not whole.

    Raises:
        ImageError: a database cannot be read, or is too large.
    """
    databases = list(_find_databases(tree))
    if not databases:
        return unknown(_tell_missing(tree))
    sources = " and ".join(dict.fromkeys(f"/{place}" for place, _ in databases))
    packages: set[Package] = set()
    listed, remark = 0, ""
    for place, entry in databases:
        data = tree.read_whole(entry, MAX_DATABASE_BYTES)
        if problem := _find_problem(data, is_list=place != _DPKG_FOLDER):
            return unknown(f"{show_path(entry.path)} {problem}", sources)
        rows = _read_apk(data) if place in _APK else read_dpkg(data, needs_status=place == _DPKG)
        packages |= set(islice(rows, MAX_PACKAGES + 1))
        listed += len(re.findall(rb"(?m)^P:" if place in _APK else rb"(?mi)^Package[ \t]*:", data))
        if len(packages) > MAX_PACKAGES:
            return unknown(f"the package database lists more than {MAX_PACKAGES} packages", sources)
        if place != _DPKG_FOLDER and not re.search(rb"\n\s*\n$", data):
            remark = "; perhaps incomplete: the last package is not ended by an empty line"
    if not listed:
        return unknown("the package database lists no package, installed or not", sources)
    if other := _find_other(tree):
        remark += f"; incomplete: the database in /{other} cannot be read"
    ordered = sorted(packages, key=lambda p: (p.name, p.architecture, p.version, p.kind))
    return known(tuple(ordered), f"{sources}, installed packages only{remark}")


def _find_databases(tree: Tree) -> Iterator[tuple[str, Entry]]:
    """The files to read, each with the place that it counts as."""
    status = tree.find_file(_DPKG)
    if status is not None and status.size_bytes:
        yield _DPKG, status
    # Distroless images have one file a package, and only installed ones.
    for entry in tree.below(_DPKG_FOLDER):
        if entry.is_regular and not entry.path.endswith(b".md5sums"):
            yield _DPKG_FOLDER, entry
    yield from [(path, found) for path in _APK if (found := tree.find_file(path)) and found.size_bytes][:1]


def _find_other(tree: Tree) -> str:
    """The folder of a database that cannot be read; empty if there is none."""
    return next((path for path in _OTHERS if any(entry.is_regular for entry in tree.below(path))), "")


def _tell_missing(tree: Tree) -> str:
    """Why there is no database to read."""
    if other := _find_other(tree):
        return f"the package database in /{other} cannot be read: only dpkg's and apk's can"
    empty = next((path for path in (_DPKG, *_APK) if tree.find_file(path)), None)
    if empty:
        return f"/{empty} is empty"
    return "no package database of dpkg or apk"


def _find_problem(data: bytes, *, is_list: bool) -> str:
    """Why a database cannot be trusted, or nothing."""
    if kind := find_compression(data[:8]):
        return f"is compressed with {kind}: it is no database that dpkg or apk would read"
    if (at := data.find(b"\0")) >= 0:
        return f"is damaged: it has a NUL byte at byte {at}, as files have after a crash"
    if is_list and not data.rstrip(b" \t\r").endswith(b"\n"):
        return "is cut: it ends in the middle of a line"
    return ""


def read_dpkg(status: bytes, *, needs_status: bool = True) -> Iterator[Package]:
    """The installed packages in a status file of dpkg; without `needs_status`, those that say nothing too."""
    for fields in parse_control(status):
        # Their case is the same to dpkg, which lists names as small letters.
        said = fields.get("Status", b"").lower()
        installed = not needs_status or said.split()[-1:] == [b"installed"] or _GLUED.fullmatch(said)
        if "Package" in fields and installed:
            name, version, architecture, source = (
                show(fields.get(field, b"")) for field in ("Package", "Version", "Architecture", "Source")
            )
            yield Package(
                kind="deb",
                name=name.lower(),
                version=version,
                architecture=architecture,
                source=source.partition(" ")[0],
            )


def parse_control(data: bytes) -> Iterator[dict[str, bytes]]:
    """The paragraphs of a Debian control file; of a field that spans lines, the first line.

    The names of fields are those of Debian's own files, `Installed-Size`: to dpkg their case is the same, and
    of a status it reads the words of all lines.
    """
    for paragraph in re.split(rb"\n[ \t\r]*\n", data):
        fields: dict[str, bytes] = {}
        last = ""
        for line in paragraph.split(b"\n"):
            name, colon, value = line.partition(b":")
            if line.startswith((b" ", b"\t")):
                if last == "Status" and len(fields[last]) < MAX_STATUS_BYTES:
                    fields[last] = b" ".join((fields[last], line.strip())).strip()
            elif colon:
                last = name.decode("ascii", "replace").strip().title()
                fields.setdefault(last, value.strip())
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
