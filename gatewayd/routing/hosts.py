"""HOT: from the host of a request to what serves it, in a few dict look-ups however many hosts there are.

The most specific domain wins outright (semantics 4.10 to 4.12): exact, then the longest ``*suffix``,
then the longest ``prefix*``, then ``*``. A ``*`` stands for at least one character of any kind, so
``*.foo.com`` covers ``a.b.foo.com`` but not ``.foo.com``; a suffix need not begin with a dot.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


def host_key(authority: bytes) -> bytes:
    """The authority without its port, in lower case; an IPv6 literal keeps its brackets.

    A final dot is part of the name: ``a.test.`` is another host than ``a.test`` (golden 04, Envoy).
    """
    colon = authority.rfind(b":")
    if colon >= 0 and authority.find(b"]", colon) < 0:
        authority = authority[:colon]
    return authority.lower()


class HostIndex(Generic[T]):
    """Domains and what they stand for. The first one given for a domain stays (4.9)."""

    __slots__ = (
        "_any",
        "_dotted",
        "_dotted_longest",
        "_prefix_lengths",
        "_prefixes",
        "_suffix_lengths",
        "_suffixes",
        "exact",
    )

    def __init__(self, domains: Iterable[tuple[str, T]] = ()) -> None:
        #: lower-case host -> what serves it
        self.exact: dict[bytes, T] = {}
        self._dotted: dict[bytes, T] = {}  # ".foo.com" of "*.foo.com", walked label by label
        self._suffixes: dict[bytes, T] = {}  # "foo.com" of "*foo.com", tried length by length
        self._prefixes: dict[bytes, T] = {}
        self._any: T | None = None
        for domain, value in domains:
            self._add(domain.lower().encode(), value)
        self._measure()

    def changed(self, gone: Iterable[str], come: Iterable[tuple[str, T]]) -> HostIndex[T]:
        """Another index: without the domains ``gone``, and with ``come``."""
        made: HostIndex[T] = HostIndex()
        made.exact = self.exact.copy()
        made._dotted = self._dotted.copy()
        made._suffixes = self._suffixes.copy()
        made._prefixes = self._prefixes.copy()
        made._any = self._any
        for domain in gone:
            made._remove(domain.lower().encode())
        for domain, value in come:
            made._add(domain.lower().encode(), value)
        made._measure()
        return made

    def _measure(self) -> None:
        self._dotted_longest = max(map(len, self._dotted), default=0)
        self._suffix_lengths = tuple(sorted({len(s) for s in self._suffixes}, reverse=True))
        self._prefix_lengths = tuple(sorted({len(p) for p in self._prefixes}, reverse=True))

    def _add(self, domain: bytes, value: T) -> None:
        if domain == b"*":
            if self._any is None:
                self._any = value
        elif domain.startswith(b"*."):
            self._dotted.setdefault(domain[1:], value)
        elif domain.startswith(b"*"):
            self._suffixes.setdefault(domain[1:], value)
        elif domain.endswith(b"*"):
            self._prefixes.setdefault(domain[:-1], value)
        else:
            self.exact.setdefault(domain, value)

    def _remove(self, domain: bytes) -> None:
        if domain == b"*":
            self._any = None
        elif domain.startswith(b"*."):
            self._dotted.pop(domain[1:], None)
        elif domain.startswith(b"*"):
            self._suffixes.pop(domain[1:], None)
        elif domain.endswith(b"*"):
            self._prefixes.pop(domain[:-1], None)
        else:
            self.exact.pop(domain, None)

    def find(self, host: bytes) -> T | None:
        """What serves ``host`` (lower-case, without port), or None."""
        found = self.exact.get(host)
        if found is not None:
            return found
        size = len(host)
        dotted_length = 0
        if self._dotted:
            get = self._dotted.get
            # From the left, so the longest comes first; never at 0: a "*" is not empty (4.12).
            dot = host.find(b".", max(1, size - self._dotted_longest))
            while dot > 0:
                found = get(host[dot:])
                if found is not None:
                    dotted_length = size - dot
                    break
                dot = host.find(b".", dot + 1)
        for length in self._suffix_lengths:
            if length <= dotted_length:
                break
            if length < size:
                other = self._suffixes.get(host[size - length :])
                if other is not None:
                    return other
        if found is not None:
            return found
        for length in self._prefix_lengths:
            if length < size:
                found = self._prefixes.get(host[:length])
                if found is not None:
                    return found
        return self._any
