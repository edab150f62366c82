"""Metrics of the configuration in force, of reloads, and of certificates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from gatewayd.observe.exposition import COUNTER, GAUGE, MAX, MIN, Family, Sample, labels
from gatewayd.runtime.configuration import ConfigurationReader
from gatewayd.runtime.history import History
from gatewayd.tls.store import ServerTls

_LEVELS: Final = ("error", "warning", "info")
#: Certificates looked at in one go.
_STEP: Final = 100


def configuration_families(reader: ConfigurationReader, history: History) -> Iterator[Family]:
    """The families of what is in force; the same in all workers."""
    in_force = reader.in_force
    levels = Counter(each.level for each in in_force.findings) if in_force is not None else Counter()
    yield Family(
        "gatewayd_config_findings",
        GAUGE,
        "Findings about the configuration in force.",
        [(labels(level=level), levels[level]) for level in _LEVELS],
        MAX,
    )
    yield Family(
        "gatewayd_config_reloads_total",
        COUNTER,
        "Reloads that were told of, by what they came to.",
        [(labels(result=result.lower()), count) for result, count in sorted(history.results.items())],
        MAX,
    )
    last = history.last
    yield Family(
        "gatewayd_config_last_reload_successful",
        GAUGE,
        "1 unless the last reload was refused or keeps a resource in its last good version.",
        [("", float(history.healthy))],
        MIN,
    )
    yield Family(
        "gatewayd_config_last_reload_seconds",
        GAUGE,
        "What the last reload took.",
        [("", last.elapsed_s)] if last is not None else [],
        MAX,
    )
    yield Family(
        "gatewayd_config_in_force_since_timestamp_seconds",
        GAUGE,
        "When the configuration in force came into force.",
        [("", round(history.in_force_since, 3))],
        MAX,
    )
    yield Family(
        "gatewayd_config_kept_resources",
        GAUGE,
        "Resources served in their last good version.",
        [("", len(history.kept))],
        MAX,
    )
    yield Family(
        "gatewayd_config_set_aside_resources",
        GAUGE,
        "Documents that are not served because of errors.",
        [("", len(in_force.set_aside) if in_force is not None else 0)],
        MAX,
    )
    store = reader.certificates.store
    yield Family(
        "gatewayd_certificate_expiration_unix_time_seconds",
        GAUGE,
        "When the certificate in use ends, the first of several.",
        _ends(store.holders),
        MIN,
    )
    yield Family(
        "gatewayd_certificate_problems",
        GAUGE,
        "Owners of certificates that are missing, or not the newest.",
        [("", sum(bool(holder.problem) for holder in store.holders))],
        MAX,
    )


def _ends(holders: Any) -> Iterator[Sample | None]:
    """When the certificates of each owner end, the first of several."""
    ends: dict[str, float] = {}
    for count, holder in enumerate(holders, 1):
        role = "server" if isinstance(holder, ServerTls) else "client"
        for leaf in holder.leaves:
            text = labels(owner=holder.spec.owner, role=role)
            ends[text] = min(leaf.not_after_s, ends.get(text, leaf.not_after_s))
        if not count % _STEP:
            yield None
    yield from ends.items()
