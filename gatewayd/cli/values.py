"""Reading flag values. A value that cannot be read names the item and shows the form that was expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from gatewayd.observe.collector import collector_at

T = TypeVar("T")
Address = tuple[str, int]

_LABEL_KEY: Final = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE: Final = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
#: Each has its own sockets for every address.
MAX_WORKERS: Final = 128
_UNIT_S: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class Value(click.ParamType[T]):
    """A flag value read by a function that raises ``ValueError`` with a sentence."""

    #: how several values stand in one environment variable
    envvar_list_splitter = ","

    def __init__(self, name: str, read: Callable[[str], T]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read ``value``; a default may already have its final type."""
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def items(text: str) -> list[str]:
    """The parts between commas, without white space around them; empty ones are dropped."""
    return [part for part in (piece.strip() for piece in text.split(",")) if part]


def port_number(text: str, what: str, lowest: int = 1) -> int:
    """A TCP port number."""
    if not text.isascii() or not text.isdigit() or not lowest <= int(text) <= 65535:
        raise ValueError(f"{text!r} is not {what}: expected a number from {lowest} to 65535")
    return int(text)


def read_port_map(text: str) -> dict[int, int]:
    """``80=8080,443=8443``: Gateway server port to bound port; 0 lets the system choose."""
    ports: dict[int, int] = {}
    for item in items(text):
        gateway, mark, bound = item.partition("=")
        if not mark:
            raise ValueError(f"{item!r}: expected GATEWAY_PORT=PORT, such as 80=8080")
        try:
            number = port_number(gateway.strip(), "a Gateway port")
            target = port_number(bound.strip(), "a port to bind", lowest=0)
        except ValueError as error:
            raise ValueError(f"{item!r}: {error}") from None
        if ports.setdefault(number, target) != target:
            raise ValueError(f"{item!r}: port {number} is already mapped to {ports[number]}")
    return ports


def read_labels(text: str) -> dict[str, str]:
    """``istio=ingressgateway,app=edge``."""
    labels: dict[str, str] = {}
    for item in items(text):
        key, mark, value = (part.strip() for part in item.partition("="))
        if not mark:
            raise ValueError(f"{item!r}: expected KEY=VALUE, such as istio=ingressgateway")
        if not _LABEL_KEY.fullmatch(key):
            raise ValueError(f"{item!r}: {key!r} is not a label key")
        if not _LABEL_VALUE.fullmatch(value):
            raise ValueError(f"{item!r}: {value!r} is not a label value")
        if labels.setdefault(key, value) != value:
            raise ValueError(f"{item!r}: {key!r} is given twice")
    return labels


def split_address(text: str, lowest_port: int = 1) -> Address:
    """``127.0.0.1:9080``, ``[::1]:9080`` or ``name:9080`` as (host, port)."""
    if text.startswith("["):
        host, mark, port = text[1:].partition("]:")
    else:
        host, mark, port = text.rpartition(":")
    if not mark or not host:
        raise ValueError("expected HOST:PORT, with an IPv6 address in brackets, such as [::1]:9080")
    if ":" in host and not text.startswith("["):
        raise ValueError(f"put the IPv6 address in brackets: [{host}]:{port}")
    if not text.startswith("[") and not _HOST.fullmatch(host):
        raise ValueError(f"{host!r} is not a host name or IP address")
    return host, port_number(port, "a port", lowest_port)


def read_endpoints(text: str) -> tuple[tuple[str, str, str, int], ...]:
    """``reviews=127.0.0.1:9080,reviews:v2=127.0.0.1:9081`` as (host, subset or "", address, port)."""
    pinned = []
    for item in items(text):
        key, mark, target = (part.strip() for part in item.partition("="))
        form = "expected HOST=ADDRESS:PORT or HOST:SUBSET=ADDRESS:PORT, such as reviews:v2=127.0.0.1:9081"
        if not mark or not target:
            raise ValueError(f"{item!r}: {form}")
        host, colon, subset = key.partition(":")
        if not _HOST.fullmatch(host.removeprefix("*.")) or (colon and not _NAME.fullmatch(subset)):
            raise ValueError(f"{item!r}: {key!r} is not a host or host:subset; {form}")
        if target.startswith("unix:/"):
            pinned.append((host, subset, target, 0))
            continue
        try:
            address, port = split_address(target)
        except ValueError as error:
            raise ValueError(f"{item!r}: {error}") from None
        pinned.append((host, subset, address, port))
    return tuple(pinned)


def read_listen_address(text: str) -> Address:
    """``127.0.0.1:15021``, ``:15021``, ``[::1]:0`` or ``unix:/path`` (port 0)."""
    if text.startswith("unix:/"):
        return text, 0
    if text.startswith(":"):
        text = "0.0.0.0" + text
    host, port = split_address(text, lowest_port=0)
    return ("127.0.0.1" if host == "localhost" else host), port


def read_status(text: str) -> Address | tuple[()]:
    """A listen address, or ``off`` as the empty tuple."""
    return () if text == "off" else read_listen_address(text)


def read_host_names(text: str) -> tuple[str, ...]:
    """Host names, lower case."""
    for item in items(text):
        if not _HOST.fullmatch(item):
            raise ValueError(f"{item!r} is not a host name")
    return tuple(item.lower() for item in items(text))


def read_bind(text: str) -> tuple[str, ...]:
    """IP addresses to listen on; brackets around IPv6 are allowed."""
    from ipaddress import ip_address

    addresses = []
    for item in items(text):
        bare = item.removeprefix("[").removesuffix("]")
        try:
            ip_address(bare)
        except ValueError:
            raise ValueError(f"{item!r} is not an IP address, such as 127.0.0.1 or ::") from None
        addresses.append(bare)
    if not addresses:
        raise ValueError("expected an IP address, such as 127.0.0.1 or ::")
    return tuple(dict.fromkeys(addresses))


def read_workers(text: str) -> int:
    """A number of processes, or ``auto`` for that of the processors we may use."""
    if text == "auto":
        from gatewayd.runtime.cgroup import processors

        return min(processors(), MAX_WORKERS)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_WORKERS:
        raise ValueError(f"{text!r} is not a number of processes: expected 1 to {MAX_WORKERS}, or auto")
    return int(text)


def read_duration(text: str) -> float:
    """``45s``, ``1m30s``, ``500ms``, ``1.5h`` in seconds; a bare number is seconds."""
    stripped = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", stripped):
        return float(stripped)
    parts = _DURATION_PART.findall(stripped)
    if not parts or "".join(number + unit for number, unit in parts) != stripped:
        raise ValueError(
            f"{text!r} is not a duration: expected a number with a unit, such as 45s, 1m30s or 500ms"
        )
    return sum(float(number) * _UNIT_S[unit] for number, unit in parts)


def read_name(text: str) -> str:
    """A namespace or domain name."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"{text!r} is not a name: lower-case letters, digits, '-' and '.'")
    return text


def read_log_levels(text: str) -> str:
    """``info,listeners=debug``, checked."""
    from gatewayd.observe.logs import parse_levels

    parse_levels(text)
    return text


PORT_MAP: Final = Value("80=8080,...", read_port_map)
LABELS: Final = Value("k=v,...", read_labels)
ENDPOINTS: Final = Value("host[:subset]=address:port", read_endpoints)
LISTEN_ADDRESS: Final = Value("address", read_listen_address)
STATUS: Final = Value("address|off", read_status)
HOST_NAMES: Final = Value("name,...", read_host_names)
BIND: Final = Value("ip", read_bind)
DURATION: Final = Value("duration", read_duration)
WORKERS: Final = Value("N|auto", read_workers)
NAME: Final = Value("name", read_name)
COLLECTOR: Final = Value("endpoint", collector_at)
LOG_LEVELS: Final = Value("level[,component=level...]", read_log_levels)
