"""`guestbench profile`: where the instructions of a boot go, by phase, region and symbol."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from guestbench.cli import run
from guestbench.cli.output import write_file
from guestbench.cli.talk import say
from guestbench.errors import UsageError
from guestbench.text import visible

if TYPE_CHECKING:
    from guestbench.model.profile import Profile

PROFILE = ("guestbench", "profile")


@click.command("profile")
@click.argument("subjects", nargs=-1, metavar="[SYSTEM | --diff OLD NEW]")
@run.GIVEN
@click.option(
    "--as",
    "reference",
    metavar="SYSTEM",
    help="Boot image files as this system [default: the one of the catalogue that boots such images].",
)
@click.option(
    "--symbols",
    "symbols",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take symbols from this file: an ELF file with symbols, a System.map, or a copy of /proc/kallsyms. "
    "Repeatable.",
)
@click.option(
    "--diff", "compare", is_flag=True, help="Compare OLD and NEW: profiles that -o wrote, images, or systems."
)
@click.option(
    "--top", type=click.IntRange(1), default=30, show_default=True, metavar="N", help="Show so many symbols."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write profile.json, profile.html (an icicle to look around in), profile.folded (stacks for flame "
    "graph tools) and profile.speedscope.json there.",
)
@click.option(
    "--into",
    "run_folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="RUN",
    help="Add the profile to the report of the run in this folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    subjects: tuple[str, ...],
    given: dict[str, Path],
    reference: str | None,
    symbols: tuple[Path, ...],
    compare: bool,
    top: int,
    output: Path | None,
    run_folder: Path | None,
    as_json: bool,
) -> None:
    """Tell where the instructions of a boot of SYSTEM go, or with --diff which symbols grew from OLD to NEW.

    SYSTEM is a system of the catalogue, a folder with a system.toml, or an image file. The guest is booted
    once to ready under TCG, whose instructions are counted one by one; no time is measured. A profile that -o
    wrote is shown again, and nothing booted.
    """
    from guestbench.report import profile as shown
    from guestbench.report.terminal import render_lines
    from guestbench.run.store import read_store

    if len(subjects) != 1 + compare:
        wanted = "--diff compares two: OLD and NEW" if compare else "one SYSTEM is needed"
        raise UsageError(wanted, shlex.join([*PROFILE, "--help"]))
    if compare and (output or run_folder):
        raise UsageError("--diff writes no files", shlex.join([*PROFILE, "--diff", *subjects]))
    # Before anything is booted: it may be no run.
    run_read = read_store(run_folder) if run_folder is not None else None
    saved = [_find_saved(each) for each in subjects]
    if all(saved) and (given or reference or symbols):
        again = shlex.join([*PROFILE, *(["--diff"] if compare else []), *subjects])
        raise UsageError("a saved profile boots nothing, and takes no --system, --as or --symbols", again)
    profiles = [
        _read(file) if file else _measure(each, given, reference, symbols)
        for each, file in zip(subjects, saved, strict=True)
    ]
    if compare:
        from guestbench.analysis.profile.growth import compare_profiles

        diff = compare_profiles(*profiles)
        blocks = shown.describe_growth(diff, top)
        document = shown.render_growth_json(diff)
    else:
        blocks = shown.describe_profile(profiles[0], top)
        document = shown.render_json(profiles[0])
    click.echo(document if as_json else render_lines(blocks), nl=False)
    if output is not None:
        _write(output, profiles[0])
    if run_folder is not None and run_read is not None:
        from guestbench.cli.report import write_files
        from guestbench.report.profile.section import find_place

        _write(find_place(run_folder, profiles[0]), profiles[0])
        _, paths = write_files(run_folder, *run_read)
        say(str(paths["report.html"]))


def _write(folder: Path, profile: Profile) -> None:
    from guestbench.report.profile import render_files

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parent = shlex.quote(str(folder.absolute().parent))
        raise UsageError(f"{visible(folder)} cannot be made: {error.strerror}", f"ls -ld {parent}") from None
    for name, content in render_files(profile).items():
        write_file(folder / name, content)
        say(str(folder / name))


def _find_saved(subject: str) -> Path | None:
    """The file of a saved profile that is in this folder, or is this file; None where there is none."""
    from guestbench.report.profile import JSON_NAME

    path = Path(subject).expanduser()
    file = path / JSON_NAME if path.is_dir() else path
    return file if file.is_file() and (path.is_dir() or file.suffix == ".json") else None


def _read(file: Path) -> Profile:
    from guestbench.report.profile import read_json

    try:
        return read_json(file.read_bytes(), visible(file))
    except OSError as error:
        raise UsageError(f"{visible(file)}: {error.strerror}", f"ls -l {shlex.quote(str(file))}") from None


def _measure(
    subject: str, given: dict[str, Path], reference: str | None, symbols: tuple[Path, ...]
) -> Profile:
    from guestbench import provision
    from guestbench.definition.systems import SYSTEM_FILE, find_system, load_catalogue, system_folder
    from guestbench.images.contents.symbols import load_symbols
    from guestbench.model import Accel, Platform
    from guestbench.run.ab import find_version
    from guestbench.run.profile import profile_guest

    tables = [load_symbols(path) for path in symbols]
    catalogue = load_catalogue()
    try:
        version = find_version(subject, reference)
    except UsageError:
        if reference is None and Path(subject).expanduser().is_dir():
            told = f"{visible(subject)} is a folder without {SYSTEM_FILE}, saved profile or a system's images"
            raise UsageError(told, f"ls {shlex.quote(subject)}") from None
        raise
    system = find_system(version.reference, catalogue, Path.cwd())
    if unknown := sorted(given.keys() - {system.name}):
        raise UsageError(
            f"--system names {visible(unknown[0])}, and {system.name} is to be booted",
            shlex.join([*PROFILE, system.name, "--system", f"{system.name}=PATH"]),
        )
    if version.image and given:
        raise UsageError(
            f"{visible(subject)} is an image by itself, so that --system gives none",
            shlex.join([*PROFILE, subject]),
        )
    images = {system.name: version.image} if version.image else given
    guest = provision.prepare(system, images, catalogue, say=say, folder=system_folder(version.reference))
    provision.check(guest)
    platform = Platform(accel=Accel.TCG)
    look = ["guestbench", "systems", "boot", version.reference]
    if system.name in images:
        look += ["--system", str(images[system.name])]
    guest = provision.settle(guest, platform, say)
    return profile_guest(guest, platform, catalogue, tables, shlex.join(look), say)
