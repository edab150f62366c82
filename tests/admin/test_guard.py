"""Who may ask the admin port: no web page, wherever it comes from (product.md section 4)."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gatewayd.admin.guard import HEADER, Guard
from gatewayd.admin.messages import Answer, Rejected, Request
from gatewayd.admin.paths import Path, Paths

DONE: list[str] = []


def paths(*names: str) -> Paths:
    def do(request: Request) -> Answer:
        DONE.append(request.path)
        return Answer(200, "done")

    return Paths(
        (
            Path("/look", "looks", do, parameters={"x": "an x"}),
            Path("/api/v1/look", "looks too", do, parameters={"x": "an x"}),
            Path("/change", "changes", do, changes=True),
            Path("/ask", "asks", do, posted=True),
        ),
        Guard(names),
    )


def asked(
    path: str = "/look", method: str = "GET", headers: Mapping[str, str] | None = None, **facts: object
) -> int:
    """The status, and whether anything was done is in ``DONE``."""
    DONE.clear()
    given = {"host": "localhost:15000", **(headers or {})}
    request = Request(method, path, headers={k: v for k, v in given.items() if v}, **facts)  # type: ignore[arg-type]
    try:
        answer = paths("gw.internal").answer(request)
    except Rejected as rejected:
        assert not DONE
        return rejected.answer.status
    assert isinstance(answer, Answer)
    return answer.status


@pytest.mark.parametrize(
    "host",
    [
        *(
            "localhost",
            "LOCALHOST:15000",
            "127.0.0.1:15000",
            "[::1]:15000",
            "[::1]",
            "10.1.2.3:80",
            "x.localhost",
        ),
        *("gw.internal", "GW.internal:15000", "localhost."),
    ],
)
def test_addresses_localhost_and_names_that_were_allowed_are_ours(host: str) -> None:
    assert asked(headers={"host": host}) == 200


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.test",
            "evil.test:15000",
            "localhost.evil.test",
            "127.0.0.1.evil.test",
            "evil.test.",
            "gw.internal.x",
        ),
        *(
            "[::1",
            "::1:x",
            "localhost:evil",
            "127.0.0.1:15000.evil.test",
            "0x7f.1",
            "2130706433",
            "notlocalhost",
        ),
    ],
)
def test_a_name_that_was_made_to_lead_here_gets_nothing(host: str) -> None:
    assert asked(headers={"host": host}) == 403
    assert asked("/change", "POST", {"host": host, HEADER: "1"}) == 403


def test_a_request_without_host_gets_nothing() -> None:
    assert asked(headers={"host": ""}) == 400
    assert asked(headers={"host": ""}, http10=True) == 200


def test_on_a_unix_socket_the_host_does_not_matter() -> None:
    assert asked(headers={"host": "whatever"}, local=True) == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.test", "null", "https://localhost:15001", "http://localhost"]
)
def test_a_page_of_another_origin_gets_nothing(origin: str) -> None:
    assert asked(headers={"origin": origin}) == 403
    assert asked("/change", "POST", {"origin": origin, HEADER: "1"}) == 403


@pytest.mark.parametrize("site", ["cross-site"])
def test_a_page_of_another_site_gets_nothing(site: str) -> None:
    assert asked(headers={"sec-fetch-site": site}) == 403


def test_a_page_that_was_served_here_may_ask() -> None:
    own = {"origin": "http://localhost:15000", "sec-fetch-site": "same-origin"}
    assert asked(headers=own) == 200
    assert asked("/change", "POST", {**own, HEADER: "1"}) == 200
    assert DONE == ["/change"]


@pytest.mark.parametrize("path", ["/change", "/ask"])
def test_what_is_posted_needs_the_header_that_no_form_can_send(path: str) -> None:
    assert asked(path, "POST") == 403
    assert asked(path, "POST", {HEADER: "1"}) == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_nothing_but_post_changes_anything(method: str) -> None:
    assert asked("/change", method, {HEADER: "1"}) == 405


def test_looking_is_get_and_head() -> None:
    assert asked("/look", "HEAD") == 200
    assert asked("/look", "POST", {HEADER: "1"}) == 405


def test_a_wrong_method_is_told_the_right_one() -> None:
    with pytest.raises(Rejected) as refused:
        paths().answer(Request("GET", "/change", headers={"host": "localhost"}))
    answer = refused.value.answer
    assert answer.body == "Method GET not allowed, POST required.\n"
    assert ("allow", "POST") in answer.headers


def test_a_wrong_path_is_told_the_right_ones() -> None:
    with pytest.raises(Rejected) as refused:
        paths().answer(Request("GET", "/nope", headers={"host": "localhost"}))
    assert refused.value.answer.status == 404
    body = str(refused.value.answer.body)
    assert body.startswith("invalid path. admin commands are:\n")
    assert "  /change (POST): changes\n" in body
    assert "      x: an x\n" in body


def test_a_parameter_that_is_not_known_is_not_overlooked() -> None:
    for path, method in (("/api/v1/look", "GET"), ("/ask", "POST"), ("/change", "POST")):
        assert asked(path, method, {HEADER: "1"}, query={"X": "1"}) == 400
    assert asked("/api/v1/look", query={"x": "1"}) == 200
    assert asked("/look", query={"X": "1"}) == 200, (
        "Envoy overlooks it, and scripts written for Envoy rely on that"
    )


def test_the_page_lists_all_paths() -> None:
    answer = paths().answer(Request("GET", "/", headers={"host": "localhost"}))
    assert isinstance(answer, Answer)
    assert '<a href="/look">/look</a>' in str(answer.body)
    assert "POST /change" in str(answer.body)
