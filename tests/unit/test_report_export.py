"""results.json and results.csv: complete, stable, and read back as what was measured."""

from __future__ import annotations

import csv
import io
import re

import msgspec
from factories import boot_samples, make_guest, make_header, make_record, make_run, make_system, make_trials
from hypothesis import given
from hypothesis import strategies as st

from golden import check_golden
from guestbench.analysis.summary import add_derived, summarise
from guestbench.model import Ok, Sample
from guestbench.report.export import COLUMNS, Results, guard, render_csv, render_json, show_labels


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
    check_golden("results.csv", render_csv(header, boots).encode())


def test_csv_has_every_sample_and_every_failed_trial() -> None:
    """A measurement or a failure would be missing from results.csv."""
    header, records = make_run()
    rows = read_csv(render_csv(header, records))
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
    text = render_csv(*make_run())
    assert text.startswith(",".join(COLUMNS) + "\r\n") and text.endswith("\r\n")
    assert {len(row) for row in csv.reader(io.StringIO(text, newline=""), strict=True)} == {len(COLUMNS)}


@given(st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=4))
def test_labels_can_be_told_apart(labels: dict[str, str]) -> None:
    """Two different sets of labels would be written alike, or break the row they are in."""
    trials = make_trials(["a"], 1, images=False)
    header = make_header([make_guest(make_system("a"))], trials)
    record = make_record(trials[0], [Sample(metric="boot.mark", value=1.5, labels=labels)])
    (row,) = read_csv(render_csv(header, [record]))
    assert row["labels"] == guard(show_labels(labels))
    assert read_labels(show_labels(labels)) == labels


def test_spreadsheets_do_not_calculate_texts() -> None:
    """A label that looks like a formula would be run by a spreadsheet; a negative number must stay one."""
    trials = make_trials(["=cmd()"], 1, images=False)
    header = make_header([make_guest(make_system("=cmd()"))], trials)
    samples = [Sample(metric="boot.ready", value=-1.5, labels={"+1": "@x"})]
    (row,) = read_csv(render_csv(header, [make_record(trials[0], samples)]))
    assert (row["system"], row["labels"], row["value"]) == ("'=cmd()", "'+1=@x", "-1.5")


def test_json_reads_back_as_the_run() -> None:
    """Something that was measured would be missing from results.json, or be changed in it."""
    header, records = make_run()
    data = render_json(header, records)
    results = msgspec.json.decode(data, type=Results)
    derived = add_derived(header, records)
    assert results.summaries == summarise(header, records)
    assert [t.outcome for t in results.trials] == [r.outcome for r in records]
    assert [s.value for s in results.samples] == [s.value for r in derived for s in r.samples]
    assert (results.host, results.platform, results.systems) == (header.host, header.platform, header.guests)
    assert data == render_json(header, records) and data.endswith(b"}\n")


def test_json_is_the_one_programs_know() -> None:
    """A program that reads results.json would break without anybody having noticed."""
    trials = make_trials(["a"], 2)
    header = make_header([make_guest(make_system("a"))], trials)
    records = [
        make_record(trials[0], [Sample(metric="image.file", value=4096)]),
        make_record(trials[1], boot_samples(1.25, 1.0, {"kernel": 0.5})),
        make_record(trials[2], boot_samples(1.5, 1.25, {"kernel": 0.625})),
    ]
    check_golden("results.json", render_json(header, records))
