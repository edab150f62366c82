"""The table of paths: which methods, which parameters, one line of help; and the page that lists them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Final

from gatewayd import __version__
from gatewayd.admin.guard import HEADER, Guard
from gatewayd.admin.messages import Answer, Rejected, Request, only
from gatewayd.regexes import Regex, compile_regex

#: Below it are the paths that Envoy does not have.
OURS: Final = "/api/"
HTML: Final = "text/html; charset=utf-8"

Handler = Callable[[Request], Answer | Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Path:
    """One path of the admin port."""

    name: str
    help: str
    handle: Handler
    #: it changes something, so it wants POST and the header
    changes: bool = False
    #: takes a body, so it wants POST, but changes nothing
    posted: bool = False
    #: parameter -> help
    parameters: Mapping[str, str] = field(default_factory=dict)
    #: further parameters are the handler's business
    any_parameter: bool = False

    @property
    def method(self) -> str:
        """What it wants."""
        return "POST" if self.changes or self.posted else "GET"


class Paths:
    """Finds the handler of a request, and refuses what must not be answered."""

    def __init__(self, paths: tuple[Path, ...], guard: Guard) -> None:
        self._guard = guard
        self._paths = {path.name: path for path in paths}
        self._paths["/"] = Path("/", "this page", lambda _: Answer(200, self._page(), HTML))
        self._paths["/help"] = Path("/help", "the same as text", lambda _: Answer(200, self.help()))

    def answer(self, request: Request) -> Answer | Awaitable[Answer]:
        """The answer; raises :class:`Rejected`."""
        self._guard.check(request)
        path = self._paths.get(request.path)
        if path is None:
            raise Rejected(404, f"invalid path. {self.help()}")
        if request.method != path.method and not (request.method == "HEAD" and path.method == "GET"):
            # As Envoy says it, and what to do.
            allowed = "POST" if path.method == "POST" else "GET, HEAD"
            raise Rejected(
                405,
                f"Method {request.method} not allowed, {path.method} required.",
                headers=(("allow", allowed),),
            )
        if path.method == "POST":
            self._guard.check_change(request)
        if not path.any_parameter and (path.name.startswith(OURS) or path.method == "POST"):
            # What reads in Envoy's words is read by Envoy's scripts: there parameters of its own are overlooked.
            only(request, path.parameters)
        return path.handle(request)

    def help(self) -> str:
        """All paths with their parameters, in Envoy's form."""
        lines = ["admin commands are:"]
        for name in sorted(self._paths):
            path = self._paths[name]
            lines.append(f"  {name}{' (POST)' if path.method == 'POST' else ''}: {path.help}")
            lines += [f"      {parameter}: {text}" for parameter, text in path.parameters.items()]
        lines.append(f"POST wants the header {HEADER}: 1")
        return "\n".join(lines) + "\n"

    def _page(self) -> str:
        rows = []
        for name in sorted(self._paths):
            path = self._paths[name]
            shown = escape(name)
            link = f'<a href="{shown}">{shown}</a>' if path.method == "GET" else f"POST {shown}"
            rows.append(f"<tr><td>{link}</td><td>{escape(path.help)}</td></tr>")
        return (
            "<!doctype html><html lang=en><meta charset=utf-8><title>gatewayd admin</title>"
            f"<h1>gatewayd {__version__}</h1><table>{''.join(rows)}</table></html>\n"
        )


def pattern(request: Request, name: str) -> Regex | None:
    """The regular expression of parameter ``name``, by RE2; None when it is not given."""
    text = request.query.get(name, "")
    if not text:
        return None
    try:
        return compile_regex(f"(?s:.*)(?:{text})(?s:.*)")
    except ValueError as error:
        raise Rejected(400, f"Invalid re2 regex: {name}: {error}") from None
