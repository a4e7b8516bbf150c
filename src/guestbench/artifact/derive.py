"""Makes everything in an artifact that follows from its parts; packing and checking both call this alone."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from guestbench.analysis.analyse import analyse
from guestbench.artifact.archive import Member
from guestbench.artifact.definitions import GUESTS, write_experiment, write_system
from guestbench.artifact.page import render_page
from guestbench.artifact.parts import RUN, Parts, write_json
from guestbench.artifact.summary import FEWER, SUMMARY_VERSION, How, Image, Spent, Summary, Times
from guestbench.data import find_claims
from guestbench.definition.until import show_until
from guestbench.model import Guest, Record
from guestbench.report import SCRIPT_NAME, render_reports
from guestbench.report.contents import compose
from guestbench.report.profile.section import read_profiles
from guestbench.report.reproduce import begin_script, comment
from guestbench.run.store import showing

SUMMARY, PAGE, SUMS, EXPERIMENT = "artifact.json", "README.md", "SHA256SUMS", "experiment.toml"
PAUSE_S = 600.0
"""A longer time between two trials is one in which the run stood still."""

HEAD = """\
#!/bin/sh
# Makes a run of guestbench again: the same experiment, with images that must be the same files.
#   sh reproduce.sh [-o DIR] [--system NAME=PATH] [other options of guestbench run]
# OTHER_IMAGES=yes before it lets in other images, which makes another experiment.
set -eu
"""


def derive(parts: Parts) -> dict[str, Member]:
    """All other files of an artifact by their paths.

    Raises:
        StoreError: what the run's store holds does not fit together.
    """
    header = parts.header
    with showing(parts.folder):
        contents = compose(analyse(header, parts.records), read_profiles(parts.folder))
        summary = Summary(
            version=SUMMARY_VERSION,
            run=header.run,
            title=header.experiment.title,
            created=header.created,
            tool=header.tool,
            environment=parts.environment,
            host=header.host,
            vmm=header.vmm,
            accel=header.accel,
            images=tuple(_find_images(parts)),
            claims=tuple(find_claims(contents.found)),
            times=find_times(parts.records),
            missing=parts.missing,
        )
        made = {f"{RUN}/{name}": Member(data) for name, data in render_reports(contents).items()}
    made[EXPERIMENT] = Member(write_experiment(header, parts.strangers))
    for guest in (each for each in header.guests if each.system.name in parts.strangers):
        path, data = write_system(guest, sources=parts.is_built(guest))
        made[path] = Member(data)
    made[SCRIPT_NAME] = Member(render_script(parts).encode(), program=True)
    made[SUMMARY] = Member(write_json(summary))
    made[PAGE] = Member(render_page(contents, summary, parts).encode())
    made[SUMS] = Member(_sum_up({**parts.kept, **made}))
    return made


def render_script(parts: Parts) -> str:
    """The script that makes the run again, wherever it lies."""
    header = parts.header
    lines = [HEAD, *begin_script(header), 'here=$(dirname "$0")\n']
    for guest in header.guests:
        how, word = find_how(guest, parts)
        for role, image in guest.pristine.items():
            lines.append(f"# {guest.system.name}, {role}: {comment(image.sha256)}\n")
        if how in (How.BUILT, How.FETCHED):
            name = guest.system.name
            lines.append(
                f"case \"$*\" in *'--system {name}='* | *'--system={name}='*) ;; "
                f"*) guestbench systems {word} ;; esac\n"
            )
    until = shlex.join(show_until(header.until)) + " " if header.until else ""
    lines.append(f'\ntest -n "${{OTHER_IMAGES:-}}" || set -- --images-of "$here/{RUN}" "$@"\n')
    lines.append(f'exec guestbench run "$here/{EXPERIMENT}" {until}"$@"\n')
    return "".join(lines)


def find_how(guest: Guest, parts: Parts) -> tuple[How, str]:
    """How the images of a guest can be come by, and what is to be typed for it, if anything, in a script."""
    system = guest.system
    name = f'"$here/{GUESTS}/{system.name}"' if system.name in parts.strangers else system.name
    if guest.origin.kind == "fetched" and system.provision.fetch:
        return How.FETCHED, f"fetch {name}"
    if guest.origin.kind == "shared" and system.provision.share:
        return How.SHARED, ""
    if guest.origin.kind == "built" and parts.is_built(guest):
        # A run builds by itself what it can, unless there is another way, or it takes to be asked.
        asked = system.provision.on_request or system.provision.fetch
        return (How.BUILT, f"build {name}") if asked else (How.BUILT_BY_RUN, "")
    return How.GIVEN, ""


def _find_images(parts: Parts) -> Iterator[Image]:
    for guest in parts.header.guests:
        how, _ = find_how(guest, parts)
        for role, image in guest.pristine.items():
            yield Image(
                system=guest.system.name,
                role=role,
                sha256=image.sha256,
                size_bytes=image.size_bytes,
                origin=guest.origin.kind,
                detail=guest.origin.detail,
                how=how,
            )


def find_times(records: Sequence[Record]) -> Times:
    """What the trials of a run took; the time between them counts, unless the run stood still."""
    begins = [datetime.fromisoformat(record.started).timestamp() for record in records]
    walls = [record.wall_ns / 1e9 for record in records]
    elapsed = paused = 0.0
    last = min(begins, default=0.0)
    for begin, wall in sorted(zip(begins, walls, strict=True)):
        gap = max(begin - last, 0.0)
        paused += gap if gap > PAUSE_S else 0.0
        elapsed += (gap if gap <= PAUSE_S else 0.0) + max(begin + wall - max(begin, last), 0.0)
        last = max(last, begin + wall)
    trials: dict[str, list[float]] = {}
    spared = 0.0
    for record, wall in zip(records, walls, strict=True):
        trials.setdefault(record.trial.purpose, []).append(wall)
        spared += wall if record.trial.block > FEWER else 0.0
    return Times(
        elapsed_s=round(elapsed, 3),
        paused_s=round(paused, 3),
        # What lies between trials is in proportion to them.
        fewer_s=round(elapsed * (1 - spared / sum(walls)), 3) if spared else None,
        trials=tuple(
            Spent(purpose=purpose, trials=len(each), wall_s=round(sum(each), 3))
            for purpose, each in trials.items()
        ),
    )


def _sum_up(members: Mapping[str, Member]) -> bytes:
    """What `sha256sum --check` reads."""
    sums = ((hashlib.sha256(each.data).hexdigest(), path) for path, each in sorted(members.items()))
    return "".join(f"{digest}  {path}\n" for digest, path in sums).encode()
