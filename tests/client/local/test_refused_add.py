"""`cluster add` that is refused leaves nothing of a node that is no member."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import pytest

from ringmill.client.cli.console.settings import Settings
from ringmill.client.cli.ring import asked_change
from ringmill.client.cli.ring.asked_change import AskedChange, carry_out
from ringmill.client.local import local_cluster
from ringmill.client.local.local_state import LocalCluster, LocalNode, save_cluster
from ringmill.cluster.errors import Conflict


@pytest.mark.parametrize(
    ("outcome", "members", "stays"),
    [("failed", {"n1": "up"}, False), ("failed", {"n1": "up", "n4": "joining"}, True), ("unknown", {}, True)],
)
def test_nothing_is_left_of_a_refused_newcomer_unless_it_may_be_a_member(
    outcome: str, members: dict[str, str], stays: bool, tmp_path: Path
) -> None:
    tmp_path.chmod(0o700)
    folder = tmp_path / ".ringmill" / "default"
    nodes = (LocalNode("n1", "127.0.0.1:1", ""), LocalNode("n4", "127.0.0.1:2", ""))
    save_cluster(LocalCluster("default", str(folder), 1, 16, nodes))
    (folder / "n4").mkdir()
    (folder / "n4" / "IDENTITY").write_text("of its disk")
    settings = Settings(home=str(tmp_path / ".ringmill"))

    async def change(settings: Settings, asked: AskedChange) -> None:
        raise Conflict("partitions are moving", outcome=outcome)

    async def member_states(settings: Settings) -> dict[str, str]:
        return members

    with (
        patch.object(asked_change, "_change", change),
        patch.object(asked_change, "_member_states", member_states),
        pytest.raises(Conflict),
    ):
        carry_out(settings, AskedChange("n4", "add n4", {"add": {"n4": "127.0.0.1:7104"}}), starts="n4")
    left = local_cluster.required_cluster(str(folder))
    assert any(node.id == "n4" for node in left.nodes) == (folder / "n4").exists() == stays
