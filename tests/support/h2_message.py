"""What comes on one stream of HTTP/2, and the names of error codes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tests.support.h1_text import Body, Headers

#: RFC 9113 7, in the order of the codes.
CODES: Final = (
    *("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT"),
    *("STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR"),
    *("CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"),
)


def code_name(code: int) -> str:
    """Name of an error code, or the number as text."""
    return CODES[code] if code < len(CODES) else str(code)


def code_number(name: str) -> int:
    """Error code of a name. ValueError for an unknown one."""
    return CODES.index(name)


@dataclass
class GoAway:
    """A GOAWAY of the peer."""

    last_stream: int
    code: str
    debug: bytes = b""


@dataclass
class Message:
    """What came on one stream. ``fields`` is the final head, pseudo-header fields and all, as sent.

    complete: END_STREAM came. reset: the code of the peer's RST_STREAM. cut: the connection ended before.
    answered: we have ended our side.
    """

    stream: int
    send_window: int
    receive_window: int
    fields: Headers = field(default_factory=list)
    interim: list[Headers] = field(default_factory=list)
    content: Body = field(default_factory=Body)
    complete: bool = False
    reset: str | None = None
    cut: bool = False
    answered: bool = False

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.complete or self.reset is not None or self.cut

    def pseudo(self, name: str) -> str | None:
        """Value of a pseudo-header field such as ``:path``; None when it was not sent."""
        return next((value for key, value in self.fields if key == name), None)

    @property
    def plain(self) -> Headers:
        """The fields without pseudo-header fields."""
        return [(name, value) for name, value in self.fields if not name.startswith(":")]
