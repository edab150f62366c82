"""MeshConfig as settings of listeners and routes: semantics 6.7.2, 14.1 to 14.7."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gatewayd.compiler.defaults import http_options, mesh_retry_policy
from gatewayd.compiler.options import CompileOptions
from gatewayd.http.limits import HttpLimits
from gatewayd.http.options import HttpOptions
from gatewayd.resources.mesh_config import MeshConfig
from gatewayd.routing.route import DEFAULT_RETRY, RetryPolicy


def options(mesh: dict[str, Any]) -> HttpOptions:
    return http_options(CompileOptions(mesh=msgspec.convert(mesh, MeshConfig)))


def headers(**fields: Any) -> HttpOptions:
    return options({"defaultConfig": {"proxyHeaders": fields}})


def test_without_mesh_config_everything_is_istios_default() -> None:
    assert options({}) == HttpOptions()


@pytest.mark.parametrize(
    ("written", "normalization"),
    [
        ("DEFAULT", "BASE"),
        ("BASE", "BASE"),
        ("NONE", "NONE"),
        ("MERGE_SLASHES", "MERGE_SLASHES"),
        ("DECODE_AND_MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"),
    ],
)
def test_14_4_2_path_normalization(written: str, normalization: str) -> None:
    assert options({"pathNormalization": {"normalization": written}}).path_normalization == normalization


def test_14_1_1_trusted_proxies() -> None:
    assert options({"defaultConfig": {"gatewayTopology": {"numTrustedProxies": 2}}}).trusted_proxies == 2


def test_14_7_1_the_server_header() -> None:
    assert headers(server={"value": "edge"}).server_header == b"edge"
    assert headers(server={"disabled": True}).server_header is None
    assert headers(server={"disabled": False}).server_header == b"istio-envoy"


@pytest.mark.parametrize(
    ("field", "written", "attribute", "value"),
    [
        ("envoyDebugHeaders", {"disabled": True}, "debug_headers", False),
        ("attemptCount", {"disabled": True}, "attempt_count", False),
        ("requestId", {"disabled": True}, "request_id", False),
        ("xForwardedHost", {"enabled": True}, "x_forwarded_host", True),
        ("xForwardedPort", {"enabled": True}, "x_forwarded_port", True),
        ("requestId", {"disabled": False}, "request_id", True),
    ],
)
def test_proxy_headers(field: str, written: dict[str, bool], attribute: str, value: bool) -> None:
    assert getattr(headers(**{field: written}), attribute) is value


def test_limits_are_the_callers() -> None:
    limits = HttpLimits(max_request_fields=7)
    assert http_options(CompileOptions(limits=limits)).limits is limits


def test_6_7_2_the_mesh_may_replace_the_default_retries() -> None:
    assert mesh_retry_policy(MeshConfig()) is DEFAULT_RETRY
    own = msgspec.convert({"defaultHttpRetryPolicy": {"attempts": 1, "retryOn": "reset"}}, MeshConfig)
    assert mesh_retry_policy(own) == RetryPolicy(attempts=1, retry_on=frozenset({"reset"}))
    off = msgspec.convert({"defaultHttpRetryPolicy": {"attempts": 0}}, MeshConfig)
    assert mesh_retry_policy(off) is None


def test_3_18_forward_client_cert_details() -> None:
    assert options({}).client_certificate == "SANITIZE_SET"
    topology = {"forwardClientCertDetails": "APPEND_FORWARD"}
    assert options({"defaultConfig": {"gatewayTopology": topology}}).client_certificate == "APPEND_FORWARD"
    nearer = {"gatewayTopology": topology, "proxyHeaders": {"forwardedClientCert": "SANITIZE"}}
    assert options({"defaultConfig": nearer}).client_certificate == "SANITIZE"
