"""The mesh configuration: what is supported is read, what is not is said."""

from pathlib import Path

import pytest

from gatewayd.resources.mesh_config import MeshConfig
from gatewayd.sources import Limits, load_mesh_config


def load(tmp_path: Path, text: str | bytes) -> tuple[MeshConfig, list[tuple[str, str, int, str]]]:
    file = tmp_path / "mesh.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    settings, findings = load_mesh_config(str(file))
    return settings, [(found.code, found.level, found.line, found.message) for found in findings]


def test_the_defaults_are_istios(tmp_path: Path) -> None:
    settings, findings = load(tmp_path, "")
    assert findings == []
    assert settings == MeshConfig()
    assert (settings.ingress_class, settings.root_namespace, settings.connect_timeout) == (
        "istio",
        "istio-system",
        10,
    )
    assert settings.path_normalization.normalization == "DEFAULT"


def test_supported_fields_are_read(tmp_path: Path) -> None:
    settings, findings = load(
        tmp_path,
        """\
pathNormalization: {normalization: MERGE_SLASHES}
connectTimeout: 3s
defaultConfig:
  gatewayTopology: {numTrustedProxies: 2}
  proxyHeaders:
    server: {value: me}
    requestId: {disabled: true}
    xForwardedHost: {enabled: true}
defaultHttpRetryPolicy: {attempts: 0}
""",
    )
    assert findings == []
    assert settings.path_normalization.normalization == "MERGE_SLASHES"
    assert settings.connect_timeout == 3.0
    assert settings.default_config.gateway_topology.num_trusted_proxies == 2
    headers = settings.default_config.proxy_headers
    assert headers.server is not None
    assert headers.server.value == "me"
    assert settings.default_http_retry_policy is not None


def test_fields_that_are_not_supported_are_warned_about(tmp_path: Path) -> None:
    proxy = "  concurrency: 2\n  proxyHeaders:\n    preserveHttp1HeaderCase: true\n"
    text = f"enablePrometheusMerge: true\ndefaultConfig:\n{proxy}"
    settings, findings = load(tmp_path, text)
    assert settings != MeshConfig()
    assert findings == [
        ("GWD0016", "warning", 1, '"enablePrometheusMerge" is not supported, so it has no effect'),
        ("GWD0016", "warning", 3, '"concurrency" is not supported, so it has no effect'),
        (
            "GWD0014",
            "warning",
            5,
            '"preserveHttp1HeaderCase" is accepted, but not honoured yet: header names keep no case yet',
        ),
    ]


def test_fields_of_list_items_are_warned_about_too_with_the_nearest_right_word(tmp_path: Path) -> None:
    text = (
        "extensionProviders:\n- name: a\n  envoyExtAuthzHttp: {service: a.test, port: 80}\naccessLogFle: x\n"
    )
    (tmp_path / "mesh.yaml").write_text(text)
    _, findings = load_mesh_config(str(tmp_path / "mesh.yaml"))
    assert [(each.line, each.message) for each in findings] == [
        (3, '"envoyExtAuthzHttp" is not supported, so it has no effect'),
        (4, '"accessLogFle" is not supported, so it has no effect'),
    ]
    assert findings[0].help == "supported here: name, opentelemetry, zipkin"
    assert findings[1].help.startswith('did you mean "accessLogFile"? supported here: ')


def test_a_wrong_value_is_an_error_and_leaves_the_defaults(tmp_path: Path) -> None:
    settings, findings = load(tmp_path, "rootNamespace: a\npathNormalization: {normalization: merge}\n")
    assert settings == MeshConfig()
    assert [(code, level, line) for code, level, line, _ in findings] == [("IST0106", "error", 2)]


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("a: [\n", "GWD0003", 2),
        ("a: 1\na: 2\n", "GWD0004", 2),
        (b"\xff", "GWD0002", 1),
        ("- a\n", "IST0106", 1),
    ],
)
def test_what_cannot_be_read_leaves_the_defaults(
    tmp_path: Path, text: str | bytes, code: str, line: int
) -> None:
    settings, findings = load(tmp_path, text)
    assert settings == MeshConfig()
    assert (findings[0][0], findings[0][1], findings[0][2]) == (code, "error", line)


def test_a_missing_or_large_file_is_a_finding(tmp_path: Path) -> None:
    settings, findings = load_mesh_config(str(tmp_path / "nope"))
    assert settings == MeshConfig()
    assert [finding.code for finding in findings] == ["GWD0001"]
    (tmp_path / "large").write_text("#" * 100)
    _, findings = load_mesh_config(str(tmp_path / "large"), Limits(max_file_bytes=10))
    assert [finding.code for finding in findings] == ["GWD0006"]


def test_only_the_first_document_is_read(tmp_path: Path) -> None:
    settings, findings = load(tmp_path, "rootNamespace: a\n---\nrootNamespace: b\n")
    assert settings.root_namespace == "a"
    assert [finding[3] for finding in findings] == ["only the first document of this file is read"]
