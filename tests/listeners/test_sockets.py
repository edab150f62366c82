"""Binding: what is opened, and what is said when it cannot be."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from gatewayd.listeners import sockets
from gatewayd.listeners.sockets import BindError, close_sockets, open_sockets, printable, socket_address
from tests.support.ports import PortReservation


def unused_port(hosts: Sequence[str] = ("127.0.0.1",)) -> int:
    """A number that nobody else takes, not even for an outgoing connection."""
    held = PortReservation(hosts)
    held.release()
    return held.port


def test_all_addresses_get_the_port_the_kernel_chose_for_the_first() -> None:
    opened = open_sockets([("127.0.0.1", 0), ("::1", 0)])
    try:
        ports = {socket_address(sock)[1] for sock in opened}
        assert len(opened) == 2
        assert len(ports) == 1
        assert ports != {0}
    finally:
        close_sockets(opened)


def test_a_socket_listens_before_it_is_served() -> None:
    (sock,) = open_sockets([("127.0.0.1", 0)])
    try:
        with socket.create_connection(sock.getsockname(), timeout=30):
            pass
        assert not sock.getblocking()
    finally:
        close_sockets([sock])


def test_a_port_is_free_again_right_after_a_served_connection() -> None:
    port = unused_port()
    (sock,) = open_sockets([("127.0.0.1", port)])
    with socket.create_connection(sock.getsockname(), timeout=30):
        sock.setblocking(True)
        accepted, _ = sock.accept()
        accepted.close()  # our side closes first: TIME_WAIT is ours
    close_sockets([sock])
    close_sockets(open_sockets([("127.0.0.1", port)]))


def test_ipv6_wildcard_leaves_ipv4_to_others() -> None:
    port = unused_port(["0.0.0.0"])
    (six,) = open_sockets([("::", port)])
    try:
        close_sockets(open_sockets([("0.0.0.0", port)]))
    finally:
        close_sockets([six])


def test_a_port_in_use_names_the_address_and_both_flags() -> None:
    (taken,) = open_sockets([("127.0.0.1", 0)])
    port = taken.getsockname()[1]
    try:
        with pytest.raises(BindError) as caught:
            open_sockets([("127.0.0.1", port)], gateway_port=80)
    finally:
        close_sockets([taken])
    assert caught.value.errno == errno.EADDRINUSE
    text = str(caught.value)
    assert f"127.0.0.1:{port}" in text
    assert "address already in use" in text
    assert "--port-map 80=8080" in text
    assert "--port-offset" in text


def test_a_privileged_port_names_the_capability_and_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(BindError) as caught:
        open_sockets([("0.0.0.0", 80)], gateway_port=80)
    assert "permission denied" in str(caught.value)
    assert "CAP_NET_BIND_SERVICE" in str(caught.value)
    assert "--port-map 80=8080" in str(caught.value)


def test_another_flag_helps_the_status_port() -> None:
    (taken,) = open_sockets([("127.0.0.1", 0)])
    try:
        with pytest.raises(BindError, match="--status"):
            open_sockets([taken.getsockname()], advice="use --status")
    finally:
        close_sockets([taken])


def test_an_address_of_another_host_points_to_bind() -> None:
    with pytest.raises(BindError, match="--bind") as caught:
        open_sockets([("192.0.2.1", 0)])
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_a_name_is_not_an_address() -> None:
    with pytest.raises(BindError, match="not an IP address"):
        open_sockets([("localhost", 0)])


def test_nothing_stays_open_when_one_of_several_fails() -> None:
    (taken,) = open_sockets([("127.0.0.1", 0)])
    port = unused_port()
    try:
        with pytest.raises(BindError):
            open_sockets([("127.0.0.1", port), taken.getsockname()])
        close_sockets(open_sockets([("127.0.0.1", port)]))
    finally:
        close_sockets([taken])


class TestHostWithoutIpv6:
    @pytest.fixture(autouse=True)
    def _no_ipv6(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = sockets.open_socket

        def refuse(host: str, *arguments: int, **settings: object) -> socket.socket:
            if ":" in host:
                raise BindError(host, "address family not supported", "", errno.EAFNOSUPPORT)
            return real(host, *arguments, **settings)  # type: ignore[arg-type]

        monkeypatch.setattr(sockets, "open_socket", refuse)

    def test_the_wildcard_is_left_out(self) -> None:
        opened = open_sockets([("127.0.0.1", 0), ("::", 0)])
        assert [sock.family for sock in opened] == [socket.AF_INET]
        close_sockets(opened)

    def test_alone_it_is_an_error(self) -> None:
        with pytest.raises(BindError):
            open_sockets([("::", 0)])

    def test_an_address_that_was_named_is_an_error(self) -> None:
        with pytest.raises(BindError):
            open_sockets([("127.0.0.1", 0), ("::1", 0)])


class TestUnix:
    def test_the_file_goes_with_the_socket(self, tmp_path: Path) -> None:
        path = tmp_path / "edge.sock"
        opened = open_sockets([(f"unix:{path}", 0)])
        assert path.is_socket()
        assert socket_address(opened[0]) == (f"unix:{path}", 0)
        close_sockets(opened)
        assert not path.exists()

    def test_the_socket_of_a_dead_process_is_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "edge.sock"
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
        close_sockets(open_sockets([(f"unix:{path}", 0)]))

    def test_the_socket_of_a_living_process_is_not(self, tmp_path: Path) -> None:
        path = tmp_path / "edge.sock"
        opened = open_sockets([(f"unix:{path}", 0)])
        with pytest.raises(BindError, match="another process listens there"):
            open_sockets([(f"unix:{path}", 0)])
        assert path.is_socket()
        close_sockets(opened)

    def test_a_file_of_somebody_is_not_removed(self, tmp_path: Path) -> None:
        path = tmp_path / "edge.sock"
        path.write_text("precious")
        with pytest.raises(BindError, match="not a socket"):
            open_sockets([(f"unix:{path}", 0)])
        assert path.read_text() == "precious"

    def test_a_missing_folder_is_said(self, tmp_path: Path) -> None:
        with pytest.raises(BindError, match="no such file or directory"):
            open_sockets([(f"unix:{tmp_path}/none/edge.sock", 0)])

    def test_an_abstract_name_needs_no_file(self, tmp_path: Path) -> None:
        name = f"unix:@gatewayd-test-{os.getpid()}-{tmp_path.name}"
        opened = open_sockets([(name, 0)])
        assert socket_address(opened[0]) == (name, 0)
        close_sockets(opened)


@pytest.mark.parametrize(
    ("host", "port", "text"),
    [
        ("127.0.0.1", 80, "127.0.0.1:80"),
        ("::", 80, "[::]:80"),
        ("unix:/run/edge", 0, "unix:/run/edge"),
    ],
)
def test_addresses_are_printed_as_a_url_has_them(host: str, port: int, text: str) -> None:
    assert printable(host, port) == text
