"""Compiles the plugins that a VMM loads to count what a guest executes; it loads none."""

from __future__ import annotations

from pathlib import Path

from guestbench.host import process
from guestbench.model import Say
from guestbench.provision import cache
from guestbench.provision.versions import find_versions

SOURCE = Path(__file__).with_name("histogram.c")
PLUGIN = "histogram.so"
FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-Wl,--build-id=none")


def build_histogram(say: Say) -> Path:
    """The plugin that counts how often each block of code is executed, from the cache where it is there.

    Raises:
        ToolMissing, ToolFailed: gcc is not installed, or failed.
    """

    def build(work: Path, say: Say) -> cache.Made:
        process.run(["gcc", *FLAGS, "-o", work / PLUGIN, SOURCE])
        return cache.Made(files=(PLUGIN,))

    facts = [FLAGS, find_versions("gcc", "ld")]
    sources = {file.name: file for file in SOURCE.parent.glob("*.[ch]")}
    plan = cache.Plan("plugin-histogram", "compiling the plugin that counts", build, facts, sources)
    return cache.make(plan, say).folder / PLUGIN
