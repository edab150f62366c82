"""TCP proxies side by side: the same port, by SNI or not, in Istio YAML and in nginx, HAProxy and Envoy terms."""

import json
import os
import pwd
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.macro import envoy
from benchmarks.macro.processes import free_ports, spawn, stop, tree_cpu_ns, until
from benchmarks.macro.proxies import READY_TIMEOUT_S, Running
from benchmarks.macro.tools import tool

NGINX_STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
SERVER_NAME = "through.test"
_CLUSTER = "outbound|9000||upstream.test"


@dataclass(frozen=True)
class TcpLaunch:
    """What a proxy is started with; ``server_name``: taken by this SNI only, "" = plain TCP."""

    folder: Path
    port: int
    upstream_port: int
    server_name: str = ""

    @property
    def log(self) -> Path:
        """The access log."""
        return self.folder / "access.log"


_ISTIO = """\
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: bench, namespace: istio-system}}
spec:
  servers:
  - port: {{number: 9000, name: bytes, protocol: {protocol}}}
    hosts: ["{host}"]
{tls}---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: bytes, namespace: istio-system}}
spec:
  hosts: ["{host}"]
  gateways: [bench]
  {kind}:
  - match: [{match}]
    route: [{{destination: {{host: upstream.test, port: {{number: 9000}}}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: upstream, namespace: istio-system}}
spec:
  hosts: [upstream.test]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{number: 9000, name: tcp, protocol: TCP, targetPort: {upstream}}}]
  endpoints: [{{address: 127.0.0.1}}]
"""


def istio_text(launch: TcpLaunch) -> str:
    """The documents for gatewayd."""
    name = launch.server_name
    return _ISTIO.format(
        protocol="TLS" if name else "TCP",
        host=name or "*",
        tls="    tls: {mode: PASSTHROUGH}\n" if name else "",
        kind="tls" if name else "tcp",
        match=f"{{port: 9000, sniHosts: [{name}]}}" if name else "{port: 9000}",
        upstream=launch.upstream_port,
    )


def gatewayd_command(launch: TcpLaunch) -> list[str]:
    """Write the YAML; one worker."""
    path = launch.folder / "config.yaml"
    path.write_text(istio_text(launch))
    admin, status, metrics = free_ports(3)
    return [
        *(sys.executable, "-m", "gatewayd", "run", str(path), "--port-map", f"9000={launch.port}"),
        *("--bind", "127.0.0.1", "--workers", "1", "--access-log", str(launch.log)),
        *("--admin", f"127.0.0.1:{admin}", "--status", f"127.0.0.1:{status}"),
        *("--metrics", f"127.0.0.1:{metrics}"),
    ]


def nginx_text(launch: TcpLaunch) -> str:
    """A stream block with one worker."""
    user = f"user {pwd.getpwuid(os.geteuid()).pw_name};\n" if os.geteuid() == 0 else ""
    by_name = (
        f"  map $ssl_preread_server_name $name {{ {launch.server_name} origin; }}\n"
        if launch.server_name
        else ""
    )
    target = "ssl_preread on; proxy_pass $name;" if by_name else "proxy_pass origin;"
    return (
        f"{user}load_module {NGINX_STREAM_MODULE};\ndaemon off;\nworker_processes 1;\n"
        f"error_log {launch.folder}/error.log error;\npid {launch.folder}/nginx.pid;\n"
        "events { worker_connections 4096; }\nstream {\n"
        '  log_format line \'[$time_iso8601] $status $bytes_received $bytes_sent $session_time "$upstream_addr" '
        "$server_addr:$server_port $remote_addr:$remote_port';\n"
        f"  access_log {launch.log} line buffer=64k flush=1s;\n{by_name}"
        f"  upstream origin {{ server 127.0.0.1:{launch.upstream_port}; }}\n"
        f"  server {{ listen 127.0.0.1:{launch.port}; {target} }}\n}}\n"
    )


def nginx_command(launch: TcpLaunch) -> list[str]:
    """Raises FileNotFoundError with the line that installs what is missing."""
    if not NGINX_STREAM_MODULE.exists():
        raise FileNotFoundError("nginx has no stream module: apt-get install libnginx-mod-stream")
    path = launch.folder / "nginx.conf"
    path.write_text(nginx_text(launch))
    return [
        tool("nginx"), "-p", str(launch.folder), "-e", str(launch.folder / "error.log"), "-c", str(path),
    ]  # fmt: skip


def haproxy_text(launch: TcpLaunch) -> str:
    """One thread, splicing; the log goes to standard output, a file."""
    by_name = (
        "  tcp-request inspect-delay 5s\n  tcp-request content accept if { req.ssl_hello_type 1 }\n"
        f"  use_backend origin if {{ req.ssl_sni -i {launch.server_name} }}\n"
        if launch.server_name
        else "  default_backend origin\n"
    )
    return (
        "global\n  nbthread 1\n  maxconn 4096\n  log stdout format raw local0\n"
        "defaults\n  mode tcp\n  log global\n  option tcplog\n  option splice-request\n  option splice-response\n"
        "  timeout connect 10s\n  timeout client 1h\n  timeout server 1h\n"
        f"frontend front\n  bind 127.0.0.1:{launch.port}\n{by_name}"
        f"backend origin\n  server one 127.0.0.1:{launch.upstream_port}\n"
    )


def haproxy_command(launch: TcpLaunch) -> list[str]:
    """Write haproxy.cfg."""
    path = launch.folder / "haproxy.cfg"
    path.write_text(haproxy_text(launch))
    return [tool("haproxy"), "-db", "-q", "-f", str(path)]


def envoy_text(launch: TcpLaunch) -> str:
    """A TCP proxy filter, behind the TLS inspector when the name counts."""
    types = "type.googleapis.com/envoy.extensions"
    log = {
        "name": "file",
        "typed_config": {
            "@type": f"{types}.access_loggers.file.v3.FileAccessLog",
            "path": str(launch.log),
            "log_format": {"text_format_source": {"inline_string": envoy.LOG_LINE}},
        },
    }
    proxy = {
        "@type": f"{types}.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "bench",
        "cluster": _CLUSTER,
        "access_log": [log],
    }
    chain: dict[str, object] = {"filters": [{"name": "tcp", "typed_config": proxy}]}
    listener: dict[str, object] = {"name": "bench", "address": envoy.address(launch.port)}
    if launch.server_name:
        chain["filter_chain_match"] = {"server_names": [launch.server_name]}
        inspector = {"@type": f"{types}.filters.listener.tls_inspector.v3.TlsInspector"}
        listener["listener_filters"] = [{"name": "tls", "typed_config": inspector}]
    listener["filter_chains"] = [chain]
    endpoint = {"endpoint": {"address": envoy.address(launch.upstream_port)}}
    cluster = {
        "name": _CLUSTER,
        "type": "STATIC",
        "connect_timeout": "10s",
        "load_assignment": {"cluster_name": _CLUSTER, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}})


def envoy_command(launch: TcpLaunch) -> list[str]:
    """Write the bootstrap; one worker."""
    path = launch.folder / "envoy.json"
    path.write_text(envoy_text(launch))
    return [
        *(tool("envoy"), "-c", str(path), "--concurrency", "1"),
        *("--disable-hot-restart", "--log-level", "error"),
    ]


TCP_PROXIES: dict[str, Callable[[TcpLaunch], list[str]]] = {
    "gatewayd": gatewayd_command,
    "nginx": nginx_command,
    "haproxy": haproxy_command,
    "envoy": envoy_command,
}
"""In the order of the rounds."""


def accepts(port: int) -> bool:
    """Whether somebody listens."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def start_tcp(
    name: str, folder: Path, core: int | None, upstream_port: int, server_name: str = ""
) -> Running:
    """Start a proxy and wait until it accepts.

    Raises RuntimeError with the tail of its output when it ends or does not.
    """
    folder.mkdir(parents=True)
    launch = TcpLaunch(folder, free_ports(1)[0], upstream_port, server_name)
    output = folder / "output.log"
    command = TCP_PROXIES[name](launch)
    began = time.monotonic()
    process = spawn(command, core=core, output=output)
    ready = until(lambda: process.poll() is not None or accepts(launch.port), READY_TIMEOUT_S)
    if not ready or process.poll() is not None:
        stop(process)
        raise RuntimeError(f"{name} did not start: {' '.join(command)}\n{output.read_text()[-2000:]}")
    load_cpu_s = tree_cpu_ns(process.pid) / 1e9
    return Running(name, launch.port, launch.log, output, time.monotonic() - began, load_cpu_s, process)
