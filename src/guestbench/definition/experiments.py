"""Experiments: those of the package by name, and any by its path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from guestbench.definition.decode import find_mistakes, quote, suggest
from guestbench.definition.files import PACKAGE, convert, example_of, read
from guestbench.definition.rules import experiment_meanings, one_of
from guestbench.definition.settings import find_family_tables
from guestbench.definition.systems import (
    LIST_SYSTEMS,
    SYSTEM_FILE,
    Catalogue,
    find_folder,
    is_folder,
    load_catalogue,
    load_system,
)
from guestbench.definition.workloads import list_workloads
from guestbench.errors import DefinitionError, UsageError
from guestbench.families import list_families
from guestbench.model import Experiment, GuestFamily, to_table

EXPERIMENTS = PACKAGE / "experiments"


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
    example = example_of(EXPERIMENTS / "seed.toml")
    data = read(file, example)

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
    written = convert(file, data, wanted, (*problems, *twice, *compared), hint, broken)
    fields = msgspec.structs.asdict(written)
    tables = {name: to_table(fields.pop(name)) for name in find_family_tables()}
    fields |= {key: _absolute(fields[key], base) for key in ("systems", "optional")}
    fields["metrics"] = fields["metrics"] or tuple(family.name for family in list_families())
    return Experiment(**fields, settings=tables)


def list_experiments() -> tuple[str, ...]:
    """The names of the experiments that come with the package."""
    return tuple(sorted(each.stem for each in EXPERIMENTS.glob("*.toml")))


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


def _find_strangers(data: dict[str, object], names: Collection[str]) -> tuple[str, ...]:
    """Mistakes in the names of systems that the experiment compares but does not measure."""
    known = one_of("system of this experiment", (*names, GuestFamily.UNIKERNEL.value))
    baseline = data.get("baseline")
    places = [("baseline", baseline)] if baseline else []
    for table, keys in {"claims": ("system", "against"), "steps": ("before", "after")}.items():
        listed = data.get(table)
        for number, each in enumerate(listed if isinstance(listed, list) else (), 1):
            if isinstance(each, dict):
                places += [(f"[{table}] {number}: {key}", each.get(key)) for key in keys]
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
