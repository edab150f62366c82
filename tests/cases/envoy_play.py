"""Plays golden cases with the real Envoy in gatewayd's place: what the runner itself does wrong shows here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from tests.cases.golden import GoldenPlay
from tests.cases.loading import Call
from tests.differential.istio import EnvoyGateway
from tests.support.recorder import Seen

#: The hosts whose VirtualService Envoy is given, of cases that have several.
HOSTS = {"*", "a.test"}


class EnvoyPlay(GoldenPlay):
    """A case whose configuration ``tests.differential.istio`` translates."""

    def _gateway(self) -> Any:
        documents = [self._prepared(document) for document in self.case.documents()]
        return EnvoyGateway(
            document
            for document in documents
            if document["kind"] != "VirtualService" or HOSTS & set(document["spec"]["hosts"])
        )

    def _prepared(self, document: dict[str, Any]) -> dict[str, Any]:
        """With the ports of this run, and certificates by their paths."""
        prepared = dict(yaml.safe_load(self.plan.in_config(yaml.safe_dump(document))))
        for server in prepared["spec"].get("servers", ()):
            if "tls" in server and self.certificates is not None:
                name = server["tls"]["credentialName"]
                pair = (self.certificates.certificate(name), self.certificates.key(name))
                server["tls"] = dict(zip(("serverCertificate", "privateKey"), map(str, pair), strict=True))
        return prepared

    async def _settled(self, call: Call, marks: Mapping[str, int]) -> dict[str, list[Seen]]:
        seen = await super()._settled(call, marks)
        for entry in (each for entries in seen.values() for each in entries):
            # For a client on the loopback Envoy writes the address of its node, which was that one.
            entry.headers = [
                (name, "127.0.0.1" if name == "x-forwarded-for" else value) for name, value in entry.headers
            ]
        return seen
