"""What reads images, guests and stores bears a short fuzz, and the fuzz can fail."""

from __future__ import annotations

import random
import re
from functools import partial
from pathlib import Path

import fuzz_parsers
import guest_targets
import parser_targets
import pytest
from fuzz_parsers import TARGETS, check, fuzz_short, mutate, run_own
from parser_targets import Target

from guestbench.guest import console
from guestbench.images.contents import packages
from guestbench.images.formats import elf, initramfs, kernel
from guestbench.inspect import lvm
from guestbench.run import store


def test_no_input_breaks_a_parser(tmp_path: Path) -> None:
    """A guest or an image would crash or stop the tool, or put a text or a figure into a report."""
    runs, failed = fuzz_short(tmp_path)
    assert not failed
    assert runs == {name: target.short for name, target in TARGETS.items()}


def test_inputs_of_a_seed_are_always_the_same() -> None:
    """What fails somewhere could not be seen elsewhere."""
    for name, target in TARGETS.items():
        seeds = target.seeds()
        assert seeds == target.seeds(), name
        make = target.mutate or partial(mutate, words=target.words)
        made = [[make(choose, seeds) for _ in range(20)] for choose in map(random.Random, (1, 1, 2))]
        assert made[0] == made[1] != made[2]


PLANTED = (
    # An offset that wraps, a name that is cut, a list that is empty, a kernel in itself, no digits.
    ("lvm", lvm, "_LARGEST", 1 << 70),
    ("elf", elf, "MAX_SYMBOL_BYTES", 0),
    ("packages", packages, "parse_control", lambda data: iter(())),
    ("kernel", kernel, "_unpack_kernel", kernel.open_vmlinux),
    ("ramdisk", initramfs, "_DIGITS", re.compile(b".+", re.DOTALL)),
    # A marker that is found in one piece alone, a line that is no JSON.
    ("console", console, "_find_said", lambda shown, pattern, start: shown.find(pattern, start + 2)),
    ("store-bytes", store, "NOT_JSON", ()),
)


@pytest.mark.parametrize(("name", "module", "attribute", "value"), PLANTED)
def test_faults_are_found(
    name: str, module: object, attribute: str, value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fuzz that finds nothing would look like a parser that bears everything."""
    monkeypatch.setattr(parser_targets.Others, "asked", True)
    monkeypatch.setattr(module, attribute, value)
    result = run_own(name, seconds=60, runs=3000, seed=1, keep=tmp_path, folder=tmp_path)
    assert result.crash
    assert (tmp_path / f"{name}-1-{result.runs}").exists()


def test_what_takes_too_long_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser that loops would stop the fuzz, and not be told."""
    monkeypatch.setattr(fuzz_parsers, "SLOW_S", 0.3)

    def loop(data: bytes, folder: Path) -> None:
        while data:
            pass  # it is the time of the CPU that counts

    said = check(Target(loop, guest_targets.seed_shell), b"x", tmp_path)
    assert "it takes more than 0.3 s" in said
    assert check(Target(loop, guest_targets.seed_shell), b"", tmp_path) == ""
