"""What decoding JSON raises that is none, or is not of the type that is asked for."""

from __future__ import annotations

import msgspec

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""Of bytes that are no UTF-8, and of lists in lists in lists, msgspec raises what is no error of its own."""
