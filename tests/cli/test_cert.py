"""``gatewayd cert``: what it shows, what it warns of, what it writes (product.md 2)."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gatewayd.cli import main
from tests.tls.material import authority, encrypted, leaf, revocation_list, write, write_pair

A, CA = leaf("a.test"), authority()
OLD, SOON = leaf("old.test", days=-3), leaf("soon.test", days=10)


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of ``gatewayd cert WORDS``."""
    code = main(["cert", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def secret_yaml(**values: bytes) -> str:
    data = {key.replace("_", "."): base64.b64encode(value).decode() for key, value in values.items()}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "shop", "namespace": "edge"},
            "data": data,
        }
    )


# inspect


def test_inspect_shows_each_certificate_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, chain_pem=A.certificate + CA.certificate) / "chain.pem"
    code, out, _ = run(capsys, "inspect", file)
    assert code == 0
    assert out.splitlines()[:2] == [str(file), "  certificate 1"]
    assert "names     DNS:a.test" in out
    assert "issuer    CN=test root (self-signed)" in out
    assert re.search(r"valid     [\d-]+ [\d:]+ UTC to [\d-]+ [\d:]+ UTC \(90 days left\)", out)
    assert out.count("  certificate ") == 2


def test_inspect_as_json_agrees_with_openssl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, tls_crt=A.certificate) / "tls.crt"
    code, out, _ = run(capsys, "inspect", file, "-o", "json")
    [target] = json.loads(out)["targets"]
    [shown] = target["certificates"]
    printed = subprocess.run(
        ["openssl", "x509", "-in", file, "-noout", "-serial", "-fingerprint", "-sha256"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert code == 0
    assert f"serial={shown['serial']}" in printed
    assert shown["sha256"] in printed.replace(":", "").lower()
    assert (shown["names"], shown["key"], shown["ca"]) == (["DNS:a.test"], "ECDSA P-256", False)


def test_inspect_shows_certificates_of_secrets_and_no_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "secret.yaml"
    file.write_text(secret_yaml(tls_crt=A.certificate, tls_key=A.private_key, ca_crt=CA.certificate))
    code, out, _ = run(capsys, "inspect", file)
    assert code == 0
    assert "certificate 1 (Secret edge/shop tls.crt)" in out
    assert "certificate 2 (Secret edge/shop ca.crt)" in out
    assert "PRIVATE" not in out


def test_inspect_says_what_cannot_be_read_and_shows_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path, tls_crt=A.certificate, tls_key=A.private_key)
    (folder / "empty.yaml").write_text("")
    code, out, err = run(
        capsys, "inspect", folder / "tls.key", folder / "tls.crt", folder / "none", folder / "empty.yaml"
    )
    assert code == 65
    assert out.startswith(str(folder / "tls.crt"))
    assert "tls.key: no certificate inside" in err
    assert "no such file or directory" in err
    assert "no Secret with a certificate in it" in err


class Server:
    """Shows a certificate to whoever connects."""

    def __init__(self, folder: Path, certificates: bytes, key: bytes) -> None:
        write(folder, tls_crt=certificates, tls_key=key)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        self.names: list[str | None] = []
        self._context.sni_callback = lambda _, name, __: self.names.append(name)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listening.accept()
            except OSError:
                return
            with plain:
                try:
                    self._context.wrap_socket(plain, server_side=True).close()
                except OSError:
                    continue

    def stop(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "server", A.certificate + CA.certificate, A.private_key)
    yield made
    made.stop()


def test_inspect_asks_a_server_for_its_chain(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "inspect", f"127.0.0.1:{server.port}", "--sni", "a.test", "-o", "json")
    [target] = json.loads(out)["targets"]
    assert code == 0
    assert [shown["subject"] for shown in target["certificates"]] == ["CN=a.test", "CN=test root"]
    assert target["protocol"] == "TLSv1.3"
    assert target["trusted"].startswith("no: ")
    assert set(server.names) == {"a.test"}


def test_inspect_says_why_a_server_cannot_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    code, _, err = run(capsys, "inspect", f"127.0.0.1:{port}", "a.test:99999")
    assert code == 1
    assert f"127.0.0.1:{port}: cannot connect: connection refused" in err
    assert "a.test:99999: " in err


# check


def checked(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, dict[str, Any]]:
    code, out, _ = run(capsys, "check", *words, "-o", "json")
    return code, json.loads(out)


def test_check_passes_what_is_valid_for_long_enough(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pair(tmp_path / "shop", A)
    assert checked(capsys, tmp_path)[0] == 0
    assert checked(capsys, tmp_path, "--days", "89")[0] == 0
    code, report = checked(capsys, tmp_path, "--days", "91")
    assert (code, report["summary"]) == (79, {"expires": 1})


@pytest.mark.parametrize(("issued", "status"), [(OLD, "expired"), (SOON, "expires")])
def test_check_exits_79_for_what_ends_or_has_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], issued: Any, status: str
) -> None:
    write_pair(tmp_path / "shop", issued)
    write_pair(tmp_path / "fine", A)
    code, report = checked(capsys, tmp_path)
    assert code == 79
    assert report["summary"] == {"ok": 1, status: 1}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"tls_crt": A.certificate, "tls_key": OLD.private_key}, "the key does not fit"),
        ({"tls_crt": A.certificate, "tls_key": encrypted(A.private_key)}, "it is encrypted"),
        ({"cert": A.certificate, "key": b""}, "no private key inside"),
        ({"tls_crt": b"junk", "tls_key": A.private_key}, "no certificate inside"),
        ({"a_pem": A.certificate, "a_key": OLD.private_key}, "the key does not fit"),
        ({"a_pem": A.certificate + OLD.private_key}, "the key does not fit"),
        ({"ca_crl": b"junk"}, "revocation list: none inside"),
    ],
)
def test_check_exits_79_for_what_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], values: dict[str, bytes], said: str
) -> None:
    write(tmp_path / "shop", **values)
    code, report = checked(capsys, tmp_path)
    assert code == 79
    assert [one["status"] for one in report["certificates"]] == ["broken"]
    assert said in report["certificates"][0]["problem"]


def test_check_reads_secrets_among_the_configuration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crl = revocation_list(CA)
    (tmp_path / "good.yaml").write_text(
        secret_yaml(tls_crt=A.certificate, tls_key=A.private_key, ca_crt=CA.certificate, ca_crl=crl)
    )
    assert checked(capsys, tmp_path) == (0, checked(capsys, tmp_path)[1])
    (tmp_path / "bad.yaml").write_text(secret_yaml(tls_crt=A.certificate, tls_key=OLD.private_key))
    (tmp_path / "wrong.yaml").write_text(
        '{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"},"data":{"a":"?"}}'
    )
    code, report = checked(capsys, tmp_path)
    assert (code, report["summary"]) == (79, {"ok": 2, "broken": 2})
    problems = {one["place"]: one["problem"] for one in report["certificates"] if one["status"] == "broken"}
    assert problems == {
        f"{tmp_path}/bad.yaml:1 Secret edge/shop tls.crt": "the key does not fit the certificate",
        f"{tmp_path}/wrong.yaml:1:72": '"a" is not valid base64',
    }


def test_check_leaves_other_files_alone_and_says_when_there_is_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, README=b"hello", tls_key=A.private_key)
    os.mkfifo(tmp_path / "fifo")
    code, out, _ = run(capsys, "check", tmp_path)
    assert (code, out) == (65, "no certificate found\n")


def test_a_file_that_was_named_must_have_a_certificate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, README=b"hello")
    code, out, _ = run(capsys, "check", tmp_path / "README", tmp_path / "missing")
    assert code == 79
    assert "README: no certificate inside" in out
    assert "missing': no such file or directory" in out


def test_check_follows_a_kubernetes_mount_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_pair(tmp_path / "..2026", A)
    (tmp_path / "..data").symlink_to("..2026")
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    assert checked(capsys, tmp_path)[1]["summary"] == {"ok": 1}


# self-signed


def test_self_signed_makes_a_pair_that_openssl_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(
        capsys, "self-signed", "a.test", "*.a.test", "127.0.0.1", "--out", tmp_path, "--days", "7"
    )
    assert code == 0
    assert f"wrote {tmp_path}/tls.key" in out
    assert sorted(os.listdir(tmp_path)) == ["tls.crt", "tls.key"]
    assert (tmp_path / "tls.key").stat().st_mode & 0o777 == 0o600
    said = subprocess.run(
        ["openssl", "verify", "-CAfile", tmp_path / "tls.crt", "-verify_hostname", "x.a.test", tmp_path / "tls.crt"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.stdout.strip().endswith(": OK")
    assert checked(capsys, tmp_path, "--days", "6")[0] == 0
    assert checked(capsys, tmp_path, "--days", "8")[0] == 79


def test_with_an_authority_several_leaves_are_signed_by_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "self-signed", "a.test", "--ca", "--out", tmp_path, "-o", "json")
    made = json.loads(out)
    assert code == 0
    assert [os.path.basename(path) for path in made["files"]] == ["tls.crt", "tls.key", "ca.crt", "ca.key"]
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600
    authority_before = (tmp_path / "ca.crt").read_bytes()
    code, out, _ = run(capsys, "self-signed", "b.test", "--ca", "--out", tmp_path, "--force", "-o", "json")
    assert [os.path.basename(path) for path in json.loads(out)["files"]] == ["tls.crt", "tls.key"]
    assert (tmp_path / "ca.crt").read_bytes() == authority_before
    said = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-CAfile", tmp_path / "ca.crt", "-verify_hostname", "b.test",
         tmp_path / "tls.crt"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.stdout.strip().endswith(": OK")


def test_nothing_is_overwritten_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "self-signed", "a.test", "--out", tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}
    code, _, err = run(capsys, "self-signed", "a.test", "--out", tmp_path)
    assert code == 1
    assert f"already there: {tmp_path}/tls.crt, {tmp_path}/tls.key" in err
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before
    assert run(capsys, "self-signed", "a.test", "--out", tmp_path, "--force")[0] == 0
    assert (tmp_path / "tls.key").read_bytes() != before["tls.key"]
    assert (tmp_path / "tls.key").stat().st_mode & 0o777 == 0o600


def test_a_lone_authority_file_is_not_overwritten_either(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, ca_crt=CA.certificate)
    assert run(capsys, "self-signed", "a.test", "--ca", "--out", tmp_path)[0] == 1
    assert os.listdir(tmp_path) == ["ca.crt"]


@pytest.mark.parametrize("issued", [A, None])
def test_an_authority_that_cannot_sign_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], issued: Any
) -> None:
    write(tmp_path, ca_crt=(issued or CA).certificate, ca_key=A.private_key)
    code, _, err = run(capsys, "self-signed", "a.test", "--ca", "--out", tmp_path)
    assert code == 1
    assert "cannot sign with" in err


def test_names_and_folders_that_do_not_work_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "self-signed", "no host", "--out", tmp_path / "new")
    assert code == 64
    assert "'no host' is not a host name" in err
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("")
    code, _, err = run(capsys, "self-signed", "a.test", "--out", tmp_path / "file")
    assert code == 1
    assert "cannot write" in err


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys)
    assert code == 64
    assert all(word in out + err for word in ("inspect", "check", "self-signed"))
