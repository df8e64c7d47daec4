"""Faults run side by side: what one of them finds is not always how it left it."""

from __future__ import annotations

import asyncio
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from ringmill.simulator.faults import folders
from ringmill.simulator.faults.fault import Fault


@pytest.mark.parametrize("is_started_meanwhile", [False, True])
async def test_a_machine_that_was_put_back_is_started_once(
    is_started_meanwhile: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[str] = []

    class Node:
        is_running, node = True, object()
        current: str | None = "first"
        disk = SimpleNamespace(lossy=SimpleNamespace(after_kill=lambda: None), put_back=lambda kept: None)

        async def stop(self) -> None:
            self.current = ""

        def kill(self, model: Any) -> None:
            self.current = None
            if is_started_meanwhile:
                asyncio.get_running_loop().call_soon(self.start)

        def start(self, *, is_last_again: bool = False) -> None:
            assert not self.current, "it runs already"
            self.current = "again" if is_last_again else "next"
            starts.append(self.current)

    async def has_written(*_: Any) -> bool:
        return True

    node = Node()
    ground: Any = SimpleNamespace(
        nodes={"n1": node},
        trace=SimpleNamespace(fault=lambda kind, name: None),
        start=lambda names: node.start(),
        draws=Random(7),
    )
    monkeypatch.setattr(folders, "_wait_until_written", has_written)
    monkeypatch.setattr(ground.draws, "random", lambda: 0.01)
    await folders._put_back_machine(Fault(1.0, "machine_put_back", ("n1",), 1.0), ground)
    assert starts == ["next", "next" if is_started_meanwhile else "again"]
