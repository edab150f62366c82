"""The certificates of a process: the store, the Secrets among the configuration, the files to be watched."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from typing import Any, Final

from gatewayd.resources.meta import Resource
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.secrets import secret_documents
from gatewayd.snapshot import Snapshot
from gatewayd.tls.credentials import CredentialSource
from gatewayd.tls.material import Material
from gatewayd.tls.spec import ClientTlsSpec, ServerTlsSpec
from gatewayd.tls.store import ClientTls, Refreshed, ServerTls, TlsStore

_log = logging.getLogger("gatewayd.tls")

#: How often a process says that certificates end.
_REMIND_S: Final = 24 * 3600.0
_MAX_REMINDED: Final = 20


class Certificates:
    """The store of a process, and where its credentials come from. May be used in a thread, one call at a time."""

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self.store = TlsStore(CredentialSource({}, options.secrets), _server_context, _client_context)

    def take(self, resources: Iterable[Resource[Any]]) -> bool:
        """Use the Secrets among ``resources`` from now on; whether they are others than before."""
        documents = secret_documents(resources)
        if documents == self.store.credentials.documents:
            return False
        self.store.credentials.documents = documents
        return True

    def renew(self) -> Refreshed:
        """Read all credentials again and use what is new; may take long with thousands of them."""
        return self.store.refresh()

    def retain(self, *snapshots: Snapshot) -> None:
        """Forget what none of ``snapshots`` uses."""
        self.store.retain(holder for snapshot in snapshots for holder in _holders(snapshot))

    def files(self) -> dict[str, tuple[str, ...]]:
        """Paths of credentials to watch; all files of such a folder count."""
        return dict.fromkeys((*sorted(self.store.files()), *self._options.secrets), ())


def _server_context(spec: ServerTlsSpec, material: Material) -> Any:
    from gatewayd.tls.contexts import ServerContext  # see gatewayd/tls/__init__.py

    return ServerContext(spec, material)


def _client_context(spec: ClientTlsSpec, material: Material) -> Any:
    from gatewayd.tls.contexts import ClientContext  # see gatewayd/tls/__init__.py

    return ClientContext(spec, material)


def _holders(snapshot: Snapshot) -> Iterator[ServerTls | ClientTls]:
    for listener in snapshot.listeners:
        for chain in listener.chains:
            if chain.tls is not None:
                yield chain.tls
    for spec in snapshot.clusters.values():
        yield from (holder for holder in (spec.tls, spec.tls_http2) if holder is not None)


class Reminder:
    """Says once a day which certificates end soon."""

    def __init__(self, loop: asyncio.AbstractEventLoop, store: TlsStore) -> None:
        self._loop = loop
        self._store = store
        self._timer: asyncio.TimerHandle = loop.call_later(_REMIND_S, self._remind)

    def close(self) -> None:
        """No more of it."""
        self._timer.cancel()

    def _remind(self) -> None:
        self._timer = self._loop.call_later(_REMIND_S, self._remind)
        remind(self._store)


def remind(store: TlsStore) -> None:
    """Log the certificates of ``store`` that end soon, or have ended."""
    expiring = store.expiring()
    for owner, remark in expiring[:_MAX_REMINDED]:
        level = logging.ERROR if remark.level == "error" else logging.WARNING
        _log.log(level, "%s: %s", owner, remark.message)
    if len(expiring) > _MAX_REMINDED:
        _log.warning("and %d more certificates that end", len(expiring) - _MAX_REMINDED)
