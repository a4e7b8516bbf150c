"""Writes what guestbench itself is made of as a CycloneDX 1.6 bill of materials, from its lock.

    python tools/make_sbom.py [FILE]

Components are those of requirements.lock, with the digests of all files that pip may take for each. Those
that guestbench needs to run have the scope `required`, those for its development `excluded`. The same lock
gives the same bytes. Format: https://cyclonedx.org/docs/1.6/json/; package URLs: the purl specification.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parents[1]
_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^ ;\\]+)")
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_VIA = re.compile(r"    #(?: via)?\s+([A-Za-z0-9][A-Za-z0-9._-]*)")


class Pin(msgspec.Struct, frozen=True):
    """A package of the lock: the digests of its files, and the names of those that need it."""

    name: str
    version: str
    digests: tuple[str, ...]
    needed_by: tuple[str, ...]

    @property
    def purl(self) -> str:
        """Its package URL."""
        return f"pkg:pypi/{self.name}@{self.version}"


def normalise(name: str) -> str:
    """A package's name as package indexes write it (PEP 503), without its extras."""
    return re.sub(r"[-_.]+", "-", name.partition("[")[0]).lower()


def read_lock(text: str) -> tuple[Pin, ...]:
    """The packages of a lock, in its order."""
    pins: list[Pin] = []
    for line in text.splitlines():
        if found := _PIN.match(line):
            pins.append(Pin(name=normalise(found[1]), version=found[2], digests=(), needed_by=()))
        digests, needed_by = _HASH.findall(line), [normalise(each) for each in _VIA.findall(line)]
        if pins:
            pin = pins[-1]
            pins[-1] = Pin(
                name=pin.name,
                version=pin.version,
                digests=(*pin.digests, *digests),
                needed_by=(*pin.needed_by, *needed_by),
            )
    return tuple(pins)


def find_required(pins: tuple[Pin, ...], wanted: list[str]) -> set[str]:
    """The names of what is wanted, and of what that needs."""
    required = {normalise(re.split(r"[ <>=!~;\[]", each)[0]) for each in wanted}
    while more := {pin.name for pin in pins if required & set(pin.needed_by)} - required:
        required |= more
    return required


def describe(pin: Pin, scope: str) -> dict[str, Any]:
    """A component."""
    hashes = [{"alg": "SHA-256", "content": digest} for digest in pin.digests]
    return {
        "type": "library",
        "bom-ref": pin.purl,
        "name": pin.name,
        "version": pin.version,
        "scope": scope,
        "purl": pin.purl,
        # One for each file of the release; a component has one digest of each kind.
        "externalReferences": [{"type": "distribution", "url": pin.purl, "hashes": hashes}],
    }


def render(project: dict[str, Any], version: str, lock: str) -> bytes:
    """The document."""
    pins = read_lock(lock)
    required = find_required(pins, project["dependencies"])
    own = f"pkg:pypi/{project['name']}@{version}"
    # Of some packages the lock has two versions, for two versions of Python.
    names = {own: project["name"], **{pin.purl: pin.name for pin in pins}}
    edges = {ref: sorted(pin.purl for pin in pins if name in pin.needed_by) for ref, name in names.items()}
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": project["name"],
                "version": version,
                "licenses": [{"license": {"id": project["license"]}}],
                "purl": own,
            }
        },
        "components": [describe(pin, "required" if pin.name in required else "excluded") for pin in pins],
        "dependencies": [{"ref": ref, "dependsOn": needs} for ref, needs in edges.items()],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def main() -> None:
    """Write it to a file, or print it."""
    from guestbench import __version__

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    document = render(project, __version__, (ROOT / "requirements.lock").read_text("utf-8"))
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_bytes(document)
    else:
        sys.stdout.buffer.write(document)


if __name__ == "__main__":
    main()
