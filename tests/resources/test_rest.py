"""All problems of a document at once: what does not fit its type, and what the checks find in the rest."""

from __future__ import annotations

from typing import Any

import pytest

from gatewayd.resources.envelope import open_document

ROUTE = {"destination": {"host": "a.test"}}


def messages(http: Any, **spec: Any) -> list[str]:
    """What is said of a VirtualService."""
    document = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "shop"},
        "spec": {"hosts": ["shop.test"], "http": http, **spec},
    }
    opened = open_document(document)
    assert opened.spec is None
    return [fault.message for fault in opened.faults]


def test_what_has_the_wrong_type_does_not_hide_what_has_the_wrong_value() -> None:
    broken = {
        "match": [{"uri": {"prfix": "/"}}],
        "timeout": None,
        "route": [{"destination": {"host": "a.test", "port": {"number": 99999}}, "weight": -1}],
        "retries": {"attempts": "x", "retryOn": "5xx,gatway-error"},
    }
    assert set(messages([broken], hosts=["*.*.test"])) >= {
        'unknown field "prfix" (did you mean "prefix"?)',
        '"attempts" must be a whole number, not the text "x"',
        'unknown retry condition "gatway-error" (did you mean "gateway-error"?)',
        "a weight may not be negative (-1)",
        "port number must be from 1 to 65535, not 99999",
    }


@pytest.mark.parametrize(
    ("http", "said"),
    [
        ([{"rout": [ROUTE]}], 'unknown field "rout" (did you mean "route"?)'),
        ([{"route": [{**ROUTE, "wieght": 90}, {**ROUTE, "weight": 10}]}], 'unknown field "wieght"'),
        ([{"route": [{**ROUTE, "weight": "90"}, {**ROUTE, "weight": 0}]}], '"weight" must be a whole number'),
        ([{"route": [{"weight": 1}]}], 'missing required field "destination"'),
        ([{"route": [7]}], '"route[0]" must be a mapping, not the number 7'),
        ([{"redirect": 7}], '"redirect" must be a mapping, not the number 7'),
        ([{"route": [ROUTE], "retries": {"attempts": "x", "retryOn": "5xx"}}], '"attempts" must be'),
        (7, '"http" must be a list, not the number 7'),
    ],
)
def test_what_only_comes_of_a_problem_is_not_said_beside_it(http: Any, said: str) -> None:
    (message,) = messages(http)
    assert message.startswith(said)


@pytest.mark.parametrize("spec", [7, [], "x"])
def test_a_spec_that_is_no_mapping_is_one_problem(spec: Any) -> None:
    opened = open_document(
        {"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"name": "a"}, "spec": spec}
    )
    assert len(opened.faults) == 1
