"""The Kubernetes manifests: valid for every version they say, free of privileges, and what they run serves."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from gatewayd.cli.values import read_duration
from tests.deploy.containerfile import Image
from tests.deploy.manifests import containers, documents, environment, gatewayd_of, one, pod
from tests.deploy.units import ROOT
from tests.runtime.running import get, running
from tests.support.h1_text import Headers
from tests.support.ports import PortReservation
from tests.support.raw_client import RawClient
from tests.support.recorder import Recorder

FOLDER = ROOT / "deploy" / "kubernetes"
KINDS = ["ingress", "sidecar"]
#: native sidecars came with 1.29; the last is what the schemas know
VERSIONS = ["1.29.0", "1.31.0", "1.33.0", kubernetes_validate.latest_version()]


@pytest.fixture(params=KINDS)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def found(name: str) -> list[dict[str, Any]]:
    return documents(FOLDER / name)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_document_is_valid(found: list[dict[str, Any]], version: str) -> None:
    for document in found:
        if document["kind"] != "Kustomization":
            kubernetes_validate.validate(document, version, strict=True)


def test_a_mistake_would_be_found(found: list[dict[str, Any]]) -> None:
    one(found, "Deployment")["spec"]["replica"] = 2
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(one(found, "Deployment"), VERSIONS[-1], strict=True)


def test_the_kustomization_names_what_is_there(name: str, found: list[dict[str, Any]]) -> None:
    kustomization = one(found, "Kustomization")
    files = {path.name for path in (FOLDER / name).glob("*.yaml")}
    assert set(kustomization["resources"]) == files - {"kustomization.yaml"}
    (generated,) = kustomization["configMapGenerator"]
    assert {FOLDER / name / file for file in generated["files"]} == set((FOLDER / name / "config").iterdir())
    assert generated["options"] == {"disableNameSuffixHash": True}, "a change is a reload, not a rollout"
    maps = {each["configMap"]["name"] for each in pod(found)["volumes"] if "configMap" in each}
    assert maps == {generated["name"]}
    images = {each["image"] for each in containers(pod(found))}
    assert images == {each["name"] for each in kustomization["images"]}


def test_labels_and_selectors_meet(found: list[dict[str, Any]]) -> None:
    template = one(found, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert one(found, "Deployment")["spec"]["selector"]["matchLabels"] == template
    assert one(found, "Service")["spec"]["selector"] == template
    ports = {port["name"] for port in gatewayd_of(pod(found))["ports"]}
    assert {port["targetPort"] for port in one(found, "Service")["spec"]["ports"]} <= ports
    for budget in (each for each in found if each["kind"] == "PodDisruptionBudget"):
        assert budget["spec"]["selector"]["matchLabels"] == template


def test_it_is_restricted_as_the_pod_security_standard_says(found: list[dict[str, Any]]) -> None:
    spec = pod(found)
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert all(set(volume) - {"name"} <= {"configMap", "secret", "emptyDir"} for volume in spec["volumes"])
    for container in containers(spec):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True
        assert "privileged" not in context
        assert not [port for port in container.get("ports", []) if "hostPort" in port]
        user = context.get("runAsUser", spec["securityContext"].get("runAsUser"))
        assert user
    namespace = [each for each in found if each["kind"] == "Namespace"]
    for each in namespace:
        assert each["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_nobody_speaks_to_the_api_server(found: list[dict[str, Any]]) -> None:
    assert pod(found)["automountServiceAccountToken"] is False
    assert not [each["kind"] for each in found if "Role" in each["kind"] or each["kind"] == "ServiceAccount"]


def test_gatewayd_runs_as_the_image_says_with_a_limit_of_memory(found: list[dict[str, Any]]) -> None:
    spec = pod(found)
    container = gatewayd_of(spec)
    user = container["securityContext"].get("runAsUser", spec["securityContext"].get("runAsUser"))
    assert f"{user}:{user}" == Image(ROOT / "deploy" / "Containerfile").one("USER")
    assert container["resources"]["limits"].keys() == {"memory"}, (
        "a limit of CPU throttles, and costs latency"
    )
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}


def test_there_is_time_to_drain(found: list[dict[str, Any]]) -> None:
    spec = pod(found)
    container = gatewayd_of(spec)
    variables = environment(container)
    before = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
    assert before[0] == "sleep"
    needed = float(before[1]) + read_duration(variables["GATEWAYD_SHUTDOWN_TIME"])
    assert spec["terminationGracePeriodSeconds"] >= needed + 5


def test_probes_ask_what_the_status_port_answers(found: list[dict[str, Any]]) -> None:
    container = gatewayd_of(pod(found))
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    image = Image(ROOT / "deploy" / "Containerfile").environment
    assert image["GATEWAYD_STATUS"] == f"0.0.0.0:{ports['status']}"
    assert image["GATEWAYD_METRICS"] == f"0.0.0.0:{ports['metrics']}"
    probes = {key: container[key]["httpGet"] for key in ("startupProbe", "readinessProbe", "livenessProbe")}
    assert {probe["port"] for probe in probes.values()} == {"status"}
    assert [probe["path"] for probe in probes.values()] == [
        "/healthz/ready",
        "/healthz/ready",
        "/healthz/live",
    ]


class TestTheIngress:
    def test_survives_a_node_and_a_rollout(self) -> None:
        found = documents(FOLDER / "ingress")
        deployment = one(found, "Deployment")["spec"]
        assert deployment["replicas"] >= 2
        assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        assert one(found, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1

    def test_its_ports_are_those_gatewayd_binds(self) -> None:
        container = gatewayd_of(pod(documents(FOLDER / "ingress")))
        bound = dict(pair.split("=") for pair in environment(container)["GATEWAYD_PORT_MAP"].split(","))
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        servers = yaml.safe_load((FOLDER / "ingress/config/gateway.yaml").read_text())["spec"]["servers"]
        for server in servers:
            assert int(bound[str(server["port"]["number"])]) == ports[server["port"]["name"]]


class TestTheSidecar:
    def test_is_a_native_one(self) -> None:
        spec = pod(documents(FOLDER / "sidecar"))
        assert [each["name"] for each in spec["initContainers"]] == ["gatewayd"]
        assert spec["initContainers"][0]["restartPolicy"] == "Always"
        assert "startupProbe" in spec["initContainers"][0], "the app waits until it is ready"


def serve_as_in_the_pod(name: str, ports: dict[int, int], *flags: str) -> Any:
    """gatewayd with the container's arguments and variables; ``ports``, of Gateways, and pins are the test's."""
    container = gatewayd_of(pod(documents(FOLDER / name)))
    assert container["args"] == ["run", "/etc/gatewayd/config"]
    env = environment(container) | {
        "GATEWAYD_STATUS": "127.0.0.1:0",
        "GATEWAYD_METRICS": "127.0.0.1:0",
        "GATEWAYD_ACCESS_LOG": "off",
        "GATEWAYD_PORT_MAP": ",".join(f"{number}={port}" for number, port in ports.items()),
    }
    return running("run", FOLDER / name / "config", *flags, env=env)


def free(*numbers: int) -> dict[int, int]:
    """A free port for each Gateway port."""
    held = [PortReservation(["0.0.0.0"]) for _ in numbers]
    ports = {number: each.port for number, each in zip(numbers, held, strict=True)}
    for each in held:
        each.release()
    return ports


async def test_the_ingress_serves_what_its_config_map_says() -> None:
    async with Recorder("shop") as shop:
        pin = ("--endpoint", f"shop.default.svc.cluster.local=127.0.0.1:{shop.port}")
        ports = free(80, 443)
        async with serve_as_in_the_pod("ingress", ports, *pin) as gateway:
            await gateway.until_said("Gateway port 443 of istio-system/edge")
            status, _, body = await get(ports[80], "/", "any.example")
            assert (status, body) == (200, b"shop")


async def test_the_sidecar_takes_in_and_lets_out() -> None:
    """In: to the app on the loopback. Out: what the app asks by its HTTP proxy, and nothing that no rule names."""
    async with Recorder("app") as app, Recorder("reviews") as reviews:
        pins = (
            "--endpoint", f"app.local=127.0.0.1:{app.port}",
            "--endpoint", f"reviews.default.svc.cluster.local=127.0.0.1:{reviews.port}",
        )  # fmt: skip
        numbers = free(8080, 15080)
        async with serve_as_in_the_pod("sidecar", numbers, *pins) as gateway:
            await gateway.until_said("Gateway port 15080 of istio-system/outbound")
            assert (await get(numbers[8080], "/in", "app"))[2] == b"app"
            proxied = await proxy_request(numbers[15080], "http://reviews.default/0")
            assert (proxied[0], proxied[2]) == (200, b"reviews")
            assert [seen.path for seen in reviews.seen] == ["/0"]
            assert (await proxy_request(numbers[15080], "http://elsewhere.example/"))[0] == 404


async def proxy_request(port: int, url: str) -> tuple[int, Headers, bytes]:
    """As a client with HTTP_PROXY asks: the whole URL in the request line."""
    host = url.split("/")[2]
    outcome = await RawClient(port).http(f"GET {url} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
    answer = outcome.responses[0]
    return answer.status, answer.headers, answer.body


async def test_the_app_of_the_example_is_in_the_image() -> None:
    spec = pod(documents(FOLDER / "sidecar"))
    (app,) = spec["containers"]
    python, *words = app["command"]
    assert python == "python"
    words[-1] = words[-1].rpartition("=")[0]  # a free port
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdout=asyncio.subprocess.PIPE, cwd=Path("/")
    )
    try:
        assert process.stdout is not None
        addresses = json.loads(await process.stdout.readline())
        port = int(addresses["app"].rpartition(":")[2])
        assert (await get(port, "/"))[0] == 200
    finally:
        process.terminate()
        assert await process.wait() == 0
