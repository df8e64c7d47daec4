"""Who may make plain calls to a node with TLS (rule F7)."""

from __future__ import annotations

from typing import Any

import pytest

from ringmill.cluster.errors import PermissionDenied, ProtocolMismatch
from ringmill.node.services.grpc_calls.token_gate import TokenGate
from ringmill.node.services.jobs_service import TOKEN_KEY


class _Call:
    """As much of a servicer's context as the gate looks at."""

    def __init__(self, version: bytes) -> None:
        self._version = version

    def auth_context(self) -> dict[str, Any]:
        return {"ssl_tls_version": [self._version]} if self._version else {}


def check(gate: TokenGate, given: str = "", version: bytes = b"TLSv1.3") -> None:
    gate.check(_Call(version), {TOKEN_KEY: given} if given else {})


def test_a_call_with_the_token_is_admitted() -> None:
    check(TokenGate("secret"), "secret")


@pytest.mark.parametrize(("given", "told"), [("", "missing"), ("guessed", "wrong")])
def test_one_without_it_is_refused(given: str, told: str) -> None:
    with pytest.raises(PermissionDenied, match=f"the cluster's token is {told}") as refused:
        check(TokenGate("secret"), given)
    assert "secret" not in str(refused.value)


def test_a_node_without_a_token_asks_for_none() -> None:
    check(TokenGate(""))
    check(TokenGate(""), "of another cluster")


@pytest.mark.parametrize("version", [b"TLSv1.2", b""])
def test_an_older_tls_is_refused(version: bytes) -> None:
    with pytest.raises(ProtocolMismatch, match=r"TLS 1\.3 is wanted"):
        check(TokenGate("secret"), "secret", version)
