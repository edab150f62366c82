"""Requests of the three kinds: how often heads repeat is what distinguishes them."""

from collections import Counter
from pathlib import Path

from benchmarks.macro import traffic


def header_lines(request: str) -> list[str]:
    assert request.endswith("\r\n\r\n")
    return request.removesuffix("\r\n\r\n").split("\r\n")[1:]


def targets(kind: traffic.Traffic) -> list[str]:
    return [request.split(" ")[1] for request in kind.requests]


def test_all_kinds_have_nine_headers() -> None:
    kinds = [traffic.repeated(1), traffic.varied(1), traffic.fresh(1), traffic.closing(1)]
    assert {len(header_lines(request)) for kind in kinds for request in kind.requests} == {9}


def test_repeated_heads_are_one_head() -> None:
    assert len(traffic.repeated(1).requests) == 1


def test_varied_heads_follow_zipf_and_hardly_repeat_as_a_whole() -> None:
    kind = traffic.varied(1)
    counts = [count for _, count in Counter(targets(kind)).most_common()]
    # Under Zipf's law over 4,000 paths the first takes 1/8.9 of all requests and the tenth 1/10 of that.
    assert 0.09 < counts[0] / len(kind.requests) < 0.14
    assert counts[0] / 15 < counts[9] < counts[0] / 6
    cookies = {line for request in kind.requests for line in header_lines(request) if "Cookie" in line}
    assert 1_900 < len(cookies) <= traffic.VARIED_CLIENTS
    assert len(set(kind.requests)) > 0.95 * len(kind.requests)


def test_a_client_keeps_its_user_agent() -> None:
    agents: dict[str, set[str]] = {}
    for request in traffic.varied(1).requests:
        lines = header_lines(request)
        agents.setdefault(lines[6], set()).add(lines[1])
    assert all(len(each) == 1 for each in agents.values())


def test_traffic_is_the_same_in_every_run() -> None:
    assert traffic.varied(1) == traffic.varied(1)
    assert traffic.random_rules(100, 1) == traffic.random_rules(100, 1)


def test_new_heads_are_a_template_of_three_fields() -> None:
    kind = traffic.fresh(1)
    assert kind.fresh
    assert kind.requests[0].count("%") == kind.requests[0].count("%s") == 3


def test_cookies_make_heads_equally_new_for_every_number_of_hosts() -> None:
    few = traffic.random_hosts(1, 1, cookies=True)
    many = traffic.random_hosts(1000, 1, cookies=True)
    assert len(set(few.requests)) == len(set(many.requests)) == traffic.SCALE_REQUESTS
    assert len(set(traffic.random_hosts(1, 1, cookies=False).requests)) == 5


def test_requests_are_written_apart_by_nul(tmp_path: Path) -> None:
    kind = traffic.Traffic("two", ("GET / HTTP/1.1\r\n\r\n", "GET /b HTTP/1.1\r\n\r\n"), 1)
    assert kind.write(tmp_path).read_bytes() == b"GET / HTTP/1.1\r\n\r\n\0GET /b HTTP/1.1\r\n\r\n"
