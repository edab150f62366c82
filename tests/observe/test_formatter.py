"""Variables of format strings, semantics 6.2.3 and 17; values as Envoy was seen to print them."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from gatewayd.observe.formatter import compile_format
from gatewayd.observe.operators import OPERATORS
from gatewayd.observe.stream_info import StreamInfo
from gatewayd.routing.route import FORWARD, Route, RouteSource
from tests.policies.facts import info_of


def shown(text: str, info: StreamInfo | None = None) -> bytes:
    formatter = compile_format(text)
    assert not isinstance(formatter, bytes)
    return formatter(info or info_of([(b"x-in", b"hello"), (b"x-two", b"1"), (b"x-two", b"2")]))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("%REQ(x-in)%", b"hello"),
        ("%REQ(X-IN)%", b"hello"),
        ("%REQ(x-in):2%", b"he"),
        ("%REQ(x-in):0%", b""),
        ("%REQ(no?x-in)%", b"hello"),
        ("%REQ(x-in?no)%", b"hello"),
        ("%REQ(no)%", b""),
        ("%REQ(x-two)%", b"1"),  # the first of several lines
        ("%REQ(:METHOD)% %REQ(:PATH)% %REQ(:AUTHORITY)% %REQ(host)% %REQ(:scheme)%",
         b"GET /x?q=1 Shop.test:99 Shop.test:99 http"),
        ("%RESP(x-up)%", b""),
        ("%RESP(:status)%", b"200"),
        ("%PROTOCOL%", b"HTTP/1.1"),
        ("%RESPONSE_CODE%", b"200"),
        ("%RESPONSE_FLAGS%", b"-"),
        ("%RESPONSE_CODE_DETAILS%", b"via_upstream"),
        ("%BYTES_RECEIVED% %BYTES_SENT%", b"3 5"),
        ("%DURATION%", b"15"),
        ("%RESPONSE_DURATION%", b"7"),
        ("%UPSTREAM_HOST%|%UPSTREAM_REMOTE_PORT%", b"10.0.1.1:80|80"),
        ("%UPSTREAM_CLUSTER%", b"outbound|80||alpha.test"),
        ("%UPSTREAM_LOCAL_ADDRESS%", b"10.0.0.1:50000"),
        ("%UPSTREAM_REQUEST_ATTEMPT_COUNT%", b"1"),
        ("%DOWNSTREAM_LOCAL_ADDRESS%|%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%|%DOWNSTREAM_LOCAL_PORT%",
         b"10.0.0.1:8080|10.0.0.1|8080"),
        ("%DOWNSTREAM_REMOTE_ADDRESS%|%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%|%DOWNSTREAM_REMOTE_PORT%",
         b"10.0.0.7:41000|10.0.0.7|41000"),
        ("%REQUESTED_SERVER_NAME%%ROUTE_NAME%%UPSTREAM_TRANSPORT_FAILURE_REASON%", b""),
        ("%STREAM_ID:8%", b"744ff5e6"),
        ("%START_TIME%", b"2026-11-20T16:41:28.682Z"),
        ("%START_TIME(%s.%3f %Y/%m/%d %f)%", b"1795192888.682 2026/11/20 682564000"),
        ("%START_TIME(%H%%%M%z)%", b"16%41+0000"),
        ("a%%b%%%REQ(x-in)%%%", b"a%b%hello%"),
        ("[%REQ(no)%]", b"[]"),
    ],
)  # fmt: skip
def test_variable(text: str, value: bytes) -> None:
    assert shown(text) == value


def test_text_without_variables_is_compiled_to_bytes() -> None:
    assert compile_format("plain é") == "plain é".encode()
    assert compile_format("100%%") == b"100%"
    assert compile_format("") == b""


def test_hostname_is_that_of_the_machine() -> None:
    assert shown("%HOSTNAME%") == socket.gethostname().encode()


def test_address_believed_from_forwarded_for_has_port_zero() -> None:
    info = info_of()
    info.trusted_address = b"203.0.113.9"
    assert shown("%DOWNSTREAM_REMOTE_ADDRESS%", info) == b"203.0.113.9:0"
    assert shown("%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", info) == b"10.0.0.7:41000"
    info.trusted_address = b"2001:db8::9"
    assert shown("%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", info) == (
        b"[2001:db8::9]:0 2001:db8::9"
    )


def test_ipv6_addresses_lose_their_brackets_without_the_port() -> None:
    info = info_of()
    info.connection.local_address = "[2001:db8::1]:8080"
    assert shown("%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", info) == b"2001:db8::1"


def test_request_fields_are_those_sent_upstream_once_there_are_any() -> None:
    info = info_of([(b"x-in", b"received")])
    info.request_pairs = [(b"x-in", b"sent")]
    assert shown("%REQ(x-in)%", info) == b"sent"


def test_fields_the_proxy_writes_are_known_without_the_list_of_fields_sent() -> None:
    info = info_of([(b"x-request-id", b"of-the-client")])
    text = "%REQ(x-request-id):8%|%REQ(x-forwarded-for)%|%REQ(x-forwarded-proto)%"
    assert shown(text, info) == b"744ff5e6|10.0.0.7|http"
    assert shown("%REQ(x-envoy-external-address)%|%REQ(x-envoy-attempt-count)%", info) == b"10.0.0.7|1"
    info.request_id = b""  # the proxy was told not to make one
    assert shown("%REQ(x-request-id)%", info) == b"of-the-client"


def test_facts_of_a_request_that_could_not_be_parsed_are_absent() -> None:
    info = info_of()
    info.request = None
    info.method = info.path = b""
    assert shown("[%REQ(x)%%REQ(:method)%%REQ(:path)%%REQ(:authority)%%REQ(:scheme)%]", info) == b"[]"


def test_white_space_in_details_becomes_underscores() -> None:
    info = info_of()
    info.details = "a b  c"
    assert shown("%RESPONSE_CODE_DETAILS%", info) == b"a_b_c"


def test_route_name() -> None:
    info = info_of()
    info.route = Route("books.v1", FORWARD)
    assert shown("%ROUTE_NAME%", info) == b"books.v1"


def test_the_place_of_the_rule_that_was_taken() -> None:
    info = info_of()
    text = "%METADATA(ROUTE:gatewayd:file)%:%METADATA(ROUTE:gatewayd:line)% %METADATA(ROUTE:gatewayd:rule)%"
    written = SimpleNamespace(
        kind="VirtualService",
        namespace="shop",
        name="api",
        file="vs.yaml",
        line=7,
        rule_position=lambda *_: None,
    )
    info.route = Route("", FORWARD, source=RouteSource(written, 2))
    assert shown(text, info) == b"vs.yaml:7 http[2]"
    assert (
        shown("%METADATA(ROUTE:istio:config)%", info)
        == b"/apis/networking.istio.io/v1/namespaces/shop/virtual-service/api"
    )
    info.route = None
    assert shown(text, info) == b": ", "no rule, no place"


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator_gives_bytes_or_nothing(name: str) -> None:
    argument = "x-in" if name in ("REQ", "RESP", "TRAILER", "ENVIRONMENT", "QUERY_PARAM") else ""
    argument = "ROUTE:gatewayd:file" if name == "METADATA" else argument
    value = OPERATORS[name](argument)(info_of())
    assert value is None or isinstance(value, bytes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("50%", "'%' at character 3 begins no variable"),
        ("%%%", "'%' at character 3 begins no variable"),
        ("%REQ(x)", "begins no variable"),
        ("%req(x)%", "begins no variable"),
        ("%REQ(x) %", "begins no variable"),
        ("%UNKNOWN%", "unknown variable %UNKNOWN%: expected one of BYTES_RECEIVED"),
        ("%REQ%", "variable %REQ%: needs a header name"),
        ("%REQ()%", "variable %REQ%: needs a header name"),
        ("%REQ(a?b?c)%", "variable %REQ%: needs a header name"),
        ("%METADATA(CLUSTER:a:b)%", r"variable %METADATA%: expected one of \(ROUTE:istio:config\), "),
        ("%PROTOCOL(x)%", "variable %PROTOCOL%: takes no argument"),
        ("%START_TIME(%q)%", "unknown time specifier %q"),
        ("%START_TIME(%3x)%", "must be followed by f"),
    ],
)
def test_bad_formats_are_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        compile_format(text)


def test_a_client_certificate_is_told_in_parts() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    names = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "client")])
    alternatives = [
        x509.DNSName("a.test"),
        x509.UniformResourceIdentifier("spiffe://a/b"),
        x509.DNSName("b.test"),
    ]
    begins = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder(names, names, key.public_key(), 0xABC, begins, begins + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(key, hashes.SHA256())
    )
    info = info_of()
    tls = SimpleNamespace(
        certificate_der=certificate.public_bytes(Encoding.DER),
        version="TLSv1.3",
        cipher="TLS_AES_128_GCM_SHA256",
    )
    info.connection = cast(Any, SimpleNamespace(tls=tls))
    for variable, expected in {
        "SUBJECT": "CN=client",
        "ISSUER": "CN=client",
        "SERIAL": "0abc",
        "DNS_SAN": "a.test,b.test",
        "URI_SAN": "spiffe://a/b",
        "EMAIL_SAN": "",
        "IP_SAN": "",
        "CERT_V_START": "2026-01-02T03:04:05.000Z",
        "CERT_V_END": "2026-01-03T03:04:05.000Z",
        "FINGERPRINT_256": certificate.fingerprint(hashes.SHA256()).hex(),
        "FINGERPRINT_1": certificate.fingerprint(hashes.SHA1()).hex(),
    }.items():
        assert shown(f"%DOWNSTREAM_PEER_{variable}%", info) == expected.encode(), variable
    assert shown("%DOWNSTREAM_PEER_CERT%", info).startswith(b"-----BEGIN%20CERTIFICATE-----%0A")
    assert (
        shown("%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER%", info) == b"TLSv1.3 TLS_AES_128_GCM_SHA256"
    )


def test_the_ids_of_a_trace_are_the_exchanges_own() -> None:
    class Traced(StreamInfo):
        __slots__ = ("trace",)

    info = Traced()
    info.trace = SimpleNamespace(trace_id=b"4" * 32, span_id=b"5" * 16)
    assert shown("%TRACE_ID% %SPAN_ID%", info) == b"4" * 32 + b" " + b"5" * 16
    assert shown("%TRACE_ID%%SPAN_ID%") == b"", "nothing is traced"
