"""Topic ``certs``: one row for each certificate in use, and one for each owner that has none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gatewayd.tls.dates import DAY_S
from gatewayd.tls.spec import ServerTlsSpec
from gatewayd.tls.store import TlsStore, expiry

if TYPE_CHECKING:  # see gatewayd/tls/__init__.py
    from gatewayd.tls.inspect import Leaf


def cert_rows(store: TlsStore) -> Iterator[dict[str, Any] | None]:
    """All certificates; keys are never looked at."""
    now = time.time()
    for holder in store.holders:
        spec = holder.spec
        server = isinstance(spec, ServerTlsSpec)
        sources = spec.pairs if isinstance(spec, ServerTlsSpec) else (spec.pair,) if spec.pair else ()
        common = {
            "owner": spec.owner,
            "role": "server" if server else "client",
            "mode": spec.mode,
            "problem": holder.problem,
            "usable": holder.context is not None,
        }
        for source, leaf in zip(sources, holder.leaves, strict=False):
            yield {**common, "source": str(source), **_leaf(leaf, now)}
        if not holder.leaves and (sources or holder.problem):
            yield {**common, "source": ", ".join(map(str, sources)), **_NOTHING}
        yield None


_NOTHING: dict[str, Any] = {
    "subject": "",
    "issuer": "",
    "names": [],
    "serial": "",
    "key": "",
    "sha256": "",
    "not_before": 0,
    "not_after": 0,
    "days_left": 0.0,
    "level": "error",
    "remark": "",
}


def _leaf(leaf: Leaf, now: float) -> dict[str, Any]:
    facts = leaf.facts
    remark = expiry(leaf, now)
    return {
        "subject": facts.subject,
        "issuer": facts.issuer,
        "names": list(facts.names),
        "serial": facts.serial,
        "key": facts.key,
        "sha256": facts.sha256,
        "not_before": int(leaf.not_before_s),
        "not_after": int(leaf.not_after_s),
        "days_left": round((leaf.not_after_s - now) / DAY_S, 1),
        "level": remark.level if remark is not None else "ok",
        "remark": remark.message if remark is not None else "",
    }
