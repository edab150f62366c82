"""Topics that are one answer to one question: ``explain``, in a thread, and ``validate``, in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gatewayd.explain.asked import asked
from gatewayd.explain.engine import explain as explain_request
from gatewayd.explain.steps import PlaceOf
from gatewayd.resources.meta import Resource
from gatewayd.runtime.posted import report_of
from gatewayd.runtime.worker import Worker
from gatewayd.snapshot import ListenerSpec


async def explain(worker: Worker, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """``url``, ``method``, ``headers`` (pairs or an object), ``sni``: the answer as ``explain -o json`` has it."""
    headers = arguments.get("headers", ())
    pairs = list(headers.items()) if isinstance(headers, Mapping) else headers
    specs = [listener.spec for listener in worker.listeners]
    in_force = worker.reader.in_force
    used = in_force.compiled.used.values() if in_force is not None else ()
    return await asyncio.to_thread(
        answer, specs, used, arguments["url"], arguments.get("method", "GET"), pairs, arguments.get("sni")
    )


def answer(
    specs: Sequence[ListenerSpec],
    used: Iterable[Resource[Any]],
    url: str,
    method: str,
    headers: Iterable[Sequence[str]],
    sni: str | None,
    *,
    live: bool = True,
) -> dict[str, Any]:
    """An explanation on ``specs``, compiled from ``used``; what cannot be asked is an ``error``."""
    try:
        question = asked(url, method, headers, sni)
    except ValueError as error:
        return {"error": str(error), "status": 400}
    return explain_request(specs, question, places(used), live=live).as_json()


def places(used: Iterable[Resource[Any]]) -> PlaceOf:
    """Where the resources ``used`` and the items of their lists were written."""
    known: dict[tuple[str, str, str], Resource[Any]] | None = None

    def place_of(kind: str, namespace: str, name: str, block: str, index: int) -> tuple[str, int]:
        nonlocal known
        if known is None:
            known = {(each.kind, each.namespace, each.name): each for each in used}
        resource = known.get((kind, namespace, name))
        if resource is None:
            return "", 0
        position = resource.rule_position(block, index)
        return resource.file, position.line if position is not None else resource.line

    return place_of


async def validate(worker: Worker, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """``text`` under the options in force: the report as ``validate -o json`` has it."""
    if _busy:
        return {"error": "another text is being looked at; try again", "status": 503}
    _busy.append(True)
    try:
        return await report_of(
            worker.options, str(arguments["text"]), str(arguments.get("name") or "body.yaml")
        )
    finally:
        _busy.clear()


#: One at a time: it takes a whole processor.
_busy: list[bool] = []
