"""Real programs behind TCP routes of a real process: MariaDB on a MYSQL server, Redis with TLS here, there or nowhere.

The programs come from Debian: mariadb-server-core, mariadb-client-core, redis-server (with redis-tools).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from tests.support.certificates import CertificateFolder, CertificateWish
from tests.support.gateway_process import GatewayProcess
from tests.support.ports import PortReservation

START_S = 60.0
ATTEMPTS = 5

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: istio-system}}
spec:
  selector: {{istio: ingressgateway}}
  servers:
  - {{port: {{number: 3306, name: mysql, protocol: MYSQL}}, hosts: ["*"]}}
  - {{port: {{number: 6379, name: redis, protocol: REDIS}}, hosts: ["*"]}}
  - port: {{number: 6380, name: tls-redis, protocol: TLS}}
    hosts: ["redis.test"]
    tls: {{mode: SIMPLE, serverCertificate: {certificate}, privateKey: {key}}}
  - port: {{number: 6381, name: through, protocol: TLS}}
    hosts: ["through.test"]
    tls: {{mode: PASSTHROUGH}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: databases, namespace: default}}
spec:
  hosts: ["*"]
  gateways: [istio-system/edge]
  tcp:
  - match: [{{port: 3306}}]
    route: [{{destination: {{host: mysql.test}}}}]
  - match: [{{port: 6379}}]
    route: [{{destination: {{host: redis.test, port: {{number: 6379}}}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: tls-redis, namespace: default}}
spec:
  hosts: ["redis.test"]
  gateways: [istio-system/edge]
  tcp:
  - match: [{{port: 6380}}]
    route: [{{destination: {{host: redis.test, port: {{number: 6379}}}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: through, namespace: default}}
spec:
  hosts: ["through.test"]
  gateways: [istio-system/edge]
  tls:
  - match: [{{port: 6381, sniHosts: [through.test]}}]
    route: [{{destination: {{host: redis.test, port: {{number: 6390}}}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: mysql, namespace: default}}
spec:
  hosts: [mysql.test]
  location: MESH_EXTERNAL
  ports: [{{number: 3306, name: tcp-mysql, protocol: TCP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{tcp-mysql: {mysql}}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: redis, namespace: default}}
spec:
  hosts: [redis.test]
  location: MESH_EXTERNAL
  ports:
  - {{number: 6379, name: tcp-redis, protocol: TCP}}
  - {{number: 6390, name: tls-redis, protocol: TLS}}
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{tcp-redis: {redis}, tls-redis: {redis_tls}}}}}]
"""
PORTS = (3306, 6379, 6380, 6381)


async def run(*arguments: str | int | Path, sends: bytes = b"") -> bytes:
    """What a command prints; AssertionError with its words when it fails."""
    done = await asyncio.to_thread(
        subprocess.run, [*map(str, arguments)], input=sends, capture_output=True, timeout=START_S, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@contextlib.asynccontextmanager
async def server(arguments: Sequence[str], probe: Sequence[str], log: Path) -> AsyncIterator[bool]:
    """A server program, gone afterwards; False when it ended by itself, as one whose port is taken does."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield await _answers(process, probe)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)  # nothing of what it keeps is wanted
        await process.wait()


async def _answers(process: asyncio.subprocess.Process, probe: Sequence[str]) -> bool:
    async with asyncio.timeout(START_S):
        while process.returncode is None:
            try:
                await run(*probe)
            except AssertionError:
                await asyncio.sleep(0.05)
            else:
                return True
    return False


@contextlib.asynccontextmanager
async def mariadb(folder: Path) -> AsyncIterator[int]:
    """A MariaDB without a data dictionary of its own, which is enough to serve and quick; its port."""
    data = folder / "data"
    data.mkdir(parents=True)
    for _ in range(ATTEMPTS):
        reservation = PortReservation()
        port = reservation.port
        arguments = (
            f"mariadbd --no-defaults --datadir={data} --socket={folder}/s --pid-file={folder}/pid --port={port} "
            "--bind-address=127.0.0.1 --user=root --skip-grant-tables --skip-networking=0 --skip-name-resolve "
            "--innodb-buffer-pool-size=8M --innodb-log-file-size=4M --innodb-flush-method=nosync "
            "--max-allowed-packet=64M"
        ).split()
        reservation.release()
        probe = [*_mariadb_client(port), "-e", "select 1"]
        async with server(arguments, probe, folder / "log") as up:
            if up:
                yield port
                return
    raise AssertionError((folder / "log").read_text())


def _mariadb_client(port: int) -> list[str]:
    return (
        f"mariadb --no-defaults --protocol=tcp -h127.0.0.1 -P{port} -uroot --batch --skip-column-names "
        "--max-allowed-packet=64M"
    ).split()


@contextlib.asynccontextmanager
async def redis(folder: Path, certificates: CertificateFolder) -> AsyncIterator[tuple[int, int]]:
    """A Redis that keeps nothing; its plain and its TLS port."""
    folder.mkdir(parents=True)  # noqa: ASYNC240 - nothing else is under way
    for _ in range(ATTEMPTS):
        plain, tls = PortReservation(), PortReservation()
        arguments = (
            f"redis-server --port {plain.port} --bind 127.0.0.1 --dir {folder} --appendonly no --tls-port {tls.port} "
            f"--tls-cert-file {certificates.certificate('redis')} --tls-key-file {certificates.key('redis')} "
            f"--tls-ca-cert-file {certificates.certificate('ca')} --tls-auth-clients no"
        ).split()
        plain.release()
        tls.release()
        probe = ["redis-cli", "-p", str(plain.port), "-e", "ping"]
        async with server([*arguments, "--save", ""], probe, folder / "log") as up:
            if up:
                yield plain.port, tls.port
                return
    raise AssertionError((folder / "log").read_text())


async def test_mariadb_and_redis_work_through_tcp_routes(tmp_path: Path) -> None:
    certificates = CertificateFolder(
        tmp_path / "certificates",
        {
            "ca": CertificateWish("ca", is_ca=True),
            "edge": CertificateWish("edge", sans=["redis.test"], ca="ca"),
            "redis": CertificateWish("redis", sans=["through.test"], ca="ca"),
        },
    )
    async with (
        mariadb(tmp_path / "mariadb") as mysql_port,
        redis(tmp_path / "redis", certificates) as (redis_port, redis_tls_port),
    ):
        config = tmp_path / "config"
        config.mkdir()
        (config / "all.yaml").write_text(
            GATEWAY.format(
                certificate=certificates.certificate("edge"),
                key=certificates.key("edge"),
                mysql=mysql_port,
                redis=redis_port,
                redis_tls=redis_tls_port,
            )
        )
        async with GatewayProcess([config], listen=PORTS) as gateway:
            await _database(gateway)
            await _keys(gateway, certificates.certificate("ca"))


async def _database(gateway: GatewayProcess) -> None:
    """The server speaks first; then short talk, a large value up and down, and many connections."""
    client = _mariadb_client(gateway.port(3306))
    await run(*client, "-e", "create database d; create table d.t (n int primary key, x longtext)")
    value = "0123456789abcdef" * 500_000
    await run(*client, "d", sends=f"insert into t values (1, '{value}');".encode())
    assert (
        await run(*client, "d", "-e", "select md5(x) from t")
        == hashlib.md5(value.encode()).hexdigest().encode() + b"\n"
    )
    assert await run(*client, "d", "-e", "select x from t") == value.encode() + b"\n"
    answers = await asyncio.gather(*(run(*client, "-e", f"select {number}") for number in range(20)))
    assert answers == [b"%d\n" % number for number in range(20)]
    records = await gateway.log_records(24)
    assert {record["upstream_cluster"] for record in records} == {"outbound|3306||mysql.test"}
    assert {(record["response_flags"], record["response_code"]) for record in records} == {("-", 0)}
    assert max(record["bytes_received"] for record in records) > len(value)
    assert max(record["bytes_sent"] for record in records) > len(value)


async def _keys(gateway: GatewayProcess, ca: Path) -> None:
    """In plain; with TLS ended here; with TLS ended by Redis."""
    plain = ("redis-cli", "-e", "-p", gateway.port(6379))
    ended = ("redis-cli", "-e", "--tls", "--sni", "redis.test", "--cacert", ca, "-p", gateway.port(6380))
    through = ("redis-cli", "-e", "--tls", "--sni", "through.test", "--cacert", ca, "-p", gateway.port(6381))
    value = b"x" * 3_000_000
    assert await run(*plain, "-x", "set", "big", sends=value) == b"OK\n"
    for way in (plain, ended, through):
        assert await run(*way, "get", "big") == value + b"\n"
        pipeline = b"".join(b"incr counter\n" for _ in range(2000))
        assert len((await run(*way, sends=pipeline)).splitlines()) == 2000
    assert await run(*plain, "get", "counter") == b"6000\n"
    names = [record["requested_server_name"] for record in await gateway.log_records(8)]
    assert names == [None] * 3 + ["redis.test"] * 2 + ["through.test"] * 2 + [None]
