"""The access log in the user's own form: MeshConfig accessLogFormat, accessLogEncoding."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from gatewayd.observe.access_template import AccessLogForm
from tests.observe.infos import exchange, unparsed


def text(template: str, *infos: Any) -> str:
    return AccessLogForm("text", template).formatter()(infos or (exchange(),)).decode()


def record(template: Any, info: Any = None) -> Any:
    lines = AccessLogForm("json", json.dumps(template)).formatter()((info or exchange(),))
    assert lines.endswith(b"\n")
    return json.loads(lines)


def test_a_text_form_is_filled_for_each_exchange() -> None:
    lines = text("%REQ(:METHOD)% %RESPONSE_CODE% %UPSTREAM_CLUSTER%\n", exchange(), exchange(status=404))
    assert lines == "GET 200 outbound|8080|v2|shop.local\nGET 404 outbound|8080|v2|shop.local\n"


def test_a_text_form_without_line_end_gets_one() -> None:
    assert text("%RESPONSE_CODE%") == "200\n"


def test_what_is_absent_is_a_dash_in_text() -> None:
    assert text("%REQ(x-none)% %UPSTREAM_HOST%", unparsed()) == "- -\n"


def test_foreign_text_cannot_forge_a_line() -> None:
    info = exchange(headers=[(b"user-agent", b'a"\nb')])
    assert text("%REQ(user-agent)%", info) == "a\\x22\\x0ab\n"
    assert record({"a": "%REQ(user-agent)%"}, info) == {"a": 'a"\nb'}


def test_one_variable_keeps_its_kind_in_json() -> None:
    shown = record(
        {
            "code": "%RESPONSE_CODE%",
            "sent": "%BYTES_SENT%",
            "ms": "%DURATION%",
            "port": "%UPSTREAM_REMOTE_PORT%",
            "path": "%REQ(:PATH)%",
            "cut": "%REQ(:PATH):3%",
            "missing": "%REQ(x-none)%",
            "flags": "%RESPONSE_FLAGS%",
        }
    )
    assert shown == {
        "code": 200,
        "sent": 1024,
        "ms": 3,
        "port": 8080,
        "path": "/items?x=1",
        "cut": "/it",
        "missing": None,
        "flags": "-",
    }


def test_text_around_variables_is_text_with_dashes() -> None:
    shown = record({"mixed": "a %RESPONSE_CODE% b %REQ(x-none)% c", "two": "%RESPONSE_CODE%%RESPONSE_CODE%"})
    assert shown == {"mixed": "a 200 b - c", "two": "200200"}


def test_the_tree_is_kept_as_it_was_written() -> None:
    written = {
        "n": 5,
        "yes": True,
        "none": None,
        "list": ["%PROTOCOL%", "x"],
        "a": {"b": {"c": "%RESPONSE_CODE%"}},
    }
    assert record(written | {"pct": "100%%"}) == {
        "n": 5,
        "yes": True,
        "none": None,
        "list": ["HTTP/1.1", "x"],
        "a": {"b": {"c": 200}},
        "pct": "100%",
    }


def test_without_a_template_the_lines_are_istios() -> None:
    assert AccessLogForm("text").formatter()((exchange(),)).startswith(b"[2026-01-02T03:04:05.678Z] ")
    assert json.loads(AccessLogForm("json").formatter()((exchange(),)))["response_code"] == 200


@pytest.mark.parametrize(
    ("kind", "template", "said"),
    [
        ("text", "%NO_SUCH%", "unknown variable %NO_SUCH%: expected one of"),
        ("text", "50%", "begins no variable"),
        ("json", "{", "it is not JSON"),
        ("json", "[1]", "expected a JSON object"),
        ("json", '{"a": "%REQ%"}', "variable %REQ%: needs a header name"),
        ("json", '{"a": ' * 30 + "1" + "}" * 30, "nested more than 20 levels"),
        ("json", "[" * 100_000, "it is not JSON"),
    ],
)
def test_a_mistake_is_said(kind: str, template: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        AccessLogForm(kind, template).formatter()
