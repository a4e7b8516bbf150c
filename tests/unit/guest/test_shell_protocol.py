"""What the shell types into a console, and what it reads there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from guestbench.guest import shell_protocol as protocol
from guestbench.guest.shell_protocol import Checksum, Encoding


@given(command=st.binary(max_size=3000).map(lambda data: data.replace(b"\0", b"")))
def test_typed_lines_are_short_and_printable(command: bytes) -> None:
    """A terminal would cut a line, or act on a control character in it."""
    parts, start = protocol.command_lines(command, 123456)
    lines = [protocol.fill(line, protocol.make_nonce()) for line in (*(line for line, _ in parts), start)]
    lines += [protocol.fill(line, protocol.make_nonce()) for line in protocol.setup_lines("gb-12345678")]
    for line in lines:
        assert len(line) <= protocol.LINE_BYTES
        assert all(0x20 <= byte < 0x7F for byte in line)


@given(st.binary(max_size=300))
def test_anything_heard_can_be_searched(heard: bytes) -> None:
    """A guest could stop the tool by printing the right bytes."""
    nonce = b"abc"
    for checksum in (None, Checksum.MD5):
        tuple(protocol.find_payloads(protocol.clean(heard), nonce, checksum))
        whole = nonce + b"{" + heard + b"}" + nonce
        assert all(
            protocol.parse_reply(payload, encoding) is None or payload
            for payload in protocol.find_payloads(protocol.clean(whole), nonce, checksum)
            for encoding in Encoding
        )


def test_checksum_is_the_one_of_posix() -> None:
    """Guests whose only checksum is `cksum` would damage every answer."""
    # Computed with GNU coreutils' cksum.
    assert protocol.posix_crc(b"") == 4294967295
    assert protocol.posix_crc(b"a") == 1220704766
    assert protocol.posix_crc(b"hello") == 3287646509
