"""Which rule takes a request, and rewrites, redirects and direct responses, as the real Envoy does (5, 6.3 to 6.5)."""

from __future__ import annotations

import json
import random
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.differential.envoy import cluster, route
from tests.differential.pair import Pair, Request, service

URIS = ["/", "/a", "/a/", "/a/b", "/A/b", "/ab", "/a//b", "/a%2fb", "/c", "/c/d.e", "/x"]
EXPRESSIONS = ["/a.*", "/[a-c]", "/a/[^/]+", ".*b", "(?i)/A/B", "/c/d[.]e"]
NAMES = ["x-a", "X-B", "accept", "x-c_d"]
VALUES = ["", "one", "One", "one,two", "one two", "o", "1"]
VALUE_EXPRESSIONS = ["o.*", "[a-z]+", ".*", "", "one|1", "(?i)ONE"]
PARAMETERS = ["p", "P", "q", "p%20q"]
METHODS = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"]
HOSTS = ["a.test", "A.test", "a.test:80", "a.test:8080", "b.test", "a.test.", "[::1]:443"]
CODES = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}


def text_condition(draw: random.Random, values: list[str], expressions: list[str]) -> dict[str, str]:
    kind = draw.choice(["exact", "prefix", "regex"])
    words = [value for value in (expressions if kind == "regex" else values) if value]
    return {kind: draw.choice(words)}


def as_matcher(condition: dict[str, str]) -> dict[str, Any]:
    """A StringMatch of Istio's as Envoy's StringMatcher."""
    ((kind, value),) = condition.items()
    return {"safe_regex": {"regex": value}} if kind == "regex" else {kind: value}


def condition(draw: random.Random) -> dict[str, Any]:
    """One alternative of a rule's ``match``."""
    found: dict[str, Any] = {}
    if draw.random() < 0.8:
        found["uri"] = text_condition(draw, URIS, EXPRESSIONS)
        if draw.random() < 0.3:
            found["ignoreUriCase"] = True
    for key, chance in (("headers", 0.4), ("withoutHeaders", 0.3)):
        if draw.random() < chance:
            found[key] = {
                name: {} if draw.random() < 0.2 else text_condition(draw, VALUES, VALUE_EXPRESSIONS)
                for name in draw.sample(NAMES, draw.choice([1, 1, 2]))
            }
    if draw.random() < 0.2:
        found["queryParams"] = {
            draw.choice(PARAMETERS): {}
            if draw.random() < 0.2
            else text_condition(draw, ["1", "a b", "%31", "+"], ["[0-9]+", ".*", "a.*"])
        }
    if draw.random() < 0.2:
        found["method"] = text_condition(draw, ["GET", "P", "POST"], ["GET|PUT", "P.*"])
    if draw.random() < 0.15:
        found["authority"] = text_condition(draw, HOSTS, [".*:80", "(?i)a[.]test"])
    return found


def envoy_match(found: dict[str, Any]) -> dict[str, Any]:
    """What istiod makes of such an alternative (semantics 5.6 to 5.11)."""
    match: dict[str, Any] = {"prefix": "/"}
    if "uri" in found:
        ((kind, value),) = found["uri"].items()
        match = {
            "exact": {"path": value},
            "prefix": {"prefix": value},
            "regex": {"safe_regex": {"regex": value}},
        }[kind]
    if found.get("ignoreUriCase") and "regex" not in found.get("uri", {}):
        match["case_sensitive"] = False
    headers: list[dict[str, Any]] = []
    for key, negated in (("headers", False), ("withoutHeaders", True)):
        for name, text in sorted(found.get(key, {}).items()):
            header: dict[str, Any] = {"name": name, "present_match": True}
            if text:
                header = {"name": name, "string_match": as_matcher(text)}
                if negated:
                    header["treat_missing_header_as_empty"] = True
            if negated:
                header["invert_match"] = True
            headers.append(header)
    for key in ("method", "authority"):
        if key in found:
            headers.append({"name": f":{key}", "string_match": as_matcher(found[key])})
    if headers:
        match["headers"] = headers
    if "queryParams" in found:
        match["query_parameters"] = [
            {"name": name, **({"string_match": as_matcher(text)} if text else {"present_match": True})}
            for name, text in found["queryParams"].items()
        ]
    return match


class Rule:
    """A rule and its routes, one for each alternative."""

    def __init__(self, number: int, draw: random.Random) -> None:
        self.matches = [condition(draw) for _ in range(draw.choice([1, 1, 2]))]
        self.matches = [found for found in self.matches if found] or [{"uri": {"exact": f"/{number}"}}]
        self.number = number
        self.redirect: dict[str, Any] = {}
        self.rewrite: dict[str, Any] = {}
        self.kind = draw.choice(["direct", "direct", "redirect", "forward", "forward"])
        if self.kind == "redirect":
            options: dict[str, list[Any]] = {
                "uri": ["/new", "/new?z=1", "new"],
                "authority": ["c.test", "c.test:81"],
                "scheme": ["http", "https"],
                "port": [8080],
                "redirectCode": list(CODES),
            }
            chosen = draw.sample(sorted(options), draw.choice([1, 2, 3]))
            self.redirect = {name: draw.choice(options[name]) for name in chosen}
            if not self.redirect.keys() - {"redirectCode"}:
                self.redirect["uri"] = "/new"
        elif self.kind == "forward" and draw.random() < 0.8:
            if draw.random() < 0.6:
                self.rewrite["uri"] = draw.choice(["/", "/new", "/new/", "/n?z=1"])
            else:
                expression, new = draw.choice(
                    [("/a", "/b"), ("([a-z])/([a-z])", r"\2/\1"), ("^/(.*)$", r"/v1/\1"), ("b", "z")]
                )
                self.rewrite["uriRegexRewrite"] = {"match": expression, "rewrite": new}
            if draw.random() < 0.4:
                self.rewrite["authority"] = "d.test:82"

    def yaml(self) -> dict[str, Any]:
        rule: dict[str, Any] = {"name": f"r{self.number}", "match": self.matches}
        if self.kind == "direct":
            return rule | {
                "directResponse": {"status": 200 + self.number, "body": {"string": f"r{self.number}"}}
            }
        if self.kind == "redirect":
            return rule | {"redirect": self.redirect}
        if self.rewrite:
            rule["rewrite"] = self.rewrite
        return rule | {"route": [{"destination": {"host": "a.test"}}]}

    def envoy(self) -> list[dict[str, Any]]:
        return [
            {**self._action(), "name": f"r{self.number}", "match": envoy_match(found)}
            for found in self.matches
        ]

    def _action(self) -> dict[str, Any]:
        if self.kind == "direct":
            return {
                "direct_response": {"status": 200 + self.number, "body": {"inline_string": f"r{self.number}"}}
            }
        if self.kind == "redirect":
            names = {
                "uri": "path_redirect",
                "authority": "host_redirect",
                "scheme": "scheme_redirect",
                "port": "port_redirect",
            }
            action = {names[name]: value for name, value in self.redirect.items() if name in names}
            if "redirectCode" in self.redirect:
                action["response_code"] = CODES[self.redirect["redirectCode"]]
            return {"redirect": action}
        action = {}
        if "uri" in self.rewrite:
            action["prefix_rewrite"] = self.rewrite["uri"]
        if "uriRegexRewrite" in self.rewrite:
            written = self.rewrite["uriRegexRewrite"]
            action["regex_rewrite"] = {
                "pattern": {"regex": written["match"]},
                "substitution": written["rewrite"],
            }
        if "authority" in self.rewrite:
            action["host_rewrite_literal"] = self.rewrite["authority"]
        return route("/", "a", action=action)


def drawn(draw: random.Random) -> Request:
    path = draw.choice(
        [*URIS, "/a/./b", "/a/../c", "/a%41", "/%61", "/A", "/AB", "/a;b", "/a/b/", "/q%zz", "//a", "/a\\b"]
    )
    query = draw.choice(
        [
            "",
            "",
            "?",
            "?p",
            "?p=",
            "?p=1",
            "?p=2&p=1",
            "?P=1",
            "?p=%31",
            "?q=a%20b",
            "?p=+",
            "?p%20q=1",
            "?a;p=1",
            "?p=1?2",
        ]
    )
    fields = [
        (draw.choice([*NAMES, "X-A", "Accept"]), draw.choice([*VALUES, "two", "none"]))
        for _ in range(draw.choice([0, 1, 1, 2, 3]))
    ]
    return Request(path + query, draw.choice(METHODS), fields, host=draw.choice(HOSTS))


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
async def test_5_and_6_3_to_6_5_which_rule_and_what_it_does(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    rules = [Rule(number, draw) for number in range(40)]

    def envoy(ports: dict[str, int]) -> tuple[list[Any], list[Any], list[Any]]:
        return [each for rule in rules for each in rule.envoy()], [cluster("a", [ports["one"]])], []

    text = textwrap.indent(json.dumps([rule.yaml() for rule in rules], indent=1), "    ")
    async with Pair(
        tmp_path, ["one"], text, envoy, lambda ports: service("a.test", [ports["one"]]), any_upstream=False
    ) as pair:
        for _ in range(200):
            await pair.same(drawn(draw))
        await pair.same_logs()
