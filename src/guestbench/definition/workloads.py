"""Workloads: the pieces of work that the package comes with, and the programs that do them."""

from __future__ import annotations

from guestbench.definition.decode import find_mistakes, quote, suggest
from guestbench.definition.files import PACKAGE, convert, example_of, read
from guestbench.definition.rules import meanings
from guestbench.errors import UsageError
from guestbench.model import Workload

WORKLOADS = PACKAGE / "workloads"


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
    example = example_of(WORKLOADS / "cpu.toml")
    data = read(file, example)
    problems = list(find_mistakes(data, Workload, meanings()))
    if data.get("name") != name:
        problems.append(f"name: must be the file's name, {quote(name)}")
    return convert(file, data, Workload, problems, example)
