"""What programs read of a run: complete, stable, in the shape their readers want, and what was measured."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import sys
from pathlib import Path

import jsonschema
import msgspec
import pytest
from factories import boot_samples, make_guest, make_header, make_record, make_run, make_system, make_trials
from hypothesis import given
from hypothesis import strategies as st
from other_package import installed
from prometheus_client import parser as prometheus
from prometheus_client.metrics_core import Metric as MetricRead
from prometheus_client.openmetrics import parser as openmetrics
from work_factories import make_work_run

import guestbench
from golden import check_golden
from guestbench.analysis.compare import compare_run
from guestbench.analysis.summary import add_derived, summarise
from guestbench.cli import run_cli
from guestbench.host import process
from guestbench.model import Better, Claim, Header, Metric, Ok, Record, Ruling, Sample
from guestbench.report.export import AXIS, github_action_benchmark, hyperfine, schema
from guestbench.report.export import csv as csv_export
from guestbench.report.export import json as json_export
from guestbench.report.export import openmetrics as openmetrics_export
from guestbench.report.export.csv import COLUMNS, guard, show_labels
from guestbench.report.export.json import Results
from guestbench.run.store import STORE_NAME

SOURCE = Path(guestbench.__file__).parents[1]
HOSTILE = '</script>"\x1b[31m\n# EOF\n\u202ex{="\\'


def read_csv(text: str) -> list[dict[str, str]]:
    """The rows of a CSV, by column."""
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def read_labels(shown: str) -> dict[str, str]:
    """The labels that a cell holds, read as its description says."""
    labels: dict[str, str] = {}
    for pair in re.findall(r"(?:[^;\\]|\\.)+", shown, re.DOTALL):
        key, value = re.findall(r"((?:[^=\\]|\\.)*)(?:=|$)", pair, re.DOTALL)[:2]
        labels[re.sub(r"\\(.)", r"\1", key)] = re.sub(r"\\(.)", r"\1", value)
    return labels


def test_csv_is_the_one_programs_know() -> None:
    """A program that reads results.csv would break without anybody having noticed."""
    header, records = make_run()
    boots = [record for record in records if record.trial.block in (0, 7)]
    check_golden("results.csv", csv_export.render(header, boots))


def test_csv_has_every_sample_and_every_failed_trial() -> None:
    """A measurement or a failure would be missing from results.csv."""
    header, records = make_run()
    rows = read_csv(csv_export.render(header, records).decode())
    expected = [
        (record.trial.id, sample.metric, repr(sample.value), show_labels(sample.labels))
        for record in add_derived(header, records)
        for sample in (record.samples or (None,))
        if sample is not None
    ]
    assert [(r["trial"], r["metric"], r["value"], r["labels"]) for r in rows if r["metric"]] == expected
    failed = [record.trial.id for record in records if not isinstance(record.outcome, Ok)]
    assert [(r["trial"], r["value"], r["outcome"]) for r in rows if not r["metric"]] == [
        (trial, "", "crashed") for trial in failed
    ]
    assert {r["provenance"] for r in rows if r["metric"] == "boot.above_floor"} == {"derived"}
    assert {r["unit"] for r in rows if r["metric"].startswith("boot.")} == {"s"}


def test_csv_follows_its_standard() -> None:
    """A strict reader of CSV would refuse the file."""
    text = csv_export.render(*make_run()).decode()
    assert text.startswith(",".join(COLUMNS) + "\r\n") and text.endswith("\r\n")
    assert {len(row) for row in csv.reader(io.StringIO(text, newline=""), strict=True)} == {len(COLUMNS)}


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4))
def test_labels_can_be_told_apart(labels: dict[str, str]) -> None:
    """Two different sets of labels would be written alike, or break the row they are in."""
    trials = make_trials(["a"], 1, images=False)
    header = make_header([make_guest(make_system("a"))], trials)
    record = make_record(trials[0], [Sample(metric="boot.mark", value=1.5, labels=labels)])
    (row,) = read_csv(csv_export.render(header, [record]).decode())
    assert row["labels"] == guard(show_labels(labels))
    assert read_labels(show_labels(labels)) == labels


def test_spreadsheets_do_not_calculate_texts() -> None:
    """A label that looks like a formula would be run by a spreadsheet; a negative number must stay one."""
    trials = make_trials(["=cmd()"], 1, images=False)
    header = make_header([make_guest(make_system("=cmd()"))], trials)
    samples = [Sample(metric="boot.ready", value=-1.5, labels={"+1": "@x"})]
    (row,) = read_csv(csv_export.render(header, [make_record(trials[0], samples)]).decode())
    assert (row["system"], row["labels"], row["value"]) == ("'=cmd()", "'+1=@x", "-1.5")


def test_json_reads_back_as_the_run() -> None:
    """Something that was measured would be missing from results.json, or be changed in it."""
    header, records = make_run()
    data = json_export.render(header, records)
    results = msgspec.json.decode(data, type=Results)
    derived = add_derived(header, records)
    assert results.summaries == summarise(header, records)
    assert [t.outcome for t in results.trials] == [r.outcome for r in records]
    assert [s.value for s in results.samples] == [s.value for r in derived for s in r.samples]
    assert (results.host, results.platform, results.systems) == (header.host, header.platform, header.guests)
    assert data == json_export.render(header, records) and data.endswith(b"}\n")


def test_json_is_the_one_programs_know() -> None:
    """A program that reads results.json would break without anybody having noticed."""
    trials = make_trials(["a"], 2)
    header = make_header([make_guest(make_system("a"))], trials)
    records = [
        make_record(trials[0], [Sample(metric="image.file", value=4096)]),
        make_record(trials[1], boot_samples(1.25, 1.0, {"kernel": 0.5})),
        make_record(trials[2], boot_samples(1.5, 1.25, {"kernel": 0.625})),
    ]
    check_golden("results.json", json_export.render(header, records))


def make_compared() -> tuple[Header, tuple[Record, ...]]:
    """The whole run, with a baseline and a claim."""
    header, records = make_run()
    claim = Claim(
        text="Boots ten times as fast",
        metric="boot.ready",
        system="linux-minimal",
        against="debian-12-nocloud",
        least=10,
    )
    experiment = msgspec.structs.replace(header.experiment, baseline="debian-12-nocloud", claims=(claim,))
    return msgspec.structs.replace(header, experiment=experiment), records


def test_json_holds_comparisons_and_claims() -> None:
    """What the report concludes could only be read by people."""
    header, records = make_compared()
    results = msgspec.json.decode(json_export.render(header, records), type=Results)
    assert results.comparisons == compare_run(header, records) != ()
    assert [each.ruling for each in results.judgements] == [Ruling.CONFIRMED]
    assert results.version == 8


# --- the schema -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "run", [make_run(), make_compared(), make_work_run()], ids=["run", "compared", "work"]
)
def test_results_keep_to_the_schema(run: tuple[Header, tuple[Record, ...]]) -> None:
    """results.json would not be what its schema says."""
    made = json.loads(schema.render(*run))
    validator = jsonschema.Draft202012Validator(made)
    validator.check_schema(made)
    results = json.loads(json_export.render(*run))
    assert not list(validator.iter_errors(results))
    results["samples"][0]["value"] = "1.5"
    results["surprise"] = 1
    assert len(list(validator.iter_errors(results))) == 2


# --- formats of others ------------------------------------------------------------------------------------


def test_hyperfine_json_is_what_its_scripts_read() -> None:
    """hyperfine's scripts for plots and tests would fail on the file, or be fed with failed boots."""
    header, records = make_run()
    data = hyperfine.render(header, records)
    check_golden("hyperfine.json", data)
    results = {each["command"]: each for each in json.loads(data)["results"]}
    assert list(results) == [guest.system.name for guest in header.guests]
    nocloud = results["debian-12-nocloud"]
    assert len(nocloud["times"]) == len(nocloud["exit_codes"]) == 9
    assert set(nocloud) == {
        *("command", "mean", "stddev", "median", "user", "system", "min", "max", "times", "exit_codes")
    }
    assert nocloud["min"] == min(nocloud["times"]) and nocloud["max"] == max(nocloud["times"])
    assert nocloud["mean"] == pytest.approx(math.fsum(nocloud["times"]) / 9)
    assert nocloud["user"] is None and nocloud["system"] is None


def read_metrics(text: str) -> dict[str, MetricRead]:
    """The metric families of an OpenMetrics text, by their names, read by Prometheus's own strict parser."""
    found: list[MetricRead] = list(openmetrics.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]
    return {family.name: family for family in found}


def test_openmetrics_is_read_by_prometheus() -> None:
    """Prometheus would refuse the whole file, or store other values than were measured."""
    header, records = make_run()
    text = openmetrics_export.render(header, records).decode()
    check_golden("metrics.openmetrics.txt", text.encode())
    families = read_metrics(text)
    ready = families["guestbench_boot_ready_seconds"]
    assert (ready.type, ready.unit) == ("gauge", "seconds")
    medians = {each.labels["system"]: each.value for each in ready.samples}
    assert medians == {
        each.system: each.median for each in summarise(header, records) if each.metric == "boot.ready"
    }
    failed = {
        (each.labels["system"], each.labels["purpose"]): each.value
        for each in families["guestbench_failed_trials"].samples
    }
    assert failed["debian-12-nocloud", "boot"] == 1 and sum(failed.values()) == 1
    older = {family.name: family for family in prometheus.text_string_to_metric_families(text)}
    assert {name: family.samples for name, family in older.items()} == {
        name: family.samples for name, family in families.items()
    }
    assert families["guestbench_run_info"].samples[0].labels["run"] == header.run
    assert "guestbench_image_file_bytes" in families


def test_openmetrics_of_a_whole_run_with_work_is_read() -> None:
    """A rate, or a metric with labels, would make the file unreadable."""
    families = read_metrics(openmetrics_export.render(*make_work_run()).decode())
    assert families["guestbench_work_cpu_events_per_second"].unit == "events_per_second"


def test_openmetrics_counts_memory_in_bytes() -> None:
    """A dashboard would show KiB as bytes."""
    trials = make_trials(["a"], 1, images=False)
    metric = Metric(
        name="memory.touched",
        title="RAM",
        family="memory",
        unit="KiB",
        better=Better.LOWER,
        help='With "quotes" and a \\.',
    )
    header = msgspec.structs.replace(make_header([make_guest(make_system("a"))], trials), metrics=(metric,))
    sample = Sample(metric="memory.touched", value=3, labels={"state": "idle", "system": "x", "0-9": "y"})
    text = openmetrics_export.render(header, [make_record(trials[0], [sample])]).decode()
    families = read_metrics(text)
    (found,) = families["guestbench_memory_touched_bytes"].samples
    assert found.value == 3072
    assert found.labels == {"system": "a", "label_system": "x", "state": "idle", "_0_9": "y"}
    assert families["guestbench_memory_touched_bytes"].documentation == "RAM, median. With 'quotes' and a \\."


@given(st.text(max_size=12), st.text(max_size=12))
def test_openmetrics_survives_any_text(name: str, value: str) -> None:
    """A guest could end the file, or add figures of its own, by what it prints."""
    trials = make_trials(["a"], 1, images=False)
    header = make_header([make_guest(make_system("a"))], trials)
    samples = [Sample(metric="boot.mark", value=1.5, labels={"mark": value, f"x{name}": HOSTILE})]
    families = read_metrics(
        openmetrics_export.render(header, [make_record(trials[0], samples)]).decode()
    ).values()
    assert [each.value for family in families for each in family.samples if "mark" in each.name] == [1.5, 1]


def test_github_action_benchmark_has_one_direction() -> None:
    """The action would raise the alarm when a rate rises, or refuse the file."""
    header, records = make_run()
    data = github_action_benchmark.render(header, records)
    check_golden("github-action-benchmark.json", data)
    entries = json.loads(data)
    assert {type(each["value"]) for each in entries} <= {int, float}
    assert all(isinstance(each[key], str) for each in entries for key in ("name", "unit", "extra"))
    assert len({each["name"] for each in entries}) == len(entries)
    smaller, bigger = (
        {each["name"] for each in json.loads(render(*make_work_run()))}
        for render in (github_action_benchmark.render, github_action_benchmark.render_bigger)
    )
    assert any("work.cpu" in name for name in bigger) and not smaller & bigger


# --- the command ------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a run in `run`."""
    header, records = make_run()
    (tmp_path / "run").mkdir()
    lines = [msgspec.json.encode(line) + b"\n" for line in (header, *records)]
    (tmp_path / "run" / STORE_NAME).write_bytes(b"".join(lines))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", AXIS.names())
def test_every_format_is_printed_and_written(
    kind: str, folder: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """A documented format would be unknown, or another file be written than is printed."""
    if kind == "parquet":
        pytest.importorskip("pyarrow")  # what comes without it has a test of its own
    assert run_cli(["export", "run", "--format", kind]) == 0
    printed = capfdbinary.readouterr().out
    assert run_cli(["export", "run", "--format", kind, "-o", "file"]) == 0
    assert (folder / "file").read_bytes() == printed != b""


def test_parquet_without_its_library_is_one_error_and_a_hint(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever lacks pyarrow would see a traceback, or find an empty file."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert run_cli(["export", "run", "--format", "parquet", "-o", "file"]) == 3
    assert capsys.readouterr().err.splitlines() == [
        "error: Parquet is written by pyarrow, which is not installed",
        "hint: pip install pyarrow",
    ]
    assert not (folder / "file").exists()


@pytest.mark.usefixtures("folder")
def test_a_format_of_another_package_is_one_of_ours(
    tmp_path: Path,
) -> None:
    """Whoever needs another format would have to change the tool."""
    source = (
        "def render(header, records):\n    return f'{header.run} {len(records)}\\n'.encode()\n\n\n"
        "def tell_lost(records):\n    return 'nearly all of it'\n"
    )
    entry_points = "[guestbench.exports]\none-line = shouting.one_line\n"
    with installed(tmp_path / "site", "shouting", entry_points, {"one_line.py": source}):
        assert AXIS.names()[-1] == "one-line"
        line = ["-m", "guestbench", "export", "run", "--format", "one-line"]
        environment = {"PYTHONPATH": os.pathsep.join(map(str, (tmp_path / "site", SOURCE)))}
        ran = process.run([sys.executable, *line], env=environment)
    assert ran.stdout == b"20240117-101500-seed 60\n"
    assert ran.stderr.decode().strip() == "note: nearly all of it"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["run"], 2, "Missing option '--format'"),
        (["run", "--format", "xml"], 2, "'xml' is not one of"),
        (["run", "--format", "csv", "--bigger-is-better"], 2, "says nothing of the format csv"),
        (["run", "--format", "csv", "-o", "no/such/file"], 2, "no/such/file cannot be written"),
        (["nowhere", "--format", "csv"], 3, "cannot read nowhere/store.jsonl"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_bad_exports_are_one_error_line_and_a_hint(
    arguments: list[str], status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A slip of the hand would end in a traceback, or in half a file."""
    assert run_cli(["export", *arguments]) == status
    out, err = capsys.readouterr()
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and words in errors[0]
    assert len([line for line in err.splitlines() if line.startswith("hint: ")]) == 1
    assert out == ""
