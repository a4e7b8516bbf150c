"""Loads experiment and system files into the model, reporting all mistakes of a file at once; starts nothing.

A definition is TOML. Each mistake names the file, the table, the key and the nearest valid name.
"""

from __future__ import annotations

import shlex
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union

import msgspec

from guestbench.definition.decode import find_mistakes, quote, suggest
from guestbench.definition.extend import Table, complete, weave
from guestbench.definition.rules import (
    experiment_meanings,
    meanings,
    one_of,
    system_meanings,
)
from guestbench.definition.settings import find_family_tables
from guestbench.errors import DefinitionError, UsageError
from guestbench.families import list_families
from guestbench.model import (
    Experiment,
    GuestFamily,
    System,
    Workload,
    to_table,
)
from guestbench.registry import RECIPES
from guestbench.text import visible

PACKAGE = Path(__file__).parents[1]
SYSTEMS = PACKAGE / "systems"
EXPERIMENTS = PACKAGE / "experiments"
WORKLOADS = PACKAGE / "workloads"
SYSTEM_FILE = "system.toml"

LIST_SYSTEMS = "guestbench systems list"

Definition = TypeVar("Definition", bound=msgspec.Struct)


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
    example = _example_of(min(PACKAGE.glob(f"systems/*/{SYSTEM_FILE}"), key=lambda each: each.stat().st_size))
    own = _read(file, example)
    base, unknown = _read_base(own.pop("extends", ""))
    data = complete(own, base)
    recipe = _find_recipe(data)
    known = system_meanings(folder, catalogue, list_workloads(), list_programs(), recipe)
    problems = [*unknown, *find_mistakes(data, System, known)]
    problems += _find_unknown_milestones(data, base)
    name = data.get("name")
    if folder.parent == SYSTEMS and isinstance(name, str) and name != folder.name:
        problems.append(f"name: must be the folder's name, {quote(folder.name)}; found {quote(name)}")
    _convert(file, data, System, problems, example)
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
    own = _read(SYSTEMS / f"{name}.toml", LIST_SYSTEMS)
    base, mistakes = _read_base(own.pop("extends", ""))
    return weave(complete(own, base), base), mistakes


def _find_recipe(data: Mapping[str, object]) -> Any:
    """The type of the recipe that a system file names; if it names none of them, the union of all."""
    provision = data.get("provision")
    build = provision.get("build") if isinstance(provision, dict) else None
    named = build.get("method") if isinstance(build, dict) else None
    known = RECIPES.names()
    return Union[tuple(RECIPES.load(name).RECIPE for name in known if name == named or named not in known)]  # noqa: UP007


def list_workloads() -> tuple[str, ...]:
    """The names of the workloads."""
    return tuple(sorted(each.stem for each in WORKLOADS.glob("*.toml")))


def list_programs() -> tuple[str, ...]:
    """The names of the workload programs whose sources are here."""
    return tuple(sorted(path.name for path in (WORKLOADS / "programs").iterdir() if path.is_dir()))


def load_workload(name: str) -> Workload:
    """The workload of that name.

    Raises:
        UsageError: there is none.
        DefinitionError: its file has mistakes.
    """
    if name not in list_workloads():
        raise UsageError(
            f"unknown workload {quote(name)}; {suggest(name, list_workloads())}", "guestbench workloads"
        )
    file = WORKLOADS / f"{name}.toml"
    example = _example_of(WORKLOADS / "cpu.toml")
    data = _read(file, example)
    problems = list(find_mistakes(data, Workload, meanings()))
    if data.get("name") != name:
        problems.append(f"name: must be the file's name, {quote(name)}")
    return _convert(file, data, Workload, problems, example)


def list_experiments() -> tuple[str, ...]:
    """The names of the experiments that come with the package."""
    return tuple(sorted(each.stem for each in EXPERIMENTS.glob("*.toml")))


def load_experiment(reference: str, catalogue: Catalogue | None = None) -> Experiment:
    """Load an experiment of the package by name, or any by its path (with a `/`, or ending in `.toml`).

    Folders among its systems are relative to the experiment's file and come back as absolute paths.

    Raises:
        UsageError: there is no such experiment.
        DefinitionError: its file, or the file of a system folder that it names, has mistakes.
    """
    known = catalogue if catalogue is not None else load_catalogue()
    file = _find_experiment(reference)
    base = file.parent
    example = _example_of(EXPERIMENTS / "seed.toml")
    data = _read(file, example)

    def check_reference(value: str) -> Iterator[str]:
        if not is_folder(value):
            yield from one_of("system", known)(value)
        elif not (find_folder(value, base) / SYSTEM_FILE).is_file():
            yield f"no {SYSTEM_FILE} in folder {quote(value)}"

    wanted = _make_file_type()
    problems = find_mistakes(data, wanted, experiment_meanings(check_reference, list_workloads()))
    hint = LIST_SYSTEMS if any("unknown system" in each for each in problems) else example
    references = [*_references(data, "systems"), *_references(data, "optional")]
    names, broken = _load_folders([each for each in references if is_folder(each)], known, base)
    names.update(each for each in references if not is_folder(each))
    compared = _find_strangers(data, names)
    twice = tuple(f"system {quote(name)} is named {n} times" for name, n in names.items() if n > 1)
    written = _convert(file, data, wanted, (*problems, *twice, *compared), hint, broken)
    fields = msgspec.structs.asdict(written)
    tables = {name: to_table(fields.pop(name)) for name in find_family_tables()}
    experiment = Experiment(**fields, settings=tables)
    return msgspec.structs.replace(
        experiment,
        systems=_absolute(experiment.systems, base),
        optional=_absolute(experiment.optional, base),
        metrics=experiment.metrics or tuple(family.name for family in list_families()),
    )


def _make_file_type() -> type[msgspec.Struct]:
    """An `Experiment` as its file has it: with a table for each family in the place of its settings."""
    fields: list[tuple[str, type] | tuple[str, type, object]] = []
    for field in msgspec.structs.fields(Experiment):
        if field.name == "settings":
            fields += [(name, table, table()) for name, table in find_family_tables().items()]
        elif field.required:
            fields.append((field.name, field.type))
        else:
            fields.append((field.name, field.type, field.default))
    return msgspec.defstruct("Experiment", fields, forbid_unknown_fields=True)


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


def _find_strangers(data: dict[str, object], names: Collection[str]) -> tuple[str, ...]:
    """Mistakes in the names of systems that the experiment compares but does not measure."""
    known = one_of("system of this experiment", (*names, GuestFamily.UNIKERNEL.value))
    baseline, claims = data.get("baseline"), data.get("claims")
    places = [("baseline", baseline)] if baseline else []
    for number, claim in enumerate(claims if isinstance(claims, list) else (), 1):
        if isinstance(claim, dict):
            places += [(f"[claims] {number}: {key}", claim.get(key)) for key in ("system", "against")]
    return tuple(
        f"{place}: {mistake}"
        for place, name in places
        if isinstance(name, str) and name
        for mistake in known(name)
    )


def _find_experiment(reference: str) -> Path:
    if is_folder(reference) or reference.endswith(".toml"):
        return Path(reference).expanduser().absolute()
    names = list_experiments()
    if reference not in names:
        raise UsageError(
            f"unknown experiment {quote(reference)}; {suggest(reference, names)}",
            "guestbench run seed",
        )
    return EXPERIMENTS / f"{reference}.toml"


def _absolute(references: tuple[str, ...], base: Path) -> tuple[str, ...]:
    return tuple(str(find_folder(each, base)) if is_folder(each) else each for each in references)


def _references(data: dict[str, object], key: str) -> set[str]:
    listed = data.get(key)
    return {each for each in listed if isinstance(each, str)} if isinstance(listed, list) else set()


def _load_folders(
    references: list[str], catalogue: Catalogue, base: Path
) -> tuple[Counter[str], tuple[str, ...]]:
    """The names of the systems in users' folders, and the mistakes in their files."""
    names: Counter[str] = Counter()
    broken: dict[str, None] = {}
    for reference in references:
        folder = find_folder(reference, base)
        if (folder / SYSTEM_FILE).is_file():
            try:
                names[load_system(folder, tuple(catalogue)).name] += 1
            except DefinitionError as wrong:
                broken.update(dict.fromkeys(wrong.problems))
    return names, tuple(broken)


def _read(file: Path, hint: str) -> Table:
    shown = quote_path(file)
    try:
        return tomllib.loads(file.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        problem = f"{shown}: no such file"
    except OSError as wrong:
        problem = f"{shown}: cannot be read: {wrong.strerror}"
    except UnicodeDecodeError as wrong:
        problem = f"{shown}: not UTF-8 text (byte {wrong.start})"
    except tomllib.TOMLDecodeError as wrong:
        problem = f"{shown}: not TOML: {wrong}"
    except RecursionError:
        problem = f"{shown}: not TOML: nested too deeply"
    raise DefinitionError((problem,), hint)


def _convert(
    file: Path,
    data: dict[str, object],
    wanted: type[Definition],
    problems: Sequence[str],
    hint: str,
    elsewhere: tuple[str, ...] = (),
) -> Definition:
    if problems or elsewhere:
        shown = quote_path(file)
        raise DefinitionError((*(f"{shown}: {each}" for each in problems), *elsewhere), hint)
    return msgspec.convert(data, wanted)


def quote_path(file: Path) -> str:
    """A path for a message: relative where it lies below the working folder, control characters escaped."""
    try:
        return visible(file.relative_to(Path.cwd()))
    except ValueError:
        return visible(file)


def _example_of(file: Path) -> str:
    return f"cat {shlex.quote(str(file))}  # one that loads"
