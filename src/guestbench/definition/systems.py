"""Systems: those of the catalogue, and folders of the user's with a `system.toml`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union

import msgspec

from guestbench.definition.decode import find_mistakes, quote, suggest
from guestbench.definition.extend import Table, complete, weave
from guestbench.definition.files import PACKAGE, convert, example_of, read
from guestbench.definition.rules import one_of, system_meanings
from guestbench.definition.workloads import list_programs, list_workloads
from guestbench.errors import UsageError
from guestbench.model import System
from guestbench.registry import RECIPES

SYSTEMS = PACKAGE / "systems"
SYSTEM_FILE = "system.toml"

LIST_SYSTEMS = "guestbench systems list"


class Catalogue(Mapping[str, System]):
    """The systems of a folder by name. Each is loaded when it is asked for: a broken one breaks no other.

    Looking a system up, or iterating over values or items, raises DefinitionError where its file is broken.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names = tuple(sorted(each.parent.name for each in folder.glob(f"*/{SYSTEM_FILE}")))
        self._loaded: dict[str, System] = {}

    def __getitem__(self, name: str) -> System:
        if name not in self._names:
            raise KeyError(name)
        if name not in self._loaded:
            self._loaded[name] = load_system(self.folder / name, self._names)
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        # Mapping's own would load the file, and a broken system would seem not to be there.
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def load_catalogue(folder: Path = SYSTEMS) -> Catalogue:
    """The catalogue: every folder with a `system.toml` below `folder`."""
    return Catalogue(folder)


def find_system(reference: str, catalogue: Mapping[str, System], base: Path) -> System:
    """The system that `reference` names: one of the catalogue, or a folder (it has a `/`) relative to `base`.

    Raises:
        UsageError: there is no such system.
        DefinitionError: its system.toml has mistakes.
    """
    if is_folder(reference):
        return load_system(find_folder(reference, base), tuple(catalogue))
    if reference not in catalogue:
        raise UsageError(
            f"unknown system {quote(reference)}; {suggest(reference, catalogue.keys())}", LIST_SYSTEMS
        )
    return catalogue[reference]


def system_folder(reference: str, base: Path = Path(), folder: Path = SYSTEMS) -> Path:
    """Where the sources of a system lie, whether `reference` is a name of the catalogue or a folder."""
    return find_folder(reference, base) if is_folder(reference) else folder / reference


def is_folder(reference: str) -> bool:
    """Whether a reference to a system is a folder rather than a name of the catalogue."""
    return "/" in reference


def find_folder(reference: str, base: Path) -> Path:
    """The absolute path of a user's system folder."""
    return (base / Path(reference).expanduser()).resolve()


def load_system(folder: Path, catalogue: tuple[str, ...]) -> System:
    """Load `folder`/system.toml. `catalogue` holds the names of the systems whose disk it may share.

    Raises:
        DefinitionError: the file is missing or has mistakes.
    """
    file = folder / SYSTEM_FILE
    # The shortest is the easiest to learn from.
    example = example_of(min(PACKAGE.glob(f"systems/*/{SYSTEM_FILE}"), key=lambda each: each.stat().st_size))
    own = read(file, example)
    base, unknown = _read_base(own.pop("extends", ""))
    data = complete(own, base)
    recipe = _find_recipe(data)
    known = system_meanings(folder, catalogue, list_workloads(), list_programs(), recipe)
    problems = [*unknown, *find_mistakes(data, System, known)]
    problems += _find_unknown_milestones(data, base)
    problems += _find_told_ready(data | {"ready": data.get("ready", base.get("ready"))})
    name = data.get("name")
    if folder.parent == SYSTEMS and isinstance(name, str) and name != folder.name:
        problems.append(f"name: must be the folder's name, {quote(folder.name)}; found {quote(name)}")
    convert(file, data, System, problems, example)
    system = msgspec.convert(weave(data, base), System)
    build = system.provision.build
    if build is None:
        return system
    # With every setting told: a new default of the recipe's is another definition.
    told = msgspec.json.encode(msgspec.convert(build, recipe), order="deterministic")
    provision = msgspec.structs.replace(system.provision, build=msgspec.json.decode(told))
    return msgspec.structs.replace(system, provision=provision)


def _read_base(name: object) -> tuple[Table, list[str]]:
    """What the file has that `extends` names, with what it extends itself; and mistakes."""
    if name == "":
        return {}, []
    bases = sorted(each.stem for each in SYSTEMS.glob("*.toml"))
    if name not in bases:
        shown = suggest(name, bases) if isinstance(name, str) else f"known: {', '.join(bases)}"
        return {}, [f"extends: unknown value {quote(str(name))}; {shown}"]
    own = read(SYSTEMS / f"{name}.toml", LIST_SYSTEMS)
    base, mistakes = _read_base(own.pop("extends", ""))
    return weave(complete(own, base), base), mistakes


def _find_recipe(data: Mapping[str, object]) -> Any:
    """The type of the recipe that a system file names; if it names none of them, the union of all."""
    provision = data.get("provision")
    build = provision.get("build") if isinstance(provision, dict) else None
    if not isinstance(build, dict):
        return dict[str, object]
    named = build.get("method")
    known = RECIPES.names()
    return Union[tuple(RECIPES.load(name).RECIPE for name in known if name == named or named not in known)]  # noqa: UP007


def _find_told_ready(data: Table) -> Iterator[str]:
    """Command lines in which the ready marker stands: a kernel prints its own, long before it is ready."""
    ready = data.get("ready")
    for table in ("boot", "work"):
        settings = data.get(table)
        cmdline = settings.get("cmdline") if isinstance(settings, dict) else None
        if isinstance(ready, str) and ready.strip() and isinstance(cmdline, str) and ready.strip() in cmdline:
            yield (
                f"[{table}] cmdline: holds {quote(ready.strip())}, by which the guest is known to be ready, "
                "and guests print their command line"
            )


def _find_unknown_milestones(data: Table, base: Table) -> list[str]:
    """Mistakes in the milestones between which layers lie; some may be those of `base`."""

    def tables(key: str) -> list[Table]:
        listed = data.get(key)
        return [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []

    names = [str(each.get("name")) for each in (*tables("milestones"), *base.get("milestones", ()))]
    known = one_of("milestone", [*dict.fromkeys(names), "ready"])
    return [
        f"[layers] {number}: {key}: {mistake}"
        for number, layer in enumerate(tables("layers"), 1)
        for key in ("since", "until")
        if isinstance(layer.get(key), str) and layer[key]
        for mistake in known(str(layer[key]))
    ]
