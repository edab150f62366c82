"""A site as an nginx configuration: one worker, keep-alive upstream, the others' log line."""

import os
import pwd
from pathlib import Path

from benchmarks.macro.site import Rule, Site, VirtualHost

_MAIN = """\
{user}daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
error_log {folder}/error.log error;
pid {folder}/nginx.pid;
events {{ worker_connections 20000; }}
http {{
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
"""

_PROXY = """\
  log_format line '[$time_iso8601] "$request" $status - via_upstream - "-" $request_length $body_bytes_sent '
    '$request_time $upstream_response_time "$proxy_add_x_forwarded_for" "$http_user_agent" "$request_id" '
    '"$http_host" "$upstream_addr" upstream - $server_addr:$server_port $remote_addr:$remote_port - '
    '$server_name';
  access_log {log} line{log_buffer};
  keepalive_requests 1000000000;
  keepalive_timeout 3600s;
  server_names_hash_max_size 262144;
  server_names_hash_bucket_size 128;
  client_max_body_size 0;
  proxy_http_version 1.1;
  proxy_request_buffering off;
  proxy_max_temp_file_size 0;
  proxy_set_header Connection "";
  proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Request-Id $request_id;
  grpc_set_header Host $http_host;
  grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  grpc_set_header X-Forwarded-Proto $scheme;
  grpc_set_header X-Request-Id $request_id;
  upstream origin {{
    server 127.0.0.1:{upstream};
    keepalive 128;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
  }}
"""


def main_section(folder: Path) -> str:
    """The head of a configuration that keeps every file below `folder`; ends inside `http {`."""
    # nginx started by root changes to nobody, who may not read a private temporary folder.
    user = f"user {pwd.getpwuid(os.geteuid()).pw_name};\n" if os.geteuid() == 0 else ""
    return _MAIN.format(user=user, folder=folder)


def location(rule: Rule, target: str = "proxy_pass http://origin") -> str:
    """One location block. nginx has no natural form for a header match, so such a rule is refused."""
    if rule.kind == "header":
        raise ValueError("nginx sites have no header rules")
    sign = {"exact": "= ", "prefix": "", "regex": "~ "}[rule.kind]
    path = f"^{rule.path}$" if rule.kind == "regex" else rule.path
    return f'    location {sign}"{path}" {{ {target}; }}\n'


def server(host: VirtualHost, site: Site, port: int) -> str:
    """One server block."""
    listen = f"listen 127.0.0.1:{port}" + (" http2" if site.http2 else "")
    if host.certificate is not None:
        listen += (
            f" ssl;\n    ssl_certificate {host.certificate.certificate};"
            f"\n    ssl_certificate_key {host.certificate.private_key};"
            "\n    ssl_protocols TLSv1.2 TLSv1.3"
        )
    name = "_" if host.host == "*" else host.host
    target = "grpc_pass grpc://origin" if site.upstream_http2 else "proxy_pass http://origin"
    body = "".join(location(rule, target) for rule in host.rules)
    return f"  server {{\n    {listen};\n    server_name {name};\n{body}  }}\n"


def config(site: Site, port: int, folder: Path, log: Path, *, buffered_log: bool) -> str:
    """The whole configuration; `buffered_log` writes the log in blocks, as Envoy and gatewayd do."""
    log_buffer = " buffer=64k flush=1s" if buffered_log else ""
    proxy = _PROXY.format(log=log, log_buffer=log_buffer, upstream=site.upstream_port)
    return main_section(folder) + proxy + "".join(server(host, site, port) for host in site.hosts) + "}\n"
