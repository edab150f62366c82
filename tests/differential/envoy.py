"""The real Envoy as a process, with the configuration istiod would give it for plain HTTP."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

_READY_S: Final = 30.0
_POLL_S: Final = 0.02
_ANY: Final = "type.googleapis.com/"
_LOG_FIELDS: Final = {
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "case": "%REQ(USER-AGENT)%",
    "upstream_cluster": "%UPSTREAM_CLUSTER_RAW%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
}
_INSPECTOR: Final = {
    "name": "envoy.filters.listener.tls_inspector",
    "typed_config": {"@type": _ANY + "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"},
}
#: Further fields of a cluster that is spoken to in HTTP/2.
HTTP2: Final[dict[str, Any]] = {
    "typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": _ANY + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
}
#: What istiod writes on every route without ``retries`` (semantics 6.7.1, 6.7.6).
DEFAULT_RETRY: Final[dict[str, Any]] = {
    "retry_on": "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes",
    "num_retries": 2,
    "retry_host_predicate": [
        {
            "name": "envoy.retry_host_predicates.previous_hosts",
            "typed_config": {
                "@type": _ANY + "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
            },
        }
    ],
    "host_selection_retry_max_attempts": 5,
}


def route(prefix: str, cluster: str = "", **fields: Any) -> dict[str, Any]:
    """A route by prefix with istiod's defaults; ``action`` adds to its RouteAction, other fields to the route."""
    action = {"cluster": cluster, "timeout": "0s", "retry_policy": DEFAULT_RETRY, "max_grpc_timeout": "0s"}
    if not cluster:
        del action["cluster"]
    action |= fields.pop("action", {})
    return {"match": {"prefix": prefix}, "route": action, **fields}


def cluster(name: str, ports: Sequence[int], **fields: Any) -> dict[str, Any]:
    """A STATIC cluster on the loopback with istiod's defaults."""
    unlimited = 4294967295
    limits = {
        "max_connections": unlimited,
        "max_pending_requests": unlimited,
        "max_requests": unlimited,
        "max_retries": unlimited,
    }
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}}
        for port in ports
    ]
    return {
        "name": name,
        "type": "STATIC",
        "lb_policy": "LEAST_REQUEST",
        "connect_timeout": "10s",
        "circuit_breakers": {"thresholds": [limits]},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        **fields,
    }


def downstream_tls(certificate: Path, key: Path, alpn: Sequence[str] = ("h2", "http/1.1")) -> dict[str, Any]:
    """The transport socket of a filter chain that terminates TLS as istiod has it."""
    pair = {"certificate_chain": {"filename": str(certificate)}, "private_key": {"filename": str(key)}}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _ANY + "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            "common_tls_context": {"tls_certificates": [pair], "alpn_protocols": list(alpn)},
        },
    }


def upstream_tls(sni: str, alpn: Sequence[str] = ()) -> dict[str, Any]:
    """The transport socket of a cluster that is spoken to over TLS, whatever certificate it shows."""
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _ANY + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "common_tls_context": {"alpn_protocols": list(alpn)},
            "sni": sni,
        },
    }


class EnvoyProcess:
    """A running Envoy with one HTTP listener; use ``async with EnvoyProcess(routes, clusters) as envoy``."""

    def __init__(
        self,
        routes: Sequence[Mapping[str, Any]],
        clusters: Sequence[Mapping[str, Any]],
        *,
        filters: Sequence[Mapping[str, Any]] = (),
        manager: Mapping[str, Any] | None = None,
        hosts: Sequence[str] = ("*",),
        tls: Mapping[str, Any] | None = None,
        log_fields: Mapping[str, str] = _LOG_FIELDS,
    ) -> None:
        """``filters`` stand before the router; ``manager`` adds to the HttpConnectionManager.

        hosts: of the one virtual host. tls: transport socket of the listener, see ``downstream_tls``.
        log_fields: name -> format of the access log.
        """
        self.port = 0
        self._folder = tempfile.TemporaryDirectory(prefix="gatewayd-envoy-")
        self._home = Path(self._folder.name)
        self._log = self._home / "access.log"
        manager = {"access_log": [_file_log(self._log, log_fields)], **(manager or {})}
        self._settings = _bootstrap(routes, clusters, filters, manager, hosts, tls)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> EnvoyProcess:
        program = shutil.which("envoy", path=str(Path(sys.executable).parent)) or "envoy"
        settings, address = self._home / "envoy.json", self._home / "admin"
        settings.write_text(json.dumps(self._settings))
        with (self._home / "stderr").open("wb") as output:
            self._process = await asyncio.create_subprocess_exec(
                program,
                *("-c", str(settings), "--concurrency", "1", "--use-dynamic-base-id", "-l", "warning"),
                *("--admin-address-path", str(address), "--file-flush-interval-msec", "20"),
                stdout=output,
                stderr=output,
            )
        try:
            self.port = await self._listening(address)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()
        self._folder.cleanup()

    async def _listening(self, address: Path) -> int:
        """The listener's port, once Envoy is live."""
        assert self._process is not None
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline and self._process.returncode is None:
            if text := _text(address):
                listeners = await _get(text, "/listeners?format=json")
                statuses = json.loads(listeners or "{}").get("listener_statuses", [])
                ready = await _get(text, "/ready")
                if statuses and ready is not None and "LIVE" in ready:
                    return int(statuses[0]["local_address"]["socket_address"]["port_value"])
            await asyncio.sleep(_POLL_S)
        raise RuntimeError(f"Envoy did not start: {_text(self._home / 'stderr')[-2000:]}")

    async def statistics(self, prefix: str) -> dict[str, int]:
        """Counters and gauges whose name begins with ``prefix``, without it."""
        text = await _get(_text(self._home / "admin"), f"/stats?filter=^{prefix}") or ""
        lines = (line.partition(": ") for line in text.splitlines())
        return {name.removeprefix(prefix): int(value) for name, _, value in lines if value.isdigit()}

    async def records(self, count: int, timeout_s: float = 20.0) -> list[dict[str, Any]]:
        """The access log, once it has ``count`` lines."""
        deadline = time.monotonic() + timeout_s
        while True:
            lines = _text(self._log).splitlines()
            if len(lines) >= count:
                return [json.loads(line) for line in lines]
            if time.monotonic() >= deadline:
                raise AssertionError(f"Envoy logged {len(lines)} requests of {count}")
            await asyncio.sleep(_POLL_S)


def _text(file: Path) -> str:
    """What stands in ``file`` so far."""
    return file.read_text() if file.exists() else ""


async def _get(address: str, path: str) -> str | None:
    host, _, port = address.rpartition(":")
    try:
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n".encode())
        data = await reader.read()
        writer.close()
    except OSError:
        return None
    head, _, body = data.partition(b"\r\n\r\n")
    if b"chunked" in head.lower():
        body = b"".join(body.split(b"\r\n")[1::2])
    return body.decode()


def _file_log(file: Path, fields: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": _ANY + "envoy.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(file),
            "log_format": {"json_format": dict(fields)},
        },
    }


def _bootstrap(
    routes: Sequence[Mapping[str, Any]],
    clusters: Sequence[Mapping[str, Any]],
    filters: Sequence[Mapping[str, Any]],
    manager: Mapping[str, Any],
    hosts: Sequence[str],
    tls: Mapping[str, Any] | None,
) -> dict[str, Any]:
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": _ANY + "envoy.extensions.filters.http.router.v3.Router"},
    }
    connection_manager = {
        "@type": _ANY + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "outbound",
        "use_remote_address": True,
        "normalize_path": True,
        "server_name": "istio-envoy",
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "stream_idle_timeout": "0s",
        "proxy_100_continue": True,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {
            "validate_clusters": False,
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": list(hosts),
                    "include_request_attempt_count": True,
                    "routes": list(routes),
                }
            ],
        },
        "http_filters": [*filters, router],
        **manager,
    }
    return {
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
        "node": {"id": "test", "cluster": "test"},
        "static_resources": {
            "listeners": [
                {
                    "name": "http",
                    "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                    "listener_filters": [_INSPECTOR] if tls else [],
                    "filter_chains": [
                        {
                            "filters": [
                                {
                                    "name": "envoy.filters.network.http_connection_manager",
                                    "typed_config": connection_manager,
                                }
                            ],
                            **({"transport_socket": tls} if tls else {}),
                        }
                    ],
                }
            ],
            "clusters": list(clusters),
        },
    }
