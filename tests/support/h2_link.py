"""HTTP/2 on one wire, frame by frame and in either role: nothing repaired, nothing forbidden, faults noted.

Frames are hyperframe's and header compression is hpack's. The h2 library on top of them would refuse to send
what a test must send, and to read on behind a GOAWAY, which is what a drain is about.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from typing import Final

from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError
from hyperframe.exceptions import HyperframeError
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from tests.support.h1_text import Headers
from tests.support.h2_message import GoAway, Message, code_name, code_number
from tests.support.wire import Wire

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEFAULT_WINDOW: Final = 65_535
DEFAULT_FRAME: Final = 16_384
TABLE_SIZE, PUSH, STREAMS, WINDOW, FRAME_SIZE, HEADER_LIST, CONNECT_PROTOCOL = 1, 2, 3, 4, 5, 6, 8
_HEADER_LIST_BYTES: Final = 4 << 20  # what the decoder takes: far above every limit that is tested
_HEAD: Final = 9


class Link:
    """One connection; run ``await link.run()`` beside what uses it: it reads until the wire ends.

    settings: ours, by number. on_head: told of each final head that opens a stream (server) or answers one.
    ``violations`` lists what the peer may not do; a test that does not provoke any finds none.
    """

    def __init__(
        self,
        wire: Wire,
        *,
        client: bool,
        settings: Mapping[int, int] | None = None,
        on_head: Callable[[Message], None] | None = None,
    ) -> None:
        self.wire = wire
        self.client = client
        self.settings = dict(settings or {})
        self.messages: dict[int, Message] = {}
        self.active: set[int] = set()  # streams neither reset nor ended on both sides
        self.peer_settings: dict[int, int] = {}
        self.violations: list[str] = []
        self.goaways: list[GoAway] = []
        self.last_taken: int | None = None  # the stream our last GOAWAY named
        self.pings = 0
        #: our SETTINGS are acknowledged / the peer's have come
        self.acknowledged = self.greeted = False
        self.over = False  # the wire has ended
        #: whether DATA is given back as window at once; a test that reads slowly turns it off
        self.reading = True
        self.frames: list[str] = []  # names of the frames that came, in order, without DATA and WINDOW_UPDATE
        self._on_head = on_head
        self._encoder, self._decoder = Encoder(), Decoder(_HEADER_LIST_BYTES)
        self._decoder.max_allowed_table_size = self.settings.get(TABLE_SIZE, 4096)
        self._send_window = self._receive_window = DEFAULT_WINDOW
        self._block: tuple[HeadersFrame, bytearray] | None = None  # a header block under way
        self._next_stream = 1
        self._waiting: list[asyncio.Future[None]] = []

    # Sending

    def greet(self) -> None:
        """The preface of a client, and SETTINGS."""
        if self.client:
            self.write(PREFACE)
        self.write(SettingsFrame(0, settings=self.settings).serialize())

    def write(self, data: bytes) -> None:
        """Any bytes, as they are."""
        if not self.wire.transport.is_closing():
            self.wire.transport.write(data)

    def open(self) -> Message:
        """A new stream of a client."""
        message = self._message(self._next_stream)
        self._next_stream += 2
        return message

    def send_head(self, stream: int, fields: Headers, *, end: bool = False) -> None:
        """HEADERS, and CONTINUATION where it does not fit one frame."""
        block = self._encoder.encode([(_bytes(name), _bytes(value)) for name, value in fields])
        pieces = [block[at : at + DEFAULT_FRAME] for at in range(0, len(block), DEFAULT_FRAME)] or [b""]
        frames: list[Frame] = [HeadersFrame(stream, pieces[0])]
        frames += [ContinuationFrame(stream, piece) for piece in pieces[1:]]
        if end:
            frames[0].flags.add("END_STREAM")
            self._ended(self.messages[stream])
        frames[-1].flags.add("END_HEADERS")
        self.write(b"".join(frame.serialize() for frame in frames))

    async def send_body(self, message: Message, data: bytes, *, end: bool = False) -> bool:
        """DATA as the windows allow; False when the stream was reset or the connection ended before all was sent."""
        at = 0
        while True:
            room = min(
                message.send_window, self._send_window, self.peer_settings.get(FRAME_SIZE, DEFAULT_FRAME)
            )
            if message.reset is not None or message.cut or self.wire.transport.is_closing():
                return False
            piece = data[at : at + max(0, room)]
            at += len(piece)
            last = at == len(data)
            if piece or last:
                frame = DataFrame(message.stream, piece)
                if last and end:
                    frame.flags.add("END_STREAM")
                message.send_window -= len(piece)
                self._send_window -= len(piece)
                if not await self.wire.send(frame.serialize()):
                    return False
            if last:
                if end:
                    self._ended(message)
                return True
            await self.until(
                lambda: min(message.send_window, self._send_window) > 0 or message.reset is not None
            )

    def send_reset(self, stream: int, code: str) -> None:
        """RST_STREAM."""
        self.active.discard(stream)
        self.write(RstStreamFrame(stream, error_code=code_number(code)).serialize())

    def send_goaway(self, last_stream: int, code: str = "NO_ERROR") -> None:
        """GOAWAY; nothing else changes here but ``last_taken``."""
        self.last_taken = last_stream
        self.write(GoAwayFrame(0, last_stream_id=last_stream, error_code=code_number(code)).serialize())

    def give_window(self, size: int, *streams: int) -> None:
        """WINDOW_UPDATE for the connection and for each of the streams."""
        for stream in (0, *streams):
            self.write(WindowUpdateFrame(stream, window_increment=size).serialize())
            if stream:
                self.messages[stream].receive_window += size
            else:
                self._receive_window += size

    # Waiting

    async def until(self, condition: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Wait for ``condition``, looked at after every frame; False when the time is up or the wire has ended."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    if self.over:
                        return False
                    waiter = asyncio.get_running_loop().create_future()
                    self._waiting.append(waiter)
                    await waiter
        except TimeoutError:
            return condition()
        return True

    # Receiving

    async def run(self) -> None:
        """Read until the wire ends; every message that is not over then is cut."""
        try:
            self._take_frames()
            while await self.wire.wait_more():
                self._take_frames()
        except (HyperframeError, HPACKError, struct.error, ValueError) as error:
            self.violations.append(f"{type(error).__name__}: {error}")
            self.wire.transport.abort()
        finally:
            self.over = True
            for message in self.messages.values():
                message.cut = not (message.complete or message.reset)
            self._news()

    def _take_frames(self) -> None:
        buffer = self.wire.buffer
        while len(buffer) >= _HEAD:
            frame, length = Frame.parse_frame_header(memoryview(bytes(buffer[:_HEAD])))
            if len(buffer) < _HEAD + length:
                break
            frame.parse_body(memoryview(self.wire.take(_HEAD + length))[_HEAD:])
            self._take(frame)
            self._news()

    def _take(self, frame: Frame) -> None:
        if not isinstance(frame, (DataFrame, WindowUpdateFrame)):
            self.frames.append(type(frame).__name__.removesuffix("Frame"))
        if self._block is not None and not isinstance(frame, ContinuationFrame):
            self.violations.append(f"{frame} inside a header block")
        handler = _HANDLERS.get(type(frame))
        if handler is not None:
            handler(self, frame)

    def _on_headers(self, frame: HeadersFrame) -> None:
        self._block = frame, bytearray(frame.data)
        self._block_ends(frame)

    def _on_continuation(self, frame: ContinuationFrame) -> None:
        if self._block is None:
            self.violations.append(f"{frame} outside a header block")
            return
        self._block[1].extend(frame.data)
        self._block_ends(frame)

    def _block_ends(self, frame: Frame) -> None:
        if "END_HEADERS" not in frame.flags or self._block is None:
            return
        first, block = self._block
        self._block = None
        fields = [
            (bytes(name).decode("latin-1"), bytes(value).decode("latin-1"))
            for name, value in self._decoder.decode(bytes(block), raw=True)
        ]
        ends = "END_STREAM" in first.flags
        message = self.messages.get(first.stream_id)
        if message is None:
            if self.client or first.stream_id % 2 == 0:
                self.violations.append(f"a head on stream {first.stream_id}, which was never opened")
                return
            message = self._message(first.stream_id)
        if message.over:
            self.violations.append(f"a head on stream {first.stream_id} behind its end")
        elif message.fields:
            message.content.trailers += fields
            if not ends:
                self.violations.append(f"trailers of stream {first.stream_id} do not end it")
        elif self.client and dict(fields).get(":status", "").startswith("1"):
            message.interim.append(fields)
            return
        else:
            message.fields = fields
            message.complete = ends
            if self._on_head is not None:
                self._on_head(message)
        message.complete |= ends
        if message.answered and message.complete:
            self.active.discard(message.stream)

    def _on_data(self, frame: DataFrame) -> None:
        size = frame.flow_controlled_length
        self._receive_window -= size
        message = self.messages.get(frame.stream_id)
        if message is None or not message.fields or message.over:
            self.violations.append(f"DATA on stream {frame.stream_id} outside a message")
            return
        message.receive_window -= size
        if min(self._receive_window, message.receive_window) < 0:
            self.violations.append(f"DATA on stream {frame.stream_id} beyond the window")
        message.content.data += frame.data
        message.complete = "END_STREAM" in frame.flags
        if message.answered and message.complete:
            self.active.discard(message.stream)
        if self.reading and size:
            self.give_window(size, *(() if message.complete else (frame.stream_id,)))

    def _on_rst(self, frame: RstStreamFrame) -> None:
        message = self.messages.get(frame.stream_id)
        if message is None:
            self.violations.append(f"a reset of stream {frame.stream_id}, which was never opened")
        else:
            message.reset = code_name(frame.error_code)
            self.active.discard(frame.stream_id)

    def _on_settings(self, frame: SettingsFrame) -> None:
        if "ACK" in frame.flags:
            self.acknowledged = True
            return
        before = self.peer_settings.get(WINDOW, DEFAULT_WINDOW)
        self.peer_settings.update(frame.settings)
        self.greeted = True
        for message in self.messages.values():
            message.send_window += self.peer_settings.get(WINDOW, DEFAULT_WINDOW) - before
        self._encoder.header_table_size = min(4096, self.peer_settings.get(TABLE_SIZE, 4096))
        acknowledgement = SettingsFrame(0)
        acknowledgement.flags.add("ACK")
        self.write(acknowledgement.serialize())

    def _on_ping(self, frame: PingFrame) -> None:
        self.pings += 1
        if "ACK" not in frame.flags:
            answer = PingFrame(0, opaque_data=frame.opaque_data)
            answer.flags.add("ACK")
            self.write(answer.serialize())

    def _on_goaway(self, frame: GoAwayFrame) -> None:
        self.goaways.append(GoAway(frame.last_stream_id, code_name(frame.error_code), frame.additional_data))

    def _on_window(self, frame: WindowUpdateFrame) -> None:
        if not frame.stream_id:
            self._send_window += frame.window_increment
        elif frame.stream_id in self.messages:
            self.messages[frame.stream_id].send_window += frame.window_increment

    def _message(self, stream: int) -> Message:
        message = Message(
            stream,
            self.peer_settings.get(WINDOW, DEFAULT_WINDOW),
            # Before it has acknowledged ours, the peer may still count by the default.
            max(self.settings.get(WINDOW, DEFAULT_WINDOW), 0 if self.acknowledged else DEFAULT_WINDOW),
        )
        self.messages[stream] = message
        self.active.add(stream)
        limit = self.settings.get(STREAMS)
        if not self.client and self.acknowledged and limit is not None and len(self.active) > limit:
            self.violations.append(f"stream {stream} is one more than {limit} at once")
        return message

    def _ended(self, message: Message) -> None:
        """We have ended our side."""
        message.answered = True
        if message.over:
            self.active.discard(message.stream)

    def _news(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


_HANDLERS: dict[type[Frame], Callable[..., None]] = {
    HeadersFrame: Link._on_headers,
    ContinuationFrame: Link._on_continuation,
    DataFrame: Link._on_data,
    RstStreamFrame: Link._on_rst,
    SettingsFrame: Link._on_settings,
    PingFrame: Link._on_ping,
    GoAwayFrame: Link._on_goaway,
    WindowUpdateFrame: Link._on_window,
}


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")
