"""The listening sockets of several workers, and those that somebody else opened."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewayd.http.limits import HttpLimits
from gatewayd.listeners import sockets as sockets_module
from gatewayd.listeners.doors import Doors, NotBound
from gatewayd.listeners.inherited import Given, Inherited, from_systemd
from gatewayd.listeners.passed import Passed
from gatewayd.listeners.sockets import Address, close_sockets, open_sockets
from gatewayd.snapshot import ListenerSpec
from tests.support.ports import PortReservation


def spec(*bind: Address, number: int = 80, names: tuple[str, ...] = ()) -> ListenerSpec:
    return ListenerSpec("test", bind, number, "HTTP", (), HttpLimits(), port_names=names)


@pytest.fixture
def port() -> int:
    held = PortReservation(("127.0.0.1", "::1"))
    held.release()
    return held.port


@pytest.fixture
def doors() -> Iterator[Doors]:
    made = Doors(3)
    yield made
    made.close()


def listening(host: str, port: int, **settings: bool) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for name, value in settings.items():
        sock.setsockopt(socket.IPPROTO_IPV6, getattr(socket, name.upper()), value)
    sock.bind((host, port))
    sock.listen()
    return sock


class TestSlots:
    def test_each_has_its_own_socket_of_every_address(self, doors: Doors, port: int) -> None:
        doors.open([spec(("127.0.0.1", port), ("::1", port))])
        for address in (("127.0.0.1", port), ("::1", port)):
            found = [doors.bound(slot)[address] for slot in range(3)]
            assert len({id(sock) for (sock,) in found}) == 3
            assert {sock.getsockname()[1] for (sock,) in found} == {port}

    def test_a_number_the_kernel_chooses_is_one_for_all(self, doors: Doors) -> None:
        doors.open([spec(("127.0.0.1", 0), ("::1", 0))])
        numbers = {
            sock.getsockname()[1]
            for slot in range(3)
            for sockets in doors.bound(slot).values()
            for sock in sockets
        }
        assert len(numbers) == 1

    def test_unix_sockets_are_one_for_all(self, doors: Doors, tmp_path: Path) -> None:
        address = (f"unix:{tmp_path}/edge", 0)
        doors.open([spec(address)])
        assert len({id(sock) for slot in range(3) for sock in doors.bound(slot)[address]}) == 1
        doors.close()
        assert not (tmp_path / "edge").exists()

    def test_an_address_another_service_shares_out_is_taken(self, doors: Doors, port: int) -> None:
        doors.open([spec(("127.0.0.1", port))])
        with pytest.raises(NotBound, match=f"cannot bind 127.0.0.1:{port}: address already in use"):
            Doors(2).open([spec(("127.0.0.1", port))])

    def test_all_or_nothing_new(self, doors: Doors, port: int) -> None:
        with listening("127.0.0.1", 0) as taken:
            other = ("127.0.0.1", taken.getsockname()[1])
            doors.open([spec(("127.0.0.1", port))])
            more = PortReservation()
            more.release()
            with pytest.raises(NotBound):
                doors.open([spec(("127.0.0.1", port)), spec(("127.0.0.1", more.port)), spec(other)])
            assert list(doors.bound(0)) == [("127.0.0.1", port)]
            close_sockets(open_sockets([("127.0.0.1", more.port)]))

    def test_what_is_not_kept_is_closed_in_all(self, doors: Doors, port: int) -> None:
        doors.open([spec(("127.0.0.1", port)), spec(("::1", port))])
        doors.settle([("::1", port)])
        close_sockets(open_sockets([("127.0.0.1", port)]))
        assert list(doors.bound(2)) == [("::1", port)]

    def test_a_copy_of_the_process_does_not_remove_the_file(
        self, doors: Doors, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        doors.open([spec((f"unix:{tmp_path}/edge", 0))])
        (sock,) = doors.bound(0)[f"unix:{tmp_path}/edge", 0]
        with monkeypatch.context() as patched:
            patched.setattr(os, "getpid", lambda: -1)
            sockets_module.remove_file(sock)
        assert (tmp_path / "edge").exists()


class TestAPredecessors:
    @pytest.mark.parametrize("left", [1, 2, 3, 5])
    def test_sockets_are_dealt_out_whatever_the_number_of_its_workers(self, port: int, left: int) -> None:
        address = ("127.0.0.1", port)
        former = tuple(open_sockets([address], reuse_port=True)[0] for _ in range(left))
        doors = Doors(3, Inherited(former={address: former}))
        doors.open([spec(address)])
        found = [set(map(id, doors.bound(slot)[address])) for slot in range(3)]
        assert all(found), "nobody goes without"
        assert set(map(id, former)) <= set.union(*found), "none is forgotten with who waits there"
        doors.close()

    def test_those_of_addresses_that_are_gone_are_closed(self, port: int, tmp_path: Path) -> None:
        gone = open_sockets([("127.0.0.1", port), (f"unix:{tmp_path}/gone", 0)])
        sockets_module.disown_files()
        inherited = Inherited(
            former={("127.0.0.1", port): (gone[0],), (f"unix:{tmp_path}/gone", 0): (gone[1],)}
        )
        inherited.close_former()
        close_sockets(open_sockets([("127.0.0.1", port)]))
        assert not (tmp_path / "gone").exists()

    def test_a_port_of_our_own_goes_by_its_name(self) -> None:
        (sock,) = open_sockets([("127.0.0.1", 0)])
        doors = Doors(1, Inherited(services={"status": [sock]}))
        assert doors.open_service("status", ("127.0.0.1", 0), "") == [sock]
        (other,) = doors.open_service("metrics", ("127.0.0.1", 0), "")
        assert other is not sock
        close_sockets([sock, other])


class TestSystemds:
    def test_a_name_takes_all_sockets_that_have_it_and_binds_nothing(self, port: int) -> None:
        with listening("127.0.0.1", 0) as one, listening("127.0.0.1", 0) as two:
            doors = Doors(1, Inherited(given=[Given(one, "web"), Given(two, "web")]))
            bound = doors.open([spec(("127.0.0.1", port), ("::1", port), names=("web",))])
            assert [sock for sockets in bound.values() for sock in sockets] == [one, two]
            close_sockets(open_sockets([("127.0.0.1", port)]))

    def test_by_address_some_are_given_and_the_rest_is_bound(self, port: int) -> None:
        with listening("127.0.0.1", port) as given:
            doors = Doors(1, Inherited(given=[Given(given, "")]))
            bound = doors.open([spec(("127.0.0.1", port), ("::1", port))])
            assert bound["127.0.0.1", port] == (given,)
            assert len(bound["::1", port]) == 1
            doors.close()
            assert given.fileno() >= 0, "it stays open"

    def test_one_that_takes_ipv4_as_well_stands_for_both(self, port: int) -> None:
        with listening("::", port, ipv6_v6only=False) as given:
            doors = Doors(2, Inherited(given=[Given(given, "")]))
            doors.open([spec(("0.0.0.0", port), ("::", port))])
            assert [sock for sockets in doors.bound(1).values() for sock in sockets] == [given]

    def test_one_of_ipv6_alone_does_not(self, port: int) -> None:
        with listening("::", port, ipv6_v6only=True) as given:
            doors = Doors(1, Inherited(given=[Given(given, "")]))
            bound = doors.open([spec(("0.0.0.0", port), ("::", port))])
            assert bound["::", port] == (given,)
            assert bound["0.0.0.0", port][0].family == socket.AF_INET
            doors.close()

    def test_a_listener_that_comes_again_has_it_again(self, port: int) -> None:
        with listening("127.0.0.1", port) as given:
            doors = Doors(1, Inherited(given=[Given(given, "")]))
            for _ in range(2):
                assert doors.open([spec(("127.0.0.1", port))]) == {("127.0.0.1", port): (given,)}
                doors.settle(())

    @pytest.mark.parametrize(
        "environment",
        [
            {},
            {"LISTEN_PID": "1", "LISTEN_FDS": "2"},
            {"LISTEN_PID": "own", "LISTEN_FDS": "many"},
            {"LISTEN_FDS": "1"},
        ],
    )
    def test_without_a_word_for_us_there_are_none(self, environment: dict[str, str]) -> None:
        given = {name: value.replace("own", str(os.getpid())) for name, value in environment.items()}
        assert from_systemd(given) == []
        assert not given.keys() & {"LISTEN_PID", "LISTEN_FDS"}, "no child takes them for its own"


class TestPassed:
    def test_a_worker_accepts_for_slots_it_stands_in_for_until_it_steps_back(self, port: int) -> None:
        address = ("127.0.0.1", port)
        doors = Doors(2)
        doors.open([spec(address)])
        own, other = doors.bound(0), doors.bound(1)
        passed = Passed(0, own)
        passed.take(1, address, other[address][0])
        assert passed.open([spec(address)]) == {address: (*own[address], *other[address])}
        assert passed.drop(1) == list(other[address])
        assert passed.drop(0) == [], "its own stay"
        assert passed.open([spec(address)]) == own
        doors.close()

    def test_an_address_without_a_socket_is_refused(self) -> None:
        with pytest.raises(NotBound, match=r"no socket was passed for 127\.0\.0\.1:1"):
            Passed(0, {}).open([spec(("127.0.0.1", 1))])

    def test_an_address_whose_connections_come_in_by_another_has_none(self, port: int) -> None:
        passed = Passed(0, {})
        passed.take(0, ("0.0.0.0", port), None)
        assert passed.open([spec(("0.0.0.0", port))]) == {("0.0.0.0", port): ()}
