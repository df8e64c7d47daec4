"""Who may not ask: 401 when another token may help, 403 when the token is good for less."""

from __future__ import annotations

import pytest

from ringmill.client.gateway.clients_by_token import ClientsByToken
from ringmill.client.gateway.http.problems import http_refusal_of
from ringmill.cluster.errors import PermissionDenied
from ringmill.cluster.wire.stubs import kv_pb2
from tests.client.gateway.http_world import http_door
from tests.client.one_node import OneNode


@pytest.mark.parametrize(
    ("state", "has_token", "status", "challenge"),
    [
        ("missing", False, 401, 'Bearer realm="ringmill"'),
        ("unknown", True, 401, 'Bearer realm="ringmill", error="invalid_token"'),
        ("revoked", True, 401, 'Bearer realm="ringmill", error="invalid_token"'),
        ("expired", True, 401, 'Bearer realm="ringmill", error="invalid_token"'),
        ("role", True, 403, None),
    ],
)
def test_the_status_follows_from_the_token(
    state: str, has_token: bool, status: int, challenge: str | None
) -> None:
    refusal = http_refusal_of(PermissionDenied("no", detail={"token": state}), has_token=has_token)
    assert (refusal.status, refusal.headers.get("WWW-Authenticate")) == (status, challenge)


async def test_a_token_that_no_node_knows_is_401(node: tuple[OneNode, str]) -> None:
    async with http_door(node[1]) as caller:
        for shown in ("Bearer made-up-token", "Bearer " + "ä" * 3):
            told = await caller.ask("GET", "/v1/kv/default/k", headers={"Authorization": shown})
            assert (told.status, told.json["code"]) == (401, "PERMISSION_DENIED"), told.json
            assert 'error="invalid_token"' in told.headers["WWW-Authenticate"]


@pytest.mark.parametrize(("state", "is_forgotten"), [("revoked", True), ("expired", True), ("role", False)])
async def test_a_token_that_has_ended_is_known_no_more(
    node: tuple[OneNode, str], state: str, is_forgotten: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(request: kv_pb2.GetRequest) -> kv_pb2.GetResponse:
        raise PermissionDenied("no", detail={"token": state})

    forgotten: list[str] = []
    take, give_back = ClientsByToken.take, ClientsByToken.give_back
    monkeypatch.setattr(node[0], "get", refuse)
    monkeypatch.setattr(ClientsByToken, "take", lambda self, _token, caller: take(self, "", caller))
    monkeypatch.setattr(ClientsByToken, "give_back", lambda self, _token: give_back(self, ""))
    monkeypatch.setattr(ClientsByToken, "forget", lambda _, token: forgotten.append(token))
    async with http_door(node[1]) as caller:
        headers = {"Authorization": "Bearer tenant-token"}
        told = await caller.ask("GET", "/v1/kv/default/k", headers=headers)
    assert told.json["code"] == "PERMISSION_DENIED"
    assert forgotten == ["tenant-token"] * is_forgotten
