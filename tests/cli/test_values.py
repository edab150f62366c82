"""Flag values: what is read, and what is said about what cannot be."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.cli import values


def test_port_map_reads_pairs() -> None:
    assert values.read_port_map("80=8080,443=8443") == {80: 8080, 443: 8443}
    assert values.read_port_map(" 80 = 8080 , ") == {80: 8080}
    assert values.read_port_map("80=0") == {80: 0}, "0 lets the system choose"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("80", "'80': expected GATEWAY_PORT=PORT, such as 80=8080"),
        ("80:8080", "'80:8080': expected GATEWAY_PORT=PORT"),
        ("80=8080,443", "'443': expected"),
        ("http=8080", "'http=8080': 'http' is not a Gateway port"),
        ("80=70000", "'80=70000': '70000' is not a port to bind: expected a number from 0 to 65535"),
        ("0=80", "'0' is not a Gateway port: expected a number from 1 to 65535"),
        ("80=-1", "'-1' is not a port to bind"),
        ("80=8080,80=8081", "port 80 is already mapped to 8080"),
        ("80=٨", "is not a port"),
    ],
)
def test_port_map_names_the_item_and_the_form(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^'") as caught:
        values.read_port_map(text)
    assert said in str(caught.value)


def test_labels_read_pairs() -> None:
    assert values.read_labels("istio=ingressgateway,app.kubernetes.io/name=edge,empty=") == {
        "istio": "ingressgateway",
        "app.kubernetes.io/name": "edge",
        "empty": "",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("istio", "'istio': expected KEY=VALUE"),
        ("istio:ingressgateway", "expected KEY=VALUE"),
        ("=x", "'' is not a label key"),
        ("a b=x", "'a b' is not a label key"),
        ("a=x y", "'x y' is not a label value"),
        ("a=1,a=2", "'a' is given twice"),
    ],
)
def test_labels_name_the_item(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^'") as caught:
        values.read_labels(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("reviews=127.0.0.1:9080", ("reviews", "", "127.0.0.1", 9080)),
        ("reviews:v2=127.0.0.1:9081", ("reviews", "v2", "127.0.0.1", 9081)),
        (
            "reviews.shop.svc.cluster.local=[::1]:9080",
            ("reviews.shop.svc.cluster.local", "", "::1", 9080),
        ),
        ("*.example.com=10.0.0.1:80", ("*.example.com", "", "10.0.0.1", 80)),
        ("reviews=backend.internal:80", ("reviews", "", "backend.internal", 80)),
        ("reviews=unix:/run/reviews", ("reviews", "", "unix:/run/reviews", 0)),
    ],
)
def test_endpoints_pin_a_host_or_one_of_its_subsets(text: str, read: tuple[str, str, str, int]) -> None:
    assert values.read_endpoints(text) == (read,)


def test_several_endpoints_of_one_host() -> None:
    assert len(values.read_endpoints("a=127.0.0.1:1,a=127.0.0.1:2,b:v1=127.0.0.1:3")) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("reviews", "'reviews': expected HOST=ADDRESS:PORT or HOST:SUBSET=ADDRESS:PORT"),
        ("reviews=", "'reviews=': expected HOST=ADDRESS:PORT"),
        ("reviews=127.0.0.1", "'reviews=127.0.0.1': expected HOST:PORT"),
        ("reviews=127.0.0.1:http", "'http' is not a port"),
        ("reviews=127.0.0.1:0", "'0' is not a port"),
        ("reviews=::1:80", "put the IPv6 address in brackets: [::1]:80"),
        ("=127.0.0.1:80", "'' is not a host or host:subset"),
        ("reviews:=127.0.0.1:80", "'reviews:' is not a host or host:subset"),
        ("rev iews=127.0.0.1:80", "'rev iews' is not a host"),
        ("ok=127.0.0.1:1,bad", "'bad': expected"),
    ],
)
def test_endpoints_name_the_item_and_the_form(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r"^'") as caught:
        values.read_endpoints(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("127.0.0.1:15021", ("127.0.0.1", 15021)),
        (":15021", ("0.0.0.0", 15021)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:15021", ("127.0.0.1", 15021)),
        ("unix:/run/status", ("unix:/run/status", 0)),
    ],
)
def test_listen_addresses(text: str, read: tuple[str, int]) -> None:
    assert values.read_listen_address(text) == read


@pytest.mark.parametrize("text", ["15021", "127.0.0.1", "127.0.0.1:x", "::1:80", "[::1]80", "", "a b:80"])
def test_what_is_no_listen_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected|brackets|not a"):
        values.read_listen_address(text)


def test_status_may_be_off() -> None:
    assert values.read_status("off") == ()
    assert values.read_status(":1") == ("0.0.0.0", 1)


@pytest.mark.parametrize(
    ("text", "read"),
    [("127.0.0.1", ("127.0.0.1",)), ("[::1], 10.0.0.1", ("::1", "10.0.0.1")), ("::,::", ("::",))],
)
def test_bind_takes_ip_addresses(text: str, read: tuple[str, ...]) -> None:
    assert values.read_bind(text) == read


@pytest.mark.parametrize("text", ["localhost", "127.0.0.1:80", "", "1.2.3"])
def test_bind_takes_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match="IP address"):
        values.read_bind(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("45s", 45.0), ("1m30s", 90.0), ("500ms", 0.5), ("1.5h", 5400.0), ("10", 10.0), ("0s", 0.0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert values.read_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "1 s", "-1s", "1x", "1s2", "inf", "nan", "1e3s"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number with a unit, such as 45s"):
        values.read_duration(text)


@given(st.text(max_size=40))
def test_no_text_makes_a_reader_fail_in_another_way(text: str) -> None:
    for read in (
        values.read_port_map,
        values.read_labels,
        values.read_endpoints,
        values.read_status,
        values.read_bind,
        values.read_duration,
        values.read_name,
    ):
        with contextlib.suppress(ValueError):
            read(text)
