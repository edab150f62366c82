"""The one table of kinds: what is decoded, what is known and left alone."""

from typing import Any, NamedTuple

from gatewayd.resources.destination_rule import DestinationRule
from gatewayd.resources.envoy_filter import EnvoyFilter
from gatewayd.resources.gateway import Gateway
from gatewayd.resources.ingress import Ingress, IngressClass
from gatewayd.resources.pod import Namespace, Pod
from gatewayd.resources.proxy_config import ProxyConfig
from gatewayd.resources.secret import Secret
from gatewayd.resources.service import Endpoints, EndpointSlice, Service
from gatewayd.resources.service_entry import ServiceEntry
from gatewayd.resources.sidecar import Sidecar
from gatewayd.resources.telemetry import Telemetry
from gatewayd.resources.virtual_service import VirtualService
from gatewayd.resources.workload import WorkloadEntry, WorkloadGroup


class Kind(NamedTuple):
    """How documents of a kind are read."""

    group: str  # API group; empty for Kubernetes' core
    versions: tuple[str, ...]  # accepted versions of the group, the preferred one first
    model: Any  # the Struct their content becomes
    whole: bool = False  # the content is the document itself, not its `spec`
    spec_required: bool = False
    namespaced: bool = True
    sealed: bool = False  # its content is never shown
    other_groups: tuple[str, ...] = ()  # groups the kind has lived in before


_ISTIO = "networking.istio.io"
_ISTIO_VERSIONS = ("v1", "v1beta1", "v1alpha3")

KINDS: dict[str, Kind] = {
    # semantics 1.1: every version has the same schema, so every version is accepted for every kind.
    "Gateway": Kind(_ISTIO, _ISTIO_VERSIONS, Gateway),
    "VirtualService": Kind(_ISTIO, _ISTIO_VERSIONS, VirtualService),
    "DestinationRule": Kind(_ISTIO, _ISTIO_VERSIONS, DestinationRule),
    "ServiceEntry": Kind(_ISTIO, _ISTIO_VERSIONS, ServiceEntry, spec_required=True),
    "WorkloadEntry": Kind(_ISTIO, _ISTIO_VERSIONS, WorkloadEntry, spec_required=True),
    "WorkloadGroup": Kind(_ISTIO, _ISTIO_VERSIONS, WorkloadGroup, spec_required=True),
    "Sidecar": Kind(_ISTIO, _ISTIO_VERSIONS, Sidecar),
    "EnvoyFilter": Kind(_ISTIO, ("v1alpha3", "v1beta1", "v1"), EnvoyFilter),
    "ProxyConfig": Kind(_ISTIO, ("v1beta1", "v1", "v1alpha3"), ProxyConfig),
    "Telemetry": Kind("telemetry.istio.io", ("v1", "v1alpha1"), Telemetry),
    "Service": Kind("", ("v1",), Service),
    "Endpoints": Kind("", ("v1",), Endpoints, whole=True),
    "EndpointSlice": Kind("discovery.k8s.io", ("v1", "v1beta1"), EndpointSlice, whole=True),
    "Pod": Kind("", ("v1",), Pod, whole=True),
    "Secret": Kind("", ("v1",), Secret, whole=True, sealed=True),
    "Namespace": Kind("", ("v1",), Namespace, whole=True, namespaced=False),
    # `networking.Kubernetes.io` is how some pages on the web misspell the group; it means no other.
    "Ingress": Kind(
        "networking.k8s.io",
        ("v1", "v1beta1"),
        Ingress,
        other_groups=("extensions", "networking.kubernetes.io"),
    ),
    "IngressClass": Kind(
        "networking.k8s.io",
        ("v1", "v1beta1"),
        IngressClass,
        namespaced=False,
        other_groups=("networking.kubernetes.io",),
    ),
}

# Kinds of Kubernetes that stand beside the ones above in everybody's files and say nothing to a proxy.
PLATFORM_KINDS: frozenset[str] = frozenset(
    {
        "APIService",
        "CertificateSigningRequest",
        "ClusterRole",
        "ClusterRoleBinding",
        "ConfigMap",
        "ControllerRevision",
        "CronJob",
        "CSIDriver",
        "CSINode",
        "CustomResourceDefinition",
        "DaemonSet",
        "Deployment",
        "Event",
        "FlowSchema",
        "HorizontalPodAutoscaler",
        "IPAddress",
        "Job",
        "Lease",
        "LimitRange",
        "MutatingWebhookConfiguration",
        "NetworkPolicy",
        "Node",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "PodMonitor",
        "PodTemplate",
        "PriorityClass",
        "ReplicaSet",
        "ReplicationController",
        "ResourceQuota",
        "Role",
        "RoleBinding",
        "RuntimeClass",
        "ServiceAccount",
        "ServiceCIDR",
        "ServiceMonitor",
        "StatefulSet",
        "StorageClass",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
        "VolumeAttachment",
    }
)

# Kinds of the groups below that later work will read.
LATER_KINDS: frozenset[str] = frozenset(
    {
        "AuthorizationPolicy",
        "BackendTLSPolicy",
        "GatewayClass",
        "GRPCRoute",
        "HTTPRoute",
        "ListenerSet",
        "PeerAuthentication",
        "ReferenceGrant",
        "RequestAuthentication",
        "TCPRoute",
        "TLSRoute",
        "UDPRoute",
        "WasmPlugin",
    }
)

# Other kinds of these groups would change what is served, so leaving them out is a warning.
MESH_GROUPS: frozenset[str] = frozenset(
    {
        "networking.istio.io",
        "security.istio.io",
        "telemetry.istio.io",
        "extensions.istio.io",
        "gateway.networking.k8s.io",
    }
)
