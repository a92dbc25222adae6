"""Framed JSON over a private socket: plain data in and out, and nothing that runs on arrival.

A frame is a 4-byte big-endian length and that many bytes of JSON. Each request carries a fresh
nonce that its answer must repeat, so a stray or early write cannot pass for an answer. Several
requests may be under way; they are answered in their order. Descriptors travel with requests only:
the kernel drops those that are sent with an answer.

Does not cover lies: whoever holds the worker's end can answer wrongly, and the referee's own
clock and comparisons are what bound that.
"""

from __future__ import annotations

import array
import json
import math
import secrets
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

MAX_FRAME_BYTES = 4 << 20
# that come with one request
MAX_DESCRIPTORS = 64
_HEADER = struct.Struct(">I")


class ChannelClosedError(Exception):
    """The other end is gone, or this one was closed."""


class ChannelTimeoutError(Exception):
    """The other end did not answer in time."""


class ChannelGarbageError(Exception):
    """What came is not a message of this protocol."""


class Channel:
    """One end of a private socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        # of the requests that wait for an answer, oldest first
        self._nonces: deque[str] = deque()
        self._served: str | None = None

    @classmethod
    def pair(cls) -> tuple[Channel, socket.socket]:
        """A channel, and the socket for the process at the other end."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(ours), theirs

    def ask(self, command: str, descriptors: tuple[int, ...] = (), **fields: Any) -> None:
        """Send a request; `answer` reads what comes back."""
        self._nonces.append(secrets.token_hex(8))
        self._send({"nonce": self._nonces[-1], "command": command, **fields}, descriptors)

    def answer(self, timeout_s: float) -> dict[str, Any]:
        """Read the answer to the oldest request that has none yet.

        Raises ChannelTimeoutError, ChannelClosedError, or ChannelGarbageError for anything that
        is not the answer to that request.
        """
        message, _ = self._receive(timeout_s)
        if message.pop("nonce", None) != self._nonces.popleft():
            raise ChannelGarbageError("an answer without the nonce of its request")
        return message

    def serve(self) -> tuple[dict[str, Any], list[int]]:
        """Wait for the next request; returns it with the descriptors that came along."""
        message, descriptors = self._receive(None, with_descriptors=True)
        self._served = message.pop("nonce", None)
        return message, descriptors

    def reply(self, **fields: Any) -> None:
        """Answer the request that was served last."""
        self._send({"nonce": self._served, **fields})

    @property
    def closed(self) -> bool:
        """Whether this end was closed."""
        return self._socket.fileno() < 0

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

    @staticmethod
    def wait(channels: Sequence[Channel], timeout_s: float) -> list[bool]:
        """Which of several channels have something to read, or are closed at the other end."""
        poll = select.poll()
        for channel in channels:
            poll.register(channel, select.POLLIN)
        ready = {number for number, _ in poll.poll(math.ceil(max(0.0, timeout_s) * 1e3))}
        return [channel.fileno() in ready for channel in channels]

    def fileno(self) -> int:
        """Name this end to the operating system."""
        return self._socket.fileno()

    def _send(self, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        body = json.dumps(message).encode()
        if len(body) > MAX_FRAME_BYTES:
            raise ChannelGarbageError(f"a message of {len(body)} bytes is over {MAX_FRAME_BYTES}")
        ancillary = (
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
            if descriptors
            else []
        )
        try:
            # a worker that stops reading must not stop the referee
            self._socket.settimeout(30.0)
            self._socket.sendmsg([_HEADER.pack(len(body))], ancillary)
            self._socket.sendall(body)
        except TimeoutError as error:
            raise ChannelTimeoutError("the other end does not read") from error
        except OSError as error:
            raise ChannelClosedError(str(error)) from error

    def _receive(
        self, timeout_s: float | None, *, with_descriptors: bool = False
    ) -> tuple[dict[str, Any], list[int]]:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        header, descriptors = self._read(_HEADER.size, deadline, with_descriptors=with_descriptors)
        (length,) = _HEADER.unpack(header)
        if length > MAX_FRAME_BYTES:
            raise ChannelGarbageError(f"a frame of {length} bytes is over {MAX_FRAME_BYTES}")
        body, _ = self._read(length, deadline)
        try:
            message = json.loads(body)
        except ValueError as error:
            raise ChannelGarbageError(f"a frame that is not JSON: {error}") from error
        except RecursionError as error:
            raise ChannelGarbageError("a frame whose JSON is nested too deeply") from error
        if not isinstance(message, dict):
            raise ChannelGarbageError(f"a frame that holds a {type(message).__name__}")
        return message, descriptors

    def _read(
        self, length: int, deadline: float | None, *, with_descriptors: bool = False
    ) -> tuple[bytes, list[int]]:
        chunks: list[bytes] = []
        descriptors: list[int] = []
        while length:
            # what has come is read even where the time is up: it may be the reader that was late
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
            try:
                self._socket.settimeout(remaining)
                if with_descriptors:
                    chunk, found, _, _ = socket.recv_fds(self._socket, length, MAX_DESCRIPTORS)
                    descriptors += found
                else:
                    chunk = self._socket.recv(min(length, 1 << 16))
            except (TimeoutError, BlockingIOError) as error:
                raise ChannelTimeoutError("no answer in time") from error
            except OSError as error:
                raise ChannelClosedError(str(error)) from error
            if not chunk:
                raise ChannelClosedError("the other end closed the channel")
            chunks.append(chunk)
            length -= len(chunk)
        return b"".join(chunks), descriptors
