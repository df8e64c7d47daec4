"""A node that comes to a local cluster has a folder that no other node had."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringmill.client.local.local_state import LocalCluster, LocalNode
from ringmill.client.local.newcomers import next_node
from ringmill.cluster.errors import InvalidArgument


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
    assert next_node(cluster, "n1") == nodes[0], "one that is there is begun again"
