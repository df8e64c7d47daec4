"""What a client may ask, by its token and by what the newest topology says of it (rule F8)."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from ringmill.cluster.access.callers import CLUSTER_CALLER, UNKNOWN_CALLER, Caller
from ringmill.cluster.access.scram import kept_keys
from ringmill.cluster.errors import PermissionDenied
from ringmill.cluster.ids import DiskId, Epoch, NodeId
from ringmill.cluster.ring.access.access_entries import Access, TokenEntry
from ringmill.cluster.ring.topology import Member, Topology, first_topology
from ringmill.node.services.access.access_control import AccessControl

FIRST = first_topology("demo", [Member(NodeId("n1"), DiskId("0" * 32), "127.0.0.1:7101")], partitions=16)
KEYS = kept_keys(b"s" * 32)
READER = TokenEntry("a" * 16, "reader", "read", 900, 0, False, KEYS)
WRITER = TokenEntry("b" * 16, "writer", "write", 900, 2000, False, KEYS)
THEIRS = {each.name: Caller(each.id) for each in (READER, WRITER)}


class Node:
    """What AccessControl is given: clocks, and a topology that changes."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.topology: Topology | None = None
        self.control = AccessControl("n1", self, lambda: self.topology, has_token=True)

    def knows(self, *tokens: TokenEntry, is_required: bool = False) -> None:
        epoch = Epoch(1 if self.topology is None else self.topology.epoch + 1)
        self.topology = replace(FIRST, epoch=epoch, access=Access(is_required, tokens))

    def wall(self) -> float:
        return self.now_s

    monotonic = boottime = wall

    def denied(self, caller: Caller, method: str) -> PermissionDenied:
        with pytest.raises(PermissionDenied) as refused:
            self.control.check(caller, method)
        return refused.value


@pytest.fixture
def node() -> Node:
    return Node()


def test_a_client_without_a_token_may_do_what_it_could_before_there_were_any(node: Node) -> None:
    for method in ("kv.put", "Kv/Get", "Keyspaces/Drop", "Members/Change", "Membership/Status"):
        node.control.check(UNKNOWN_CALLER, method)
    for method, role in (("Jobs/Submit", "jobs"), ("Auth/Issue", "admin")):
        assert f"needs the role {role}; a token is missing" in str(node.denied(UNKNOWN_CALLER, method))


def test_once_a_token_is_required_it_may_only_find_the_cluster(node: Node) -> None:
    node.knows(is_required=True)
    for method in ("Topology/Identify", "Topology/Get", "Membership/Status"):
        node.control.check(UNKNOWN_CALLER, method)
    for method in ("kv.get", "Kv/Get", "Keyspaces/List", "Topology/GetFormer"):
        assert node.denied(UNKNOWN_CALLER, method).detail["needs"] == "read"
    node.control.check(CLUSTER_CALLER, "Auth/Require")


def test_a_denial_names_the_role_that_is_needed_and_the_one_that_was_given(node: Node) -> None:
    node.knows(READER, WRITER)
    node.control.check(THEIRS["reader"], "kv.get")
    node.control.check(THEIRS["writer"], "kv.get")
    node.control.check(THEIRS["writer"], "kv.put")
    error = node.denied(THEIRS["reader"], "kv.put")
    assert str(error) == "kv.put needs the role write; the token reader has the role read"
    assert error.detail == {"token": "role", "needs": "write", "given": "read"} and error.outcome == "failed"


def test_a_token_says_why_it_opens_nothing(node: Node) -> None:
    node.knows(replace(READER, is_revoked=True), WRITER)
    assert "was revoked" in str(node.denied(THEIRS["reader"], "kv.get"))
    node.now_s = 2030.0
    assert "expired 30 s ago" in str(node.denied(THEIRS["writer"], "kv.get"))
    unknown = node.denied(Caller("c" * 16), "kv.get")
    assert "knows no token" in str(unknown) and unknown.detail == {"token": "unknown"}
    node.control.check(THEIRS["reader"], "Topology/Get")


def test_an_open_session_is_looked_at_again_when_the_topology_changes_and_when_its_token_expires(
    node: Node,
) -> None:
    node.knows(READER, WRITER)
    standing = {name: node.control.standing(caller) for name, caller in THEIRS.items()}
    assert not any(each.has_changed() for each in standing.values())
    node.knows(replace(READER, is_revoked=True), WRITER)
    assert all(each.has_changed() for each in standing.values())
    assert not any(each.has_changed() for each in standing.values()), "once for each topology"
    standing["writer"].check("kv.put")
    with pytest.raises(PermissionDenied, match="was revoked"):
        standing["reader"].check("kv.get")
    node.now_s = 2000.0
    assert standing["writer"].has_changed() and not standing["reader"].has_changed()
    with pytest.raises(PermissionDenied, match="expired"):
        standing["writer"].check("kv.get")


def test_a_token_expires_by_the_time_that_the_nodes_share(node: Node) -> None:
    node.knows(WRITER)
    node.now_s = WRITER.expires_s + 86_400.0  # the clock of this node alone is a day ahead
    control = AccessControl(
        "n1", node, lambda: node.topology, has_token=True, shared_s=lambda: WRITER.expires_s - 1.0
    )
    control.check(THEIRS["writer"], "kv.put")
    assert not control.standing(THEIRS["writer"]).has_changed()


def test_denials_are_counted_and_logged_once_a_minute(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    node.knows(READER)
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            node.denied(THEIRS["reader"], "kv.put")
        node.now_s += 61.0
        node.denied(THEIRS["reader"], "kv.put")
    assert node.control.denied == 51
    assert (
        len(caplog.messages) == 2 and "was refused" in caplog.messages[0] and "50 times" in caplog.messages[1]
    )


def test_a_node_without_the_clusters_token_says_that_it_cannot_tell_who_calls(node: Node) -> None:
    control = AccessControl("n1", node, lambda: None, has_token=False)
    control.check(UNKNOWN_CALLER, "kv.put")
    with pytest.raises(PermissionDenied, match="accepts no jobs: it was started without the cluster's token"):
        control.check(UNKNOWN_CALLER, "Jobs/Submit")
    with pytest.raises(PermissionDenied, match="started without the cluster's token"):
        control.check(UNKNOWN_CALLER, "Auth/Issue")
