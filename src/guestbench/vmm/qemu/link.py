"""The host's end of a guest's network link: Ethernet frames both ways. See `guestbench.vmm.Link`.

Frames go over a stream socket, each behind its length in four bytes, big-endian, as QEMU's `stream` network
device sends and takes them. Whatever the guest sends costs no more memory than one frame of the largest size.
"""

from __future__ import annotations

import select
import socket
import time

MAX_FRAME_BYTES = 65536 + 4096
"""The largest frame QEMU takes from us (NET_BUFSIZE in its include/net/net.h); no real one is longer."""
QUEUE_BYTES = 1 << 20
"""What may wait for a guest that takes no more frames."""
READ_BYTES = 1 << 18
LENGTH_BYTES = 4


class SocketLink:
    """One end of a link. Made of the socket whose other end the VMM has; whoever made that closes it.

    `is_closed` says that the VMM has gone; `oversized` counts frames that were thrown away for their length.
    """

    def __init__(self, ours: socket.socket) -> None:
        ours.setblocking(False)
        self._socket = ours
        self._poll = select.poll()
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._skip_bytes = 0
        self.is_closed = False
        self.oversized = 0

    def send(self, *frames: bytes) -> bool:
        """Send frames to the guest, as soon as it takes them; False if too many wait, and none was taken.

        Raises:
            ValueError: a frame is empty or longer than `MAX_FRAME_BYTES`.
        """
        if not all(0 < len(frame) <= MAX_FRAME_BYTES for frame in frames):
            raise ValueError("a frame is empty or too long")
        parts = [part for frame in frames for part in (len(frame).to_bytes(LENGTH_BYTES, "big"), frame)]
        if self.is_closed or len(self._outgoing) + sum(map(len, parts)) > QUEUE_BYTES:
            return False
        self._outgoing += b"".join(parts)
        self._flush()
        return not self.is_closed

    def receive(self, timeout_s: float = 0.0) -> list[bytes]:
        """Some of the frames that the guest has sent, oldest first; none if none came in `timeout_s` seconds.

        None come, and at once, when `is_closed`.
        """
        end_s = time.monotonic() + timeout_s
        while not self.is_closed:
            self._flush()
            if frames := self._read():
                return frames
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                break
            writing = select.POLLOUT if self._outgoing else 0
            self._poll.register(self._socket, select.POLLIN | writing)
            # Rounded up: a wait of 0 would be a busy loop.
            self._poll.poll(left_s * 1e3 + 1)
        return []

    def _flush(self) -> None:
        while self._outgoing and not self.is_closed:
            try:
                del self._outgoing[: self._socket.send(self._outgoing)]
            except BlockingIOError:
                return
            except OSError:
                self.is_closed = True

    def _read(self) -> list[bytes]:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self.is_closed = True
            return []
        self._incoming += data
        return self._split()

    def _split(self) -> list[bytes]:
        """Take the whole frames out of what has come, and pass over those that are too long."""
        frames, at = [], 0
        data = self._incoming
        while True:
            skipped = min(self._skip_bytes, len(data) - at)
            at += skipped
            self._skip_bytes -= skipped
            if self._skip_bytes or len(data) - at < LENGTH_BYTES:
                break
            size = int.from_bytes(data[at : at + LENGTH_BYTES], "big")
            if size > MAX_FRAME_BYTES:
                self.oversized += 1
                self._skip_bytes = LENGTH_BYTES + size
                continue
            end = at + LENGTH_BYTES + size
            if end > len(data):
                break
            if size:
                frames.append(bytes(data[at + LENGTH_BYTES : end]))
            at = end
        del data[:at]
        return frames
