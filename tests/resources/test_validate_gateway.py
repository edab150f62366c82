"""Gateways (semantics 19.1, 19.2): each fact is a row, the path says where, the message why."""

from typing import Any

import pytest

from tests.resources.checks import errors, faults, warnings


def gateway(**changes: Any) -> dict[str, Any]:
    port = {"number": 80, "name": "http", "protocol": "HTTP", **changes.pop("port", {})}
    return {"servers": [{"port": port, "hosts": ["*.example.com"], **changes}]}


def https(**tls: Any) -> dict[str, Any]:
    return gateway(port={"number": 443, "protocol": "HTTPS"}, tls=tls)


@pytest.mark.parametrize(
    "spec",
    [
        gateway(),
        gateway(hosts=["*", "shop/*.a.com", "./a.com", "*/*", "1.2.3.4", "::1", "a.com."]),
        gateway(port={"protocol": "grpc-web"}),
        gateway(tls={"httpsRedirect": True}),
        gateway(bind="127.0.0.1"),
        gateway(bind="unix:///run/a.sock", port={"number": 0}),
        https(mode="SIMPLE", credentialName="a"),
        https(),
        https(mode="MUTUAL", serverCertificate="a", privateKey="b", caCertificates="c"),
    ],
)
def test_good_gateways(spec: Any) -> None:
    assert errors("Gateway", spec) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, "spec: a Gateway needs at least one server"),
        (gateway(hosts=[]), "spec.servers[0].hosts: a server needs at least one host"),
        (gateway(hosts=["a"]), 'spec.servers[0].hosts[0]: short names such as "a" are not allowed here'),
        (gateway(hosts=["*a.com"]), 'spec.servers[0].hosts[0]: partial wildcard "*a.com" is not allowed'),
        (
            gateway(hosts=["a.*.com"]),
            'spec.servers[0].hosts[0]: "a.*.com": a wildcard may only stand at the beginning',
        ),
        (gateway(hosts=["n_s/a.com"]), 'spec.servers[0].hosts[0]: "n_s" is not a namespace, "*" or "."'),
        (gateway(hosts=["a_b.com"]), 'spec.servers[0].hosts[0]: "a_b.com" is not a host name (label "a_b")'),
        (
            gateway(port={"number": 0}),
            "spec.servers[0].port.number: port number must be from 1 to 65535, not 0",
        ),
        (gateway(port={"name": ""}), "spec.servers[0].port.name: a port needs a name"),
        (
            gateway(port={"protocol": "HTPP"}),
            'spec.servers[0].port.protocol: unknown protocol "HTPP" (did you mean "HTTP"?)',
        ),
        (
            gateway(bind="unix:///a"),
            "spec.servers[0].port.number: a server on a unix socket has port number 0, not 80",
        ),
        (gateway(bind="lo"), 'spec.servers[0].bind: "lo" is neither an IP address nor a unix:// path'),
        (gateway(port={"protocol": "TLS"}), "spec.servers[0]: a server with protocol TLS needs tls"),
        (
            gateway(tls={"mode": "SIMPLE"}),
            "spec.servers[0].tls: a server with protocol HTTP may have only tls.httpsRedirect",
        ),
        (
            gateway(port={"protocol": "TCP"}, tls={}),
            "spec.servers[0].tls: a server with protocol TCP cannot have tls",
        ),
        (
            https(mode="SIMPLE", serverCertificate="a"),
            "spec.servers[0].tls: SIMPLE TLS needs a private key: privateKey",
        ),
        (
            https(mode="MUTUAL", serverCertificate="a", privateKey="b"),
            "spec.servers[0].tls: MUTUAL TLS needs a client CA bundle: caCertificates",
        ),
        (
            https(mode="ISTIO_MUTUAL", credentialName="a"),
            "spec.servers[0].tls.credentialName: ISTIO_MUTUAL brings its own certificates: "
            "it cannot have credentialName",
        ),
        (
            https(mode="SIMPLE", credentialName="a", credentialNames=["b"]),
            "spec.servers[0].tls: the certificate is given more than once: credentialName, credentialNames",
        ),
        (
            https(mode="SIMPLE", serverCertificate="a", privateKey="b", caCrl="c"),
            "spec.servers[0].tls.caCrl: caCrl (CRL) is not supported with SIMPLE TLS",
        ),
        (
            https(mode="MUTUAL", credentialName="a", caCrl="c"),
            "spec.servers[0].tls.caCrl: caCrl (CRL) is not supported with credentialName: the CRL belongs into the "
            "Secret",
        ),
        (
            https(
                mode="MUTUAL", credentialName="a", minProtocolVersion="TLSV1_3", maxProtocolVersion="TLSV1_2"
            ),
            "spec.servers[0].tls.minProtocolVersion: minProtocolVersion is above maxProtocolVersion",
        ),
    ],
)
def test_bad_gateways(spec: Any, expected: str) -> None:
    assert errors("Gateway", spec) == [expected]


def test_port_names_of_a_gateway_are_unique() -> None:
    spec = {"servers": gateway()["servers"] * 2}
    assert errors("Gateway", spec) == [
        'spec.servers[1].port.name: port name "http" is used by an earlier server'
    ]


def test_a_gateway_name_is_a_label() -> None:
    (fault,) = faults("Gateway", gateway(), name="a.b")
    assert (fault.path, fault.level) == (("metadata", "name"), "error")


def test_redirect_on_https_is_a_warning() -> None:
    assert warnings("Gateway", https(mode="SIMPLE", credentialName="a", httpsRedirect=True)) == [
        "spec.servers[0].tls.httpsRedirect: tls.httpsRedirect has an effect on HTTP servers only"
    ]


SIMPLE = {"mode": "SIMPLE", "credentialName": "a"}
MUTUAL = {"mode": "MUTUAL", "credentialName": "a"}
FILES = {"mode": "MUTUAL", "serverCertificate": "a", "privateKey": "b", "caCertificates": "c"}


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        # 3.7: Istio ignores them in silence, its webhook warns
        (
            {**SIMPLE, "cipherSuites": ["AES128-SHA", "RC4-MD5"]},
            ['cipherSuites[1]: unknown cipher suite "RC4-MD5" is ignored'],
        ),
        (
            {**SIMPLE, "cipherSuites": ["AES128-SHA", "AES256-SHA", "AES128-SHA"]},
            ['cipherSuites[2]: cipher suite "AES128-SHA" is in the list twice'],
        ),
        ({**SIMPLE, "cipherSuites": ["ALL", "-AES128-SHA", "!AES256-SHA", "+DES-CBC3-SHA"]}, []),
        ({**SIMPLE, "ecdhCurves": ["X25519", "X448"]}, ['ecdhCurves[1]: unknown curve "X448" is ignored']),
        (
            {**SIMPLE, "minProtocolVersion": "TLSV1_1"},
            [
                "minProtocolVersion: no cipher suite of the default list is for versions below TLSV1_2, so TLSV1_1 "
                "cannot be spoken"
            ],
        ),
        ({**SIMPLE, "minProtocolVersion": "TLSV1_1", "cipherSuites": ["AES128-SHA"]}, []),
        # 3.14, 3.15: what asks about client certificates, where it has no effect
        (
            {**SIMPLE, "subjectAltNames": ["a"]},
            [
                "subjectAltNames: subjectAltNames has no effect in mode SIMPLE: no client certificate "
                "is asked for"
            ],
        ),
        (
            {**SIMPLE, "insecureSkipVerify": True},
            [
                "insecureSkipVerify: insecureSkipVerify has no effect in mode SIMPLE: no client certificate "
                "is asked for"
            ],
        ),
        (
            {**SIMPLE, "verifyCertificateHash": ["a"]},
            ["verifyCertificateHash: verifyCertificateHash has no effect in mode SIMPLE"],
        ),
        (
            {**FILES, "verifyCertificateSpki": ["a"]},
            [
                "verifyCertificateSpki: verifyCertificateSpki has no effect without credentialName, as in Istio"
            ],
        ),
        (
            {**MUTUAL, "verifyCertificateSpki": ["a"], "subjectAltNames": ["a"], "insecureSkipVerify": True},
            [],
        ),
        # 19.2: nothing ends TLS, so nothing has a certificate
        (
            {"mode": "PASSTHROUGH", "credentialName": "a", "caCertificates": "b"},
            [
                "caCertificates: PASSTHROUGH uses no certificates, so caCertificates has no effect",
                "credentialName: PASSTHROUGH uses no certificates, so credentialName has no effect",
            ],
        ),
        ({"mode": "AUTO_PASSTHROUGH"}, []),
    ],
)
def test_tls_settings_without_effect_are_warned_about(tls: dict[str, Any], expected: list[str]) -> None:
    spec = https(**tls)
    assert errors("Gateway", spec) == []
    assert warnings("Gateway", spec) == [f"spec.servers[0].tls.{line}" for line in expected]
