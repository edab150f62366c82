"""What one process says of itself: the topics of the admin server, answered from what is there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final

from gatewayd.admin.server import in_slices
from gatewayd.admin.state import Put
from gatewayd.observe import exposition
from gatewayd.runtime import questions
from gatewayd.runtime.history import History
from gatewayd.runtime.measures.configuration import configuration_families
from gatewayd.runtime.views.certs import cert_rows
from gatewayd.runtime.views.clusters import cluster_rows
from gatewayd.runtime.views.configuration import configuration_rows, finding_rows
from gatewayd.runtime.views.dump import dump_about, dump_rows
from gatewayd.runtime.views.listeners import listener_rows
from gatewayd.runtime.views.process import process_row
from gatewayd.runtime.views.routes import route_rows
from gatewayd.runtime.views.timeseries import series_rows
from gatewayd.runtime.worker import Worker

Rows = Iterator[dict[str, Any] | None]


class WorkerState:
    """The state of one worker; ``history``: of its configuration, where this process keeps it."""

    def __init__(self, worker: Worker, history: History | None = None) -> None:
        self._worker = worker
        self._history = history

    async def rows(self, topic: str, arguments: Mapping[str, Any]) -> AsyncIterator[Any]:
        """See :class:`gatewayd.admin.state.State`."""
        if topic in _QUESTIONS:
            yield await _QUESTIONS[topic](self._worker, arguments)
            return
        view = getattr(self, f"_{topic}", None)
        if view is None:
            yield {"error": f"unknown topic {topic}", "status": 404}
            return
        if self._worker.deployment is None:
            return  # not yet
        async for row in in_slices(view(arguments)):
            yield row

    def listen(self, stream: str, arguments: Mapping[str, Any], put: Put) -> Callable[[], None]:
        """See :class:`gatewayd.admin.state.State`; raises ValueError, in words for the user."""
        if stream == "events":
            return self._worker.events.listen(put, arguments.get("after"))
        if stream == "tap" and self._worker.tap is not None:
            return self._worker.tap.listen(arguments, put)
        raise ValueError(f"there is no stream {stream!r} here")

    # Topics

    def _process(self, arguments: Mapping[str, Any]) -> Rows:
        yield process_row(self._worker)

    def _metrics(self, arguments: Mapping[str, Any]) -> Rows:
        if self._worker.measures is not None:
            yield from self._worker.measures.rows()
        if self._history is not None:
            yield from exposition.rows(configuration_families(self._worker.reader, self._history))

    def _configuration(self, arguments: Mapping[str, Any]) -> Rows:
        if self._history is not None:
            yield from configuration_rows(self._worker.options, self._worker.reader, self._history)

    def _findings(self, arguments: Mapping[str, Any]) -> Rows:
        yield from finding_rows(self._worker.reader, self._history)

    def _reloads(self, arguments: Mapping[str, Any]) -> Rows:
        if self._history is not None:
            yield from self._history.rows()

    def _listeners(self, arguments: Mapping[str, Any]) -> Rows:
        assert self._worker.deployment is not None
        yield from listener_rows(self._worker.deployment)

    def _routes(self, arguments: Mapping[str, Any]) -> Rows:
        specs = [listener.spec for listener in self._worker.listeners]
        yield from route_rows(specs, (yield from self._worker.sums()), arguments)

    def _clusters(self, arguments: Mapping[str, Any]) -> Rows:
        yield from cluster_rows(self._worker.registry, (yield from self._worker.sums()))

    def _certs(self, arguments: Mapping[str, Any]) -> Rows:
        yield from cert_rows(self._worker.reader.certificates.store)

    def _timeseries(self, arguments: Mapping[str, Any]) -> Rows:
        measures = self._worker.measures
        if measures is not None:
            measures.settle()
            yield from series_rows(measures.timeline, arguments)

    def _dump(self, arguments: Mapping[str, Any]) -> Rows:
        about = arguments.get("about") or dump_about(self._history)
        yield from dump_rows(self._worker, about, arguments.get("sections", ()))


#: Topics that are one answer, and may take a thread.
_QUESTIONS: Final = {"explain": questions.explain, "validate": questions.validate}
