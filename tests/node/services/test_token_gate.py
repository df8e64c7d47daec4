"""Who may make plain calls to a node with TLS (rule F7)."""

from __future__ import annotations

from typing import Any

import pytest

from ringmill.cluster.errors import PermissionDenied, ProtocolMismatch
from ringmill.node.services.grpc_calls.token_gate import TokenGate
from ringmill.node.services.jobs_service import TOKEN_KEY


def gate(token: str) -> TokenGate:
    return TokenGate(token, lambda _context: None)


def check(gate: TokenGate, given: str = "") -> None:
    gate.check(None, "/ringmill.v1.Kv/Get", {TOKEN_KEY: given} if given else {})


def test_a_call_with_the_token_is_admitted() -> None:
    check(gate("secret"), "secret")


@pytest.mark.parametrize(("given", "told"), [("", "missing"), ("guessed", "wrong")])
def test_one_without_it_is_refused(given: str, told: str) -> None:
    with pytest.raises(PermissionDenied, match=f"the cluster's token is {told}") as refused:
        check(gate("secret"), given)
    assert "secret" not in str(refused.value)


def test_a_node_without_a_token_asks_for_none() -> None:
    check(gate(""))
    check(gate(""), "of another cluster")


def test_how_a_caller_has_connected_is_looked_at_first() -> None:
    def too_old(_context: Any) -> None:
        raise ProtocolMismatch("TLS 1.3 is wanted")

    with pytest.raises(ProtocolMismatch):
        check(TokenGate("secret", too_old), "secret")
