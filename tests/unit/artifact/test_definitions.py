"""What an artifact says of a run's experiment and guests is what guestbench reads back."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import msgspec
import pytest
from factories import make_run

from guestbench.artifact.definitions import find_strangers, to_toml, write_experiment, write_system
from guestbench.definition.experiments import load_experiment
from guestbench.definition.systems import SYSTEMS, load_catalogue, load_system
from guestbench.definition.until import limit, parse_until, show_until
from guestbench.model import Experiment, Guest, Header, Origin, System
from guestbench.run.store import read_store

RUN = Path(__file__).parents[2] / "recordings" / "two-kernels"


def with_system(header: Header, system: System) -> Header:
    """The run with that guest alone, and with nothing that is said of others."""
    guest = Guest(system=system, images={}, pristine={}, origin=Origin(kind="built", detail="from source"))
    return msgspec.structs.replace(header, guests=(guest,))


@pytest.mark.parametrize("name", load_catalogue())
def test_a_guest_is_defined_again_as_it_was(name: str, tmp_path: Path) -> None:
    """A repetition would boot another guest, with another mark for ready."""
    catalogue = load_catalogue()
    system = catalogue[name]
    folder = Path(shutil.copytree(SYSTEMS / name, tmp_path / "guests" / name))
    header, _ = read_store(RUN)
    (guest,) = with_system(header, system).guests
    path, data = write_system(guest, sources=True)
    (tmp_path / path).write_bytes(data)
    assert load_system(folder, tuple(catalogue)) == system
    (tmp_path / path).write_bytes(write_system(guest, sources=False)[1])
    assert load_system(folder, tuple(catalogue)).provision.build is None


def test_guests_that_the_catalogue_has_otherwise_are_told_from_its_own() -> None:
    """A repetition would boot the catalogue's guest for one that was changed."""
    header, _ = read_store(RUN)
    floor = load_catalogue()["floor"]
    assert not find_strangers(with_system(header, floor))
    assert find_strangers(with_system(header, msgspec.structs.replace(floor, timeout_s=99.0))) == {"floor"}
    assert find_strangers(header) == {"hello"}


def test_an_experiment_is_asked_again_as_it_was_run(tmp_path: Path) -> None:
    """A repetition would measure something else, or not load: what was typed is not in the author's file."""
    header, _ = make_run()
    experiment = msgspec.structs.replace(
        header.experiment, seed=7, warmups=0, title='a "title" \\ with ünicode'
    )
    header = msgspec.structs.replace(header, experiment=experiment)
    strangers = [name for name in (system.name for system in header.systems) if name not in load_catalogue()]
    for name in strangers:
        guest = header.find_guest(name)
        path, data = write_system(guest, sources=False)
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(data)
    file = tmp_path / "experiment.toml"
    file.write_bytes(write_experiment(header, strangers))
    loaded = load_experiment(str(file))
    expected = [str(tmp_path / "guests" / each) if each in strangers else each for each in _names(header)]
    assert list(loaded.systems) == expected
    assert loaded.platform.accel is header.accel.used
    same = {"systems", "optional", "platform", "settings", "baseline", "claims", "steps"}
    for field in set(Experiment.__struct_fields__) - same:
        assert getattr(loaded, field) == getattr(experiment, field), field
    for name, table in experiment.settings.items():
        assert table.items() <= loaded.settings[name].items()


def _names(header: Header) -> list[str]:
    return [system.name for system in header.systems]


def test_texts_of_any_kind_are_toml() -> None:
    """A title with a quotation mark or a control character would break the file."""
    table = {
        "text": 'a "b" \\ \t\n\r\x00\x1b\x7f\u2028 ü 🐫',
        "none": None,
        "odd key": [1, 2.5, True, "x"],
        "table": {"a": {"b": [{"c": 1, "d": None}]}, "empty": {}},
        "tables": [{"a": 1}, {"b": 1e-9}],
    }
    read = tomllib.loads(to_toml(table).decode())
    assert read["text"] == table["text"]
    assert "none" not in read
    assert read["odd key"] == [1, 2.5, True, "x"]
    assert read["table"] == {"a": {"b": [{"c": 1}]}, "empty": {}}
    assert read["tables"] == [{"a": 1}, {"b": 1e-9}]


@pytest.mark.parametrize(("text", "most"), [("ci=3%", 160), ("ci=0.25%", 40), ("verdict", 20)])
def test_a_rule_is_asked_for_again_as_it_was(text: str, most: int) -> None:
    """A repetition would stop after another number of blocks."""
    rule = limit(parse_until(text), most)
    until, asked, cycles, cap = show_until(rule)
    assert (until, cycles) == ("--until", "--cycles")
    assert limit(parse_until(asked), int(cap)) == rule
