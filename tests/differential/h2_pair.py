"""gatewayd and Envoy side by side where one or both sides speak HTTP/2."""

from __future__ import annotations

import asyncio
import dataclasses
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import yaml

from tests.cases.golden_check import same_end
from tests.differential.istio import EnvoyGateway
from tests.differential.pair import ANSWER_NOISE, REQUEST_NOISE
from tests.support.front import front, gateway, rules, service
from tests.support.h1_text import Headers
from tests.support.h2_client import H2Client, H2Request
from tests.support.h2_recorder import H2Recorder
from tests.support.raw_client import Outcome, RawClient
from tests.support.recorder import Recorder, Seen

LOGGED: Final = ("response_code", "response_flags", "response_code_details", "bytes_received", "bytes_sent")

_SETTLE_S: Final = 20.0
#: Where the body of a request stands in what is told of an attempt; trailers and its end follow.
_BODY: Final = 5

#: Of an interim answer: Envoy has no words for most of them.
_REASON: Final = re.compile(r"(?<=^HTTP/1.1 \d\d\d) .*")


@dataclass
class H2Case:
    """One request, over HTTP/2 unless ``raw`` are the bytes of one over HTTP/1.1, and what upstreams do with it."""

    request: H2Request = field(default_factory=H2Request)
    raw: bytes = b""
    script: Sequence[Mapping[str, Any]] = ()
    timeout_s: float = 20.0
    #: False: how much upstreams see is a matter of moments
    seen: bool = True


@dataclass
class Told:
    """What one program did with one request, noise taken out."""

    outcome: str
    h2_error: str = ""
    status: int = 0
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    trailers: Headers = field(default_factory=list)
    interim: list[tuple[str, Headers]] = field(default_factory=list)
    truncated: str | None = None
    attempts: list[tuple[Any, ...]] = field(default_factory=list)

    def __str__(self) -> str:
        shown = {key: value for key, value in dataclasses.asdict(self).items() if value}
        return ", ".join(f"{key} {_short(value)}" for key, value in shown.items())


class H2Pair:
    """Both programs before the upstreams ``old`` (HTTP/1.1) and ``new`` (HTTP/2); use ``async with``.

    items: rules, which lead to ``old.test`` and ``new.test``; ``dead.test`` refuses connections. protocol: of the
    Gateway's server.
    """

    def __init__(self, folder: Path, items: str, protocol: str = "HTTP") -> None:
        self._folder = folder
        self._items = items
        self._protocol = protocol
        self._stack = AsyncExitStack()
        self.told: list[tuple[str, H2Case, Told]] = []
        self._differences: list[str] = []

    async def __aenter__(self) -> Self:
        enter = self._stack.enter_async_context
        try:
            self.upstreams: list[Recorder] = [
                await enter(Recorder("old")),
                await enter(H2Recorder("new")),
            ]
            old, new = (upstream.port for upstream in self.upstreams)
            documents = "".join(
                [
                    gateway(protocol=self._protocol),
                    rules(self._items),
                    service("old.test", old),
                    service("new.test", new, protocol="HTTP2"),
                    service("dead.test", 1),  # nobody listens on port 1
                ]
            )
            self.envoy = await enter(
                # It waits for the client to close first, which this one never does.
                EnvoyGateway(
                    [document for document in yaml.safe_load_all(documents) if document],
                    manager={"delayed_close_timeout": "0.02s"},
                )
            )
            self.gatewayd = await enter(front(documents, self._folder))
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def compare(self, what: str, case: H2Case) -> None:
        """Send to both; :meth:`same` tells where they did not do the same. ``what``: words about it."""
        envoy = await self._tell(self.envoy.port(80), case)
        self.told.append((what, case, envoy))
        ours = await self._tell(self.gatewayd.port(80), case)
        if ours != envoy:
            self._differ(what, case, envoy, ours)

    def _differ(self, what: str, case: H2Case, envoy: object, ours: object) -> None:
        self._differences.append(f"* {what}: {case}\n   Envoy:    {envoy}\n   gatewayd: {ours}")

    async def _tell(self, port: int, case: H2Case) -> Told:
        for upstream in self.upstreams:
            upstream.seen.clear()
            upstream.play(case.script)
        if case.raw:
            outcome = await RawClient(port, timeout_s=case.timeout_s).http(case.raw, observe_s=0.0)
        else:
            outcome = await H2Client(port, timeout_s=case.timeout_s).http(case.request)
        await self._settled()
        attempts = [_attempt(seen) for upstream in self.upstreams for seen in upstream.seen]
        if any(step.get("goaway") == "before" for step in case.script):
            # How much of the body had come when the server said no is a matter of moments.
            attempts = [attempt[:_BODY] for attempt in attempts]
        return _told(outcome, attempts if case.seen else [])

    async def _settled(self) -> None:
        deadline = time.monotonic() + _SETTLE_S
        while not all(seen.settled for upstream in self.upstreams for seen in upstream.seen):
            assert time.monotonic() < deadline, "a request stays open at an upstream"
            await asyncio.sleep(0.002)

    async def same(self) -> None:
        """AssertionError with all differences, if there were any in what both did and in what they logged of it."""
        count = len(self.told)
        envoy, ours = await self.envoy.log_records(count), await self.gatewayd.log_records(count)
        for (what, case, _), theirs, own in zip(self.told, envoy, ours, strict=True):
            said, own_words = ({name: str(log[name] or "-") for name in LOGGED} for log in (theirs, own))
            if said != own_words:
                self._differ(f"log of {what}", case, said, own_words)
        assert not self._differences, "\n".join([f"{len(self._differences)} differences", *self._differences])


def _told(outcome: Outcome, attempts: list[tuple[Any, ...]]) -> Told:
    told = Told(same_end(outcome.outcome), outcome.h2_error, attempts=attempts)
    if told.outcome == "closed":
        told.h2_error = ""  # we say why
    if told.outcome in ("closed", "stream_reset"):
        # How much of it had been sent on when it was found wrong is a matter of segments.
        told.attempts = [attempt for attempt in attempts if attempt[-1] != "truncated"]
    if outcome.responses:
        response = outcome.response
        told.status, told.body, told.truncated = response.status, response.body, response.truncated
        told.h2_error = response.h2_error
        told.headers = _sorted(response.headers, ANSWER_NOISE)
        told.trailers = _sorted(response.trailers, ANSWER_NOISE)
        told.interim = [
            (_REASON.sub("", head.start_line), _sorted(head.headers, ANSWER_NOISE))
            for head in response.interim
        ]
    return told


def _attempt(seen: Seen) -> tuple[Any, ...]:
    headers = _sorted(seen.headers, REQUEST_NOISE)
    if seen.values("x-envoy-attempt-count") > [
        "1"
    ]:  # what is left by then hangs on the jitter of the back-off
        headers = [(name, "<left>" if name == "grpc-timeout" else value) for name, value in headers]
    return (
        seen.upstream,
        f"{seen.method} {seen.path} {seen.version}",
        seen.authority,
        seen.scheme,
        headers,
        seen.body,
        _sorted(seen.content.trailers, frozenset()),
        "truncated" if seen.truncated else "",
    )


def _sorted(headers: Headers, noise: frozenset[str]) -> Headers:
    """By name; the order among equal names stays."""
    kept = [(name, value) for name, value in headers if name.lower() not in noise]
    return sorted(kept, key=lambda pair: pair[0])


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) < 600 else f"{text[:500]}... ({len(text)})"
