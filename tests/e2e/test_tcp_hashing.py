"""TCP routes towards clusters that place by hash: the client's address decides (semantics 9.2, 9.5)."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest

from gatewayd.policies.hash_policy import source_ip_hash
from gatewayd.upstream.balancers import BalancerOptions
from tests.support.bare_sockets import Net
from tests.support.tcp_in_process import TcpInProcess, tcp_route


@pytest.mark.parametrize("policy", ["RING_HASH", "MAGLEV"])
@pytest.mark.parametrize("hashing", [True, False])
async def test_9_5_all_connections_of_one_address_go_to_one_endpoint(policy: str, hashing: bool) -> None:
    with Net(backlog=64) as one, Net(backlog=64) as two, Net(backlog=64) as three:
        ports = [one.port, two.port, three.port]
        route = partial(tcp_route, hash_source_ip=hashing)
        async with TcpInProcess(ports, route=route, balancer=BalancerOptions(policy)) as proxy:
            wanted = source_ip_hash("127.0.0.1")
            assert wanted is not None
            expected = proxy.cluster.pick_for(wanted)
            for count in range(1, 41):
                client = await one.connect(proxy.port)
                await proxy.until(lambda: bool(proxy.connections))
                client.reset()
                await proxy.until(lambda count=count: len(proxy.records) == count)  # type: ignore[misc]
            seen = Counter(record.upstream_host for record in proxy.records)
    if hashing:
        assert seen == {expected.host_port: 40}
    else:
        assert len(seen) > 1, "without a hash it is chance"
