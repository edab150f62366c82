"""What this proxy calls itself, as Istio names a gateway: in spans, and in what the admin port says of it."""

from __future__ import annotations

import socket

from gatewayd.runtime.options import RunOptions


def node_id(options: RunOptions) -> str:
    """As Istio names a gateway: kind, address, name and domain."""
    name, namespace = socket.gethostname(), options.namespace
    return f"router~{_own_address()}~{name}.{namespace}~{namespace}.svc.{options.cluster_domain}"


def _own_address() -> str:
    """The address this machine would be reached from elsewhere: that of the default route; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
