"""The facts no type can say: what one document must satisfy on its own (semantics 19).

One file per subject; each has functions `check_*(value, path, out)` that note what is wrong with `value`,
found at `path`. `VALIDATORS` is the table from model to check.
"""

from collections.abc import Callable
from typing import Any

from gatewayd.resources.destination_rule import DestinationRule
from gatewayd.resources.faults import Fault
from gatewayd.resources.gateway import Gateway
from gatewayd.resources.ingress import Ingress
from gatewayd.resources.meta import ObjectMeta
from gatewayd.resources.secret import Secret
from gatewayd.resources.service import EndpointSlice, Service
from gatewayd.resources.service_entry import ServiceEntry
from gatewayd.resources.sidecar import Sidecar
from gatewayd.resources.telemetry import Telemetry
from gatewayd.resources.validate.destination_rule import check_destination_rule
from gatewayd.resources.validate.gateway import check_gateway
from gatewayd.resources.validate.kubernetes import (
    check_endpoint_slice,
    check_ingress,
    check_secret,
    check_service,
)
from gatewayd.resources.validate.notes import Notes
from gatewayd.resources.validate.service_entry import check_service_entry
from gatewayd.resources.validate.sidecar import check_sidecar
from gatewayd.resources.validate.telemetry import check_telemetry
from gatewayd.resources.validate.virtual_service import check_virtual_service
from gatewayd.resources.validate.workload import check_workload_entry, check_workload_group
from gatewayd.resources.virtual_service import VirtualService
from gatewayd.resources.workload import WorkloadEntry, WorkloadGroup

VALIDATORS: dict[Any, Callable[[Any, ObjectMeta, Notes], None]] = {
    Gateway: check_gateway,
    VirtualService: check_virtual_service,
    DestinationRule: check_destination_rule,
    ServiceEntry: check_service_entry,
    WorkloadEntry: check_workload_entry,
    WorkloadGroup: check_workload_group,
    Sidecar: check_sidecar,
    Telemetry: check_telemetry,
    Service: check_service,
    EndpointSlice: check_endpoint_slice,
    Ingress: check_ingress,
    Secret: check_secret,
}


def validate(spec: Any, metadata: ObjectMeta) -> list[Fault]:
    """Return what is wrong with a decoded document, errors and warnings."""
    check = VALIDATORS.get(type(spec))
    if check is None:
        return []
    notes = Notes()
    check(spec, metadata, notes)
    return notes.faults
