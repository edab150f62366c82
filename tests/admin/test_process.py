"""The admin port of a real process: what it says is what was sent through it, and what it is told is done."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gatewayd.admin.guard import HEADER
from tests.admin.gateway import LIMIT_S, Gateway, Reply, ask, gateway, unused_port
from tests.admin.site import one_rule, running_site
from tests.tls.material import leaf


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose counters are looked at by one test after the other."""
    folder = tmp_path_factory.mktemp("site")
    with running_site(folder) as running:
        yield running


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Gateway]:
    """A small one to be told things."""
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "all.yaml").write_text(one_rule())
    with gateway(tmp_path, str(conf), "--no-watch") as running:
        yield running


def send(running: Gateway, path: str, host: str = "shop.test", **headers: str) -> Reply:
    return ask(running.ports["80"], path, headers={"host": host, **headers})


def written(running: Gateway, text: str) -> None:
    """Its configuration."""
    (Path(running.process.args[4]) / "all.yaml").write_text(text)  # type: ignore[index]  # the words it was started with


class Stream:
    """A stream of the admin port, read in a thread."""

    def __init__(self, running: Gateway, path: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", running.admin, timeout=LIMIT_S)
        self._connection.request("GET", path)
        self._sock = self._connection.sock  # whose it is no more once the answer says that it closes
        self._answer = self._connection.getresponse()
        self.status = self._answer.status
        self.content_type = self._answer.headers["content-type"]
        self.rows: list[dict[str, Any]] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        try:
            while line := self._answer.readline():
                if line.startswith(b"data: "):
                    self.rows.append(json.loads(line[6:]))
        except (OSError, ValueError, http.client.HTTPException):
            return

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._reading.join(LIMIT_S)
        self._answer.close()
        self._connection.close()


# --- what it says is what was sent


def test_what_was_sent_is_counted_by_rule_cluster_endpoint_and_second(site: Gateway) -> None:
    def hits(chain: str = "http.80") -> dict[str, tuple[int, int]]:
        rows = site.json("/api/v1/routes")["routes"]
        return {
            row["name"]: (row["hits"], row["errors"])
            for row in rows
            if row["resource"] == "shop" and row["chain"].startswith(chain)
        }

    def endpoint() -> dict[str, Any]:
        rows = site.json("/api/v1/endpoints")["endpoints"]
        (found,) = (row for row in rows if row["cluster"] == "outbound|80||items.test")
        return dict(found)

    hits_before, endpoint_before, others = hits(), endpoint(), hits("https.443")
    for _ in range(5):
        assert send(site, "/hello").status == 200
    for status in (200, 200, 404, 503, 500):
        assert send(site, "/api/7?x=1", **{"x-wanted-status": str(status)}).status == status
    after, endpoint_after = hits(), endpoint()
    assert after["hello"][0] - hits_before["hello"][0] == 5
    assert after["items"][0] - hits_before["items"][0] == 5
    assert after["items"][1] - hits_before["items"][1] == 2
    assert hits("https.443") == others != {}, "the same rule on another server, which nobody asked"
    assert endpoint_after["errors"] - endpoint_before["errors"] == 2
    # the 503 and the 500 were each tried a second time
    assert endpoint_after["total"] - endpoint_before["total"] == 7
    assert endpoint_after["healthy"]


def test_the_timeline_holds_what_was_sent(site: Gateway) -> None:
    def total(kind: str = "all", name: str = "") -> int:
        found = site.json(f"/api/v1/timeseries?kind={kind}" + (f"&name={name}" if name else ""))["series"]
        return sum(row["total"]["requests"] for row in found)

    cluster = "outbound%7C80%7C%7Csite.test"
    time.sleep(1.1)  # the second that is under way is not told
    before, before_cluster = total(), total("cluster", cluster)
    for _ in range(20):
        assert send(site, "/x", "site.test").status == 200
    site.until(lambda: total() - before == 20, "the second to be over")
    assert total("cluster", cluster) - before_cluster == 20
    (row,) = site.json("/api/v1/timeseries")["series"]
    assert row["total"]["p99_ms"] >= row["total"]["p50_ms"] > 0
    assert len(row["requests"]) == len(row["p50_ms"]) == len(row["connections"]) == 599
    rules = site.json("/api/v1/timeseries?kind=route&seconds=60")["series"]
    assert "VirtualService shop/site http[0]" in {each["name"] for each in rules}


def test_numbers_on_both_ports_are_those_that_were_sent(site: Gateway) -> None:
    def counted(text: str) -> float:
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "istio_requests_total" and sample.labels["response_code"] == "418"
        )

    def both() -> list[float]:
        admin = site.get("/stats/prometheus?filter=istio_requests_total")
        metrics = ask(site.ports["metrics"], "/stats/prometheus")
        assert admin.headers["content-type"] == metrics.headers["content-type"]
        return [counted(admin.text), counted(metrics.text)]

    before = both()
    for _ in range(7):
        assert send(site, "/teapot", **{"x-tea": "green"}).status == 418
    assert both() == [number + 7 for number in before]


def test_every_series_stands_on_its_page(site: Gateway) -> None:
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    names = re.findall(r"^# TYPE (\S+)", site.get("/stats/prometheus").text, re.MULTILINE)
    assert len(names) > 50
    assert [name for name in names if f"`{name}" not in page] == []


def test_stats_can_be_chosen(site: Gateway) -> None:
    send(site, "/hello")
    lines = site.get("/stats?filter=^server").text.splitlines()
    assert {line.partition(".")[0] for line in lines} == {"server"}
    assert all(not line.endswith(": 0") for line in site.get("/stats?usedonly").text.splitlines())
    assert "istio_request_duration" in site.get("/stats?type=Histograms").text
    assert "istio_request_duration" not in site.get("/stats?type=Counters").text


@pytest.mark.parametrize(
    "path",
    [
        "/stats/prometheus?text_readouts&native_histograms=true",
        "/stats?histogram_buckets=detailed&hidden=include",
        "/stats?format=json&pretty",
        "/stats?type=TextReadouts",
        "/server_info?_=1",
        "/certs?format=json",
    ],
)
def test_what_only_envoy_knows_as_a_parameter_fails_no_script(site: Gateway, path: str) -> None:
    assert site.get(path).status == 200


@pytest.mark.parametrize(
    "path", ["/api/v1/routes?hots=a", "/drain_listeners?gracefull", "/healthcheck/fail?x"]
)
def test_elsewhere_a_parameter_nobody_knows_is_refused(site: Gateway, path: str) -> None:
    reply = site.get(path) if path.startswith("/api/") else site.post(path)
    assert reply.status == 400
    assert "unknown parameter" in reply.text
    assert site.get("/ready").status == 200


def test_listeners_routes_and_clusters_are_told_with_their_places(site: Gateway) -> None:
    (listener,) = (row for row in site.json("/api/v1/listeners")["listeners"] if row["port"] == 80)
    assert listener["addresses"] == [f"127.0.0.1:{site.ports['80']}"]
    assert listener["gateways"] == ["istio-system/edge servers[0]"]
    rows = site.json("/api/v1/routes?host=shop.test")["routes"]
    (hello,) = (row for row in rows if row["name"] == "hello" and row["listener"] == listener["name"])
    assert hello["file"].endswith("shop.yaml")
    assert hello["line"] == 8
    assert hello["match"] == ["uri exact /hello"]
    (cluster,) = (
        row for row in site.json("/api/v1/clusters")["clusters"] if row["name"] == "outbound|80||items.test"
    )
    assert (cluster["policy"], cluster["limits"]["max_connections"]) == ("RING_HASH", 100)
    assert cluster["destination_rule"] == "shop/items"


def test_certificates_are_told_without_keys(site: Gateway) -> None:
    rows = site.json("/api/v1/certs")["certs"]
    assert {name for row in rows for name in row["names"]} == {"DNS:shop.test", "DNS:mutual.test"}
    assert all(row["usable"] and 80 < row["days_left"] < 91 for row in rows)


def test_findings_are_those_of_validate(site: Gateway) -> None:
    rows = site.json("/api/v1/findings")["findings"]
    assert any(row["code"] == "IST0101" and "nope" in row["message"] and row["line"] for row in rows)
    text = (Path(site.process.args[4]) / "shop.yaml").read_text()  # type: ignore[index]
    posted = site.post("/api/v1/validate?name=shop.yaml", text.encode()).json
    assert posted["summary"]["resources"] == 1
    assert {row["file"] for row in posted["findings"]} == {"shop.yaml"}
    broken = site.post("/api/v1/validate", b"apiVersion: [").json
    assert broken["summary"]["errors"] == 1
    assert site.post("/api/v1/validate", b" ").status == 400
    assert site.post("/api/v1/validate", b"\xff").status == 400


def test_no_path_shows_a_secret(site: Gateway) -> None:
    key = leaf("shop.test", days=90.5).private_key.decode().splitlines()[1]
    for path in ("/config_dump", "/certs", "/api/v1/certs", "/api/v1/overview", "/stats", "/clusters"):
        text = site.get(path).text
        assert key not in text
        assert "PRIVATE KEY" not in text


def test_a_get_changes_nothing(site: Gateway) -> None:
    before = site.get("/config_dump").text
    for line in site.get("/help").text.splitlines():
        if line.startswith("  /") and "(POST)" in line:
            path = line.split(" (POST)")[0].strip()
            assert site.get(path).status == 405
            assert ask(site.admin, path, "POST").status == 403, "without the header"
    assert site.get("/config_dump").text == before
    assert site.get("/ready").text == "LIVE\n"


def test_explain_is_what_happens(site: Gateway) -> None:
    def explained(url: str, **headers: str) -> dict[str, Any]:
        return dict(site.post("/api/v1/explain", json.dumps({"url": url, "headers": headers}).encode()).json)

    port = site.ports["80"]
    direct = explained(f"http://127.0.0.1:{port}/hello", host="shop.test")
    assert (direct["outcome"], direct["status"]) == ("direct_response", 200)
    routed = explained("http://shop.test/api/7?x=1")
    assert routed["outcome"] == "route"
    assert routed["upstream"]["path"] == "/v1/7?x=1"
    answer = send(site, "/api/7?x=1")
    assert answer.text == f"items {routed['upstream']['path']}"
    assert explained("http://nobody.test/")["outcome"] == "not_found"
    assert site.post("/api/v1/explain", b"{}").status == 400
    assert site.post("/api/v1/explain", b'{"url": "ftp://x"}').status == 400


@pytest.mark.parametrize(
    ("path", "host"),
    [
        *(
            (path, "shop.test")
            for path in ("/hello", "/teapot", "/old/a?b", "/port", "/regex/abc", "/regex/1")
        ),
        *(
            (path, "shop.test")
            for path in ("/faulty", "/nowhere", "/api/9", "/api/x", "/a/../hello", "/%00", "/no")
        ),
        *(("/x?y", "site.test"), ("/", "nobody.test"), ("/hello", "deep.shop.test")),
    ],
)
def test_what_explain_says_befalls_the_request(site: Gateway, path: str, host: str) -> None:
    asked = json.dumps({"url": f"http://127.0.0.1:{site.ports['80']}{path}", "headers": [["host", host]]})
    said = site.post("/api/v1/explain", asked.encode()).json
    answer = send(site, path, host)
    if said["outcome"] == "route":
        assert answer.text.endswith(f" {said['upstream']['path']}")
    else:
        assert answer.status == said["status"]
        assert answer.headers.get("location", "") == said["location"]


# --- streams


def test_the_tap_shows_requests_as_they_end_without_their_secrets(site: Gateway) -> None:
    with Stream(site, "/api/v1/tap?path=/tapped&headers=1") as tap:
        assert (tap.status, tap.content_type) == (200, "text/event-stream")
        send(site, "/other")
        send(
            site,
            "/tapped?password=hunter2",
            authorization="Bearer hunter2",
            cookie="sid=hunter2",
            accept="*/*",
        )
        site.until(lambda: tap.rows, "the request to be shown")
        (row,) = tap.rows
    assert (row["status"], row["flags"], row["authority"]) == (404, "NR", "shop.test")
    assert "hunter2" not in json.dumps(row)
    assert ["accept", "*/*"] in row["headers"]


def test_a_tap_that_asks_for_nonsense_is_told(site: Gateway) -> None:
    assert site.get("/api/v1/tap?status=abc").status == 400
    assert site.get("/api/v1/tap?nope=1").status == 400


def test_streams_are_bounded(site: Gateway) -> None:
    streams = [Stream(site, "/api/v1/events") for _ in range(16)]
    try:
        assert [each.status for each in streams] == [200] * 16
        assert site.get("/api/v1/events").status == 503
    finally:
        for each in streams:
            each.__exit__()
    site.until(lambda: _opens(site), "the streams to be gone")


def _opens(running: Gateway) -> bool:
    with Stream(running, "/api/v1/events") as again:
        return again.status == 200


# --- what it is told is done


def test_a_reload_is_done_and_told_in_every_place(small: Gateway) -> None:
    with Stream(small, "/api/v1/events") as events:
        written(small, one_rule("two"))
        done = small.post("/api/v1/reload")
        assert (done.status, done.json["result"]) == (200, "IN_FORCE")
        assert send(small, "/", "site.test").text == "two"
        small.until(lambda: events.rows, "the event")
    assert events.rows[0]["kind"] == "reload"
    assert events.rows[0]["text"] == done.json["message"]
    (row,) = small.json("/api/v1/reloads")["reloads"]
    assert (row["result"], row["text"]) == ("IN_FORCE", done.json["message"])
    assert small.post("/api/v1/reload").json["result"] == "UNCHANGED"


def test_what_stays_in_its_last_good_version_is_said_loudly(small: Gateway) -> None:
    written(small, one_rule(answer="directRespons"))
    done = small.post("/api/v1/reload")
    assert (done.status, done.json["kept"]) == (200, 1)
    assert send(small, "/", "site.test").text == "one"
    overview = small.json("/api/v1/overview")["configuration"]
    (kept,) = overview["kept"]
    assert kept["text"].startswith("VirtualService shop/site stays as it was")
    assert kept["reason"]["line"] == 12
    assert overview["findings"]["error"] == 1
    ready = ask(small.ports["status"], "/healthz/ready")
    assert (ready.status, ready.text.splitlines()[1]) == (
        200,
        "kept in its last good version: VirtualService shop/site",
    )
    stats = small.get("/stats").text
    assert "gatewayd_config_kept_resources: 1" in stats
    assert "gatewayd_config_last_reload_successful: 0" in stats
    assert any(row["level"] == "error" for row in small.json("/api/v1/findings")["findings"])
    written(small, one_rule("mended"))
    small.post("/api/v1/reload")
    assert "gatewayd_config_last_reload_successful: 1" in small.get("/stats").text


def test_a_reload_that_is_refused_is_said_loudly(small: Gateway) -> None:
    taken = unused_port()
    with socket.create_server(("127.0.0.1", taken)):
        other = f'{{port: {{number: {taken}, name: other, protocol: HTTP}}, hosts: ["*"]}}'
        written(small, one_rule("two").replace('hosts: ["*"]}', f'hosts: ["*"]}}, {other}', 1))
        done = small.post("/api/v1/reload")
    assert (done.status, done.json["result"]) == (422, "REFUSED")
    assert f"127.0.0.1:{taken}: address already in use" in done.json["message"]
    assert send(small, "/", "site.test").text == "one"
    assert "refused" in small.json("/api/v1/findings")["findings"][0]["message"]
    assert ask(small.ports["status"], "/healthz/ready").text.splitlines()[1] == "the last reload was refused"
    assert small.json("/api/v1/overview")["configuration"]["refused"]


def test_drain_and_undrain(small: Gateway) -> None:
    assert small.post("/api/v1/drain").json["ok"]
    assert ask(small.ports["status"], "/healthz/ready").text == "draining\n"
    assert small.get("/ready").status == 503
    answer = send(small, "/", "site.test")
    assert (answer.text, answer.headers["connection"]) == ("one", "close")
    assert small.post("/api/v1/undrain").json["ok"]
    assert ask(small.ports["status"], "/healthz/ready").status == 200
    assert "connection" not in send(small, "/", "site.test").headers


def test_listeners_can_be_drained_as_envoy_s(small: Gateway) -> None:
    assert small.post("/drain_listeners").text == "OK\n"
    with pytest.raises(ConnectionRefusedError):
        send(small, "/", "site.test")
    assert small.process.poll() is None
    assert small.post("/api/v1/undrain").json["ok"]
    assert send(small, "/", "site.test").text == "one"


def test_health_checks_can_be_made_to_fail(small: Gateway) -> None:
    assert small.post("/healthcheck/fail").text == "OK\n"
    assert ask(small.ports["status"], "/healthz/ready").text == "failed by the admin\n"
    assert small.get("/ready").text == "DRAINING\n"
    assert send(small, "/", "site.test").text == "one", "nothing else changes"
    assert small.post("/healthcheck/ok").text == "OK\n"
    assert ask(small.ports["status"], "/healthz/ready").status == 200


def test_levels_change_while_it_runs(small: Gateway) -> None:
    listed = small.post("/logging").text
    assert listed.startswith("active loggers:\n")
    assert "  reload: info\n" in listed
    assert "  reload: debug\n" in small.post("/logging?reload=debug").text
    assert "  dns: info\n" in small.post("/logging").text
    assert "  dns: error\n" in small.post("/logging?paths=dns:error,admin:debug").text
    everything = small.post("/logging?level=warning").text
    assert {line.rpartition(" ")[2] for line in everything.splitlines()[1:]} == {"warning"}
    for wrong in ("level=loud", "nobody=info", "paths=dns", "level=info&dns=info"):
        refused = small.post(f"/logging?{wrong}")
        assert refused.status == 400
        assert "usage: /logging" in refused.text


def test_counters_begin_again_and_gauges_do_not(small: Gateway) -> None:
    def numbers() -> dict[str, float]:
        lines = small.get("/stats").text.splitlines()
        pairs = [line.rpartition(": ") for line in lines if " P0(" not in line]
        return {name: float(value) for name, _, value in pairs}

    for _ in range(3):
        send(small, "/", "site.test")
    name = next(name for name in numbers() if name.startswith("istio_requests_total"))
    completed = f"http.outbound_127.0.0.1_{small.ports['80']}.downstream_rq_completed"
    assert (numbers()[name], numbers()[completed]) == (3, 3)
    assert small.post("/reset_counters").text == "OK\n"
    assert (numbers()[name], numbers()[completed]) == (0, 0)
    send(small, "/", "site.test")
    assert (numbers()[name], numbers()[completed]) == (1, 1)
    assert numbers()["server.live"] == 1


def test_the_logs_are_reopened(tmp_path: Path) -> None:
    conf = tmp_path / "conf.yaml"
    conf.write_text(one_rule())
    log = tmp_path / "access.log"
    with gateway(tmp_path, str(conf), "--access-log", str(log)) as running:
        send(running, "/first", "site.test")
        running.until(lambda: "/first" in log.read_text(), "the line")
        log.rename(tmp_path / "rotated")
        assert running.post("/reopen_logs").text == "OK\n"
        send(running, "/second", "site.test")
        running.until(lambda: log.exists() and "/second" in log.read_text(), "the line in the new file")
    assert "/second" not in (tmp_path / "rotated").read_text()


def test_quit_ends_the_process_at_once(small: Gateway) -> None:
    assert small.post("/quitquitquit").text == "OK\n"
    assert small.process.wait(LIMIT_S) == 0


def test_the_program_is_replaced_on_its_ports_and_says_so_before_it_goes(small: Gateway) -> None:
    answer = small.post("/api/v1/upgrade")
    assert answer.status == 200, answer.text
    found = re.fullmatch(r"process (\d+) serves in our place", answer.json["message"])
    assert found, answer.text
    pid = int(found[1])
    try:
        small.process.wait(LIMIT_S)  # nobody was connected
        (worker,) = ask(small.admin, "/api/v1/overview").json["workers"]
        assert (worker["pid"], worker["ready"]) == (pid, True)
    finally:
        os.kill(pid, signal.SIGINT)


def test_one_worker_cannot_be_replaced_alone(small: Gateway) -> None:
    answer = small.post("/api/v1/replace_workers")
    assert (answer.status, answer.json["message"]) == (
        501,
        "there is one worker, and nobody to replace it; upgrade replaces the program",
    )


# --- the port itself


def test_a_unix_socket_is_for_owner_and_group_alone(tmp_path: Path) -> None:
    conf = tmp_path / "conf.yaml"
    conf.write_text(one_rule())
    path = tmp_path / "admin.sock"
    mask = os.umask(0)
    try:
        with gateway(tmp_path, str(conf), admin=f"unix:{path}") as running:
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            curl = ["curl", "-sS", "--unix-socket", str(path)]
            assert subprocess.check_output([*curl, "http://gatewayd/ready"]) == b"LIVE\n"
            posted = subprocess.check_output(
                [*curl, "-X", "POST", "-H", f"{HEADER}: 1", "http://gatewayd/healthcheck/ok"]
            )
            assert posted == b"OK\n"
            assert running.process.poll() is None
    finally:
        os.umask(mask)
    assert not path.exists()


def test_curl_asks_as_it_asks_envoy(site: Gateway) -> None:
    def curl(*words: str) -> bytes:
        return subprocess.check_output(["curl", "-sS", *words])

    base = f"http://localhost:{site.admin}"
    assert curl(f"{base}/ready") == b"LIVE\n"
    assert b"active loggers" in curl("-X", "POST", "-H", "X-Gatewayd-Admin: 1", f"{base}/logging")
    assert b"x-gatewayd-admin: 1" in curl("-X", "POST", f"{base}/logging")
    assert json.loads(curl(f"{base}/config_dump?mask=bootstrap"))["configs"]
    assert curl("-I", f"{base}/clusters").startswith(b"HTTP/1.1 200 OK")


def test_traffic_is_never_sent_to_the_proxy_s_own_ports(tmp_path: Path) -> None:
    admin, status = unused_port(), unused_port()
    conf = tmp_path / "conf.yaml"
    loop = f"""
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: loop, namespace: shop}}
spec:
  hosts: ["loop.test"]
  gateways: [istio-system/edge]
  http:
  - match: [{{uri: {{prefix: /named}}}}]
    rewrite: {{uri: /}}
    route: [{{destination: {{host: localhost, port: {{number: {admin}}}}}}}]
  - route: [{{destination: {{host: pinned.test}}}}]
"""
    conf.write_text(one_rule() + loop)
    words = ("--endpoint", f"pinned.test=127.0.0.1:{admin}", "--status", f"127.0.0.1:{status}")
    with gateway(tmp_path, str(conf), *words, admin=f"127.0.0.1:{admin}") as running:
        assert running.get("/ready").text == "LIVE\n"
        for path in ("/ready", "/named/ready"):
            answer = send(running, path, "loop.test")
            assert answer.status == 503
            assert "a_port_of_this_proxy_itself" not in answer.text, "a stranger is not told"
        (finding,) = (row for row in running.json("/api/v1/findings")["findings"] if row["code"] == "GWD0109")
        assert f"127.0.0.1:{admin}" in finding["message"]
        assert finding["file"].endswith("conf.yaml")
        assert "a port of this proxy itself" in running.said
