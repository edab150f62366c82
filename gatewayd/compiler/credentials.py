"""Names of credentials: which Secret or file a ``credentialName`` means (semantics 3.9, 3.11)."""

from __future__ import annotations

import re
from typing import Final

from gatewayd.compiler.options import CompileOptions
from gatewayd.tls.spec import PairFiles, SecretName, Trust

#: Before what a kind of credential is named by; without any of them it is a Secret near the proxy.
_BY_NAMESPACE: Final = ("kubernetes://", "kubernetes-gateway://")
_CONFIG_MAP: Final = "configmap://"
_OF_THE_MESH: Final = "builtin://"
_EXTERNAL: Final = "sds://"

#: (certificate chain, key, CA of the mesh), as Istio's agent writes them on a VM, and as they are mounted for a
#: workload with a SPIFFE identity.
_WORKLOAD_FILES: Final = (
    ("cert-chain.pem", "key.pem", "root-cert.pem"),
    ("certificates.pem", "private_key.pem", "ca_certificates.pem"),
)
_CA_SUFFIX: Final = "-cacert"
#: What may name a Secret or a folder below a secrets directory; nothing that leads out of it.
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[-._A-Za-z0-9]*[A-Za-z0-9])?")


class CredentialError(Exception):
    """A name that no credential of this proxy can have; the text says why."""


def certificate_of(name: str, options: CompileOptions) -> SecretName | PairFiles:
    """Where the certificate and key called ``name`` are. Raises CredentialError.

    A plain name is a Secret in the namespace of the proxy, not of the Gateway (3.9).
    """
    if name == _OF_THE_MESH:
        return workload_pair(options)
    if name.startswith(_CONFIG_MAP):
        raise CredentialError(f'"{name}" is a ConfigMap, which holds CA certificates only, no key')
    return _secret(name, options)


def trust_of(name: str, options: CompileOptions) -> Trust:
    """Where the CA that belongs to credential ``name`` is. Raises CredentialError.

    ``<name>-cacert`` if there is such a Secret, else ``<name>`` itself (3.11).
    """
    if name in (_OF_THE_MESH, _OF_THE_MESH + _CA_SUFFIX):
        return workload_root(options)
    secret = _secret(name, options)
    plain = secret.name.removesuffix(_CA_SUFFIX)
    return Trust(secrets=tuple(SecretName(secret.namespace, each) for each in (plain + _CA_SUFFIX, plain)))


def workload_pair(options: CompileOptions) -> PairFiles:
    """The certificate of the mesh identity of this proxy: of the first folder that has one."""
    found: PairFiles | None = None
    for folder in reversed(options.workload_certificates):
        for chain, key, _ in reversed(_WORKLOAD_FILES):
            found = PairFiles(f"{folder}/{chain}", f"{folder}/{key}", found)
    assert found is not None
    return found


def workload_root(options: CompileOptions, crl_file: str = "") -> Trust:
    """The CA of the mesh."""
    first, *others = (
        f"{folder}/{root}" for folder in options.workload_certificates for _, _, root in _WORKLOAD_FILES
    )
    return Trust(file=first, otherwise=tuple(others), crl_file=crl_file)


def _secret(name: str, options: CompileOptions) -> SecretName:
    if name.startswith(_EXTERNAL):
        raise CredentialError(f'"{name}" comes from an external SDS server, and none is asked here')
    if name.startswith(_CONFIG_MAP):
        raise CredentialError(f'"{name}": ConfigMaps are not read; put the CA into a Secret')
    namespace, bare = options.namespace, name
    for prefix in _BY_NAMESPACE:
        if name.startswith(prefix):
            owner, slash, rest = name.removeprefix(prefix).partition("/")
            namespace, bare = (owner, rest) if slash else (options.namespace, owner)
    if not _NAME.fullmatch(bare) or not _NAME.fullmatch(namespace):
        raise CredentialError(f'"{name}" cannot be the name of a Secret')
    return SecretName(namespace, bare)
