"""Since when a field is honoured, and the test that shows it; for the page about support.

Keys are field patterns as in `support.py`. An entry speaks for the field it names and everything below it; of
several the longest counts.
"""

from collections.abc import Mapping

from gatewayd.resources.unsupported import expand

_POLICY = "DestinationRule.spec.<|subsets[].>trafficPolicy"
_EITHER = f"{_POLICY}.<|portLevelSettings[].>"
_MESH = "MeshConfig.defaultTrafficPolicy"
_MATCH = "VirtualService.spec.http[].match[]"
_COMPILER = "tests/compiler/test_"
_BESIDE = "tests/differential/test_"

#: The version that first honours what the pattern covers. What is listed later is longer.
SINCE: Mapping[str, str] = {
    "Gateway": "0.1",
    "VirtualService": "0.1",
    "DestinationRule": "0.1",
    "ServiceEntry": "0.1",
    "WorkloadEntry": "0.1",
    "Telemetry": "0.1",
    "MeshConfig": "0.1",
}

#: The file of the tests of what the pattern covers.
TESTS: Mapping[str, str] = {
    "Gateway.spec": f"{_COMPILER}gateways.py",
    "Gateway.spec.servers[].tls": f"{_COMPILER}server_tls.py",
    "VirtualService.spec": f"{_COMPILER}binding.py",
    "VirtualService.spec.tls": f"{_COMPILER}tls_routes.py",
    "VirtualService.spec.tcp": f"{_COMPILER}tcp_routes.py",
    "VirtualService.spec.http[].name": f"{_COMPILER}actions.py",
    _MATCH: f"{_BESIDE}routes.py",
    f"{_MATCH}.<port|sourceLabels|sourceNamespace|gateways>": f"{_COMPILER}static_matches.py",
    f"{_MATCH}.statPrefix": f"{_BESIDE}route_statistics.py",
    "VirtualService.spec.http[].route": f"{_COMPILER}actions.py",
    "VirtualService.spec.http[].<redirect|directResponse|rewrite>": f"{_BESIDE}routes.py",
    "VirtualService.spec.http[].delegate": f"{_COMPILER}delegates.py",
    "VirtualService.spec.http[].timeout": f"{_BESIDE}timeouts.py",
    "VirtualService.spec.http[].retries": f"{_BESIDE}retries.py",
    "VirtualService.spec.http[].headers": f"{_BESIDE}headers.py",
    "VirtualService.spec.http[].<fault|corsPolicy|mirror|mirrors>": f"{_BESIDE}fault_cors_mirror.py",
    "VirtualService.spec.http[].<mirrorPercent|mirror_percent|mirrorPercentage>": (
        f"{_COMPILER}route_policies.py"
    ),
    "DestinationRule.spec": f"{_COMPILER}destination_rules.py",
    f"{_EITHER}loadBalancer": f"{_COMPILER}cluster_policy.py",
    f"{_EITHER}loadBalancer.backendUtilization": f"{_BESIDE}load_reports.py",
    f"{_EITHER}loadBalancer.consistentHash": f"{_BESIDE}balancing.py",
    f"{_EITHER}loadBalancer.<localityLbSetting|zoneAwareLbSetting>": f"{_COMPILER}localities.py",
    f"{_EITHER}loadBalancer.<warmup|warmupDurationSecs>": "tests/upstream/test_slow_start.py",
    f"{_EITHER}connectionPool": f"{_COMPILER}cluster_policy.py",
    f"{_EITHER}connectionPool.http": f"{_BESIDE}limits.py",
    f"{_EITHER}connectionPool.http.<h2UpgradePolicy|useClientProtocol>": f"{_COMPILER}upstream_protocols.py",
    f"{_EITHER}connectionPool.http.<http2KeepAlive|maxConcurrentStreams>": "tests/upstream/test_shared_pool.py",
    f"{_EITHER}outlierDetection": f"{_BESIDE}outlier.py",
    f"{_EITHER}tls": f"{_COMPILER}upstream_tls.py",
    f"{_POLICY}.retryBudget": f"{_BESIDE}limits.py",
    f"{_POLICY}.proxyProtocol": "tests/upstream/test_proxy_header.py",
    f"{_POLICY}.tunnel": f"{_COMPILER}tunnels.py",
    "ServiceEntry.spec": f"{_COMPILER}service_entries.py",
    "WorkloadEntry.spec": f"{_COMPILER}service_entries.py",
    "Telemetry.spec": f"{_COMPILER}telemetry.py",
    "MeshConfig": f"{_COMPILER}mesh_config.py",
    "MeshConfig.tlsDefaults": f"{_COMPILER}server_tls.py",
    "MeshConfig.defaultConfig": f"{_COMPILER}mesh_config.py",
    "MeshConfig.<enableTracing|extensionProviders|defaultProviders>": f"{_COMPILER}tracing.py",
    "MeshConfig.defaultConfig.tracing": f"{_COMPILER}tracing.py",
    "MeshConfig.<accessLogFile|accessLogFormat|accessLogEncoding>": "tests/runtime/test_observing.py",
    f"{_MESH}.connectionPool": f"{_COMPILER}cluster_policy.py",
    f"{_MESH}.outlierDetection": f"{_COMPILER}cluster_policy.py",
}


def covering(path: str, table: Mapping[str, str]) -> str:
    """Return what `table` says of a field by its longest entry that covers it, "" if nothing."""
    best, found = -1, ""
    for pattern, value in table.items():
        for prefix in expand(pattern):
            if len(prefix) > best and (path == prefix or path.startswith((f"{prefix}.", f"{prefix}["))):
                best, found = len(prefix), value
    return found
