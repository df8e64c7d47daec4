"""When a rolling restart may begin, when the next node's turn has come, and in which order the nodes go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ringmill.client.administration.status import ClusterStatus, NodeStatus, Ranges
from ringmill.client.local.rolling import check_may_begin, in_order, why_behind
from ringmill.cluster.errors import InvalidArgument, Unavailable

NAMES = ("n1", "n2", "n3")


def seen(of_n2: dict[str, Any] | None = None, **of_all: Any) -> ClusterStatus:
    """A healthy cluster of three, with other figures of n2 or of the whole."""
    nodes = tuple(NodeStatus(name, f"h:{name}", "up", "up", 16, epoch=4, unfilled=0) for name in NAMES)
    if of_n2:
        nodes = (nodes[0], replace(nodes[1], **of_n2), nodes[2])
    whole = ClusterStatus("c", 4, 3, "ok", (), "n1", Ranges(16, 0, 0), nodes)
    return replace(whole, **of_all)


def test_a_healthy_cluster_may_begin_and_all_have_caught_up() -> None:
    check_may_begin(seen())
    assert [why_behind(seen(), name) for name in NAMES] == ["", "", ""]


@pytest.mark.parametrize(
    ("of_n2", "of_all", "why"),
    [
        ({"state": "down"}, {}, "n2 is down"),
        ({"state": "suspect"}, {}, "n2 is suspect"),
        ({"awaited_hints": 7}, {}, "n2 waits for 7 hints"),
        ({"epoch": 3}, {}, "n2 is at epoch 3 of 4"),
        ({"unfilled": 2}, {}, "n2 fills 2 partitions"),
        ({}, {"ranges": Ranges(14, 2, 0)}, "2 partitions lack an owner"),
        ({}, {"n": 2}, "the partitions have 2 owners, and a majority needs all of them"),
    ],
)
def test_a_cluster_that_cannot_spare_a_node_is_refused_with_the_reason(
    of_n2: dict[str, Any], of_all: dict[str, Any], why: str
) -> None:
    with pytest.raises(Unavailable, match=why) as refused:
        check_may_begin(seen(of_n2, **of_all))
    assert refused.value.outcome == "failed"
    assert "--force" in refused.value.hint


def test_a_slow_node_is_in_service() -> None:
    check_may_begin(seen({"state": "slow"}))


def test_the_node_that_takes_the_jobs_goes_last_and_only_members_go() -> None:
    assert in_order(seen(), ()) == ["n2", "n3", "n1"]
    assert in_order(seen(coordinator="n3"), ["n3", "n2"]) == ["n2", "n3"]
    with pytest.raises(InvalidArgument, match="n9 is not a member of cluster c: n1 n2 n3"):
        in_order(seen(), ["n1", "n9"])
    with pytest.raises(InvalidArgument, match="named twice: n1 n1"):
        in_order(seen(), ["n1", "n1"])
