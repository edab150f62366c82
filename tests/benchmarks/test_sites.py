"""The same routing table in three spellings, and requests that meet the rule they are made for."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import yaml

from benchmarks.macro import editor, envoy, istio, nginx, site
from benchmarks.macro.site import Rule


def matches(rule: Rule, path: str, tenant: str | None) -> bool:
    """What a rule means, written down plainly."""
    if rule.kind == "exact":
        return path == rule.path
    if rule.kind == "regex":
        return re.fullmatch(rule.path, path) is not None
    return path.startswith(rule.path) and (rule.kind == "prefix" or tenant == rule.tenant)


def test_each_request_meets_its_own_rule_and_no_other() -> None:
    rules = [site.mixed_rule(index) for index in range(200)]
    for index in range(200):
        path, tenant = site.rule_request(index)
        assert [number for number, rule in enumerate(rules) if matches(rule, path, tenant)] == [index]


def test_rules_are_a_mix_of_all_kinds() -> None:
    kinds = [site.mixed_rule(index).kind for index in range(100)]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "exact": 40,
        "prefix": 30,
        "regex": 20,
        "header": 10,
    }


def test_every_path_of_a_host_meets_one_of_its_rules() -> None:
    for path in site.HOST_RULE_PATHS:
        assert any(matches(rule, path, None) for rule in site.HOST_RULES)


def test_istio_files_stay_under_the_cap_and_hold_every_host(tmp_path: Path) -> None:
    istio.write_site(site.many_hosts_site(4_000, 8080), tmp_path)
    files = sorted(tmp_path.iterdir())
    assert len(files) > 1
    assert all(file.stat().st_size < 4 * 1024 * 1024 for file in files)
    hosts = [line for file in files for line in file.read_text().splitlines() if line.startswith('  - "h')]
    assert len(set(hosts)) == 4_000


@pytest.mark.parametrize(("layout", "files"), [("each", 13), ("one", 2)])
def test_documents_may_have_files_of_their_own_or_share_one(
    tmp_path: Path, layout: site.Layout, files: int
) -> None:
    made = dataclasses.replace(site.many_hosts_site(12, 8080), layout=layout)
    istio.write_site(made, tmp_path)
    assert len(list(tmp_path.iterdir())) == files
    documents = [each for file in tmp_path.iterdir() for each in yaml.safe_load_all(file.read_text())]
    assert [each["kind"] for each in documents].count("VirtualService") == 12
    assert len(documents) == 14


def test_the_editor_changes_one_document(tmp_path: Path) -> None:
    hosts = [site.VirtualHost(site.host_name(0), site.HOST_RULES)]
    hosts.append(site.VirtualHost(site.host_name(1), (Rule("exact", "/version-9"),)))
    istio.write_site(site.Site(tuple(hosts), 8080, layout="one"), tmp_path)
    file = tmp_path / "site.yaml"
    before = file.read_text()
    assert editor.change(file) == 10
    assert file.read_text() == before.replace("/version-9", "/version-10")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_istio_documents_are_the_rules_in_order() -> None:
    documents = list(istio.documents(site.many_rules_site(20, 8080)))
    gateway, entry = yaml.safe_load_all(documents[0])
    service = yaml.safe_load(documents[1])
    assert (gateway["kind"], entry["kind"]) == ("Gateway", "ServiceEntry")
    assert entry["spec"]["ports"][0]["targetPort"] == 8080
    rules = service["spec"]["http"]
    assert len(rules) == 20
    assert rules[0]["match"] == [{"uri": {"exact": "/shop/item-00000"}}]
    header_match = {"uri": {"prefix": "/tenant"}, "headers": {"x-tenant": {"exact": "t00009"}}}
    assert rules[9]["match"] == [header_match]


def test_envoy_has_the_same_rules_and_an_access_log(tmp_path: Path) -> None:
    bootstrap = json.loads(envoy.config(site.many_rules_site(20, 8080), 9090, tmp_path / "log"))
    listener = bootstrap["static_resources"]["listeners"][0]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    routes = manager["route_config"]["virtual_hosts"][0]["routes"]
    assert [route["match"] for route in routes[:1]] == [{"path": "/shop/item-00000"}]
    assert len(routes) == 20
    assert manager["access_log"][0]["typed_config"]["path"] == str(tmp_path / "log")


def test_nginx_has_the_same_hosts_and_an_access_log(tmp_path: Path) -> None:
    text = nginx.config(site.many_hosts_site(3, 8080), 9090, tmp_path, tmp_path / "log", buffered_log=True)
    assert text.count("server_name h") == 3
    assert text.count('location = "/cart"') == 3
    assert f"access_log {tmp_path}/log line buffer=64k flush=1s;" in text
    direct = nginx.config(site.plain_site(8080), 9090, tmp_path, tmp_path / "log", buffered_log=False)
    assert f"access_log {tmp_path}/log line;" in direct


def test_nginx_refuses_a_rule_it_has_no_form_for() -> None:
    with pytest.raises(ValueError, match="header"):
        nginx.location(Rule("header", "/tenant", "t1"))
