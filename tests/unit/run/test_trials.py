"""What a worker is given for a trial."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from factories import make_image
from work_factories import make_work_header, make_work_kit, make_work_systems, trial_of

from guestbench import provision
from guestbench.errors import GuestbenchError, HostError, TrialError
from guestbench.families import list_families
from guestbench.model import Guest, Login, Platform, Say, Start, System
from guestbench.provision.snapshot import Snapshot
from guestbench.run import jobs as run
from guestbench.run.worker import tell_obstacle

WORKING = ("work", "net", "cross-check")
FLOOR, DEBIAN, APP, MIRAGE = make_work_systems()
KIT = make_work_kit()
PURPOSES = [purpose.name for family in list_families() for purpose in family.purposes]


@pytest.mark.parametrize("purpose", PURPOSES)
def test_only_trials_that_need_it_get_the_kit(purpose: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial of work would have no programs, or a timed boot would wait for files it does not need."""
    monkeypatch.setattr(run, "_find_state", lambda *_: None)
    header = make_work_header(make_work_systems(), KIT)
    job = run.make_job(trial_of("debian", purpose, "cpu"), header, Path())
    looking = {"image", "surface", "surface-image", "surface-boot"}
    needs = {*WORKING, *looking, "memory", "memory-min", "cost", "cost-of-work"}
    assert (job.kit is not None) == (purpose in needs)
    assert job.settings == header.experiment.settings


Asked = list[tuple[str, Path | None, float, int]]


@pytest.fixture
def snapshots(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """The snapshots that are asked for: system, tools disk, seconds of settling, and which of its boots."""
    asked: Asked = []

    def take(guest: Guest, platform: Platform, say: Say, start: Start) -> Snapshot:
        tools = Path(start.tools.path) if start.tools else None
        asked.append((guest.system.name, tools, start.settle_s, start.variant))
        return Snapshot(guest=guest, platform=platform, state=Path("/state"))

    monkeypatch.setattr(provision, "take_snapshot", take)
    return asked


@pytest.mark.parametrize(
    ("system", "purpose", "disk", "settle_s"),
    [
        (DEBIAN, "work", "kit.ext4", 10.0),
        (DEBIAN, "net", "kit.ext4", 10.0),
        (DEBIAN, "cross-check", "tools.ext4", 10.0),
        (DEBIAN, "boot", None, None),
        (DEBIAN, "memory", None, None),
        (DEBIAN, "surface", None, None),
        (msgspec.structs.replace(DEBIAN, login=Login(user="root")), "surface", "", 0.0),
        (APP, "work", None, None),
        (APP, "net", None, None),
        (MIRAGE, "work", None, None),
        (FLOOR, "boot", None, None),
    ],
)
def test_only_guests_with_a_shell_go_on_from_a_snapshot(
    system: System, purpose: str, disk: str | None, settle_s: float | None, snapshots: Asked
) -> None:
    """A boot would not be a boot, or each trial of work would boot a guest for a minute."""
    header = make_work_header([system], KIT)
    job = run.make_job(trial_of(system.name, purpose), header, Path())
    assert (job.resume is not None) == (disk is not None)
    if disk is not None:
        tools = Path(make_image(disk).path) if disk else None
        assert snapshots == [(system.name, tools, settle_s, 0)]


def test_cycles_of_work_take_turns_in_going_on_from_several_boots(snapshots: Asked) -> None:
    """What differs from boot to boot would not be seen, and equal guests be told apart by one boot each."""
    header = make_work_header([DEBIAN], KIT)
    for cycle in (1, 2, 3, 4):
        trial = msgspec.structs.replace(trial_of("debian", "work", "cpu"), cycle=cycle)
        run.make_job(trial, header, Path())
    assert [variant for *_, variant in snapshots] == [0, 1, 2, 0]


def test_a_guest_that_gets_no_snapshot_boots_in_its_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that does not get ready would stop the whole run."""

    def fail(*_: object, **__: object) -> Snapshot:
        raise TrialError("it did not get ready", "")

    monkeypatch.setattr(provision, "take_snapshot", fail)
    header = make_work_header(make_work_systems(), KIT)
    assert run.make_job(trial_of("debian", "work", "cpu"), header, Path()).resume is None


@pytest.mark.parametrize("error", [TrialError("it did not get ready", ""), HostError("QEMU refuses", "")])
def test_a_snapshot_that_fails_is_tried_once(error: GuestbenchError, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each trial of a guest that hangs would take a time-out more, for a snapshot that never comes."""
    tried = []

    def fail(guest: Guest, platform: Platform, say: Say, start: Start) -> Snapshot:
        tried.append((guest.system.name, start.variant))
        raise error

    monkeypatch.setattr(provision, "take_snapshot", fail)
    header, failed = (
        make_work_header(make_work_systems(), KIT),
        dict[tuple[str, Start | None], GuestbenchError](),
    )
    trials = [msgspec.structs.replace(trial_of("debian", "work", "cpu"), cycle=n) for n in range(1, 8)]
    jobs = [run.make_job(trial, header, Path(), (), failed) for trial in trials]
    # A snapshot for each of three boots, which may fail each for itself.
    assert [name for name, _ in tried] == ["debian"] * 3
    assert {variant for _, variant in tried} == {0, 1, 2}
    assert {job.obstacle for job in jobs} == {tell_obstacle(error) if error.exit_code == 3 else ""}


def test_no_state_is_kept_of_a_replayed_guest(snapshots: Asked) -> None:
    """A run on recordings would ask QEMU for a snapshot."""
    header = make_work_header(make_work_systems(), KIT)
    header = msgspec.structs.replace(header, platform=Platform(vmm="fake"))
    assert run.make_job(trial_of("debian", "work", "cpu"), header, Path()).resume is None
    assert snapshots == []
