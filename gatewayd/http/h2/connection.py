"""HOT: one HTTP/2 connection, either side: frames read, checked and handed to their streams (RFC 9113 4, 6.1, 6.2).

There is no I/O in here beyond ``write`` and ``transport``, which a test replaces, and no request: what a header block
means is the role's business (``server.py``, ``client.py``).
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any, Final

from gatewayd.http.h2 import floods, frames
from gatewayd.http.h2.control import FRAMES, IN_BLOCK, LINGERING, RUNNING, Control
from gatewayd.http.h2.frames import (
    CONTINUATION,
    DATA,
    DEFAULT_FRAME_BYTES,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    HAS_PRIORITY,
    HEADER_BYTES,
    HEADERS,
    MAX_STREAM_ID,
    PADDED,
    PREFACE,
    SETTINGS,
    unpack_header,
)
from gatewayd.http.h2.hpack import Decoder
from gatewayd.http.h2.stream import OPEN_TO_DATA, Stream
from gatewayd.http.limits import HttpLimits

#: The bit of a stream's number that means nothing.
_RESERVED: Final = MAX_STREAM_ID + 1
#: Flags of most HEADERS frames, and of those that end their stream.
_WHOLE_HEADERS: Final = frozenset({END_HEADERS, END_HEADERS | END_STREAM})
_LAST_HEADERS: Final = END_HEADERS | END_STREAM


class Connection(Control, asyncio.Protocol):
    """What both roles have in common. A role overrides ``on_*``."""

    __slots__ = (
        "_block", "_block_bytes", "_block_flags", "_block_since", "_block_stream", "_buffer", "_credit", "_data_end",
        "_data_left", "_data_stream", "_empty", "_empty_in_a_row", "_uncredited", "connection_window", "decoder",
        "stream_limit", "stream_window",
    )  # fmt: skip

    #: whether DATA is credited to the connection when it comes, or when it was passed on
    credits_at_once: bool = False

    def __init__(self, limits: HttpLimits, max_block_bytes: int, max_fields: int) -> None:
        """``max_block_bytes``: of names and values; a block may have twice as many on the wire."""
        super().__init__(limits)
        self.decoder = Decoder(max_block_bytes, max_fields)
        #: what we announce, and what a peer may send that has not heard of it yet
        self.stream_window = limits.h2_stream_window_bytes
        self.stream_limit = max(self.stream_window, DEFAULT_WINDOW)
        self.connection_window = max(limits.h2_connection_window_bytes, DEFAULT_WINDOW)
        self._buffer = b""
        #: received and not credited yet; of these, what was passed on and waits until it is worth a WINDOW_UPDATE
        self._uncredited = self._credit = 0
        #: the rest of a DATA frame that has come in part; -1: the client's preface is to come
        self._data_left = -1 if self.is_server else 0
        self._data_stream = 0
        self._data_end = False
        self._empty = 0
        self._empty_in_a_row = False
        #: a header block that goes on in CONTINUATION frames
        self._block: list[bytes] = []
        self._block_bytes = 0
        self._block_stream = 0
        self._block_flags = 0
        self._block_since = 0.0

    # --- a role's own

    def on_block(self, stream_id: int, block: bytes, end: bool) -> None:
        """A whole header block."""
        raise NotImplementedError

    # --- beginning

    def greeting(self, settings: dict[int, int]) -> bytes:
        """Our SETTINGS, and the connection's window."""
        self._since = monotonic()
        settings[frames.INITIAL_WINDOW_SIZE] = self.limits.h2_stream_window_bytes
        out = frames.settings(settings)
        if self.connection_window > DEFAULT_WINDOW:
            out += frames.window_update(0, self.connection_window - DEFAULT_WINDOW)
        return out

    # --- reading

    def data_received(self, data: bytes) -> None:
        """Bytes from the peer, in whatever pieces."""
        self.progress += 1
        if self.phase >= LINGERING:
            self.throw_away(len(data))
            return
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        self.busy = True
        at = self._resume(data) if self._data_left else 0
        size = len(data)
        if at < 0:  # a part of the preface
            self._buffer = data
            at = size
        while size - at >= HEADER_BYTES:
            high, length, kind, flags, stream_id = unpack_header(data, at)
            end = at + HEADER_BYTES + length
            if high or length > DEFAULT_FRAME_BYTES:
                self.fail(frames.FRAME_SIZE_ERROR, "frame too large")
                break
            if stream_id > MAX_STREAM_ID:
                stream_id -= _RESERVED
            if self.phase != RUNNING:
                if end > size or self.phase == LINGERING:
                    break
                self._on_frame(kind, flags, stream_id, data[at + HEADER_BYTES : end])
            elif kind == DATA:
                end = self._on_data(data, end, length, flags, stream_id)
                if end < 0:
                    break
            elif end > size:
                break
            elif kind == HEADERS and flags in _WHOLE_HEADERS:
                self._empty_in_a_row = False
                self.on_block(stream_id, data[at + HEADER_BYTES : end], flags == _LAST_HEADERS)
            else:
                self._on_frame(kind, flags, stream_id, data[at + HEADER_BYTES : end])
            at = end
        self.busy = False
        if at < size and self.phase < LINGERING:
            self._buffer = data[at:] if at else data
        if self.out:
            self.flush()

    def _on_data(self, data: bytes, end: int, length: int, flags: int, stream_id: int) -> int:
        """A DATA frame, with those of the same stream behind it; where they end.

        What has come of a frame is passed on before the rest is there. -1: more is needed first.
        """
        stream = self.streams.get(stream_id)
        size = len(data)
        if stream is None or stream.state not in OPEN_TO_DATA:
            if end > size:
                return -1
            self._data_nowhere(stream, stream_id, length)
            return end
        if (
            end <= size
            and length
            and (flags == END_STREAM or (not flags and (size - end < HEADER_BYTES or data[end + 3] != DATA)))
        ):  # a short body, mostly
            self._empty_in_a_row = False
            came = length
            data = data[end - length : end]
        else:
            if end > size and flags & PADDED:
                return -1  # its padding is at the end
            pieces: list[bytes] = []
            length, end, flags = self._gather(pieces, data, end, length, flags, stream_id)
            if length < 0:
                return end
            came = length
            if end > size:  # the last one goes on
                self._data_left = end - size
                self._data_stream = stream_id
                self._data_end = flags & END_STREAM != 0
                came -= self._data_left
                end = size
                flags = 0
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        # What counts is what a frame says, also of bytes that are still to come.
        self._uncredited += length
        if self._uncredited > self.connection_window:
            self.fail(frames.FLOW_CONTROL_ERROR, "connection window exceeded")
            return end
        if self.credits_at_once:
            self.credit(length)
        stream.unacknowledged += length
        if stream.unacknowledged > self.stream_limit:
            stream.on_window_exceeded()
            return end
        stream.receive(data, came, flags & END_STREAM != 0)
        return end

    def _gather(
        self, pieces: list[bytes], data: bytes, end: int, length: int, flags: int, stream_id: int
    ) -> tuple[int, int, int]:
        """What the DATA frames in a row bring, into ``pieces``; ``end``, ``length`` and ``flags`` are of the first.

        The result: how much of the window they take (-1: there was an error), where the last of them ends, its flags.
        """
        size = len(data)
        total = 0
        while True:
            total += length
            body = end - length
            if flags & PADDED:
                padding = data[body] if length else length
                if padding >= length:
                    self.fail(frames.PROTOCOL_ERROR, "DATA: invalid padding")
                    return -1, end, 0
                piece = data[body + 1 : end - padding]
            else:
                piece = data[body:end]  # or what there is of it
            if piece or flags & END_STREAM or end > size:
                self._empty_in_a_row = False
            elif self._is_empty_flood():
                return -1, end, 0
            pieces.append(piece)
            if flags & END_STREAM or size - end < HEADER_BYTES:
                break
            high, next_length, kind, next_flags, next_stream = unpack_header(data, end)
            if kind != DATA or next_stream != stream_id or high or next_length > DEFAULT_FRAME_BYTES:
                break
            next_end = end + HEADER_BYTES + next_length
            if next_end > size and next_flags & PADDED:
                break
            end, length, flags = next_end, next_length, next_flags
        return total, end, flags

    def _resume(self, data: bytes) -> int:
        """The client's preface, or more of a DATA frame that had come in part; where it ends."""
        if self._data_left < 0:
            return self._on_preface(data)
        size = len(data)
        left = self._data_left - size
        stream = self.streams.get(self._data_stream)
        if left > 0:
            self._data_left = left
            end = False
            came = size
        else:
            came = self._data_left
            self._data_left = 0
            end = self._data_end
        if stream is None or stream.state not in OPEN_TO_DATA:
            if not self.credits_at_once:
                self.credit(came)
        else:
            stream.receive(data if came == size else data[:came], came, end)
        return came

    def _on_preface(self, data: bytes) -> int:
        if data.startswith(PREFACE):
            self._data_left = 0
            return len(PREFACE)
        if not PREFACE.startswith(data):
            self.fail(frames.PROTOCOL_ERROR, "no preface")
            return len(data)
        return -1

    def credit(self, length: int) -> None:
        """``length`` received bytes need no room any more."""
        self._credit += length
        if self._credit * 2 >= self.connection_window:
            self._uncredited -= self._credit
            self.put(frames.window_update(0, self._credit))
            self._credit = 0

    def _data_nowhere(self, stream: Stream | None, stream_id: int, length: int) -> None:
        """DATA for a stream that is not open to it: it counts for the connection's window all the same."""
        self._uncredited += length
        if self._uncredited > self.connection_window:
            self.fail(frames.FLOW_CONTROL_ERROR, "connection window exceeded")
            return
        self.credit(length)
        if self.expects(DATA, stream, stream_id):
            self.count(floods.CLOSED_STREAMS)

    def _is_empty_flood(self) -> bool:
        """DATA without a byte and without an end: one in a row, so many in all (as Envoy)."""
        self._empty += 1
        if self._empty_in_a_row or self._empty > self.limits.h2_empty_frames:
            self.fail(frames.ENHANCE_YOUR_CALM, "too many empty frames")
            return True
        self._empty_in_a_row = True
        return False

    # --- frames that are not bodies

    def _on_frame(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Any frame but plain DATA and plain HEADERS."""
        if self.phase != RUNNING:
            if self.phase == IN_BLOCK:
                if kind != CONTINUATION or stream_id != self._block_stream:
                    self.fail(frames.PROTOCOL_ERROR, "unexpected non-CONTINUATION frame")
                else:
                    self._on_continuation(flags, payload)
                return
            if kind != SETTINGS:
                self.fail(frames.PROTOCOL_ERROR, "no SETTINGS")
                return
        take = _TAKES.get(kind)
        if take is not None:
            take(self, flags, stream_id, payload)
        elif kind > CONTINUATION:
            self.count(floods.UNKNOWN)  # ignored (RFC 9113 4.1)
        else:
            self.fail(frames.PROTOCOL_ERROR, f"unexpected {frames.NAMES[kind]}")

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._empty_in_a_row = False
        padding = 0
        at = 0
        if flags & PADDED:
            padding = payload[0] if payload else 0
            at = 1
        if flags & HAS_PRIORITY:
            at += 5  # a piece of advice nobody takes (RFC 9113 5.3.2)
        if at + padding > len(payload):
            self.fail(frames.PROTOCOL_ERROR, "HEADERS: invalid padding")
            return
        block = payload[at : len(payload) - padding]
        if flags & END_HEADERS:
            self.on_block(stream_id, block, flags & END_STREAM != 0)
            return
        if not stream_id:
            self.fail(frames.PROTOCOL_ERROR, "HEADERS: no stream")
            return
        self._block = [block]
        self._block_bytes = len(block)
        self._block_stream = stream_id
        self._block_flags = flags
        self.phase = IN_BLOCK
        self._block_since = monotonic()

    def _on_continuation(self, flags: int, payload: bytes) -> None:
        limits = self.limits
        block = self._block
        block.append(payload)
        self._block_bytes += len(payload)
        if not payload and not flags & END_HEADERS:
            self.fail(frames.ENHANCE_YOUR_CALM, "empty CONTINUATION")
        elif len(block) > limits.h2_max_continuations or self._block_bytes > 2 * self.decoder.max_bytes:
            self.fail(frames.ENHANCE_YOUR_CALM, "header block too large")
        elif flags & END_HEADERS:
            self._block = []
            self._block_since = 0.0
            self.phase = RUNNING
            self.on_block(self._block_stream, b"".join(block), self._block_flags & END_STREAM != 0)

    def _on_stray_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        self.fail(frames.PROTOCOL_ERROR, "unexpected CONTINUATION")

    def tick(self, now: float) -> None:
        """Called about once a second; a role looks at its own timeouts besides."""
        limits = self.limits
        if self.phase == LINGERING:
            if now - self._since >= limits.linger_s:
                self.transport.abort()
        elif self._since and 0 < limits.h2_settings_timeout_s <= now - self._since:
            self.fail(frames.SETTINGS_TIMEOUT, "SETTINGS not acknowledged")
        elif self._block_since and 0 < limits.request_head_timeout_s <= now - self._block_since:
            self.fail(frames.ENHANCE_YOUR_CALM, "header block not finished")


_TAKES: Final[dict[int, Any]] = {
    **FRAMES,
    HEADERS: Connection._on_headers,
    CONTINUATION: Connection._on_stray_continuation,
}
