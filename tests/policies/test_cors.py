"""CORS (semantics 6.10): what a preflight is answered, and what answers get."""

from __future__ import annotations

from gatewayd.http.message import Fields
from gatewayd.policies.cors import CorsPolicy, apply_answer

A = b"https://a.test"


def policy(**changes: object) -> CorsPolicy:
    given: dict[str, object] = {
        "allows": lambda origin: origin == A,
        "methods": b"GET,POST",
        "headers": b"x-one,X-Two",
        "expose": b"x-exp",
        "max_age": b"86400",
        "credentials": True,
    }
    return CorsPolicy(**(given | changes))  # type: ignore[arg-type]  # keywords by name


def fields(*pairs: tuple[bytes, bytes]) -> Fields:
    return Fields(pairs)


PREFLIGHT = fields((b"origin", A), (b"access-control-request-method", b"PUT"))


def test_6_10_4_a_preflight_is_answered_in_envoys_order() -> None:
    assert policy().preflight(b"OPTIONS", PREFLIGHT) == [
        (b"access-control-allow-origin", A),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-allow-methods", b"GET,POST"),
        (b"access-control-allow-headers", b"x-one,X-Two"),
        (b"access-control-max-age", b"86400"),
        (b"access-control-expose-headers", b"x-exp"),
    ]


def test_6_10_4_empty_lists_give_no_field() -> None:
    bare = policy(methods=b"", headers=b"", expose=b"", max_age=b"", credentials=False)
    assert bare.preflight(b"OPTIONS", PREFLIGHT) == [(b"access-control-allow-origin", A)]


def test_6_10_4_a_star_echoes_what_was_asked_for() -> None:
    star = policy(methods=b"*", headers=b"*", expose=b"", max_age=b"", credentials=False)
    asked = Fields([*PREFLIGHT.pairs, (b"access-control-request-headers", b"x-a,x-b")])
    assert star.preflight(b"OPTIONS", asked) == [
        (b"access-control-allow-origin", A),
        (b"access-control-allow-methods", b"PUT"),
        (b"access-control-allow-headers", b"x-a,x-b"),
    ]
    assert (b"access-control-allow-headers", b"") in (star.preflight(b"OPTIONS", PREFLIGHT) or [])


def test_6_10_3_and_6_10_7_only_options_with_origin_and_asked_method_is_a_preflight() -> None:
    assert policy().preflight(b"GET", PREFLIGHT) is None
    assert policy().preflight(b"OPTIONS", fields((b"origin", A))) is None
    assert policy().preflight(b"OPTIONS", fields((b"access-control-request-method", b"PUT"))) is None
    empty = fields((b"origin", b""), (b"access-control-request-method", b"PUT"))
    assert policy().preflight(b"OPTIONS", empty) is None


def test_6_10_5_a_foreign_preflight_goes_upstream_unless_told_otherwise() -> None:
    foreign = fields((b"origin", b"https://evil.test"), (b"access-control-request-method", b"PUT"))
    assert policy().preflight(b"OPTIONS", foreign) is None
    answered = policy(forward_unmatched=False).preflight(b"OPTIONS", foreign)
    assert answered is not None
    names = [name for name, _ in answered]
    assert b"access-control-allow-origin" not in names
    assert b"access-control-allow-methods" in names
    assert b"access-control-allow-headers" in names


def test_6_10_6_answers_to_an_allowed_origin_are_marked_and_overwrite_the_upstream() -> None:
    added = policy().answer(fields((b"origin", A)))
    upstream = [(b"access-control-allow-origin", b"*"), (b"x-own", b"1")]
    assert apply_answer(upstream, added) == [
        (b"x-own", b"1"),
        (b"access-control-allow-origin", A),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-expose-headers", b"x-exp"),
    ]


def test_6_10_6_a_foreign_origin_and_two_origin_lines_get_nothing() -> None:
    assert policy().answer(fields((b"origin", b"https://evil.test"))) == []
    assert policy().answer(fields()) == []
    assert policy().answer(fields((b"origin", A), (b"origin", A))) == []
