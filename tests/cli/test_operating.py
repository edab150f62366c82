"""The commands that talk to a running gatewayd: what they print and what they exit with (product.md section 2)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gatewayd.cli import main
from gatewayd.cli.explain import exit_code
from gatewayd.cli.status import age, status_lines
from gatewayd.cli.tables import columns
from tests.admin.gateway import Gateway, ask, gateway, unused_port, upstream
from tests.admin.site import one_rule, running_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("site")
    with running_site(folder) as running:
        yield running


@pytest.fixture
def told(site: Gateway, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command against the site: (exit code, stdout, stderr)."""

    def run(*words: str) -> tuple[int, str, str]:
        code = main([*words, "--admin", f"127.0.0.1:{site.admin}"])
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.mark.parametrize(
    ("topic", "title", "expected"),
    [
        ("listeners", "ADDRESS", "istio-system/edge servers[0]"),
        ("routes", "DOMAINS", 'http[0] "hello"'),
        ("clusters", "CLUSTER", "outbound|80||items.test"),
        ("endpoints", "ENDPOINT", "healthy"),
        ("certs", "NAMES", "DNS:shop.test"),
        ("findings", "LEVEL", "IST0101"),
        ("config", "SECTION", "dynamic_route_configs"),
    ],
)
def test_each_topic_is_a_table_and_json_and_yaml(told: Any, topic: str, title: str, expected: str) -> None:
    code, out, _ = told("get", topic)
    assert code == 0
    assert out.startswith(title)
    assert expected in out
    code, wide, _ = told("get", topic, "-o", "wide")
    assert code == 0
    assert len(wide.splitlines()[0]) >= len(out.splitlines()[0].rstrip())
    _, text, _ = told("get", topic, "-o", "json")
    _, same, _ = told("get", topic, "-o", "yaml")
    found, again = json.loads(text), yaml.safe_load(same)
    assert found.keys() == again.keys()
    assert found["configs"] if topic == "config" else found[topic]


def test_routes_of_one_host(told: Any) -> None:
    _, out, _ = told("get", "routes", "--host", "site.test")
    assert {line.split()[0] for line in out.splitlines()[1:]} == {"site.test"}
    assert told("get", "clusters", "--host", "site.test")[0] == 64


def test_status_says_how_it_is(told: Any) -> None:
    code, out, _ = told("status")
    assert code == 0
    assert ", 1 worker: ready" in out.splitlines()[0]
    assert "serves     3 listeners, 6 virtual hosts, 8 clusters of 3 files" in out
    assert "findings   1 error, 1 warning (gatewayd get findings)" in out
    code, out, _ = told("status", "-o", "json")
    assert json.loads(out)["ready"]


def test_ready_and_healthcheck(told: Any, site: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert told("ready")[:2] == (0, "ready\n")
    address = f"127.0.0.1:{site.ports['status']}"
    assert main(["healthcheck", "--status", address]) == 0
    site.post("/healthcheck/fail")
    try:
        assert main(["healthcheck", "--status", address]) == 1
        assert main(["healthcheck", "--live", "--status", address]) == 0
        capsys.readouterr()
        assert told("ready")[:2] == (1, "not ready: failed by the admin\n")
        assert "NOT READY: failed by the admin" in told("status")[1]
    finally:
        site.post("/healthcheck/ok")


def test_levels(told: Any) -> None:
    assert "dns: info" in told("log-level")[1]
    code, out, _ = told("log-level", "dns=debug", "tls=error")
    assert code == 0
    assert {"dns: debug", "tls: error"} <= set(out.splitlines())
    code, _, err = told("log-level", "nobody=debug")
    assert code == 64
    assert "nobody" in err
    assert "dns: info" in told("log-level", "info")[1]


def test_drain_and_undrain(told: Any, site: Gateway) -> None:
    assert told("drain", "--wait")[0] == 0
    try:
        assert told("ready")[0] == 1
        assert "draining   yes" in told("status")[1]
    finally:
        assert told("undrain")[:2] == (0, "traffic is welcome again\n")
    assert ask(site.ports["80"], "/hello", headers={"host": "shop.test"}).status == 200


def test_a_reload_says_what_came_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conf = tmp_path / "conf" / "conf.yaml"
    conf.parent.mkdir()
    conf.write_text(one_rule())
    with gateway(tmp_path, str(conf.parent), "--no-watch") as running:
        address = f"127.0.0.1:{running.admin}"
        assert main(["reload", "--admin", address]) == 0
        assert "nothing changed" in capsys.readouterr().out
        conf.write_text(one_rule(answer="directRespons"))
        assert main(["reload", "--admin", address]) == 79
        assert "kept in the last good version: 1" in capsys.readouterr().out
        main(["status", "--admin", address])
        out = capsys.readouterr().out
        assert "!! kept in the last good version: 1" in out
        assert "because of" in out
        assert "conf.yaml:12" in out
        main(["ready", "--admin", address])
        assert capsys.readouterr().out.startswith("ready\nVirtualService shop/site stays as it was")
        conf.unlink()
        assert main(["reload", "--admin", address]) == 78
        assert "there is no configuration file any more" in capsys.readouterr().err
        assert main(["upgrade", "--admin", address]) in (0, 1)


@pytest.mark.parametrize(
    "words",
    [
        ["get", "listeners"],
        ["status"],
        ["ready"],
        ["reload"],
        ["drain"],
        ["undrain"],
        ["upgrade"],
        ["log-level"],
    ],
)
def test_who_is_not_there_is_exit_69(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    port = unused_port()
    assert main([*words, "--admin", f"127.0.0.1:{port}"]) == 69
    err = capsys.readouterr().err
    assert f"no admin port answers at 127.0.0.1:{port}: connection refused" in err
    assert main([*words, "--admin", "unix:/nowhere/admin"]) == 69
    assert main([*words, "--admin", "off"]) == 64


def test_what_is_no_admin_port_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with upstream("else") as other:
        assert main(["status", "--admin", f"127.0.0.1:{other.server_port}"]) == 1
    assert "is no admin port of gatewayd" in capsys.readouterr().err


# --- explain


def test_explain_asks_a_running_one(told: Any, site: Gateway) -> None:
    code, out, _ = told("explain", f"http://127.0.0.1:{site.ports['80']}/hello", "-H", "Host: shop.test")
    assert code == 0
    assert out.splitlines()[-1] == "= directResponse 200, 5 bytes"
    assert told("explain", "GET", "http://shop.test/none")[0] == 80
    assert told("explain", "http://shop.test/%00")[0] == 81
    assert told("explain", "http://shop.test/nowhere")[0] == 82
    code, _, err = told("explain", "ftp://x/")
    assert code == 64
    assert "cannot be explained" in err


def test_explain_compiles_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    conf = tmp_path / "conf.yaml"
    conf.write_text(one_rule())
    words = ["explain", "http://site.test/x", "-f", str(conf)]
    assert main(words) == 0
    assert f"{conf}:12" in capsys.readouterr().out
    assert main([*words, "-o", "json", "--port-map", "80=8080"]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "direct_response"
    assert main(["explain", "http://site.test/x", "-f", str(tmp_path / "none")]) == 65
    assert main(["explain", "http://site.test/x"]) == 64
    assert main(["explain", "a", "b", "c", "-f", str(conf)]) == 64
    assert main([*words, "-H", "no colon"]) == 64


@pytest.mark.parametrize(
    ("outcome", "usable", "code"),
    [
        *(
            ("route", True, 0),
            ("route", False, 82),
            ("tcp", True, 0),
            ("tcp", False, 82),
            ("no_cluster", False, 82),
        ),
        *(("redirect", False, 0), ("direct_response", False, 0), ("denied", False, 81)),
        *(("not_found", False, 80), ("no_listener", False, 80), ("tls_reject", False, 80)),
    ],
)
def test_exit_codes_of_explain(outcome: str, usable: bool, code: int) -> None:
    assert exit_code({"outcome": outcome, "usable": usable}) == code


# --- how it is printed


def test_columns_are_aligned_and_safe_for_a_terminal() -> None:
    text = columns(("A", "LONGER", "B"), [("x", 1, "last \x1b[31mred"), (["a", "b"], None, True)])
    assert text.splitlines() == ["A    LONGER  B", "x    1       last ?[31mred", "a,b  -       yes"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (90061, "1 d 1 h"), (-5, "0 s")],
)
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text


def test_several_workers_have_a_line_each() -> None:
    worker = {"pid": 7, "resident_bytes": 2**25, "cpu_seconds": 1.5, "ready": True, "reasons": []}
    found: dict[str, Any] = {
        "version": "1",
        "now": 100.0,
        "started_at": 0.0,
        "state": "SERVING",
        "ready": True,
        "reasons": [],
        "draining": False,
        "connections": 0,
        "requests_active": 0,
        "traffic": {},
        "workers": [{**worker, "worker": n} for n in range(2)],
        "configuration": {
            "listeners": 1,
            "virtual_hosts": 1,
            "clusters": 1,
            "files": 1,
            "in_force_since": 0.0,
            "findings": {"error": 0, "warning": 0},
            "reloads": {"IN_FORCE": 0, "UNCHANGED": 0, "REFUSED": 1},
            "last_reload": None,
            "kept": [],
            "refused": "why",
            "set_aside": [f"d{n}" for n in range(25)],
        },
        "certificates": [{"owner": "Gateway a/b", "problem": "", "remark": "expires in 3 days"}],
    }
    lines = status_lines(found)
    loading = status_lines({**found, "configuration": {}, "certificates": []})
    assert loading[2] == "  serves     the configuration is still being loaded", "after an upgrade"
    assert loading[3:] == [line for line in lines if line.startswith(("  traffic", "  draining", "  worker"))]
    assert "  worker 1   pid 7, 32 MiB, 1.5 s CPU" in lines
    assert "!! the last reload was REFUSED, what was before stays in force: why" in lines
    assert "!!   and 5 more" in lines
    assert "!!   Gateway a/b: expires in 3 days" in lines
