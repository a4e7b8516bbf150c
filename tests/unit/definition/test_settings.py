"""Settings of an experiment's tables as they are typed: what is taken, what is refused, what is offered."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import pytest

from guestbench.definition.rules import setting_meanings
from guestbench.definition.settings import complete_setting, list_settings, parse_settings
from guestbench.errors import DefinitionError
from guestbench.model import Frozen
from guestbench.model.kinds import DISTINCT, Seconds, WorkloadName, within


class Tea(StrEnum):
    """A choice."""

    GREEN = "green"
    BLACK = "black"


class Pot(Frozen):
    """A table of settings of all the kinds there are."""

    cups: Annotated[int, within(1, 9, "How many cups.")] = 4
    steep_s: Seconds = 180.0
    lid: bool = True
    tea: Tea = Tea.BLACK
    label: str = ""
    seed: Annotated[int, within(0, 5)] | None = None
    work: Annotated[tuple[WorkloadName, ...], DISTINCT] = ("cpu",)


TABLES = {"pot": Pot}
MEANINGS = setting_meanings(("cpu", "merkle", "memory"))


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("pot.cups=5", "cups", 5),
        ("pot.steep_s=3", "steep_s", 3.0),
        ("pot.lid=false", "lid", False),
        ("pot.tea=green", "tea", Tea.GREEN),
        ("pot.label=a=b, c", "label", "a=b, c"),
        ("pot.label=", "label", ""),
        ("pot.seed=0", "seed", 0),
        ("pot.work=merkle,cpu", "work", ("merkle", "cpu")),
        ("pot.work=", "work", ()),
    ],
)
def test_a_setting_becomes_a_value_of_its_type(text: str, key: str, value: object) -> None:
    """A run would be made with another setting than was typed."""
    assert parse_settings([text], TABLES, MEANINGS) == {"pot": {key: value}}


def test_the_last_of_a_key_counts_and_the_others_stay_as_they_are() -> None:
    """A setting could not be overridden at the end of a line, or would reset its neighbours."""
    assert parse_settings(["pot.cups=1", "pot.lid=false", "pot.cups=2"], TABLES, MEANINGS) == {
        "pot": {"cups": 2, "lid": False}
    }
    assert parse_settings([], TABLES, MEANINGS) == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("pot.cups", '"pot.cups": TABLE.KEY=VALUE is needed'),
        ("cups=1", '"cups=1": TABLE.KEY=VALUE is needed'),
        ("pit.cups=1", '"pit.cups=1": unknown table "pit"; did you mean pot?'),
        (
            "pot.cup=1",
            '"pot.cup=1": unknown key "cup" of pot; there are: cups, steep_s, lid, tea, label, seed, work',
        ),
        ("pot.cups=0", "pot.cups: at least 1 is needed, found 0"),
        ("pot.cups=1.5", 'pot.cups: a whole number is needed, found text "1.5"'),
        ("pot.cups=\x1b[2J", 'pot.cups: a whole number is needed, found text "\\x1b[2J"'),
        ("pot.steep_s=nan", "pot.steep_s: more than 0 seconds are needed, found nan"),
        ("pot.lid=yes", 'pot.lid: true or false is needed, found text "yes"'),
        ("pot.tea=grean", 'pot.tea: unknown value "grean"; did you mean green?'),
        ("pot.work=cpu,merkel", 'pot.work #2: unknown workload "merkel"; did you mean merkle?'),
        ("pot.work=cpu,cpu", 'pot.work: "cpu" is named 2 times'),
    ],
)
def test_a_setting_that_cannot_be_is_told_as_a_mistake_of_a_file_is(text: str, problem: str) -> None:
    """A slip of the hand would end in a traceback, or in a run with a setting that makes no sense."""
    with pytest.raises(DefinitionError) as caught:
        parse_settings([text], TABLES, MEANINGS)
    assert caught.value.messages == (f"--set {problem}",)


def test_all_mistakes_in_settings_come_at_once() -> None:
    """A user would mend one setting after the other, running the tool each time."""
    with pytest.raises(DefinitionError) as caught:
        parse_settings(["pot", "pot.cups=0", "pot.lid=1", "pot.seed=2"], TABLES, MEANINGS)
    assert len(caught.value.messages) == 3
    assert caught.value.exit_code == 2


def test_each_setting_is_listed_so_that_it_can_be_typed() -> None:
    """The help would show defaults that are refused."""
    listed = list_settings(TABLES)
    assert [each.name for each in listed] == [f"pot.{key}" for key in Pot.__struct_fields__]
    assert listed[0].help == "How many cups."
    typed = [f"{each.name}={each.default}" for each in listed if each.name != "pot.seed"]
    assert Pot(**parse_settings(typed, TABLES, MEANINGS)["pot"]) == Pot()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("begun", "offered"),
    [
        ("pot.l", ["pot.lid=true", "pot.label="]),
        ("pot.lid=", ["pot.lid=true", "pot.lid=false"]),
        ("pot.tea=b", ["pot.tea=black"]),
        ("pot.work=m", ["pot.work=merkle", "pot.work=memory"]),
        ("pot.work=cpu,mer", ["pot.work=cpu,merkle"]),
        ("pot.cups=", []),
        ("pit.", []),
        ("pit.lid=", []),
        ("pot.lod=", []),
    ],
)
def test_a_setting_that_is_begun_is_completed(begun: str, offered: list[str]) -> None:
    """The tab key would offer what is refused, or nothing."""
    assert [text for text, _ in complete_setting(begun, TABLES, MEANINGS)] == offered
