"""A key that is deleted while a watch of its prefix looks at all keys for the first time is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import pytest

from ringmill.client.operations import OperationNames
from ringmill.client.routing.directory import Directory
from ringmill.client.routing.router import Router
from ringmill.client.values import CausalContext, Item, PrefixChange
from ringmill.client.watches import prefix_watching
from ringmill.client.watches.prefix_watching import prefix_changes_of
from tests.client.watches.test_watching import PrefixLink, SteadyEntropy, heard


@pytest.mark.parametrize("is_told_before", [False, True], ids=["nothing-told", "value-told-meanwhile"])
def test_a_delete_between_the_page_and_the_read_of_its_key_is_told(
    monkeypatch: pytest.MonkeyPatch, is_told_before: bool
) -> None:
    held = {b"p0": (1, True), b"p1": (1, True)}
    meanwhile = [heard(2, b"p1"), heard(3)] if is_told_before else []
    link = PrefixLink(heard(1, is_lost=True), *meanwhile, heard(4, b"p1"))

    async def pages(polls: object, *, is_first: bool, shows_present: bool) -> AsyncIterator[Sequence[bytes]]:
        yield [b"p0"]
        held[b"p1"] = (2, False)  # the page that is made now still lists it
        yield [b"p1"]

    async def read(polls: object, key: bytes) -> PrefixChange:
        version, has_value = held[key]
        item = Item((b"v",), CausalContext(b""), ("n1:1",)) if has_value else None
        return PrefixChange(key, item, CausalContext(b"%d" % version))

    monkeypatch.setattr(prefix_watching._PrefixPolls, "_pages", pages)
    monkeypatch.setattr(prefix_watching._PrefixPolls, "_read", read)
    if is_told_before:
        monkeypatch.setattr(prefix_watching, "_MEANWHILE_S", 0.0)
    told: list[tuple[bytes, bool]] = []

    async def story() -> None:
        async with Directory(["a:1"], lambda _: link) as directory:
            router = Router(directory, SteadyEntropy(), 5.0)
            names = OperationNames(SteadyEntropy(), directory)
            changes = prefix_changes_of(
                router, names, "default", b"p", after=None, from_now=False, r=None, patience=60.0
            )
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    while True:
                        change = await anext(changes)
                        told.append((change.key, change.is_deleted))

    asyncio.run(story())
    before = [(b"p1", False)] if is_told_before else []
    assert told == [(b"p0", False), *before, (b"p1", True)]
