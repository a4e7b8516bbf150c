"""Writes the JSON Schema of `results.json`, made of the types that it is written from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from guestbench.model import Header, Record
from guestbench.report.export.json import JSON_VERSION, Results

ANYTHING = {"description": "Whatever it is that others define."}
"""What is known of values that have no type of ours, such as what a recipe is told."""


def render(header: Header | None = None, records: Sequence[Record] = ()) -> bytes:
    """The schema (draft 2020-12), which is the same for all runs."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"results.json of guestbench, version {JSON_VERSION}",
        **_without_line_ends(msgspec.json.schema(Results, schema_hook=lambda _: ANYTHING)),
    }
    return msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"


def _without_line_ends(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its descriptions, which are docstrings, as running text."""
    plain = dict(schema)
    for key, value in plain.items():
        if isinstance(value, dict):
            plain[key] = _without_line_ends(value)
        elif key == "description" and isinstance(value, str):
            plain[key] = " ".join(value.split())
    return plain
