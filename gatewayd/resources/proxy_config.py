"""ProxyConfig: settings of a proxy process."""

from typing import Annotated

from msgspec import Meta

from gatewayd.resources.model import EMPTY, IstioModel, NonNegInt32
from gatewayd.resources.workload import LabelSelector


class ProxyImage(IstioModel, frozen=True, kw_only=True):
    """Which image to run."""

    image_type: str = ""


class ProxyConfig(IstioModel, frozen=True, kw_only=True):
    """`spec` of a ProxyConfig."""

    selector: LabelSelector | None = None
    concurrency: NonNegInt32 | None = None
    environment_variables: dict[str, Annotated[str, Meta(max_length=2048)]] = EMPTY
    image: ProxyImage | None = None
