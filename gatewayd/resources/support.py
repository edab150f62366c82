"""THE table of what gatewayd does with the fields it accepts.

Every field of an Istio kind is covered by exactly one entry, in `HONOURED` or in `NOT_YET` (a test proves
it). An entry covers the field it names and everything below it. A field of `NOT_YET` that is used gives a
warning, so that nothing is ever ignored in silence; later work moves entries from the second table to the
first.

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
    "VirtualService.spec.http[].match[].<ignoreUriCase|port|sourceLabels|sourceNamespace|gateways>",
    "VirtualService.spec.http[].<route|redirect|directResponse|delegate|rewrite|timeout|headers>",
    "VirtualService.spec.http[].<fault|corsPolicy|mirror|mirrors>",
    "VirtualService.spec.http[].<mirrorPercent|mirror_percent|mirrorPercentage>",
    "VirtualService.spec.http[].retries.<attempts|perTryTimeout|retryOn|backoff|retryIgnorePreviousHosts>",
    # DestinationRule
    "DestinationRule.spec.<host|exportTo|workloadSelector>",
    "DestinationRule.spec.subsets[].<name|labels>",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.portLevelSettings[].port",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>loadBalancer.simple",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>connectionPool.tcp"
    ".<connectTimeout|idleTimeout>",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>connectionPool.http"
    ".<idleTimeout|maxRequestsPerConnection>",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>tls",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<proxyProtocol|tunnel>",
    # ServiceEntry, WorkloadEntry
    "ServiceEntry.spec.<hosts|ports|location|resolution|workloadSelector|exportTo|subjectAltNames>",
    "ServiceEntry.spec.addresses",  # virtual addresses mean nothing to a gateway (semantics 11.10)
    "ServiceEntry.spec.endpoints[].<address|ports|labels|weight>",
    "WorkloadEntry.spec.<address|ports|labels|weight>",
    # MeshConfig
    "MeshConfig.pathNormalization",
    "MeshConfig.<ingressClass|ingressControllerMode|ingressSelector|ingressService>",
    "MeshConfig.tlsDefaults",  # of servers
    "MeshConfig.defaultConfig.gatewayTopology.<numTrustedProxies|forwardClientCertDetails|proxyProtocol>",
    "MeshConfig.defaultConfig.proxyHeaders.<forwardedClientCert|requestId|server|attemptCount|envoyDebugHeaders>",
    "MeshConfig.defaultConfig.proxyHeaders.<xForwardedHost|xForwardedPort>",
    "MeshConfig.<connectTimeout|rootNamespace>",
    "MeshConfig.<defaultVirtualServiceExportTo|defaultDestinationRuleExportTo|defaultServiceExportTo>",
    "MeshConfig.defaultHttpRetryPolicy.<attempts|perTryTimeout|retryOn|backoff|retryIgnorePreviousHosts>",
    "MeshConfig.defaultTrafficPolicy.connectionPool.tcp.<connectTimeout|idleTimeout>",
    "MeshConfig.defaultTrafficPolicy.connectionPool.http.<idleTimeout|maxRequestsPerConnection>",
)

_NO_IDENTITIES = "mutual TLS is not used of its own accord; say ISTIO_MUTUAL in a DestinationRule"
_POOL = "this limit is not enforced yet"
_LOCALITY = "localities do not influence load balancing yet"
_HASH = "consistent hashing is not done yet; the default balancer is used"
_OUTLIER = "endpoints are not ejected yet"
_CLIENT_CERT = "x-forwarded-client-cert always has the same parts"
_NO_ENVOY = "there is no Envoy here to patch"
_SIDECAR = "the sidecar mode is not there yet; gateways do not look at it"

NOT_YET: dict[str, str] = {
    # Gateway
    "Gateway.spec.servers[].port.targetPort": "it is deprecated and has no effect in Istio either",
    "Gateway.spec.servers[].defaultEndpoint": "it has no effect in Istio either",
    # VirtualService
    "VirtualService.spec.http[].retries.retryRemoteLocalities": _LOCALITY,
    "VirtualService.spec.http[].match[].statPrefix": "there are no statistics per route yet",
    "VirtualService.spec.http[].match[].<headers|withoutHeaders>{@request.auth.claims*}": (
        "tokens are not validated yet, so no request has the claim"
    ),
    # DestinationRule
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>loadBalancer"
    ".simple=PASSTHROUGH": ("a gateway has no original destination; the default balancer is used"),
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>loadBalancer"
    ".consistentHash": _HASH,
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>loadBalancer"
    ".backendUtilization": ("load reports of backends are not read yet"),
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>loadBalancer"
    ".<localityLbSetting|zoneAwareLbSetting>": _LOCALITY,
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>loadBalancer"
    ".<warmup|warmupDurationSecs>": "new endpoints get their full share at once",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>connectionPool.tcp"
    ".<maxConnections|tcpKeepalive>": _POOL,
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>connectionPool.tcp"
    ".maxConnectionDuration": "connections of TCP and TLS routes end by it, those of HTTP do not yet",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>connectionPool.http"
    ".<http1MaxPendingRequests|http2MaxRequests|maxRetries|maxConcurrentStreams>": _POOL,
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>connectionPool.http"
    ".<h2UpgradePolicy|useClientProtocol|http2KeepAlive>": "upstreams are spoken to in HTTP/1.1 only",
    "DestinationRule.spec.<|subsets[].>trafficPolicy.<|portLevelSettings[].>outlierDetection": _OUTLIER,
    "DestinationRule.spec.<|subsets[].>trafficPolicy.retryBudget": "retries have no budget yet",
    # ServiceEntry, WorkloadEntry, WorkloadGroup
    "ServiceEntry.spec.resolution=DYNAMIC_DNS": "the host of a request is not resolved yet",
    "ServiceEntry.spec.endpoints[].<network|locality>": _LOCALITY,
    "ServiceEntry.spec.endpoints[].serviceAccount": _NO_IDENTITIES,
    "WorkloadEntry.spec.<network|locality>": _LOCALITY,
    "WorkloadEntry.spec.serviceAccount": _NO_IDENTITIES,
    "WorkloadGroup.spec": "workloads do not register themselves here",
    # whole kinds
    "Sidecar.spec": _SIDECAR,
    "EnvoyFilter.spec": _NO_ENVOY,
    "ProxyConfig.spec": "this proxy is set up by its command line",
    # MeshConfig
    "MeshConfig.outboundTrafficPolicy": _SIDECAR,
    "MeshConfig.defaultConfig.proxyHeaders.setCurrentClientCertDetails": _CLIENT_CERT,
    "MeshConfig.defaultConfig.proxyHeaders.metadataExchangeHeaders": "peers exchange no metadata yet",
    "MeshConfig.defaultConfig.proxyHeaders.preserveHttp1HeaderCase": "header names keep no case yet",
    "MeshConfig.defaultHttpRetryPolicy.retryRemoteLocalities": _LOCALITY,
    "MeshConfig.defaultTrafficPolicy.connectionPool.tcp"
    ".<maxConnections|tcpKeepalive|maxConnectionDuration>": _POOL,
    "MeshConfig.defaultTrafficPolicy.connectionPool.http.<http1MaxPendingRequests|http2MaxRequests>": _POOL,
    "MeshConfig.defaultTrafficPolicy.connectionPool.http.<maxRetries|maxConcurrentStreams>": _POOL,
    "MeshConfig.defaultTrafficPolicy.connectionPool.http"
    ".<h2UpgradePolicy|useClientProtocol|http2KeepAlive>": ("upstreams are spoken to in HTTP/1.1 only"),
    "MeshConfig.defaultTrafficPolicy.outlierDetection": _OUTLIER,
}
