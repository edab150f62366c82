"""The admin server: Envoy's paths, ours, and who may ask."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from gatewayd.admin.api import Api
from gatewayd.admin.controls import ControlPaths
from gatewayd.admin.envoy import EnvoyPaths
from gatewayd.admin.guard import Guard
from gatewayd.admin.paths import Paths
from gatewayd.admin.server import HttpServer
from gatewayd.admin.state import Controls, State

#: What may be posted: a configuration to be validated.
MAX_BODY_BYTES: Final = 4 * 1024 * 1024


class AdminServer(HttpServer):
    """Serves ``state`` and ``controls``; ``names``: host names beside localhost and addresses it may be called."""

    def __init__(self, state: State, controls: Controls, names: Iterable[str] = ()) -> None:
        paths = Paths(
            (
                *EnvoyPaths(state).paths(),
                *ControlPaths(controls).paths(),
                *Api(state, controls).paths(),
            ),
            Guard(names),
        )
        super().__init__(paths.answer, max_body_bytes=MAX_BODY_BYTES)
