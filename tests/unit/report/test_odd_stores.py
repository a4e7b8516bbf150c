"""Stores of sound lines that nobody has measured: a report or one error, and no traceback."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from memory_factories import make_memory_run
from profiles import make_profile

from guestbench.cli import report
from guestbench.errors import StoreError, UsageError
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
