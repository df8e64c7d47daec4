"""How often a caller may ask, by the limits that both doors of a gateway count in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ringmill.client.cli import gateway_verb
from ringmill.client.cli.main import main
from ringmill.client.gateway import gateway as gateway_module
from ringmill.client.gateway.http.http_admission import HttpAdmission
from ringmill.client.gateway.protection.caller_limits import CallerLimits, WindowLimit
from ringmill.cluster.adapters import serving_process
from tests.client.gateway.http_world import http_door
from tests.client.gateway.redis.redis_world import Registers, redis_door
from tests.client.one_node import OneNode

REFUSED = b"-RATELIMITED too many requests; the next one may come in "


def two_an_hour() -> CallerLimits:
    return CallerLimits(window=WindowLimit(2, 3600.0))


async def test_connections_of_one_address_have_one_rate_and_a_token_that_nodes_know_its_own() -> None:
    async with redis_door(Registers(), callers=two_an_hour()) as (_, connect):
        first, second = await connect(), await connect()
        assert await first.ask(b"SET", b"k", b"v") == b"+OK"
        assert await second.ask(b"AUTH", b"a token") == b"+OK", "a token counts where it is tried"
        assert (await first.ask(b"GET", b"k")).startswith(REFUSED + b"3")
        assert (await first.ask(b"AUTH", b"another")).startswith(REFUSED)
        assert [await second.ask(b"EXISTS", b"k") for _ in range(2)] == [b":1", b":1"]
        assert (await second.ask(b"MGET", b"k", b"l")).startswith(REFUSED)


async def test_what_is_about_the_connection_is_answered_above_the_rate() -> None:
    async with redis_door(Registers(), callers=two_an_hour()) as (_, connect):
        caller = await connect()
        assert [await caller.ask(b"EXISTS", b"k") for _ in range(3)][-1].startswith(REFUSED)
        assert await caller.ask(b"PING") == b"+PONG"
        assert await caller.ask(b"SELECT", b"1") == b"+OK"
        assert await caller.ask(b"HELLO") == b"*14"


async def test_a_transaction_of_which_a_command_is_above_the_rate_does_nothing() -> None:
    registers = Registers()
    async with redis_door(registers, callers=two_an_hour()) as (_, connect):
        caller = await connect()
        assert await caller.ask(b"MULTI") == b"+OK"
        told = [await caller.ask(b"INCR", b"k") for _ in range(3)]
        assert told[:2] == [b"+QUEUED"] * 2 and told[2].startswith(REFUSED)
        assert (await caller.ask(b"EXEC")).startswith(b"-EXECABORT")
        assert not registers.values


async def test_a_caller_that_waits_for_others_of_its_connection_counts_once() -> None:
    registers = Registers()
    registers.waiting.add(b"slow")
    async with redis_door(registers, callers=two_an_hour()) as (_, connect):
        caller = await connect()
        caller.say(b"EXISTS", b"slow")
        caller.say(b"WATCH", b"k")  # begins once the former command has ended
        await registers.has_been_asked(1)
        registers.may_answer.set()
        assert [await caller.heard(), await caller.heard()] == [b":0", b"+OK"]


async def test_both_doors_count_in_one_limit(node: tuple[OneNode, str]) -> None:
    callers = two_an_hour()
    async with (
        http_door(node[1], admission=HttpAdmission(callers)) as over_http,
        redis_door(Registers(), callers=callers) as (_, connect),
    ):
        over_redis = await connect()
        assert (await over_http.ask("GET", "/v1/kv/default/none")).status == 404
        assert await over_redis.ask(b"EXISTS", b"k") == b":0"
        assert (await over_http.ask("GET", "/v1/kv/default/none")).status == 429
        assert (await over_redis.ask(b"EXISTS", b"k")).startswith(REFUSED)


def test_the_command_gives_both_doors_one_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given: list[Any] = []

    async def run_gateway(doors: Any, *_: object) -> None:
        given.append(doors)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gateway_module, "run_gateway", run_gateway)
    monkeypatch.setattr(gateway_verb, "_prepare_process", lambda: None)
    monkeypatch.setattr(gateway_verb, "_log_in", lambda form: None)
    monkeypatch.setattr(serving_process, "spare_the_collector", lambda: None)
    line = "--endpoints 127.0.0.1:1 gateway --http 0 --redis 0 --rate-limit 7"
    assert main(line.split()) == 0, capsys.readouterr().err
    (doors,) = given
    http, redis = doors
    assert http._options.admission.callers is redis._callers and not redis._callers.are_none
