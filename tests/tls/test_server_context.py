"""What terminating servers negotiate and whom they let in (semantics 3.5 to 3.16; hardening: TLS)."""

from __future__ import annotations

import contextlib
import re
import ssl
import warnings
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL

from gatewayd.tls import openssl
from gatewayd.tls.authority import Issued, make_leaf
from gatewayd.tls.contexts import ServerContext
from gatewayd.tls.engine import lib
from gatewayd.tls.material import KeyPair, Material, MaterialError
from gatewayd.tls.peer import peer_certificate
from gatewayd.tls.spec import ServerTlsSpec
from tests.tls.handshakes import client, material, shake
from tests.tls.issuing import chain, revoking, rsa_leaf
from tests.tls.material import authority, encrypted, leaf, revocation_list, staple

SIMPLE = ServerTlsSpec("Gateway test/edge servers[0]", "SIMPLE", ())
MUTUAL = replace(SIMPLE, mode="MUTUAL")
OPTIONAL = replace(SIMPLE, mode="OPTIONAL_MUTUAL")
OTHER_CA = authority("another root")
CURVES = [pytest.param((), id="default curves"), pytest.param(("X25519", "P-256"), id="curves by name")]


def server(spec: ServerTlsSpec = SIMPLE, **changes: Any) -> ServerContext:
    return ServerContext(
        replace(spec, **changes), material(leaf(), ca=authority() if spec.mode != "SIMPLE" else None)
    )


def stranger(days: float = 90) -> Issued:
    return make_leaf(["client.test"], days, OTHER_CA)


# --- what is negotiated


@pytest.mark.parametrize("curves", CURVES)
def test_the_defaults_are_tls_1_2_and_1_3_with_forward_secrecy(curves: tuple[str, ...]) -> None:
    context = server(ecdh_curves=curves)
    assert shake(context, client()).other.version() == "TLSv1.3"
    older = shake(context, client(maximum="TLSv1_2"))
    assert older.other.version() == "TLSv1.2"
    assert older.other.cipher()[0] == "ECDHE-ECDSA-AES128-GCM-SHA256"
    assert older.peer is not None
    assert (older.peer.version, older.peer.cipher) == ("TLSv1.2", "ECDHE-ECDSA-AES128-GCM-SHA256")


@pytest.mark.parametrize(
    "first", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"]
)
def test_in_tls_1_3_the_clients_order_of_ciphers_counts(first: str) -> None:
    """As in Envoy 1.40 [observed]; below it the server's."""
    asking = SSL.Context(SSL.TLS_CLIENT_METHOD)
    others = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"} - {first}
    asking.set_tls13_ciphersuites(":".join([first, *sorted(others)]).encode())
    assert _talk(server(), asking).get_cipher_name() == first


@pytest.mark.parametrize("curves", CURVES)
@pytest.mark.parametrize("cipher", ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256"])
def test_ciphers_without_forward_secrecy_or_aead_are_not_offered(
    cipher: str, curves: tuple[str, ...]
) -> None:
    shaken = shake(server(ecdh_curves=curves), client(maximum="TLSv1_2", ciphers=cipher))
    assert "NO_SHARED_CIPHER" in shaken.reason
    assert "HANDSHAKE_FAILURE" in shaken.error


@pytest.mark.parametrize("curves", CURVES)
def test_cipher_suites_govern_tls_1_2_alone(curves: tuple[str, ...]) -> None:
    context = server(cipher_suites=("ECDHE-ECDSA-AES256-GCM-SHA384",), ecdh_curves=curves)
    assert shake(context, client(maximum="TLSv1_2")).other.cipher()[0] == "ECDHE-ECDSA-AES256-GCM-SHA384"
    assert shake(context, client()).other.version() == "TLSv1.3"


@pytest.mark.parametrize("curves", CURVES)
def test_versions_below_the_minimum_or_above_the_maximum_are_refused(curves: tuple[str, ...]) -> None:
    newest = server(min_version="TLSV1_3", ecdh_curves=curves)
    refused = shake(newest, client(maximum="TLSv1_2"))
    assert refused.reason == (
        "TLS_error:|268435696:SSL routines:OPENSSL_internal:UNSUPPORTED_PROTOCOL:TLS_error_end"
    )
    assert refused.error == "TLSV1_ALERT_PROTOCOL_VERSION"
    assert shake(server(max_version="TLSV1_2", ecdh_curves=curves), client()).other.version() == "TLSv1.2"


@pytest.mark.parametrize("curves", CURVES)
def test_old_versions_work_for_who_asks_for_them(curves: tuple[str, ...]) -> None:
    old = client(ciphers="ALL@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1
    assert shake(server(ecdh_curves=curves), old).reason != ""
    context = server(min_version="TLSV1_0", cipher_suites=("ECDHE-ECDSA-AES128-SHA",), ecdh_curves=curves)
    assert shake(context, old).other.version() == "TLSv1"


@pytest.mark.parametrize("curves", CURVES)
def test_the_servers_order_decides_about_alpn(curves: tuple[str, ...]) -> None:
    context = server(alpn=("h2", "http/1.1"), ecdh_curves=curves)
    shaken = shake(context, client(alpn=("http/1.1", "h2")))
    assert shaken.other.selected_alpn_protocol() == "h2"
    assert shaken.peer is not None
    assert shaken.peer.alpn == "h2"
    assert shake(context, client(alpn=("spdy/3",))).other.selected_alpn_protocol() is None
    assert shake(context, client()).error == ""


def test_one_curve_or_several_are_all_there_is() -> None:
    one = server(ecdh_curves=("P-384",))
    several = server(ecdh_curves=("P-384", "P-521"))
    for context in (one, several):
        assert shake(context, client(curve="secp384r1")).reason == ""
        assert shake(context, client(curve="prime256v1")).reason != ""
    assert shake(several, client(curve="secp521r1")).reason == ""


@pytest.mark.parametrize("curves", CURVES)
def test_the_client_gets_the_certificate_whose_key_it_can_check(curves: tuple[str, ...]) -> None:
    context = ServerContext(replace(SIMPLE, ecdh_curves=curves), material(rsa_leaf("a.test"), leaf()))
    kinds = {}
    for key in ("ECDSA", "RSA"):
        shaken = shake(context, client(maximum="TLSv1_2", ciphers=f"ECDHE-{key}-AES128-GCM-SHA256"))
        assert shaken.reason == "", key
        shown = x509.load_der_x509_certificate(shaken.other.getpeercert(True))
        kinds[key] = isinstance(shown.public_key(), rsa.RSAPublicKey)
    assert kinds == {"ECDSA": False, "RSA": True}


def test_renegotiation_and_compression_are_off() -> None:
    shaken = shake(server(), client(maximum="TLSv1_2"))
    assert shaken.other.compression() is None
    assert lib.SSL_get_options(shaken.connection.handle) & SSL.OP_NO_RENEGOTIATION


def _talk(context: ServerContext, asking: SSL.Context, *, ocsp: bool = False) -> SSL.Connection:
    """A handshake with a client of pyOpenSSL, which knows more of it than ``ssl`` does."""
    connection = context.open("a.test")
    visitor = SSL.Connection(asking, None)
    visitor.set_connect_state()
    if ocsp:
        visitor.request_ocsp()
    for _ in range(3):
        with contextlib.suppress(SSL.WantReadError):
            visitor.do_handshake()
        with contextlib.suppress(SSL.WantReadError):
            connection.feed(visitor.bio_read(65_536))
        connection.shake()
        if out := connection.take():
            visitor.bio_write(out)
    return visitor


@pytest.mark.parametrize("group", [b"X25519MLKEM768", b"X25519", b"P-256"])
def test_key_exchange_is_envoys(group: bytes) -> None:
    """X25519MLKEM768, X25519 and P-256, and no other, asked of Envoy 1.40."""
    asking = SSL.Context(SSL.TLS_CLIENT_METHOD)
    assert lib.SSL_CTX_set1_curves_list(asking._context, group) == 1
    assert _talk(server(), asking).get_peer_certificate(as_cryptography=True) is not None


def test_other_curves_are_for_servers_that_name_them() -> None:
    assert "NO_SHARED_GROUP" in shake(server(), client(curve="secp384r1")).reason
    assert shake(server(ecdh_curves=("P-384",)), client(curve="secp384r1")).reason == ""


def test_servers_that_differ_in_their_certificates_share_a_context_and_show_each_its_own() -> None:
    made = {
        name: ServerContext(replace(SIMPLE, owner=name), material(leaf(name)))
        for name in ("a.test", "b.test")
    }
    shown = {
        name: shake(context, client()).other.getpeercert()["subjectAltName"] for name, context in made.items()
    }
    assert shown == {name: (("DNS", name),) for name in made}
    one, two = (context._servers for context in made.values())
    assert one is not None
    assert two is not None
    assert one._context is two._context
    older = ServerContext(replace(SIMPLE, min_version="TLSV1_1"), material(leaf()))
    shake(older, client())
    assert older._servers is not None
    assert older._servers._context is not one._context


@pytest.mark.parametrize("pairs", [1, 2], ids=["shared", "own"])
def test_intermediates_are_shown(pairs: int) -> None:
    """A client that trusts the root alone has to be shown what stands between."""
    root, between, issued = chain("a.test")
    more = [rsa_leaf("a.test")] if pairs == 2 else []
    chained = Issued(issued.certificate + between.certificate, issued.private_key)
    trusting = client(trust=root, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256", maximum="TLSv1_2")
    assert shake(ServerContext(SIMPLE, material(chained, *more)), trusting).error == ""
    bare = ServerContext(SIMPLE, material(issued, *more))
    assert "CERTIFICATE_VERIFY_FAILED" in shake(bare, trusting).error


# --- whom it lets in


def test_clients_are_told_whose_certificates_count() -> None:
    """As by Envoy: the names of the authorities, so that a client with several certificates knows which to show."""
    asking = SSL.Context(SSL.TLS_CLIENT_METHOD)
    assert [name.CN for name in _talk(server(MUTUAL), asking).get_client_ca_list()] == ["test root"]
    assert [name.CN for name in _talk(server(OPTIONAL), asking).get_client_ca_list()] == ["test root"]
    assert _talk(server(), asking).get_client_ca_list() == []


@pytest.mark.parametrize("curves", CURVES)
def test_mutual_takes_whom_its_authority_vouches_for(curves: tuple[str, ...]) -> None:
    mine = leaf("client.test")
    shaken = shake(server(MUTUAL, ecdh_curves=curves), client(certificate=mine))
    assert shaken.reason == shaken.error == ""
    assert shaken.peer is not None
    assert shaken.peer.certificate is not None
    assert shaken.peer.certificate.dns_names == ("client.test",)


@pytest.mark.parametrize("curves", CURVES)
@pytest.mark.parametrize("maximum", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize(
    ("presented", "words", "alert"),
    [
        (None, "PEER_DID_NOT_RETURN_A_CERTIFICATE", "CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE"),
        ("unknown", "unable to get local issuer certificate", "UNKNOWN_CA"),
        ("expired", "certificate has expired", "CERTIFICATE_EXPIRED"),
        ("itself", "self signed certificate", "UNKNOWN_CA"),
    ],
)
def test_mutual_refuses_others_with_an_alert_and_says_why(
    curves: tuple[str, ...], maximum: str, presented: str | None, words: str, alert: str
) -> None:
    cards = {
        "unknown": stranger(),
        "expired": make_leaf(["client.test"], -1, authority()),
        "itself": make_leaf(["client.test"], 90),
    }
    shaken = shake(
        server(MUTUAL, ecdh_curves=curves),
        client(certificate=cards[presented] if presented else None, maximum=maximum),
    )
    assert words in shaken.reason
    assert shaken.reason.startswith("TLS_error:|2684")
    assert re.search(alert, shaken.error)


@pytest.mark.parametrize("curves", CURVES)
def test_optional_mutual_takes_clients_without_a_certificate_but_none_with_a_bad_one(
    curves: tuple[str, ...],
) -> None:
    context = server(OPTIONAL, ecdh_curves=curves)
    bare = shake(context, client())
    assert bare.reason == ""
    assert bare.peer is not None
    assert bare.peer.certificate is None
    assert bare.peer.forwarded == b""
    assert shake(context, client(certificate=leaf("client.test"))).reason == ""
    assert "CERTIFICATE_VERIFY_FAILED" in shake(context, client(certificate=stranger())).reason


@pytest.mark.parametrize("curves", CURVES)
def test_a_revoked_certificate_is_refused(curves: tuple[str, ...]) -> None:
    context = ServerContext(
        replace(MUTUAL, ecdh_curves=curves),
        material(leaf(), ca=authority(), crl=revoking(authority(), leaf("revoked.test"))),
    )
    assert shake(context, client(certificate=leaf("client.test"))).reason == ""
    refused = shake(context, client(certificate=leaf("revoked.test")))
    assert "certificate revoked" in refused.reason
    assert "CERTIFICATE_REVOKED" in refused.error
    unlisted = ServerContext(
        replace(MUTUAL, ecdh_curves=curves),
        material(leaf(), ca=authority(), crl=revocation_list(OTHER_CA)),
    )
    assert "unable to get certificate CRL" in shake(unlisted, client(certificate=leaf("client.test"))).reason


def test_subject_alt_names_must_hold_one_of_the_list() -> None:
    card = make_leaf(["client.test", "spiffe://td/ns/x/sa/y"], 90, authority())
    for wanted in ("client.test", "spiffe://td/ns/x/sa/y", "CLIENT.test"):
        assert shake(server(MUTUAL, subject_alt_names=("x", wanted)), client(certificate=card)).reason == ""
    refused = shake(server(MUTUAL, subject_alt_names=("other.test",)), client(certificate=card))
    assert refused.reason == (
        "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED:verify cert failed: "
        "SAN matcher, certificate SANs are [client.test, spiffe://td/ns/x/sa/y]:TLS_error_end"
    )
    assert "ALERT" in refused.error


def test_in_simple_mode_nobody_is_asked_for_names() -> None:
    assert shake(server(subject_alt_names=("other.test",)), client()).reason == ""


def test_of_key_and_certificate_hashes_one_match_is_enough() -> None:
    mine = leaf("client.test")
    read = peer_certificate(ssl.PEM_cert_to_DER_cert(mine.certificate.decode().partition("\n\n")[0]))
    for hashes in (
        {"spki_hashes": (read.spki_hash,), "certificate_hashes": ("00" * 32,)},
        {"certificate_hashes": (read.hash,)},
    ):
        assert shake(server(MUTUAL, **hashes), client(certificate=mine)).reason == ""
    refused = shake(server(MUTUAL, certificate_hashes=("00" * 32,)), client(certificate=mine))
    assert "cert hash and spki" in refused.reason
    assert refused.error


def test_accept_untrusted_takes_any_certificate_but_still_wants_one() -> None:
    context = server(MUTUAL, accept_untrusted=True)
    for card in (stranger(), stranger(days=-1), make_leaf(["client.test"], 90)):
        shaken = shake(context, client(certificate=card))
        assert shaken.reason == ""
        assert shaken.peer is not None
        assert b"DNS=client.test" in shaken.peer.forwarded
    assert shake(context, client()).reason != ""


# --- resumption


@pytest.mark.parametrize("maximum", ["TLSv1_2", "TLSv1_3"])
def test_a_session_is_resumed_by_its_own_server_and_keeps_its_client(maximum: str) -> None:
    context = server(MUTUAL)
    visitor = client(certificate=leaf("client.test"), maximum=maximum)
    first = shake(context, visitor)
    again = shake(context, visitor, session=first.other.session)
    assert again.other.session_reused
    assert again.peer is not None
    assert again.peer.certificate_der == first.peer.certificate_der  # type: ignore[union-attr]


@pytest.mark.parametrize("maximum", ["TLSv1_2", "TLSv1_3"])
def test_a_session_of_another_server_does_not_lead_past_a_client_certificate(maximum: str) -> None:
    visitor = client(maximum=maximum)
    elsewhere = shake(server(), visitor).other.session
    refused = shake(server(MUTUAL), visitor, session=elsewhere)
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in refused.reason


def test_a_client_whose_certificate_has_expired_since_cannot_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    context = server(MUTUAL)
    visitor = client(certificate=make_leaf(["client.test"], 1, authority()))
    first = shake(context, visitor)
    later = peer_certificate(first.peer.certificate_der).not_after_s + 1  # type: ignore[union-attr]
    monkeypatch.setattr("gatewayd.tls.contexts.time.time", lambda: later)
    again = shake(context, visitor, session=first.other.session)
    assert again.other.session_reused
    assert "certificate has expired" in again.reason


# --- OCSP


def test_a_staple_is_shown_to_clients_that_ask() -> None:
    der = staple(leaf(), authority())
    context = ServerContext(SIMPLE, material(leaf(), staple=der))
    seen: list[bytes] = []
    asking = SSL.Context(SSL.TLS_CLIENT_METHOD)

    def look(_made: SSL.Connection, shown: bytes, _data: Any) -> bool:
        seen.append(shown)
        return True

    asking.set_ocsp_client_callback(look)
    _talk(context, asking, ocsp=True)
    assert seen == [der]


# --- bad material


def _refused(spec: ServerTlsSpec, bad: Material) -> str:
    with pytest.raises(MaterialError) as caught:
        ServerContext(spec, bad)
    return str(caught.value)


def test_material_that_cannot_be_used_is_refused_in_words_without_key_bytes() -> None:
    good, other = leaf(), leaf("b.test")
    small = rsa.generate_private_key(65537, 1024)
    key = small.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    cases = {
        "the key does not fit the certificate": Material((KeyPair(good.certificate, other.private_key),)),
        "key: it is encrypted": Material((KeyPair(good.certificate, encrypted(good.private_key)),)),
        "certificate: no certificate inside": Material((KeyPair(b"hello", good.private_key),)),
        "key: no private key inside": Material((KeyPair(good.certificate, b"hello"),)),
        "no certificate": Material(),
        "RSA keys need 2048 bits": Material((KeyPair(rsa_leaf("a.test", small).certificate, key),)),
    }
    for words, bad in cases.items():
        said = _refused(SIMPLE, bad)
        assert words in said
        for pair in bad.pairs:
            for line in pair.private_key.decode().splitlines()[1:-1]:
                assert line not in said


def test_a_key_with_a_password_never_asks_the_terminal() -> None:
    """Should one come this far: OpenSSL would ask whoever sits there."""
    with pytest.raises(MaterialError, match="certificate and key cannot be used"):
        openssl._key(encrypted(leaf().private_key))


def test_trust_that_cannot_be_used_is_refused_in_words() -> None:
    pair = material(leaf()).pairs
    assert "no certificate authority" in _refused(MUTUAL, Material(pair))
    assert "certificate authorities: no certificate inside" in _refused(MUTUAL, Material(pair, ca=b"hello"))
    ca = authority().certificate
    assert "revocation list: none inside" in _refused(MUTUAL, Material(pair, ca=ca, crl=b"hello"))
    cut = revocation_list(authority())[:80]
    assert "revocation list: it cannot be read" in _refused(MUTUAL, Material(pair, ca=ca, crl=cut))


def test_ten_thousand_servers_cost_little_until_they_are_used() -> None:
    one = server()
    assert one._servers is None  # OpenSSL has not been asked for anything
    shake(one, client())
    assert one._servers is not None
    assert one._material is None  # and the key is not kept twice
