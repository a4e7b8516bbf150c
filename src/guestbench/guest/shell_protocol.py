"""What the serial console shell and its guest say to each other; pure: it neither reads nor types.

The host types lines of at most `LINE_BYTES`; a loop in the guest reads them without any line editor and
evaluates them. The guest answers with messages

    NONCE{PAYLOAD|CHECKSUM}NONCE        or, where no program shall be started for it,
    NONCE{PAYLOAD=PAYLOAD}NONCE

in printable ASCII without blanks and without `[`. So whatever else is printed in the middle of one, such
as line ends, escape codes and the kernel's `[    1.234567] …` lines, can be taken out again, and the
checksum tells whether that was all of it. The host makes up a nonce for each request and asks again with
the same one: every request can be repeated without doing anything twice.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

RUNNING = b"running"
"""The payload that says that a command has not ended yet."""
LINE_BYTES = 900
"""The line editor of busybox holds 1024 bytes of a line, the terminal itself 4096."""
COMMAND_BYTES = 760
"""How much of an encoded command goes into one line."""
FOLDERS = ("/dev/shm", "/run", "/tmp", "/var/tmp", "/dev", "/")
"""Where outputs may be kept until they are fetched: memory first. A minimal initramfs has but the last."""

NEEDS = ("base64 or od", "md5sum or cksum", "dd and wc")
"""The programs that the third line of the set-up looks for."""

LONGEST_MESSAGE = 1 << 17
"""Twice as long as a block in base64."""
MOST_MESSAGES = 64
"""A guest that answers more often at once floods; each one's checksum takes time."""
_MOST_DIGITS = 15

_ESCAPE_CODES = re.compile(
    rb"\x1b\[[0-?]*[ -/]*[@-~]"  # cursor, colour, bracketed paste
    rb"|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)"  # window titles
    rb"|\x1b[ -/]*[0-~]"
)
_BRACKETED = re.compile(rb"\[[^\n]*\n?")
_UNPRINTABLE = bytes(sorted({*range(256)} - {*range(0x21, 0x7F)}))

NONCE = b"@"
"""Stands for the nonce in a line; `fill` replaces it."""

# What needs no escape between single quotes, for `printf %b` and for `fill`.
_PLAIN = frozenset(range(0x20, 0x7F)) - frozenset(b"'\\@")


class Encoding(StrEnum):
    """How the guest prints bytes."""

    BASE64 = "base64"
    HEX = "od"

    @property
    def block_bytes(self) -> int:
        """How much the guest sends at once: a shell variable has to hold it, in so many words."""
        return 49152 if self is Encoding.BASE64 else 12288

    def decode(self, text: bytes) -> bytes | None:
        """The bytes that the guest printed as `text`; None if that is no such text."""
        try:
            return (
                base64.b64decode(text, validate=True)
                if self is Encoding.BASE64
                else bytes.fromhex(text.decode())
            )
        except (binascii.Error, ValueError):
            return None


class Checksum(StrEnum):
    """How the guest proves that a message is whole: a program that reads its standard input."""

    MD5 = "md5sum"
    CRC = "cksum"

    def compute(self, data: bytes) -> bytes:
        """What the program prints for `data`, without the blanks."""
        if self is Checksum.MD5:
            return hashlib.md5(data, usedforsecurity=False).hexdigest().encode() + b"-"
        return b"%d%d" % (posix_crc(data), len(data))


class Reply(NamedTuple):
    """What a command did. The outputs are missing where they are too long to come along."""

    status: int
    stdout_bytes: int
    stderr_bytes: int
    stdout: bytes | None
    stderr: bytes | None


def make_nonce() -> bytes:
    """A word that nothing in the guest can have printed before it was asked to."""
    return secrets.token_hex(8).encode()


def fill(line: bytes, nonce: bytes) -> bytes:
    """A line as it is typed."""
    return line.replace(NONCE, nonce)


# --- what is typed ------------------------------------------------------------------------------------


def hello_line(nonce: bytes) -> bytes:
    """The line that turns a login shell into a loop that reads lines and evaluates them.

    The loop is a shell of its own in the place of the login shell: not interactive, it prints neither
    prompts nor notices about jobs, and it is the plain `sh` whatever the user's shell is. The nonce comes
    in two halves, so that the echo of this line is not the answer to it. (Not `command eval`, which keeps
    a mistake from ending the shell: in busybox, a mistake in a subshell then makes that a second reader.)
    """
    half = b"%s %s" % (nonce[:8], nonce[8:])
    return (
        b' exec sh -c \'trap "" INT; stty sane -echo -opost; printf "\\n%s%s{hi=hi}%s%s\\n" '
        + b"%s %s; " % (half, half)
        + b'while IFS= read -r gb_l; do eval "$gb_l"; done\''
    )


def make_folder_name() -> str:
    """The name of the folder for outputs: not one that an earlier shell in the same guest has left."""
    return f"gb-{secrets.token_hex(4)}"


def setup_lines(folder_name: str) -> tuple[bytes, ...]:
    """What the loop needs to know, a line each; each with an answer."""
    folders = " ".join(f"{folder.rstrip('/')}/{folder_name}" for folder in FOLDERS)
    scripts = (script.replace("FOLDERS", folders) for script in _SETUP)
    return tuple(" ".join(script.split()).encode() + b'; gb_ok @ "$1"' for script in scripts)


# Blanks and line ends are one blank in what is typed. Where a variable is not in quotes, it is to be split
# into words: printf repeats its format for each of them, which drops the line ends.
_SETUP = (
    # With `set -m` a job is a process group of its own, and can be ended with all that it started.
    r"""
    gb_ok() { printf '\n%s{%s=%s}%s\n' "$1" "$2" "$2" "$1"; };
    exec 2>/dev/null; set -m; dmesg -n 1;
    export TERM=dumb COLUMNS=200 LC_ALL=C PAGER=cat SYSTEMD_PAGER=cat SYSTEMD_COLORS=0;
    set -- ready
    """,
    r"""
    for gb_d in FOLDERS; do
        { [ -d $gb_d ] || mkdir -m 700 $gb_d; } && echo 0 >$gb_d/s.0 && break; gb_d=;
    done;
    gb_n=0; gb_c=; set -- "$gb_d"
    """,
    r"""
    gb_e=; gb_k=49152;
    case "$(printf a | base64)" in YQ==) gb_e=base64;; esac;
    [ "$gb_e" ] || case "$(printf a | od -An -v -tx1)" in *61*) gb_e='od -An -v -tx1'; gb_k=12288;; esac;
    gb_h=;
    case "$(printf a | md5sum)" in 0cc175b9c0f1b6a831c399e269772661*) gb_h=md5sum;; esac;
    [ "$gb_h" ] || case "$(printf a | cksum)" in 1220704766*1) gb_h=cksum;; esac;
    gb_z=; case "$(dd if=$gb_d/s.0 bs=1 count=1 | wc -c)" in *1) gb_z=dd;; esac;
    set -- "${gb_e%% *},$gb_h,$gb_z"
    """,
    r"""
    gb_say() {
        printf '\n%s{\n' $1; printf '%s\n' $2;
        printf '|%s}%s\n' "$(printf %s $2 | $gb_h)" $1;
    };
    gb_get() { gb_say $1 "$(dd if=$gb_d/$2.$gb_n bs=$gb_k skip=$3 count=1 | $gb_e)"; };
    set -- say
    """,
    r"""
    gb_tell() {
        read -r gb_s <$gb_d/s.$gb_n;
        set -- $1 $(wc -c $gb_d/o.$gb_n $gb_d/e.$gb_n);
        gb_b="r,$gb_s,$2,$4,";
        if [ $(($2+$4)) -le $gb_k ]; then
            [ $2 = 0 ] || gb_b="$gb_b $($gb_e <$gb_d/o.$gb_n)"; gb_b="$gb_b,";
            [ $4 = 0 ] || gb_b="$gb_b $($gb_e <$gb_d/e.$gb_n)";
        fi;
        gb_say $1 "$gb_b";
    };
    set -- tell
    """,
    # Without a status and a process, something has killed the command's whole group. But between the first
    # look for the status and the last, it may have ended as it should. 127: the shell has forgotten it.
    r"""
    gb_ask() {
        if [ -s $gb_d/s.$gb_n ]; then gb_tell $1;
        elif jobs >/dev/null; kill -0 $gb_p; then gb_ok $1 running;
        else wait $gb_p; gb_s=$?; [ $gb_s != 127 ] || gb_s=137;
            [ -s $gb_d/s.$gb_n ] || echo $gb_s >$gb_d/s.$gb_n; gb_tell $1;
        fi;
    };
    gb_end() { kill -KILL -$gb_p || kill -KILL $gb_p; gb_ok $1 ended; };
    set -- ask
    """,
    # Outputs get new files each time: something in the background may still write to the old ones.
    r"""
    gb_go() {
        [ $1 != $gb_n ] || { gb_ask $2; return; };
        gb_o=$gb_n; gb_n=$1;
        (
            rm -f $gb_d/?.$gb_o;
            ( set --; trap - INT; eval "$(printf %b "$gb_c")" ) >$gb_d/o.$1 2>$gb_d/e.$1 </dev/null;
            echo $? >$gb_d/s.$1; gb_tell $2
        ) & gb_p=$!;
        gb_c=;
    };
    set -- go
    """,
)

END_LINE = b"gb_end @"
"""Ends the command that runs, with all that it started."""


def block_line(name: str, index: int) -> bytes:
    """Asks for a block of an output, `o` or `e`."""
    return b"gb_get @ %s %d" % (name.encode(), index)


def command_lines(command: bytes, number: int) -> tuple[tuple[tuple[bytes, int], ...], bytes]:
    """The lines that hand over `command`, each with the length that answers it, and the one that starts it.

    A part is appended only where it is missing, and a command started only under a new number, so that
    each line may be typed again.
    """
    *parts, last = _cut(command)
    lines, lengths = [], []
    length = 0
    for part in (*parts, last):
        append = b"[ ${#gb_c} != %d ] || gb_c=$gb_c'%s'; " % (length, part)
        lines.append(append if length else b"gb_c='%s'; " % part)
        length += len(part)
        lengths.append(length)
    starting = lines.pop() + b"gb_go %d @" % number
    return tuple(zip((line + b"gb_ok @ ${#gb_c}" for line in lines), lengths, strict=False)), starting


def _cut(command: bytes) -> Iterator[bytes]:
    """The command as `printf %b` takes it, in parts that fit into a line."""
    part = b""
    for symbol in (bytes([c]) if c in _PLAIN else b"\\0%03o" % c for c in command):
        if len(part) + len(symbol) > COMMAND_BYTES:
            yield part
            part = b""
        part += symbol
    yield part


# --- what is heard ------------------------------------------------------------------------------------


def tidy(heard: bytes) -> bytes:
    """What was heard without escape codes, carriage returns, and the kernel's messages."""
    # What has no line end yet stays: it may be half of what a guest says in another line.
    return _BRACKETED.sub(
        lambda found: b"" if found[0].endswith(b"\n") else found[0], _ESCAPE_CODES.sub(b"", heard)
    ).replace(b"\r", b"")


def clean(heard: bytes) -> bytes:
    """What was heard without all that cannot be part of a message."""
    return tidy(heard).translate(None, _UNPRINTABLE)


def has_end(heard: bytes | bytearray, nonce: bytes, start: int = 0) -> bool:
    """Whether a message with `nonce` ends in what was heard from `start` on."""
    return heard.find(b"}" + nonce, max(0, start - len(nonce))) >= 0


def find_payloads(cleaned: bytes, nonce: bytes, checksum: Checksum | None) -> Iterator[bytes]:
    """The payloads of the last undamaged messages with `nonce`, for checksums of the kind that is given."""
    for ending in deque(re.finditer(rb"\}" + nonce, cleaned), MOST_MESSAGES):
        begin = cleaned.rfind(nonce + b"{", max(0, ending.start() - LONGEST_MESSAGE), ending.start())
        if begin < 0:
            continue
        body = cleaned[begin + len(nonce) + 1 : ending.start()]
        payload, bar, proof = body.rpartition(b"|")
        half = len(body) // 2
        if bar:
            if checksum and checksum.compute(payload) == proof:
                yield payload
        elif body[half : half + 1] == b"=" and body[:half] == body[half + 1 :]:
            yield body[:half]


def parse_reply(payload: bytes, encoding: Encoding) -> Reply | None:
    """A command's reply: `r,STATUS,BYTES,BYTES,`, and `STDOUT,STDERR` where they are short."""
    fields = payload.split(b",")
    if fields[0] != b"r" or len(fields) not in (5, 6) or not all(field.isdigit() for field in fields[1:4]):
        return None
    if max(map(len, fields[1:4])) > _MOST_DIGITS:
        return None
    status, stdout_bytes, stderr_bytes = (int(field) for field in fields[1:4])
    if status > 255:
        return None
    if len(fields) == 5:
        return Reply(status, stdout_bytes, stderr_bytes, None, None)
    stdout, stderr = encoding.decode(fields[4]), encoding.decode(fields[5])
    # Something in the background may have written more since the bytes were counted.
    if stdout is None or stderr is None or len(stdout) < stdout_bytes or len(stderr) < stderr_bytes:
        return None
    return Reply(status, stdout_bytes, stderr_bytes, stdout[:stdout_bytes], stderr[:stderr_bytes])


def parse_tools(payload: bytes) -> tuple[str, str, str] | None:
    """The programs for each of `NEEDS` that the third line of the set-up found, each may be empty.

    None if there is no such answer.
    """
    words = payload.decode("ascii", "replace").split(",")
    known = ("", *Encoding), ("", *Checksum), ("", "dd")
    if len(words) != len(known) or any(word not in of for word, of in zip(words, known, strict=True)):
        return None
    encoding, checksum, cutter = words
    return encoding, checksum, cutter


def parse_length(payload: bytes, length: int) -> int | None:
    """The length of a command that has arrived; None if it is not `length`."""
    return length if payload == b"%d" % length else None


def parse_block(payload: bytes, encoding: Encoding, size_bytes: int) -> bytes | None:
    """A block of an output of which `size_bytes` are still wanted; None if it is too short."""
    block = encoding.decode(payload)
    wanted = min(encoding.block_bytes, size_bytes)
    # The last may be longer: something in the background may have written more since.
    return None if block is None or len(block) < wanted else block[:wanted]


def posix_crc(data: bytes) -> int:
    """The checksum of `cksum` (POSIX.1-2017, cksum): CRC-32 of the data and its length, unreflected."""
    crc = 0
    length = len(data)
    for byte in data + length.to_bytes((length.bit_length() + 7) // 8, "little"):
        crc = (crc << 8 & 0xFFFFFFFF) ^ _CRC_TABLE[crc >> 24 ^ byte]
    return crc ^ 0xFFFFFFFF


def _make_crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte << 24
        for _ in range(8):
            crc = crc << 1 ^ (0x104C11DB7 if crc & 0x80000000 else 0)
        table.append(crc)
    return tuple(table)


_CRC_TABLE = _make_crc_table()
