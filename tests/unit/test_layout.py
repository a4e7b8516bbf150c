"""The project's structure: rules of the code that no linter knows, and files that must agree."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

from guestbench.definition.systems import SYSTEMS, load_catalogue
from guestbench.definition.workloads import list_workloads, load_workload
from guestbench.families import list_families
from guestbench.host import process
from guestbench.registry import VMMS
from guestbench.vmm import find_vmm

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "guestbench"
MODULES = sorted(PACKAGE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("test_*.py"))
CODE = [*MODULES, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "benchmarks").rglob("*.py"))]

MODULE_LINES = 500
FUNCTION_LINES = 60
"""Past that a design asks for a split."""

STARTERS = re.compile(r"(exec|spawn|posix_spawn|popen|system|fork)\w*")
"""Functions of module os that start a process or become one."""

SAY_A_METRIC = {
    "cli/ab.py": "has the gate of whoever asks for none, and shows how one is written",
    "cli/bisect.py": "shows how a gate is written",
    "cli/diff.py": "shows how a gate is written",
    "analysis/gate.py": "shows how a gate is written",
}
SAY_QEMU = {
    "model/experiment.py": "has the VMM of an experiment that names none",
    "model/run.py": "has the names of two fields in stores, and what reports call QEMU",
    "images/": "reads the formats of QEMU's disks with qemu-img, and knows which kernels its loaders take",
    "inspect/guest.py": "looks into disks with a QEMU of its own, whatever the guests run on",
    "provision/": "makes disks with qemu-img, and a unikernel for QEMU",
    "report/export/openmetrics.py": "has the name of a label that others may have queries for",
}
"""Folders and files that may, each with its reason."""

UNWANTED = {
    "an unfinished part": re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b"),
    "a path of one machine": re.compile(r"(?<![\w.-])/(work|root)/|/home/(?!anna\b)\w+"),
    "a package registry or mirror": re.compile(
        r"(?<!pkg:)\bpypi\b|pythonhosted|\b(deb|snapshot|security|ftp)\.debian\.org", re.IGNORECASE
    ),
}


def name_of(file: Path) -> str:
    """A file's name as pytest shows it."""
    return str(file.relative_to(ROOT))


def functions_of(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions of a module, methods and inner ones included."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def project_files() -> list[Path]:
    """The files that are the project's: in the index of git, or new and not ignored."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    listing = process.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
    return [ROOT / name for name in listing.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


# --- code ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_module_begins_with_a_sentence_that_says_what_it_is_for(file: Path) -> None:
    """A reader could not tell where a thing belongs."""
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    first = docstring.split("\n\n")[0]
    assert len(first.split()) >= 4
    assert first.startswith("guestbench") or not first[0].islower()
    assert first.endswith((".", ":"))


@pytest.mark.parametrize("file", CODE, ids=name_of)
def test_files_and_functions_stay_small(file: Path) -> None:
    """A part that does too much would grow on unseen."""
    assert len(file.read_text().splitlines()) <= MODULE_LINES
    long = {
        each.name: lines
        for each in functions_of(file)
        if (lines := (each.end_lineno or each.lineno) - each.lineno + 1) > FUNCTION_LINES
    }
    assert not long


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_public_things_are_documented(file: Path) -> None:
    """Whoever extends the tool would have to read bodies to learn what functions promise."""
    tree = ast.parse(file.read_text())
    classes = [each for each in tree.body if isinstance(each, ast.ClassDef) and not each.name.startswith("_")]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = [*tree.body, *(each for cls in classes for each in cls.body)]
    undocumented = [
        each.name
        for each in public
        if isinstance(each, kinds) and not each.name.startswith("_") and not ast.get_docstring(each)
    ]
    assert not undocumented


@pytest.mark.parametrize("file", [each for each in MODULES if each.name != "process.py"], ids=name_of)
def test_only_process_starts_processes(file: Path) -> None:
    """A child started elsewhere would outlive the tool when it is killed."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            assert not STARTERS.fullmatch(node.attr), f"os.{node.attr} in line {node.lineno}"
        if isinstance(node, ast.Import):
            assert not {"subprocess", "multiprocessing", "pty"} & {each.name for each in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.module not in ("subprocess", "multiprocessing", "pty")


@pytest.mark.parametrize("file", MODULES, ids=name_of)
def test_only_the_cache_makes_temporary_folders(file: Path) -> None:
    """What a killed process has left elsewhere would never be removed."""
    named = {"TemporaryDirectory", "NamedTemporaryFile", "mkdtemp", "mkstemp"}
    used = {each.attr for each in ast.walk(ast.parse(file.read_text())) if isinstance(each, ast.Attribute)}
    # The one other place is linked from the cache, which removes it.
    assert file.name in ("cache.py", "debian_disk.py") or used.isdisjoint(named)


@pytest.mark.parametrize("file", TESTS, ids=name_of)
def test_each_test_says_what_would_be_broken(file: Path) -> None:
    """A failing test would not tell its reader what a user loses."""
    for each in functions_of(file):
        if each.name.startswith("test_"):
            docstring = ast.get_docstring(each)
            assert docstring, f"{each.name} has no docstring"
            assert docstring.endswith("."), f"{each.name}: not a sentence"


def test_test_files_have_different_names() -> None:
    """Two test files of one name could not be collected together."""
    assert not [name for name, n in Counter(file.name for file in TESTS).items() if n > 1]
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_unit_tests_lie_where_what_they_test_lies() -> None:
    """Whoever changes a part would not find its tests, or miss some of them."""
    folders = {file.parent.relative_to(ROOT / "tests" / "unit") for file in TESTS if "unit" in file.parts}
    assert not [str(each) for each in folders if not (PACKAGE / each).is_dir()]


def test_project_names_no_machine_and_no_registry() -> None:
    """The project would work, or seem to, only where it was written."""
    exempt = {Path(__file__), ROOT / "LICENSE"}
    found = [
        f"{name_of(file)}:{number}: {what}"
        for file in project_files()
        if file not in exempt and b"\0" not in file.read_bytes()
        for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1)
        for what, pattern in UNWANTED.items()
        if pattern.search(line)
    ]
    assert not found


@cache
def strings_of(file: Path) -> list[tuple[int, str]]:
    """All text of a module's code with its line, what documents the code left out."""
    tree = ast.parse(file.read_text())
    documents = {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}
    return [
        (each.lineno, each.value)
        for each in ast.walk(tree)
        if isinstance(each, ast.Constant) and isinstance(each.value, str) and id(each) not in documents
    ]


def names_in(file: Path) -> Iterator[tuple[int, str]]:
    """All names that a module's code uses, those of modules it imports from included, with their line."""
    for each in ast.walk(ast.parse(file.read_text())):
        match each:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield each.lineno, name
            case ast.ImportFrom(module=str(name)):
                yield each.lineno, name


def places_of(wanted: re.Pattern[str], homes: Iterable[str], exempt: Mapping[str, str]) -> list[str]:
    """Where code says `wanted`, outside of the folders that are its home and of those exempt."""
    return [
        f"{name_of(file)}:{line}: {text}"
        for file in MODULES
        if not str(file.relative_to(PACKAGE)).startswith((*homes, *exempt))
        for line, text in strings_of(file)
        if wanted.search(text)
    ]


def test_metrics_are_named_by_their_family_alone() -> None:
    """A metric could be shown, compared or left out by its name, and another package's never."""
    names = {row.name for family in list_families() for row in family.metrics}
    names |= {load_workload(name).metric for name in list_workloads()}
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, names))})\b")
    assert not places_of(pattern, ["families/"], SAY_A_METRIC)


def test_qemu_is_known_to_its_own_folder_alone() -> None:
    """A second VMM would be measured, or told of, as if it were QEMU."""
    pattern = re.compile("qemu", re.IGNORECASE)
    homes = ["vmm/qemu/", "host/"]
    assert not places_of(pattern, homes, SAY_QEMU)
    # Nor is anything named after it, or imported from there.
    named = [
        f"{name_of(file)}:{line}: {name}"
        for file in MODULES
        if not str(file.relative_to(PACKAGE)).startswith((*homes, *SAY_QEMU))
        for line, name in names_in(file)
        if pattern.search(name)
    ]
    assert not named
    for exempt in SAY_QEMU:
        others = [each for each in SAY_QEMU if each != exempt]
        assert places_of(pattern, [*homes, *others], {}), f"{exempt} needs no exception"


def test_exceptions_are_of_files_there_are() -> None:
    """An exception would outlive its reason."""
    assert all((PACKAGE / each).exists() for each in SAY_A_METRIC)


# --- the folders --------------------------------------------------------------------------------------


def test_each_system_folder_is_a_system() -> None:
    """A folder without a definition would be in the package and in no list."""
    folders = {each.name for each in SYSTEMS.iterdir() if each.is_dir() and each.name != "__pycache__"}
    assert folders == set(load_catalogue())


def test_catalogue_has_the_documented_systems() -> None:
    """A guest that the documents promise would be missing."""
    rows = re.findall(r"(?m)^\| `([\w.-]+)` \|", (ROOT / "docs" / "systems.md").read_text())
    assert set(rows) == set(load_catalogue())


def test_each_vmm_is_a_module() -> None:
    """An experiment could name a VMM that cannot be loaded."""
    assert all(callable(find_vmm(each).start) for each in VMMS.names())


@pytest.mark.parametrize(
    "name", ["src/guestbench/host/debian-packages.txt", "tools/debian-test-packages.txt"]
)
def test_lists_of_packages_are_sorted(name: str) -> None:
    """A package would be listed twice."""
    lines = (ROOT / name).read_text().splitlines()
    packages = [line.split()[0] for line in lines if not line.startswith("#")]
    assert packages == sorted(set(packages))


def test_every_program_that_is_called_comes_with_a_listed_package() -> None:
    """A fresh machine would lack a program after set-up, and the hint would name no package."""
    call = re.compile(r'(?:process\.(?:run|start)\(\s*\[|find_tool\()\s*"([^"]+)"')
    called = {name for file in MODULES for name in call.findall(file.read_text())}
    assert {"gcc", "zstd"} <= called
    # Without the first, the host's kind of virtualization is unknown; the second only builds MirageOS guests.
    assert called - {"systemd-detect-virt", "opam"} <= set(process.DEBIAN_PACKAGES)


def test_what_tests_are_skipped_without_is_installed_for_them() -> None:
    """A test would be skipped on every fresh machine."""
    lines = (ROOT / "tools" / "debian-test-packages.txt").read_text().splitlines()
    text = "\n".join(file.read_text() for file in (ROOT / "tests").rglob("*.py"))
    named = set(re.findall(r'find_tool\("[^"]+", "([\w-]+)"\)', text))
    for reason in re.findall(r'reason="apt-get install ([a-z][^"]+)"', text):
        named |= set(reason.split())
    assert {"opam", "xfsprogs"} <= named
    assert named <= {line.split()[0] for line in lines} | set(process.DEBIAN_PACKAGES.values())


def test_package_carries_its_licence() -> None:
    """The package could not be passed on."""
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-tests.lock"])
def test_lock_pins_every_dependency_with_a_hash(name: str) -> None:
    """A fresh machine would install something else than was tested."""
    lock = (ROOT / name).read_text()
    assert "://" not in lock
    pins = re.findall(r"(?m)^([A-Za-z0-9._-]+)==\S+.*(?:\n {4}.*)*", lock)
    assert len(pins) == len(re.findall(r"(?m)^\S", lock)) - lock.count("\n#") - lock.startswith("#")
    locked = {re.sub(r"[._-]+", "-", name).lower() for name in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["dev"]]
    if name == "requirements-tests.lock":
        asked += [each for extra in extras.values() for each in extra]
    wanted = {each.split(">=")[0] for each in asked}
    assert {re.sub(r"[._-]+", "-", name).lower() for name in wanted} <= locked
    assert lock.count("--hash=sha256:") >= len(pins)
