"""`ringmill cluster up --tls`: real nodes with certificates, and what who has none meets (rule F7)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import ringmill
from ringmill.client.cli.frame.exit_codes import ExitCode
from ringmill.client.local.authority.authority import Authority
from ringmill.client.local.tcp_ports import free_base
from ringmill.cluster.errors import PermissionDenied, Unavailable
from ringmill.cluster.wire.offers import CarrierName
from tests.e2e.cli.conftest import Shell


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("tls"))
    base = free_base(2, 21000 + os.getpid() % 1000 * 10)
    shell.ok("cluster", "up", "--nodes", "2", "--tls", "--client-transport", "tcp", "--base-port", str(base))
    yield shell
    shell.ok("cluster", "down")


@pytest.fixture
def authority(shell: Shell) -> Authority:
    return Authority(str(shell.folder / "home/default/tls"))


@pytest.fixture
def endpoints(shell: Shell) -> str:
    nodes = shell.ok("-o", "json", "cluster", "status").json["nodes"]
    return ",".join(node["address"] for node in nodes)


def test_verbs_that_name_the_cluster_find_its_certificates(shell: Shell) -> None:
    shell.ok("put", "k", "v")
    assert shell.ok("-o", "raw", "get", "k").out == b"v"
    assert shell.ok("mget", "k").code == ExitCode.DONE


@pytest.mark.parametrize(("transport", "session"), [("grpc", True), ("tcp", True), ("grpc", False)])
def test_a_client_with_the_authority_is_served(
    transport: CarrierName, session: bool, endpoints: str, authority: Authority, shell: Shell
) -> None:
    token = (shell.folder / "home/default/token").read_text().strip()
    ca = authority.files.bundle
    with ringmill.Client(endpoints, session=session, transport=transport, token=token, tls_ca=ca) as db:
        assert len(db.status().nodes) == 2
        for number in range(20):  # to both nodes
            db.put(f"k{number}", b"v", w=2)
            assert db.get(f"k{number}", r=2).value == b"v"


def test_who_lacks_something_is_told_what(shell: Shell, endpoints: str, authority: Authority) -> None:
    with pytest.raises(Unavailable, match="it speaks TLS, and this client does not") as refused:
        ringmill.Client(endpoints).__enter__()
    assert "--tls-ca ca.pem, tls_ca=, RINGMILL_TLS_CA" in refused.value.hint
    for session in (True, False):
        with ringmill.Client(endpoints, tls_ca=authority.files.bundle, session=session) as db:
            for ask in (lambda: db.get("k"), lambda: db.put("k", b"v"), db.keyspaces.list):
                with pytest.raises(PermissionDenied, match=r"no token|a token is missing") as denied:
                    ask()
                assert "--token-file" in denied.value.hint
    with_authority = ["--endpoints", endpoints, "--tls-ca", authority.files.bundle]
    token = shell.folder / "other-token"
    token.write_text("guessed\n")
    token.chmod(0o600)
    refusal = shell.run("--token-file", str(token), *with_authority, "get", "k")
    assert refusal.code == ExitCode.UNREACHABLE and "did not prove that it is a node" in refusal.err


def test_running_nodes_take_new_certificates(shell: Shell, authority: Authority) -> None:
    """The authority has another key at the end, and n1 has started again by its new certificate."""
    authority.rotate()
    for node in ("n1", "n2"):
        authority.issue(node, replace=True)
        shell.ok("put", "k", node)
    authority.finish()
    shell.ok("cluster", "restart", "n1")
    shell.ok("put", "k", "last", "-w", "all")
    assert shell.ok("-o", "raw", "get", "k", "-r", "all").out == b"last"
