"""Known shells, interpreters and package managers, by their file names and by texts in their code."""

from __future__ import annotations

import re
from enum import StrEnum


class Kind(StrEnum):
    """What a known program is."""

    SHELL = "shells"
    INTERPRETER = "interpreters"
    PACKAGE_MANAGER = "package_managers"


BUSYBOX = "busybox"
"""It is a shell, too, but in nearly every system by its other names `sh` and `ash`."""

_NAMES = {
    Kind.SHELL: "sh ash bash csh dash fish hush ksh mksh rbash tcsh yash zsh",
    Kind.INTERPRETER: (
        "awk gawk guile java lua luajit mawk node nodejs ocaml ocamlrun perl php python qjs ruby tclsh "
        "Rscript"
    ),
    Kind.PACKAGE_MANAGER: (
        "apk apt apt-get aptitude brew cargo conda cpan dnf dpkg emerge flatpak gem guix microdnf nix-env "
        "npm opam opkg pacman pip rpm snap xbps-install yum zypper"
    ),
}
NAMES = {kind: frozenset(names.split()) for kind, names in _NAMES.items()}
"""File names by kind, without a version: `perl5.36.0` and `perl` are one."""

TEXTS = (
    (Kind.SHELL, "bash", re.compile(rb"GNU bash, version")),
    (Kind.SHELL, "BusyBox", re.compile(rb"BusyBox v\d")),
    (Kind.SHELL, "dash or ash", re.compile(rb"Illegal number: %s")),
    (Kind.SHELL, "zsh", re.compile(rb"zsh: warning|ZSH_VERSION")),
    (Kind.INTERPRETER, "Python", re.compile(rb"PYTHONHOME")),
    (Kind.INTERPRETER, "Perl", re.compile(rb"PERL5LIB")),
    (Kind.INTERPRETER, "Lua", re.compile(rb"PUC-Rio|LuaJIT \d")),
    (Kind.INTERPRETER, "Ruby", re.compile(rb"RUBYOPT")),
    (Kind.INTERPRETER, "Node.js", re.compile(rb"NODE_OPTIONS")),
    (Kind.INTERPRETER, "OCaml toplevel", re.compile(rb"OCAML_TOPLEVEL_PATH|caml_toplevel_")),
    (Kind.PACKAGE_MANAGER, "dpkg", re.compile(rb"dpkg-deb|/var/lib/dpkg")),
    (Kind.PACKAGE_MANAGER, "apt", re.compile(rb"/var/lib/apt/")),
    (Kind.PACKAGE_MANAGER, "apk", re.compile(rb"lib/apk/db")),
    (Kind.PACKAGE_MANAGER, "rpm", re.compile(rb"/var/lib/rpm")),
)
"""Texts of their own in programs that are linked into something else; a mere path such as /bin/sh is none."""


def drop_version(name: str) -> str:
    """A file name without the version at its end: `python` of `python3.11`."""
    return name.rstrip("0123456789.-")
