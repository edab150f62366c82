"""The Secrets among the documents of a configuration."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gatewayd.resources.meta import Resource
from gatewayd.resources.secret import Secret
from gatewayd.tls.spec import SecretName

#: By namespace and name, the values by key. Values are never printed.
Documents = dict[SecretName, dict[str, bytes]]


def secret_documents(resources: Iterable[Resource[Any]]) -> Documents:
    """The values of all Secrets. Of two with one name the first counts."""
    found: Documents = {}
    for resource in resources:
        if type(resource.spec) is Secret:
            found.setdefault(SecretName(resource.namespace, resource.name), resource.spec.values())
    return found
