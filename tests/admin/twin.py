"""The real Envoy, started with nothing but what gatewayd's ``/config_dump`` says."""

from __future__ import annotations

import contextlib
import copy
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.admin.gateway import LIMIT_S, Reply, ask

_ENVOY = Path(sys.executable).parent / "envoy"
_POLL_S = 0.02
Message = dict[str, Any]


def sections(dump: Message) -> Message:
    """The elements of all messages of a dump, by section."""
    found: Message = {}
    for config in dump["configs"]:
        found |= {name: value for name, value in config.items() if name != "@type"}
    return found


def bootstrap(dump: Message, files: dict[str, tuple[str, str]]) -> Message:
    """A static configuration of a dump's own messages, on ports that the kernel chooses.

    What another server would send (routes, secrets) is put in its place; ``files``: certificate and key of each secret,
    for a dump holds no keys.
    """
    found = sections(copy.deepcopy(dump))
    for elements, name in (("dynamic_route_configs", "route_config"), ("dynamic_active_clusters", "cluster")):
        for each in found[elements]:
            del each[name]["@type"]  # there it is a message of any kind, in a static configuration of one
    for each in found["dynamic_listeners"]:
        del each["active_state"]["listener"]["@type"]
    routes = {each["route_config"]["name"]: each["route_config"] for each in found["dynamic_route_configs"]}
    listeners = [each["active_state"]["listener"] for each in found["dynamic_listeners"]]
    for listener in listeners:
        for place in (listener, *listener.pop("additional_addresses", ())):
            place["address"]["socket_address"]["port_value"] = 0
        for chain in listener["filter_chains"]:
            for each in chain["filters"]:
                config = each["typed_config"]
                if "rds" in config:
                    config["route_config"] = routes[config.pop("rds")["route_config_name"]]
    clusters = [each["cluster"] for each in found["dynamic_active_clusters"]]
    names: set[str] = set()
    for message in (listeners, clusters):
        _without_servers(message, names)
    secrets = [_secret(name, files) for name in sorted(names)]
    return {
        "node": found["bootstrap"]["node"],
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "static_resources": {"listeners": listeners, "clusters": clusters, "secrets": secrets},
    }


def _without_servers(message: Any, names: set[str]) -> None:
    """References to secrets that ADS would send become references to static ones; their names into ``names``."""
    if isinstance(message, list):
        for each in message:
            _without_servers(each, names)
    elif isinstance(message, dict):
        if message.pop("sds_config", None) is not None:
            names.add(message["name"])
        for each in message.values():
            _without_servers(each, names)


def _secret(name: str, files: dict[str, tuple[str, str]]) -> Message:
    if name.endswith("-cacert") or name.startswith("file-root:"):
        trusted, _ = files.get(name, next(iter(files.values())))
        return {"name": name, "validation_context": {"trusted_ca": {"filename": trusted}}}
    certificate, key = files[name]
    pair = {"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}}
    return {"name": name, "tls_certificate": pair}


@dataclass
class Twin:
    admin: int
    ports: dict[str, int]

    def get(self, path: str) -> Reply:
        """From the admin port."""
        return ask(self.admin, path)

    def json(self, path: str) -> Any:
        answer = self.get(path)
        assert answer.status == 200, answer.text
        return answer.json


@contextlib.contextmanager
def twin(folder: Path, settings: Message) -> Iterator[Twin]:
    """Envoy with ``settings``; AssertionError with what it said when it does not take them."""
    config, address, log = folder / "envoy.json", folder / "envoy-admin", folder / "envoy-log"
    config.write_text(json.dumps(settings))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(str(_ENVOY), "-c", str(config), "--admin-address-path", str(address)),
                *("--concurrency", "1", "--disable-hot-restart", "-l", "warning"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + LIMIT_S
        while not _is_live(address):
            assert process.poll() is None, f"Envoy refuses it:\n{log.read_text()[-3000:]}"
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(_POLL_S)
        admin = int(address.read_text().strip().rpartition(":")[2])
        statuses = ask(admin, "/listeners?format=json").json["listener_statuses"]
        ports = {each["name"]: each["local_address"]["socket_address"]["port_value"] for each in statuses}
        yield Twin(admin, ports)
    finally:
        process.kill()
        process.wait()


def _is_live(address: Path) -> bool:
    if not address.exists() or not address.read_text().strip():
        return False
    return ask(int(address.read_text().strip().rpartition(":")[2]), "/ready").text == "LIVE\n"
