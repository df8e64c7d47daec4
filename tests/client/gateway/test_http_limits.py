"""What hostile or unlucky callers can do to the door: each is bounded, and told so once."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from ringmill.client.gateway.http import bodies, connection_guard
from ringmill.client.gateway.http.answers.batch_answers import AT_FIRST
from ringmill.client.gateway.http.http_admission import HttpAdmission, room_of_requests
from ringmill.client.gateway.protection.caller_limits import CallerLimits, SharedRoom
from ringmill.client.gateway.protection.read_cache import ReadCache
from ringmill.cluster.errors import PermissionDenied, QuorumNotReached
from ringmill.cluster.wire.stubs import kv_pb2
from tests.client.gateway.http_world import Caller, http_door
from tests.client.one_node import SLOW, OneNode

Node = tuple[OneNode, str]


async def spoken(caller: Caller, said: bytes) -> tuple[int, dict[str, Any]]:
    """The status and the problem that these bytes are answered with, and that the connection ends."""
    host, _, port = caller.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(said)
    answer = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 400),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", 400),
        (b"PUT /v1/kv/default/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n", 400),
        (b"PUT /v1/kv/default/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n"
         b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"PUT /v1/kv/default/k HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
         b"Content-Length: 99999999999\r\n\r\n", 413),
    ],
    ids=["tls", "header", "line", "headers", "negative", "smuggled", "huge"],
)  # fmt: skip
async def test_what_is_not_a_request_is_one_problem_and_the_end(node: Node, said: bytes, status: int) -> None:
    async with http_door(node[1]) as caller:
        told, problem = await spoken(caller, said)
        assert (told, problem["status"]) == (status, status), problem
        assert (await caller.ask("GET", "/healthz")).status == 200


async def test_half_a_request_and_then_silence_ends(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_guard, "HEAD_S", 0.2)
    monkeypatch.setattr(bodies, "BODY_S", 0.2)
    async with http_door(node[1]) as caller:
        for begun in (b"", b"GET /healthz HTTP/1.1\r\nHost: loc"):
            status, problem = await spoken(caller, begun)
            assert (status, problem["type"]) == (408, "urn:ringmill:error:head_too_slow")
            assert (problem["code"], problem["outcome"]) == ("HEAD_TOO_SLOW", "failed")
        part = b"PUT /v1/kv/default/k HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf"
        status, problem = await spoken(caller, part)
        assert (status, problem["code"]) == (408, "BODY_TOO_SLOW")
    assert b"k" not in node[0].values


async def test_connections_beyond_the_limit_are_told_and_closed(node: Node) -> None:
    async with http_door(node[1], most_connections=20) as caller:
        assert (await caller.ask("GET", "/healthz")).status == 200  # keeps one of them
        host, _, port = caller.url.removeprefix("http://").partition(":")
        idle = [await asyncio.open_connection(host, int(port)) for _ in range(19)]
        status, problem = await spoken(caller, b"")
        assert (status, problem["type"]) == (503, "urn:ringmill:error:too_many_connections")
        assert (problem["code"], problem["outcome"]) == ("TOO_MANY_CONNECTIONS", "failed")
        assert (await caller.ask("GET", "/healthz")).status == 200
        for _, writer in idle:
            writer.close()


async def test_connections_that_ask_now_and_then_make_room_for_others(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_guard, "SPARE_S", 0.1)
    one, address = node
    async with http_door(address, most_connections=10) as caller:
        before = one.waiting
        asking = asyncio.create_task(caller.ask("GET", f"/v1/kv/default/{SLOW}"))
        while one.waiting == before:  # noqa: ASYNC110 - the node is in another thread
            await asyncio.sleep(0.01)
        host, _, port = caller.url.removeprefix("http://").partition(":")
        said = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        silent = []
        for _ in range(9):
            silent.append(await asyncio.open_connection(host, int(port)))
            silent[-1][1].write(said)
            assert (await silent[-1][0].readline()).startswith(b"HTTP/1.1 200 ")
        await asyncio.sleep(0.15)
        silent[0][1].write(said)
        fresh = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
        for reader, writer in fresh:
            writer.write(said)
            assert (await asyncio.wait_for(reader.readline(), 20)).startswith(b"HTTP/1.1 200 ")
        for reader, _ in silent[1:4]:
            await asyncio.wait_for(reader.read(), 20)
        assert not silent[0][0].at_eof() and not silent[4][0].at_eof() and not asking.done()
        connections = caller.door._connections
        assert connections is not None and (connections.open, connections.leaving) == (10, 0)
        asking.cancel()
        for _, writer in (*silent, *fresh):
            writer.close()


async def test_a_caller_that_takes_no_answer_is_left(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_guard, "ANSWER_S", 0.3)
    node[0].values[b"wide"] = [b"v" * (1 << 20)] * 8
    async with http_door(node[1]) as caller:
        host, _, port = caller.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(
            b"GET /v1/kv/default/wide HTTP/1.1\r\nHost: localhost\r\nAccept: multipart/mixed\r\n\r\n"
        )
        await asyncio.sleep(1.0)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        taken = 0
        with pytest.raises((ConnectionError, EOFError)):
            while part := await asyncio.wait_for(reader.read(1 << 16), 20):
                taken += len(part)
            raise EOFError
        assert taken < 8 << 20
        writer.close()


async def test_a_caller_that_leaves_the_end_of_its_answer_untaken_is_left_too(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too little to pause the transport: so it would keep its connection, also when that is closed."""
    monkeypatch.setattr(connection_guard, "ANSWER_S", 0.2)
    node[0].values[b"less"] = [b"v" * 60_000]
    async with http_door(node[1]) as caller:
        assert (await caller.ask("GET", "/v1/kv/default/less")).status == 200
        host, _, port = caller.url.removeprefix("http://").partition(":")
        with socket.socket() as narrow:
            narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
            narrow.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 88)
            narrow.connect((host, int(port)))
            narrow.send(b"GET /v1/kv/default/less HTTP/1.1\r\nHost: localhost\r\n\r\n")
            connections = caller.door._connections
            assert connections is not None
            async with asyncio.timeout(10):
                while connections._asked or connections.open < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
                while connections.open == 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)


async def test_a_body_that_comes_behind_its_answer_begins_no_request(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_guard, "HEAD_S", 0.1)
    async with http_door(node[1]) as caller:
        host, _, port = caller.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"PUT /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
        assert head.startswith(b"HTTP/1.1 404 ")
        await asyncio.wait_for(reader.readline(), 20)
        writer.write(b"body")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.3)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(), 20)).startswith(b"HTTP/1.1 200 ")
        writer.close()


async def test_a_caller_above_its_rate_is_told_when_to_come_again(node: Node) -> None:
    async with http_door(node[1], admission=HttpAdmission(CallerLimits(2.0))) as caller:
        told = [await caller.ask("GET", "/v1/kv/default/none") for _ in range(4)]
        assert [each.status for each in told] == [404, 404, 429, 429]
        assert told[-1].json["code"] == "RATE_LIMITED"
        assert int(told[-1].headers["Retry-After"]) == 1
        assert (await caller.ask("GET", "/healthz")).status == 200, "it needs no node"


async def test_requests_under_way_have_a_bound_and_one_whose_caller_left_is_over(node: Node) -> None:
    one, address = node
    async with http_door(address, admission=HttpAdmission(requests=SharedRoom(3, 3))) as caller:
        before = one.waiting
        waiting = [asyncio.create_task(caller.ask("GET", f"/v1/kv/default/{SLOW}")) for _ in range(3)]
        while one.waiting < before + 3:  # noqa: ASYNC110 - the node is in another thread
            await asyncio.sleep(0.01)
        refused = await caller.ask("GET", "/v1/kv/default/none")
        assert (refused.status, refused.json["code"]) == (503, "BUSY")
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        async with asyncio.timeout(10):
            while (await caller.ask("GET", "/v1/kv/default/none")).status == 503:
                pass


@pytest.mark.parametrize("way", ["named write", "cached read"])
async def test_what_goes_on_when_its_caller_has_left_counts_until_it_ends(node: Node, way: str) -> None:
    one, address = node
    admission = HttpAdmission(requests=SharedRoom(2, 2), cache=ReadCache(60.0))
    async with http_door(address, admission=admission) as caller:
        before = one.waiting
        for number in range(2):
            if way == "named write":
                named = {"Idempotency-Key": f"left {number}"}
                asking = caller.ask("PUT", f"/v1/kv/default/{SLOW}", data=b"v", headers=named)
            else:
                asking = caller.ask("GET", f"/v1/kv/default/{SLOW}?r={number + 1}")
            left = asyncio.create_task(asking)
            while one.waiting < before + number + 1:  # noqa: ASYNC110 - the node is in another thread
                await asyncio.sleep(0.01)
            left.cancel()
            await asyncio.wait([left])
        for _ in range(50):
            refused = await caller.ask("GET", "/v1/kv/default/none")
            assert (refused.status, refused.json["code"]) == (503, "BUSY")


def test_one_caller_leaves_places_of_requests_to_others() -> None:
    rooms = HttpAdmission()
    assert sum(rooms.requests.enter("address a") for _ in range(256)) == 200
    assert sum(rooms.requests.enter("address b") for _ in range(256)) == 56
    assert room_of_requests(1).enter("address a")


async def test_a_batch_waits_for_its_turn_no_longer_than_its_time_and_is_in_the_way_of_no_request(
    node: Node,
) -> None:
    one, address = node
    slow = {"json": {"operations": [{"op": "get", "key": SLOW}]}}
    async with http_door(address, admission=HttpAdmission(requests=SharedRoom(3, 3))) as caller:
        before = one.waiting
        path = "/v1/kv/default:batch?timeout="
        under_way = [asyncio.create_task(caller.ask("POST", f"{path}50", **slow)) for _ in range(2)]
        while one.waiting < before + 2:  # noqa: ASYNC110 - the node is in another thread
            await asyncio.sleep(0.01)
        late = [asyncio.create_task(caller.ask("POST", f"{path}0.2", **slow)) for _ in range(6)]
        await asyncio.sleep(0.05)
        assert (await caller.ask("GET", "/v1/kv/default/none")).status == 404
        for each in await asyncio.wait_for(asyncio.gather(*late), 10):
            assert (each.status, each.json["code"], each.json["outcome"]) == (503, "BUSY", "failed")
            assert "batches" in each.json["detail"] and each.headers["Retry-After"] == "1"
        assert one.waiting == before + 2
        for task in under_way:
            task.cancel()
        await asyncio.wait(under_way)
        told = await caller.ask("POST", f"{path}20", json={"operations": [{"op": "get", "key": "none"}]})
        assert [each["status"] for each in told.json["outcomes"]] == [404]


async def test_a_batch_without_a_timeout_waits_for_its_turn_as_long_as_a_batch_may_take(node: Node) -> None:
    slow = {"json": {"operations": [{"op": "get", "key": SLOW}]}}
    async with http_door(node[1], timeout_s=0.3) as caller:
        asked = [caller.ask("POST", "/v1/kv/default:batch", **slow) for _ in range(5)]
        answers = await asyncio.gather(*asked)
    assert [each.status for each in answers] == [200] * 5
    errors = {each.json["outcomes"][0]["error"]["detail"] for each in answers}
    assert not [each for each in errors if "the time of the batch" in each], "it was that of the operation"


@pytest.mark.parametrize("op", ["put", "get"])
async def test_the_time_of_a_batch_is_for_all_of_it(node: Node, op: str) -> None:
    """Writes of one key wait for each other, and those behind the first were not begun."""
    operation = {"op": op, "key": SLOW} | ({"value": "v"} if op == "put" else {})
    async with http_door(node[1]) as caller:
        began_s = asyncio.get_running_loop().time()
        path = "/v1/kv/default:batch?timeout=0.3"
        told = await caller.ask("POST", path, json={"operations": [operation] * 60})
        assert asyncio.get_running_loop().time() - began_s < 1.5
    errors = [each["error"] for each in told.json["outcomes"]]
    assert {each["code"] for each in errors} == {"DEADLINE_EXCEEDED"}
    if op == "put":
        not_begun = [each for each in errors if "before this one began" in each["detail"]]
        assert len(not_begun) >= 60 - 2 * AT_FIRST
        assert {each["outcome"] for each in not_begun} == {"failed"}


async def test_values_that_a_batch_reads_have_a_bound_and_each_that_is_left_out_is_reported(
    node: Node,
) -> None:
    one, address = node
    one.values[b"wide"] = [b"v" * (1 << 20)]
    async with http_door(address) as caller:
        before = one.framed
        operations = [*[{"op": "get", "key": "wide"}] * 400, {"op": "put", "key": "late", "value": "v"}]
        told = await caller.ask("POST", "/v1/kv/default:batch", json={"operations": operations})
        statuses = [each["status"] for each in told.json["outcomes"]]
        assert sorted(statuses) == [200] * 5 + [413] * 396 and statuses[-1] == 200
        assert one.framed - before < 20, "those that have no room are not read"
        left_out = next(each for each in told.json["outcomes"] if each["status"] == 413)
        assert left_out["error"]["facts"] == {"limit": 4 << 20}


async def test_a_write_in_a_batch_whose_reads_fill_the_answer_is_reported_as_done(node: Node) -> None:
    one, address = node
    one.values[b"wider"] = [b"v" * (1 << 20)] * 5
    operations = [{"op": "get", "key": "wider"}, *[{"op": "put", "key": "late", "value": "v"}] * 400]
    async with http_door(address) as caller:
        told = await caller.ask("POST", "/v1/kv/default:batch", json={"operations": operations})
    assert [each["status"] for each in told.json["outcomes"]] == [300] + [200] * 400


async def test_an_outcome_in_a_batch_says_that_a_token_may_help(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, address = node

    def refuse(request: kv_pb2.GetRequest) -> kv_pb2.GetResponse:
        raise PermissionDenied("get needs a token of the role read")

    monkeypatch.setattr(one, "get", refuse)
    async with http_door(address) as caller:
        asked = {"operations": [{"op": "get", "key": "k"}]}
        told = await caller.ask("POST", "/v1/kv/default:batch", json=asked)
    assert [each["status"] for each in told.json["outcomes"]] == [401]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/counters/default/seen?amount=1"),
        ("PUT", "/v1/sets/default/seen?element=a"),
        ("PUT", "/v1/maps/default/seen?entry=a"),
        ("POST", "/v1/registers/default/seen"),
        ("POST", "/v1/kv/default/seen"),
    ],
)
async def test_a_write_by_any_path_takes_its_key_out_of_the_cache(node: Node, method: str, path: str) -> None:
    """This node does not know these values: what was sent may have been done all the same."""
    async with http_door(node[1], admission=HttpAdmission(cache=ReadCache(60.0))) as caller:
        await caller.ask("PUT", "/v1/kv/default/seen", data=b"v")
        for status in ("fwd=miss", "hit"):
            read = await caller.ask("GET", "/v1/kv/default/seen")
            assert read.headers["Cache-Status"] == f"ringmill; {status}"
        await caller.ask(method, path, data=b"")
        read = await caller.ask("GET", "/v1/kv/default/seen")
        assert read.headers["Cache-Status"] == "ringmill; fwd=miss"


async def test_a_herd_at_the_door_costs_one_read_and_a_write_is_seen_at_once(node: Node) -> None:
    one, address = node
    async with http_door(address, admission=HttpAdmission(cache=ReadCache(60.0))) as caller:
        await caller.ask("PUT", "/v1/kv/default/herd", data=b"one")
        before = one.framed
        herd = await asyncio.gather(*(caller.ask("GET", "/v1/kv/default/herd") for _ in range(100)))
        assert {each.body for each in herd} == {b"one"}
        assert one.framed == before + 1
        await caller.ask("PUT", "/v1/kv/default/herd", data=b"two")
        read = await caller.ask("GET", "/v1/kv/default/herd")
        assert (read.body, read.headers["Cache-Status"]) == (b"two", "ringmill; fwd=miss")


async def test_a_write_that_is_named_is_done_once(node: Node) -> None:
    one, address = node
    async with http_door(address) as caller:
        named = {"Idempotency-Key": "order-7", "If-None-Match": "*"}
        told = [await caller.ask("PUT", "/v1/kv/default/once", data=b"v", headers=named) for _ in range(2)]
        assert one.values[b"once"] == [b"v"]
        assert told[0].body == told[1].body
        assert [each.headers.get("Idempotency-Replayed") for each in told] == [None, "true"]
        other = await caller.ask("PUT", "/v1/kv/default/once", data=b"w", headers=named)
        assert (other.status, other.json["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
        elsewhere = await caller.ask("PUT", "/v1/kv/default/once2", data=b"v", headers=named)
        assert elsewhere.status == 422, "a name is of one request"
        removed = await caller.ask("DELETE", "/v1/kv/default/once", headers={"Idempotency-Key": "order-7"})
        assert removed.status == 422
        assert b"once2" not in one.values


async def test_a_named_write_of_unknown_outcome_is_sent_again_as_a_later_attempt(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, address = node
    sent: list[kv_pb2.PutRequest] = []
    put = one.put

    def heard(request: kv_pb2.PutRequest) -> kv_pb2.WriteReceipt:
        sent.append(request)
        if len(sent) == 1:
            raise QuorumNotReached.of("put", 2, ["n1"], {"n2": "UNAVAILABLE"}, outcome="unknown")
        return put(request)

    monkeypatch.setattr(one, "put", heard)
    async with http_door(address) as caller:
        named = {"Idempotency-Key": "unsure"}
        told = [await caller.ask("PUT", "/v1/kv/default/unsure", data=b"v", headers=named) for _ in range(3)]
        await caller.ask("PUT", "/v1/kv/default/unsure", data=b"w")
    assert [each.status for each in told] == [503, 200, 200]
    assert told[0].json["outcome"] == "unknown"
    first, second, other = sent
    assert second.operation == first.operation
    assert [each.attempt for each in sent] == [0, 1, 0], "so that nodes ask first whether it was done (V4)"
    assert other.operation != first.operation


async def test_a_gateway_that_imports_no_modules_says_so_and_nothing_is_asked(node: Node) -> None:
    async with http_door(node[1]) as caller:
        told = await caller.ask("POST", "/v1/jobs", json={"target": "m.py:mine", "sources": {"m.py": ""}})
    assert (told.status, told.json["code"], told.json["outcome"]) == (501, "NOT_OFFERED", "failed")


async def test_half_sent_bodies_are_in_the_way_of_no_request_and_one_caller_has_a_share(node: Node) -> None:
    one, address = node
    admission = HttpAdmission(requests=SharedRoom(3, 3), bodies=SharedRoom(6, 4))
    async with http_door(address, admission=admission) as caller:
        host, _, port = caller.url.removeprefix("http://").partition(":")
        head = b"PUT /v1/kv/default/k%d HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nha"
        assert (await caller.ask("GET", "/v1/kv/default/none")).status == 404, "the gateway is connected"
        halves = [await asyncio.open_connection(host, int(port)) for _ in range(4)]
        for number, (_, writer) in enumerate(halves):
            writer.write(head % number)
        status, problem = 0, dict[str, Any]()
        async with asyncio.timeout(10):
            while status != 503:
                status, problem = await spoken(caller, head % 9 + b"l")
        assert problem["code"] == "BUSY" and "bodies" in problem["detail"]
        assert (await caller.ask("GET", "/v1/kv/default/none")).status == 404
        assert (await caller.ask("PUT", "/v1/kv/default/short", data=b"v")).status == 200, "it came at once"
        for reader, writer in halves:
            writer.write(b"lf")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
            writer.close()
    assert [one.values[b"k%d" % number] for number in range(4)] == [[b"half"]] * 4


async def test_a_reader_that_shares_the_read_of_another_keeps_its_own_time(node: Node) -> None:
    one, address = node
    async with http_door(address, admission=HttpAdmission(cache=ReadCache(60.0))) as caller:
        before = one.waiting
        patient = asyncio.create_task(caller.ask("GET", f"/v1/kv/default/{SLOW}?timeout=50"))
        while one.waiting < before + 1:  # noqa: ASYNC110 - the node is in another thread
            await asyncio.sleep(0.01)
        hasty = caller.ask("GET", f"/v1/kv/default/{SLOW}?timeout=0.3")
        told = await asyncio.wait_for(hasty, 10)
        assert (told.status, told.json["code"], one.waiting) == (504, "DEADLINE_EXCEEDED", before + 1)
        patient.cancel()
        await asyncio.wait([patient])
