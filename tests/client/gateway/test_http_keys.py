"""Keys over HTTP: values, siblings, contexts as ETags, and one form for all errors."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.client.gateway.http_world import Answered, http_door
from tests.client.one_node import OneNode

Node = tuple[OneNode, str]


def code_of(answered: Answered) -> str:
    """The code of a problem, which has the form of RFC 9457."""
    assert answered.headers["Content-Type"] == "application/problem+json"
    problem = answered.json
    assert problem["status"] == answered.status
    assert problem["type"] == f"urn:ringmill:error:{problem['code'].lower()}"
    assert problem["request_id"] == answered.headers["X-Request-Id"]
    return str(problem["code"])


@pytest.mark.parametrize(
    ("path", "key"),
    [("a/b%2Fc", b"a/b/c"), ("%FF%00", b"\xff\x00"), ("?key_b64=_wA", b"\xff\x00"), ("%C3%A9", "é".encode())],
)
async def test_any_bytes_are_a_key(node: Node, path: str, key: bytes) -> None:
    one, address = node
    async with http_door(address) as caller:
        written = await caller.session.put(f"{caller.url}/v1/kv/default/{path}", data=b"v" + key)
        assert written.status == 200, await written.text()
    assert one.values[key] == [b"v" + key]


async def test_a_value_comes_back_and_its_etag_is_the_context(node: Node) -> None:
    async with http_door(node[1]) as caller:
        receipt = await caller.ask("PUT", "/v1/kv/default/ada", data=b"\x00\xff")
        assert receipt.json["dot"] == "n1#1:1"
        read = await caller.ask("GET", "/v1/kv/default/ada")
        assert (read.status, read.body) == (200, b"\x00\xff")
        assert read.headers["Content-Type"] == "application/octet-stream"
        assert read.headers["ETag"] == receipt.headers["ETag"] == '"AQ"'
        head = await caller.ask("HEAD", "/v1/kv/default/ada")
        assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", "2")
        unchanged = await caller.ask("GET", "/v1/kv/default/ada", headers={"If-None-Match": '"AQ"'})
        assert (unchanged.status, unchanged.body) == (304, b"")
        shown = await caller.ask("GET", "/v1/kv/default/ada", headers={"Accept": "application/json"})
        document = shown.json
        assert (document["key"], document["value_b64"], document["context"]) == ("ada", "AP8=", "AQ")
        missing = await caller.ask("GET", "/v1/kv/default/nobody")
        assert (missing.status, code_of(missing)) == (404, "NOT_FOUND")


async def test_siblings_are_a_choice_and_never_one_of_them_by_chance(node: Node) -> None:
    async with http_door(node[1]) as caller:
        for value in (b"one", b"two"):
            await caller.ask("PUT", "/v1/kv/default/both", data=value, headers={"If-None-Match": "*"})
        chosen = await caller.ask("GET", "/v1/kv/default/both")
        assert chosen.status == 300
        assert [each["value"] for each in chosen.json["siblings"]] == ["one", "two"]
        raw = {"Accept": "application/octet-stream"}
        refused = await caller.ask("GET", "/v1/kv/default/both", headers=raw)
        assert (refused.status, code_of(refused)) == (409, "UNRESOLVED_SIBLINGS")
        second = await caller.ask("GET", "/v1/kv/default/both?sibling=2", headers=raw)
        assert (second.status, second.body) == (200, b"two")
        parts = await caller.ask("GET", "/v1/kv/default/both", headers={"Accept": "multipart/mixed"})
        assert parts.status == 300 and parts.body.count(b"Content-ID") == 2
        third = await caller.ask("GET", "/v1/kv/default/both?sibling=3")
        assert third.status == 404


REFUSED = [
    ("GET", "/v1/kv/default/", {}, 400, "INVALID_ARGUMENT"),
    ("GET", "/v1/kv/default/k?r=9x", {}, 400, "INVALID_ARGUMENT"),
    ("GET", "/v1/kv/default/k?r=one&r=all", {}, 400, "INVALID_ARGUMENT"),
    ("GET", "/v1/kv/default/k?bogus=1", {}, 400, "INVALID_ARGUMENT"),
    ("GET", "/v1/kv/default/k?timeout=nan", {}, 400, "INVALID_ARGUMENT"),
    ("GET", "/v1/kv/%FF/k", {}, 400, "INVALID_ARGUMENT"),
    ("GET", "/v1/kv/nowhere/k", {}, 400, "INVALID_ARGUMENT"),
    ("GET", "/v1/kv/default/k", {"Accept": "text/html"}, 406, "NOT_ACCEPTABLE"),
    ("GET", "/v1/kv/default/k", {"Authorization": "Basic eDp5"}, 401, "PERMISSION_DENIED"),
    ("GET", "/v1/kv/default/k", {"Authorization": "Bearer rm1_x_y"}, 401, "PERMISSION_DENIED"),
    ("PUT", "/v1/kv/default/k", {"If-Match": "AQ"}, 400, "INVALID_ARGUMENT"),
    ("PUT", "/v1/kv/default/k", {"If-Match": "*"}, 400, "INVALID_ARGUMENT"),
    ("PUT", "/v1/kv/default/k", {"If-None-Match": '"AQ"'}, 400, "INVALID_ARGUMENT"),
    ("PUT", "/v1/kv/default/k", {"Content-Encoding": "gzip"}, 415, "UNSUPPORTED_CODING"),
    ("PUT", "/v1/kv/default/k?w=3", {}, 503, "QUORUM_NOT_REACHED"),
    ("PATCH", "/v1/kv/default/k", {}, 405, "METHOD_NOT_ALLOWED"),
    ("GET", "/v2", {}, 404, "NO_SUCH_PATH"),
    ("GET", "/v1/kv/default/k", {"Host": "evil.example"}, 421, "WRONG_HOST"),
    ("PUT", "/v1/kv/default/k", {"Origin": "http://evil.example"}, 403, "FOREIGN_SITE"),
    ("DELETE", "/v1/kv/default/k", {"Sec-Fetch-Site": "cross-site"}, 403, "FOREIGN_SITE"),
]


async def test_what_cannot_be_done_is_one_problem_that_names_it(node: Node) -> None:
    async with http_door(node[1]) as caller:
        for method, path, headers, status, code in REFUSED:
            answered = await caller.ask(method, path, headers=headers)
            assert (answered.status, code_of(answered)) == (status, code), (method, path, headers)
        unsure = await caller.ask("PUT", "/v1/kv/default/k?w=3", data=b"v")
        assert unsure.json["outcome"] == "unknown"


async def test_a_request_keeps_its_id_and_a_foreign_page_sees_no_answer(node: Node) -> None:
    async with http_door(node[1], cors_origins=["https://ours.example"]) as caller:
        named = await caller.ask("GET", "/v1/kv/default/none", headers={"X-Request-Id": "mine-7"})
        assert named.headers["X-Request-Id"] == "mine-7"
        ours = {"Origin": "https://ours.example"}
        allowed = await caller.ask("PUT", "/v1/kv/default/page", data=b"v", headers=ours)
        assert (allowed.status, allowed.headers["Access-Control-Allow-Origin"]) == (200, ours["Origin"])
        asked = await caller.ask("OPTIONS", "/v1/kv/default/page", headers=ours)
        shown = allowed.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"Location", "Idempotency-Replayed", "Cache-Status", "WWW-Authenticate"} <= set(shown)
        assert (asked.status, "PUT" in asked.headers["Access-Control-Allow-Methods"]) == (204, True)
        foreign = await caller.ask("GET", "/v1/kv/default/page", headers={"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in foreign.headers


async def test_a_value_above_the_limit_is_refused_before_it_is_read(node: Node) -> None:
    one, address = node
    async with http_door(address) as caller:
        whole = await caller.ask("PUT", "/v1/kv/default/large", data=b"v" * (1 << 20))
        assert whole.status == 200
        refused = await caller.ask("PUT", "/v1/kv/default/larger", data=b"v" * ((1 << 20) + 1))
        assert (refused.status, code_of(refused)) == (413, "TOO_LARGE")
        parts = await caller.ask("PUT", "/v1/kv/default/larger", data=_in_parts())
        assert (parts.status, code_of(parts)) == (413, "TOO_LARGE")
    assert b"larger" not in one.values


async def _in_parts() -> AsyncIterator[bytes]:
    for _ in range(3):
        yield b"v" * (1 << 19)
