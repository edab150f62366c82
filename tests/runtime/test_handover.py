"""What a program leaves to the next one, and what a supervisor passes on of a reload: nothing is lost on the way."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import msgspec
import pytest

from gatewayd.listeners.inherited import Given
from gatewayd.listeners.sockets import close_sockets, open_sockets
from gatewayd.runtime.handover import Handover, Leaving, take
from gatewayd.runtime.wire import from_wire, merged, to_wire
from gatewayd.sources import News
from gatewayd.sources.files import FoundFile, Unreadable


class TestHandover:
    def test_says_which_descriptor_is_what(self) -> None:
        one, two, status, given = (open_sockets([("127.0.0.1", 0)])[0] for _ in range(4))
        ours, theirs = socket.socketpair()
        rows = [{"name": "requests", "kind": "counter"}]
        asked = ("127.0.0.1", 0)
        leaving = Leaving(
            sockets=[(asked, one), (asked, two)],
            services=[("status", status)],
            given=[Given(given, "http")],
            children=[(4711, 1, True, ours.fileno())],
            counted=rows,
        )
        environment, fds = leaving.write()
        assert {one.fileno(), two.fileno(), status.fileno(), given.fileno(), ours.fileno()} < set(fds)
        # The same process takes it, so each socket is there twice from here on.
        taken = take(environment)
        assert taken is not None
        assert environment == {}, "no child takes it for its own"
        assert [each.getsockname() for each in taken.inherited.former[asked]] == [
            one.getsockname(),
            two.getsockname(),
        ]
        assert taken.inherited.services["status"][0].getsockname() == status.getsockname()
        assert [(each.name, each.sock.fileno()) for each in taken.inherited.given] == [
            ("http", given.fileno())
        ]
        (child,) = taken.children
        assert (child.pid, child.slot, child.serves) == (4711, 1, True)
        assert taken.counted == rows
        assert not any(os.get_inheritable(fd) for fd in fds[1:])
        for sock in (*taken.inherited.former[asked], *taken.inherited.services["status"], child.channel):
            sock.detach()
        taken.inherited.given[0].sock.detach()
        close_sockets([one, two, status, given])
        ours.close()
        theirs.close()

    def test_who_serves_says_so_once(self) -> None:
        reading, writing = os.pipe()
        handover = Handover(ready_fd=writing)
        handover.done()
        handover.done()
        assert os.read(reading, 100) == b"ready"
        assert os.read(reading, 100) == b"", "and lets go"
        os.close(reading)

    @pytest.mark.parametrize("text", ["", "many", "99999"])
    def test_without_one_there_is_nothing(self, text: str) -> None:
        environment = {"GATEWAYD_HANDOVER": text, "HOME": "/"}
        assert take(environment) is None
        assert environment == {"HOME": "/"}

    def test_that_of_an_ancestor_is_not_ours(self) -> None:
        fd = os.memfd_create("test")
        os.write(fd, msgspec.json.encode({"from": 1 if os.getppid() != 1 else 2}))
        assert take({"GATEWAYD_HANDOVER": str(fd)}) is None


class TestWire:
    NEWS = News(
        {
            ("site", "-"): (
                FoundFile("site/a.yaml", Path("site/a.yaml")),
                FoundFile("<stdin>", None),
                FoundFile("gone", Path("gone"), "no such file"),
            )
        },
        {"site/a.yaml": b"\x00\xff text", "gone": Unreadable("GWD0001", "cannot read: no such file")},
    )

    def test_news_arrive_as_they_left(self) -> None:
        words = msgspec.json.decode(msgspec.json.encode(to_wire(self.NEWS)))
        arrived = from_wire(words)
        assert arrived.found == self.NEWS.found
        assert arrived.contents["site/a.yaml"] == b"\x00\xff text"
        unreadable = arrived.contents["gone"]
        assert isinstance(unreadable, Unreadable)
        assert (unreadable.code, str(unreadable)) == ("GWD0001", "cannot read: no such file")

    def test_of_two_the_later_counts(self) -> None:
        later = News({}, {"site/a.yaml": b"newer"})
        both = merged(self.NEWS, later)
        assert both.contents["site/a.yaml"] == b"newer"
        assert set(both.contents) == {"site/a.yaml", "gone"}
        assert both.found == self.NEWS.found
