"""``/config_dump`` with ``resource``, ``name_regex``, ``mask`` and ``include_eds`` as Envoy has them.

The elements come as rows, one each, and leave as they come; the virtual hosts of a route table come in rows of their
own, for there may be thousands.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

from gatewayd.admin.dump.values import TYPE, Message
from gatewayd.admin.messages import JSON, Answer, Rejected, Request, encode, json_answer
from gatewayd.admin.state import State
from gatewayd.regexes import Regex, compile_regex

BOOTSTRAP: Final = "bootstrap"
_TYPE: Final = TYPE + "envoy.admin.v3."
#: Section -> its message, and that of its elements below it; in Envoy's order.
SECTIONS: Final = {
    BOOTSTRAP: ("BootstrapConfigDump", ""),
    "dynamic_active_clusters": ("ClustersConfigDump", "DynamicCluster"),
    "dynamic_endpoint_configs": ("EndpointsConfigDump", "DynamicEndpointConfig"),
    "dynamic_listeners": ("ListenersConfigDump", "DynamicListener"),
    "dynamic_route_configs": ("RoutesConfigDump", "DynamicRouteConfig"),
    "dynamic_active_secrets": ("SecretsConfigDump", "DynamicSecret"),
}
#: What Envoy has too and is always empty here.
_EMPTY: Final = frozenset(
    {
        *("static_clusters", "dynamic_warming_clusters", "static_endpoint_configs", "static_listeners"),
        *("static_route_configs", "inline_scoped_route_configs", "dynamic_scoped_route_configs"),
        *("static_secrets", "dynamic_warming_secrets"),
    }
)
#: With ``?include_eds`` only.
_ENDPOINTS: Final = "dynamic_endpoint_configs"


@dataclass(frozen=True, slots=True)
class _Wish:
    resource: str
    sections: tuple[str, ...]
    names: Regex | None
    mask: tuple[tuple[str, ...], ...]


def config_dump(state: State, request: Request) -> Answer | Any:
    """The answer to ``/config_dump``."""
    wish = _wish(request)
    if wish.resource in _EMPTY:
        return json_answer({})
    return _answer(state, wish)


async def _answer(state: State, wish: _Wish) -> Answer:
    """Nothing is sent before the first element is known: until then a mask can turn out to fit nothing."""
    writer = _Elements(wish) if wish.resource else _Configs(wish)
    pieces = writer.pieces(state.rows("dump", {"sections": list(wish.sections)}))
    first = await anext(pieces)
    if writer.found or not wish.mask:
        return Answer(200, content_type=JSON, pieces=_chain(first, pieces))
    await pieces.aclose()  # type: ignore[attr-defined]  # it is a generator
    text = ",".join(".".join(path) for path in wish.mask)
    end = "used." if wish.resource else "applied to any configs."
    raise Rejected(400, f"FieldMask {text} could not be successfully {end}")


async def _chain(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece


def _wish(request: Request) -> _Wish:
    resource = request.query.get("resource", "")
    if resource == BOOTSTRAP:
        raise Rejected(
            400,
            "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field",
        )
    if resource and resource not in SECTIONS and resource not in _EMPTY:
        known = ", ".join(name for name in SECTIONS if name != BOOTSTRAP)
        raise Rejected(404, f"{resource} not found in config dump (expected one of {known})")
    names = None
    if "name_regex" in request.query:
        try:
            names = compile_regex(request.query["name_regex"])
        except ValueError as error:
            raise Rejected(400, f"Error while parsing name_regex: {error}") from None
    mask = tuple(
        tuple(path.strip().split(".")) for path in request.query.get("mask", "").split(",") if path.strip()
    )
    if resource:
        sections: tuple[str, ...] = (resource,)
    else:
        tops = {path[0] for path in mask}
        sections = tuple(
            name
            for name in SECTIONS
            if (not tops or name in tops) and (name != _ENDPOINTS or request.flag("include_eds"))
        )
    return _Wish(resource, sections, names, mask)


def masked(value: Any, paths: tuple[tuple[str, ...], ...]) -> Any:
    """``value`` with nothing but the fields that ``paths`` lead to; no paths: all of it."""
    if not paths or not isinstance(value, dict):
        return value
    made: Message = {"@type": value["@type"]} if "@type" in value else {}
    for name in {path[0]: None for path in paths}:
        if name in value:
            inner = tuple(path[1:] for path in paths if path[0] == name)
            made[name] = value[name] if () in inner else masked(value[name], inner)
    return made


def _has_fields(value: Any) -> bool:
    return isinstance(value, dict) and any(
        name != "@type" and (not isinstance(inner, dict) or _has_fields(inner))
        for name, inner in value.items()
    )


class _Elements:
    """``?resource=``: the elements of one section, each with its type."""

    def __init__(self, wish: _Wish) -> None:
        self._wish = wish
        self.found = False
        self.seen = 0

    async def pieces(self, rows: AsyncIterator[Any]) -> AsyncIterator[bytes]:
        """The text; the first piece comes when it is known whether there is anything."""
        kind = ".".join(SECTIONS[self._wish.resource])
        mark = b'{"configs": [\n'
        async for piece in _elements(rows, self._wish.names, lambda _, element: self._mask(kind, element)):
            yield mark + piece if piece[:1] == b"{" else piece
            if piece[:1] == b"{":
                mark = b",\n"
        self.found = self.found or not self.seen
        yield b"\n]}\n" if mark == b",\n" else b"{}\n"

    def _mask(self, kind: str, element: Message) -> Message | None:
        self.seen += 1
        made: Message = masked(element, self._wish.mask)
        if not _has_fields(made):
            return None
        self.found = True
        return {"@type": _TYPE + kind, **made}


class _Configs:
    """All sections, each in its message."""

    def __init__(self, wish: _Wish) -> None:
        self._wish = wish
        self.found = bool(wish.sections)
        self._section = ""

    async def pieces(self, rows: AsyncIterator[Any]) -> AsyncIterator[bytes]:
        """The text."""
        if not self.found:
            yield b""
            return
        yield b'{"configs": [\n'
        at = ""
        async for piece in _elements(rows, self._wish.names, self._take):
            if self._section != at and piece[:1] == b"{":
                yield self._between(at, self._section)
                at = self._section
            elif piece[:1] == b"{":
                piece = b",\n" + piece
            yield piece
        yield self._between(at, "")
        yield b"\n]}\n"

    def _take(self, section: str, element: Message) -> Message:
        self._section = section
        if section != BOOTSTRAP:
            return element
        inner = tuple(path[1:] for path in self._wish.mask if path[0] == BOOTSTRAP)
        made: Message = element if () in inner else masked(element, inner)
        return made

    def _between(self, before: str, after: str) -> bytes:
        """The end of one section, those without elements, and the beginning of the next."""
        names = [name for name in SECTIONS if name in self._wish.sections]
        first = names.index(before) + 1 if before else 0
        last = names.index(after) if after else len(names)
        out = []
        if before:
            out.append("}" if before == BOOTSTRAP else "]}")
        out += [self._opening(name) + ("{}}" if name == BOOTSTRAP else "]}") for name in names[first:last]]
        if after:
            out.append(self._opening(after))
        return ",\n".join(out).encode()

    def _opening(self, section: str) -> str:
        kind = SECTIONS[section][0]
        opening = "" if section == BOOTSTRAP else "["
        return f'{{"@type": "{_TYPE}{kind}", "{section}": {opening}'


async def _elements(
    rows: AsyncIterator[Any], names: Regex | None, take: Callable[[str, Message], Message | None]
) -> AsyncIterator[bytes]:
    """Each element as text: a piece that begins with ``{``, and more of it if it has a list of its own."""
    tail = b""
    lead = b""
    async for row in rows:
        if "element" in row:
            tail = b""
            wanted = names is None or row["section"] == BOOTSTRAP or names.matches(row["name"].encode())
            element = take(row["section"], row["element"]) if wanted else None
            if element is None:
                continue
            text = encode(element)
            end = row.get("list", "").encode()
            if end and text.endswith(b'"' + end + b'":[]}}'):
                # The list is the last thing in it: its items follow.
                yield text[:-3]
                tail, lead = b"]}}", b"\n"
            else:
                yield text
        elif tail and "items" in row:
            yield lead + b",\n".join(encode(item) for item in row["items"])
            lead = b",\n"
        elif tail and "end" in row:
            yield tail
            tail = b""
