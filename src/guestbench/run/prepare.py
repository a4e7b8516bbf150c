"""Turns a request into the header of a run: finds definitions and images, chooses the accelerator, plans.

Nothing is measured here, and nothing is written but images in the cache.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec

from guestbench import model, provision
from guestbench.definition.experiments import load_experiment
from guestbench.definition.settings import PLATFORM, find_family_tables
from guestbench.definition.systems import Catalogue, load_catalogue
from guestbench.definition.until import limit
from guestbench.errors import GuestbenchError, StoreError, UsageError
from guestbench.families import boot, find_hook, find_metrics, list_families
from guestbench.host import facts as host
from guestbench.host.accel import choose_accel, find_kvm_obstacle
from guestbench.provision.cache import scratch
from guestbench.run.guests import find_guests, find_systems, refuse_others
from guestbench.run.plan import plan_trials
from guestbench.run.pool import execute_in_workers
from guestbench.run.request import Request
from guestbench.run.times import recall_times
from guestbench.version import __version__
from guestbench.vmm import find_vmm

SEED_BITS = 32
Settings = TypeVar("Settings", bound=model.Frozen)


def prepare(request: Request, say: model.Say) -> model.Header:
    """Find out everything a run needs before its first trial.

    Raises:
        UsageError: the request or a definition has mistakes; nothing was started.
        ImageError: an image is missing or cannot boot.
        HostError: this host cannot make the run.
    """
    catalogue = load_catalogue()
    wanted_experiment = request.experiment
    if isinstance(wanted_experiment, str):
        wanted_experiment = load_experiment(wanted_experiment, catalogue)
    experiment = adjust(wanted_experiment, request)
    vmm = find_vmm(experiment.platform.vmm)
    vmm.check(experiment.platform)
    candidates = find_systems(experiment, catalogue, request)
    if request.until:
        named = candidates.items()
        check_until(experiment, [msgspec.structs.replace(each.system, name=name) for name, each in named])
    this_host = host.read_host(*vmm.identify())
    traits = vmm.TRAITS
    guests, absent = find_guests(candidates, request, catalogue, say, checked=not traits.replays)
    if request.images_of is not None:
        refuse_others(guests, request, request.images_of)
    guests, accel = _make_ready(guests, experiment, catalogue, this_host.digest, say)
    platform = msgspec.structs.replace(experiment.platform, accel=accel.used)
    seed = experiment.seed if experiment.seed is not None else secrets.randbits(SEED_BITS)
    now = datetime.now(UTC)
    header = model.Header(
        version=model.FORMAT_VERSION,
        run=request.run or name_run(now, experiment.name),
        created=now.isoformat(timespec="seconds"),
        tool=__version__,
        command=request.command,
        experiment=msgspec.structs.replace(experiment, seed=seed),
        guests=guests,
        absent=absent,
        platform=platform,
        accel=accel,
        host=this_host,
        load_1m=host.read_load(),
        memory_policy=host.read_memory_policy(),
        cpu_policy=host.read_cpu_policy(),
        metrics=(),
        trials=(),
        until=limit(request.until, experiment.cycles) if request.until else None,
        budget=_make_budget(request.budget_s, this_host.digest),
    )
    header = complete(msgspec.structs.replace(header, kit=_prepare_kit(header, say)))
    if not header.trials:
        asked = request.experiment if isinstance(request.experiment, str) else experiment.name
        names, families = (", ".join(each) for each in ((s.name for s in header.systems), experiment.metrics))
        raise UsageError(
            f"there is nothing to measure: {names} has nothing of {families}",
            f"guestbench run {shlex.quote(asked)} --metrics boot",
        )
    return header


def _make_budget(seconds: float | None, host_digest: str) -> model.Budget | None:
    return model.Budget(seconds=seconds, times=recall_times(host_digest)) if seconds else None


def _make_ready(
    guests: tuple[model.Guest, ...],
    experiment: model.Experiment,
    catalogue: Catalogue,
    host_digest: str,
    say: model.Say,
) -> tuple[tuple[model.Guest, ...], model.AccelChoice]:
    """The guests, marked where a disk is to be settled, and their accelerator; for files, none boots."""
    wanted = experiment.platform
    if not find_vmm(wanted.vmm).TRAITS.accelerates:
        wanted = msgspec.structs.replace(wanted, accel=model.Accel.TCG)
    if not _boots(experiment):
        used = model.Accel.KVM if wanted.accel is model.Accel.KVM else model.Accel.TCG
        return guests, model.AccelChoice(
            requested=wanted.accel, used=used, reason="nothing is booted in this run"
        )
    accel = choose_accel(wanted, find_witnesses(guests, catalogue), _boot_once(host_digest), say)
    return tuple(_mark(guest, wanted) for guest in guests), accel


def _mark(guest: model.Guest, platform: model.Platform) -> model.Guest:
    if not provision.needs_settling(guest, platform):
        return guest
    return msgspec.structs.replace(guest, origin=msgspec.structs.replace(guest.origin, settled=True))


def settle(header: model.Header, say: model.Say) -> model.Header:
    """The header with the disks of its guests settled now, for a run that cannot have that done meanwhile.

    Raises:
        TrialError: a guest did not get ready in its first boot, or did not power off.
    """
    if not _boots(header.experiment):
        return header
    guests = tuple(provision.settle(guest, header.platform, say) for guest in header.guests)
    return msgspec.structs.replace(header, guests=guests)


def _boots(experiment: model.Experiment) -> bool:
    """Whether anything is measured for which a guest is booted."""
    families = [family for family in list_families() if family.name in experiment.metrics]
    return any(purpose.boots for family in families for purpose in family.purposes)


def name_run(begun: datetime, experiment: str) -> str:
    """What a run of an experiment is called, which is also its folder's name."""
    return f"{begun:%Y%m%d-%H%M%S}-{experiment}"


def complete(header: model.Header) -> model.Header:
    """The header of a run of which all else is known, with its metrics, its trials and what they are for."""
    families = [family for family in list_families() if family.name in header.experiment.metrics]
    return msgspec.structs.replace(
        header,
        metrics=find_metrics(header.experiment.metrics, header.kit),
        purposes=tuple(purpose for family in families for purpose in family.purposes),
        trials=plan_trials(header),
    )


def _prepare_kit(header: model.Header, say: model.Say) -> model.Kit | None:
    """What the families need to give guests work; None where none of them does."""
    hooks = [find_hook(family, "plan", "find_needs") for family in header.experiment.metrics]
    found: list[model.Needs] = [needs for hook in hooks if hook and (needs := hook(header)) is not None]
    if not found:
        return None
    needs = model.Needs(
        workloads=tuple(dict.fromkeys(name for needs in found for name in needs.workloads)),
        checks=tuple(dict.fromkeys(name for needs in found for name in needs.checks)),
        tools=any(needs.tools or needs.checks for needs in found),
        plugin=any(needs.plugin for needs in found),
        inspector=any(needs.inspector for needs in found),
        programs=any(needs.programs for needs in found),
    )
    return provision.prepare_kit(needs, say)


def adjust(experiment: model.Experiment, request: Request) -> model.Experiment:
    """The experiment as the command line changes it.

    Raises:
        UsageError: the request names a metric family that does not exist, or a cap that its rule has no
            look before.
    """
    cycles = request.cycles
    if request.until:
        cycles = limit(request.until, cycles if cycles is not None else request.until.most).most
    given = request.settings
    platform = _replace(experiment.platform, **given.get(PLATFORM, {}))
    tables = {
        name: model.to_table(
            _replace(model.find_settings(experiment.settings, name, wanted), **given.get(name, {}))
        )
        for name, wanted in find_family_tables().items()
    }
    return _replace(
        experiment,
        cycles=cycles,
        warmups=request.warmups,
        seed=request.seed,
        metrics=_parse_families(request.metrics) or None,
        platform=_replace(platform, accel=request.accel),
        settings=tables,
    )


def check_until(experiment: model.Experiment, systems: Sequence[model.System]) -> None:
    """Refuse a rule in a run that has nothing to look at.

    Raises:
        UsageError: no system is compared, or no family that is measured has a metric that steers.
    """
    names = [system.name for system in systems if system.family is not model.GuestFamily.FLOOR]
    if experiment.baseline not in names or len(names) < 2:
        raise UsageError(
            "--until looks at the ratios of systems to the baseline, and this run has "
            + (f"no other than {experiment.baseline}" if experiment.baseline in names else "no baseline"),
            "guestbench run seed --until ci=3%  # an experiment with a baseline, and without --only-system",
        )
    steering = {metric.family for family in list_families() for metric in family.metrics if metric.steers}
    if not steering & {*experiment.metrics}:
        told = ",".join((*experiment.metrics, *sorted(steering)))
        raise UsageError(
            f"--until looks at figures of {' or '.join(sorted(steering))}, which is not to be measured",
            f"guestbench run --until ci=3% --metrics {told}",
        )


def _replace(settings: Settings, /, **changes: object) -> Settings:
    """The settings with those changes that are not None."""
    return msgspec.structs.replace(settings, **{k: v for k, v in changes.items() if v is not None})


def _parse_families(names: tuple[str, ...]) -> tuple[str, ...]:
    known = tuple(family.name for family in list_families())
    for name in names:
        if name not in known:
            raise UsageError(
                f"unknown metric family {name!r}; there are: {', '.join(known)}",
                f"guestbench run --metrics {','.join(known)}",
            )
    return tuple(family for family in known if family in names)


def find_witnesses(
    guests: tuple[model.Guest, ...], catalogue: Mapping[str, model.System]
) -> tuple[model.Guest, ...]:
    """The guests that show whether KVM works: those to be measured, and a Linux guest if none is among them.

    A broken KVM may boot a small unikernel and then hang under it. A Linux guest is added only if its image
    is there.
    """
    if any(guest.system.family is model.GuestFamily.LINUX for guest in guests):
        return guests
    linux = [system for system in catalogue.values() if system.family is model.GuestFamily.LINUX]
    # One without a disk is ready sooner.
    for system in sorted(linux, key=lambda system: model.Role.DISK in system.boot.roles):
        with contextlib.suppress(GuestbenchError):
            return (*guests, provision.locate(system, {}, catalogue))
    return guests


def _boot_once(host_digest: str) -> Callable[[model.Guest, model.Platform], model.Outcome]:
    def try_boot(guest: model.Guest, platform: model.Platform) -> model.Outcome:
        name = guest.system.name
        trial = model.Trial(
            id=f"try-{platform.accel}-{name}",
            system=name,
            purpose=boot.WARMUP.name,
            block=0,
            cycle=1,
            definition="",
        )
        with scratch("try") as folder:
            job = model.Job(
                trial=trial,
                family=boot.FAMILY.name,
                purpose=boot.WARMUP,
                guest=guest,
                platform=platform,
                host=host_digest,
                folder=str(folder),
                parent_pid=os.getpid(),
            )
            return next(execute_in_workers([job], 1, lambda: None)).outcome

    return try_boot


def try_kvm() -> tuple[bool, str]:
    """Whether KVM boots the guests whose images are here (the floor always is), and what was seen.

    Raises:
        HostError: the floor cannot be built, or QEMU not be started.
    """
    catalogue = load_catalogue()
    guests = []
    for system in catalogue.values():
        if system.family is model.GuestFamily.FLOOR:
            guests.append(provision.prepare(system, {}, catalogue, say=lambda _: None))
            continue
        with contextlib.suppress(GuestbenchError):
            guests.append(provision.locate(system, {}, catalogue))
    platform = model.Platform(accel=model.Accel.KVM)
    obstacle = find_kvm_obstacle(platform, guests, _boot_once("doctor"), lambda _: None)
    names = ", ".join(guest.system.name for guest in guests)
    return not obstacle, obstacle or f"these guests got ready: {names}"


def check_resumable(header: model.Header, folder: Path) -> None:
    """Refuse to go on with a run whose remaining trials would not be comparable with those it holds.

    Raises:
        StoreError: it began on another host, with another VMM, or another version of guestbench.
    """
    here = host.read_host(*find_vmm(header.platform.vmm).identify())
    again = "guestbench run -o DIR  # measure again, into a new folder"
    if header.version != model.FORMAT_VERSION:
        raise StoreError(
            f"{folder} was begun in format {header.version} of the store; a run goes on in format "
            f"{model.FORMAT_VERSION} only",
            again,
        )
    if header.tool != __version__:
        raise StoreError(
            f"{shlex.quote(str(folder))} was begun by guestbench {header.tool}; this is {__version__}", again
        )
    today = {row.name: row.method for row in find_metrics(header.experiment.metrics, header.kit)}
    if others := [row.name for row in header.metrics if row.method != today.get(row.name, row.method)]:
        raise StoreError(
            f"{shlex.quote(str(folder))} was begun when {', '.join(others)} was measured in another way",
            again,
        )
    if not header.hosts and header.host.digest != here.digest:
        theirs = (
            f"{header.host.cpu_model}, Linux {header.host.kernel}, {header.vmm} {header.host.vmm_version}"
        )
        raise StoreError(f"{folder} was begun on another host ({theirs})", again)
