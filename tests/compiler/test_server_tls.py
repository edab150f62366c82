"""What a server asks of TLS: modes, credentials, versions, ciphers, client certificates. Semantics 3."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from gatewayd.compiler.tls_holders import Held
from gatewayd.resources.mesh_config import MeshConfig, TlsDefaults
from gatewayd.tls.credentials import CredentialSource
from gatewayd.tls.inspect import Leaf
from gatewayd.tls.spec import PairFiles, SecretName, ServerTlsSpec, Trust
from gatewayd.tls.store import TlsStore
from tests.compiler.support import SERVICES, Compiled, compile_yaml, gateway, server, to, virtual_service

FILES = "serverCertificate: /c.pem, privateKey: /k.pem"
CA = "caCertificates: /ca.pem"


def serve(tls: str, protocol: str = "HTTPS", **options: Any) -> Compiled:
    """One server with these TLS settings, in the namespace of the Gateway, not of the proxy."""
    edge = gateway("edge", server(443, protocol, '["*"]', tls), namespace="shop")
    routes = virtual_service(f"- {to('alpha.test')}", gateways="[shop/edge]")
    routes += "---" + virtual_service(
        f"- {to('alpha.test')}", name="raw", gateways="[shop/edge]", block="tcp"
    )
    return compile_yaml("---".join([edge, SERVICES, routes]), **options)


def spec(tls: str, protocol: str = "HTTPS", **options: Any) -> ServerTlsSpec:
    return serve(tls, protocol, **options).tls(443)


def near(name: str) -> SecretName:
    """A Secret in the namespace of the proxy."""
    return SecretName("istio-system", name)


#: Of /etc/certs.
IDENTITY = PairFiles(
    "/etc/certs/cert-chain.pem",
    "/etc/certs/key.pem",
    PairFiles("/etc/certs/certificates.pem", "/etc/certs/private_key.pem"),
)
MESH = Trust(file="/etc/certs/root-cert.pem", otherwise=("/etc/certs/ca_certificates.pem",))


# -- where the certificate is (3.8 to 3.10) -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tls", "pairs"),
    [
        ("mode: SIMPLE, credentialName: c", (near("c"),)),
        ("mode: SIMPLE, credentialNames: [rsa, ecdsa]", (near("rsa"), near("ecdsa"))),
        ("mode: SIMPLE, credentialName: 'kubernetes://c'", (near("c"),)),
        ("mode: SIMPLE, credentialName: 'kubernetes://other/c'", (SecretName("other", "c"),)),
        ("mode: SIMPLE, credentialName: 'kubernetes-gateway://other/c'", (SecretName("other", "c"),)),
        (
            "mode: SIMPLE, credentialName: 'builtin://'",
            (IDENTITY,),
        ),
        (f"mode: SIMPLE, {FILES}", (PairFiles("/c.pem", "/k.pem"),)),
        (
            "mode: SIMPLE, tlsCertificates: [{serverCertificate: /a, privateKey: /b}, "
            "{serverCertificate: /c, privateKey: /d}]",
            (PairFiles("/a", "/b"), PairFiles("/c", "/d")),
        ),
        ("mode: ISTIO_MUTUAL", (IDENTITY,)),
    ],
)
def test_3_8_3_9_the_certificate_comes_from_where_the_server_says(tls: str, pairs: Any) -> None:
    assert spec(tls).pairs == pairs


def test_3_9_a_plain_name_is_looked_up_near_the_proxy_not_near_the_gateway() -> None:
    assert spec("mode: SIMPLE, credentialName: c", namespace="edge").pairs == (SecretName("edge", "c"),)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sds://outside", "external SDS server"),
        ("configmap://ns/c", "is a ConfigMap, which holds CA certificates only"),
        ("../c", "cannot be the name of a Secret"),
        ("kubernetes://a/b/c", "cannot be the name of a Secret"),
        ("kubernetes:///c", "cannot be the name of a Secret"),
        ("..", "cannot be the name of a Secret"),
    ],
)
def test_3_9_a_name_nothing_here_can_have_hurts_only_its_server(name: str, reason: str) -> None:
    asked: list[ServerTlsSpec] = []

    def load(spec: ServerTlsSpec) -> Held:
        asked.append(spec)
        return Held(spec)

    compiled = serve(f"mode: SIMPLE, credentialName: '{name}'", server_tls=load)
    chain = compiled.chain(443)
    assert chain is not None
    assert chain.tls.context is None
    assert reason in chain.tls.problem
    assert asked == []
    (finding,) = compiled.findings("GWD0106")
    assert finding.startswith("warning Gateway shop/edge spec.servers[0].tls.credentialName: ")
    assert reason in finding


def test_the_mesh_identity_is_looked_for_in_each_folder_under_both_names() -> None:
    made = spec("mode: ISTIO_MUTUAL", workload_certificates=("/run/spiffe", "/run/id"))
    (pair,) = made.pairs
    found = []
    while isinstance(pair, PairFiles):
        found.append((pair.certificate, pair.private_key))
        pair = pair.otherwise  # type: ignore[assignment]  # None ends it
    assert found == [
        ("/run/spiffe/cert-chain.pem", "/run/spiffe/key.pem"),
        ("/run/spiffe/certificates.pem", "/run/spiffe/private_key.pem"),
        ("/run/id/cert-chain.pem", "/run/id/key.pem"),
        ("/run/id/certificates.pem", "/run/id/private_key.pem"),
    ]
    assert (made.trust.file, *made.trust.otherwise) == (
        "/run/spiffe/root-cert.pem",
        "/run/spiffe/ca_certificates.pem",
        "/run/id/root-cert.pem",
        "/run/id/ca_certificates.pem",
    )


# -- whom to believe (3.1, 3.11, 3.12) --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tls", "trust"),
    [
        ("mode: SIMPLE, credentialName: c", Trust()),
        (f"mode: SIMPLE, {FILES}, {CA}", Trust()),
        ("mode: MUTUAL, credentialName: c", Trust(secrets=(near("c-cacert"), near("c")))),
        ("mode: OPTIONAL_MUTUAL, credentialName: c", Trust(secrets=(near("c-cacert"), near("c")))),
        ("mode: MUTUAL, credentialNames: [a, b]", Trust(secrets=(near("a-cacert"), near("a")))),
        (
            "mode: MUTUAL, credentialName: 'kubernetes://o/c'",
            Trust(secrets=(SecretName("o", "c-cacert"), SecretName("o", "c"))),
        ),
        (
            "mode: MUTUAL, credentialName: c, caCertCredentialName: d",
            Trust(secrets=(near("d-cacert"), near("d"))),
        ),
        (
            f"mode: MUTUAL, {FILES}, caCertCredentialName: d-cacert",
            Trust(secrets=(near("d-cacert"), near("d"))),
        ),
        ("mode: MUTUAL, credentialName: 'builtin://'", MESH),
        (f"mode: MUTUAL, {FILES}, {CA}", Trust(file="/ca.pem")),
        (f"mode: MUTUAL, {FILES}, {CA}, caCrl: /crl.pem", Trust(file="/ca.pem", crl_file="/crl.pem")),
        (
            "mode: MUTUAL, tlsCertificates: [{serverCertificate: /a, privateKey: /b, caCertificates: /own.pem}]",
            Trust(file="/own.pem"),
        ),
        ("mode: ISTIO_MUTUAL", MESH),
    ],
)
def test_3_11_the_ca_of_client_certificates(tls: str, trust: Trust) -> None:
    assert spec(tls).trust == trust


def test_3_9_a_config_map_as_ca_is_a_finding() -> None:
    compiled = serve("mode: MUTUAL, credentialName: c, caCertCredentialName: 'configmap://ns/ca'")
    (finding,) = compiled.findings("GWD0106")
    assert "ConfigMaps are not read" in finding


# -- conditions on client certificates (3.14 to 3.16) -------------------------------------------------------------

CONDITIONS = (
    "subjectAltNames: [client.test], verifyCertificateSpki: [c3BraQ==], "
    "verifyCertificateHash: ['AB:CD', 'ef01'], insecureSkipVerify: true"
)


@pytest.mark.parametrize(
    ("tls", "names", "digests", "untrusted"),
    [
        ("mode: MUTUAL, credentialName: c", True, True, True),
        ("mode: OPTIONAL_MUTUAL, credentialName: c", True, True, True),
        (f"mode: MUTUAL, {FILES}, {CA}", True, False, True),  # 3.15: only with credentialName
        ("mode: ISTIO_MUTUAL", True, False, True),
        ("mode: SIMPLE, credentialName: c", False, False, False),  # 3.14: no certificate is asked for
    ],
)
def test_3_14_3_15_3_16_where_conditions_count(tls: str, names: bool, digests: bool, untrusted: bool) -> None:
    made = spec(f"{tls}, {CONDITIONS}")
    assert made.subject_alt_names == (("client.test",) if names else ())
    assert made.spki_hashes == (("c3BraQ==",) if digests else ())
    assert made.certificate_hashes == (("abcd", "ef01") if digests else ())
    assert made.accept_untrusted is untrusted


# -- versions, ciphers, curves (3.6, 3.7) ---------------------------------------------------------------------------

MESH = MeshConfig(
    tls_defaults=TlsDefaults(
        min_protocol_version="TLSV1_3", cipher_suites=("AES256-SHA",), ecdh_curves=("P-384",)
    )
)
OWN = "minProtocolVersion: TLSV1_1, cipherSuites: [AES128-SHA], ecdhCurves: [X25519]"


def tuned(made: ServerTlsSpec) -> tuple[str, str, tuple[str, ...], tuple[str, ...]]:
    return made.min_version, made.max_version, made.cipher_suites, made.ecdh_curves


DEFAULTS = ("TLSV1_2", "TLSV1_3", (), ())


def test_3_6_the_default_is_1_2_to_1_3() -> None:
    assert tuned(spec("mode: SIMPLE, credentialName: c")) == DEFAULTS
    automatic = "minProtocolVersion: TLS_AUTO, maxProtocolVersion: TLS_AUTO"
    assert tuned(spec(f"mode: SIMPLE, credentialName: c, {automatic}")) == DEFAULTS


@pytest.mark.parametrize("mode", ["SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL"])
def test_3_6_the_mesh_stands_below_the_server(mode: str) -> None:
    base = f"mode: {mode}, credentialName: c"
    assert tuned(spec(base, mesh=MESH)) == ("TLSV1_3", "TLSV1_3", ("AES256-SHA",), ("P-384",))
    assert tuned(spec(f"{base}, {OWN}", mesh=MESH)) == ("TLSV1_1", "TLSV1_3", ("AES128-SHA",), ("X25519",))
    assert tuned(spec(f"{base}, maxProtocolVersion: TLSV1_2"))[:2] == ("TLSV1_2", "TLSV1_2")


def test_3_6_nothing_of_it_is_for_the_mesh_identity() -> None:
    assert tuned(spec(f"mode: ISTIO_MUTUAL, {OWN}", mesh=MESH)) == DEFAULTS


def test_3_6_a_server_the_mesh_leaves_no_version_is_named() -> None:
    compiled = serve("mode: SIMPLE, credentialName: c, maxProtocolVersion: TLSV1_2", mesh=MESH)
    assert compiled.findings("GWD0104") == [
        "warning Gateway shop/edge spec.servers[0].tls.maxProtocolVersion: server 0 of Gateway shop/edge speaks no "
        "version of TLS: at most TLSV1_2, and tlsDefaults of the mesh at least TLSV1_3"
    ]
    for good in (
        "mode: SIMPLE, credentialName: c, minProtocolVersion: TLSV1_2, maxProtocolVersion: TLSV1_2",
        "mode: ISTIO_MUTUAL, maxProtocolVersion: TLSV1_2",
        "mode: SIMPLE, credentialName: c",
    ):
        assert serve(good, mesh=MESH).findings("GWD0104") == []


def test_3_7_unknown_and_repeated_names_do_not_count() -> None:
    made = spec("mode: SIMPLE, credentialName: c, cipherSuites: [AES128-SHA, RC4, AES128-SHA, '-AES256-SHA']")
    assert made.cipher_suites == ("AES128-SHA", "-AES256-SHA")
    assert spec("mode: SIMPLE, credentialName: c, cipherSuites: [RC4]").cipher_suites == ()
    assert spec("mode: SIMPLE, credentialName: c, ecdhCurves: [X448, P-521]").ecdh_curves == ("P-521",)


def test_3_7_unknown_names_of_the_mesh_are_said() -> None:
    mesh = MeshConfig(tls_defaults=TlsDefaults(cipher_suites=("RC4", "AES128-SHA"), ecdh_curves=("X448",)))
    compiled = serve("mode: SIMPLE, credentialName: c", mesh=mesh)
    assert compiled.tls(443).cipher_suites == ("AES128-SHA",)
    assert [finding.rpartition(": ")[2] for finding in compiled.findings("GWD0104")] == ["RC4", "X448"]


def test_an_unchanged_server_asks_for_the_same() -> None:
    tls = f"mode: MUTUAL, credentialName: c, {OWN}, {CONDITIONS}"
    assert spec(tls) == spec(tls)
    assert spec(tls).owner == "Gateway shop/edge servers[0]"


# -- what could not be loaded (3.13) --------------------------------------------------------------------------------

TWO = "---".join(
    [
        gateway(
            "edge",
            server(443, "HTTPS", "[a.test]", "mode: SIMPLE, credentialName: nothere", "h"),
            server(443, "HTTPS", "[b.test]", "mode: SIMPLE, credentialName: srv", "k"),
        ),
        SERVICES,
        virtual_service(f"- {to('alpha.test')}"),
    ]
)


def test_3_13_a_missing_secret_is_a_finding_and_hurts_only_its_server() -> None:
    """Recorded: golden 03, missing-secret."""

    def load(spec: ServerTlsSpec) -> Held:
        return Held(spec, "no such thing" if "nothere" in str(spec.pairs[0]) else "")

    compiled = compile_yaml(TWO, server_tls=load)
    assert compiled.connect(443, "a.test") == "https.443.h.edge.istio-system"
    assert compiled.call("https://b.test/") == "alpha.test:80"
    assert compiled.findings("GWD0106") == [
        "warning Gateway istio-system/edge spec.servers[0].tls.credentialName: server 0 of Gateway "
        "istio-system/edge has no usable certificate, so its connections are closed until it has: no such thing"
    ]
    (finding,) = (f for f in compiled.snapshot.findings if f.code == "GWD0106")
    line = TWO.splitlines()[finding.line - 1]
    assert line[finding.column - 1 :].startswith("nothere")


def test_3_13_what_the_store_says_of_a_missing_secret_is_istios_finding(tmp_path: Path) -> None:
    def never(spec: Any, material: Any) -> Any:
        raise AssertionError("there is nothing to make a context of")

    store = TlsStore(CredentialSource({}, [str(tmp_path)]), never, never)
    compiled = compile_yaml(TWO, server_tls=store.server)
    assert len(compiled.findings("IST0101")) == 2
    assert 'credential "istio-system/nothere" does not exist' in compiled.findings("IST0101")[0]


def test_3_13_a_certificate_that_became_unusable_stays_in_use() -> None:
    def load(spec: ServerTlsSpec) -> Any:
        return SimpleNamespace(context=object(), problem="it is broken", leaves=())

    (first, _) = compile_yaml(TWO, server_tls=load).findings("GWD0106")
    assert "keeps the certificate it had, because the new one cannot be used: it is broken" in first


def certificate(left: timedelta) -> Leaf:
    """A certificate with so much time left."""
    now = datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.test")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(days=60), now + left)
    return Leaf.of(builder.sign(key, hashes.SHA256()))


@pytest.mark.parametrize(
    ("days", "level"), [(-1.0, "error"), (10.0, "warning"), (29.0, "warning"), (31.0, "")]
)
def test_a_certificate_that_ends_soon_is_said_at_the_field_that_names_it(days: float, level: str) -> None:
    leaf = certificate(timedelta(days=days))

    def load(spec: ServerTlsSpec) -> Any:
        return SimpleNamespace(context=object(), problem="", leaves=(leaf,))

    found = serve("mode: SIMPLE, credentialName: c", server_tls=load).findings("GWD0107")
    assert [finding.partition(" ")[0] for finding in found] == ([level] if level else [])
    assert all("Gateway shop/edge spec.servers[0].tls.credentialName: " in finding for finding in found)
