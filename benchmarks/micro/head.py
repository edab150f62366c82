"""Parsing heads of requests and responses: bytes seen before, seen in part, and new."""

from collections.abc import Iterator

from benchmarks.micro import heads
from benchmarks.micro.timing import Timing, measure, measure_fresh
from gatewayd.http.h1.head import RequestParser
from gatewayd.http.h1.response import ResponseParser
from gatewayd.http.options import HttpOptions


def benchmarks(seconds: float) -> Iterator[Timing]:
    """Request and response heads of the three kinds of traffic."""
    requests, responses = RequestParser(HttpOptions()), ResponseParser(HttpOptions())
    kinds = {"repeated": heads.repeated(), "varied": heads.varied()}
    for kind, inputs in kinds.items():
        yield measure(f"request head, {kind}", requests.parse, inputs, seconds)
    yield measure_fresh("request head, new", requests.parse, heads.fresh, seconds)
    for kind, inputs in kinds.items():
        answers = [response_head(each) for each in inputs]
        yield measure(f"response head, {kind}", responses.parse, answers, seconds)
    yield measure_fresh(
        "response head, new",
        responses.parse,
        lambda number, count: [response_head(each) for each in heads.fresh(number, count)],
        seconds,
    )


def response_head(request: bytes) -> bytes:
    """The head of the upstream's answer, with its empty line."""
    head, mark, _ = heads.response(request).partition(b"\r\n\r\n")
    return head + mark
