"""The response flags that this proxy sets (semantics 16.1): what each means, in a sentence, and what to do next."""

from __future__ import annotations

from typing import Final, NamedTuple


class Flag(NamedTuple):
    """For somebody who has just met it."""

    #: as Envoy says it at length
    name: str
    meaning: str
    #: what to look at, or to do
    next: str


FLAGS: Final[dict[str, Flag]] = {
    "NR": Flag(
        "NoRouteFound",
        "No rule takes the request, or no server the connection.",
        "`gatewayd explain METHOD URL --admin ADDRESS` says how far it comes and why no further.",
    ),
    "NC": Flag(
        "NoClusterFound",
        "The rule's destination is no known service, port or subset.",
        "`gatewayd get findings` names it; compare host, port and subset with Service and DestinationRule.",
    ),
    "UH": Flag(
        "NoHealthyUpstream",
        "The destination has no endpoint that may be used.",
        "`gatewayd get endpoints` says whether there is none, none is ready, or all are ejected for failures.",
    ),
    "UF": Flag(
        "UpstreamConnectionFailure",
        "No connection to the endpoint: refused, not in time, or its TLS failed.",
        "The log's transport failure says which; the right port, and TLS as in the DestinationRule?",
    ),
    "UO": Flag(
        "UpstreamOverflow",
        "A limit of the DestinationRule (connectionPool) is reached.",
        "`envoy_cluster_circuit_breakers_default_*` says which; raise it, or find out why the service is slow.",
    ),
    "UC": Flag(
        "UpstreamConnectionTermination",
        "The endpoint closed the connection before it answered.",
        "Its log at that time; if it ends idle connections, let them idle for less (idleTimeout), or retry.",
    ),
    "UR": Flag(
        "UpstreamRemoteReset", "The endpoint reset the request or the connection.", "Its log at that time."
    ),
    "UT": Flag(
        "UpstreamRequestTimeout",
        "The endpoint took longer than the rule allows (timeout, perTryTimeout).",
        "Compare the duration with the timeout of the rule; raise that, or look why the service is slow.",
    ),
    "UPE": Flag(
        "UpstreamProtocolError",
        "The endpoint broke the rules of HTTP, or broke off in the middle of an answer.",
        "The details say how; does it speak HTTP, and this version of it, on that port?",
    ),
    "URX": Flag(
        "UpstreamRetryLimitExceeded",
        "All attempts that are allowed failed.",
        "The flag beside it, or the status, says how the last one did; retries of the rule say how many there are.",
    ),
    "DC": Flag(
        "DownstreamConnectionTermination",
        "The client went away before it had the whole answer.",
        "Compare the duration with the timeout of the client, or of the load balancer before us.",
    ),
    "DR": Flag(
        "DownstreamRemoteReset",
        "The client took its request back (HTTP/2: RST_STREAM) before it had the whole answer.",
        "Compare the duration with the deadline or timeout of the client; gRPC clients do so when they cancel a call.",
    ),
    "DPE": Flag(
        "DownstreamProtocolError",
        "The client broke the rules of HTTP.",
        "The details say which; the client has to be mended.",
    ),
    "DT": Flag(
        "DurationTimeout",
        "It took longer than it may: a request's head to arrive, or a connection altogether.",
        "The details say which; is the client slow, or somebody holding connections open?",
    ),
    "SI": Flag(
        "StreamIdleTimeout",
        "Nothing moved for too long, in either direction.",
        "The stream's idle timeout ended it; long pauses want a timeout of the rule, or something said now and then.",
    ),
    "DF": Flag(
        "DnsResolutionFailed",
        "The name of the destination could not be resolved.",
        "The details say how DNS answered; ask the same server for the name.",
    ),
    "DI": Flag(
        "DelayInjected",
        "A fault of the rule made the request wait.",
        "fault.delay of the rule; it is meant so.",
    ),
    "FI": Flag(
        "FaultInjected",
        "A fault of the rule answered in place of the service.",
        "fault.abort of the rule; it is meant so.",
    ),
}


def explained(flags: str) -> list[dict[str, str]]:
    """What is known of each of the ``flags`` of the access log."""
    return [{"flag": name, **FLAGS[name]._asdict()} for name in flags.split(",") if name in FLAGS]
