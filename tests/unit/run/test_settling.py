"""Disks that are booted once before they are measured: beside other trials, and only for those that boot."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from factories import make_image
from work_factories import make_work_header, make_work_kit, make_work_systems, trial_of, work_record

from guestbench import provision
from guestbench.analysis.quality import find_mismatches, find_settled
from guestbench.errors import GuestbenchError, HostError, TrialError
from guestbench.model import READY, Disk, Guest, Header, Job, Mark, Platform, Provision, Role, Start, State
from guestbench.page.blocks import Code
from guestbench.provision.snapshot import Snapshot
from guestbench.report.setting import SETTLED, _list_images
from guestbench.run import jobs, pool, state
from guestbench.run.jobs import Failed

FLOOR, DEBIAN, *_ = make_work_systems()
KIT = make_work_kit()
LAYER = make_image("settled", 7)


@pytest.fixture
def header() -> Header:
    """Two systems that share a disk which is to be settled, and the floor."""
    owner = msgspec.structs.replace(DEBIAN, boot=Disk(), provision=Provision(settle=True))
    other = msgspec.structs.replace(owner, name="direct", provision=Provision(share=owner.name))
    header = make_work_header([owner, other, FLOOR], KIT)
    disk = {Role.DISK: make_image("debian", 9)}

    def give(guest: Guest) -> Guest:
        if guest.system.name == FLOOR.name:
            return guest
        origin = msgspec.structs.replace(guest.origin, settled=True)
        return msgspec.structs.replace(guest, images=disk, pristine=disk, origin=origin)

    return msgspec.structs.replace(header, guests=tuple(map(give, header.guests)))


def settle(guest: Guest, *_: object) -> Guest:
    """As it comes back when its disk has been booted."""
    return msgspec.structs.replace(guest, images={Role.DISK: LAYER})


def test_only_what_is_booted_needs_a_settled_disk(header: Header, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first figures would come a minute later; or a first boot be measured among the others."""
    monkeypatch.setattr(provision, "settle", settle)
    needed = {
        purpose: [each.asked for each in jobs.list_needed(trial_of("debian", purpose), header, Path())]
        for purpose in ("image", "first-boot", "boot", "memory")
    }
    there = (header.find_guest("debian").pristine[Role.DISK].path, None)
    assert needed == {"image": [], "first-boot": [], "boot": [there], "memory": [there]}
    assert list(jobs.list_needed(trial_of(FLOOR.name, "boot"), header, Path())) == []
    for purpose, booted in (("boot", LAYER), ("image", header.find_guest("debian").pristine[Role.DISK])):
        job = jobs.make_job(trial_of("debian", purpose), header, Path())
        assert job.guest.images[Role.DISK] == booted


def test_guests_that_share_a_disk_have_it_settled_once_and_before_their_snapshots(
    header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two would boot it side by side, one for nothing; or a snapshot wait for it and keep a core busy."""
    monkeypatch.setattr(
        provision, "find_settled", lambda guest, _: guest if guest.images != guest.pristine else None
    )
    asked = [trial_of(name, "work", "cpu") for name in ("debian", "direct")]
    states = list(jobs.list_states(asked, header, Path(), {}))
    assert [each.start is None for each in states] == [True, False, False]
    run = pool.Made(header, Path(), [], {}, lambda _: None, lambda: None)
    queue = pool._Queue(list(reversed(states)), (), run, 3)
    assert next(queue) == states[0]
    assert next(queue, None) is None
    queue.take(pool.StateMade(states[0], None))
    assert sorted(each.guest.system.name for each in queue if isinstance(each, State)) == ["debian", "direct"]


def test_disks_are_settled_first_and_what_needs_no_boot_comes_before_snapshots(
    header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The size of an image would be known when several guests have booted."""
    monkeypatch.setattr(provision, "find_settled", lambda *_: None)
    monkeypatch.setattr(provision, "settle", settle)
    monkeypatch.setattr(
        provision, "take_snapshot", lambda guest, *_: Snapshot(guest, header.platform, Path())
    )
    trials = [trial_of("debian", "work", "cpu"), trial_of(FLOOR.name, "boot"), trial_of("debian", "image")]
    states = list(jobs.list_states(trials, header, Path(), {}))
    queue = pool._Queue(
        list(reversed(states)), trials, pool.Made(header, Path(), [], {}, *[lambda *_: None] * 2), 4
    )
    assert next(queue) == states[0]
    image = next(queue)
    assert isinstance(image, Job) and image.trial == trials[2]
    floor = next(queue)
    assert isinstance(floor, Job) and floor.trial == trials[1]
    queue.take(pool.StateMade(states[0], None))
    assert next(queue) == states[1]
    assert next(queue, None) is None


def test_guests_that_idle_are_looked_at_beside_those_that_work(
    header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A core would stand still for the 10 s after which a unikernel counts as idle."""
    monkeypatch.setattr(provision, "find_settled", lambda guest, _: guest)
    monkeypatch.setattr(provision, "settle", settle)
    ready = {"debian": 40.0, FLOOR.name: 0.2}
    records = [
        msgspec.structs.replace(work_record(name), marks=(Mark(name=READY, t_ns=round(seconds * 1e9)),))
        for name, seconds in ready.items()
    ]
    run = pool.Made(header, Path(), records, {}, lambda _: None, lambda: None)
    asked = (
        ("debian", "memory"),
        ("debian", "surface"),
        (FLOOR.name, "cost"),
        (FLOOR.name, "memory", "load"),
        (FLOOR.name, "surface"),
        (FLOOR.name, "memory"),
    )
    trials = [msgspec.structs.replace(trial_of(*each), id=str(number)) for number, each in enumerate(asked)]
    queue = pool._Queue((), trials, run, 1)
    begun = [job.trial for job in queue if isinstance(job, Job)]
    assert begun == [trials[0], trials[4], trials[5]]
    queue.take(msgspec.structs.replace(records[0], trial=trials[4]))
    assert next(queue, None) is None
    queue.take(msgspec.structs.replace(records[0], trial=trials[0]))
    following = next(queue)
    assert isinstance(following, Job) and following.trial == trials[1]
    # Nothing is known yet of a guest at the begin of a run.
    unknown = pool._Queue((), trials[4:], run._replace(records=[]), 1)
    assert [job.trial for job in unknown if isinstance(job, Job)] == [trials[4]]


def test_a_disk_settles_beside_trials_that_need_none(header: Header, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at image files would keep one core busy, and the other wait for it."""
    monkeypatch.setattr(provision, "find_settled", lambda *_: None)
    trials = tuple(trial_of("debian", each) for each in ("image", "boot"))
    header = msgspec.structs.replace(header, trials=(*trials, trial_of("debian", "work", "cpu")))
    run = pool.Made(header, Path(), [], {}, *[lambda *_: None] * 2)
    for given, timed, starts in ((0, False, [None]), (0, True, []), (1, True, [None, "work"])):
        states = pool._list_states_ahead(trials[given : given + 1], run, timed=timed)
        assert [each.start and "work" for each in states] == starts


@pytest.mark.parametrize("error", [TrialError("it did not get ready", "look"), HostError("no room", "df -h")])
def test_a_disk_that_cannot_be_settled_keeps_only_its_guests_from_being_measured(
    header: Header, monkeypatch: pytest.MonkeyPatch, error: GuestbenchError
) -> None:
    """One image that hangs would take the figures of all others with it, after as many waits as trials."""
    tried: list[str] = []

    def fail(guest: Guest, *_: object) -> Guest:
        tried.append(guest.system.name)
        raise error

    monkeypatch.setattr(provision, "settle", fail)
    monkeypatch.setattr(provision, "find_settled", lambda *_: None)
    failed: Failed = {}
    wanted = [trial_of(name, "work", "cpu") for name in ("debian", "direct")]
    states = list(jobs.list_states(wanted, header, Path(), failed))
    obstacles = {jobs.make_job(trial, header, Path(), (), failed).obstacle for trial in wanted}
    assert obstacles == {f"{error.message} (mended by: {error.hint})"}
    assert tried == ["debian"]
    assert not jobs.make_job(trial_of(FLOOR.name, "boot"), header, Path(), (), failed).obstacle
    # Snapshots that would need it are not tried either, whether they are asked for now or wait already.
    assert list(jobs.list_states(wanted, header, Path(), failed)) == []
    queue = pool._Queue(
        states[1:], wanted, pool.Made(header, Path(), [], failed, lambda _: None, lambda: None), 2
    )
    assert [next(queue).guest.system.name for _ in wanted] == ["debian", "direct"]
    assert queue.under_way == set()


def test_a_state_of_a_disk_is_there_when_it_is_settled(
    header: Header, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot of the pristine disk would be taken for one of the settled."""
    seen: list[Guest] = []

    def has_snapshot(guest: Guest, _: Platform, __: Start) -> bool:
        seen.append(guest)
        return True

    monkeypatch.setattr(provision, "has_snapshot", has_snapshot)
    guest = header.find_guest("debian")
    for start, settled, there in (
        (None, False, False),
        (None, True, True),
        (Start(), False, False),
        (Start(), True, True),
    ):
        monkeypatch.setattr(
            provision, "find_settled", lambda guest, _, settled=settled: settle(guest) if settled else None
        )
        wanted = State(guest=guest, platform=header.platform, start=start, folder="", parent_pid=os.getpid())
        assert state.is_there(wanted) == there
    assert [each.images for each in seen] == [{Role.DISK: LAYER}]


def test_records_tell_which_disk_was_booted(header: Header) -> None:
    """A layer that was made anew in the middle of a run would pass for the one that it began with."""
    pristine = header.find_guest("debian").pristine[Role.DISK].sha256
    made = [work_record("debian", workload="cpu", cycle=n) for n in (1, 2, 3)]
    first, second, third = (
        msgspec.structs.replace(record, images={Role.DISK: digest})
        for record, digest in zip(made, (pristine, LAYER.sha256, "another"), strict=True)
    )
    guest = header.find_guest("debian")
    assert find_settled(guest, [first]) == {}
    assert find_settled(guest, [first, second]) == {Role.DISK: LAYER.sha256}
    assert find_settled(settle(guest), [first, second]) == {}
    own = msgspec.structs.replace(
        header, tool=first.tool, host=msgspec.structs.replace(header.host, digest=first.host)
    )
    assert find_mismatches(own, [first, second]) == ()
    (told,) = find_mismatches(own, [first, second, third])
    assert told.startswith("1 records of debian carry other image digests")
    unsettled = msgspec.structs.replace(guest, origin=msgspec.structs.replace(guest.origin, settled=False))
    assert find_settled(unsettled, [second]) == {}


def test_a_report_names_the_disk_that_was_booted(header: Header) -> None:
    """A reader would take the pristine image for what the boots were made of."""
    disk = header.find_guest("debian")
    booted = _list_images(disk, {Role.DISK: LAYER.sha256})
    assert [(row[2], str(row[4])) for row in booted] == [
        ("as provisioned", str(Code(disk.pristine[Role.DISK].sha256))),
        (SETTLED, str(Code(LAYER.sha256))),
    ]
    # As in the header of a fleet's run, which has the disk itself.
    (_, kept) = _list_images(settle(disk), {})
    assert (kept[2], str(kept[4])) == (SETTLED, str(Code(LAYER.sha256)))
    (only,) = _list_images(disk, {})
    assert only[2] == "booted"
