"""THE table of what gatewayd does with the fields it accepts.

Every field of an Istio kind is covered by exactly one entry, in `HONOURED`, `WITHOUT_EFFECT` or `NOT_YET` (a
test proves it). An entry covers the field it names and everything below it. A field of `NOT_YET` that is used
gives a warning, so that nothing is ever ignored in silence; later work moves entries from there to the first
table. A field of `WITHOUT_EFFECT` does nothing at a gateway of Istio's either; using it gives a finding for
information.

Spelling: `[]` any item of a list, `{}` any value of a map, `{prefix*}` values whose key begins so, `=VALUE`
the field with this value only, `<a|b>` one of several spellings (one of them may be empty).
"""

HONOURED: tuple[str, ...] = (
    # Gateway
    "Gateway.spec.selector",
    "Gateway.spec.servers[].port.<number|name|protocol>",
    "Gateway.spec.servers[].<hosts|bind|name>",
    "Gateway.spec.servers[].tls",
    # VirtualService
    "VirtualService.spec.<hosts|gateways|exportTo>",
    "VirtualService.spec.<tls|tcp>",  # the conditions gateways do not look at have a finding of their own
    "VirtualService.spec.http[].name",
    "VirtualService.spec.http[].match[].<name|uri|scheme|method|authority|headers|withoutHeaders|queryParams>",
    "VirtualService.spec.http[].match[].<ignoreUriCase|port|sourceLabels|sourceNamespace|gateways|statPrefix>",
    "VirtualService.spec.http[].<route|redirect|directResponse|delegate|rewrite|timeout|headers>",
    "VirtualService.spec.http[].<fault|corsPolicy|mirror|mirrors>",
    "VirtualService.spec.http[].<mirrorPercent|mirror_percent|mirrorPercentage>",
    "VirtualService.spec.http[].retries",
    # DestinationRule
    "DestinationRule.spec.<host|exportTo|workloadSelector>",
    "DestinationRule.spec.subsets[].<name|labels>",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.portLevelSettings[].port",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>loadBalancer"
    ".<simple|consistentHash|backendUtilization|localityLbSetting|warmup|warmupDurationSecs>",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>loadBalancer"
    ".zoneAwareLbSetting.<enabled|failover|failoverPriority>",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>connectionPool.tcp"
    ".<connectTimeout|idleTimeout|maxConnections|tcpKeepalive|maxConnectionDuration>",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>connectionPool.http"
    ".<idleTimeout|maxRequestsPerConnection|http1MaxPendingRequests|http2MaxRequests|maxRetries>",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>connectionPool.http"
    ".<h2UpgradePolicy|useClientProtocol|http2KeepAlive|maxConcurrentStreams>",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>outlierDetection"
    ".<splitExternalLocalOriginErrors|consecutiveLocalOriginFailures|consecutiveGatewayErrors>",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>outlierDetection"
    ".<consecutive5xxErrors|interval|baseEjectionTime|maxEjectionPercent|minHealthPercent>",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>outlierDetection"
    ".outlierDetectionHttpErrorCodes",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.retryBudget",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>tls",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<proxyProtocol|tunnel>",
    # ServiceEntry, WorkloadEntry
    "ServiceEntry.spec.<hosts|ports|location|resolution|workloadSelector|exportTo|subjectAltNames>",
    "ServiceEntry.spec.addresses",  # virtual addresses mean nothing to a gateway (semantics 11.10)
    "ServiceEntry.spec.endpoints[].<address|ports|labels|weight|locality>",
    "WorkloadEntry.spec.<address|ports|labels|weight|locality>",
    # Telemetry
    "Telemetry.spec.selector",
    "Telemetry.spec.tracing[].<match|providers|randomSamplingPercentage|disableSpanReporting|customTags>",
    "Telemetry.spec.tracing[].enableIstioTags",
    "Telemetry.spec.accessLogging[].<match|disabled>",
    # MeshConfig
    "MeshConfig.pathNormalization",
    "MeshConfig.<ingressClass|ingressControllerMode|ingressSelector|ingressService>",
    "MeshConfig.tlsDefaults",  # of servers
    "MeshConfig.defaultConfig.gatewayTopology.<numTrustedProxies|forwardClientCertDetails|proxyProtocol>",
    "MeshConfig.defaultConfig.proxyHeaders.<forwardedClientCert|requestId|server|attemptCount|envoyDebugHeaders>",
    "MeshConfig.defaultConfig.proxyHeaders.<xForwardedHost|xForwardedPort>",
    "MeshConfig.<connectTimeout|rootNamespace|h2UpgradePolicy>",
    "MeshConfig.<defaultVirtualServiceExportTo|defaultDestinationRuleExportTo|defaultServiceExportTo>",
    "MeshConfig.<enableTracing|extensionProviders|defaultProviders>",
    "MeshConfig.defaultConfig.tracing",
    "MeshConfig.<accessLogFile|accessLogFormat|accessLogEncoding>",
    "MeshConfig.defaultHttpRetryPolicy",
    "MeshConfig.localityLbSetting",
    "MeshConfig.defaultTrafficPolicy.connectionPool.tcp"
    ".<connectTimeout|idleTimeout|maxConnections|tcpKeepalive|maxConnectionDuration>",
    "MeshConfig.defaultTrafficPolicy.connectionPool.http"
    ".<idleTimeout|maxRequestsPerConnection|http1MaxPendingRequests|http2MaxRequests|maxRetries>",
    "MeshConfig.defaultTrafficPolicy.connectionPool.http"
    ".<h2UpgradePolicy|useClientProtocol|http2KeepAlive|maxConcurrentStreams>",
    "MeshConfig.defaultTrafficPolicy.outlierDetection"
    ".<splitExternalLocalOriginErrors|consecutiveLocalOriginFailures|consecutiveGatewayErrors>",
    "MeshConfig.defaultTrafficPolicy.outlierDetection"
    ".<consecutive5xxErrors|interval|baseEjectionTime|maxEjectionPercent|minHealthPercent>",
    "MeshConfig.defaultTrafficPolicy.outlierDetection.outlierDetectionHttpErrorCodes",
)

_NO_IDENTITIES = (
    "it is the identity of a workload inside a mesh; subjectAltNames say whose certificate is accepted"
)
_OLD_ERRORS = "consecutive5xxErrors and consecutiveGatewayErrors took its place"
_NETWORK = "networks matter where a mesh has gateways between them; here every endpoint is reached directly"
_CLIENT_CERT = "x-forwarded-client-cert always has the same parts"
_NO_ENVOY = "there is no Envoy here to patch"
_ALONE = (
    "a gateway does not know its fellows, so it balances over all zones of the region, however many they are"
)
_SIDECAR = "the sidecar mode is not there yet; gateways do not look at it"

WITHOUT_EFFECT: dict[str, str] = {
    "Gateway.spec.servers[].port.targetPort": "it is deprecated; the number says where the server listens",
    "Gateway.spec.servers[].defaultEndpoint": "it is read for sidecars only",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>loadBalancer"
    ".simple=PASSTHROUGH": "a gateway knows no original destination (semantics 9.1); the default balancer is used",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>loadBalancer"
    ".zoneAwareLbSetting.minClusterSize": f"{_ALONE} (semantics 9.18)",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>outlierDetection"
    ".consecutiveErrors": _OLD_ERRORS,
    "ServiceEntry.spec.endpoints[].network": _NETWORK,
    "ServiceEntry.spec.endpoints[].serviceAccount": _NO_IDENTITIES,
    "WorkloadEntry.spec.network": _NETWORK,
    "WorkloadEntry.spec.serviceAccount": _NO_IDENTITIES,
    "Telemetry.spec.<targetRef|targetRefs>": "they name waypoints and gateways of the Gateway API",
    "Telemetry.spec.tracing[].useRequestIdForTraceSampling": (
        "a gateway gives every request a fresh id, so the share of those that are sampled is the same"
    ),
    "MeshConfig.defaultTrafficPolicy.outlierDetection.consecutiveErrors": _OLD_ERRORS,
}

NOT_YET: dict[str, str] = {
    # VirtualService
    "VirtualService.spec.http[].match[].<headers|withoutHeaders>{@request.auth.claims*}": (
        "tokens are not validated yet, so no request has the claim"
    ),
    # WorkloadGroup
    "WorkloadGroup.spec": "workloads do not register themselves here",
    # whole kinds
    "Sidecar.spec": _SIDECAR,
    "EnvoyFilter.spec": _NO_ENVOY,
    "ProxyConfig.spec": "this proxy is set up by its command line",
    # Telemetry
    "Telemetry.spec.metrics": "metrics are Istio's standard ones, unchanged",
    "Telemetry.spec.accessLogging[].providers": "the access log goes where --access-log or accessLogFile says",
    "Telemetry.spec.accessLogging[].filter": "every request is logged",
    "Telemetry.spec.tracing[].disableContextPropagation": "upstreams are told of every trace",
    # MeshConfig
    "MeshConfig.outboundTrafficPolicy": "it is for sidecars; a gateway passes nothing on that no route names",
    "MeshConfig.defaultConfig.proxyHeaders.setCurrentClientCertDetails": _CLIENT_CERT,
    "MeshConfig.defaultConfig.proxyHeaders.metadataExchangeHeaders": "peers exchange no metadata yet",
    "MeshConfig.defaultConfig.proxyHeaders.preserveHttp1HeaderCase": "header names keep no case yet",
}
