"""Decodes JSON that may be anybody's: what that raises, and numbers that no figure has."""

from __future__ import annotations

from typing import TypeVar

import msgspec

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Of bytes that are no UTF-8, and of lists in lists in lists, msgspec raises what is no error of its own."""
LARGEST = (1 << 63) - 1
"""A whole number beyond it cannot become a float, or an element of an array, without an error or a loss."""

_DIGITS = bytes(ord("0") if chr(byte) in "0123456789" else ord(" ") for byte in range(256))
_MANY = b"0" * len(str(LARGEST))
Decoded = TypeVar("Decoded")


def decode(data: bytes, decoder: msgspec.json.Decoder[Decoded]) -> Decoded:
    """What the decoder makes of JSON in which no whole number is beyond 64 bits; msgspec takes any.

    Raises:
        Exception: one of `NOT_JSON`.
    """
    decoded = decoder.decode(data)
    # Digests and small fractions have as many digits in a row, but seldom.
    if _MANY in data.translate(_DIGITS):
        _check_numbers(msgspec.json.decode(data))
    return decoded


def decode_as(data: bytes, kind: type[Decoded]) -> Decoded:
    """As `decode`, for what is decoded once."""
    return decode(data, msgspec.json.Decoder(kind))


def _check_numbers(value: object) -> None:
    match value:
        case dict():
            _check_numbers(list(value.values()))
        case list():
            for each in value:
                _check_numbers(each)
        case int() if abs(value) > LARGEST:
            raise msgspec.ValidationError(f"a number of {len(str(abs(value)))} digits")
