"""Workloads: the pieces of work that this package and others come with, and the programs that do them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from guestbench.definition.decode import find_mistakes, quote, suggest
from guestbench.definition.files import PACKAGE, convert, example_of, read
from guestbench.definition.rules import meanings
from guestbench.errors import UsageError
from guestbench.model import Workload
from guestbench.registry import list_entries

WORKLOADS = PACKAGE / "workloads"


def _find_files() -> dict[str, Path]:
    """The file of each workload: ours, then those in packages that an entry point of its name leads to."""
    files = {file.stem: file for file in sorted(WORKLOADS.glob("*.toml"))}
    for name, package in sorted(list_entries("guestbench.workloads").items()):
        files.setdefault(name, Path(str(import_module(package).__file__)).with_name(f"{name}.toml"))
    return files


def list_workloads() -> tuple[str, ...]:
    """The names of the workloads."""
    return tuple(_find_files())


def find_own_source(program: str) -> Path | None:
    """The C file of that name beside a workload of another package; None where there is none."""
    beside = (file.with_name(f"{program}.c") for file in _find_files().values())
    return next((source for source in beside if source.is_file()), None)


def list_programs() -> tuple[str, ...]:
    """The names of the workload programs whose sources are here."""
    return tuple(sorted(path.name for path in (WORKLOADS / "programs").iterdir() if path.is_dir()))


def load_workload(name: str) -> Workload:
    """The workload of that name.

    Raises:
        UsageError: there is none.
        DefinitionError: its file has mistakes.
    """
    files = _find_files()
    if name not in files:
        raise UsageError(f"unknown workload {quote(name)}; {suggest(name, files)}", "guestbench workloads")
    file = files[name]
    example = example_of(WORKLOADS / "cpu.toml")
    data = read(file, example)
    problems = list(find_mistakes(data, Workload, meanings()))
    if data.get("name") != name:
        problems.append(f"name: must be the file's name, {quote(name)}")
    return convert(file, data, Workload, problems, example)
