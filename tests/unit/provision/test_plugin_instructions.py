"""What the plugin that counts takes instructions for, by their bytes."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from guestbench.host import process
from guestbench.provision.plugins import SOURCE

WRITES, WAITS, GOES_ON = 1, 2, 4


@pytest.fixture(scope="module")
def classify(tmp_path_factory: pytest.TempPathFactory) -> ctypes._NamedFuncPointer:
    """The function of the plugin, compiled for this process."""
    folder = tmp_path_factory.mktemp("instructions")
    body = "int tell(const uint8_t *code, size_t length) { return classify(code, length); }\n"
    (folder / "tell.c").write_text(f'#include "instructions.h"\n{body}')
    include = f"-I{SOURCE.parent}"
    process.run(["gcc", "-shared", "-fPIC", include, "-o", folder / "tell.so", folder / "tell.c"])
    function = ctypes.CDLL(str(Path(folder / "tell.so"))).tell
    function.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    return function


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ee", WRITES), ("66 ef", WRITES), ("e6 80", WRITES), ("f3 6e", WRITES),
        ("ec", WAITS), ("e4 71", WAITS), ("0f 31", WAITS), ("0f 01 f9", WAITS), ("f3 90", WAITS),
        ("f4", WAITS),
        # Registers alone.
        ("90", GOES_ON), ("40", GOES_ON), ("66 40", GOES_ON), ("48 89 c3", GOES_ON), ("01 d8", GOES_ON),
        ("31 c0", GOES_ON), ("b8 01 00 00 00", GOES_ON), ("48 8d 44 24 08", GOES_ON), ("f7 e3", GOES_ON),
        ("0f af c3", GOES_ON), ("0f 94 c0", GOES_ON), ("f3 0f 1e fa", GOES_ON), ("0f 1f 44 00 00", GOES_ON),
        ("0f ba e0 05", GOES_ON), ("ff c0", GOES_ON), ("c1 e0 04", GOES_ON), ("3c 0a", GOES_ON),
        # Memory, which may fault; what may fault by itself; what goes elsewhere; what is not known.
        ("48 89 03", 0), ("8b 45 08", 0), ("01 18", 0), ("ff 00", 0), ("0f af 03", 0), ("0f b6 00", 0),
        ("f7 f3", 0), ("f7 fb", 0), ("f6 f1", 0), ("50", 0), ("58", 0), ("c3", 0), ("e8 00 00 00 00", 0),
        ("74 05", 0), ("eb fe", 0), ("ff d0", 0), ("ff e0", 0), ("cc", 0), ("cd 80", 0),
        ("0f 05", 0), ("0f a2", 0),
        ("f0 ff c0", 0), ("8d c0", 0), ("8e d8", 0), ("a4", 0), ("f3 a4", 0), ("0f 22 c0", 0), ("0f 30", 0),
        ("a1 00 00 00 00", 0), ("0f 0b", 0), ("c5 f8 77", 0), ("0f ba c0 05", 0), ("62 00", 0),
        ("9b", 0), ("fb", 0),
        # Cut, as QEMU shows what reaches into the next page.
        ("", 0), ("66", 0), ("0f", 0), ("89", 0), ("81", 0), ("f7", 0),
    ],
)  # fmt: skip
def test_an_instruction_is_taken_for_what_it_is(
    classify: ctypes._NamedFuncPointer, code: str, kind: int
) -> None:
    """One that may fault would be counted with those behind it, which are not run then."""
    data = bytes.fromhex(code)
    assert classify(data, len(data)) == kind
