"""Stores of sound lines that nobody has measured: a report or one error, and no traceback."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from guest_targets import write_store
from memory_factories import make_memory_run
from profiles import make_profile

from guestbench.analysis.samples import collect_all
from guestbench.cli import report, run_cli
from guestbench.errors import StoreError, UsageError
from guestbench.model import Header, Record
from guestbench.report.profile import read_json, render_json


@pytest.mark.parametrize("label", ["field", "stat", "state"])
def test_figure_that_lacks_a_label_stops_no_report(label: str, tmp_path: Path) -> None:
    """One odd sample would take the report of a whole run."""
    header, records = make_memory_run()
    changed = []
    for record in records:
        samples = [
            msgspec.structs.replace(each, labels={k: v for k, v in each.labels.items() if k != label})
            for each in record.samples
        ]
        changed.append(msgspec.structs.replace(record, samples=tuple(samples)))
    assert changed != list(records)
    _, paths = report.write_files(tmp_path, header, tuple(changed))
    assert paths["comparison_results.md"].stat().st_size


@pytest.mark.parametrize("error", [KeyError("x\x1b[2J"), ValueError("no"), TypeError(), ZeroDivisionError()])
def test_what_cannot_be_shown_is_one_error(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that somebody has changed would end the tool with a traceback."""

    def fail(*_: object) -> object:
        raise error

    header, records = make_memory_run()
    monkeypatch.setattr("guestbench.analysis.analyse.analyse", fail)
    with pytest.raises(StoreError, match=f"does not fit together: {type(error).__name__}") as caught:
        report.write_files(tmp_path, header, records)
    assert caught.value.message.isprintable()
    assert caught.value.hint == f"less {tmp_path}/store.jsonl"


PLACES = {
    "diff": "guestbench.analysis.diff.diff_runs",
    "export": "guestbench.report.export.openmetrics.render",
    "history": "guestbench.analysis.history.collect_all",
}


@pytest.mark.parametrize("name", PLACES)
def test_what_cannot_be_shown_is_one_error_of_each_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `report` says of such a store in a line would be a traceback of the command beside it."""

    def fail(*_: object, **__: object) -> object:
        raise KeyError("x")

    header, records = make_memory_run()
    (tmp_path / "store.jsonl").write_bytes(write_store(header, records))
    monkeypatch.setattr(PLACES[name], fail)
    folder = str(tmp_path)
    more = {"diff": [folder], "export": ["--format", "openmetrics"]}
    assert run_cli([name, folder, *more.get(name, [])]) == StoreError.exit_code
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "store.jsonl cannot be shown, as what it holds does not fit together: KeyError" in errors[0]


def test_history_leaves_out_a_run_that_cannot_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One damaged run would hide a year of sound ones."""

    def collect(header: Header, records: Sequence[Record]) -> object:
        if header.run == "odd":
            raise KeyError("x")
        return collect_all(header, records)

    monkeypatch.setattr("guestbench.analysis.history.collect_all", collect)
    header, records = make_memory_run()
    for run in ("odd", "sound"):
        (tmp_path / run).mkdir()
        named = msgspec.structs.replace(header, run=run)
        (tmp_path / run / "store.jsonl").write_bytes(write_store(named, records))
    assert run_cli(["history", str(tmp_path)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "odd/store.jsonl cannot be shown" in told
    assert "KeyError" in told


@pytest.mark.parametrize(
    "data",
    [
        *(b"\xc4", b"[" * 100_000, b"{}", b'{"version":"\x1b[2J"}', b'{"\xff":1}', b""),
        render_json(make_profile()).replace(b'"instructions": ', b'"instructions": 1' + b"0" * 400, 1),
    ],
)
def test_what_is_no_profile_is_one_error(data: bytes) -> None:
    """A file that is no text would end the report of the run that it lies beside."""
    with pytest.raises(UsageError, match=r"profile\.json is no profile: ") as caught:
        read_json(data, "profile.json")
    assert caught.value.message.isprintable()
