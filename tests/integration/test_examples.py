"""The examples are what a user copies first: they must work as their README says."""

from __future__ import annotations

import csv
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import guestbench
from guestbench.host import process

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example package, installed into a folder of its own."""
    site = tmp_path_factory.mktemp("site")
    source = shutil.copytree(EXAMPLES / "package", tmp_path_factory.mktemp("source") / "package")
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "install", "--no-deps"]
    process.run([*pip, "--no-build-isolation", "--no-index", "--target", site, source])
    return site


def call(site: Path, *arguments: str | Path) -> str:
    """What guestbench prints with the example package installed."""
    argv = [sys.executable, "-m", "guestbench", *arguments]
    return process.run(argv, env={"PYTHONPATH": str(site)}, timeout_s=600).stdout.decode()


@pytest.mark.qemu
def test_the_example_experiment_runs(installed: Path, tmp_path: Path) -> None:
    """Whoever copies the example guest, family, workload or experiment would start from one that fails."""
    results = tmp_path / "results"
    own = ("--only-system", "floor", "--only-system", "hello", "--cycles", "1", "--warmups", "0")
    printed = call(
        installed, "run", EXAMPLES / "own.toml", *own, "--metrics", "boot,chatter", "--accel", "tcg",
        "--set", "chatter.boots=1", "-o", results,
    )  # fmt: skip
    assert "printed" in printed
    with (results / "results.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["system"] == "hello"]
    found = {row["metric"]: float(row["value"]) for row in rows if not row["labels"]}
    assert found["chatter.bytes"] >= len(b"hello: counting\r\n[hello ready]\r\n")
    assert found["boot.ready"] > 0
    report = (results / "comparison_results.md").read_text()
    assert "## Chatter" in report and "1 claim about systems that are not in this run" in report
    assert "Chatter" in (results / "report.html").read_text()


def test_the_example_workload_is_one_that_guests_can_be_given(installed: Path, tmp_path: Path) -> None:
    """Its program would not compile, or print something else than the workload's lines."""
    assert "collatz" in call(installed, "workloads")
    code = (
        "from guestbench.model import Needs; from guestbench.provision import prepare_kit;"
        "kit = prepare_kit(Needs(workloads=('collatz',)), lambda text: None);"
        "(work,) = kit.works; print(work.expected[0].done, work.missing)"
    )
    environment = {"PYTHONPATH": str(installed)}
    done = process.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, timeout_s=300)
    assert done.stdout.split() == [b"300000"]


@contextmanager
def start_kernel(runner: Any, folder: str) -> Iterator[None]:
    """Start what executes a notebook, over sockets in a folder, where no other user can reach it."""
    runner.create_kernel_manager()
    runner.km.transport, runner.km.ip = "ipc", f"{folder}/kernel"
    with runner.setup_kernel():
        yield


def test_the_notebook_runs_and_shows_what_the_run_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opens the notebook would meet an error, or figures that are not those of the run."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    pytest.importorskip("matplotlib")
    for name in (
        "IPYTHONDIR",
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "JUPYTER_RUNTIME_DIR",
        "MPLCONFIGDIR",
    ):
        monkeypatch.setenv(name, str(tmp_path / name))
    book = nbformat.read(EXAMPLES / "results.ipynb", as_version=4)
    nbformat.validate(book)
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    # Outputs that are not there cannot be those of another run.
    assert not [cell for cell in cells if cell.outputs or cell.execution_count]
    runner = nbclient.NotebookClient(
        book, kernel_name="python3", timeout=300, resources={"metadata": {"path": str(EXAMPLES)}}
    )
    # The path of a socket must be short.
    with tempfile.TemporaryDirectory() as folder, start_kernel(runner, folder):
        for place, cell in enumerate(book.cells):
            runner.execute_cell(cell, place)
        show = nbformat.v4.new_code_cell(
            "print(boots.to_json(orient='records')); print(comparisons.to_json())"
        )
        book.cells.append(show)
        runner.execute_cell(show, len(book.cells) - 1)
    kinds = {kind for cell in cells for output in cell.outputs for kind in output.get("data", ())}
    assert {"text/html", "image/png"} <= kinds
    assert {output.output_type for cell in cells for output in cell.outputs} <= {
        "execute_result",
        "display_data",
    }
    boots, comparisons = map(json.loads, show.outputs[0].text.splitlines())
    run = guestbench.load(EXAMPLES.parent / "tests" / "recordings" / "two-kernels")
    expected = {row.system: row.median for row in run.estimates if row.metric == "boot.ready"}
    values: dict[str, list[float]] = {}
    for row in boots:
        values.setdefault(row["system"], []).append(row["value"])
    assert {name: statistics.median(each) for name, each in values.items()} == pytest.approx(expected)
    assert list(comparisons["ratio"].values()) == pytest.approx([row.ratio for row in run.comparisons])
