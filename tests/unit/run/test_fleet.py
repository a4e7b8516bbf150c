"""A run on a fleet: the trials of any run, each once, whatever becomes of workers, and timed ones alone."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from fleets import Cluster, cluster, make_sleeping, sleeping, span
from replay import make_image
from silent_progress import SilentProgress

from guestbench.cli import cli as command_line
from guestbench.cli.run import go_on
from guestbench.cli.where import open_fleet
from guestbench.errors import GuestbenchError, HostError, ImageError, StoreError, UsageError
from guestbench.families import find_purpose
from guestbench.host import process
from guestbench.model import Header, Image, Ok, Origin, Record, Role
from guestbench.model.experiment import Platform
from guestbench.model.stopping import Goal, StopRule
from guestbench.run import remote
from guestbench.run.dispatch import TRIES
from guestbench.run.jobs import find_brief
from guestbench.run.plan import list_tasks
from guestbench.run.store import create_store, read_all, reopen_store
from guestbench.run.trials import make_trials

pytest.importorskip("distributed")
fleet = pytest.importorskip("guestbench.run.fleet")

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module", autouse=True)
def sleeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The VMM whose machines sleep."""
    with sleeping(tmp_path_factory.mktemp("sleeper")):
        yield


@pytest.fixture(scope="module")
def hosts() -> Iterator[Cluster]:
    """A host with one worker and one with two, each of one core."""
    with cluster({"x": 1, "y": 2}) as found:
        yield found


def run_on(address: str, header: Header, folder: Path) -> tuple[Header, tuple[Record, ...]]:
    """Make a run on a fleet, or go on with it."""
    with fleet.open_fleet(address, lambda _: None) as pool:
        if (folder / "store.jsonl").exists():
            with reopen_store(folder) as (store, header, done):
                header = pool.admit(header)
                return header, make_trials(store, header, done, SilentProgress(), pool)
        header = pool.admit(header)
        with create_store(folder, header) as store:
            return header, make_trials(store, header, (), SilentProgress(), pool)


def check_whole(header: Header, folder: Path) -> tuple[Record, ...]:
    """Every trial of the plan is in the store, once, and did what it was for."""
    _, records = read_all(folder)
    assert sorted(r.trial.id for r in records) == sorted(t.id for t in header.trials)
    assert {type(r.outcome) for r in records} == {Ok}, [r.outcome for r in records]
    return records


def test_a_fleet_makes_the_trials_of_a_run_and_timed_ones_alone(hosts: Cluster, tmp_path: Path) -> None:
    """Boots would be timed beside others, or a block be torn between hosts that are not equally fast."""
    header = make_sleeping(tmp_path, 0.1, cycles=4, metrics=("boot", "cost"))
    header, made = run_on(hosts.address, header, tmp_path / "run")
    records = check_whole(header, tmp_path / "run")
    assert sorted(r.trial.id for r in made) == sorted(r.trial.id for r in records)
    assert len(header.hosts) == 2 and {r.host for r in records} == {host.digest for host in header.hosts}
    blocks = {(r.trial.block, r.host) for r in records if r.trial.block}
    assert len(blocks) == 4
    for record in (r for r in records if r.trial.purpose == "boot"):
        console = (tmp_path / "run" / record.artifacts["serial"]).read_bytes()
        assert console == f"Powered by{record.trial.system}[init done]".encode()
    timed = [r for r in records if find_purpose(r.trial.purpose).timed]
    assert len(timed) == 16
    for one, other in itertools.product(timed, records):
        if one is not other and one.host == other.host:
            assert span(one)[1] <= span(other)[0] or span(other)[1] <= span(one)[0], (one, other)


def test_a_lost_workers_block_is_made_again_as_a_whole(hosts: Cluster, tmp_path: Path) -> None:
    """Trials would be lost with their worker, or half of a block be measured on another host."""
    header = make_sleeping(tmp_path, 0.6, cycles=2)
    victims = hosts.pids()

    def kill(pool: Any) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not any(a.records for a in tuple(pool.attempts.values())):
            time.sleep(0.02)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)

    with fleet.open_fleet(hosts.address, lambda _: None) as pool:
        killer = threading.Thread(target=kill, args=(pool,))
        header = pool.admit(header)
        with create_store(tmp_path / "run", header) as store:
            killer.start()
            make_trials(store, header, (), SilentProgress(), pool)
        killer.join()
    records = check_whole(header, tmp_path / "run")
    assert len({(r.trial.block, r.host) for r in records}) == 2
    tries = [json.loads(line) for line in (tmp_path / "run" / TRIES).read_text().splitlines()]
    assert tries and all(len(each["trials"]) == 4 for each in tries)
    assert any(each["records"] for each in tries)
    assert all(len(each["records"]) < 4 for each in tries)


def test_an_interrupted_run_goes_on_with_its_own_hosts(hosts: Cluster, tmp_path: Path) -> None:
    """After the scheduler was lost, trials would be made twice, or on hosts that the run does not know."""
    header = make_sleeping(tmp_path, 0.0, cycles=2)
    header, records = run_on(hosts.address, header, tmp_path / "whole")
    half = [r for r in records if r.trial.block == 1][:2]
    with create_store(tmp_path / "run", header) as store:
        store.append(*half)
    again, _ = run_on(hosts.address, header, tmp_path / "run")
    made = check_whole(header, tmp_path / "run")
    assert again == header
    assert {r.host for r in made if r.trial.block == 1} == {half[0].host}
    other = msgspec.structs.replace(header.host, digest="other")
    foreign = msgspec.structs.replace(header, host=other, hosts=(other,))
    said: list[str] = []
    with (
        fleet.open_fleet(hosts.address, said.append) as pool,
        pytest.raises(HostError, match="no worker of tcp"),
    ):
        pool.admit(foreign)
    assert len(said) == 3 and all("none of those that the run began with" in each for each in said)


def test_a_host_that_cannot_boot_the_null_guest_is_left_out_and_named(hosts: Cluster, tmp_path: Path) -> None:
    """A broken host would fill a quarter of the results with failures."""
    header = make_sleeping(tmp_path, 0.0)
    image = header.guests[0].images[Role.KERNEL]
    Path(image.path).write_bytes(b"nothing that gets ready")
    Path(image.path).with_suffix(".timing").unlink()
    broken = make_image(Path(image.path))
    floor = msgspec.structs.replace(
        header.guests[0], images={Role.KERNEL: broken}, pristine={Role.KERNEL: broken}
    )
    header = msgspec.structs.replace(header, guests=(floor, *header.guests[1:]))
    said: list[str] = []
    with fleet.open_fleet(hosts.address, said.append) as pool, pytest.raises(HostError):
        pool.admit(header)
    assert len(said) == 3 and all("leaving out the worker at tcp://127.0.0.1" in each for each in said)
    assert all("floor does not get ready there" in each for each in said)


def test_a_rule_that_looks_at_one_hosts_blocks_is_refused_for_several(hosts: Cluster, tmp_path: Path) -> None:
    """A run would end when blocks of unlike hosts happen to agree."""
    rule = StopRule(goal=Goal.CI, looks=(10,), most=20, alpha=0.05, width=0.03)
    header = msgspec.structs.replace(make_sleeping(tmp_path, 0.0), until=rule)
    with (
        fleet.open_fleet(hosts.address, lambda _: None) as pool,
        pytest.raises(UsageError, match="one host"),
    ):
        pool.admit(header)


@pytest.mark.parametrize(
    ("address", "insecure", "well"),
    [
        ("tcp://127.0.0.1:8786", False, True),
        ("tcp://localhost:8786", False, True),
        ("tcp://[::1]:8786", False, True),
        ("tls://198.51.100.7:8786", False, True),
        ("tcp://198.51.100.7:8786", False, False),
        ("tcp://198.51.100.7:8786", True, True),
        ("tcp://localhost.example.net:8786", False, False),
        ("tcp://0.0.0.0:8786", False, False),
        ("ws://127.0.0.1:8786", True, False),
        ("tcp://", True, False),
    ],
)
def test_what_others_could_talk_to_is_refused(address: str, insecure: bool, well: bool) -> None:
    """Whoever is on the same network could run programs as the user."""
    if well:
        fleet._check_address(address, insecure)
        return
    with pytest.raises(UsageError) as refused:
        fleet._check_address(address, insecure)
    assert refused.value.hint.startswith("guestbench run --on t")


@pytest.mark.parametrize(
    "on", ["local:0", "local:", "local:x", "local:9999", "missing.json", "nonsense.json", "tcp://127.0.0.1:1"]
)
def test_where_no_fleet_is_one_line_says_so(on: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip in `--on` would end in a traceback of Dask's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fleet, "CONNECT_S", 1.0)
    Path("nonsense.json").write_text("[]")
    with pytest.raises(GuestbenchError) as refused, fleet.open_fleet(on, lambda _: None):
        pass
    assert "\n" not in refused.value.message and refused.value.hint.startswith(("guestbench", "dask"))


def test_the_doctor_asks_every_worker(hosts: Cluster) -> None:
    """A host without QEMU would be found out by a run of a night."""
    done = CliRunner().invoke(command_line, ["doctor", "--on", hosts.address, "--json"])
    found = json.loads(done.stdout)
    assert len(found) == 3 and all(worker.startswith("tcp://127.0.0.1:") for worker in found)
    for checks in found.values():
        assert [check["name"] for check in checks][:2] == ["resource core", "Dask's profile"]
        assert [check["status"] for check in checks][:2] == ["ok", "ok"]
        assert len(checks) > 5


def test_a_run_goes_on_where_it_was_begun(tmp_path: Path) -> None:
    """Half of a fleet's blocks would be made on whichever machine one sits at."""
    header = make_sleeping(tmp_path, 0.0)
    begun = msgspec.structs.replace(header, hosts=(header.host,))
    with create_store(tmp_path / "fleet", begun):
        pass
    with pytest.raises(StoreError, match="was begun on a fleet") as refused:
        go_on(tmp_path / "fleet")
    assert "--on" in refused.value.hint


def test_without_dask_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever tries --on first would see a traceback about a module."""
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "guestbench.run.fleet")
    monkeypatch.delattr("guestbench.run.fleet")
    with pytest.raises(HostError, match="needs Dask") as refused, open_fleet("local:2", False):
        pass
    assert refused.value.hint == "pip install 'guestbench[fleet]'"


def test_the_script_starts_a_fleet_and_ends_it(tmp_path: Path) -> None:
    """The first steps of the page would lead nowhere, or leave processes behind."""
    file = tmp_path / "fleet.json"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with (
        (tmp_path / "log").open("wb") as log,
        process.start(
            ["sh", ROOT / "examples" / "fleet.sh", "1", file],
            env={"PATH": path},
            stdout=log,
            stderr=log,
            grace_s=30,
        ) as script,
    ):
        deadline = time.monotonic() + 60
        while not file.exists() or not file.stat().st_size:
            assert script.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.1)
        with fleet.open_fleet(str(file), lambda _: None) as pool:
            while not (workers := pool._list_workers()):
                assert time.monotonic() < deadline, (tmp_path / "log").read_text()
                time.sleep(0.1)
            (worker,) = workers.values()
            assert worker["resources"] == {"core": 1} and worker["nthreads"] == 1
            said = pool._ask(next(iter(workers)), remote.Describe(platform=Platform(vmm="fake")))
            assert not said.profiled
    assert not file.exists()


# --- what a host does, asked directly ------------------------------------------------------------------


def ask(question: remote.Question) -> remote.Answer:
    """Ask as a fleet does, through JSON."""
    decoded = msgspec.json.decode(msgspec.json.encode(question), type=remote.Question)
    return remote.answer(decoded, profiled=False, tell=lambda _: None, tick=lambda: None)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Header, dict[str, bytes]]:
    """A run whose files are on another host, and what is in these."""
    header = make_sleeping(tmp_path / "there", 0.0)
    contents = {}
    for guest in header.guests:
        image = guest.images[Role.KERNEL]
        contents[image.sha256] = Path(image.path).read_bytes()
        Path(image.path).unlink()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return header, contents


def test_files_travel_by_their_digest(elsewhere: tuple[Header, dict[str, bytes]]) -> None:
    """A host would boot another image of the same name, or ask for a gigabyte before every trial."""
    header, contents = elsewhere
    wanted = ask(remote.Want(header=header))
    assert isinstance(wanted, remote.Wanted)
    assert {image.sha256 for image in wanted.images} == set(contents)
    for image in wanted.images:
        data = contents[image.sha256]
        for offset in range(0, len(data), 7):
            piece = remote.Piece(image=image, offset=offset, data=data[offset : offset + 7], token="a1")
            assert isinstance(ask(piece), remote.Wanted)
    assert ask(remote.Want(header=header)) == remote.Wanted(images=())
    here = remote.localise(header)
    for guest, before in zip(here.guests, header.guests, strict=True):
        image, sent = guest.images[Role.KERNEL], before.images[Role.KERNEL]
        assert image.sha256 == sent.sha256 and image.path != sent.path
        assert Path(image.path).read_bytes() == contents[image.sha256]


def test_a_file_that_is_another_is_an_error_that_names_both(
    elsewhere: tuple[Header, dict[str, bytes]],
) -> None:
    """A file that was damaged on its way would be measured as if it were the image."""
    header, contents = elsewhere
    image = header.guests[0].images[Role.KERNEL]
    wrong = bytes(len(contents[image.sha256]))
    failed = ask(remote.Piece(image=image, offset=0, data=wrong, token="a1"))
    assert isinstance(failed, remote.Failed) and failed.exit_code == ImageError.exit_code
    assert image.sha256 in failed.message
    assert (
        failed.message.count("digest") == 1 and len([w for w in failed.message.split() if len(w) >= 64]) >= 2
    )
    wanted = ask(remote.Want(header=header))
    assert isinstance(wanted, remote.Wanted) and image in wanted.images
    missing = ask(remote.Make(header=header, trials=header.trials[:1], briefs={}, timed=True))
    assert isinstance(missing, remote.Failed) and "was not sent" in missing.message


@pytest.mark.parametrize("digest", ["../../../../etc/x", "0" * 63, "", "blocks:../x"])
def test_a_digest_that_is_none_names_no_file(digest: str, elsewhere: tuple[Header, dict[str, bytes]]) -> None:
    """A question could have a file written anywhere."""
    image = Image(path="/x/y", size_bytes=1, mtime_ns=0, sha256=digest)
    failed = ask(remote.Piece(image=image, offset=0, data=b"x", token="../a"))
    assert isinstance(failed, remote.Failed) and "is no digest" in failed.message


def test_a_settled_disk_lies_on_the_base_that_was_sent(
    tmp_path: Path, elsewhere: tuple[Header, dict[str, bytes]]
) -> None:
    """On another host the overlay of a Debian guest would name a file that is not there."""
    there = tmp_path / "there"
    base, layer = there / "base.qcow2", there / "layer.qcow2"
    process.run(["qemu-img", "create", "-q", "-f", "qcow2", base, "1M"])
    process.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", layer])
    header, _ = elsewhere
    pristine, settled = make_image(base), make_image(layer)
    guest = msgspec.structs.replace(
        header.guests[0],
        pristine={Role.DISK: pristine},
        images={Role.DISK: settled},
        origin=Origin(kind="built", detail="", settled=True),
    )
    header = msgspec.structs.replace(header, guests=(guest,))
    for image in (pristine, settled):
        data = Path(image.path).read_bytes()
        Path(image.path).unlink()
        ask(remote.Piece(image=image, offset=0, data=data, token="b2"))
    (here,) = remote.localise(header).guests
    process.run(["qemu-img", "check", "-q", here.images[Role.DISK].path])
    told = json.loads(process.run(["qemu-img", "info", "--output=json", here.images[Role.DISK].path]).stdout)
    assert told["backing-filename"] == here.pristine[Role.DISK].path != str(base)
    assert here.images[Role.DISK].sha256 == settled.sha256
    assert remote.localise(header).guests == (here,)


def test_whoever_times_waits_until_a_host_is_idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two fleets on one host, or a worker that was thought lost, would disturb what is timed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    order: list[str] = []

    def be_there(alone: bool, name: str, begun: threading.Event) -> None:
        with remote._host_lock(alone, lambda: None):
            begun.set()
            order.append(f"{name} in")
            time.sleep(0.3)
            order.append(f"{name} out")

    threads = []
    for alone, name in ((False, "a"), (False, "b"), (True, "timed"), (False, "c")):
        begun = threading.Event()
        threads.append(threading.Thread(target=be_there, args=(alone, name, begun)))
        threads[-1].start()
        begun.wait(0.2)
    for thread in threads:
        thread.join()
    at = order.index("timed in")
    assert order[at + 1] == "timed out"
    assert set(order[:at]) >= {"a in", "a out", "b in", "b out"}


def test_nobody_waits_for_a_host_in_vain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker would wait for its host for ever after Ctrl-C."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def give_up() -> None:
        raise remote.Cancelled

    with (
        remote._host_lock(True, lambda: None),
        pytest.raises(remote.Cancelled),
        remote._host_lock(False, give_up),
    ):
        pass


def test_a_host_says_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of one host would count as hosts, or hosts as one."""
    remote.read_host.cache_clear()
    one, again = remote.read_host("fake"), remote.read_host.__wrapped__("fake")
    monkeypatch.setenv(remote.HOST_NAME, "other")
    other = remote.read_host.__wrapped__("fake")
    assert one == again and one.digest != other.digest
    said = ask(remote.Describe(platform=Platform(vmm="fake")))
    assert isinstance(said, remote.Described) and said.host == one and said.slots >= 1


def test_tasks_are_whole_rounds_and_what_is_left_of_them(tmp_path: Path) -> None:
    """A block would be shared out over hosts, or a search wait for one of them."""
    header = make_sleeping(tmp_path, 0.0, cycles=2, metrics=("boot", "cost", "memory"))
    tasks = list(list_tasks(header.trials, ()))
    assert [trial.id for task in tasks for trial in task.trials] == [t.id for t in header.trials]
    blocks = [task for task in tasks if task.trials[0].block]
    assert [len(task.trials) for task in blocks] == [4, 4] and all(task.timed for task in blocks)
    costs = [task for task in tasks if task.trials[0].purpose == "cost"]
    assert costs and all(len(task.trials) == 1 and not task.timed for task in costs)
    assert find_brief(header.trials[0], header, ()) == {}
