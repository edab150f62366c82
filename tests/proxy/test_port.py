"""A new configuration takes requests that begin from then on, on connections that stand already."""

from __future__ import annotations

from gatewayd.http.options import HttpOptions
from gatewayd.routing.index import Rule
from gatewayd.routing.route import DIRECT_RESPONSE, DirectResponseAction, Route
from gatewayd.routing.table import RouteTable, VirtualHost
from gatewayd.snapshot import FilterChain
from tests.support.bare_sockets import Net, answer
from tests.support.in_process import InProcess, request


async def test_requests_under_way_end_on_the_old_one_and_the_next_begin_on_the_new() -> None:
    """Hardening 9.1, 9.2."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            client.send(request())
            upstream = await net.accept()
            await upstream.receive(b"\r\n\r\n")
            here = Route("here", DIRECT_RESPONSE, direct=DirectResponseAction(200, b"new"))
            table = RouteTable([VirtualHost("all", ["*"], [Rule((), here)])])
            options = HttpOptions(server_header=b"new")
            proxy.chain_port.use(FilterChain("http.80", 80, routes=table, options=options))
            upstream.send(answer(b"old"))
            assert b"server: istio-envoy" in await client.receive(b"old")
            client.send(request())
            data = await client.receive(b"\r\n\r\nnew")
            assert b"server: new" in data
            assert [record.route.name for record in await proxy.logged(2)] == ["r", "here"]


async def test_a_remembered_head_is_routed_anew_under_a_new_configuration() -> None:
    """The same bytes under equal options: only the plan beside them may not be kept (hardening 9.2)."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            for number in range(6):
                here = Route(f"r{number}", DIRECT_RESPONSE, direct=DirectResponseAction(200, b"n%d" % number))
                table = RouteTable([VirtualHost("all", ["*"], [Rule((), here)])])
                proxy.chain_port.use(FilterChain("http.80", 80, routes=table, options=HttpOptions()))
                client.send(request())
                await client.receive(b"\r\n\r\nn%d" % number)


async def test_what_is_written_about_the_client_follows_the_options() -> None:
    """The lines prepared per connection must fit the heads prepared under the new options."""
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            for number, options in enumerate((HttpOptions(), HttpOptions(request_id=False), HttpOptions())):
                proxy.chain_port.use(FilterChain("http.80", 80, routes=proxy.table, options=options))
                client.send(request())
                if not number:
                    upstream = await net.accept()
                lines = (await upstream.receive(b"\r\n\r\n")).split(b"\r\n")[1:-2]
                assert all(b": " in line for line in lines), lines
                assert any(line.startswith(b"x-request-id") for line in lines) is options.request_id
                upstream.send(answer())
                await client.receive(b"ok")


async def test_a_route_that_stays_keeps_its_plan_until_the_options_are_others() -> None:
    """What was worked out for it outlives the table it was first found in."""
    options = HttpOptions()
    route = Route("here", DIRECT_RESPONSE, direct=DirectResponseAction(200, b"hi"))
    plans = []
    with Net() as net:
        async with InProcess([net.port]) as proxy:
            client = await net.connect(proxy.port)
            for number, used in enumerate((options, options, HttpOptions(server_header=b"x"))):
                table = RouteTable([VirtualHost("all", ["*"], [Rule((), route)])])
                proxy.chain_port.use(FilterChain("http.80", 80, routes=table, options=used))
                client.send(request(path=f"/{number}"))
                await client.receive(b"\r\n\r\nhi")
                plans.append(route.plan)
    assert plans[0] is not None
    assert plans[1] is plans[0]
    assert plans[2] is not plans[0]
