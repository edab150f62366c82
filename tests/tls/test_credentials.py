"""Where certificates come from (semantics 3.8 to 3.12), and every way in which one can be unusable."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from gatewayd.tls.credentials import CredentialSource, files_of
from gatewayd.tls.files import MAX_BYTES, FileReader
from gatewayd.tls.material import KeyPair, Material, MaterialError
from gatewayd.tls.spec import ClientTlsSpec, PairFiles, SecretName, Trust
from tests.tls.material import (
    SHOP,
    SHOP_CA,
    authority,
    encrypted,
    leaf,
    revocation_list,
    server_spec,
    staple,
    write,
    write_pair,
)

A, B = leaf("a.test"), leaf("b.test")
CA, OTHER_CA = authority(), authority("another root")
CRL = revocation_list(CA)
PAIR = {"tls.crt": A.certificate, "tls.key": A.private_key}


def of_documents(**documents: dict[str, bytes]) -> CredentialSource:
    return CredentialSource(
        {SecretName("istio-system", name.replace("_", "-")): values for name, values in documents.items()}
    )


def why(source: CredentialSource, **changes: object) -> str:
    """The reason why the material of a server cannot be had."""
    with pytest.raises(MaterialError) as error:
        source.load(server_spec(**changes))  # type: ignore[arg-type]
    return str(error.value)


# The forms of a Secret


def test_the_pair_of_a_secret_by_its_kubernetes_keys() -> None:
    loaded = of_documents(shop=PAIR).load(server_spec())
    assert loaded.material == Material(pairs=(KeyPair(A.certificate, A.private_key),))
    assert [one.facts.names for one in loaded.leaves] == [("DNS:a.test",)]


def test_the_generic_pair_goes_first() -> None:
    source = of_documents(shop={**PAIR, "cert": B.certificate, "key": B.private_key})
    assert source.material(server_spec()).pairs[0].certificate == B.certificate


@pytest.mark.parametrize("half", [{"cert": B.certificate}, {"cert": B.certificate, "key": b""}])
def test_the_first_complete_pair_wins_and_empty_counts_as_missing(half: dict[str, bytes]) -> None:
    assert of_documents(shop={**half, **PAIR}).material(server_spec()).pairs[0].certificate == A.certificate


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "has neither tls.crt and tls.key nor cert and key"),
        ({"tls.crt": A.certificate}, "has tls.crt but no tls.key"),
        ({"tls.key": A.private_key}, "has tls.key but no tls.crt"),
        ({"cert": A.certificate, "key": b""}, "has cert but no key"),
    ],
)
def test_an_incomplete_secret_says_what_is_missing(values: dict[str, bytes], said: str) -> None:
    assert why(of_documents(shop=values)) == f'credential "istio-system/shop" {said}'


def test_two_credentials_make_two_pairs() -> None:
    source = of_documents(shop=PAIR, other={"cert": B.certificate, "key": B.private_key})
    spec = server_spec(SHOP, SecretName("istio-system", "other"))
    assert [pair.certificate for pair in source.material(spec).pairs] == [A.certificate, B.certificate]


def test_an_ocsp_staple_comes_along() -> None:
    response = staple(A, CA)
    source = of_documents(shop={**PAIR, "tls.ocsp-staple": response})
    assert source.material(server_spec()).pairs[0].ocsp_staple == response
    assert "OCSP staple: it cannot be read" in why(of_documents(shop={**PAIR, "tls.ocsp-staple": b"no"}))


# Authorities

BOTH = Trust(secrets=(SHOP_CA, SHOP))


def test_authorities_come_from_the_secret_called_cacert_when_there_is_one() -> None:
    source = of_documents(
        shop={**PAIR, "ca.crt": OTHER_CA.certificate}, shop_cacert={"cacert": CA.certificate, "crl": CRL}
    )
    material = source.material(server_spec(mode="MUTUAL", trust=BOTH))
    assert (material.ca, material.crl) == (CA.certificate, CRL)


def test_else_from_the_secret_itself() -> None:
    source = of_documents(shop={**PAIR, "ca.crt": CA.certificate, "ca.crl": CRL})
    material = source.material(server_spec(mode="MUTUAL", trust=BOTH))
    assert (material.ca, material.crl) == (CA.certificate, CRL)


def test_cacert_goes_before_ca_crt_and_each_has_a_revocation_list_of_its_own() -> None:
    values = {"cacert": CA.certificate, "ca.crt": OTHER_CA.certificate, "ca.crl": CRL}
    material = of_documents(shop={**PAIR, **values}).material(server_spec(mode="MUTUAL", trust=BOTH))
    assert (material.ca, material.crl) == (CA.certificate, b"")


def test_a_cacert_secret_that_exists_is_not_passed_over_because_it_is_empty() -> None:
    source = of_documents(shop={**PAIR, "ca.crt": CA.certificate}, shop_cacert={})
    assert why(source, mode="MUTUAL", trust=BOTH).endswith('shop-cacert" has neither cacert nor ca.crt')


def test_a_mode_without_client_certificates_needs_no_authority() -> None:
    assert of_documents(shop=PAIR).material(server_spec(mode="SIMPLE", trust=BOTH)).ca == b""
    assert "has neither cacert nor ca.crt" in why(of_documents(shop=PAIR), mode="OPTIONAL_MUTUAL", trust=BOTH)


def test_authorities_and_revocation_lists_are_read_before_use() -> None:
    values = {"ca.crt": CA.certificate, "ca.crl": b"none"}
    source = of_documents(shop={**PAIR, **values})
    assert "revocation list: none inside" in why(source, mode="MUTUAL", trust=BOTH)
    broken = CRL.replace(b"\nM", b"\nA")
    source = of_documents(shop={**PAIR, **values, "ca.crl": CRL + broken})
    assert "revocation list: it cannot be read" in why(source, mode="MUTUAL", trust=BOTH)
    source = of_documents(shop={**PAIR, "ca.crt": b"none"})
    assert "certificate authorities: no certificate inside" in why(source, mode="MUTUAL", trust=BOTH)


def test_a_client_takes_pair_and_authorities_as_a_server_does() -> None:
    source = of_documents(shop={**PAIR, "ca.crt": CA.certificate})
    spec = ClientTlsSpec("DestinationRule shop/reviews", "MUTUAL", pair=SHOP, trust=BOTH)
    material = source.material(spec)
    assert (material.pairs[0].certificate, material.ca) == (A.certificate, CA.certificate)


def test_a_client_that_verifies_nothing_needs_no_authority() -> None:
    source = of_documents(shop=PAIR)
    spec = ClientTlsSpec("DestinationRule a/b", "SIMPLE", trust=Trust(secrets=(SHOP,)))
    with pytest.raises(MaterialError, match=r"neither cacert nor ca\.crt"):
        source.material(spec)
    careless = ClientTlsSpec("DestinationRule a/b", "SIMPLE", trust=spec.trust, insecure_skip_verify=True)
    assert source.material(careless) == Material()


def test_without_any_trust_the_system_decides() -> None:
    assert of_documents().material(ClientTlsSpec("DestinationRule a/b", "SIMPLE")) == Material()


# Files


def test_pairs_authorities_and_revocation_lists_by_path(tmp_path: Path) -> None:
    folder = write(tmp_path, tls_crt=A.certificate, tls_key=A.private_key, ca_crt=CA.certificate, ca_crl=CRL)
    files = PairFiles(str(folder / "tls.crt"), str(folder / "tls.key"))
    trust = Trust(file=str(folder / "ca.crt"), crl_file=str(folder / "ca.crl"))
    material = CredentialSource().material(server_spec(files, mode="MUTUAL", trust=trust))
    assert material == Material((KeyPair(A.certificate, A.private_key),), CA.certificate, CRL)


def test_of_several_places_the_first_with_a_certificate_counts_also_when_it_comes_later(
    tmp_path: Path,
) -> None:
    """The mesh identity of a workload may be in either of two folders, under either of two names."""

    def place(name: str) -> PairFiles:
        return PairFiles(f"{tmp_path}/{name}.pem", f"{tmp_path}/{name}.key")

    pair = replace(place("one"), otherwise=place("two"))
    trust = Trust(file=f"{tmp_path}/one.ca", otherwise=(f"{tmp_path}/two.ca",))
    spec = server_spec(pair, mode="MUTUAL", trust=trust)
    source = CredentialSource()
    with pytest.raises(MaterialError, match=r"one\.pem"):
        source.load(spec)
    assert {*files_of(spec)} == {f"{tmp_path}/{n}.{e}" for n in ("one", "two") for e in ("pem", "key", "ca")}
    for name, number in (("two", 2), ("one", 1)):
        issued = leaf("a.test", number)
        (tmp_path / f"{name}.pem").write_bytes(issued.certificate)
        (tmp_path / f"{name}.key").write_bytes(issued.private_key)
        (tmp_path / f"{name}.ca").write_bytes(authority(name).certificate)
        source.read_again()
        found = source.load(spec).material
        assert found.pairs[0].certificate == issued.certificate
        assert found.ca == authority(name).certificate


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write_pair(tmp_path, A)
    (tmp_path / "empty").write_bytes(b" \n")
    (tmp_path / "big").write_bytes(b"x" * (MAX_BYTES + 1))
    os.mkfifo(tmp_path / "fifo")
    for name, said in {
        "missing": "no such file or directory",
        "fifo": "not a regular file",
        ".": "not a regular file",
        "big": "larger than 1,048,576 bytes",
        "empty": "is empty",
        "a\0b": "a path cannot hold a NUL",
    }.items():
        files = PairFiles(f"{tmp_path}/{name}", str(tmp_path / "tls.key"))
        with pytest.raises(MaterialError) as error:
            CredentialSource().load(server_spec(files))
        reason = str(error.value)
        assert said in reason
        assert str(tmp_path) in reason


# What is checked


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        (A.certificate, B.private_key, "the key does not fit the certificate"),
        (A.certificate, encrypted(A.private_key), "key: it is encrypted"),
        (b"nothing", A.private_key, "certificate: no certificate inside"),
        (A.private_key, A.private_key, "certificate: no certificate inside"),
        (A.certificate, A.certificate, "key: no private key inside"),
        (
            A.certificate.replace(b"\nMII", b"\nAAA"),
            A.private_key,
            "certificate: the certificate inside cannot",
        ),
        (A.certificate, A.private_key.replace(b"\nM", b"\nA"), "key: it cannot be read"),
        (CA.certificate + A.certificate, A.private_key, "own certificate must be the first one"),
        (A.certificate + b"-----BEGIN CERTIFICATE-----\nx", A.private_key, "one of the certificates inside"),
    ],
)
def test_what_cannot_be_used_is_said_precisely_and_without_the_key(
    certificate: bytes, key: bytes, said: str
) -> None:
    reason = why(of_documents(shop={"tls.crt": certificate, "tls.key": key}))
    assert reason.startswith('credential "istio-system/shop": ')
    assert said in reason
    assert not any(line in reason for line in key.decode().splitlines() if len(line) > 30)


def test_an_expired_certificate_is_no_reason() -> None:
    old = leaf("old.test", days=-1)
    source = of_documents(shop={"tls.crt": old.certificate, "tls.key": old.private_key})
    assert source.load(server_spec()).leaves[0].facts.names == ("DNS:old.test",)


def test_a_chain_is_kept_whole() -> None:
    chain = A.certificate + CA.certificate
    source = of_documents(shop={"tls.crt": chain, "tls.key": A.private_key})
    assert source.material(server_spec()).pairs[0].certificate == chain


def test_keys_are_in_no_repr() -> None:
    source = of_documents(shop=PAIR)
    loaded = source.load(server_spec())
    assert "PRIVATE" not in repr(loaded) + repr(source)
    assert A.private_key[40:80].decode() not in repr(loaded)


# Folders of secrets


def of_folder(folder: Path) -> CredentialSource:
    return CredentialSource({}, [str(folder)])


def certificate_of(source: CredentialSource, namespace: str = "istio-system", name: str = "shop") -> bytes:
    return source.material(server_spec(SecretName(namespace, name))).pairs[0].certificate


def test_a_folder_of_the_name_serves_every_namespace(tmp_path: Path) -> None:
    write_pair(tmp_path / "shop", A)
    assert certificate_of(of_folder(tmp_path), "istio-system") == A.certificate
    assert certificate_of(of_folder(tmp_path), "elsewhere") == A.certificate


def test_unless_the_namespace_has_a_folder_of_its_own(tmp_path: Path) -> None:
    write_pair(tmp_path / "shop", A)
    write_pair(tmp_path / "edge" / "shop", B)
    assert certificate_of(of_folder(tmp_path), "edge") == B.certificate
    assert certificate_of(of_folder(tmp_path), "other") == A.certificate


def test_documents_outrank_folders(tmp_path: Path) -> None:
    write_pair(tmp_path / "shop", B)
    source = CredentialSource({SHOP: PAIR}, [str(tmp_path)])
    assert certificate_of(source) == A.certificate


def test_the_first_folder_that_has_it_counts(tmp_path: Path) -> None:
    write_pair(tmp_path / "one" / "shop", A)
    write_pair(tmp_path / "two" / "shop", B)
    write_pair(tmp_path / "two" / "other", B)
    source = CredentialSource({}, [str(tmp_path / "missing"), str(tmp_path / "one"), str(tmp_path / "two")])
    assert certificate_of(source) == A.certificate
    assert certificate_of(source, name="other") == B.certificate


@pytest.mark.parametrize(
    ("certificate", "key"),
    [("shop.tls.crt", "shop.tls.key"), ("shop_tls.crt", "shop_tls.key"), ("shop.crt", "shop.key"),
     ("shop.cert", "shop.key"), ("shop_cert", "shop_key")],
)  # fmt: skip
def test_flat_files_as_systemd_makes_them(tmp_path: Path, certificate: str, key: str) -> None:
    (tmp_path / certificate).write_bytes(A.certificate)
    (tmp_path / key).write_bytes(A.private_key)
    assert certificate_of(of_folder(tmp_path)) == A.certificate


def test_flat_authorities_count_as_a_cacert_credential(tmp_path: Path) -> None:
    write_pair(tmp_path / "shop", A)
    (tmp_path / "shop-cacert.ca.crt").write_bytes(CA.certificate)
    assert of_folder(tmp_path).material(server_spec(mode="MUTUAL", trust=BOTH)).ca == CA.certificate


def test_a_folder_that_cannot_be_read_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "closed").write_text("as good as a folder without permissions, also for root")
    write_pair(tmp_path / "two" / "shop", A)
    source = CredentialSource({}, [str(tmp_path / "closed"), str(tmp_path / "two")])
    assert certificate_of(source) == A.certificate
    with pytest.raises(MaterialError, match=r"cannot read .*closed.*: not a directory"):
        certificate_of(source, name="other")


def test_what_does_not_exist_says_where_it_was_looked_for(tmp_path: Path) -> None:
    assert why(of_documents()) == 'credential "istio-system/shop" does not exist: no Secret document'
    assert why(of_folder(tmp_path)).endswith(f"no Secret document and nothing of that name in {tmp_path}")


def test_kubernetes_mounts_are_followed(tmp_path: Path) -> None:
    mounted = tmp_path / "shop"
    write_pair(mounted / "..2026_11_20", A)
    (mounted / "..data").symlink_to("..2026_11_20")
    for name in ("tls.crt", "tls.key"):
        (mounted / name).symlink_to(f"..data/{name}")
    assert certificate_of(of_folder(tmp_path)) == A.certificate


@pytest.mark.parametrize("name", ["../outside", "..", ".", "", "/etc", "a/b", "a\0b", ".hidden", "x" * 300])
def test_a_name_never_climbs_out(tmp_path: Path, name: str) -> None:
    write_pair(tmp_path / "outside", A)
    write_pair(tmp_path / "secrets" / ".hidden", A)
    write_pair(tmp_path / "secrets" / "a" / "b", A)
    source = of_folder(tmp_path / "secrets")
    with pytest.raises(MaterialError, match="is not a credential name"):
        certificate_of(source, name=name)


@pytest.mark.parametrize("namespace", ["..", ".", "/", "", "../secrets"])
def test_neither_does_a_namespace(tmp_path: Path, namespace: str) -> None:
    write_pair(tmp_path / "shop", A)
    (tmp_path / "secrets").mkdir()
    with pytest.raises(MaterialError, match="does not exist"):
        certificate_of(of_folder(tmp_path / "secrets"), namespace=namespace)


def test_links_out_of_the_folder_are_not_read(tmp_path: Path) -> None:
    outside = write_pair(tmp_path / "outside", A)
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "linked").symlink_to(outside)
    files = write(secrets / "files", tls_key=A.private_key)
    (files / "tls.crt").symlink_to(outside / "tls.crt")
    (secrets / "flat.crt").symlink_to(outside / "tls.crt")
    (secrets / "flat.key").write_bytes(A.private_key)
    for name in ("linked", "files", "flat"):
        with pytest.raises(MaterialError, match="a link that leads out of"):
            certificate_of(of_folder(secrets), name=name)


def test_a_folder_that_becomes_a_link_in_the_very_moment_leads_nowhere(tmp_path: Path) -> None:
    """Hardening 6: resolved inside allowed roots; what counts is the file that was opened."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "tls.key").write_bytes(b"secret")
    (root / "web").symlink_to(outside)  # after somebody found that it was a folder
    with pytest.raises(MaterialError, match="leads out of"):
        FileReader().read_below(str(root), str(root / "web"), "tls.key")


def test_links_within_the_folder_are_read(tmp_path: Path) -> None:
    write_pair(tmp_path / "real", A)
    (tmp_path / "shop").symlink_to("real")
    (tmp_path / "root").symlink_to(".")
    assert certificate_of(of_folder(tmp_path)) == A.certificate
    assert certificate_of(of_folder(tmp_path / "root")) == A.certificate


def test_a_loop_of_links_is_an_answer(tmp_path: Path) -> None:
    folder = write(tmp_path / "shop", tls_key=A.private_key)
    (folder / "tls.crt").symlink_to("tls.crt")
    assert "too many links" in why(of_folder(tmp_path))


# Reading


def test_each_file_is_read_once_until_asked_to_read_again(tmp_path: Path) -> None:
    write_pair(tmp_path / "shop", A)
    source = of_folder(tmp_path)
    assert certificate_of(source) == A.certificate
    write_pair(tmp_path / "shop", B)
    assert certificate_of(source) == A.certificate
    source.read_again()
    assert certificate_of(source) == B.certificate


def test_what_failed_once_is_tried_again(tmp_path: Path) -> None:
    source = of_folder(tmp_path)
    assert "does not exist" in why(source)
    write(tmp_path / "shop", tls_crt=A.certificate, tls_key=B.private_key)
    source.read_again()
    assert "does not fit" in why(source)
    write_pair(tmp_path / "shop", B)
    source.settle()
    assert certificate_of(source) == B.certificate
