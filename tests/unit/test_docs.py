"""The documents: what they tell the reader to type, to write and to open must be there."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from documents import ROOT, blocks, parse

from guestbench import families
from guestbench.definition.experiments import load_experiment
from guestbench.definition.systems import load_system
from guestbench.definition.workloads import load_workload
from guestbench.families import list_families, work
from guestbench.guest.contract import find_reports
from guestbench.model import Frozen, ImageWork, Kernel, Load, Metric, Provision, Service, Work, Workload
from guestbench.page.figures import show_read_to
from guestbench.registry import RECIPES

DOCS = ROOT / "docs"
HOW_TO = DOCS / "how-to"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").glob("*.md")])


def example(name: str) -> str:
    """The one file in the documents whose first line is a comment with this name."""
    shown = [block for file in DOCS.rglob("*.md") for block in blocks(file, "toml")]
    (found,) = [block for block in shown if block.startswith(f"# {name}\n")]
    return found


def commands(file: Path) -> list[list[str]]:
    """The command lines of a document's shell blocks and inline code, as words."""
    lines = [line for block in blocks(file, "sh") for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"(?ms)^```.*?^```$", "", file.read_text())
    lines += [code for code in re.findall(r"`([^`\n]+)`", prose) if code.startswith(("guestbench ", "make "))]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def name_of(file: Path) -> str:
    """A file's name as pytest shows it."""
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(file: Path) -> None:
    """A reader would follow a link to nothing."""
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", file.read_text()):
        if "://" not in target:
            assert (file.parent / target).exists(), target


@pytest.mark.parametrize("file", DOCUMENTS, ids=name_of)
def test_named_files_of_the_project_exist(file: Path) -> None:
    """A reader would look for the proof of a claim where it is not."""
    for path in re.findall(r"`((?:src|tests|benchmarks|tools)/[\w./-]+)`", file.read_text()):
        assert "NAME" in path or (ROOT / path).exists(), path


# What the examples' own page names is there once its package is installed, which its own tests do.
@pytest.mark.parametrize("file", [file for file in DOCUMENTS if file.parent.name != "examples"], ids=name_of)
def test_commands_can_be_typed(file: Path) -> None:
    """A reader would type a command or option that does not exist."""
    targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
    for words in commands(file):
        program, arguments = words[0].removeprefix(".venv/bin/"), words[1:]
        if program == "guestbench":
            # Prose may name several subcommands at once.
            if not any(word.endswith(",") for word in arguments):
                parse(arguments)
        elif program == "make" and not arguments[0].startswith("-"):
            assert arguments[0] in targets, words


def test_example_guest_is_one_that_loads(tmp_path: Path) -> None:
    """Whoever copies the documented guest would be told of mistakes in it."""
    (tmp_path / "system.toml").write_text(example("guests/my-kernel/system.toml"))
    system = load_system(tmp_path, ())
    assert isinstance(system.boot, Kernel)
    assert system.name == "my-kernel"
    assert len(system.milestones) == 2
    assert system.failures
    assert system.provision.path
    assert isinstance(system.work, ImageWork)
    assert system.workloads
    assert system.services


def test_example_experiment_is_one_that_loads(tmp_path: Path) -> None:
    """Whoever copies the documented experiment would be told of mistakes in it."""
    folder = tmp_path / "guests" / "my-kernel"
    folder.mkdir(parents=True)
    (folder / "system.toml").write_text(example("guests/my-kernel/system.toml"))
    file = tmp_path / "my-kernel.toml"
    file.write_text(example("my-kernel.toml"))
    loaded = load_experiment(str(file))
    assert loaded.systems == ("floor", "linux-minimal", str(folder))
    assert loaded.seed == 1
    told = tomllib.loads(example("my-kernel.toml"))
    assert set(told["work"]) == set(work.Settings.__struct_fields__)
    assert {*told["metrics"], "calibration"} == {family.name for family in list_families()}


def test_example_workload_is_one_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever copies the documented workload would be told of mistakes in it, or not of a key."""
    text = example("src/guestbench/workloads/sort.toml")
    (tmp_path / "sort.toml").write_text(text)
    monkeypatch.setattr("guestbench.definition.workloads.WORKLOADS", tmp_path)
    assert load_workload("sort").metric == "work.sort"
    assert set(tomllib.loads(text)) == set(Workload.__struct_fields__)


def test_example_of_the_contract_is_read() -> None:
    """A program that prints what the document shows would be credited with no work."""
    (text,) = [
        block for block in blocks(HOW_TO / "own-workload.md", "text") if block.startswith("[work begin")
    ]
    console = f"a line of the kernel's\r\n{text}".replace("\n[work end", "\nprogress\n[work end").encode()
    (report,) = find_reports(console, lambda index: index)
    begin, end = (console.index(b"]", console.index(start)) for start in (b"[work begin", b"[work end"))
    assert (report.begin_ns, report.end_ns) == (begin, end)
    assert (report.workload, report.parameters) == ("sort", {"records": "100000"})
    assert (report.source, report.compiler) == ("3f0c2a9d11e85b76", "gcc-12.2.0")
    assert report.flags.split(",") == ["-O2", "-march=x86-64", "-static"]
    assert (report.done, report.guest_ns) == (100000, 412345678)
    assert len(report.digest) == 32


@pytest.mark.parametrize(
    ("name", "words", "counts"),
    [
        ("s" * 41, 20, True),
        ("s" * 42, 1, False),
        ("Sort", 1, False),
        ("sort", 21, False),
    ],
)
def test_limits_of_the_contract_are_the_documented_ones(name: str, words: int, counts: bool) -> None:
    """A program that keeps to the document would go unheard."""
    told = " ".join(f"key_{number}=~" for number in range(words))
    assert bool(find_reports(f"[work begin {name} {told}]".encode(), lambda _: 0)) is counts


def test_lock_command_in_the_guide_is_the_one_make_runs() -> None:
    """Whoever renews the lock by hand would get another one than `make lock`."""
    recipe = re.search(r"(?ms)^lock:\n\t(.*?)\n\n", (ROOT / "Makefile").read_text())
    assert recipe
    documented = next(block for block in blocks(ROOT / "CONTRIBUTING.md", "sh") if block.startswith("uv "))
    assert recipe[1].replace("\\\n", " ").split() == documented.replace("\\\n", " ").split()


def test_documented_provision_keys_exist() -> None:
    """A documented key of system.toml would be refused as unknown."""
    table = re.findall(r"(?m)^\| `\[?(?:provision\.)?(\w+)[^`]*` \|", (HOW_TO / "own-guest.md").read_text())
    assert set(table) == set(Provision.__struct_fields__)


@pytest.mark.parametrize(
    "kinds",
    [[RECIPES.load(name).RECIPE for name in RECIPES.names()], get_args(Load), get_args(Work)],
    ids=["build", "load", "work"],
)
def test_documented_kinds_have_all_their_keys(kinds: Sequence[type[Frozen]]) -> None:
    """A kind of build, load or work, or one of its keys, would be unknown to the reader or to the tool."""
    rows = re.findall(r'(?m)^\| `"([\w-]+)"` \| (.*?) \|', (HOW_TO / "own-guest.md").read_text())
    documented = {kind: set(re.findall(r"`(\w+)`", keys)) for kind, keys in rows}
    assert len(documented) == len(rows)
    for kind in kinds:
        assert documented.get(str(kind.__struct_config__.tag)) == set(kind.__struct_fields__)


def test_documented_services_have_their_ports() -> None:
    """An image would serve at a port where nobody asks."""
    rows = re.findall(r"(?m)^\| (\d+) \| `(\w+)` \|", (HOW_TO / "own-guest.md").read_text())
    assert {name: int(port) for port, name in rows} == {each.value: each.port for each in Service}


def test_documented_families_are_those_there_are() -> None:
    """A family would be measured that the reader was not told of, or promised and not there."""
    table = (DOCS / "systems.md").read_text().split("| family |")[1].split("\n\n")[0]
    assert re.findall(r"(?m)^\| (\w+) \|", table) == [family.name for family in list_families()]


def test_documented_instruments_read_to_what_their_rows_say() -> None:
    """A reader would take a difference for one that the instrument cannot see, or the other way round."""
    table = (DOCS / "method.md").read_text().split("| Metric | Read to |")[1].split("\n\n")[0]
    rows = [row.name for family in list_families() for row in family.metrics if row.read_to_why]
    expected = [
        f"| `{row.name}` | {show_read_to(row)} | {row.read_to_why} |"
        for family in list_families()
        for row in family.metrics
        if row.name in rows
    ]
    assert table.splitlines()[2:] == expected


def test_every_instrument_that_does_not_count_says_what_it_reads_to() -> None:
    """A figure would be given as if it were known to the last digit."""
    kit_rows = (*work.CHECKS, work.describe_metric(load_workload("cpu")))
    for row in (*kit_rows, *(row for family in list_families() for row in family.metrics)):
        reads = row.resolution > 0 or row.relative_error > 0
        assert reads == bool(row.read_to_why), row.name
        assert 0 <= row.relative_error < 0.1, row.name
        if row.unit in ("s", "KiB", "MiB") or row.unit.endswith("/s"):
            assert reads or row.name == "memory.tried", row.name


def test_example_of_a_metric_is_a_row() -> None:
    """Whoever copies the documented row would be told that it is none."""
    (row,) = tomllib.loads(example("chatter/metrics.toml"))["metrics"]
    labels = {"compared_labels": [sorted(each.items()) for each in row["compared_labels"]]}
    assert msgspec.convert({"family": "chatter", **row, **labels}, Metric).compared


def test_documented_hooks_of_families_are_those_that_are_called() -> None:
    """Whoever writes a family would write a function that nobody calls, or miss one."""
    table = (HOW_TO / "extend.md").read_text().split("| module |")[1].split("\n\n")[0]
    told = set(re.findall(r"`(\w+)\(", table))
    known = set(re.findall(r"`(?:plan|probe)\.(\w+)\(", families.__doc__ or ""))
    assert known <= told
