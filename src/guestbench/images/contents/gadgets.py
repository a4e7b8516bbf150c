"""Counts ROP gadgets in x86 code with capstone; it never runs code, and judges no gadget's usefulness.

The method: at each byte of the executable segments that is a near or far return (C3, C2, CB, CA), aligned
with the code or not, each of the MAX_BACK_BYTES start addresses before it is looked at. A start is a gadget
if capstone decodes from it whole instructions up to exactly the return, at most MAX_INSTRUCTIONS with the
return, and no jump, call, interrupt or halt among them. A bare return is none. `places` counts starts,
`distinct` counts different byte strings; 10 bytes is ROPgadget's default depth, too. Where code has more
returns than MAX_RETURNS, each n-th is looked at and `places` is scaled up; `distinct` does not scale and is
left out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from guestbench.images.inspection import Gadgets

MAX_BACK_BYTES = 10
MAX_INSTRUCTIONS = 5
MAX_RETURNS = 100_000
"""So many take three seconds on a slow core; a unikernel with MirageOS and Irmin has 34,000."""
_RETURNS = re.compile(rb"[\xc3\xcb]|[\xc2\xca](?=..)", re.DOTALL)
_WITH_OPERAND = b"\xc2\xca"
_ENDING = (
    "call jmp ljmp lcall ret retf retfq iret iretd iretq int int1 int3 into hlt ud0 ud1 ud2 syscall sysret "
    "sysenter sysexit sysretq sysexitq loop loope loopne jcxz jecxz jrcxz xbegin xabort"
)
_ENDS = frozenset(_ENDING.split())
"""Mnemonics after which the next instruction is not, or not always, the one behind it."""


def count_returns(code: Sequence[bytes]) -> int:
    """How many return opcodes there are, aligned with the code or not."""
    return sum(1 for segment in code for _ in _RETURNS.finditer(segment))


def count_gadgets(code: Sequence[bytes], bits: int, *, max_returns: int = MAX_RETURNS) -> Gadgets:
    """Count the gadgets in the executable segments `code` of x86, in 32-bit or 64-bit mode.

    The share of the returns that was looked at is `share`; it is 1 where the count is complete.
    """
    returns = count_returns(code)
    step = max(1, -(-returns // max_returns))
    places = ((segment, match.start()) for segment in code for match in _RETURNS.finditer(segment))
    counter = _Counter(bits)
    looked = found = 0
    for segment, at in islice(places, 0, None, step):
        looked += 1
        found += counter.count_before(segment, at)
    if step == 1:
        return Gadgets(places=found, distinct=counter.distinct, returns=returns, share=1.0)
    share = looked / returns
    return Gadgets(places=round(found / share), distinct=None, returns=returns, share=share)


class _Counter:
    """Decodes each byte string once: the same few make up most of a program's ends of functions."""

    def __init__(self, bits: int) -> None:
        import capstone

        self._engine = capstone.Cs(
            capstone.CS_ARCH_X86, capstone.CS_MODE_64 if bits == 64 else capstone.CS_MODE_32
        )
        self._first: dict[bytes, int] = {}
        self._distinct: set[bytes] = set()

    @property
    def distinct(self) -> int:
        """How many different gadgets were found so far."""
        return len(self._distinct)

    def count_before(self, code: bytes, at: int) -> int:
        """How many gadgets end with the return at `at`."""
        end = at + (3 if code[at] in _WITH_OPERAND else 1)
        # Instructions from a start to the return, by the start's distance from it.
        counts = {0: 0}
        for back in range(1, min(MAX_BACK_BYTES, at) + 1):
            length = self._length_of_first(code[at - back : at])
            rest = counts.get(back - length) if 0 < length <= back else None
            if rest is not None and rest < MAX_INSTRUCTIONS - 1:
                counts[back] = rest + 1
                self._distinct.add(code[at - back : end])
        return len(counts) - 1

    def _length_of_first(self, window: bytes) -> int:
        """Length of the first instruction, 0 if it is none or would leave the straight line."""
        length = self._first.get(window)
        if length is None:
            length = 0
            for _, size, mnemonic, _ in self._engine.disasm_lite(window, 0, 1):
                word = mnemonic.rpartition(" ")[2]
                length = 0 if word in _ENDS or word.startswith("j") else size
            self._first[window] = length
        return length
