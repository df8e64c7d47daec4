"""redis-py at a gateway in front of five real nodes."""

from __future__ import annotations

import doctest
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgpack
import pytest
import redis

import ringmill
from ringmill.client.local.local_state import load_cluster
from tests.e2e.cli.conftest import Shell
from tests.e2e.cli.undisturbed.doors.page_commands import DOCS, check_command, page_commands
from tests.e2e.cli.undisturbed.recipe_files import recipe

PIPELINED = 10_000
LEFT = [f"left:{number}" for number in range(8)]


@contextmanager
def gateway_of(shell: Shell, *arguments: str) -> Iterator[int]:
    """The port of a gateway that runs meanwhile."""
    process = shell.start("gateway", "--redis", "0", *arguments)
    assert process.stdout is not None
    try:
        told = process.stdout.readline().decode()
        assert "redis://127.0.0.1:" in told, told
        yield int(told.rsplit(":", 1)[1])
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(20) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def leave_expired(shell: Shell) -> None:
    """Keys that have expired an hour ago, as a gateway of a release without sweeps has left them."""
    [home] = (shell.folder / "home").glob("*/cluster.json")
    cluster = load_cluster(str(home.parent))
    assert cluster is not None
    then_ms = int((time.time() - 3600) * 1000)
    with ringmill.Client([node.address for node in cluster.nodes]) as db:
        db.keyspace("left-keys").mput({key: then_ms.to_bytes(8, "big") for key in LEFT})
        for key in LEFT:
            db.registers.keyspace("left").cas(key, msgpack.packb(["s", then_ms, b"v"]), expect=None)


def left_names(shell: Shell) -> bytes:
    return shell.ok("scan", "--keyspace", "left-keys").out


@pytest.fixture(scope="module")
def port(shell: Shell) -> Iterator[int]:
    shell.ok("keyspace", "create", "sessions", "--kind", "registers")
    shell.ok("keyspace", "create", "sessions-keys")
    shell.ok("keyspace", "create", "left", "--kind", "registers")
    shell.ok("keyspace", "create", "left-keys")
    leave_expired(shell)
    with gateway_of(shell, "--redis-db", "0=sessions", "--redis-db", "1=left") as port:
        yield port


@pytest.fixture(params=[2, 3])
def client(port: int, request: pytest.FixtureRequest) -> Iterator[Any]:
    with redis.Redis(port=port, protocol=request.param) as client:
        client.flushdb()
        yield client


def test_what_nobody_asks_for_again_is_removed_in_the_background(shell: Shell, port: int) -> None:
    """In a database that no other test uses, in whatever order they run."""
    until = time.monotonic() + 60
    with redis.Redis(port=port) as client:
        while (figures := client.info("stats"))["expired_keys"] < len(LEFT) or left_names(shell):
            assert time.monotonic() < until, (figures, left_names(shell))
            time.sleep(0.02)
        while (figures := client.info("stats"))["swept_databases"] < 2:
            assert time.monotonic() < until, figures
            time.sleep(0.02)
    assert shell.call("register", LEFT[0], "--keyspace", "left").code == 3
    assert figures["sweep_failures"] == 0


def test_each_type_is_kept_and_another_type_is_refused(client: Any) -> None:
    assert client.set("s", "1") is True
    assert client.hset("h", mapping={"a": 1, "b": 2}) == 2
    assert client.sadd("t", "x", "y") == 2
    assert client.zadd("z", {"low": 1, "high": 2.5}) == 2
    assert client.rpush("l", "a", "b") == 2
    assert client.incr("s") == 2
    assert client.hgetall("h") == {b"a": b"1", b"b": b"2"}
    assert client.smembers("t") == {b"x", b"y"}
    assert client.zscore("z", "high") == 2.5
    assert client.lrange("l", 0, -1) == [b"a", b"b"]
    assert sorted(client.scan_iter(count=2)) == [b"h", b"l", b"s", b"t", b"z"]
    with pytest.raises(
        redis.ResponseError, match=r"^WRONGTYPE Operation against a key holding the wrong kind"
    ):
        client.incr("h")


def test_a_lock_has_one_holder_and_is_released_by_its_holder_only(client: Any) -> None:
    assert client.set("lock", "mine", nx=True, px=60_000)
    assert client.set("lock", "yours", nx=True, px=60_000) is None
    assert client.execute_command("DELEX", "lock", "IFEQ", "yours") == 0
    assert client.execute_command("DELEX", "lock", "IFEQ", "mine") == 1


def test_a_key_that_has_expired_is_gone_and_can_be_made_again(client: Any) -> None:
    client.set("brief", "a", px=1)
    while client.get("brief") is not None:
        pass
    assert client.ttl("brief") == -2
    assert client.set("brief", "b", nx=True)


def test_a_pipeline_is_answered_in_order_and_sees_its_own_changes(port: int) -> None:
    with redis.Redis(port=port) as client:
        client.delete("count")
        pipeline = client.pipeline(transaction=False)
        for _ in range(PIPELINED // 2):
            pipeline.incr("count")
            pipeline.get("count")
        replies = pipeline.execute()
    numbers = range(1, PIPELINED // 2 + 1)
    assert replies == [reply for number in numbers for reply in (number, b"%d" % number)]


def test_what_needs_one_master_is_refused_with_the_reason(client: Any) -> None:
    with pytest.raises(
        redis.ResponseError, match="RENAME is not offered: it changes several keys in one step"
    ):
        client.rename("a", "b")
    with pytest.raises(redis.ResponseError, match=r"^unknown command 'NONESUCH'"):
        client.execute_command("NONESUCH")
    with pytest.raises(redis.ResponseError, match="DB index is out of range"):
        client.select(99)


def test_a_database_without_its_keyspace_says_how_it_is_made(port: int) -> None:
    wanted = "no keyspace 'redis5'.*ringmill keyspace create redis5 --kind registers.* create redis5-keys"
    with redis.Redis(port=port, db=5) as client, pytest.raises(redis.ResponseError, match=wanted):
        client.get("a")


def test_bytes_that_are_no_command_end_the_connection_with_one_error(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.sendall(b"PING\r\n*1\r\n:3\r\n")
        with caller.makefile("rb") as answers:
            assert answers.read() == b"+PONG\r\n-ERR Protocol error: expected '$', got ':'\r\n"


@pytest.mark.parametrize("place", ["nowhere", "1:2:3", "70000", "10.0.0.1:6379"])
def test_a_bad_place_is_refused_by_its_flag(shell: Shell, place: str) -> None:
    ended = shell.call("gateway", "--redis", place)
    assert ended.code == 2
    assert "--redis" in ended.err


def test_an_answer_has_nothing_of_the_commands_behind_it(client: Any) -> None:
    client.sadd("batch", "a")
    pipeline = client.pipeline(transaction=False)
    for name in (b"b", b"c"):
        pipeline.smembers("batch").sadd("batch", name)
    pipeline.smembers("batch")
    first, _, second, _, third = (each if isinstance(each, int) else set(each) for each in pipeline.execute())
    assert (first, second, third) == ({b"a"}, {b"a", b"b"}, {b"a", b"b", b"c"})


def test_what_stands_behind_quit_is_not_done(port: int, client: Any) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
        raw.sendall(b"QUIT\r\nSET behind quit\r\n")
        assert raw.makefile("rb").read() == b"+OK\r\n"
    assert client.get("behind") is None


def test_a_scan_may_go_on_with_another_pattern(client: Any) -> None:
    """What the first page has not come to is found by the pattern of the next one."""
    names = {f"{kind}:{number}".encode() for kind in ("apple", "pear", "zebra") for number in range(30)}
    client.mset(dict.fromkeys(names, "v"))
    cursor, found = client.scan(0, match="pear:*", count=1)
    assert cursor
    while cursor:
        cursor, page = client.scan(cursor, match="[az]*", count=7)
        found += page
    others = [name for name in found if not name.startswith(b"pear")]
    assert {name[:1] for name in others} == {b"a", b"z"} and len(others) == len(set(others)) > 5
    cursor, found = client.scan(0, match="pear:*", count=1)
    while cursor:
        cursor, page = client.scan(cursor, count=50)
        found += page
    assert sum(name.startswith(b"pear") for name in found) == 30, "what both patterns match is complete"


def test_a_value_over_an_expired_one_has_its_name_in_scans(client: Any) -> None:
    client.set("again", "1", px=1)
    while client.exists("again"):
        pass
    client.set("again", "2")
    assert list(client.scan_iter("again")) == [b"again"]


@pytest.mark.skipif(shutil.which("redis-cli") is None, reason="the page's commands are those of redis-cli")
def test_the_commands_of_the_page_print_what_it_shows(shell: Shell, port: int) -> None:
    found = page_commands("redis.md")
    assert len(found) > 4
    for command, printed in found:
        typed = command.replace("-p 6379", f"-p {port}")
        check_command(typed, printed, {**shell.environment, "FAKETTY": "1"})  # else it prints as into a pipe


def test_the_python_of_the_page_gives_what_it_shows(port: int) -> None:
    page = (DOCS / "redis.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```pycon\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    shown = doctest.DocTestParser().get_doctest(text.replace("6379", str(port)), {}, "redis.md", None, None)
    told: list[str] = []
    assert len(shown.examples) > 5
    assert doctest.DocTestRunner().run(shown, out=told.append).failed == 0, "".join(told)


def test_a_pipeline_on_one_key_is_one_step_and_on_several_keys_is_refused(client: Any) -> None:
    assert client.pipeline().incr("hits").expire("hits", 60).delete("hits", "hits").execute() == [1, True, 1]
    with pytest.raises(redis.ResponseError, match=r"several keys .* pipeline\(transaction=False\)"):
        client.pipeline().set("one", 1).set("other", 2).execute()
    assert client.mget("one", "other") == [None, None]
    client.set("text", "a")
    with pytest.raises(redis.ResponseError, match="not an integer"):
        client.pipeline().append("text", "b").incr("text").execute()
    assert client.get("text") == b"ab"  # as in Redis, one that fails leaves the others done


def test_a_watched_key_that_has_changed_ends_the_transaction(client: Any) -> None:
    with client.pipeline() as pipeline:
        pipeline.watch("stock")
        client.set("stock", 1)
        pipeline.multi()
        pipeline.set("stock", 9)
        with pytest.raises(redis.WatchError):
            pipeline.execute()
        assert client.transaction(lambda each: each.multi() or each.incr("stock"), "stock") == [2]
        pipeline.watch("stock")
        with pytest.raises(redis.ResponseError, match="WATCH of several keys"):
            pipeline.watch("other")


def test_redis_py_holds_a_lock_without_scripts(client: Any) -> None:
    lock = client.lock("report", timeout=20, lock_class=recipe("redis_lock").GatewayLock)
    with lock:
        assert lock.extend(20)
        assert 20_000 < client.pttl("report") <= 40_000
        assert lock.reacquire()
        assert client.pttl("report") <= 20_000
        assert not client.lock("report", blocking=False, lock_class=type(lock)).acquire()
    assert not client.exists("report")
    assert lock.acquire()
    client.set("report", "of another one")
    with pytest.raises(redis.exceptions.LockNotOwnedError):
        lock.release()
    assert client.get("report") == b"of another one"


def test_pages_of_a_large_set_have_each_member_that_stays(client: Any) -> None:
    stays = {b"s%d" % number for number in range(700)}
    client.sadd("large", *stays)
    cursor, seen, number = 0, list[bytes](), 0
    while cursor or not seen:
        cursor, page = client.sscan("large", cursor)
        seen += page
        client.sadd("large", *(f"new{number + more}" for more in range(50)))
        number += 50
    assert number > 50
    assert stays <= set(seen)


def test_a_caller_may_hear_no_answers_and_close_its_other_connections(port: int, client: Any) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw, raw.makefile("rb") as answers:
        raw.sendall(b"CLIENT REPLY OFF\r\nPING\r\nINCR silent\r\nCLIENT REPLY ON\r\n")
        assert answers.readline() == b"+OK\r\n"
        raw.sendall(b"CLIENT REPLY SKIP\r\nGET silent\r\nGET silent\r\nCLIENT ID\r\n")
        assert answers.readline() + answers.readline() == b"$1\r\n1\r\n"
        number = int(answers.readline()[1:])
        assert client.client_kill_filter(_id=number) == 1
        assert answers.read() == b""
    assert number not in [int(each["id"]) for each in client.client_list()]
    client.delete("silent")
    with socket.create_connection(("127.0.0.1", port), timeout=20) as raw, raw.makefile("rb") as answers:
        raw.sendall(b"CLIENT ID\r\n")
        number = int(answers.readline()[1:])
        raw.sendall(b"CLIENT KILL ID %d SKIPME no\r\nSET silent 1\r\n" % number)
        assert answers.read() == b":1\r\n"
    assert not client.exists("silent")


def test_a_key_may_be_empty_or_of_zero_bytes(client: Any) -> None:
    for key in (b"", b"\0", b"\0\0"):
        client.set(key, b"of %d" % len(key))
    assert client.mget(b"", b"\0", b"\0\0") == [b"of 0", b"of 1", b"of 2"]
    assert set(client.scan_iter()) == {b"", b"\0", b"\0\0"}
    assert set(client.scan_iter(b"\0*")) == {b"\0", b"\0\0"}
