"""Certificates that change are put in use: watched files, Secrets among the configuration, the store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Final

from gatewayd.resources.meta import Resource
from gatewayd.runtime.options import RunOptions
from gatewayd.runtime.secrets import SecretDocuments
from gatewayd.sources.files import STDIN, SUFFIXES
from gatewayd.sources.watch import Watch
from gatewayd.tls.contexts import ClientContext, ServerContext
from gatewayd.tls.credentials import CredentialSource
from gatewayd.tls.store import Refreshed, TlsStore

_log = logging.getLogger("gatewayd.tls")

#: How often a process says that certificates end.
_REMIND_S: Final = 24 * 3600.0
_MAX_REMINDED: Final = 20
#: How soon certificates that turned out to be new are read once more.
_SECOND_LOOK_S: Final = 1.0


class Certificates:
    """The store of a configuration, and where its credentials come from."""

    def __init__(
        self, options: RunOptions, resources: Iterable[Resource[Any]], loaded_s: float | None = None
    ) -> None:
        """``resources``: what was loaded, from ``loaded_s`` on (seconds since 1970)."""
        self._options = options
        self._documents = SecretDocuments(options.paths, resources, loaded_s)
        credentials = CredentialSource(self._documents.merged(), options.secrets)
        self.store = TlsStore(credentials, ServerContext, ClientContext)

    def renew(self, changed: frozenset[str] | None = None) -> Refreshed:
        """Take in what has changed; None: it is not known what. May take long: call it in a thread."""
        files = self._documents.suspects() if changed is None else changed
        if self._documents.read_again(files):
            self.store.credentials.documents = self._documents.merged()
        elif changed is not None and all(map(self._documents.is_configuration, changed)):
            return Refreshed()
        return self.store.refresh()

    def watched(self) -> dict[str, tuple[str, ...]]:
        """Paths to watch, with the suffixes of the files that count in folders."""
        paths: dict[str, tuple[str, ...]] = dict.fromkeys(self._options.paths, SUFFIXES)
        paths.pop(STDIN, None)
        # Last: all files of such a folder count, even if it is one of the configuration.
        paths.update(dict.fromkeys((*self.store.files(), *self._options.secrets), ()))
        return paths


class CertificateKeeper:
    """Renews ``certificates`` while a worker serves: in a thread, one renewal at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, certificates: Certificates) -> None:
        self._loop = loop
        self._certificates = certificates
        self._watch = Watch(loop, self._changed, self._watching)
        #: changed since the last renewal began; None: everything may have
        self._pending: frozenset[str] | None = frozenset()
        self._renewal: asyncio.Task[None] | None = None
        self._reminder: asyncio.TimerHandle | None = None
        self._second_look: asyncio.TimerHandle | None = None
        self._closed = False

    def start(self, *, watch: bool) -> None:
        """Watch from now on, unless told not to; and remind of certificates that end."""
        if watch:
            self._watch.follow(self._certificates.watched())
        self._reminder = self._loop.call_later(_REMIND_S, self._remind)

    def problems(self) -> list[tuple[str, str]]:
        """(owner, problem) of what is not served as it should be."""
        return self._certificates.store.problems()

    def close(self) -> None:
        """No renewal begins after this."""
        self._closed = True
        self._watch.close()
        for timer in (self._reminder, self._second_look):
            if timer is not None:
                timer.cancel()

    async def wait_closed(self) -> None:
        """Wait until nothing runs any more."""
        await self._watch.wait_closed()
        if self._renewal is not None:
            await self._renewal

    def _watching(self) -> None:
        """Read everything: files were read before the watch began, or in the middle of a change."""
        self._pending = None
        self._begin()

    def _changed(self, paths: frozenset[str]) -> None:
        if self._pending is not None:
            self._pending |= paths
        self._begin()

    def _begin(self) -> None:
        if self._renewal is None and not self._closed:
            self._renewal = self._loop.create_task(self._renew())

    async def _renew(self) -> None:
        try:
            while self._pending != frozenset() and not self._closed:
                changed, self._pending = self._pending, frozenset()
                try:
                    renewed = await asyncio.to_thread(self._certificates.renew, changed)
                except Exception:
                    _log.exception("renewing certificates failed; those in use stay")
                else:
                    if renewed and not self._closed:
                        self._look_again()
        finally:
            self._renewal = None

    def _look_again(self) -> None:
        """What was read was new: it may have been the middle of a change, and the end of it no news to the watch."""
        if self._second_look is not None:
            self._second_look.cancel()
        self._second_look = self._loop.call_later(_SECOND_LOOK_S, self._watching)

    def _remind(self) -> None:
        self._reminder = self._loop.call_later(_REMIND_S, self._remind)
        expiring = self._certificates.store.expiring()
        for owner, remark in expiring[:_MAX_REMINDED]:
            _log.log(
                logging.ERROR if remark.level == "error" else logging.WARNING, "%s: %s", owner, remark.message
            )
        if len(expiring) > _MAX_REMINDED:
            _log.warning("and %d more certificates that end", len(expiring) - _MAX_REMINDED)
