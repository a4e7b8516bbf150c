"""The examples are what a user copies first: they must work as their README says."""

from __future__ import annotations

import csv
import shutil
import sys
from pathlib import Path

import pytest

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
