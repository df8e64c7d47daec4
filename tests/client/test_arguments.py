"""Arguments of a wrong type or size are refused by name before anything is allocated, sent or read.

One table says what is wrong for an argument of a name; a test holds that it covers every parameter of every
public method, so that a new one cannot be forgotten.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import pytest

from ringmill.client import arguments
from ringmill.client.blocking import Client
from ringmill.client.connection import AsyncClient, connect
from ringmill.client.jobs.jobs import AsyncJobs
from ringmill.client.kv import AsyncKeyspace
from ringmill.client.kv_requests import (
    DeleteSettings,
    ManyPutsSettings,
    PutSettings,
    TouchSettings,
    delete_options,
    many_puts_options,
    put_options,
)
from ringmill.client.scans.async_scan import ScanSettings
from ringmill.client.values import EMPTY, CausalContext
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.api.formats import CollectOutput

NOBODY = "127.0.0.1:1"
NO_TEXT = "\ud800"
RELEASED = memoryview(b"gone")
RELEASED.release()
HUGE = 10**5000

NO_SECONDS = [True, "5", b"5", math.nan, math.inf, -math.inf, 0, -1, 1e30, HUGE, [], 1j, timedelta(0)]
NO_TEXTS: list[object] = [None, 3, True, b"x", ["x"], NO_TEXT, "x" * 2000]
NO_LEVELS = [True, 0, -1, HUGE, 1.0, "", "most", "0", "\u0663", b"one", ["one"]]
NO_PATHS = [None, 3, True, b"/x", "", "a\0b", object()]

WRONG: dict[str, list[object]] = {
    "key": [
        3, 10**10, True, None, 1.5, (1, 2), [0, 0], {"a": 1}, object(), range(5), "", b"", "k" * 1025,
        b"k" * 1025, bytearray(1025), memoryview(bytes(1025)), NO_TEXT, RELEASED,
    ],
    "keys": [None, 3, "abc", b"k", bytearray(2), ["k", ""], [3], [None], ["k", "k" * 1025]],
    "pairs": [
        None, 3, "ab", b"ab", ["ab"], [b"ab"], [3], [("k",)], [("k", b"v", 1)], [("k", "text")], [("", b"v")],
        {"k": None}, {3: b"v"}, [("k", b"v"), ("k", bytes(2**20 + 1))],
    ],
    "value": [None, 3, 10**10, True, "text", [1], 1.5, object(), bytes(16 * 2**20 + 1), RELEASED],
    "status": [3, True, "ok", b"ok", [], {}, object()],
    "context": [3, True, b"", b"token", [], object(), "", "not base64!", "A" * 100_000],
    "after": [3, True, b"", b"token", [], object(), "", "not base64!", "A" * 100_000],
    "patience": [*NO_SECONDS, timedelta(days=40)],
    "prefix": [3, True, 1.5, (1, 2), [0], object(), "k" * 1025, bytes(1025), NO_TEXT, RELEASED],
    "start": [3, True, 1.5, [0], object(), "k" * 1025, bytes(1025), NO_TEXT, RELEASED],
    "end": [3, True, 1.5, [0], object(), "k" * 1025, bytes(1025), NO_TEXT, RELEASED],
    "limit": [True, "4", 1.5, -1, -HUGE],
    "keys_only": [None, 1, "yes"],
    "from_now": [None, 1, "yes"],
    "cursor": [3, True, b"AA", [], object(), "not base64!", "AAAA", "A" * 100_000, NO_TEXT],
    "w": NO_LEVELS,
    "r": NO_LEVELS,
    "durability": [True, 1, "", "fsync", b"sync", []],
    "ttl": [*NO_SECONDS, timedelta(days=40_000)],
    "timeout": [*NO_SECONDS, 61, timedelta(minutes=2)],
    "name": NO_TEXTS,
    "job": NO_TEXTS,
    "task": NO_TEXTS,
    "target": [None, 3, True, b"x.py:y", ["x.py:y"], "", "x.py", "x.py:", "no/such.py:job", "a\0b.py:c",
        NO_TEXT],
    "input": [*NO_PATHS, [None], [3], {"a": "b"}],
    "output": [*NO_PATHS, ["out"], CollectOutput],
    "reducers": [True, "4", 1.5, -1, HUGE],
    "weight": [None, True, "4", 1.5, 0, -1, 1001, HUGE],
    "split_mib": [True, "4", 1.5, -1, HUGE],
    "task_memory_mib": [True, "256", 256.5, -1, 63, HUGE],
    "on_bad_record": [3, True, "", "skip", "quarantine", "quarantine:0", "quarantine:-1", NO_TEXT],
    "params": [3, "a=b", [("a", "b")], {1: "b"}, {"a": 1}, {"a": None}, {"nope": "x"}],
    "side": [3, "a=b", [("a", "b")], {1: "b"}, {"a": 1}, {"a": None}, {"nope": "x"}],
    "overwrite": [None, 1, "yes"],
    "network": [None, 1, "yes"],
    "endpoints": [
        None, 3, b"127.0.0.1:7101", {"127.0.0.1:7101": 1}, "", [], [3], [b"127.0.0.1:7101"], "host",
        "http://127.0.0.1:7101", "127.0.0.1:7101/", "127.0.0.1:", ":7101", "127.0.0.1:0", "127.0.0.1:65536",
        "127.0.0.1:\u0667\u0661", "::1:7101", "a b:1", "127.0.0.1:7101\n,x",
    ],
    "token": [None, 3, b"t", "clé", "a b", "a\n", "x" * 2000],
    "session": [None, 1, "yes"],
    "balance": [None, 1, b"hash", "random", "", [], NO_TEXT],
    "transport": [None, 1, b"tcp", "udp", "", [], NO_TEXT],
    "tls_ca": [None, 3, b"ca.pem", [], "/no/such/file", "a\0b", NO_TEXT],
    "tls_cert": [None, 3, b"c.pem", "c.pem"],
    "tls_key": [None, 3, b"c.key", "c.key"],
}  # fmt: skip

GIVEN: dict[str, object] = {
    "key": "k",
    "value": b"v",
    "keys": ["k"],
    "pairs": {"k": b"v"},
    "job": "j",
    "name": "default",
    "target": "examples/wordcount.py:wordcount",
    "input": "in",
    "output": "out",
    "ttl": 60,
    "prefix": "k",
    "endpoints": NOBODY,
}
"""What the other arguments of a call are, where it cannot be without them."""

UNTOLD = {"default", "bundle", "spec"}
"""Anything is a default; bundle and spec are values of their own that were checked when they were made."""


def methods() -> Iterator[tuple[type, str]]:
    for kind in (AsyncKeyspace, AsyncClient, AsyncJobs):
        for name, method in vars(kind).items():
            if not name.startswith("_") and inspect.isfunction(method):
                yield kind, name


SETTINGS = {
    "put": PutSettings,
    "delete": DeleteSettings,
    "touch": TouchSettings,
    "mput": ManyPutsSettings,
    "scan": ScanSettings,
}
"""Of methods that take their settings as one."""


def parameters(kind: type, name: str) -> list[str]:
    found = inspect.signature(getattr(kind, name)).parameters
    named = [each for each in found if each not in ("self", "settings")]
    return [*named, *(SETTINGS[name].__annotations__ if "settings" in found else ())]


CALLS = [
    pytest.param(kind, name, parameter, wrong, id=f"{name}-{parameter}-{number}")
    for kind, name in methods()
    for parameter in parameters(kind, name)
    if parameter not in UNTOLD
    for number, wrong in enumerate(WRONG[parameter])
    if not (name == "session" and wrong is None)  # a new one begins
]


def arguments_of(kind: type, name: str, parameter: str, wrong: object) -> dict[str, object]:
    """A call that is right but for one argument."""
    signature = inspect.signature(getattr(kind, name)).parameters.values()
    needed = [
        each.name
        for each in signature
        if each.default is each.empty and each.name not in ("self", "settings")
    ]
    return {**{each: GIVEN[each] for each in needed}, parameter: wrong}


def subject(db: AsyncClient, kind: type) -> Any:
    return db.jobs if kind is AsyncJobs else db


async def outcome(found: Any) -> None:
    """Wait for whatever a method gives: a value, something to await, or something to walk."""
    if isinstance(found, AsyncIterator):
        async for _ in found:
            return
    elif inspect.isawaitable(found):
        await found


@pytest.mark.parametrize(("kind", "name", "parameter", "wrong"), CALLS)
async def test_a_wrong_argument_of_any_method_is_refused_by_name(
    kind: type, name: str, parameter: str, wrong: object
) -> None:
    given = arguments_of(kind, name, parameter, wrong)
    db = connect(NOBODY)
    with pytest.raises(InvalidArgument) as refused:
        await outcome(getattr(subject(db, kind), name)(**given))
    assert len(str(refused.value)) < 400, "the error does not repeat what was given at length"
    assert "address" not in refused.value.detail, "nobody was asked"


CONNECTING = [
    pytest.param(parameter, wrong, id=f"{parameter}-{number}")
    for parameter in inspect.signature(connect).parameters
    for number, wrong in enumerate(WRONG[parameter])
]


@pytest.mark.parametrize(("parameter", "wrong"), CONNECTING)
@pytest.mark.parametrize("open_client", [connect, Client])
def test_a_wrong_argument_is_refused_at_construction(
    open_client: Callable[..., object], parameter: str, wrong: object
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        open_client(**{"endpoints": NOBODY, parameter: wrong})
    assert "clé" not in str(refused.value), "a token is never shown"


def test_a_blocking_call_is_refused_in_the_same_words() -> None:
    with pytest.raises(InvalidArgument, match="key is of type int; it must be str or bytes"):
        Client(NOBODY).get(3)  # type: ignore[call-overload]


async def test_nothing_is_allocated_for_a_key_that_is_a_number() -> None:
    db = connect(NOBODY)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArgument):
            await db.get(10**10)  # type: ignore[call-overload]
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


async def test_a_number_of_thousands_of_digits_is_refused_by_name() -> None:
    async with contextlib.aclosing(connect(NOBODY)) as db:
        for name, call in {
            "by": db.registers.incr("k", by=HUGE),
            "expect_version": db.registers.cas("k", b"v", expect_version=HUGE),
            "amount": db.counters("likes").add("k", HUGE),
        }.items():
            with pytest.raises(InvalidArgument, match=f"^{name} is an integer of 16610 bits"):
                await call


@pytest.mark.parametrize("key", ["k", b"k", bytearray(b"k"), memoryview(b"xkx")[1:2], memoryview(b"k1")[::2]])
def test_keys_are_str_or_bytes_like(key: arguments.Key) -> None:
    assert arguments.checked_key(key) == b"k"


def test_a_key_of_bytes_that_are_no_text_comes_back_as_it_was() -> None:
    assert arguments.checked_key(b"\xff".decode("utf-8", "surrogateescape")) == b"\xff"


@pytest.mark.parametrize(
    ("ttl", "milliseconds"),
    [(None, 0), (1, 1000), (0.5, 500), (timedelta(minutes=1), 60_000), (Fraction(1, 4), 250), (1e-9, 1)],
)
def test_a_ttl_is_seconds_or_a_timedelta(ttl: arguments.Seconds | None, milliseconds: int) -> None:
    assert arguments.checked_ttl_ms(ttl) == milliseconds


@pytest.mark.parametrize(
    ("level", "text"), [(None, ""), (2, "2"), ("quorum", "quorum"), ("ALL", "all"), ("3", "3")]
)
def test_a_level_is_a_word_or_a_number(level: Any, text: str) -> None:
    assert arguments.checked_level("w", level) == text


def test_a_context_is_that_of_a_read_or_its_text() -> None:
    context = CausalContext(b"\x01\x02")
    assert arguments.checked_context(context.text) == arguments.checked_context(context) == context
    assert arguments.checked_context(EMPTY) == EMPTY
    with pytest.raises(InvalidArgument, match="must be bytes"):
        CausalContext("AQI")  # type: ignore[arg-type]


def test_endpoints_are_a_text_or_several() -> None:
    assert arguments.checked_endpoints(" a:1, b:2 ,") == ["a:1", "b:2"]
    assert arguments.checked_endpoints(("[::1]:7101", "node-1.local:80")) == ["[::1]:7101", "node-1.local:80"]


def test_paths_are_made_absolute() -> None:
    assert arguments.checked_paths("input", [PurePosixPath("/a"), "/b/*"]) == ("/a", "/b/*")
    assert arguments.checked_paths("input", "/a") == ("/a",)
    assert arguments.checked_paths("input", "file:///a/%20b") == ("/a/%20b",)
    assert arguments.checked_paths("input", ["s3://bucket/key"]) == ("s3://bucket/key",)
    for url in ("memory://key", "file://host/a", "simplecache::s3://bucket/key"):
        with pytest.raises(InvalidArgument, match=r"^input '"):
            arguments.checked_paths("input", url)
    with pytest.raises(InvalidArgument, match=r"^output 's3://bucket/key' is a URL"):
        arguments.checked_path("output", "s3://bucket/key")


def test_synced_is_the_word_and_sync_is_understood() -> None:
    assert arguments.checked_durability("synced") == arguments.checked_durability("sync") == "sync"
    assert arguments.checked_durability(None) == ""


@pytest.mark.parametrize(
    ("make", "name"), [(delete_options, "ttl"), (many_puts_options, "context"), (put_options, "note")]
)
def test_a_setting_that_a_method_does_not_have_is_a_type_error(make: Any, name: str) -> None:
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        make(**{name: 1})
