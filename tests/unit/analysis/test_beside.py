"""What stands beside a comparison, so that like is held to like."""

from __future__ import annotations

import msgspec
import pytest
from factories import make_run

from guestbench.analysis.analyse import analyse
from guestbench.analysis.findings import Findings
from guestbench.definition.experiments import load_experiment
from guestbench.definition.systems import load_catalogue
from guestbench.families import list_families
from guestbench.model import Accel, Beside, Claim
from guestbench.report.comparison import find_sections
from guestbench.report.markdown import render_section

DEBIAN, DIRECT, MINIMAL = "debian-12-nocloud", "debian-12-direct", "linux-minimal"
CLAIMS = (
    Claim(text="smaller", metric="image.file", system=MINIMAL, against=DEBIAN, least=50, most=200),
    Claim(text="faster", metric="boot.ready", system=MINIMAL, against=DEBIAN, least=10, most=50),
)


def find(without: tuple[str, ...] = (), accel: Accel = Accel.TCG) -> Findings:
    """What is found of the whole run, compared with Debian, some systems left out."""
    header, records = make_run()
    experiment = msgspec.structs.replace(header.experiment, baseline=DEBIAN, claims=CLAIMS)
    header = msgspec.structs.replace(
        header,
        experiment=experiment,
        guests=tuple(guest for guest in header.guests if guest.system.name not in without),
        accel=msgspec.structs.replace(header.accel, used=accel),
    )
    return analyse(header, tuple(r for r in records if r.trial.system not in without))


def beside(found: Findings, metric: str, system: str) -> list[Beside]:
    """What stands beside that comparison."""
    return [each for each in found.beside if (each.metric, each.system) == (metric, system)]


def test_files_are_also_compared_compressed() -> None:
    """A kernel that is compressed would win against a disk that is not, by the way they are packed."""
    (each,) = beside(find(), "image.file", MINIMAL)
    assert each.found is not None
    assert (each.what, each.found.metric) == ("both compressed", "image.zstd")
    assert each.found.ratio == pytest.approx(9_207_401 / 258_998_272)


def test_a_boot_that_waits_for_a_key_is_held_against_one_that_does_not() -> None:
    """A boot loader's menu would count as work of the system behind it, and nobody be told."""
    found = find()
    (each,) = beside(found, "boot.ready", MINIMAL)
    assert each.found is not None
    assert "menu" in each.what
    assert (each.found.system, each.found.baseline) == (MINIMAL, DIRECT)
    ready = {name: found.find(name, "boot.ready") for name in (MINIMAL, DIRECT)}
    assert all(ready.values())
    assert each.found.ratio == pytest.approx(0.0731, rel=0.01)
    # The system without the wait is not held against itself.
    (own,) = beside(found, "boot.ready", DIRECT)
    assert own.found is None


def test_the_wait_is_named_where_nothing_is_there_without_it() -> None:
    """Who leaves a system out would no longer be told what the ratio contains."""
    (each,) = beside(find(without=(DIRECT,)), "boot.ready", MINIMAL)
    assert each.found is None and "menu" in each.what
    assert beside(find(), "boot.cpu", MINIMAL) == []


@pytest.mark.parametrize("accel", [Accel.TCG, Accel.KVM])
def test_a_claim_of_times_is_ruled_under_its_accelerator_and_beside_what_is_alike(accel: Accel) -> None:
    """A claim confirmed by an emulator would be quoted as if it were true of hardware."""
    section = next(each for each in find_sections(find(accel=accel)) if each.id == "claims")
    smaller, faster = (
        line
        for line in render_section(section).replace("\\", "").splitlines()
        if line.startswith(("| smaller", "| faster"))
    )
    assert f"confirmed under {accel.value.upper()}" in faster
    assert "under" not in smaller.split("|")[5]
    assert "both compressed: 28.1 times" in smaller
    assert (
        "menu of five seconds included; against debian-12-direct, which is without it: "
        "13.7 times (12.3 to 15.2)" in faster
    )


def test_what_stands_beside_is_declared_and_there() -> None:
    """A row or a definition would name something that no run has, and its reader see nothing."""
    rows = {metric.name: metric for family in list_families() for metric in family.metrics}
    assert {row.name: row.like for row in rows.values() if row.like} == {"image.file": "image.zstd"}
    assert all(row.like in rows for row in rows.values() if row.like)
    catalogue = load_catalogue()
    waiting = {name: system.wait for name, system in catalogue.items() if system.wait}
    assert [*waiting] == [DEBIAN]
    for wait in waiting.values():
        assert wait.metric in rows and wait.without in catalogue


def test_the_seeds_compressed_size_is_judged_by_a_compressed_size() -> None:
    """A claim about a compressed download would be judged by a disk image that is not compressed."""
    claims = load_experiment("seed", load_catalogue()).claims
    assert [claim.metric for claim in claims if "compressed" in claim.text] == ["image.zstd"]
