"""The admin port against the real Envoy: the same paths, the same shapes, and a dump that an Envoy serves.

Envoy is started with the very messages of our ``/config_dump``. It reads them strictly, so a field that it does not
know or that is of another type ends the test before it begins; what it then says of itself is compared with ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.admin.gateway import Gateway, Reply, ask, gateway, upstream
from tests.admin.site import write_site
from tests.admin.twin import Twin, bootstrap, sections, twin

CONFIG = "type.googleapis.com/envoy.admin.v3."


@dataclass
class Both:
    ours: Gateway
    envoy: Twin
    #: the dump it was started with
    dump: dict[str, Any]

    def played(self, path: str, host: str = "shop.test", **headers: str) -> tuple[Reply, Reply]:
        """The same request to both listeners for HTTP."""
        given = {"host": host, **headers}
        (listener,) = (name for name in self.envoy.ports if name.endswith(f"_{self.ours.ports['80']}"))
        return ask(self.ours.ports["80"], path, headers=given), ask(
            self.envoy.ports[listener], path, headers=given
        )


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder: Path = tmp_path_factory.mktemp("site")
    with upstream("items") as items, upstream("site") as site:
        words = write_site(folder, items.server_port, site.server_port)
        with gateway(folder, *words, listen=(80, 443, 9000)) as ours:
            dump = ours.json("/config_dump?include_eds")
            secrets = folder / "secrets"
            files = {
                f"kubernetes://istio-system/{name}": (
                    str(secrets / name / "tls.crt"),
                    str(secrets / name / "tls.key"),
                )
                for name in ("shop-cert", "mutual-cert")
            }
            with twin(folder, bootstrap(dump, files)) as envoy:
                yield Both(ours, envoy, dump)


#: Empty values, and the word of an enumeration that stands for 0.
_NOTHING: tuple[Any, ...] = (False, 0, "", None, [], {}, "APPEND_IF_EXISTS_OR_ADD")


def plain(value: Any) -> Any:
    """A message without the fields that say what is meant without them."""
    if isinstance(value, dict):
        kept = {name: plain(each) for name, each in value.items() if name not in ("@type", "last_updated")}
        return {name: each for name, each in kept.items() if each not in _NOTHING}
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, str) and value.isdigit():
        return int(value)  # 64 bit numbers are text in JSON
    return value


def shape(value: Any) -> Any:
    """Names and types, the values left out; of a list that of all its items together."""
    if isinstance(value, dict):
        return {name: shape(each) for name, each in value.items()}
    if isinstance(value, list):
        merged: Any = {}
        for each in value:
            found = shape(each)
            merged = {**merged, **found} if isinstance(found, dict) else found
        return [merged]
    return type(value).__name__


# --- /config_dump


def test_the_messages_of_a_dump_are_envoy_s_and_in_its_order(both: Both) -> None:
    kinds = [config["@type"].removeprefix(CONFIG) for config in both.dump["configs"]]
    theirs = [
        config["@type"].removeprefix(CONFIG)
        for config in both.envoy.json("/config_dump?include_eds")["configs"]
    ]
    assert kinds == [kind for kind in theirs if kind != "ScopedRoutesConfigDump"]


def versions(cluster: dict[str, Any]) -> dict[str, list[str]]:
    """Which version of HTTP is spoken there, in the words of the messages."""
    (options,) = cluster["typed_extension_protocol_options"].values()
    return {name: sorted(options[name]) for name in options if name.endswith("_config")}


def test_clusters_say_which_version_is_spoken_there(both: Both) -> None:
    ours = {
        each["cluster"]["name"]: each["cluster"] for each in sections(both.dump)["dynamic_active_clusters"]
    }
    assert versions(ours["outbound|80||items.test"]) == {"explicit_http_config": ["http_protocol_options"]}
    assert versions(ours["outbound|80||streams.test"]) == {"explicit_http_config": ["http2_protocol_options"]}
    both_versions = ["http2_protocol_options", "http_protocol_options"]
    assert versions(ours["outbound|80||either.test"]) == {"use_downstream_protocol_config": both_versions}


def test_clusters_are_read_by_envoy_as_they_were_written(both: Both) -> None:
    ours = {
        each["cluster"]["name"]: plain(each["cluster"])
        for each in sections(both.dump)["dynamic_active_clusters"]
    }
    theirs = both.envoy.json("/config_dump?resource=static_clusters")["configs"]
    secure = ours["outbound|443||secure.test"]
    assert secure["transport_socket"]["typed_config"]["sni"] == "secure.test"
    assert {each["cluster"]["name"]: plain(each["cluster"]) for each in theirs} == ours


def test_routes_are_read_by_envoy_as_they_were_written(both: Both) -> None:
    ours = {
        each["route_config"]["name"]: plain(each["route_config"])
        for each in sections(both.dump)["dynamic_route_configs"]
    }
    theirs = both.envoy.json("/config_dump?resource=static_route_configs")["configs"]
    assert {each["route_config"]["name"]: plain(each["route_config"]) for each in theirs} == ours
    assert len(ours) == 3


def test_listeners_are_read_by_envoy_as_they_were_written(both: Both) -> None:
    def chains(listener: dict[str, Any]) -> Any:
        """What does not differ between static and dynamic ones."""
        found = []
        for chain in plain(listener)["filter_chains"]:
            for each in chain["filters"]:
                for name in ("rds", "route_config"):
                    each["typed_config"].pop(name, None)
            common = chain.get("transport_socket", {}).get("typed_config", {}).get("common_tls_context", {})
            for reference in common.get("tls_certificate_sds_secret_configs", ()):
                reference.pop("sds_config", None)
            context = common.get("combined_validation_context", {})
            context.get("validation_context_sds_secret_config", {}).pop("sds_config", None)
            found.append(chain)
        return found

    ours = {
        each["name"]: each["active_state"]["listener"] for each in sections(both.dump)["dynamic_listeners"]
    }
    theirs = {
        each["listener"]["name"]: each["listener"]
        for each in both.envoy.json("/config_dump?resource=static_listeners")["configs"]
    }
    assert theirs.keys() == ours.keys()
    for name, listener in ours.items():
        assert chains(theirs[name]) == chains(listener)
        assert theirs[name]["traffic_direction"] == listener["traffic_direction"]
        assert plain(theirs[name].get("listener_filters")) == plain(listener.get("listener_filters"))


def test_secrets_are_there_without_their_keys(both: Both) -> None:
    secrets = sections(both.dump)["dynamic_active_secrets"]
    assert {each["name"] for each in secrets} == {
        "kubernetes://istio-system/shop-cert",
        "kubernetes://istio-system/mutual-cert",
    }
    for each in secrets:
        pair = each["secret"]["tls_certificate"]
        assert pair["private_key"] == {"inline_bytes": "W3JlZGFjdGVkXQ=="}, "as Envoy redacts it"
        assert pair["certificate_chain"]["inline_bytes"]


@pytest.mark.parametrize(
    ("path", "host", "headers"),
    [
        ("/hello", "shop.test", {}),
        ("/hello", "other.shop.test", {}),
        ("/hello/", "shop.test", {}),
        ("/teapot", "shop.test", {"x-tea": "green"}),
        ("/teapot", "shop.test", {"x-tea": "black"}),
        ("/old/thing?x=1", "shop.test", {}),
        ("/port", "shop.test:80", {}),
        ("/api/7?x=1", "shop.test", {"x-user": "ann"}),
        ("/api/7", "shop.test", {}),
        ("/api/7", "shop.test", {"x-old": "1"}),
        ("/api/", "shop.test", {"origin": "https://a.test"}),
        ("/regex/abc", "shop.test", {}),
        ("/regex/123", "shop.test", {}),
        ("/faulty", "shop.test", {}),
        ("/nowhere", "shop.test", {}),
        ("/anything?q=1", "site.test", {}),
        ("/", "unknown.test", {}),
    ],
)
def test_an_envoy_that_serves_our_dump_answers_as_we_do(
    both: Both, path: str, host: str, headers: dict[str, str]
) -> None:
    ours, theirs = both.played(path, host, **headers)
    assert (ours.status, ours.body) == (theirs.status, theirs.body)
    for name in ("location", "x-answer", "access-control-allow-origin"):
        assert ours.headers.get(name) == theirs.headers.get(name)


@pytest.mark.parametrize(
    "query",
    [
        *("resource=bootstrap", "resource=nope", "name_regex=(", "mask=nope"),
        *("resource=static_clusters&name_regex=zzz", "resource=dynamic_warming_clusters"),
    ],
)
def test_a_dump_that_cannot_be_had_is_refused_in_the_same_way(both: Both, query: str) -> None:
    ours, theirs = both.ours.get(f"/config_dump?{query}"), both.envoy.get(f"/config_dump?{query}")
    assert ours.status == theirs.status
    if ours.status == 200:
        assert ours.json == theirs.json == {}


def test_one_resource_has_the_type_that_envoy_gives_it(both: Both) -> None:
    ours = both.ours.json("/config_dump?resource=dynamic_listeners")["configs"]
    assert {each["@type"] for each in ours} == {f"{CONFIG}ListenersConfigDump.DynamicListener"}
    ours = both.ours.json("/config_dump?resource=dynamic_active_clusters&name_regex=.*site.*")["configs"]
    theirs = both.envoy.json("/config_dump?resource=static_clusters&name_regex=.*site.*")["configs"]
    assert [each["cluster"]["name"] for each in ours] == [each["cluster"]["name"] for each in theirs]
    assert ours[0]["@type"] == theirs[0]["@type"].replace("StaticCluster", "DynamicCluster")


def test_a_mask_leaves_what_it_names(both: Both) -> None:
    ours = both.ours.json("/config_dump?resource=dynamic_active_clusters&mask=cluster.name,cluster.lb_policy")
    theirs = both.envoy.json("/config_dump?resource=static_clusters&mask=cluster.name,cluster.lb_policy")

    def clusters(dump: dict[str, Any]) -> list[Any]:
        return sorted(
            plain([each["cluster"] for each in dump["configs"]]), key=lambda each: str(each["name"])
        )

    assert clusters(ours) == clusters(theirs)
    mine, of_envoy = (
        port.json("/config_dump?mask=bootstrap.node.id")["configs"] for port in (both.ours, both.envoy)
    )
    assert mine == of_envoy
    (only,) = mine
    named = only["bootstrap"].pop("node").pop("id")
    assert only == {"@type": f"{CONFIG}BootstrapConfigDump", "bootstrap": {}}
    assert re.fullmatch(r"router~[0-9.]+~[^~]+[.]istio-system~istio-system[.]svc[.]cluster[.]local", named)


# --- the others


def test_clusters_as_json_have_envoy_s_shape(both: Both) -> None:
    both.played("/api/7?x=1")
    for port in (both.ours, both.envoy):
        port.statuses = {  # type: ignore[union-attr]  # kept for the comparison
            each["name"]: each for each in port.json("/clusters?format=json")["cluster_statuses"]
        }
    ours, theirs = both.ours.statuses, both.envoy.statuses  # type: ignore[union-attr,attr-defined]
    assert ours.keys() == theirs.keys()
    name = "outbound|80||items.test"
    known, expected = shape(ours[name]), shape(theirs[name])
    expected.pop("added_via_api", None)
    known.pop("added_via_api")  # ours came in while it ran
    known["circuit_breakers"].pop("thresholds")
    breakers = {
        each.get("priority", "DEFAULT"): each for each in theirs[name]["circuit_breakers"]["thresholds"]
    }
    expected["circuit_breakers"].pop("thresholds")
    assert known == expected
    assert ours[name]["circuit_breakers"]["thresholds"] == [breakers["DEFAULT"]]
    (host,), (other,) = ours[name]["host_statuses"], theirs[name]["host_statuses"]
    assert host["address"] == other["address"]
    assert [stat["name"] for stat in host["stats"]] == [stat["name"] for stat in other["stats"]]


def test_clusters_as_text_have_the_same_lines(both: Both) -> None:
    def keys(text: str) -> set[str]:
        return {line.rpartition("::")[0] for line in text.splitlines()}

    ours, theirs = keys(both.ours.get("/clusters").text), keys(both.envoy.get("/clusters").text)
    assert ours <= theirs
    rest = {line.split("::", 1)[1] for line in theirs - ours}
    assert all(line.startswith(("high_priority::", "outlier::")) for line in rest), rest


def test_listeners_have_envoy_s_shape(both: Both) -> None:
    ours, theirs = (port.json("/listeners?format=json") for port in (both.ours, both.envoy))
    assert shape(ours) == shape(theirs)
    names = {line.split("::")[0] for line in both.ours.get("/listeners").text.splitlines()}
    assert names == {line.split("::")[0] for line in both.envoy.get("/listeners").text.splitlines()}


def test_certificates_are_told_as_envoy_tells_them(both: Both) -> None:
    def serials(port: Gateway | Twin) -> dict[str, Any]:
        return {
            details["serial_number"].lstrip("0"): details
            for each in port.json("/certs")["certificates"]
            for details in each.get("cert_chain", ())
        }

    ours, theirs = serials(both.ours), serials(both.envoy)
    assert ours.keys() == theirs.keys()
    for serial, details in ours.items():
        expected = theirs[serial]
        assert shape(details) == shape(expected)
        for name in ("subject_alt_names", "days_until_expiration", "valid_from", "expiration_time"):
            assert details[name] == expected[name]


def test_the_server_says_who_it_is_with_envoy_s_words(both: Both) -> None:
    ours, theirs = both.ours.json("/server_info"), both.envoy.json("/server_info")
    assert set(theirs) - {"hot_restart_initializing"} == set(ours)
    assert ours["state"] == theirs["state"] == "LIVE"
    assert ours["node"]["id"] == theirs["node"]["id"]
    assert {"concurrency", "config_path", "log_level", "mode"} <= ours["command_line_options"].keys()
    assert both.ours.get("/ready").text == both.envoy.get("/ready").text


@pytest.mark.parametrize("path", ["/memory", "/runtime", "/hot_restart_version"])
def test_what_has_few_words_has_the_same(both: Both, path: str) -> None:
    ours, theirs = both.ours.get(path), both.envoy.get(path)
    assert (ours.status, ours.headers["content-type"].partition(";")[0]) == (
        theirs.status,
        theirs.headers["content-type"].partition(";")[0],
    )
    if path != "/hot_restart_version":
        assert shape(ours.json) == shape(theirs.json)
    else:
        assert ours.text == theirs.text


def test_stats_that_both_have_are_called_the_same(both: Both) -> None:
    both.played("/api/7?x=1")
    ours, theirs = (
        {line.partition(": ")[0] for line in port.get("/stats").text.splitlines()}
        for port in (both.ours, both.envoy)
    )
    for name in (
        "cluster.outbound|80||items.test.upstream_rq_total",
        "cluster.outbound|80||items.test.upstream_rq_2xx",
        "cluster.outbound|80||items.test.upstream_rq_200",
        "cluster.outbound|80||items.test.upstream_cx_active",
        "cluster.outbound|80||items.test.membership_healthy",
        "cluster.outbound|80||items.test.circuit_breakers.default.cx_open",
        "cluster.outbound|80||items.test.outlier_detection.ejections_active",
        "cluster_manager.active_clusters",
        "listener_manager.total_listeners_active",
        "server.live",
        "server.uptime",
    ):
        assert name in ours
        assert name in theirs
    prefix = f"http.outbound_127.0.0.1_{both.ours.ports['80']}."
    for leaf in (
        "downstream_rq_completed",
        "downstream_rq_2xx",
        "downstream_cx_active",
        "downstream_rq_active",
    ):
        assert prefix + leaf in ours & theirs
    # what is Envoy's own name in ours is one that Envoy has
    strangers = {name for name in ours if name.startswith(("cluster.", "http."))} - theirs
    assert not {name for name in strangers if not re.search(r"_rq_[1-5](xx|\d\d)$", name)}


def test_stats_as_json_have_envoy_s_shape(both: Both) -> None:
    both.played("/api/7?x=1")
    ours, theirs = (
        port.json("/stats?format=json&filter=membership_total") for port in (both.ours, both.envoy)
    )
    assert shape(ours) == shape(theirs)

    def by_name(found: dict[str, Any]) -> dict[str, int]:
        return {each["name"]: each["value"] for each in found["stats"]}

    assert by_name(ours) == by_name(theirs)
    histograms = [
        next(each["histograms"] for each in port.json("/stats?format=json&type=Histograms")["stats"])
        for port in (both.ours, both.envoy)
    ]
    assert histograms[0]["supported_quantiles"] == histograms[1]["supported_quantiles"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/stats?filter=(", 400),
        ("/stats?format=nope", 400),
        ("/nope", 404),
        ("/logging", 405),
        ("/quitquitquit", 405),
    ],
)
def test_what_is_wrong_has_envoy_s_status(both: Both, path: str, status: int) -> None:
    assert both.ours.get(path).status == both.envoy.get(path).status == status
