"""A node that comes to a local cluster has a folder that no other node had."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ringmill.client.local import local_cluster, tcp_ports
from ringmill.client.local.local_state import LocalCluster, LocalNode, load_cluster, save_cluster
from ringmill.client.local.newcomers import next_node, start_newcomer
from ringmill.cluster.errors import InvalidArgument, Unavailable


@pytest.fixture(autouse=True)
def taken(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The ports at which others listen on this machine."""
    ports = set[int]()
    monkeypatch.setattr(tcp_ports, "is_free", lambda port: port not in ports)
    return ports


def test_the_folder_of_a_node_that_left_is_not_taken_again(tmp_path: Path) -> None:
    nodes = tuple(LocalNode(f"n{each}", f"127.0.0.1:{7100 + each}", "") for each in (1, 2))
    cluster = LocalCluster("c", str(tmp_path), 1, 16, nodes)
    assert next_node(cluster) == LocalNode("n3", "127.0.0.1:7103", "")
    (tmp_path / "n7").mkdir()
    (tmp_path / "n7" / "IDENTITY").write_text("of a node that left")
    assert next_node(cluster).id == "n8"
    with pytest.raises(InvalidArgument, match="former n7") as refused:
        next_node(cluster, "n7")
    assert f"node reset {tmp_path / 'n7'}" in refused.value.hint
    with pytest.raises(InvalidArgument, match=r"node id '\.\.' is not a name"):
        next_node(cluster, "..")  # the folder of all clusters
    assert next_node(cluster, "n1") == nodes[0], "one that is there is begun again"


def test_a_newcomer_takes_no_port_at_which_a_node_serves_metrics(tmp_path: Path) -> None:
    nodes = tuple(LocalNode(f"n{each}", f"127.0.0.1:{7100 + each}", "") for each in range(1, 6))
    cluster = LocalCluster("c", str(tmp_path), 1, 16, nodes, metrics_shift=5)  # 7106 to 7110
    assert next_node(cluster).port == 7111
    below = LocalCluster("c", str(tmp_path), 1, 16, nodes, metrics_shift=-5)  # 7096 to 7100
    assert next_node(below).port == 7111, "else its metrics would be at the port of a node"
    far = LocalCluster("c", str(tmp_path), 1, 16, nodes, metrics_shift=100)
    assert next_node(far).port == 7106


def test_a_newcomer_takes_no_port_at_which_somebody_else_listens(tmp_path: Path, taken: set[int]) -> None:
    nodes = (LocalNode("n1", "127.0.0.1:7101", ""),)
    taken |= {7102, 7103, 7204}  # the last would be that of its metrics
    assert next_node(LocalCluster("c", str(tmp_path), 1, 16, nodes)).port == 7104
    assert next_node(LocalCluster("c", str(tmp_path), 1, 16, nodes, metrics_shift=100)).port == 7105
    taken |= {*range(7101, tcp_ports.LIMIT)}
    with pytest.raises(tcp_ports.PortTaken, match="no free port from 7102 to 32767"):
        next_node(LocalCluster("c", str(tmp_path), 1, 16, nodes))


@pytest.mark.parametrize("name", ["n2", "n" * 32, "db-4", "a"])
def test_a_newcomer_that_is_written_down_can_be_read(name: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    nodes = (LocalNode("n1", "127.0.0.1:7101", ""),)
    save_cluster(cluster := LocalCluster("c", str(tmp_path / "c"), 1, 16, nodes))
    save_cluster(more := cluster.with_new(next_node(cluster, name)))
    assert load_cluster(more.folder) == more


@pytest.mark.parametrize("name", ["N6", "6", "db_4", "n.5", "n" * 33, ""])
def test_a_name_that_could_not_be_read_again_is_refused(name: str, tmp_path: Path) -> None:
    nodes = (LocalNode("n1", "127.0.0.1:7101", ""),)
    with pytest.raises(InvalidArgument, match="is not a name of a local node"):
        next_node(LocalCluster("c", str(tmp_path), 1, 16, nodes), name)


@pytest.mark.parametrize("code", [1, None])
def test_a_newcomer_that_does_not_start_leaves_its_name_free(
    code: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    folder = tmp_path / "c"
    nodes = (LocalNode("n1", "127.0.0.1:1", ""), LocalNode("n2", "127.0.0.1:2", ""))  # nobody listens there
    save_cluster(LocalCluster("c", str(folder), 1, 16, nodes))

    def start_nodes(cluster: LocalCluster, fresh: Sequence[LocalNode]) -> tuple[LocalCluster, list[Any]]:
        save_cluster(cluster)
        (folder / fresh[0].id).mkdir()
        (folder / fresh[0].id / "IDENTITY").write_text("of a disk that was in no cluster")
        return cluster, [SimpleNamespace(process=SimpleNamespace(poll=lambda: code))]

    monkeypatch.setattr(local_cluster, "start_nodes", start_nodes)
    fresh = next_node(local_cluster.required_cluster(str(folder)))
    with pytest.raises(Unavailable, match="n3 did not start") as refused:
        start_newcomer(str(folder), fresh, 0.0)
    assert "the same command tries again" in refused.value.hint
    left = local_cluster.required_cluster(str(folder))
    assert [node.id for node in left.nodes] == ["n1", "n2"] and not (folder / "n3").exists()
    assert next_node(left) == next_node(left, "n3") == fresh
