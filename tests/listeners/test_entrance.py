"""What a swap touches at a listener: the chains that are others, and nothing else (semantics 3.3, hardening 9.1)."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from gatewayd.http.limits import HttpLimits
from gatewayd.listeners.entrance import TLS, Entrance
from gatewayd.listeners.listener import Listener
from gatewayd.snapshot import FilterChain, ListenerSpec


class Port:
    """Notes which chains it was given."""

    def __init__(self, chain: FilterChain) -> None:
        self.chains = [chain]

    def use(self, chain: FilterChain) -> None:
        self.chains.append(chain)


class Doors:
    """An entrance whose ports are looked at."""

    def __init__(self, spec: ListenerSpec) -> None:
        self.ports: list[Port] = []
        proxy: Any = SimpleNamespace(
            watch=lambda _: None, log=print, http=self._made, tcp=lambda _, chain: self._made(_, chain)
        )
        self.entrance = Entrance(proxy, Listener(spec))

    def _made(self, _: Any, chain: FilterChain, **__: Any) -> Port:
        self.ports.append(Port(chain))
        return self.ports[-1]

    def used(self) -> list[int]:
        """How often each port was given a chain."""
        return [len(port.chains) for port in self.ports]

    def chosen(self, name: str) -> Any:
        """The chain for an SNI, and whether its port has it."""
        desk = self.entrance._desk
        chain = desk.index.choose(name)
        assert desk.factories[chain].chains[-1] is chain
        return chain


def chain(name: str, *server_names: str, tls: Any = "holder") -> FilterChain:
    return FilterChain(name, 443, server_names, tls=tls)


def spec(*chains: FilterChain, protocol: str = TLS) -> ListenerSpec:
    return ListenerSpec("0.0.0.0_443", (("0.0.0.0", 443),), 443, protocol, chains, HttpLimits())


def test_only_the_chain_that_changed_is_put_in_its_port() -> None:
    chains = [chain(f"c{number}", f"h{number}.test") for number in range(100)]
    doors = Doors(spec(*chains))
    other = replace(chains[7], port=444)
    doors.entrance.use(spec(*chains[:7], other, *chains[8:]))
    assert doors.used() == [1] * 7 + [2] + [1] * 92
    assert doors.chosen("h7.test") is other
    assert doors.chosen("h8.test") is chains[8]
    assert set(doors.entrance._desk.factories) == {*chains[:7], other, *chains[8:]}


def test_a_listener_with_one_plain_chain_keeps_its_port() -> None:
    only = chain("http.80", tls=None)
    doors = Doors(spec(only, protocol="HTTP"))
    doors.entrance.use(spec(replace(only, port=81), protocol="HTTP"))
    assert doors.used() == [2]


def test_chains_that_take_other_connections_are_looked_at_all_together() -> None:
    first, second = chain("first", "a.test"), chain("second", "b.test")
    doors = Doors(spec(first, second))
    named = replace(first, server_names=("c.test",))
    doors.entrance.use(spec(named, second))
    assert doors.chosen("c.test") is named
    assert doors.entrance._desk.index.choose("a.test") is None
    secured = replace(named, tls="another holder")
    doors.entrance.use(spec(secured, second))
    assert len(doors.ports) == 3, (
        "whoever was let in by the old certificate does not go on as if by the new one"
    )
    assert doors.chosen("c.test") is secured
    third = chain("third", "d.test")
    doors.entrance.use(spec(secured, second, third))
    assert doors.chosen("d.test") is third
    doors.entrance.use(spec(third))
    assert doors.entrance._desk.index.choose("b.test") is None
