"""Makes a stranger's text visible: in one line, without a character that does anything but show."""

from __future__ import annotations

from pathlib import Path

_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def visible(text: Path | str) -> str:
    r"""The text in one line of printable characters; the others as `\n`, `\xNN`, `\uNNNN` or `\UNNNNNNNN`.

    Printable is what `str.isprintable` says, so that controls, surrogates, bidirectional overrides,
    invisible characters and blanks other than the space are written out.
    """
    shown = str(text)
    if shown.isprintable():
        return shown
    return "".join(c if c.isprintable() else _write_out(c) for c in shown)


def _write_out(character: str) -> str:
    number = ord(character)
    if character in _NAMED:
        return _NAMED[character]
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
