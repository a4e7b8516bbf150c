"""Mistakes in parts of a file whose type the model leaves open."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest

from guestbench.definition.decode import Choice, Meanings, Shape, find_mistakes
from guestbench.model import Frozen
from guestbench.model.kinds import within


class Kettle(Frozen, tag_field="method", tag="kettle"):
    """A recipe of another package."""

    litres: Annotated[int, within(1, 5)] = 1


class Teapot(Frozen, tag_field="method", tag="teapot"):
    """Another one."""

    lid: bool


class Order(Frozen):
    """A file of which a registry knows more than its type says."""

    vmm: Annotated[str, msgspec.Meta(extra={"kind": "vmm"})] = "qemu"
    build: Annotated[dict[str, object], msgspec.Meta(extra={"kind": "recipe"})] | None = None


MEANINGS: Meanings = {"vmm": Choice(("qemu", "fake")), "recipe": Shape(Kettle | Teapot)}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"vmm": "fake", "build": {"method": "kettle", "litres": 5}}, ()),
        ({"vmm": "quemu"}, ('vmm: unknown value "quemu"; did you mean qemu?',)),
        ({"vmm": 1}, ("vmm: one of qemu, fake is needed, found the number 1",)),
        ({"build": {"method": "kettle", "litres": 6}}, ("[build] litres: at most 5 is possible, found 6",)),
        ({"build": {"method": "teapot"}}, ("[build] lid: missing; true or false is needed",)),
        ({"build": {"method": "pot"}}, ('[build] method: unknown value "pot"; did you mean teapot?',)),
        ({"build": {"lidd": 1}}, ("[build] method: missing; one of kettle, teapot is needed",)),
        ({"build": []}, ("build: a table is needed, found a list of 0",)),
    ],
)
def test_what_a_registry_knows_is_judged_as_if_the_model_knew_it(
    data: dict[str, object], told: tuple[str, ...]
) -> None:
    """A mistake in what another package adds would end in a traceback, or in other words than all others."""
    found = find_mistakes(data, Order, MEANINGS)
    assert found[: len(told)] == told
    assert bool(found) == bool(told)
