"""Real clusters over TCP and over Unix sockets: put, get, kill, restart, and a change of one node."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ringmill.client.blocking import Client
from ringmill.client.local.tcp_ports import free_base
from ringmill.cluster.wire.offers import CarrierName
from tests.e2e.cli.conftest import Shell
from tests.e2e.waiting import until

NODES = ("n1", "n2", "n3")
TIMEOUT_S = 20.0


@pytest.fixture(scope="module", params=["tcp", "unix"])
def transport(request: pytest.FixtureRequest) -> CarrierName:
    name: CarrierName = request.param
    return name


@pytest.fixture(scope="module")
def cluster(transport: CarrierName, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Three nodes that talk by `transport`, for the tests of this module in their order."""
    shell = Shell(tmp_path_factory.mktemp(transport))
    base = free_base(3, 20_000 + os.getpid() % 1000 * 12 + 6)
    up = ("--cluster", transport, "cluster", "up", "-n", "3", "--base-port", str(base))
    shell.ok(*up, "--partitions", "32", "--peer-transport", transport, "--client-transport", transport)
    yield shell
    shell.ok("--cluster", transport, "cluster", "down", "--purge")


def written(shell: Shell, name: str) -> Any:
    return json.loads((shell.folder / "home" / name / "cluster.json").read_text())


def said(shell: Shell, cluster: str, node: str) -> list[str]:
    return (shell.folder / "home" / cluster / "logs" / f"{node}.log").read_text().splitlines()


def over_grpc(pids: dict[str, int], ports: dict[str, int]) -> int:
    """How many connections nodes have dialled to each other's gRPC ports."""
    return sum(
        bool(one.raddr) and one.raddr.port in ports.values()
        for pid in pids.values()
        for one in psutil.Process(pid).net_connections("tcp")
        if one.status == psutil.CONN_ESTABLISHED
    )


def test_requests_go_over_the_transport_and_survive_a_kill(cluster: Shell, transport: CarrierName) -> None:
    nodes = written(cluster, transport)["nodes"]
    addresses = [node["address"] for node in nodes]
    ports = {node["id"]: int(node["address"].rpartition(":")[2]) for node in nodes}
    with Client(addresses, timeout=TIMEOUT_S, transport=transport) as db:
        for number in range(60):
            db.put(f"k{number}", b"1")
        assert all("does not offer" not in line for name in NODES for line in said(cluster, transport, name))
        assert over_grpc({node["id"]: node["pid"] for node in nodes}, ports) == 0
        cluster.ok("--cluster", transport, "cluster", "kill", "n3")
        for number in range(60):
            db.put(f"k{number}", b"2")
        cluster.ok("--cluster", transport, "cluster", "restart", "n3")
        cluster.until_healthy("--cluster", transport)
        for number in range(60):
            seen = db.get(f"k{number}", r="all")  # n3 may not have got its hint yet
            db.put(f"k{number}", b"3", context=seen.context)
            assert db.get(f"k{number}", r="all").value == b"3"


def test_a_gateway_takes_the_transport_up(cluster: Shell, transport: CarrierName) -> None:
    ports = {int(node["address"].rpartition(":")[2]) for node in written(cluster, transport)["nodes"]}
    gateway = cluster.start("--cluster", transport, "gateway", "--http", "0", "--transport", transport)
    try:
        assert gateway.stdout is not None
        url = gateway.stdout.readline().decode().split()[1]
        for number in range(20):  # on each node
            request = urllib.request.Request(f"{url}/v1/kv/default/door{number}", b"4", method="PUT")
            assert urllib.request.urlopen(request, timeout=TIMEOUT_S).status == 200
        own = int(url.rpartition(":")[2])
        dialled = {
            one.raddr.port
            for one in psutil.Process(gateway.pid).net_connections("tcp")
            if one.raddr and one.laddr.port != own
        }
        assert bool(dialled - ports) == (transport == "tcp"), dialled
    finally:
        gateway.terminate()
        assert gateway.wait(30) == 0


def test_a_socket_file_of_a_killed_node_is_replaced_and_a_stopped_one_leaves_none(
    cluster: Shell, transport: CarrierName
) -> None:
    if transport != "unix":
        pytest.skip("TCP leaves no files")
    here = ("--cluster", transport, "cluster")
    path = cluster.folder / "home" / transport / "n1" / "frames.sock"
    cluster.ok(*here, "kill", "n1")
    assert path.is_socket()
    cluster.ok(*here, "restart", "n1")
    assert path.is_socket()
    cluster.ok(*here, "stop", "n1")
    assert not path.exists()
    cluster.ok(*here, "restart", "n1")


def test_one_node_after_the_other_is_changed_over(cluster: Shell, transport: CarrierName) -> None:
    address = written(cluster, transport)["nodes"][0]["address"]
    here = ("--cluster", transport, "cluster")
    cluster.ok(*here, "up", "--peer-transport", "grpc", "--client-transport", "grpc")
    assert written(cluster, transport)["peer_transport"] == "grpc"
    with Client(address, timeout=TIMEOUT_S, transport=transport) as db:
        for name in NODES if transport == "tcp" else NODES[:1]:  # the rest of the way is the same
            db.put("k", name.encode())
            cluster.ok(*here, "restart", name)
            cluster.until_healthy("--cluster", transport)
            db.put("k", b"after " + name.encode())
            assert db.get("k", r="all").value == b"after " + name.encode()
    until(lambda: any(f"does not offer {transport}" in line for line in said(cluster, transport, "n3")))
    cluster.ok(*here, "up", "--peer-transport", transport, "--client-transport", transport)
    cluster.ok(*here, "restart", NODES[0])  # the rest of the way back is the same
    cluster.until_healthy("--cluster", transport)


def test_an_unknown_transport_is_refused_by_name(tmp_path: Path) -> None:
    ended = Shell(tmp_path).command("--cluster", "none", "cluster", "up", "--peer-transport", "udp")
    assert ended.code == 2
    assert "--peer-transport" in ended.err
    assert "'udp'" in ended.err
