"""Writes the packages of an inspected image as a CycloneDX 1.6 bill of materials; it guesses nothing.

The same image gives the same bytes: no time and no random serial number is in it, both of which the schema
leaves free. Format: https://cyclonedx.org/docs/1.6/json/; package URLs: the purl specification's types deb
and apk.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import msgspec

from guestbench.errors import ImageError
from guestbench.images.inspection import Distribution, Inspection, Known, Package
from guestbench.version import __version__

T = TypeVar("T")


def render_sbom(inspection: Inspection, image: Path) -> bytes:
    """A CycloneDX 1.6 JSON document with one component for each package, or library of a unikernel.

    Raises:
        ImageError: what is in the image is not known.
    """
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": "guestbench", "version": __version__}]},
            "component": _describe_image(inspection),
        },
        "components": _list_components(inspection, image),
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def make_purl(package: Package, distribution: Distribution | None) -> str | None:
    """The package URL, as `pkg:deb/debian/NAME@VERSION?arch=…`; None where the distribution is not known."""
    if distribution is None or not distribution.id:
        return None
    qualifiers = []
    if package.architecture:
        qualifiers.append(f"arch={_encode(package.architecture)}")
    if distribution.version:
        qualifiers.append(f"distro={_encode(f'{distribution.id}-{distribution.version}')}")
    place = f"pkg:{package.kind}/{_encode(distribution.id.lower())}/{_encode(package.name.lower())}"
    version = f"@{_encode(package.version)}" if package.version else ""
    return place + version + (f"?{'&'.join(qualifiers)}" if qualifiers else "")


def _encode(text: str) -> str:
    # The specification encodes all but these, and leaves the colon of an epoch as it is.
    return quote(text, safe="-._~:")


def _describe_image(inspection: Inspection) -> dict[str, object]:
    files = inspection.files.value if inspection.files else None
    distribution = files.distribution.value if files else None
    if distribution is None:
        return {"type": "file", "bom-ref": "image", "name": inspection.file}
    described: dict[str, object] = {
        "type": "operating-system",
        "bom-ref": "image",
        "name": distribution.id or distribution.title,
        "description": distribution.title,
    }
    return described | ({"version": distribution.version} if distribution.version else {})


def _list_components(inspection: Inspection, image: Path) -> list[dict[str, object]]:
    def need(known: Known[T] | None) -> T:
        if known is None or known.value is None:
            reason = "a kernel lists no packages" if known is None else known.unknown
            hint = f"guestbench inspect {shlex.quote(str(image))}"
            raise ImageError(f"{inspection.file} has no bill of materials: {reason}", hint)
        return known.value

    if inspection.elf is None:
        files = need(inspection.files)
        packages, distribution = need(files.packages), files.distribution.value
        return [_describe_package(number, package, distribution) for number, package in enumerate(packages)]
    source = inspection.elf.libraries.source
    return [
        {
            "type": "library",
            "bom-ref": f"library:{row.name}",
            "name": row.name,
            "properties": [{"name": "guestbench:source", "value": source}],
        }
        for row in need(inspection.elf.libraries)
    ]


def _describe_package(number: int, package: Package, distribution: Distribution | None) -> dict[str, object]:
    purl = make_purl(package, distribution)
    described: dict[str, object] = {
        "type": "library",
        # References must differ, even where a damaged database lists a package twice.
        "bom-ref": f"{number}:{package.kind}:{package.name}",
        "name": package.name,
    }
    if package.version:
        described["version"] = package.version
    if purl is not None:
        described["purl"] = purl
    if package.source:
        described["properties"] = [{"name": "guestbench:source-package", "value": package.source}]
    return described
