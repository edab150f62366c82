"""``gatewayd demo``: what its flags ask of the demo itself (which has its own tests)."""

from __future__ import annotations

import pytest

from gatewayd import demo
from gatewayd.cli import main


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    seen: list[tuple[object, ...]] = []

    def record(*arguments: object) -> int:
        seen.append(arguments)
        return 77

    monkeypatch.setattr(demo, "run_demo", record)
    return seen


def test_the_defaults(asked: list[tuple[object, ...]]) -> None:
    assert main(["demo"]) == 77, "its exit code is the command's"
    assert asked == [(8080, 8443, ("127.0.0.1",), ())]


def test_flags_and_what_is_handed_on_to_run(asked: list[tuple[object, ...]]) -> None:
    words = "demo --http-port 9090 --https-port 9091 --bind 0.0.0.0,:: -- --access-log off"
    main(words.split())
    assert asked == [(9090, 9091, ("0.0.0.0", "::"), ("--access-log", "off"))]


@pytest.mark.parametrize(
    "words",
    ["demo --http-port 0", "demo --https-port 65536", "demo --bind localhost", "demo --access-log off"],
)
def test_a_wrong_call_exits_64(asked: list[tuple[object, ...]], words: str) -> None:
    assert main(words.split()) == 64
    assert asked == []
