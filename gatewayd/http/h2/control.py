"""Frames that are not messages: settings, windows, pings, resets and farewells; and how a connection ends (RFC 9113 6).

Cold beside the messages themselves. What goes against the protocol ends the connection with GOAWAY; what floods it ends
it with ENHANCE_YOUR_CALM (hardening section 3).
"""

from __future__ import annotations

from time import monotonic
from typing import Any, Final

from gatewayd.http.h2 import floods, frames
from gatewayd.http.h2.floods import Floods
from gatewayd.http.h2.frames import (
    ACK,
    DEFAULT_FRAME_BYTES,
    GOAWAY,
    MAX_STREAM_ID,
    MAX_WINDOW,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from gatewayd.http.h2.hpack import DEFAULT_TABLE_BYTES
from gatewayd.http.h2.sender import Sender
from gatewayd.http.h2.states import CLOSED, IDLE, RECEIVED
from gatewayd.http.h2.stream import Stream
from gatewayd.http.limits import HttpLimits

#: In one frame, as nghttp2 has it.
_MAX_SETTINGS: Final = 32

# Where a connection stands.
STARTING: Final = 0  # the peer's SETTINGS have not come
RUNNING: Final = 1
IN_BLOCK: Final = 2  # a header block goes on: nothing but CONTINUATION may come
LINGERING: Final = 3  # GOAWAY is sent and nothing follows: what comes is thrown away

#: What a PING of ours says that asks whether the peer has seen our first GOAWAY.
_DRAIN_PING: Final = b"draining"
_WORDS: Final = ("idle", "open", "half-closed(remote)", "half-closed(local)", "closed")


class Control(Sender):
    """The part of a connection that speaks of the connection. A role overrides ``on_*``."""

    __slots__ = ("_drained", "_floods", "_since", "last_stream", "limits", "peer_max_streams", "phase")

    #: which side we are
    is_server: bool = False

    def __init__(self, limits: HttpLimits) -> None:
        super().__init__(limits.h2_queued_bytes)
        self.limits = limits
        self.phase = STARTING
        self.peer_max_streams = MAX_STREAM_ID
        #: the highest number of a stream that the peer has opened
        self.last_stream = 0
        self._floods = Floods(limits)
        #: since when our SETTINGS are not acknowledged, 0.0: they are; when LINGERING, since when
        self._since = 0.0
        self._drained = 0

    # --- a role's own

    def on_settings(self) -> None:
        """The peer's settings came, or changed."""

    def on_goaway(self, last_stream: int, code: int) -> None:
        """The peer will take no new streams, and has not seen ours above ``last_stream``."""

    def on_drain_answered(self) -> None:
        """The peer has seen what we sent before :meth:`send_drain_ping`."""

    def on_alive(self, payload: bytes) -> None:
        """A PING of ours was answered."""

    def on_connect_protocol(self, allowed: bool) -> None:
        """The peer takes extended CONNECT, or does not (RFC 8441)."""

    def on_failed(self, stream: Any, details: str) -> None:
        """The connection ended for an error while ``stream`` was open."""
        raise NotImplementedError

    def closed_stream(self, stream: Stream) -> None:
        """A stream is over."""
        self.streams.pop(stream.id, None)

    def may_be_idle(self, stream_id: int) -> bool:
        """Whether a stream that is not open never was."""
        raise NotImplementedError

    # --- what comes

    def expects(self, kind: int, stream: Stream | None, stream_id: int) -> bool:
        """Whether the connection goes on after a frame on a stream that may not take it."""
        if not stream_id:
            self.fail(frames.PROTOCOL_ERROR, f"{frames.NAMES[kind]}: no stream")
            return False
        state = IDLE if self.may_be_idle(stream_id) else CLOSED
        if stream is not None:
            state = stream.state
        answer = RECEIVED[state][kind]
        if answer >= 0:
            self.fail(answer, f"{frames.NAMES[kind]}: stream in {_WORDS[state]}")
            return False
        return True

    def count(self, kind: int) -> bool:
        """Count what costs us and not the peer; False: it was too much, and the connection ends."""
        if self._floods.is_flood(kind, self.data_frames):
            self.fail(frames.ENHANCE_YOUR_CALM, f"too many {floods.NAMES[kind]}")
            return False
        return True

    def _on_priority(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            self.fail(frames.PROTOCOL_ERROR, "PRIORITY: no stream")
        elif len(payload) != 5:
            self.fail(frames.FRAME_SIZE_ERROR, "PRIORITY")
        else:
            self.count(floods.PRIORITIES)

    def _on_rst_stream(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            self.fail(frames.FRAME_SIZE_ERROR, "RST_STREAM")
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if self.expects(RST_STREAM, None, stream_id):
                self.count(floods.CLOSED_STREAMS)
            return
        stream.shut()
        stream.on_reset(int.from_bytes(payload, "big"))

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            self.fail(frames.PROTOCOL_ERROR, "SETTINGS on a stream")
            return
        if flags & ACK:
            if payload:
                self.fail(frames.FRAME_SIZE_ERROR, "SETTINGS acknowledgement")
            elif self.count(floods.SETTINGS):
                self._since = 0.0
            return
        if len(payload) % 6:
            self.fail(frames.FRAME_SIZE_ERROR, "SETTINGS")
            return
        if not self.count(floods.SETTINGS):
            return
        if len(payload) > 6 * _MAX_SETTINGS:
            self.fail(frames.ENHANCE_YOUR_CALM, "too many settings")
            return
        for key, value in frames.read_settings(payload):
            # Each may move the windows of all streams, so each counts as a frame would.
            if not self.count(floods.SETTINGS):
                return
            failure = self._set(key, value)
            if failure:
                self.fail(failure, "invalid setting")
                return
        if self.phase == STARTING:
            self.phase = RUNNING
        self.put(frames.SETTINGS_ACK)
        self.on_settings()

    def _set(self, key: int, value: int) -> int:
        """One setting of the peer; the error code if it cannot be (RFC 9113 6.5.2)."""
        if key == frames.INITIAL_WINDOW_SIZE:
            if value > MAX_WINDOW:
                return frames.FLOW_CONTROL_ERROR
            return self._change_windows(value)
        if key == frames.MAX_FRAME_SIZE:
            if not DEFAULT_FRAME_BYTES <= value <= frames.MAX_FRAME_BYTES:
                return (
                    frames.PROTOCOL_ERROR
                )  # but larger ones would only keep the streams beside them waiting
        elif key == frames.HEADER_TABLE_SIZE:
            if value < DEFAULT_TABLE_BYTES:
                self.table_shrunk = True
        elif key == frames.MAX_CONCURRENT_STREAMS:
            self.peer_max_streams = value
        elif key == frames.ENABLE_PUSH:
            if value > 1 or (value and not self.is_server):
                return frames.PROTOCOL_ERROR
        elif key == frames.ENABLE_CONNECT_PROTOCOL:
            if value > 1:
                return frames.PROTOCOL_ERROR
            self.on_connect_protocol(value == 1)
        return 0

    def _change_windows(self, value: int) -> int:
        """The windows of all streams move with the setting (RFC 9113 6.9.2)."""
        change = value - self.peer_window
        self.peer_window = value
        for stream in list(self.streams.values()):
            stream.send_window += change
            if stream.send_window > MAX_WINDOW:
                return frames.FLOW_CONTROL_ERROR
            if change > 0:
                self.on_stream_window(stream)
        return 0

    def _on_push_promise(self, flags: int, stream_id: int, payload: bytes) -> None:
        self.fail(frames.PROTOCOL_ERROR, "unexpected PUSH_PROMISE")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            self.fail(frames.PROTOCOL_ERROR, "PING on a stream")
        elif len(payload) != 8:
            self.fail(frames.FRAME_SIZE_ERROR, "PING")
        elif self.count(floods.PINGS):
            if not flags & ACK:
                self.put(frames.ping(payload, ack=True))
            elif payload == _DRAIN_PING:
                self.on_drain_answered()
            else:
                self.on_alive(payload)

    def send_drain_ping(self) -> None:
        """Ask for :meth:`on_drain_answered`."""
        self.put(frames.ping(_DRAIN_PING))

    def _on_goaway(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            self.fail(frames.PROTOCOL_ERROR, "GOAWAY on a stream")
        elif len(payload) < 8:
            self.fail(frames.FRAME_SIZE_ERROR, "GOAWAY")
        elif self.count(floods.GOAWAYS):
            last_stream = int.from_bytes(payload[:4], "big") & MAX_STREAM_ID
            self.on_goaway(last_stream, int.from_bytes(payload[4:8], "big"))

    def _on_window_update(self, flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            self.fail(frames.FRAME_SIZE_ERROR, "WINDOW_UPDATE")
            return
        if not self.count(floods.WINDOW_UPDATES):
            return
        increment = int.from_bytes(payload, "big") & MAX_WINDOW
        if not increment:
            self.fail(frames.PROTOCOL_ERROR, "WINDOW_UPDATE of 0")
        elif not stream_id:
            self.send_window += increment
            if self.send_window > MAX_WINDOW:
                self.fail(frames.FLOW_CONTROL_ERROR, "connection window too large")
            elif self._ready:
                self.pump()
        else:
            stream = self.streams.get(stream_id)
            if stream is None:
                self.expects(WINDOW_UPDATE, None, stream_id)
                return
            stream.send_window += increment
            if stream.send_window > MAX_WINDOW:
                self.fail(frames.FLOW_CONTROL_ERROR, "stream window too large")
            else:
                self.on_stream_window(stream)

    # --- the end

    def fail(self, code: int, words: str, details: str = "") -> None:
        """The connection cannot go on: GOAWAY, and no more is read. ``details``: for the log, by default the words."""
        if self.phase >= LINGERING:
            return
        self.out.append(frames.goaway(self.last_stream, code, words.encode()))
        self.linger()
        details = details or "codec_error:" + words.replace(" ", "_")
        for stream in list(self.streams.values()):
            stream.shut()
            self.on_failed(stream, details)

    def linger(self) -> None:
        """Everything is said: end our side, and read on for a little, or a reset would take what we said with it."""
        self.phase = LINGERING
        self._since = monotonic()
        self.flush()
        self.ended = True
        transport = self.transport
        if not transport.is_closing() and transport.can_write_eof():
            transport.write_eof()

    def throw_away(self, count: int) -> None:
        """``count`` bytes came that nobody reads."""
        self._drained += count
        if self._drained > self.limits.linger_bytes:
            self.transport.abort()


#: What takes the payload of each kind of frame: (connection, flags, stream, payload).
FRAMES: Final[dict[int, Any]] = {
    PRIORITY: Control._on_priority,
    RST_STREAM: Control._on_rst_stream,
    SETTINGS: Control._on_settings,
    PUSH_PROMISE: Control._on_push_promise,
    PING: Control._on_ping,
    GOAWAY: Control._on_goaway,
    WINDOW_UPDATE: Control._on_window_update,
}
