"""Holders: one per spec, refreshed in place, never emptied (semantics 3.13; product 5)."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from gatewayd.tls.credentials import CredentialSource
from gatewayd.tls.dates import DAY_S
from gatewayd.tls.inspect import Leaf
from gatewayd.tls.material import Material, MaterialError
from gatewayd.tls.spec import ClientTlsSpec, PairFiles, SecretName, ServerTlsSpec, Trust
from gatewayd.tls.store import TlsStore
from tests.tls.material import SHOP, authority, leaf, server_spec, write, write_pair

A, B, CA = leaf("a.test"), leaf("b.test"), authority()
OTHER = SecretName("istio-system", "other")


@dataclass
class Built:
    """A context that says what it was made of."""

    spec: ServerTlsSpec | ClientTlsSpec
    material: Material


class Builders:
    """Counts what is built; ``refuse`` makes it fail."""

    def __init__(self) -> None:
        self.built = 0
        self.refuse: Exception | None = None

    def build(self, spec: ServerTlsSpec | ClientTlsSpec, material: Material) -> Built:
        if self.refuse is not None:
            raise self.refuse
        self.built += 1
        return Built(spec, material)


@pytest.fixture
def builders() -> Builders:
    return Builders()


@pytest.fixture
def store(tmp_path: Path, builders: Builders) -> TlsStore:
    return TlsStore(CredentialSource({}, [str(tmp_path)]), builders.build, builders.build)


def certificate_in(context: object) -> bytes:
    assert isinstance(context, Built)
    return context.material.pairs[0].certificate


def test_a_holder_has_spec_context_and_digest(store: TlsStore, tmp_path: Path) -> None:
    write_pair(tmp_path / "shop", A)
    holder = store.server(server_spec())
    assert holder.spec == server_spec()
    assert certificate_in(holder.context) == A.certificate
    assert (holder.problem, len(holder.material_digest)) == ("", 64)
    assert [one.facts.title for one in holder.leaves] == ["a.test"]


def test_equal_specs_share_a_holder(store: TlsStore, builders: Builders, tmp_path: Path) -> None:
    write_pair(tmp_path / "shop", A)
    assert store.server(server_spec()) is store.server(server_spec())
    assert store.server(server_spec(owner="another")) is not store.server(server_spec())
    assert builders.built == 2


def test_clients_have_holders_of_their_own(store: TlsStore, tmp_path: Path) -> None:
    write(tmp_path / "shop", ca_crt=CA.certificate)
    spec = ClientTlsSpec("DestinationRule shop/reviews", "SIMPLE", trust=Trust(secrets=(SHOP,)))
    holder = store.client(spec)
    assert isinstance(holder.context, Built)
    assert holder.context.material.ca == CA.certificate
    assert store.client(spec) is holder


def test_a_missing_credential_hurts_only_its_server_and_works_when_it_appears(
    store: TlsStore, tmp_path: Path
) -> None:
    write_pair(tmp_path / "other", B)
    missing, fine = store.server(server_spec()), store.server(server_spec(OTHER))
    assert missing.context is None
    assert "does not exist" in missing.problem
    assert fine.context is not None
    assert store.problems() == [(missing.spec.owner, missing.problem)]
    assert store.problem_of(missing.spec) == missing.problem
    assert store.problem_of(fine.spec) == ""
    assert store.problem_of(server_spec(owner="never asked for")) == ""

    write_pair(tmp_path / "shop", A)
    assert store.refresh().renewed == (missing.spec.owner,)
    assert certificate_in(missing.context) == A.certificate
    assert store.problems() == []


def test_a_refresh_without_change_builds_nothing(store: TlsStore, builders: Builders, tmp_path: Path) -> None:
    write_pair(tmp_path / "shop", A)
    context = store.server(server_spec()).context
    (tmp_path / "shop" / "tls.crt").touch()
    assert not store.refresh()
    assert store.server(server_spec()).context is context
    assert builders.built == 1


def test_a_changed_certificate_is_swapped_in_one_assignment(store: TlsStore, tmp_path: Path) -> None:
    write_pair(tmp_path / "shop", A)
    holder = store.server(server_spec())
    before, digest = holder.context, holder.material_digest
    write_pair(tmp_path / "shop", B)
    assert store.refresh().renewed == (holder.spec.owner,)
    assert certificate_in(holder.context) == B.certificate
    assert certificate_in(before) == A.certificate, "connections on the old context keep it whole"
    assert holder.material_digest != digest
    assert [one.facts.title for one in holder.leaves] == ["b.test"]


def test_a_broken_pair_leaves_the_old_one_in_use(
    store: TlsStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_pair(tmp_path / "shop", A)
    holder = store.server(server_spec())
    write(tmp_path / "shop", tls_crt=B.certificate)
    with caplog.at_level(logging.INFO, "gatewayd.tls"):
        assert store.refresh().broken == (holder.spec.owner,)
        assert store.refresh().broken == (), "a problem is news once"
    assert certificate_in(holder.context) == A.certificate
    assert "does not fit" in holder.problem
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "not used" in caplog.text
    assert "does not fit" in caplog.text

    write_pair(tmp_path / "shop", B)
    assert store.refresh().renewed == (holder.spec.owner,)
    assert (certificate_in(holder.context), holder.problem) == (B.certificate, "")


def test_going_back_to_what_is_in_use_ends_the_problem(
    store: TlsStore, builders: Builders, tmp_path: Path
) -> None:
    write_pair(tmp_path / "shop", A)
    holder = store.server(server_spec())
    write(tmp_path / "shop", tls_crt=B.certificate)
    store.refresh()
    write_pair(tmp_path / "shop", A)
    assert not store.refresh()
    assert (holder.problem, builders.built) == ("", 1)


def test_a_credential_that_vanishes_stays_in_use(store: TlsStore, tmp_path: Path) -> None:
    write_pair(tmp_path / "shop", A)
    holder = store.server(server_spec())
    for name in ("tls.crt", "tls.key"):
        (tmp_path / "shop" / name).unlink()
    (tmp_path / "shop").rmdir()
    store.refresh()
    assert certificate_in(holder.context) == A.certificate
    assert "does not exist" in holder.problem


@pytest.mark.parametrize("refusal", [MaterialError("no such curve"), OSError("bad"), ValueError("bad")])
def test_what_a_builder_refuses_is_a_problem_of_one_server(
    store: TlsStore, builders: Builders, tmp_path: Path, refusal: Exception
) -> None:
    write_pair(tmp_path / "shop", A)
    builders.refuse = refusal
    holder = store.server(server_spec())
    assert holder.context is None
    assert str(refusal) in holder.problem
    builders.refuse = None
    store.refresh()
    assert holder.context is not None


def test_new_documents_are_used_at_the_next_refresh(store: TlsStore) -> None:
    holder = store.server(server_spec())
    store.credentials.documents = {SHOP: {"cert": A.certificate, "key": A.private_key}}
    store.refresh()
    assert certificate_in(holder.context) == A.certificate


def test_the_files_of_specs_are_known_for_watching(store: TlsStore) -> None:
    store.server(server_spec(PairFiles("/a.crt", "/a.key"), trust=Trust(file="/ca", crl_file="/crl")))
    store.client(ClientTlsSpec("x", "MUTUAL", pair=PairFiles("/b.crt", "/b.key")))
    store.server(server_spec(SHOP))
    assert store.files() == {"/a.crt", "/a.key", "/ca", "/crl", "/b.crt", "/b.key"}


@pytest.mark.parametrize(
    ("days", "level", "said"),
    [
        (-2, "error", "has expired, on "),
        (0.5, "warning", "expires in less than a day, on "),
        (1.01, "warning", "expires in a day, on "),
        (29.7, "warning", "expires in 30 days, on "),
    ],
)
def test_what_ends_soon_or_has_ended_is_told(
    store: TlsStore, tmp_path: Path, days: float, level: str, said: str
) -> None:
    write_pair(tmp_path / "shop", leaf("end.test", days=days))
    write_pair(tmp_path / "other", A)
    holder = store.server(server_spec())
    store.server(server_spec(OTHER))
    [(owner, remark)] = store.expiring(30)
    assert owner == holder.spec.owner
    assert (remark.level, remark.code) == (level, "GWD0107")
    assert remark.message.startswith(f'the certificate of "end.test" {said}')
    assert holder.context is not None, "it is served all the same"
    assert holder.problem == ""


def test_what_is_valid_long_enough_is_not_told(store: TlsStore, tmp_path: Path) -> None:
    write_pair(tmp_path / "shop", leaf("end.test", days=31))
    store.server(server_spec())
    assert store.expiring(30) == []
    assert len(store.expiring(32)) == 1


def test_a_certificate_from_the_future_is_told(builders: Builders, tmp_path: Path) -> None:
    write_pair(tmp_path / "shop", A)
    credentials = CredentialSource({}, [str(tmp_path)])
    store = TlsStore(credentials, builders.build, builders.build, lambda: time.time() - 10 * DAY_S)
    store.server(server_spec())
    [(_, remark)] = store.expiring()
    assert remark.level == "warning"
    assert "is not valid before" in remark.message


def test_keys_are_in_no_repr(store: TlsStore, tmp_path: Path) -> None:
    write_pair(tmp_path / "shop", A)
    holder = store.server(server_spec())
    assert repr(holder) == "<ServerTls Gateway istio-system/edge servers[0]: in use>"
    assert repr(store) == "<TlsStore 1 servers, 0 clients>"


def test_a_thousand_servers_of_one_certificate_read_and_check_it_once(
    builders: Builders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gatewayd.tls import files, pem

    reads: list[str] = []
    checks: list[bytes] = []
    read, check = files._read_regular, pem._check_pair

    def counted_read(path: str, root: str = "") -> bytes:
        reads.append(path)
        return read(path, root)

    def counted_check(certificate: bytes, key: bytes) -> Leaf:
        checks.append(certificate)
        return check(certificate, key)

    monkeypatch.setattr(files, "_read_regular", counted_read)
    monkeypatch.setattr(pem, "_check_pair", counted_check)
    write_pair(tmp_path / "shop", A)
    store = TlsStore(CredentialSource({}, [str(tmp_path)]), builders.build, builders.build)
    for number in range(1000):
        store.server(server_spec(owner=str(number)))
    assert (len(reads), len(checks)) == (2, 1)
    store.settle()
    store.refresh()
    assert (len(reads), len(checks)) == (4, 1)
