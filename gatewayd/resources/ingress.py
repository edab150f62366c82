"""Kubernetes Ingress and IngressClass (semantics 13), in today's form and in that of the v1beta1 API."""

from msgspec import field

from gatewayd.resources.model import KubeModel


class IngressServicePort(KubeModel, frozen=True, kw_only=True):
    """A Service port by number or by name."""

    number: int | None = None
    name: str = ""


class IngressServiceBackend(KubeModel, frozen=True, kw_only=True):
    """A Service."""

    name: str
    port: IngressServicePort | None = None


class IngressBackend(KubeModel, frozen=True, kw_only=True):
    """Where a path goes: `service` in v1, `serviceName` and `servicePort` before; see `service_of`."""

    service: IngressServiceBackend | None = None
    resource: dict[str, str] | None = None
    service_name: str = ""
    service_port: int | str | None = None

    def service_of(self) -> IngressServiceBackend | None:
        """Return the Service in today's form, whichever form was written; None for a resource backend."""
        if self.service is not None or not self.service_name:
            return self.service
        port = self.service_port
        if isinstance(port, int):
            return IngressServiceBackend(name=self.service_name, port=IngressServicePort(number=port))
        if port is not None and port.isascii() and port.isdigit():
            return IngressServiceBackend(name=self.service_name, port=IngressServicePort(number=int(port)))
        return IngressServiceBackend(name=self.service_name, port=IngressServicePort(name=port or ""))


class HTTPIngressPath(KubeModel, frozen=True, kw_only=True):
    """A path; `path_type` empty counts as ImplementationSpecific (semantics 13.8)."""

    backend: IngressBackend
    path: str = ""
    path_type: str = ""


class HTTPIngressRule(KubeModel, frozen=True, kw_only=True):
    """The paths of a rule."""

    paths: tuple[HTTPIngressPath, ...] = ()


class IngressRule(KubeModel, frozen=True, kw_only=True):
    """A host with its paths; an empty host means every host."""

    host: str = ""
    http: HTTPIngressRule | None = None


class IngressTLS(KubeModel, frozen=True, kw_only=True):
    """Hosts served with the certificate of a Secret."""

    hosts: tuple[str, ...] = ()
    secret_name: str = ""


class Ingress(KubeModel, frozen=True, kw_only=True):
    """`spec` of an Ingress. `default_backend` is ignored, as Istio does (semantics 13.10)."""

    ingress_class_name: str | None = None
    rules: tuple[IngressRule, ...] = ()
    tls: tuple[IngressTLS, ...] = ()
    default_backend: IngressBackend | None = None
    old_default_backend: IngressBackend | None = field(default=None, name="backend")


class IngressClass(KubeModel, frozen=True, kw_only=True):
    """`spec` of an IngressClass (semantics 13.1)."""

    controller: str = ""
