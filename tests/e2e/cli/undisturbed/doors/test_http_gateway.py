"""A gateway of its own before five real processes: docs/http.md by its letter, and streams."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.e2e.cli.undisturbed.doors.page_commands import check_command, page_commands

if TYPE_CHECKING:
    from tests.e2e.cli.conftest import Shell


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page's commands are those of curl")
def test_the_commands_of_the_page_print_what_it_shows(shell: Shell, gateway: str) -> None:
    token = (shell.folder / "home" / "default" / "token").read_text().strip()
    found = page_commands("http.md")
    assert len(found) > 20
    for command, printed in found:
        typed = command.replace("http://127.0.0.1:8080", gateway)
        check_command(typed, printed, {**shell.environment, "TOKEN": token})


async def events(answer: aiohttp.ClientResponse, count: int) -> list[dict[str, Any]]:
    """The next events of a stream, each with its name, id and document."""
    found: list[dict[str, Any]] = []
    event: dict[str, Any] = {}
    async with asyncio.timeout(30):
        while len(found) < count:
            line = (await answer.content.readline()).decode().rstrip("\n")
            name, _, value = line.partition(": ")
            if name in ("event", "id"):
                event[name] = value
            elif name == "data":
                found.append({**event, "data": json.loads(value)})
    return found


async def test_a_watch_goes_on_after_the_last_event_that_was_seen(gateway: str) -> None:
    place = f"{gateway}/v1/kv/default"
    watching = {"Accept": "text/event-stream"}
    async with aiohttp.ClientSession() as session:
        await session.put(f"{place}/feed:1", data=b"a")
        async with session.get(f"{place}?prefix=feed:", headers=watching) as answer:
            assert answer.headers["Content-Type"] == "text/event-stream"
            (first,) = await events(answer, 1)
            assert (first["event"], first["data"]["key"]) == ("change", "feed:1")
            await session.put(f"{place}/feed:2", data=b"b")
            (second,) = await events(answer, 1)
            assert second["data"]["value"] == "b"
        await session.delete(f"{place}/feed:1")
        async with session.get(
            f"{place}?prefix=feed:", headers={**watching, "Last-Event-ID": second["id"]}
        ) as answer:
            told = await events(answer, 1)
            while told[-1]["data"]["key"] != "feed:1":
                told += await events(answer, 1)
            assert told[-1]["event"] == "deleted"
        refused = await session.get(f"{gateway}/v1/kv/nowhere/k", headers=watching)
        assert refused.status == 400, "what is wrong at once is told by the status"


async def test_a_websocket_tells_each_change_of_a_key(gateway: str) -> None:
    place = f"{gateway}/v1/kv/default/socket"
    async with aiohttp.ClientSession() as session:
        await session.put(place, data=b"a")
        async with session.ws_connect(place) as socket:
            assert (await socket.receive_json(timeout=30))["value"] == "a"
            await session.put(place, data=b"b")
            assert (await socket.receive_json(timeout=30))["value"] == "b"
            await socket.send_str("hello")
            ended = await socket.receive(timeout=30)
            assert (ended.type, ended.data) == (aiohttp.WSMsgType.CLOSE, 1003)


async def test_a_lease_is_held_as_long_as_its_stream_is_open(gateway: str) -> None:
    place = f"{gateway}/v1/leases/registers/nightly"
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{place}?owner=a") as held:
            (first,) = await events(held, 1)
            assert (first["event"], first["data"]["term"]) == ("held", 1)
            taken = await session.post(f"{place}?owner=b")
            assert taken.status == 504
        async with session.post(f"{place}?owner=b&wait=20") as held:
            (second,) = await events(held, 1)
            assert second["data"]["term"] == 2


async def test_a_scan_goes_on_at_its_cursor(gateway: str) -> None:
    place = f"{gateway}/v1/kv/default"
    operations = [{"op": "put", "key": f"page:{at}", "value": str(at)} for at in range(30)]
    async with aiohttp.ClientSession() as session:
        batch = await session.post(f"{place}:batch", json={"operations": operations})
        assert {each["status"] for each in (await batch.json())["outcomes"]} == {200}
        found, query = [], "prefix=page:&limit=7"
        for _ in range(10):
            answer = await session.get(f"{place}?{query}")
            *items, end = [json.loads(line) for line in (await answer.text()).splitlines()]
            found += [each["key"] for each in items]
            if end["cursor"] is None:
                break
            query = f"cursor={end['cursor']}&limit=7"
        assert sorted(found) == sorted(each["key"] for each in operations)


async def test_a_named_addition_counts_once_however_often_it_is_sent(gateway: str) -> None:
    place = f"{gateway}/v1/registers/registers/named"
    async with aiohttp.ClientSession() as session:
        for _ in range(3):
            answer = await session.post(f"{place}?amount=5", headers={"Idempotency-Key": "once"})
            assert (await answer.json())["number"] == 5
