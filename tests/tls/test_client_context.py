"""What is believed of upstreams, and what they are told (semantics 10.2 to 10.4, 10.7)."""

from __future__ import annotations

import ssl
import warnings
from dataclasses import replace
from typing import Any

import pytest

from gatewayd.tls.authority import Issued, make_leaf
from gatewayd.tls.contexts import ClientContext, is_address
from gatewayd.tls.engine import lib
from gatewayd.tls.material import Material, MaterialError
from gatewayd.tls.spec import ClientTlsSpec
from tests.tls.handshakes import Shaken, material, shake, upstream
from tests.tls.material import authority, leaf

SIMPLE = ClientTlsSpec("DestinationRule shop/reviews", "SIMPLE")
OTHER_CA = authority("another root")


def dial(
    *names: str, to: str = "shop.test", days: float = 90, by: Issued | None = None, **changes: Any
) -> Shaken:
    """A handshake with an upstream whose certificate has ``names``."""
    context = ClientContext(replace(SIMPLE, **changes), material(ca=authority()))
    return shake(context, upstream(make_leaf(list(names), days, by or authority())), to)


def test_the_chain_is_verified() -> None:
    assert dial("shop.test").reason == ""
    refused = dial("shop.test", by=OTHER_CA)
    assert refused.reason == (
        "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: "
        "X509_verify_cert: certificate verification error at depth 0: unable to get local issuer certificate"
        ":TLS_error_end"
    )
    assert refused.error == "TLSV1_ALERT_UNKNOWN_CA"
    assert "certificate has expired" in dial("shop.test", days=-1).reason


def test_without_a_list_of_names_an_explicit_sni_asks_for_no_name() -> None:
    assert dial("other.test", sni="shop.test").reason == ""


def test_with_verify_host_the_certificate_must_be_for_the_host() -> None:
    assert dial("shop.test", verify_host=True).reason == ""
    refused = dial("wrong.test", verify_host=True)
    assert "verify SAN list, expected SANs: [shop.test], certificate SANs: [wrong.test]" in refused.reason
    assert dial("10.0.0.1", to="10.0.0.1", verify_host=True).reason == ""
    assert dial("10.0.0.2", to="10.0.0.1", verify_host=True).reason != ""


def test_bytes_of_tcp_are_for_no_host_so_the_chain_is_all_that_is_verified() -> None:
    assert dial("shop.test", to="", verify_host=True).reason == ""
    assert dial("shop.test", to="", verify_host=True, by=OTHER_CA).reason != ""


def test_one_name_of_the_list_is_enough_and_the_host_no_longer_matters() -> None:
    names = ("a.test", "spiffe://td/ns/x/sa/y")
    assert dial("spiffe://td/ns/x/sa/y", subject_alt_names=names, verify_host=True).reason == ""
    assert "certificate SANs are [shop.test]" in dial("shop.test", subject_alt_names=names).reason


@pytest.mark.parametrize(
    ("name", "host", "fits"),
    [
        ("*.test", "shop.test", True),
        ("*.shop.test", "a.shop.test", True),
        ("*.shop.test", "A.Shop.Test", True),
        ("*.shop.test", "shop.test", False),
        ("*.shop.test", "a.b.shop.test", False),
    ],
)
def test_wildcards_of_certificates_stand_for_one_label(name: str, host: str, fits: bool) -> None:
    assert (dial(name, to=host, verify_host=True).reason == "") is fits


def test_skipping_verification_takes_anything() -> None:
    assert dial("wrong.test", by=OTHER_CA, days=-1, verify_host=True, insecure_skip_verify=True).reason == ""


@pytest.mark.parametrize(
    ("name", "said"),
    [("shop.test", "shop.test"), ("", None), ("10.0.0.1", None), ("2001:db8::1", None)],
)
def test_the_sni_is_the_name_but_never_an_address(name: str, said: str | None) -> None:
    heard: list[str | None] = []
    server = upstream(leaf("shop.test"))
    server.sni_callback = lambda _object, sni, _context: heard.append(sni)
    assert shake(ClientContext(SIMPLE, material(ca=authority())), server, name).reason == ""
    assert heard == [said]


def test_mutual_shows_its_certificate() -> None:
    server = upstream(leaf("shop.test"), wants=authority())
    mutual = ClientContext(replace(SIMPLE, mode="MUTUAL"), material(leaf("gateway.test"), ca=authority()))
    shaken = shake(mutual, server, "shop.test")
    assert shaken.reason == shaken.error == ""
    assert "gateway.test" in str(shaken.other.getpeercert())
    assert "CERTIFICATE" in shake(ClientContext(SIMPLE, material(ca=authority())), server).error


def test_alpn_is_offered_only_when_asked_for() -> None:
    server = upstream(leaf())
    server.set_alpn_protocols(["h2", "http/1.1"])
    trust = material(ca=authority())
    assert shake(ClientContext(SIMPLE, trust), server).other.selected_alpn_protocol() is None
    asked = shake(ClientContext(replace(SIMPLE, alpn=("h2",)), trust), server)
    assert asked.peer is not None
    assert asked.peer.alpn == "h2"


def test_tls_1_2_is_the_least() -> None:
    trust = material(ca=authority())
    assert shake(ClientContext(SIMPLE, trust), upstream(leaf(), maximum="TLSv1_2")).reason == ""
    old = upstream(leaf())
    old.set_ciphers("ALL@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    assert "ALERT_PROTOCOL_VERSION" in shake(ClientContext(SIMPLE, trust), old).reason


def test_without_an_authority_the_systems_own_are_believed() -> None:
    one = ClientContext(SIMPLE, Material())
    assert "unable to get local issuer certificate" in shake(one, upstream(leaf())).reason
    two = ClientContext(replace(SIMPLE, owner="DestinationRule shop/ratings"), Material())
    two.open("a.test")
    assert one._context is not None
    assert two._context is not None
    stores = {lib.SSL_CTX_get_cert_store(each._context.pointer) for each in (one, two)}
    assert len(stores) == 1  # 0.8 MiB each


@pytest.mark.parametrize("maximum", ["TLSv1_2", "TLSv1_3"])
def test_a_session_is_resumed_for_its_own_name_only(maximum: str) -> None:
    context = ClientContext(replace(SIMPLE, verify_host=True), material(ca=authority()))
    server = upstream(make_leaf(["shop.test", "else.test"], 90, authority()), maximum=maximum)
    for name, resumed in (("shop.test", False), ("shop.test", True), ("else.test", False)):
        shaken = shake(context, server, name)
        assert shaken.reason == ""
        assert shaken.other.session_reused is resumed
        context.ended(shaken.connection, name)


def test_kept_sessions_are_bounded() -> None:
    context = ClientContext(SIMPLE, material(ca=authority()))
    shaken = shake(context, upstream(leaf()))
    for number in range(2_000):
        context.ended(shaken.connection, f"{number}.test")
    assert len(context._sessions) == 256
    assert "1999.test" in context._sessions


def test_bad_material_is_refused() -> None:
    with pytest.raises(MaterialError, match="no client certificate"):
        ClientContext(replace(SIMPLE, mode="MUTUAL"), Material())
    with pytest.raises(MaterialError, match="no certificate inside"):
        ClientContext(SIMPLE, Material(ca=b"hello"))


def test_what_is_an_address() -> None:
    assert [is_address(name) for name in ("10.0.0.1", "::1", "a.test", "1.2.3.4.test", "a.1")] == [
        True, True, False, False, False,
    ]  # fmt: skip
