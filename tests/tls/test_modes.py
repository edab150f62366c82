"""TLS modes of Gateway servers: semantics 3.1, 3.2."""

from __future__ import annotations

from typing import get_args

import pytest

from gatewayd.resources.gateway import TLSMode as ModeWord
from gatewayd.tls.modes import MODES, kind_of


def test_3_1_every_mode_of_the_schema_has_a_row_under_its_own_name() -> None:
    assert set(MODES) == set(get_args(ModeWord))
    assert all(mode.name == name for name, mode in MODES.items())


@pytest.mark.parametrize(
    ("mode", "terminates", "client_certificate"),
    [
        ("PASSTHROUGH", False, "none"),
        ("SIMPLE", True, "none"),
        ("MUTUAL", True, "required"),
        ("OPTIONAL_MUTUAL", True, "optional"),
        ("ISTIO_MUTUAL", True, "required"),
        ("AUTO_PASSTHROUGH", False, "none"),
    ],
)
def test_3_1_what_a_mode_does(mode: str, terminates: bool, client_certificate: str) -> None:
    assert (MODES[mode].terminates, MODES[mode].client_certificate) == (terminates, client_certificate)


@pytest.mark.parametrize(
    ("protocol", "mode", "kind"),
    [
        ("HTTPS", "SIMPLE", "http"),
        ("https", "MUTUAL", "http"),
        ("TLS", "SIMPLE", "tcp"),
        ("TLS", "ISTIO_MUTUAL", "tcp"),
        ("HTTPS", "PASSTHROUGH", "tls"),
        ("TLS", "PASSTHROUGH", "tls"),
        ("TLS", "AUTO_PASSTHROUGH", "tls"),
        ("TLS", "", "tls"),  # the proto's value 0
    ],
)
def test_3_2_which_blocks_route(protocol: str, mode: str, kind: str) -> None:
    assert kind_of(protocol, mode) == kind


def test_an_unknown_mode_is_an_error() -> None:
    with pytest.raises(KeyError):
        kind_of("TLS", "STRICT")
