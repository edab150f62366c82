"""``tls`` and ``proxyProtocol`` of DestinationRules: semantics 10.1 to 10.8, 10.11, with the layers of 8.2."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.compiler import CompileOptions, compile_snapshot
from gatewayd.compiler.tls_holders import Held
from gatewayd.snapshot import Snapshot
from gatewayd.sources import load
from gatewayd.tls.spec import ClientTlsSpec, PairFiles, SecretName, Trust
from gatewayd.upstream.spec import ClusterSpec
from tests.compiler.support import EDGE, compile_yaml, to, virtual_service

HOST = "sec.test"
NAME = f"outbound|443||{HOST}"


def service(port: str = "{number: 443, name: tls, protocol: HTTPS}", more: str = "") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: sec, namespace: default}}
spec:
  hosts: [{HOST}]
  ports: [{port}]
  resolution: STATIC
  endpoints: [{{address: 10.0.0.1}}]
{more}"""


def rule(policy: str, host: str = HOST, more: str = "") -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: sec, namespace: default}}
spec:
  host: "{host}"
  trafficPolicy: {policy}
{more}"""


def compiled(*documents: str, subset: str = "", **options: Any) -> Any:
    more = {"subset": subset} if subset else {}
    if not any("ServiceEntry" in document for document in documents):
        documents = (*documents, service())
    return compile_yaml("---".join([EDGE, virtual_service(f"- {to(HOST, **more)}"), *documents]), **options)


def cluster(*documents: str, subset: str = "", name: str = "", **options: Any) -> ClusterSpec:
    found: ClusterSpec = compiled(*documents, subset=subset, **options).cluster(
        name or f"outbound|443|{subset}|{HOST}"
    )
    return found


def tls(block: str, *documents: str, **options: Any) -> ClientTlsSpec:
    spec = cluster(rule(f"{{tls: {{{block}}}}}"), *documents, **options).tls_spec
    assert spec is not None
    return spec


def test_10_1_without_a_block_or_with_disable_the_cluster_is_plain() -> None:
    for policy in ("{loadBalancer: {simple: RANDOM}}", "{tls: {mode: DISABLE}}"):
        spec = cluster(rule(policy))
        assert (spec.tls_spec, spec.tls) == (None, None)


def test_10_1_no_mutual_tls_of_its_own_accord_towards_endpoints_of_a_mesh() -> None:
    mesh = service().replace(
        "{address: 10.0.0.1}", "{address: 10.0.0.1, labels: {security.istio.io/tlsMode: istio}}"
    )
    assert cluster(mesh).tls_spec is None


def test_10_2_10_3_10_4_simple_by_default_takes_name_and_proof_from_the_host_and_the_system() -> None:
    spec = tls("mode: SIMPLE")
    assert spec == ClientTlsSpec(
        owner="DestinationRule default/sec",
        mode="SIMPLE",
        verify_host=True,
        alpn=("http/1.1",),
    )
    assert spec.trust == Trust()
    assert tls("mode: SIMPLE, caCertificates: system") == spec


def test_10_3_with_an_explicit_sni_only_the_chain_is_verified() -> None:
    spec = tls("mode: SIMPLE, sni: given.test")
    assert (spec.sni, spec.verify_host, spec.subject_alt_names) == ("given.test", False, ())


def test_10_3_subject_alt_names_replace_the_host() -> None:
    spec = tls("mode: SIMPLE, subjectAltNames: [secure.test]")
    assert (spec.sni, spec.verify_host, spec.subject_alt_names) == ("", False, ("secure.test",))


def test_10_3_those_of_the_service_entry_come_second() -> None:
    entry = service(more="  subjectAltNames: [entry.test]\n")
    spec = tls("mode: SIMPLE", entry)
    assert (spec.subject_alt_names, spec.verify_host) == (("entry.test",), False)
    assert tls("mode: SIMPLE, subjectAltNames: [own.test]", entry).subject_alt_names == ("own.test",)


def test_10_3_those_of_a_service_entry_inside_the_mesh_count_for_mesh_identities_only() -> None:
    entry = service(more="  subjectAltNames: [entry.test]\n  location: MESH_INTERNAL\n")
    assert tls("mode: SIMPLE", entry).subject_alt_names == ()
    assert tls("mode: ISTIO_MUTUAL", entry).subject_alt_names == ("entry.test",)


def test_10_4_trust_comes_from_a_file_with_its_revocation_list() -> None:
    spec = tls("mode: SIMPLE, caCertificates: /ca.pem, caCrl: /crl.pem")
    assert spec.trust == Trust(file="/ca.pem", crl_file="/crl.pem")


def test_10_4_nothing_is_verified_with_insecure_skip_verify() -> None:
    entry = service(more="  subjectAltNames: [entry.test]\n")
    spec = tls("mode: SIMPLE, insecureSkipVerify: true, credentialName: up", entry)
    assert spec.insecure_skip_verify
    assert (spec.verify_host, spec.subject_alt_names, spec.trust) == (False, (), Trust())


def test_10_4_3_11_a_credential_of_the_proxys_namespace_brings_the_ca() -> None:
    spec = tls("mode: SIMPLE, credentialName: up", namespace="gateways")
    assert spec.pair is None
    assert spec.trust == Trust(secrets=(SecretName("gateways", "up-cacert"), SecretName("gateways", "up")))


def test_10_4_3_10_with_mutual_it_brings_the_pair_too() -> None:
    spec = tls("mode: MUTUAL, credentialName: up")
    assert spec.mode == "MUTUAL"
    assert spec.pair == SecretName("istio-system", "up")
    assert spec.trust.secrets[0] == SecretName("istio-system", "up-cacert")


def test_10_6_mutual_by_files() -> None:
    spec = tls("mode: MUTUAL, clientCertificate: /c.pem, privateKey: /k.pem, caCertificates: /ca.pem")
    assert spec.pair == PairFiles("/c.pem", "/k.pem")
    assert spec.trust == Trust(file="/ca.pem")


def test_10_6_mutual_without_a_pair_is_an_error_and_the_rule_is_set_aside(tmp_path: Any) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "a.yaml").write_text(rule("{tls: {mode: MUTUAL, caCertificates: /ca.pem}}"))
    found = [finding for finding in load([str(folder)]).findings if finding.level == "error"]
    assert [(f.path, f.line) for f in found] == [("spec.trafficPolicy.tls", 7)] * len(found)
    assert "MUTUAL TLS needs clientCertificate" in found[0].message


def test_simple_shows_no_certificate_even_if_one_is_named() -> None:
    assert tls("mode: SIMPLE, clientCertificate: /c.pem, privateKey: /k.pem").pair is None


def test_10_6_istio_mutual_uses_the_identity_of_the_workload() -> None:
    spec = tls("mode: ISTIO_MUTUAL", workload_certificates=("/etc/certs",))
    assert spec.mode == "MUTUAL"
    assert isinstance(spec.pair, PairFiles)
    assert (spec.pair.certificate, spec.pair.private_key) == (
        "/etc/certs/cert-chain.pem",
        "/etc/certs/key.pem",
    )
    assert spec.trust.file == "/etc/certs/root-cert.pem"
    assert (spec.sni, spec.verify_host) == (f"outbound_.443_._.{HOST}", False)
    assert spec.alpn == ("istio",)


def test_10_6_the_subset_is_part_of_the_sni_of_istio_mutual() -> None:
    written = rule("{tls: {mode: ISTIO_MUTUAL}}", more="  subsets: [{name: v1}]\n")
    spec = cluster(written, subset="v1").tls_spec
    assert spec is not None
    assert spec.sni == f"outbound_.443_.v1_.{HOST}"
    assert tls("mode: ISTIO_MUTUAL, sni: own.test").sni == "own.test"


def test_10_8_tls_is_originated_by_the_policy_of_the_port_the_route_names() -> None:
    entry = service("{number: 80, name: http, protocol: HTTP, targetPort: 443}")
    entry += "---" + service("{number: 8080, name: other, protocol: HTTP}").replace("sec", "oth", 1)
    policy = "{portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE, sni: secure.test}}]}"
    spec = cluster(rule(policy), entry, name=f"outbound|80||{HOST}")
    assert spec.endpoints[0].port == 443
    assert spec.tls_spec is not None
    assert spec.tls_spec.sni == "secure.test"


def test_8_2_1_port_settings_without_tls_are_plain() -> None:
    policy = (
        "{tls: {mode: SIMPLE}, portLevelSettings: [{port: {number: 443}, loadBalancer: {simple: RANDOM}}]}"
    )
    assert cluster(rule(policy)).tls_spec is None


def test_8_2_2_a_subset_replaces_the_block() -> None:
    more = "  subsets:\n  - {name: v1, trafficPolicy: {tls: {mode: DISABLE}}}\n"
    written = rule("{tls: {mode: SIMPLE}}", more=more)
    assert cluster(written, subset="v1").tls_spec is None
    assert cluster(written).tls_spec is not None


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_10_11_proxy_protocol_out(version: str) -> None:
    spec = cluster(rule(f"{{proxyProtocol: {{version: {version}}}, tls: {{mode: SIMPLE}}}}"))
    assert spec.proxy_protocol == version
    assert spec.tls_spec is not None
    assert cluster().proxy_protocol == ""
    assert cluster(rule("{proxyProtocol: {}}")).proxy_protocol == "V1"


def test_a_host_nobody_declares_has_its_rule_all_the_same() -> None:
    text = "---".join(
        [EDGE, virtual_service(f"- {to(HOST, port='{number: 443}')}"), rule("{tls: {mode: SIMPLE}}")]
    )
    spec = compile_yaml(text, unknown_hosts="dns").cluster(NAME)
    assert spec.tls_spec is not None
    assert spec.tls_spec.verify_host


# -- TCP routes ---------------------------------------------------------------------------------------

TCP_EDGE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  servers:
  - {port: {number: 9000, name: tcp, protocol: TCP}, hosts: ["*"]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: routes, namespace: default}
spec:
  hosts: ["*"]
  gateways: [istio-system/edge]
  tcp: [{route: [{destination: {host: sec.test}}]}]
"""


def test_10_7_tcp_routes_have_tls_without_an_application_protocol() -> None:
    spec = compile_yaml(
        "---".join([TCP_EDGE, service(), rule("{tls: {mode: SIMPLE, sni: a.test}}")])
    ).cluster(NAME)
    assert spec.tls_spec is not None
    assert spec.tls_spec.alpn == ()


def test_10_7_neither_have_ports_that_are_known_not_to_speak_http() -> None:
    assert tls("mode: SIMPLE", service("{number: 443, name: db, protocol: MYSQL}")).alpn == ()


PASSING = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: istio-system}
spec:
  servers:
  - port: {number: 15443, name: tls, protocol: TLS}
    hosts: ["*.test"]
    tls: {mode: AUTO_PASSTHROUGH}
"""


def test_3_1_what_is_tls_already_is_not_wrapped_again() -> None:
    internal = service(more="  location: MESH_INTERNAL\n")
    snapshot = compile_yaml("---".join([PASSING, internal, rule("{tls: {mode: ISTIO_MUTUAL}}")])).snapshot
    assert [(name, spec.tls_spec) for name, spec in snapshot.clusters.items()] == [
        (f"outbound_.443_._.{HOST}", None)
    ]


# -- holders and findings -----------------------------------------------------------------------------


def with_holders(text: str, problem: str) -> tuple[Snapshot, list[ClientTlsSpec]]:
    """Compiled as the runtime does, with a store whose every client has ``problem``."""
    import io

    asked: list[ClientTlsSpec] = []

    def client(spec: ClientTlsSpec) -> Held:
        asked.append(spec)
        return Held(spec, problem)

    loaded = load(["-"], io.BytesIO(text.encode()))
    snapshot = compile_snapshot(loaded.resources, CompileOptions(), adopt=lambda s: s, client_tls=client)
    return snapshot, asked


def test_the_holder_of_the_context_goes_into_the_cluster() -> None:
    text = "---".join([EDGE, virtual_service(f"- {to(HOST)}"), service(), rule("{tls: {mode: SIMPLE}}")])
    snapshot, asked = with_holders(text, "")
    assert snapshot.clusters[NAME].tls == Held(snapshot.clusters[NAME].tls_spec)
    assert asked == [snapshot.clusters[NAME].tls_spec]
    assert snapshot.findings == ()


@pytest.mark.parametrize(
    ("written", "path"),
    [
        (rule("{tls: {mode: SIMPLE, credentialName: up}}"), "spec.trafficPolicy.tls.credentialName"),
        (rule("{tls: {mode: SIMPLE, caCertificates: /none.pem}}"), "spec.trafficPolicy.tls"),
        (
            rule("{portLevelSettings: [{port: {number: 443}, tls: {mode: SIMPLE}}]}"),
            "spec.trafficPolicy.portLevelSettings[0].tls",
        ),
    ],
)
def test_3_13_a_credential_that_cannot_be_used_is_a_finding_at_its_field(written: str, path: str) -> None:
    text = "---".join([EDGE, virtual_service(f"- {to(HOST)}"), service(), written])
    snapshot, _ = with_holders(text, "there is no Secret istio-system/up")
    (finding,) = snapshot.findings
    assert (finding.level, finding.kind, finding.path) == ("warning", "DestinationRule", path)
    assert finding.line > 1
    assert "TLS towards sec.test:443" in finding.message
    assert "there is no Secret istio-system/up" in finding.message
    assert snapshot.clusters[NAME].tls.context is None


def test_the_finding_stands_at_the_block_of_the_subset() -> None:
    more = "  subsets:\n  - {name: v0}\n  - {name: v1, trafficPolicy: {tls: {mode: SIMPLE}}}\n"
    text = "---".join(
        [
            EDGE,
            virtual_service(f"- {to(HOST, subset='v1')}"),
            service(),
            rule("{tls: {mode: SIMPLE}}", more=more),
        ]
    )
    snapshot, _ = with_holders(text, "gone")
    assert [finding.path for finding in snapshot.findings] == ["spec.subsets[1].trafficPolicy.tls"]


@pytest.mark.parametrize("name", ["sds://other", "configmap://ns/ca", "../../etc"])
def test_3_9_a_credential_that_can_never_be_had_leaves_the_cluster_without_a_context(name: str) -> None:
    found = compiled(rule(f"{{tls: {{mode: SIMPLE, credentialName: '{name}'}}}}"))
    spec = found.cluster(NAME)
    assert spec.tls is not None, "never plain text instead"
    assert spec.tls.context is None
    (finding,) = found.findings("GWD0104")
    assert "spec.trafficPolicy.tls.credentialName" in finding
