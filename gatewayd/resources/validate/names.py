"""What names may look like: labels, domains, addresses, ports."""

import re
from functools import lru_cache
from ipaddress import ip_address, ip_network

from gatewayd.resources.validate.notes import Notes, Path

_LABEL_TEXT = r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?"
_LABEL = re.compile(_LABEL_TEXT)
#: The first label of a domain may be a wildcard, also with something after it (`*foo`, `*-foo`).
_FIRST_LABEL = re.compile(rf"\*|(?:\*-?)?{_LABEL_TEXT}")
#: Host names as they appear in SNI between gateways: `outbound_.8080_.v1_.reviews.shop.svc.cluster.local`.
_SNI_NAME = re.compile(r"(?:outbound|inbound)_\.[0-9]+_\.[^.]*_\..+")
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_LABEL_KEY = re.compile(r"(?:[-a-z0-9.]+/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_HEADER_NAME = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")


def is_label(text: str) -> bool:
    """Return whether `text` is a DNS label: letters, digits and dashes, at most 63."""
    return len(text) <= 63 and _LABEL.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def domain_problem(domain: str, *, wildcard: bool = True) -> str:
    """Return what is wrong with a domain name, empty if nothing; `wildcard` allows `*` at its beginning."""
    if not domain:
        return "a host name may not be empty"
    if len(domain) > 255:
        return "a host name may have at most 255 characters"
    if not wildcard and "*" in domain:
        return f'wildcard "{domain}" is not allowed here'
    if domain == "*":
        return ""
    labels = domain.removesuffix(".").split(".")
    for index, label in enumerate(labels):
        pattern = _FIRST_LABEL if index == 0 else _LABEL
        if len(label) > 63 or pattern.fullmatch(label) is None:
            if "*" in label:
                return f'"{domain[:80]}": a wildcard may only stand at the beginning'
            return f'"{domain[:80]}" is not a host name (label "{label[:63]}")'
    if labels[-1].isdigit():
        return f'"{domain[:80]}" is not a host name (its last label is a number)'
    return ""


def is_sni_name(host: str) -> bool:
    """Return whether `host` is one of the names gateways of different clusters use towards each other."""
    return _SNI_NAME.fullmatch(host) is not None


@lru_cache(maxsize=4096)
def is_ip(text: str) -> bool:
    """Return whether `text` is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def is_cidr(text: str) -> bool:
    """Return whether `text` is an IP address or a network such as `10.0.0.0/8`."""
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def unix_problem(address: str) -> str:
    """Return what is wrong with a `unix://` address."""
    path = address.removeprefix("unix://")
    if not path.startswith(("/", "@")):
        return f'"{address[:80]}" must name an absolute path, or an abstract socket with @'
    if path.endswith("/"):
        return f'"{address[:80]}" names a folder, not a socket'
    return ""


def is_header_name(name: str) -> bool:
    """Return whether `name` may be the name of an HTTP field."""
    return _HEADER_NAME.fullmatch(name) is not None


def check_labels(labels: dict[str, str], path: Path, out: Notes) -> None:
    """Kubernetes labels: both sides have a form and at most 63 characters."""
    for key, value in labels.items():
        name = key.rpartition("/")[2]
        if len(name) > 63 or _LABEL_KEY.fullmatch(key) is None:
            out.error((*path, key), f'"{key[:80]}" is not a label key')
        if len(value) > 63 or _LABEL_VALUE.fullmatch(value) is None:
            out.error((*path, key), f'"{value[:80]}" is not a label value')


def check_port(number: int, path: Path, out: Notes) -> None:
    """A port number that can be listened on or connected to."""
    if not 1 <= number <= 65_535:
        out.error(path, f"port number must be from 1 to 65535, not {number}")


def check_export_to(export_to: tuple[str, ...], path: Path, out: Notes, *, own_only: bool = False) -> None:
    """`exportTo`: `*`, `.`, `~` or names of namespaces (semantics 1.10)."""
    for index, entry in enumerate(export_to):
        here = (*path, index)
        if entry not in ("*", ".", "~") and not is_label(entry):
            out.error(here, f'"{entry[:80]}" is not a namespace, ".", "*" or "~"')
        elif own_only and entry != ".":
            out.error(here, 'with a workloadSelector only "." may be exported to')
        elif entry in export_to[:index]:
            out.warning(here, f'"{entry}" is in the list twice')
    if "*" in export_to and len(export_to) > 1:
        out.warning(path, '"*" exports to every namespace, so the other entries have no effect')
