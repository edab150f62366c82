"""HOT: the responses of an HTTP/1.1 downstream connection, as they are written."""

from __future__ import annotations

from gatewayd.http.edge import Edge
from gatewayd.http.h1.connection import Connection
from gatewayd.http.message import Pair, Trailers
from gatewayd.http.response import ResponseHead, status_line


class ResponseWriter(Connection):
    """Writes what the exchange wants answered; see :class:`~gatewayd.http.streams.ServerStream`."""

    __slots__ = ("close_after", "edge", "method", "request_done")

    def __init__(self, edge: Edge) -> None:
        super().__init__()
        self.edge = edge
        #: of the request that is answered
        self.method = b""
        self.request_done = True
        #: whether the connection ends with this answer
        self.close_after = False

    def relay(self, head: ResponseHead, service_time_ms: int, data: bytes, end: bool) -> None:
        """Send an upstream's response with the proxy's own fields; see ServerStream."""
        edge = self.edge
        if not self.request_done:
            self.close_after = True
        out = [head.relay]
        if edge.options.debug_headers:
            if service_time_ms < 0:
                out[0] = head.relay[: -len(b"x-envoy-upstream-service-time: ")]
            else:
                out.append(b"%d\r\n" % service_time_ms)
        if not head.has_date:
            out.append(edge.date.line())
        if self.close_after:
            out.append(b"connection: close\r\n")
        if end:
            out.append(self._length_of_bodyless(head) if not data and head.content_length < 0 else b"\r\n")
            out.append(data)
            self.write(b"".join(out))
            self._response_done()
            return
        self.progress += 1
        if head.content_length < 0:
            # Without a body there are no chunks, even if its end is still to come.
            self._chunked = head.status not in (204, 304) and self.method != b"HEAD"
            out.append(
                self._length_of_bodyless(head) if not self._chunked else b"transfer-encoding: chunked\r\n\r\n"
            )
            if data:
                data = b"%x\r\n%b\r\n" % (len(data), data)
        else:
            self._chunked = False
            out.append(b"\r\n")
        out.append(data)
        self.write(b"".join(out))

    def _length_of_bodyless(self, head: ResponseHead) -> bytes:
        """The framing field of a complete response without body and without content-length."""
        if head.status in (204, 304) or head.status < 200:
            return b"\r\n"
        if self.method == b"HEAD":
            return b"transfer-encoding: chunked\r\n\r\n"
        return b"content-length: 0\r\n\r\n"

    def respond(self, status: int, pairs: list[Pair], data: bytes, end: bool, *, close: bool = False) -> None:
        """Send a response built here; ``pairs`` hold everything but framing and ``connection``."""
        if close or not self.request_done:
            self.close_after = True
        out = [status_line(status)]
        length = None
        for name, value in pairs:
            if name == b"content-length":
                length = value
            elif name != b"transfer-encoding":
                out += (name, b": ", value, b"\r\n")
        if self.close_after:
            out.append(b"connection: close\r\n")
        bodyless = status in (204, 304)
        self._chunked = False
        if length is not None:
            out += (b"content-length: ", length, b"\r\n\r\n")
        elif bodyless:
            out.append(b"\r\n")
        elif self.method == b"HEAD" or not end:
            self._chunked = self.method != b"HEAD"
            out.append(b"transfer-encoding: chunked\r\n\r\n")
        else:
            out.append(b"content-length: %d\r\n\r\n" % len(data))
        if data and not bodyless and self.method != b"HEAD":
            out.append(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        self.write(b"".join(out))
        if end:
            self._response_done()

    def send_data(self, data: bytes, end: bool) -> None:
        """More of the response body; see ServerStream."""
        if self.transport.is_closing():
            return
        self.progress += 1
        if self._chunked:
            if data:
                data = b"%x\r\n%b\r\n" % (len(data), data)
            if end:
                data += b"0\r\n\r\n"
        if data:
            self.write(data)
        if end:
            self._response_done()

    def send_trailers(self, trailers: Trailers) -> None:
        """The end of the body; see ServerStream."""
        self.send_data(b"", True)

    def send_interim(self, status: int, pairs: list[Pair]) -> None:
        """A 1xx response; see ServerStream. It has no body, so nothing in it may promise one."""
        self.progress += 1
        out = [status_line(status)]
        for name, value in pairs:
            if name != b"content-length":
                out += (name, b": ", value, b"\r\n")
        out.append(b"\r\n")
        self.write(b"".join(out))

    def _response_done(self) -> None:
        """The answer is written to its end."""
        raise NotImplementedError
