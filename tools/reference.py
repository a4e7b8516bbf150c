"""The reference pages of the documentation, made of what the program says of itself; none is kept by hand."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any

import click
from make_man_page import find_commands

from guestbench import errors, families
from guestbench.cli import cli
from guestbench.cli.run import DEFAULT_EXPERIMENT
from guestbench.cli.workloads import list_entries
from guestbench.definition.experiments import list_experiments, load_experiment
from guestbench.definition.settings import PLATFORM, find_tables, list_settings
from guestbench.definition.systems import load_catalogue
from guestbench.model import Family, Metric, Provision, System
from guestbench.page.figures import show_read_to
from guestbench.registry import RECIPES, VMMS
from guestbench.report import export
from guestbench.report.export import csv, schema

Lines = Iterator[str]


def code(text: object) -> str:
    """Text as a machine has it, in a cell or a sentence; nothing where there is none."""
    shown = " ".join(str(text).split())
    fence = "``" if "`" in shown else "`"
    return f"{fence}{shown}{fence}".replace("|", "\\|") if shown else ""


def prose(text: str) -> str:
    """Words of the program as Markdown that shows just these words; what stands between backticks is code."""
    parts = " ".join(text.split()).split("`")
    return "".join(
        code(part) if number % 2 else re.sub(r"([\\*_\[\]<>|$])", r"\\\1", part)
        for number, part in enumerate(parts)
    )


def tabulate(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Lines:
    """A table without the columns in which no row has anything; nothing if there is no row."""
    found = list(rows)
    kept = [number for number in range(len(head)) if any(row[number] for row in found)]
    if found:
        yield ""
        for row in (head, ["---"] * len(head), *found):
            yield f"| {' | '.join(row[number] for number in kept)} |"
        yield ""


def join(words: Iterable[object]) -> str:
    """Names in a row, each as code."""
    return ", ".join(map(code, words))


def describe_commands() -> Lines:
    """Every command with its arguments and options, as its own help has them."""
    yield "What `guestbench COMMAND --help` prints, for all commands. `-h` is the same as `--help`."
    for path, command in find_commands(cli, "guestbench"):
        context = click.Context(command, info_name=path)
        yield from ("", f"## {path}", "", "```text")
        yield from (" ".join((path, *command.collect_usage_pieces(context))), "```")
        for paragraph in (command.help or "").split("\n\n"):
            yield from ("", prose(paragraph.replace("\b", "")))
        records = (parameter.get_help_record(context) for parameter in command.get_params(context))
        yield from tabulate(("Option", "What it does"), ((code(r[0]), prose(r[1])) for r in records if r))
    yield "Settings for `--set` are told with the families of metrics; exit statuses have a page."


def describe_metrics() -> Lines:
    """Every metric, family by family."""
    yield "Names of metrics are stable: gates, exports and your scripts may hold them."
    yield "“Read to” is what the instrument can tell apart; what has nothing there is counted one by one."
    yield "Systems and runs are compared in those that say so, in values with the labels named, or in all."
    for family in families.list_families():
        yield from ("", f"## {family.title} ({code(family.name)})")
        yield from tabulate(
            ("Name", "What it is", "Unit", "Better", "Compared", "Read to"),
            (describe_metric(row) for row in families.find_metrics([family.name])),
        )
    yield "Work has a metric for each workload, which the page of workloads has."


def describe_metric(row: Metric) -> Sequence[str]:
    """A row of the table of metrics."""
    labels = (", ".join("=".join(pair) for pair in each) for each in row.compared_labels)
    which = [code(each) if each else "without labels" for each in labels]
    compared = f"yes: {'; '.join(which)}" if which else "yes"
    told = f"{row.title}. {row.help}"
    return (
        *(code(row.name), prose(told), prose(row.unit), row.better.value),
        *(compared if row.compared else "", prose(show_read_to(row)) if row.read_to_why else ""),
    )


def describe_families() -> Lines:
    """Every family: what its trials are, and its settings; the platform's beside them."""
    yield "`guestbench run --metrics NAME,…` measures these families only."
    yield "A setting is a key of the family's table in an experiment, and of `--set TABLE.KEY=VALUE`."
    tables = find_tables()
    for family in families.list_families():
        yield from ("", f"## {family.title} ({code(family.name)})", "")
        yield prose(family.needs and f"Takes part: {family.needs}.")
        yield from describe_settings(family.name)
        yield from describe_purposes(family)
    yield from ("", "## The platform", "", prose(inspect.getdoc(tables[PLATFORM]) or ""))
    yield from describe_settings(PLATFORM)


def describe_settings(table: str) -> Lines:
    """The settings of a table."""
    tables = {name: wanted for name, wanted in find_tables().items() if name == table}
    found = list_settings(tables)
    head = ("Setting", "Default", "What it is")
    yield from tabulate(head, ((code(each.name), code(each.default), prose(each.help)) for each in found))


def describe_purposes(family: Family) -> Lines:
    """What trials of a family are for."""
    said = {"timed": "made alone", "boots": "boots", "counted": "in the statistics", "search": "a search"}
    rows = (
        (code(each.name), ", ".join(told for name, told in said.items() if getattr(each, name)))
        for each in family.purposes
    )
    yield from tabulate(("Trials", "How they are made"), rows)


def describe_systems() -> Lines:
    """Every system of the catalogue."""
    yield "The catalogue of guests. `guestbench systems list` says whether their images are there."
    for system in load_catalogue().values():
        yield from ("", f"## {system.name}", "", prose(f"{system.title}. {system.help}"))
        yield from tabulate(("", ""), ((what, told) for what, told in tell_system(system) if told))


def tell_system(system: System) -> Iterator[tuple[str, str]]:
    """What there is to know of a system, with what it is called."""
    boot, wait, provision = system.boot, system.wait, system.provision
    yield "Family", system.family.value
    yield "Boots from", join(boot.roles)
    yield "Ready", code(system.ready)
    yield "Milestones", join(each.name for each in system.milestones)
    yield "Given up after", f"{system.timeout_s:g} s"
    yield "Waits for", prose(f"{wait.what}; {wait.without} is the same without") if wait else ""
    yield "Workloads", join(each.name for each in list_entries() if system.name in each.systems)
    yield "Offers by itself", join(each.value for each in system.services)
    yield "Images", "; ".join(tell_provision(provision))
    yield "Unlike the official image", prose("; ".join(provision.differences))


def tell_provision(provision: Provision) -> Iterator[str]:
    """Where images come from."""
    if provision.path:
        yield f"brought as {code(provision.path)}"
    if provision.share:
        yield f"from the disk of {code(provision.share)}"
    if provision.build:
        asked = " when asked for" if provision.on_request else ""
        yield f"built by {code(provision.build['method'])}{asked}"
    if provision.fetch:
        yield f"fetched from <{provision.fetch.url}>"


def describe_experiments() -> Lines:
    """Every experiment that is run by its name."""
    yield f"What `guestbench run NAME` knows; `guestbench run` alone runs {code(DEFAULT_EXPERIMENT)}."
    for name in list_experiments():
        found = load_experiment(name)
        yield from ("", f"## {name}", "", prose(f"{found.title}."), "")
        yield f"- Systems: {join(each.rsplit('/', 1)[-1] for each in found.systems)}"
        if found.optional:
            yield f"- Left out where their image is missing: {join(found.optional)}"
        yield f"- Compared with: {code(found.baseline) or 'nothing'}"
        yield f"- Families: {join(found.metrics)}; {found.cycles} boots of each, {found.warmups} before them"
        if found.claims:
            yield from ("", "What is expected of it:")
            rows = (
                (prose(each.text), code(each.metric), prose(each.system), code(each.against))
                for each in found.claims
            )
            yield from tabulate(("Claim", "Metric", "Of", "Against"), rows)


def describe_workloads() -> Lines:
    """Every workload."""
    yield "What `guestbench workloads` lists. A rate is what is done over the host's time."
    rows = (
        (
            *(code(each.name), prose(each.title), code(each.metric), prose(each.unit)),
            *(code(" ".join((each.program, *each.arguments))), join(each.systems)),
        )
        for each in list_entries()
    )
    yield from tabulate(("Name", "What is done", "Metric", "Unit", "Program", "Who can do it"), rows)


def describe_statuses() -> Lines:
    """Every exit status, by the errors that end with it."""
    yield "Each error is a line `error:` that names the thing and a line `hint:` with something to type."
    found: dict[int, list[str]] = {0: ["Done."]}

    def walk(error: type[errors.GuestbenchError]) -> None:
        for each in error.__subclasses__():
            lines = found.setdefault(each.exit_code, [])
            told = (inspect.getdoc(each) or "").split("; `")[0].split(". `")[0].splitlines()[0].rstrip(".")
            lines.append(f"{told}.")
            walk(each)

    walk(errors.GuestbenchError)
    rows = ((str(status), prose(" ".join(found[status]))) for status in sorted(found))
    yield from tabulate(("Status", "Meaning"), rows)


def describe_results() -> Lines:
    """The shape of results.json and the columns of results.csv."""
    document = json.loads(schema.render())
    yield prose(f"{document['title']}, as `guestbench export DIR --format schema` prints it for programs.")
    yield f"The columns of `results.csv` are {join(csv.COLUMNS)}."
    for name, shape in sorted(document["$defs"].items(), key=lambda item: item[0] != "Results"):
        yield from ("", f"## {name}", "", prose(shape.get("description", "")), "")
        if "enum" in shape:
            yield f"One of {join(shape['enum'])}."
        rows = (
            (code(key), show_type(told), prose(told.get("description", "")))
            for key, told in shape.get("properties", {}).items()
        )
        yield from tabulate(("Field", "Type", "What it is"), rows)


def show_type(told: dict[str, Any]) -> str:
    """A type of the schema in words, with links to those that have a heading of their own."""
    if "$ref" in told:
        name = told["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in told:
        return " or ".join(show_type(each) for each in told["anyOf"])
    if "enum" in told or "const" in told:
        return join(told.get("enum", [told.get("const")]))
    match told.get("type"):
        case "array":
            items = [told["items"]] if told.get("items") else told["prefixItems"]
            return f"list of {' and '.join(map(show_type, items))}"
        case "object":
            more = told.get("additionalProperties")
            return f"map to {show_type(more)}" if isinstance(more, dict) else "map"
        case str(name):
            return name
        case list(names):
            return " or ".join(names)
    return "anything"


def describe_axes() -> Lines:
    """What other packages may add to, each with what its module says: recipes, VMMs, formats of export."""
    yield "Other packages add to these by an entry point of the group named."
    for title, axis in (("Recipes", RECIPES), ("VMMs", VMMS), ("Export formats", export.AXIS)):
        yield from ("", f"## {title} ({code(axis.group)})")
        found: list[tuple[str, ModuleType]] = [(name, axis.load(name)) for name in axis.names()]
        rows = ((code(name), prose((module.__doc__ or "").split("\n\n")[0])) for name, module in found)
        yield from tabulate(("Name", "What it does"), rows)


PAGES: dict[str, tuple[str, Callable[[], Lines]]] = {
    "commands": ("Commands and their options", describe_commands),
    "metrics": ("Metrics", describe_metrics),
    "families": ("Families of metrics, and their settings", describe_families),
    "systems": ("Systems", describe_systems),
    "workloads": ("Workloads", describe_workloads),
    "experiments": ("Experiments", describe_experiments),
    "exit-statuses": ("Exit statuses", describe_statuses),
    "results": ("The files of results", describe_results),
    "additions": ("Recipes, VMMs and export formats", describe_axes),
}
"""The pages by the names of their files, each with its title and what writes it."""


def write_pages() -> dict[str, str]:
    """Every page as Markdown, by its name."""
    return {name: "\n".join((f"# {title}", "", *write(), "")) for name, (title, write) in PAGES.items()}
