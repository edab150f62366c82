"""The comparison with a page must be able to fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.readme import Shown, difference, scenes, with_ports

PAGE = """# A page

```sh
mkdir -p certs
openssl req -x509 -subj '/CN=An authority' \\
  -keyout certs/ca.key
```

```sh
touch here
python -m gatewayd.demo.backends a=7001 b:echo=7002 &
gatewayd run a --port-map 80=8080,9080=8081 \\
  --endpoint a=127.0.0.1:7001
```

```console
$ curl http://127.0.0.1:8080/x
HTTP/1.1 200 OK
```

```sh
gatewayd demo --http-port 8090 --https-port 8490
```
"""


def test_a_page_is_read_into_scenes(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(PAGE)
    first, second = scenes(page)
    made = ["mkdir -p certs", "openssl req -x509 -subj '/CN=An authority'    -keyout certs/ca.key"]
    assert (first.prepare, second.prepare) == ([*made, "touch here"], [*made, "touch here"])
    assert first.commands == [
        ["python", "-m", "gatewayd.demo.backends", "a=7001", "b:echo=7002"],
        [
            "gatewayd",
            "run",
            "a",
            "--port-map",
            "80=8080,9080=8081",
            "--endpoint",
            "a=127.0.0.1:7001",
        ],
    ]
    assert first.ports == ["7001", "7002", "8080", "8081"]
    assert first.shown == [Shown("curl http://127.0.0.1:8080/x", ("HTTP/1.1 200 OK",))]
    words = ["gatewayd", "demo", "--http-port", "8090", "--https-port", "8490"]
    assert (second.commands, second.ports) == ([words], ["8090", "8490"])


def test_ports_are_replaced_where_they_are_ports() -> None:
    ports = {"8080": "1", "9080": "2"}
    assert with_ports("--port-map 80=8080,9080=8080", ports) == "--port-map 80=1,9080=1"
    assert with_ports("http://127.0.0.1:8080/8080?x=80801", ports) == "http://127.0.0.1:1/8080?x=80801"
    assert with_ports("8080", ports) == "1"


@pytest.mark.parametrize(
    ("wanted", "output", "agrees"),
    [
        (["HTTP/1.1 200 OK", "server: x"], "HTTP/1.1 200 OK\r\na: b\r\nserver: x\r\n\r\n", True),
        (["server: x", "a: b"], "HTTP/1.1 200 OK\r\na: b\r\nserver: x\r\n\r\n", True),
        (["server: x"], "HTTP/1.1 200 OK\r\n\r\nnot server: x\n", False),
        (["two", "one"], "HTTP/1.1 200 OK\r\n\r\none\ntwo\n", False),
        (["two", "one"], "one\ntwo\n", False),
        (["HTTP/1.1 404 ..."], "HTTP/1.1 404 Not Found\r\n", True),
        (["HTTP/1.1 404 ..."], "HTTP/1.1 200 OK\r\n", False),
        (["server: x"], "server: xy\n", False),
        (["same", "same"], "same\n", False),
        ([], "anything", True),
        (["something"], "", False),
    ],
)
def test_lines_must_come_in_their_order(wanted: list[str], output: str, agrees: bool) -> None:
    assert (difference(Shown("curl x", tuple(wanted)), output) == "") is agrees


@pytest.mark.parametrize(
    ("output", "agrees"),
    [
        ("  155 a\n  45 b\n", True),
        ("  200 a\n", False),
        ("  100 a\n  100 b\n", False),
        ("  160 a\n  39 b\n", False),
        ("  150 a\n  40 b\n  10 c\n", False),
    ],
)
def test_counts_may_differ_by_luck_only(output: str, agrees: bool) -> None:
    shown = Shown("for ...; done | sort | uniq -c", ("    160 a", "     40 b"))
    assert (difference(shown, output) == "") is agrees
