"""The bill of materials of guestbench itself: it has what the lock has, in the form of CycloneDX."""

from __future__ import annotations

import importlib.util
import json
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest

from guestbench import __version__

ROOT = Path(__file__).parents[2]
LOCK = (ROOT / "requirements.lock").read_text()
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

PURL = {"type": "string", "pattern": r"^pkg:pypi/[a-z0-9]+(-[a-z0-9]+)*@[0-9A-Za-z.+!-]+$"}
HASH = {
    "type": "object",
    "properties": {"alg": {"const": "SHA-256"}, "content": {"type": "string", "pattern": "^[0-9a-f]{64}$"}},
    "required": ["alg", "content"],
    "additionalProperties": False,
}
COMPONENT = {
    "type": "object",
    "properties": {
        "type": {"enum": ["library"]},
        "bom-ref": PURL,
        "name": {"type": "string", "minLength": 1},
        "version": {"type": "string", "minLength": 1},
        "scope": {"enum": ["required", "excluded"]},
        "purl": PURL,
        "externalReferences": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "type": {"const": "distribution"},
                    "url": PURL,
                    "hashes": {"type": "array", "items": HASH, "minItems": 1},
                },
                "required": ["type", "url", "hashes"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["type", "bom-ref", "name", "version", "scope", "purl", "externalReferences"],
    "additionalProperties": False,
}
SCHEMA = {
    "type": "object",
    "properties": {
        "$schema": {"const": "http://cyclonedx.org/schema/bom-1.6.schema.json"},
        "bomFormat": {"const": "CycloneDX"},
        "specVersion": {"const": "1.6"},
        "version": {"const": 1},
        "metadata": {"type": "object", "required": ["component"]},
        "components": {"type": "array", "items": COMPONENT, "uniqueItems": True},
        "dependencies": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "ref": PURL,
                    "dependsOn": {"type": "array", "items": PURL, "uniqueItems": True},
                },
                "required": ["ref", "dependsOn"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["bomFormat", "specVersion", "version", "metadata", "components", "dependencies"],
    "additionalProperties": False,
}
"""What we write of CycloneDX 1.6, as its own schema has it and no wider."""


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """The tool that makes it."""
    spec = importlib.util.spec_from_file_location("make_sbom", ROOT / "tools" / "make_sbom.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def sbom(maker: ModuleType) -> dict[str, Any]:
    """The document of this lock."""
    found: dict[str, Any] = json.loads(maker.render(PROJECT, __version__, LOCK))
    return found


def test_it_has_the_form_of_cyclonedx(sbom: dict[str, Any]) -> None:
    """No scanner would read it."""
    jsonschema.validate(sbom, SCHEMA)


def test_it_has_all_of_the_lock_and_nothing_else(sbom: dict[str, Any]) -> None:
    """A package with a known weakness would be missing from it."""
    pinned = re.findall(r"(?m)^([A-Za-z0-9._-]+)==([^ ;]+)", LOCK)
    listed = [(each["name"], each["version"]) for each in sbom["components"]]
    assert listed == [(name.lower().replace("_", "-").replace(".", "-"), version) for name, version in pinned]
    digests = [
        each["content"]
        for component in sbom["components"]
        for reference in component["externalReferences"]
        for each in reference["hashes"]
    ]
    assert digests == re.findall(r"--hash=sha256:([0-9a-f]{64})", LOCK)


def test_what_users_get_is_told_from_what_only_developers_do(sbom: dict[str, Any]) -> None:
    """Whoever looks for weaknesses would look at a test runner, or pass over what they run."""
    scopes = {each["name"]: each["scope"] for each in sbom["components"]}
    wanted = [re.split("[>=<]", each)[0].replace(".", "-") for each in PROJECT["dependencies"]]
    assert {scopes[name] for name in wanted} == {"required"}
    assert scopes["markdown-it-py"] == "required"  # of rich
    assert {scopes[name] for name in ("pytest", "mypy", "ruff", "hypothesis")} == {"excluded"}


def test_edges_lead_to_components(sbom: dict[str, Any]) -> None:
    """A tool that follows them would end at nothing, or not reach a package."""
    own = sbom["metadata"]["component"]["bom-ref"]
    edges = {each["ref"]: each["dependsOn"] for each in sbom["dependencies"]}
    assert set(edges) == {own, *(each["bom-ref"] for each in sbom["components"])}
    reached, todo = set[str](), [own]
    while todo:
        ref = todo.pop()
        todo += [each for each in edges[ref] if each not in reached]
        reached.add(ref)
    assert reached == set(edges)


def test_the_same_lock_gives_the_same_bytes(maker: ModuleType) -> None:
    """Nobody could tell whether a release is made of what its lock says."""
    assert maker.render(PROJECT, __version__, LOCK) == maker.render(PROJECT, __version__, LOCK)
