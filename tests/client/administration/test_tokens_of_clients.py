"""Tokens are made by whoever issues them: the cluster is told their keys, and never the secret (rule F8)."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from ringmill.client.administration.auth import AsyncAuth
from ringmill.client.arguments import checked_token
from ringmill.cluster.access.client_token import client_token
from ringmill.cluster.access.scram import kept_keys
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.wire.stubs import auth_pb2 as pb


class Router:
    """Keeps what is asked, and answers as a node would."""

    timeout_s = 5.0

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.directory = SimpleNamespace(catch_up=self._catch_up)

    async def ask(self, method: Any, prepare: Any, *, timeout_s: float) -> pb.AccessAnswer:
        self.asked += [prepare(1, 1000, attempt) for attempt in (0, 1)]
        first = self.asked[0]
        return pb.AccessAnswer(epoch=2, changed=True, tokens=[pb.TokenInfo(id=first.id, name=first.name)])

    async def _catch_up(self, epoch: int, timeout_s: float) -> None:
        pass


@pytest.fixture
def router() -> Router:
    return Router()


@pytest.fixture
def auth(router: Router) -> AsyncAuth:
    return AsyncAuth(router, OsEntropy())  # type: ignore[arg-type]


async def test_the_secret_is_not_among_what_is_sent(router: Router, auth: AsyncAuth) -> None:
    issued = await auth.issue("ci", "write", expires=1.5)
    token = client_token(issued.text)
    assert token is not None and checked_token(issued.text) == issued.text
    first, again = router.asked
    assert first == again, "what is sent again is the same token"
    keys = kept_keys(token.secret)
    assert (first.id, first.stored_key, first.server_key) == (token.id, keys.stored, keys.server)
    assert (first.role, first.lifetime_s) == ("write", 2), "no token ends earlier than it was to"
    sent = first.SerializeToString()
    assert token.secret not in sent and token.secret.hex().encode() not in sent
    assert token.secret.hex() not in f"{issued!r} {issued}"
    assert (await auth.issue("ci", "write")).text != issued.text


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"name": 3}, "name"),
        ({"name": ""}, "name"),
        ({"role": "root"}, "role"),
        ({"role": None}, "role"),
        ({"role": ["read"]}, "role"),
        *(({"expires": wrong}, "expires") for wrong in (0, -1, math.nan, math.inf, "30d", True, 10**12)),
    ],
)
async def test_a_bad_argument_is_named_before_anything_is_sent(
    router: Router, auth: AsyncAuth, arguments: dict[str, Any], named: str
) -> None:
    with pytest.raises(InvalidArgument, match=named):
        await auth.issue(**{"name": "ci", "role": "read", **arguments})
    for wrong in (None, 3, "", "x" * 2000):
        with pytest.raises(InvalidArgument, match="token"):
            await auth.revoke(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="is_required"):
        await auth.require("on")  # type: ignore[arg-type]
    assert not router.asked


def test_a_damaged_token_is_refused_by_connect_and_not_shown() -> None:
    for wrong in ("rm1_", f"rm1_{'a' * 16}_{'b' * 63}", f"rm1_{'A' * 16}_{'b' * 64}"):
        with pytest.raises(InvalidArgument, match="damaged") as refused:
            checked_token(wrong)
        assert "bbbb" not in str(refused.value)
