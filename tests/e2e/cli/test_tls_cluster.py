"""`ringmill cluster up --tls`: real nodes with certificates, and what who has none meets (rule F7)."""

from __future__ import annotations

import os
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parsed_text

import ringmill
from ringmill.client.cli.console.exit_codes import ExitCode
from ringmill.client.local.authority.authority import Authority
from ringmill.client.local.tcp_ports import free_base
from ringmill.cluster.errors import PermissionDenied, Unavailable
from ringmill.cluster.wire.offers import CarrierName
from tests.e2e.cli.conftest import Shell

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    shell = Shell(tmp_path_factory.mktemp("tls"))
    base = free_base(4, 21000 + os.getpid() % 1000 * 10)
    ports = ("--base-port", str(base), "--metrics-base-port", str(base + 2))
    shell.ok("cluster", "up", "--nodes", "2", "--tls", "--client-transport", "tcp", *ports)
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


def test_whoever_lacks_something_is_told_what(shell: Shell, endpoints: str, authority: Authority) -> None:
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


@dataclass(frozen=True)
class Metrics:
    """Asks n1 for its metrics, with the certificates that nodes have at the moment."""

    port: int
    ca: str

    def get(self, token: str = "", accept: str = "") -> str:
        headers = {"Accept": accept} | ({"Authorization": f"Bearer {token}"} if token else {})
        request = urllib.request.Request(f"https://127.0.0.1:{self.port}/metrics", headers=headers)
        context = ssl.create_default_context(cafile=self.ca)
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:
            return str(answer.read().decode())


@pytest.fixture
def metrics(endpoints: str, authority: Authority) -> Metrics:
    return Metrics(int(endpoints.split(",", maxsplit=1)[0].rpartition(":")[2]) + 2, authority.files.bundle)


def test_the_page_has_each_metric_as_a_node_serves_it(shell: Shell, metrics: Metrics) -> None:
    shell.ok("put", "k", "v")
    token = (shell.folder / "home/default/token").read_text().strip()
    rows = re.findall(
        r"^\| `(ringmill_(?!gateway_)\w+)` \| (\w+) \| (.*?) \| (.*) \|$",
        (ROOT / "docs/monitoring.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    told = {name: (kind, meaning) for name, kind, _, meaning in rows}
    labels = {name: set(re.findall(r"`(\w+)`", text)) for name, _, text, _ in rows}
    served = list(parsed_text(metrics.get(token)))
    ours = [each for each in served if each.name.startswith("ringmill_")]
    total = {"counter": "_total"}
    assert {each.name + total.get(each.type, ""): (each.type, each.documentation) for each in ours} == told
    for each in ours:
        for sample in each.samples:
            assert set(sample.labels) - {"le"} == labels[each.name + total.get(each.type, "")], sample
    openmetrics = metrics.get(token, "application/openmetrics-text;version=1.0.0")
    again = list(parsed_openmetrics(openmetrics))  # type: ignore[no-untyped-call]
    assert len(again) == len(served)


def test_metrics_of_a_node_with_tls_need_a_token_that_may_read(shell: Shell, metrics: Metrics) -> None:
    issued = shell.ok("-o", "json", "auth", "issue", "prometheus", "--role", "read").json["token"]
    assert "ringmill_requests_total" in metrics.get(issued)
    for wrong in ("", "guessed", issued[:-1]):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            metrics.get(wrong)
    with pytest.raises(ConnectionError):
        urllib.request.urlopen(f"http://127.0.0.1:{metrics.port}/metrics", timeout=10)


def test_a_node_whose_certificate_is_revoked_counts_as_dead_though_it_answers(
    shell: Shell, authority: Authority
) -> None:
    """docs/operations.md, "A host was taken over": n2 answers whoever asks it, and counts as dead.

    There are two nodes, so that another refusal comes next: tests/client/administration/test_dead_members.py
    has those that are let go.
    """
    remove = ("cluster", "remove", "n2", "--dead", "--dry-run")
    answers = "n2 answers on its disk, so that is not gone"
    assert answers in shell.run(*remove).err
    shell.ok("ca", "revoke", "n2", "--dir", authority.files.path)
    until = time.monotonic() + 60
    while answers in (refused := shell.run(*remove).err):
        assert time.monotonic() < until, shell.run("cluster", "status").out
        time.sleep(0.2)
    assert "1 member would be left" in refused
    authority.issue("n2", replace=True)
    shell.until_healthy()
    assert answers in shell.run(*remove).err, "it was there all the time"


def test_running_nodes_take_new_certificates(shell: Shell, authority: Authority, metrics: Metrics) -> None:
    """The authority has another key at the end, and n1 has started again by its new certificate."""
    authority.rotate()
    for node in ("n1", "n2"):
        authority.issue(node, replace=True)
        shell.ok("put", "k", node)
    authority.finish()
    token = (shell.folder / "home/default/token").read_text().strip()
    assert "ringmill_epoch" in metrics.get(token)  # by the certificate of the new authority
    shell.ok("cluster", "restart", "n1")
    shell.ok("put", "k", "last", "-w", "all")
    assert shell.ok("-o", "raw", "get", "k", "-r", "all").out == b"last"
