"""How an axis finds its things: modules of a folder of ours, and entry points of other packages.

An axis is a kind of thing there may be many of: families of metrics, VMMs, recipes, formats of export. A
module of its folder is one of them, called as the module is but with `-` for `_`, and so is every entry point
of its group that an installed package declares, as `name = "package.module"`. Nothing else lists them.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from types import ModuleType

from guestbench.errors import UsageError


class Axis:
    """The things of one kind, by name. `package` is the folder of ours, `group` that of entry points."""

    def __init__(self, package: str, group: str) -> None:
        self.package = package
        self.group = group

    def names(self) -> tuple[str, ...]:
        """The names of all, ours first, each in alphabetical order."""
        ours = _list_modules(self.package)
        return (*ours, *(name for name in sorted(list_entries(self.group)) if name not in ours))

    def locate(self, name: str) -> str:
        """The full name of the module that is the thing of that name.

        Raises:
            UsageError: there is none.
        """
        ours = _list_modules(self.package)
        if name in ours:
            return ours[name]
        entries = list_entries(self.group)
        if name not in entries:
            raise UsageError(
                f"there is no {name!r} among {self.group}; there are: {', '.join(self.names())}",
                "guestbench --help",
            )
        return entries[name]

    def load(self, name: str, part: str = "") -> ModuleType:
        """The module of that name, or its submodule `part`.

        Raises:
            UsageError: there is none of that name.
        """
        return import_module(".".join(filter(None, (self.locate(name), part))))

    def find_part(self, name: str, part: str) -> ModuleType | None:
        """The submodule `part` of the thing of that name; None where it has no such part."""
        module = f"{self.locate(name)}.{part}"
        try:
            return import_module(module)
        except ModuleNotFoundError as missing:
            if missing.name != module:
                raise
            return None


@cache
def _list_modules(package: str) -> dict[str, str]:
    found = pkgutil.iter_modules(import_module(package).__path__)
    modules = sorted(info.name for info in found if not info.name.startswith("_"))
    return {module.replace("_", "-"): f"{package}.{module}" for module in modules}


@cache
def list_entries(group: str) -> dict[str, str]:
    """What other packages declare for a group of entry points, by name."""
    # Slow to import, and needed only where a name is not one of ours or all are asked for.
    from importlib.metadata import entry_points

    return {entry.name: entry.value for entry in entry_points(group=group)}


RECIPES = Axis("guestbench.provision.recipes", "guestbench.recipes")
"""Its things are imported late by whoever reads definitions, which lies below them."""


VMMS = Axis("guestbench.vmm", "guestbench.vmms")
"""Here, since definitions name VMMs, and are below them."""
