"""What is read from certificates and what is made, compared with the ``openssl`` command."""

from __future__ import annotations

import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gatewayd.tls.authority import Issued, general_name, make_authority, make_leaf
from gatewayd.tls.inspect import BEGIN_CERTIFICATE, CertificateFacts, Leaf, facts_of, read_certificates
from gatewayd.tls.material import MaterialError
from gatewayd.tls.pem import PemChecks
from tests.support.certificates import CertificateFolder, CertificateWish
from tests.tls.material import authority, leaf


def openssl(*words: str | Path, data: bytes = b"") -> str:
    done = subprocess.run(["openssl", *map(str, words)], input=data, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> CertificateFolder:
    """Certificates of openssl's own making."""
    wishes = {
        "root": CertificateWish("openssl root", is_ca=True),
        "rsa": CertificateWish(
            "shop.test",
            ["shop.test", "*.shop.test", "IP:10.0.0.1", "URI:spiffe://a/b", "email:x@shop.test"],
            "root",
        ),
        "ec": CertificateWish("plain, with a comma", key="ec"),
    }
    return CertificateFolder(tmp_path_factory.mktemp("certificates"), wishes)


@pytest.mark.parametrize("name", ["root", "rsa", "ec"])
def test_facts_are_those_openssl_prints(folder: CertificateFolder, name: str) -> None:
    path = folder.certificate(name)
    [certificate] = read_certificates(path.read_bytes())
    facts = facts_of(certificate)

    def printed(*what: str) -> str:
        return openssl("x509", "-in", path, "-noout", *what).strip()

    assert facts.serial == printed("-serial").removeprefix("serial=")
    assert facts.sha256 == printed("-fingerprint", "-sha256").partition("=")[2].replace(":", "").lower()
    assert facts.subject == printed("-subject", "-nameopt", "RFC2253").removeprefix("subject=")
    assert facts.issuer == printed("-issuer", "-nameopt", "RFC2253").removeprefix("issuer=")
    dates = [
        datetime.strptime(line.partition("=")[2], "%b %d %H:%M:%S %Y GMT").replace(tzinfo=UTC)
        for line in printed("-dates").splitlines()
    ]
    assert [facts.not_before, facts.not_after] == dates
    public = openssl("x509", "-in", path, "-noout", "-pubkey")
    der = subprocess.run(
        "openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | openssl base64",
        shell=True, input=public.encode(), capture_output=True, check=True,
    )  # fmt: skip
    assert facts.spki == der.stdout.decode().strip()


def test_names_keys_and_roles(folder: CertificateFolder) -> None:
    facts = {
        name: facts_of(read_certificates(folder.certificate(name).read_bytes())[0])
        for name in ("root", "rsa", "ec")
    }
    assert facts["rsa"].names == (
        "DNS:shop.test", "DNS:*.shop.test", "IP:10.0.0.1", "URI:spiffe://a/b", "email:x@shop.test",
    )  # fmt: skip
    assert (facts["root"].is_ca, facts["rsa"].is_ca) == (True, False)
    assert (facts["root"].self_signed, facts["rsa"].self_signed) == (True, False)
    assert (facts["rsa"].key, facts["ec"].key) == ("RSA 2048", "ECDSA P-256")
    assert (facts["rsa"].title, facts["ec"].title) == ("shop.test", "CN=plain\\, with a comma")


def test_pairs_of_openssl_fit_and_others_do_not(folder: CertificateFolder) -> None:
    checks = PemChecks()
    for name in ("rsa", "ec"):
        certificate, key = folder.certificate(name).read_bytes(), folder.key(name).read_bytes()
        assert isinstance(checks.pair(certificate, key), Leaf)
    with pytest.raises(MaterialError, match="the key does not fit"):
        checks.pair(folder.certificate("rsa").read_bytes(), folder.key("ec").read_bytes())


@pytest.mark.parametrize(
    "words",
    [
        ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        ["ecparam", "-name", "prime256v1", "-genkey"],  # with a block of parameters before the key
        ["genrsa", "-traditional", "2048"],
        ["genpkey", "-algorithm", "ed25519"],
    ],
)
def test_every_form_of_key_openssl_writes_can_be_read(tmp_path: Path, words: list[str]) -> None:
    key = tmp_path / "key"
    key.write_text(openssl(*words))
    certificate = openssl("req", "-x509", "-new", "-key", key, "-subj", "/CN=a", "-days", "1")
    assert PemChecks().pair(certificate.encode(), key.read_bytes()).facts.subject == "CN=a"


def test_short_rsa_keys_are_refused_as_by_envoy(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(openssl("genrsa", "1024"))
    certificate = openssl("req", "-x509", "-new", "-key", key, "-subj", "/CN=a", "-days", "1")
    with pytest.raises(MaterialError, match="RSA keys need 2048 bits, not 1024"):
        PemChecks().pair(certificate.encode(), key.read_bytes())


def test_a_key_that_openssl_encrypted_is_told_as_such(tmp_path: Path) -> None:
    for words in (["-traditional"], []):
        key = openssl("genrsa", "-aes256", "-passout", "pass:secret", *words, "2048")
        with pytest.raises(MaterialError, match="it is encrypted"):
            PemChecks().pair(leaf().certificate, key.encode())


def test_a_chain_is_read_in_its_order() -> None:
    chain = leaf().certificate + b"some text between\n" + authority().certificate
    assert [facts_of(one).is_ca for one in read_certificates(chain)] == [False, True]


@pytest.mark.parametrize(
    ("pem", "said"),
    [
        (b"", "no certificate inside"),
        (BEGIN_CERTIFICATE, "cannot be read"),
        (b"\x30\x82", "no certificate inside"),
    ],
)
def test_what_is_no_certificate_is_said(pem: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_certificates(pem)


def test_days_left_count_down_through_zero() -> None:
    [certificate] = read_certificates(leaf(days=10).certificate)
    facts: CertificateFacts = facts_of(certificate)
    end_s = facts.not_after.timestamp()
    assert facts.days_left(end_s - 86_400 * 2) == 2
    assert facts.days_left(end_s + 43_200) == -0.5


def test_a_leaf_kept_small_still_knows_its_facts() -> None:
    [certificate] = read_certificates(leaf().certificate)
    small = Leaf.of(certificate)
    assert small.facts == facts_of(certificate)
    assert small.not_after_s == certificate.not_valid_after_utc.timestamp()


# Made certificates


def write(folder: Path, issued: Issued, name: str) -> Path:
    path = folder / f"{name}.pem"
    path.write_bytes(issued.certificate)
    path.with_suffix(".key").write_bytes(issued.private_key)
    return path


def test_openssl_verifies_a_leaf_by_its_authority(tmp_path: Path) -> None:
    root = make_authority("root", 10)
    made = make_leaf(["shop.test", "*.shop.test", "10.0.0.1", "::1", "spiffe://td/ns/a/sa/b"], 5, root)
    ca, path = write(tmp_path, root, "ca"), write(tmp_path, made, "leaf")
    for purpose in ("sslserver", "sslclient"):
        said = openssl("verify", "-x509_strict", "-purpose", purpose, "-CAfile", ca, path)
        assert said.strip().endswith(": OK")
    for name in (["-verify_hostname", "x.shop.test"], ["-verify_ip", "10.0.0.1"], ["-verify_ip", "::1"]):
        assert openssl("verify", *name, "-CAfile", ca, path).strip().endswith(": OK")
    openssl("pkey", "-in", path.with_suffix(".key"), "-check", "-noout")
    names = openssl("x509", "-in", path, "-noout", "-ext", "subjectAltName")
    assert "URI:spiffe://td/ns/a/sa/b" in names


def test_a_leaf_alone_is_trusted_by_whoever_trusts_it(tmp_path: Path) -> None:
    path = write(tmp_path, make_leaf(["a.test"], 1), "leaf")
    context = ssl.create_default_context(cafile=str(path))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path, path.with_suffix(".key"))
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = context.wrap_bio(back, there, server_hostname="a.test")
    two = server.wrap_bio(there, back, server_side=True)
    for _ in range(3):
        for side in (one, two):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert one.version() == "TLSv1.3"


def test_an_authority_signs_leaves_only(tmp_path: Path) -> None:
    path = write(tmp_path, make_authority("root", 1), "ca")
    said = openssl("x509", "-in", path, "-noout", "-ext", "basicConstraints,keyUsage")
    assert "CA:TRUE, pathlen:0" in said
    assert "Certificate Sign, CRL Sign" in said


def test_dates_are_as_asked_also_in_the_past() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    [made] = read_certificates(make_leaf(["a.test"], 30, now=now).certificate)
    assert made.not_valid_after_utc == now + timedelta(days=30)
    assert made.not_valid_before_utc < now
    [old] = read_certificates(make_leaf(["a.test"], -5, now=now).certificate)
    assert old.not_valid_before_utc < old.not_valid_after_utc == now - timedelta(days=5)


@pytest.mark.parametrize(
    "name", ["", "a b", "http:/x", "a..b", "*", "*.", "a.*.b", "ä" * 70, "x" * 64 + ".test"]
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a host name"):
        general_name(name)


def test_names_in_other_alphabets_are_written_in_ascii() -> None:
    assert general_name("bücher.test").value == "xn--bcher-kva.test"
