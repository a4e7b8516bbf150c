"""Boots a guest once under a VMM that counts what it executes, and attributes the counts to symbols."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import msgspec

from guestbench import provision
from guestbench.analysis.profile.attribution import Loaded, attribute
from guestbench.analysis.profile.bases import LINUX_STEP, PAGE, find_base
from guestbench.analysis.profile.histogram import UPPER_HALF, Piece, find_addresses, read_histogram
from guestbench.analysis.profile.regions import Setting
from guestbench.errors import GuestbenchError, HostError, ShellError, TrialError, UsageError
from guestbench.guest.console import place_texts
from guestbench.guest.serial import SerialLog
from guestbench.guest.shell import open_shell
from guestbench.guest.watch import list_texts, watch_boot
from guestbench.images.contents.symbols import MAX_TABLE_BYTES, parse_table, read_image_symbols
from guestbench.images.formats.kernel import find_linux_header
from guestbench.model import READY, Disk, Guest, GuestFamily, Kernel, Ok, Platform, Role, Say, System, Unknown
from guestbench.model.profile import PROFILE_VERSION, Profile, Region
from guestbench.model.symbols import SymbolMap
from guestbench.provision.cache import scratch
from guestbench.provision.plugins import build_histogram
from guestbench.version import __version__
from guestbench.vmm import Lacking, LaunchSpec, Machine, Need, find_vmm

KALLSYMS = "/proc/kallsyms"
READ_KALLSYMS = f"grep -i ' [tw] ' {KALLSYMS} | if command -v gzip >/dev/null; then gzip -c; else cat; fi"
READ_S = 300.0
LINUX_START_BYTES = 0x1000
WITH_TSEG, TSEG_BYTES = "q35", 16 << 20
"""The machine that keeps memory for SMM at the end of low RAM, and how much unless it is told otherwise."""


class _Boot(NamedTuple):
    """What a boot has left: the counts in pieces, the console's bytes, and symbols that its guest told."""

    pieces: tuple[Piece, ...]
    console: bytes
    symbols: SymbolMap | Unknown


def profile_guest(
    guest: Guest,
    platform: Platform,
    catalogue: Mapping[str, System],
    given: Sequence[SymbolMap],
    look: str,
    say: Say,
) -> Profile:
    """Boot a guest to ready and tell where its instructions went; `given` are symbols that the user names.

    `look` is a command that shows the guest boot.

    Raises:
        TrialError: the guest did not get ready.
        UsageError: given symbols fit nothing that it executed.
        HostError: this host cannot run it or count what it executes.
    """
    system, vmm = guest.system, find_vmm(platform.vmm)
    say(f"booting {system.name} and counting what it executes")
    linux = system.family is GuestFamily.LINUX or _is_linux(guest)
    boot = _boot(guest, platform, build_histogram(say), look, read_symbols=linux and not given)
    notes: list[str] = []
    pieces, phases = find_phases(system, boot.pieces, boot.console)
    if len(pieces) == len(boot.pieces):
        notes.append("the last phase goes on to the end of the VMM: the guest wrote nothing after its marker")
    tables = [each.without_modules() for each in given]
    if linux and not given:
        asked = boot.symbols
        if isinstance(asked, Unknown):
            found = _ask_sibling(guest, platform, catalogue, say)
            asked = found.without_modules() if found else asked
        if isinstance(asked, Unknown):
            notes.append(f"no symbols of the kernel: {asked.reason}; --symbols FILE gives them")
        else:
            tables.append(asked)
    loaded = _place(guest, tables, pieces, notes, linux=linux)
    setting = Setting(
        memory_mib=platform.memory_mib,
        smm_bytes=TSEG_BYTES if platform.machine.startswith(WITH_TSEG) else 0,
        is_linux=linux,
        from_disk=isinstance(system.boot, Disk),
    )
    return Profile(
        version=PROFILE_VERSION,
        system=system.name,
        origin=guest.origin.detail,
        images={role: image.sha256 for role, image in guest.images.items()},
        tool=__version__,
        vmm=vmm.identify().version,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        phases=tuple(dict.fromkeys(phases)),
        spent=attribute(pieces, phases, loaded, setting),
        notes=tuple(notes),
    )


# --- the boot ---------------------------------------------------------------------------------------------


def _boot(guest: Guest, platform: Platform, plugin: Path, look: str, *, read_symbols: bool) -> _Boot:
    system, log = guest.system, SerialLog()
    # Counting slows a guest down; a fifth was measured, and a busy host is slow as well.
    patient = msgspec.structs.replace(system, timeout_s=system.timeout_s * 2)
    with scratch("profile") as folder:
        spec = LaunchSpec(
            boot=system.boot,
            images=guest.images,
            platform=platform,
            folder=folder,
            needs=frozenset({Need.HISTOGRAM}),
            plugin=plugin,
            cuts=tuple(dict.fromkeys(list_texts(system).values())),
        )
        with find_vmm(platform.vmm).start(spec) as machine:
            outcome = watch_boot(machine, patient, log).outcome
            if not isinstance(outcome, Ok):
                raise TrialError(f"{system.name} did not get ready: {outcome.reason}", look)
            console = bytes(log.data)
            symbols = (
                _read_kallsyms(machine, system, log) if read_symbols else Unknown(reason="not asked for")
            )
            if isinstance(machine.histogram, Lacking):
                why = machine.histogram.reason
                raise HostError(f"what {system.name} executes cannot be counted: {why}", "guestbench doctor")
            return _Boot(read_histogram(machine.histogram.finish()), console, symbols)


def _read_kallsyms(machine: Machine, system: System, log: SerialLog) -> SymbolMap | Unknown:
    """What the kernel says of its symbols to a user that may see them, or why it does not."""
    if system.login is None:
        return Unknown(reason="the guest has no shell to read them from")
    try:
        data = open_shell(machine, system.login, log).run(READ_KALLSYMS, timeout_s=READ_S).stdout
    except ShellError as error:
        return Unknown(reason=error.message)
    if data.startswith(b"\x1f\x8b"):
        with suppress(zlib.error):
            data = zlib.decompressobj(wbits=31).decompress(data, MAX_TABLE_BYTES)
    found = parse_table(data, f"{KALLSYMS} of {system.name}")
    return found if found.places else Unknown(reason=f"{KALLSYMS} shows none to {system.login.user}")


def find_phases(
    system: System, pieces: tuple[Piece, ...], console: bytes
) -> tuple[tuple[Piece, ...], tuple[str, ...]]:
    """The pieces up to ready, and the phase that each is of, named by the milestone that ends it.

    Where no cut lies at the end of the ready marker, the last piece is among them.
    """
    ends = list(accumulate((piece.console_bytes or 0 for piece in pieces[:-1]), max))
    found = place_texts(console, [*ends, len(console)], list_texts(system), READY, system.required)
    last = min(found.pop(READY, len(pieces)), len(pieces) - 1)
    order = sorted((number, name) for name, number in found.items() if number < last)
    phases = [next((name for at, name in order if at >= number), READY) for number in range(last + 1)]
    return pieces[: last + 1], tuple(phases)


# --- the symbols ------------------------------------------------------------------------------------------


def _is_linux(guest: Guest) -> bool:
    if Role.KERNEL not in guest.images:
        return False
    with Path(guest.images[Role.KERNEL].path).open("rb") as file:
        return find_linux_header(file.read(LINUX_START_BYTES)) is not None


def _ask_sibling(
    guest: Guest, platform: Platform, catalogue: Mapping[str, System], say: Say
) -> SymbolMap | None:
    """The symbols of the same kernel, told by another guest that has a shell; None where none tells."""
    kernel = guest.images.get(Role.KERNEL)
    for system in catalogue.values():
        if system.login is None or not isinstance(system.boot, Kernel):
            continue
        with suppress(GuestbenchError):
            other = provision.locate(system, {}, catalogue)
            if kernel is None or other.images[Role.KERNEL].sha256 != kernel.sha256:
                continue
            say(f"booting {system.name}, which has the same kernel, for its symbols")
            log = SerialLog()
            with scratch("profile") as folder:
                spec = LaunchSpec(
                    boot=other.system.boot, images=other.images, platform=platform, folder=folder
                )
                with find_vmm(platform.vmm).start(spec) as machine:
                    found: SymbolMap | Unknown = Unknown(reason="it did not get ready")
                    if isinstance(watch_boot(machine, system, log).outcome, Ok):
                        found = _read_kallsyms(machine, system, log)
                    if isinstance(found, SymbolMap):
                        return found
    return None


def _place(
    guest: Guest, tables: Sequence[SymbolMap], pieces: tuple[Piece, ...], notes: list[str], *, linux: bool
) -> list[Loaded]:
    """All symbols, with where in the guest's memory what they are of was found; what is not found is said."""
    addresses = set(find_addresses(pieces))
    upper = {address for address in addresses if address >= UPPER_HALF}
    late = set(find_addresses([piece for piece in pieces if piece.moved_up])) if linux else addresses
    loaded: list[Loaded] = []
    for table in tables:
        kernel = find_base(table, upper, LINUX_STEP if linux else PAGE)
        base = kernel or find_base(table, late)
        if base is None:
            raise UsageError(
                f"{table.what} do not fit what the guest executed", "guestbench profile SYSTEM --symbols FILE"
            )
        moved = f", moved by {base.offset % (1 << 64):#x}" if base.offset else ""
        notes.append(f"{table.what}{moved}: {base.votes} symbols were entered")
        region = Region.USER if linux and not kernel else Region.KERNEL
        loaded.append(Loaded(symbols=table, region=region, offset=base.offset))
    for role, region in ((Role.KERNEL, Region.KERNEL), (Role.INITRD, Region.PROGRAM)):
        found = read_image_symbols(Path(guest.images[role].path)) if role in guest.images else None
        if found is None:
            continue
        loaded.append(Loaded(symbols=found, region=region))
        base = find_base(found, upper)
        moved = f"; it moved itself by {base.offset % (1 << 64):#x}" if base else ""
        notes.append(f"{region.value}: {found.what}{moved}")
        if base:
            loaded.append(Loaded(symbols=found, region=region, offset=base.offset))
    return loaded
