"""Parsing heads of requests and responses: bytes seen before, seen in part, and new."""

from collections.abc import Iterator
from functools import partial

from benchmarks.micro import heads
from benchmarks.micro.timing import Timing, measure
from gatewayd.http.h1.head import RequestParser
from gatewayd.http.h1.response import ResponseParser
from gatewayd.http.options import HttpOptions


def response_heads(source: heads.Source, count: int) -> list[bytes]:
    """Heads of the answers to `count` requests."""
    return [heads.response_head(each) for each in source(count)]


def benchmarks(seconds: float) -> Iterator[Timing]:
    """Request and response heads of the three kinds of traffic."""
    requests, responses = RequestParser(HttpOptions()), ResponseParser(HttpOptions())
    for kind, source in heads.kinds():
        yield measure(f"request head, {kind}", requests.parse, source, seconds)
    for kind, source in heads.kinds():
        make = partial(response_heads, source)
        yield measure(f"response head, {kind}", responses.parse, make, seconds)
