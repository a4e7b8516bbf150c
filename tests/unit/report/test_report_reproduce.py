"""reproduce.sh: it makes the run again, refuses other images, and takes no text for a command."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec
from factories import make_run

from guestbench.host import process
from guestbench.model import Header, Role
from guestbench.report.reproduce import render_script, without_output

HOSTILE = "x\nrm -rf /\n`id` $(id) \x1b[31m\u202e"


def make_header(folder: Path, command: tuple[str, ...]) -> Header:
    """The header of a run whose images are one file in `folder`, with a name that hurts a careless script."""
    header, _ = make_run()
    path = folder / "a b'$(touch owned).img"
    path.write_bytes(b"image")
    image = msgspec.structs.replace(
        header.guests[0].images[Role.KERNEL], path=str(path), sha256=hashlib.sha256(b"image").hexdigest()
    )
    guest = msgspec.structs.replace(header.guests[0], pristine={Role.KERNEL: image})
    host = msgspec.structs.replace(header.host, cpu_model=HOSTILE)
    return msgspec.structs.replace(header, guests=(guest,), command=command, host=host)


def run(folder: Path, script: str) -> tuple[int, str]:
    """The status of the script, and what its command was called with."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    said = folder / "said"
    for name in ("guestbench", "qemu-system-x86_64"):
        (bin_folder / name).write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > "{said}"\n')
        (bin_folder / name).chmod(0o755)
    path = folder / "reproduce.sh"
    path.write_text(script)
    done = process.run(
        ["env", f"PATH={bin_folder}:/usr/bin:/bin", "sh", path, "--cycles", "3"], cwd=folder, check=False
    )
    return done.status, said.read_text() if said.exists() else done.stderr.decode()


def test_the_script_types_the_runs_own_command(tmp_path: Path) -> None:
    """The comparison could not be repeated, or a path with a space would be two."""
    _, records = make_run()
    header = make_header(tmp_path, ("run", "seed", "--system", "a=b c", "-o", "results/x", "--seed", "7"))
    script = render_script(header, records)
    assert run(tmp_path, script) == (0, "run\nseed\n--system\na=b c\n--seed\n7\n--cycles\n3\n")
    assert not (tmp_path / "owned").exists()
    assert "# QEMU: 7.2.22, accelerator tcg" in script
    assert "\n# debian-12-nocloud boot: qemu-system-x86_64 -machine q35" in script


def test_another_image_is_refused(tmp_path: Path) -> None:
    """Another experiment would be taken for a repetition."""
    header = make_header(tmp_path, ("run", "seed"))
    script = render_script(header, ())
    next(tmp_path.glob("*.img")).write_bytes(b"other")
    status, said = run(tmp_path, script)
    assert status != 0
    assert "FAILED" in said or "did NOT match" in said


def test_large_image_is_checked_by_our_own_command(tmp_path: Path) -> None:
    """A disk whose digest no other tool prints could not be checked, or a wrong one would pass."""
    header = make_header(tmp_path, ("run", "seed"))
    (image,) = header.guests[0].pristine.values()
    for digest, status in (("blocks:12ab", 0), ("blocks:12ac", 1)):
        large = msgspec.structs.replace(image, sha256=digest)
        guest = msgspec.structs.replace(header.guests[0], pristine={Role.DISK: large})
        script = render_script(msgspec.structs.replace(header, guests=(guest,)), ())
        bin_folder = tmp_path / "bin"
        bin_folder.mkdir(exist_ok=True)
        for name in ("guestbench", "qemu-system-x86_64"):
            (bin_folder / name).write_text('#!/bin/sh\n[ "$1" = run ] || echo "blocks:12ab  $2"\n')
            (bin_folder / name).chmod(0o755)
        path = tmp_path / "reproduce.sh"
        path.write_text(script)
        done = process.run(["env", f"PATH={bin_folder}:/usr/bin:/bin", "sh", path], check=False)
        assert done.status == status
        assert (b"FAILED" in done.stderr) is bool(status)
    assert not (tmp_path / "owned").exists()


def test_no_text_of_a_run_is_a_command(tmp_path: Path) -> None:
    """A host's or an image's name could run whatever it likes on the reader's machine."""
    script = render_script(make_header(tmp_path, ("run", HOSTILE)), ())
    assert "\nrm -rf" not in script.replace("'x\nrm -rf /", "")
    facts = script.partition("exec ")[0]
    assert facts.isascii() and facts.replace("\n", "").isprintable()


def test_the_folder_of_the_results_is_left_out() -> None:
    """The script would refuse to write where the results are."""
    assert without_output(("run", "-o", "x", "--output=y", "--output", "z", "seed")) == ("run", "seed")
