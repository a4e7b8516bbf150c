"""`guestbench artifact`: a run as an archive that others can check, and the check."""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path

import click

from guestbench.cli.output import write_file
from guestbench.cli.talk import say, slowly
from guestbench.errors import GateError, GuestbenchError, UsageError
from guestbench.page.numbers import count_things
from guestbench.text import visible

AGAIN = ("guestbench", "artifact", "--check")
ENDS = (".tar.gz", ".tgz")
TOLD = 20
"""Differences that are printed; their number is told in any case."""


@click.command("artifact")
@click.argument("path", type=click.Path(path_type=Path), metavar="DIR|ARCHIVE")
@click.option("--check", is_flag=True, help="Check ARCHIVE, or the folder that it was unpacked to.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The archive to write [default: RUN.tar.gz]; with --check, a new folder to unpack into.",
)
def command(path: Path, check: bool, output: Path | None) -> None:
    """Pack the run in DIR for others to check and repeat, or with --check do check ARCHIVE.

    The archive holds the store and the evidence, the reports, the guests' recipes and the digests of their
    images, versions, claims with their verdicts, what the run took, and a script that makes it again. The
    same run gives the same bytes. A check makes all again that follows from the records, and compares.
    """
    if not check:
        _pack(path, output)
    elif path.is_dir():
        if output is not None:
            raise UsageError(
                f"{visible(path)} is unpacked already",
                shlex.join([*AGAIN, str(path)]),
            )
        _check(path, path, whole=False)
    elif output is not None:
        _check(path, _unpack(path, output), whole=True)
    else:
        from guestbench.provision.cache import scratch

        with scratch("artifact") as folder:
            try:
                _check(path, _unpack(path, folder / "artifact"), whole=True)
            except GuestbenchError as error:
                # What it names is gone when it is read.
                if str(folder) in error.message or str(folder) in error.hint:
                    error.message = error.message.replace(f"{folder}/artifact", str(path))
                    error.hint = shlex.join([*AGAIN, str(path), "-o", "unpacked"])
                raise


def _pack(folder: Path, output: Path | None) -> None:
    from guestbench.artifact.archive import write_archive
    from guestbench.artifact.derive import derive
    from guestbench.artifact.parts import gather

    if output is not None and not output.name.endswith(ENDS):
        named = shlex.join([*AGAIN[:-1], str(folder), "-o", f"{output.name.partition('.')[0]}.tar.gz"])
        raise UsageError(f"{visible(output)}: the archive is of another kind, {' or '.join(ENDS)}", named)
    with slowly(f"working out {visible(folder)}, and packing it"):
        parts = gather(folder)
        run = parts.header.run
        content = write_archive({**parts.kept, **derive(parts)}, run)
    if parts.left:
        say(f"note: left out, since no part of a run: {', '.join(parts.left)}")
    for name in parts.environment.sources:
        files = [path for path in parts.kept if path.startswith(f"guests/{name}/")]
        say(f"note: packed as sources of {name}: {', '.join(files) or 'nothing but its definition'}")
    if parts.missing:
        what = f"{count_things(len(parts.missing), 'file')}, {parts.missing[0]} first"
        say(f"note: evidence that the store names is not there: {what}")
    output = output or Path(f"{run}.tar.gz")
    write_file(output, content)
    click.echo(f"{hashlib.sha256(content).hexdigest()}  {output}")


def _unpack(archive: Path, into: Path) -> Path:
    from guestbench.artifact.archive import unpack

    if into.exists():
        again = shlex.join([*AGAIN, str(archive), "-o", f"{into}-2"])
        raise UsageError(f"{visible(into)} is there already", again)
    with slowly(f"unpacking {visible(archive)}"):
        try:
            return unpack(archive, into)
        except OSError as error:
            name = error.filename or archive
            raise UsageError(
                f"{visible(name)}: {error.strerror}", f"ls -l {shlex.quote(str(archive))}"
            ) from error


def _check(given: Path, root: Path, *, whole: bool) -> None:
    from guestbench.artifact.check import check_artifact

    with slowly(f"making again what is in {visible(given)}"):
        found = check_artifact(root, whole=whole)
    for line in found.notes:
        say(f"note: {line}")
    for line in found.differences[:TOLD]:
        click.echo(visible(line))
    if (more := len(found.differences) - TOLD) > 0:
        click.echo(f"and {more} more")
    if found.differences:
        count = count_things(len(found.differences), "difference")
        words = [*AGAIN, str(given), "-o", "unpacked"] if whole else ["ls", "-lR", str(given)]
        raise GateError(f"{visible(given)} is not what follows from its records: {count}", shlex.join(words))
    click.echo(found.verdict)
