"""The flags of ``run``: from the command line, from the environment, and what is refused (product.md 2)."""

from __future__ import annotations

import os
from typing import Any

import pytest

from gatewayd.cli import main
from gatewayd.cli.flags import CONFIGURATION_FLAGS, SERVING_FLAGS
from gatewayd.cli.run import run
from gatewayd.observe.collector import Collector
from gatewayd.runtime.cgroup import processors
from gatewayd.runtime.options import RunOptions


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[RunOptions]:
    """The options that would have been served."""
    from gatewayd.runtime import run as runs

    seen: list[RunOptions] = []

    def record(options: RunOptions) -> int:
        seen.append(options)
        return 0

    monkeypatch.setattr(runs, "run", record)
    for name in list(os.environ):
        if name.startswith(("GATEWAYD_", "OTEL_")) or name == "CREDENTIALS_DIRECTORY":
            monkeypatch.delenv(name)
    return seen


def test_the_defaults_are_those_of_the_contract(asked: list[RunOptions]) -> None:
    assert main(["run", "conf"]) == 0
    assert asked == [
        RunOptions(
            paths=("conf",),
            port_map={},
            port_offset=0,
            bind=("0.0.0.0", "::"),
            namespace="istio-system",
            labels=None,
            cluster_domain="cluster.local",
            unknown_hosts="dns",
            endpoints=(),
            secrets=("/etc/gatewayd/secrets",),
            workload_certs=("/var/run/secrets/workload-spiffe-credentials", "/etc/certs"),
            mesh_config=None,
            status=("127.0.0.1", 15021),
            metrics=("127.0.0.1", 15090),
            admin=("127.0.0.1", 15000),
            access_log=None,
            access_log_format=None,
            otlp=None,
            drain_time_s=45.0,
            shutdown_time_s=60.0,
            watch=True,
            extended_connect=False,
            misdirected=404,
        )
    ]


FLAGS: list[tuple[str, str, str, Any]] = [
    ("--port-map", "80=8080,443=8443", "port_map", {80: 8080, 443: 8443}),
    ("--port-offset", "8000", "port_offset", 8000),
    ("--bind", "127.0.0.1,::1", "bind", ("127.0.0.1", "::1")),
    ("--namespace", "edge", "namespace", "edge"),
    ("--labels", "istio=ingressgateway", "labels", {"istio": "ingressgateway"}),
    ("--cluster-domain", "corp.local", "cluster_domain", "corp.local"),
    ("--unknown-hosts", "reject", "unknown_hosts", "reject"),
    (
        "--endpoint",
        "a=127.0.0.1:1,a:v2=127.0.0.1:2",
        "endpoints",
        (("a", "", "127.0.0.1", 1), ("a", "v2", "127.0.0.1", 2)),
    ),
    ("--misdirected", "421", "misdirected", 421),
    ("--mesh-config", "mesh.yaml", "mesh_config", "mesh.yaml"),
    ("--secrets", "/etc/tls", "secrets", ("/etc/tls",)),
    ("--workload-certs", "/run/id", "workload_certs", ("/run/id",)),
    ("--status", "127.0.0.1:9", "status", ("127.0.0.1", 9)),
    ("--metrics", "127.0.0.1:9", "metrics", ("127.0.0.1", 9)),
    ("--metrics", "off", "metrics", None),
    ("--admin", "127.0.0.1:9", "admin", ("127.0.0.1", 9)),
    ("--admin", "unix:/run/gatewayd/admin", "admin", ("unix:/run/gatewayd/admin", 0)),
    ("--admin", "off", "admin", None),
    ("--admin-allow-host", "gw.internal", "admin_hosts", ("gw.internal",)),
    ("--status", "off", "status", None),
    ("--access-log", "/tmp/log", "access_log", "/tmp/log"),
    ("--access-log-format", "json", "access_log_format", "json"),
    ("--drain-time", "5s", "drain_time_s", 5.0),
    ("--shutdown-time", "1m", "shutdown_time_s", 60.0),
    ("--drain-delay", "5s", "drain_delay_s", 5.0),
    ("--workers", "4", "workers", 4),
    ("--workers", "auto", "workers", processors()),
    ("--hang-time", "2s", "hang_time_s", 2.0),
    ("--log-level", "debug", "log_level", "debug"),
    ("--log-level", "info,listeners=debug", "log_level", "info,listeners=debug"),
    ("--log-format", "json", "log_format", "json"),
    ("--otlp", "otel:4317", "otlp", Collector("grpc", "otel:4317")),
    ("--loop", "asyncio", "loop", "asyncio"),
]


@pytest.mark.parametrize(("flag", "text", "name", "value"), FLAGS)
def test_a_flag_sets_its_option(asked: list[RunOptions], flag: str, text: str, name: str, value: Any) -> None:
    assert main(["run", "conf", flag, text]) == 0
    assert getattr(asked[0], name) == value


@pytest.mark.parametrize(("flag", "value"), [("--extended-connect", True), ("--no-extended-connect", False)])
def test_8441_extended_connect_is_offered_if_asked_for(
    asked: list[RunOptions], monkeypatch: pytest.MonkeyPatch, flag: str, value: bool
) -> None:
    monkeypatch.setenv("GATEWAYD_EXTENDED_CONNECT", "1")
    assert main(["run", "conf", flag]) == 0
    assert main(["run", "conf"]) == 0
    assert [options.extended_connect for options in asked] == [value, True]


@pytest.mark.parametrize(("flag", "text", "name", "value"), FLAGS)
def test_so_does_its_environment_variable(
    asked: list[RunOptions], monkeypatch: pytest.MonkeyPatch, flag: str, text: str, name: str, value: Any
) -> None:
    monkeypatch.setenv("GATEWAYD_" + flag.lstrip("-").replace("-", "_").upper(), text)
    assert main(["run", "conf"]) == 0
    assert getattr(asked[0], name) == value


@pytest.mark.parametrize(
    ("words", "folders"),
    [
        ([], ("/etc/gatewayd/secrets", "/run/credentials/gatewayd.service")),
        (["--secrets", "/a", "--secrets", "/b"], ("/a", "/b", "/run/credentials/gatewayd.service")),
    ],
)
def test_credentials_of_systemd_are_searched_last(
    asked: list[RunOptions], monkeypatch: pytest.MonkeyPatch, words: list[str], folders: tuple[str, ...]
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/gatewayd.service")
    assert main(["run", "conf", *words]) == 0
    assert asked[0].secrets == folders


@pytest.mark.parametrize(("value", "watch"), [("0", False), ("false", False), ("1", True)])
def test_watching_can_be_turned_off(
    asked: list[RunOptions], monkeypatch: pytest.MonkeyPatch, value: str, watch: bool
) -> None:
    assert main(["run", "conf", "--no-watch"]) == 0
    assert asked[0].watch is False
    monkeypatch.setenv("GATEWAYD_WATCH", value)
    assert main(["run", "conf"]) == 0
    assert asked[1].watch is watch


def test_a_flag_wins_over_the_environment(asked: list[RunOptions], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAYD_PORT_OFFSET", "1")
    assert main(["run", "conf", "--port-offset", "2"]) == 0
    assert asked[0].port_offset == 2


def test_flags_that_hold_several_values_may_be_repeated(asked: list[RunOptions]) -> None:
    words = "run a b --port-map 80=8080 --port-map 81=8081 --endpoint a=127.0.0.1:1 --endpoint b=127.0.0.1:2"
    words += " --bind 127.0.0.1 --bind ::1 --labels a=1 --labels b=2"
    assert main(words.split()) == 0
    options = asked[0]
    assert options.paths == ("a", "b")
    assert options.port_map == {80: 8080, 81: 8081}
    assert [pinned[0] for pinned in options.endpoints] == ["a", "b"]
    assert options.bind == ("127.0.0.1", "::1")
    assert options.labels == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    "words",
    [
        "--workers 1",
        "--watch",
        "--mode gateway",
        "--admin 127.0.0.1:0 --metrics 127.0.0.1:0",
        "--admin unix:/run/admin",
        "--secrets /etc/secrets",
    ],
)
def test_flags_of_the_contract_are_taken(asked: list[RunOptions], words: str) -> None:
    assert main(["run", "conf", *words.split()]) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "Missing argument 'PATH...'"),
        ("conf --no-such-flag", "No such option"),
        ("conf --port-map 80", "'80': expected GATEWAY_PORT=PORT, such as 80=8080"),
        ("conf --port-map 80=1 --port-map 80=2", "--port-map: 80 is given twice, as 1 and 2"),
        ("conf --port-offset many", "'many' is not a valid integer range"),
        ("conf --endpoint reviews", "'reviews': expected HOST=ADDRESS:PORT"),
        ("conf --labels istio", "'istio': expected KEY=VALUE"),
        ("conf --labels a=1 --labels a=2", "--labels: a is given twice"),
        ("conf --bind localhost", "'localhost' is not an IP address"),
        ("conf --unknown-hosts ignore", "'ignore' is not one of 'dns', 'reject'"),
        ("conf --workers 0", "'0' is not a number of processes: expected 1 to 128, or auto"),
        ("conf --workers many", "'many' is not a number of processes"),
        ("conf --workers 1000", "'1000' is not a number of processes"),
        ("conf --mode sidecar", "--mode sidecar is not available yet"),
        ("conf --status here", "expected HOST:PORT"),
        ("conf --drain-time soon", "'soon' is not a duration"),
        ("conf --access-log-format xml", "'xml' is not one of 'text', 'json'"),
        ("conf --namespace A_B", "is not a name"),
    ],
)
def test_a_wrong_call_exits_64_and_says_what_was_expected(
    asked: list[RunOptions], capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    assert main(["run", *words.split()]) == 64
    assert said in capsys.readouterr().err
    assert asked == []


def test_a_wrong_environment_variable_is_named(
    asked: list[RunOptions], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GATEWAYD_PORT_MAP", "80=8080,x")
    assert main(["run", "conf"]) == 64
    error = capsys.readouterr().err
    assert "GATEWAYD_PORT_MAP" in error
    assert "'x': expected" in error


def test_every_flag_that_is_not_hidden_is_in_the_help_with_its_variable(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["run", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    shown = [parameter for parameter in run.params if not getattr(parameter, "hidden", False)][1:]
    assert len(shown) == len(CONFIGURATION_FLAGS) + len(SERVING_FLAGS) - 2
    for parameter in shown:
        assert parameter.opts[0] in text
        assert str(parameter.envvar) in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("loud", "'loud' is no level"),
        ("info,listener=debug", "'listener' is no component (did you mean 'listeners'?)"),
        ("", "expected a level"),
    ],
)
def test_a_level_that_does_not_exist_is_told(
    asked: list[RunOptions], capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    assert main(["run", "conf", "--log-level", text]) == 64
    assert said in capsys.readouterr().err
    assert asked == []


def test_the_variables_of_opentelemetry_name_a_collector(
    asked: list[RunOptions], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4318")
    assert main(["run", "conf"]) == 0
    assert asked[0].otlp == Collector("http/protobuf", "http://otel:4318/v1/traces")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://otel")
    assert main(["run", "conf"]) == 64
    assert "OTEL_EXPORTER_OTLP_ENDPOINT: 'ftp://otel' is no address of a collector" in capsys.readouterr().err
