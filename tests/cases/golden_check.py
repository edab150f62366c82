"""Compares what came of a golden call with what Istio and Envoy did; each difference is one line of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.cases.loading import Call, Case
from tests.cases.observed import Observed
from tests.cases.patterns import body_alike, header_differences, show_body, text_alike
from tests.cases.port_plan import PortPlan
from tests.cases.tls_check import (
    certificate_header_differences,
    client_tls_differences,
    is_passthrough,
    tls_bytes_alike,
    upstream_tls_differences,
)
from tests.support.h1_text import Headers
from tests.support.raw_client import Outcome, Response
from tests.support.recorder import Seen

ELAPSED_SLACK_MS = 150
SOME_DATE = "Thu, 01 Jan 1970 00:00:00 GMT"
# What is left of a timeout after a retry hangs on the jitter of the back-off (25 ms and more).
RETRY_SLACK_MS = {"x-envoy-expected-rq-timeout-ms": 40.0, "grpc-timeout": 40.0}
# Key of a golden log line -> key of our JSON line. Those in ABSENT_IS_DASH were left out when they were "-".
LOG_KEYS = {
    "status": "response_code",
    "flags": "response_flags",
    "details": "response_code_details",
    "termination": "connection_termination_details",
}
BYTE_COUNTS = ("bytes_received", "bytes_sent")
ABSENT_IS_DASH = (
    "authority",
    "upstream_host",
    "upstream_cluster",
    "requested_server_name",
    "route_name",
    "upstream_transport_failure_reason",
    "connection_termination_details",
)


def check_call(case: Case, call: Call, observed: Observed, plan: PortPlan) -> list[str]:
    """Differences of a single call."""
    expect = call.data["expect"]
    if "consistentHash" in case.config:
        expect = _with_picked_host(expect, observed, case)
    outcome = observed.outcomes[0]
    back = Back(plan, observed.listener_ports, case.config)
    client = expect.get("client") or {}
    differences = _client_differences(client, outcome, back)
    if "tls" in call.data and isinstance(client, Mapping) and not differences:
        differences += client_tls_differences(client.get("tls") or {}, call.data["tls"] or {}, outcome.tls)
    differences += _upstream_differences(expect.get("upstream") or [], observed, back)
    differences += _log_differences(
        expect.get("log") or [], observed, plan, encrypted=is_passthrough(case, client)
    )
    if "elapsed_ms" in expect and abs(outcome.elapsed_ms - expect["elapsed_ms"]) > ELAPSED_SLACK_MS:
        differences.append(f"elapsed: expected {expect['elapsed_ms']} ms, came {outcome.elapsed_ms:.0f} ms")
    return differences


def same_end(outcome: str) -> str:
    """A reset reads as a close: the golden README lets one stand for the other."""
    return "closed" if outcome == "reset" else outcome


@dataclass(frozen=True)
class Back:
    """Turns the port numbers of this run into the recorded ones."""

    plan: PortPlan
    listeners: Mapping[str, str]
    config: str = ""

    def text(self, text: str) -> str:
        """All ports; long texts are left alone."""
        return self.plan.in_result(text, self.listeners) if len(text) < 2000 else text

    def data(self, data: bytes) -> bytes:
        """All ports, in bytes."""
        return self.text(data.decode("latin-1")).encode("latin-1")

    def response(self, headers: Headers) -> Headers:
        """Headers as a client got them: upstream ports only, for a listener's free port shown is a fault.

        The recordings normalised ``date`` by its name, so a date the configuration sets reads ``<date>`` too
        (Envoy keeps one that is there, semantics 14.7.2).
        """
        headers = [
            (name, SOME_DATE if name == "date" and f"date: {value}" in self.config else value)
            for name, value in headers
        ]
        return [(name, self.plan.in_result(value) if len(value) < 2000 else value) for name, value in headers]


def _client_differences(expect: Mapping[str, Any] | Sequence[Any], came: Outcome, back: Back) -> list[str]:
    whole: Mapping[str, Any] = (
        expect if isinstance(expect, Mapping) else {"outcome": "response", "responses": expect}
    )
    wanted = str(whole.get("outcome", "response"))
    if same_end(wanted) != same_end(came.outcome):
        text = f"outcome: expected {wanted}, came {came.outcome}"
        if came.responses:
            text += f" {came.response.status} {show_body(came.response.body)}"
        elif came.data:
            text += f" {came.data!r}"
        return [f"{text} {came.error}".rstrip()]
    differences: list[str] = []
    if wanted == "response":
        expected = expected_responses(whole)
        if len(came.responses) < len(expected):
            differences.append(f"responses: expected {len(expected)}, came {len(came.responses)}")
        for number, (each, response) in enumerate(zip(expected, came.responses, strict=False), start=1):
            label = f"response {number}: " if len(expected) > 1 else ""
            differences += [label + text for text in _response_differences(each, response, back)]
    elif wanted == "stream_reset" and whole.get("h2_error", came.h2_error) != came.h2_error:
        differences.append(f"h2_error: expected {whole['h2_error']}, came {came.h2_error}")
    elif wanted == "data" and not body_alike(whole.get("data"), back.data(came.data)):
        differences.append(f"data: expected {whole.get('data')!r}, came {came.data!r}")
    # How long an answered connection that was told to close stays open is the proxy's own affair.
    tunnelled = bool(came.responses) and came.responses[-1].status == 101
    told = tunnelled or any(
        "close" in value.lower() for r in came.responses for value in r.values("connection")
    )
    if "after" in whole and came.after != whole["after"] and not told:
        differences.append(f"after: expected connection {whole['after']}, came {came.after}")
    unasked = "extra_bytes" in whole or not (tunnelled or whole.get("after") == "data")
    if unasked and not body_alike(whole.get("extra_bytes"), came.extra):
        differences.append(
            f"extra bytes: expected {whole.get('extra_bytes') or ''!r}, came {show_body(came.extra)}"
        )
    return differences


def expected_responses(client: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The responses a client expectation speaks of: itself, and those of a list of responses in it."""
    more = [
        part
        for key, value in client.items()
        if key != "interim" and isinstance(value, list)
        for part in value
        if isinstance(part, Mapping) and "status" in part
    ]
    return [client, *more] if "status" in client or not more else more


def _response_differences(expect: Mapping[str, Any], came: Response, back: Back) -> list[str]:
    differences = []
    for key, value in (("status", came.status), ("version", came.version)):
        if key in expect and expect[key] != value:
            differences.append(f"{key}: expected {expect[key]}, came {value}")
    differences += [
        f"response {text}"
        for text in header_differences(expect.get("headers") or [], back.response(came.headers))
    ]
    body = came.tunnel if came.status == 101 and expect.get("body") else came.body
    if not body_alike(expect.get("body"), body):
        differences.append(f"body: expected {_show(expect.get('body'))}, came {show_body(came.body)}")
    differences += [
        f"trailer {text}" for text in header_differences(expect.get("trailers") or [], came.trailers)
    ]
    wanted, got = expect.get("interim") or [], came.interim
    statuses = [int(head.start_line.split(" ")[1]) for head in got]
    if [each["status"] for each in wanted] != statuses:
        differences.append(f"interim: expected {[each['status'] for each in wanted]}, came {statuses}")
    else:
        for each, head in zip(wanted, got, strict=True):
            differences += [
                f"interim {text}" for text in header_differences(each.get("headers") or [], head.headers)
            ]
    if (expect.get("truncated") is None) != (came.truncated is None):
        differences.append(f"truncated: expected {expect.get('truncated')}, came {came.truncated}")
    if expect.get("h2_error", "") != came.h2_error:
        differences.append(f"h2_error: expected {expect.get('h2_error')}, came {came.h2_error or None}")
    for key in ("tunnel", "tunnel_data"):
        if key in expect and not body_alike(expect[key], came.tunnel):
            differences.append(f"tunnel: expected {expect[key]!r}, came {came.tunnel!r}")
    return differences


def _show(body: Any) -> str:
    return show_body(str(body or "").encode("utf-8")) if not isinstance(body, Mapping) else repr(body)


def _upstream_differences(expect: Sequence[Mapping[str, Any]], observed: Observed, back: Back) -> list[str]:
    names = dict.fromkeys([*(entry["upstream"] for entry in expect), *observed.seen])
    differences = []
    for name in names:
        wanted = [entry for entry in expect if entry["upstream"] == name]
        came = observed.seen.get(name, [])
        if len(wanted) != len(came):
            lines = [f"{seen.method} {seen.path}".strip() or seen.protocol for seen in came]
            differences.append(f"upstream {name}: expected {len(wanted)} requests, came {len(came)} {lines}")
            continue
        for number, (each, seen) in enumerate(zip(wanted, came, strict=True), start=1):
            label = f"upstream {name}" if len(wanted) == 1 else f"upstream {name} request {number}"
            differences += [f"{label} {text}" for text in _seen_differences(each, seen, back, number)]
    return differences


def _seen_differences(expect: Mapping[str, Any], seen: Seen, back: Back, attempt: int) -> list[str]:
    differences = []
    if expect.get("protocol") == "tcp":
        data = back.data(seen.body)
        if not body_alike(expect.get("data"), data):
            differences.append(f"data: expected {expect.get('data')!r}, came {data!r}")
    else:
        for key, value in (("method", seen.method), ("path", seen.path), ("version", seen.version)):
            if key in expect and not text_alike(str(expect[key]), value):
                differences.append(f"{key}: expected {_short(expect[key])}, came {_short(value)}")
        for key, value in (("authority", seen.authority), ("scheme", seen.scheme)):
            if expect.get(key) != value:
                differences.append(f"{key}: expected {expect.get(key)}, came {value}")
        headers: Headers = [(name, back.text(value)) for name, value in seen.headers]
        slack = RETRY_SLACK_MS if attempt > 1 else None
        differences += header_differences(expect.get("headers") or [], headers, slack=slack)
        if bool(expect.get("chunked")) != seen.chunked:
            differences.append(f"chunked: expected {bool(expect.get('chunked'))}, came {seen.chunked}")
        if bool(expect.get("truncated")) != seen.truncated:
            differences.append(f"truncated: expected {bool(expect.get('truncated'))}, came {seen.truncated}")
        if ("body" in expect or not seen.truncated) and not body_alike(expect.get("body"), seen.body):
            differences.append(f"body: expected {_show(expect.get('body'))}, came {show_body(seen.body)}")
        differences += [
            f"trailer {text}"
            for text in header_differences(expect.get("trailers") or [], seen.content.trailers)
        ]
        for key in ("tunnel", "data"):
            if key in expect and not body_alike(expect[key], bytes(seen.tunnel)):
                differences.append(f"tunnel: expected {expect[key]!r}, came {bytes(seen.tunnel)!r}")
    differences += upstream_tls_differences(expect.get("tls"), seen.tls)
    differences += certificate_header_differences(seen.headers)
    return differences


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else f"{text[:80]}... ({len(text)} characters)"


def _log_differences(
    expect: Sequence[Mapping[str, Any]], observed: Observed, plan: PortPlan, *, encrypted: bool
) -> list[str]:
    if len(expect) != len(observed.log):
        lines = [_log_words(line) for line in observed.log]
        return [f"log: expected {len(expect)} lines, came {len(lines)} {lines}"]
    differences = []
    for wanted, line in zip(expect, observed.log, strict=True):
        for key, value in _log_wishes(wanted).items():
            came = _log_value(line, key)
            if key in ("upstream_host", "upstream_cluster", "authority", "upstream_transport_failure_reason"):
                came = plan.in_result(came, observed.listener_ports)
            alike = tls_bytes_alike if encrypted and key in BYTE_COUNTS else text_alike
            if not alike(value, came):
                differences.append(f"log {key}: expected {_short(value)}, came {_short(came)}")
    return differences


def _log_wishes(wanted: Mapping[str, Any]) -> dict[str, str]:
    wishes = {key: str(value) for key, value in wanted.items()}
    wishes.setdefault("request", "- - -")
    for key in ABSENT_IS_DASH:
        wishes.setdefault(key, "-")
    return wishes


def _log_value(line: Mapping[str, Any], key: str) -> str:
    if key == "request":
        return " ".join(_dash(line.get(part)) for part in ("method", "path", "protocol"))
    return _dash(line.get(LOG_KEYS.get(key, key)))


def _dash(value: Any) -> str:
    return "-" if value is None or value == "" else str(value)


def _log_words(line: Mapping[str, Any]) -> str:
    return " ".join(_log_value(line, key) for key in ("request", "status", "flags", "details"))


def _with_picked_host(expect: Mapping[str, Any], observed: Observed, case: Case) -> Mapping[str, Any]:
    """The expectation as if the hash had picked the host it did pick: the identity is informative."""
    wanted = [entry["upstream"] for entry in expect.get("upstream") or []]
    came = [name for name, entries in observed.seen.items() if entries]
    if len(wanted) != 1 or len(came) != 1 or wanted == came:
        return expect
    old, new = wanted[0], came[0]
    ports = {
        upstream["name"]: f"{upstream['host']}:{upstream['port']}" for upstream in case.data["upstreams"]
    }
    client = dict(expect.get("client") or {})
    sizes = {str(len(old)): str(len(new))} if client.get("body") == old else {}
    if sizes:
        client["body"] = new
        client["headers"] = [
            [name, sizes.get(value, value) if name == "content-length" else value]
            for name, value in client["headers"]
        ]
    log = []
    for line in expect.get("log") or []:
        changed = dict(line)
        if line.get("upstream_host") == ports[old]:
            changed["upstream_host"] = ports[new]
        if sizes and line.get("bytes_sent") == len(old):
            changed["bytes_sent"] = len(new)
        log.append(changed)
    upstream = [{**entry, "upstream": new} for entry in expect["upstream"]]
    return {**expect, "client": client, "log": log, "upstream": upstream}
