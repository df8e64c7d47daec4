"""What is healed owes an answer to the last question of each subject, and calls that hang are noticed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringmill.client.administration.keyspaces import AsyncKeyspaces
from ringmill.client.kv import AsyncKeyspace
from ringmill.client.merging.mergeables import AsyncSets
from ringmill.client.registers.registers import AsyncRegisters
from ringmill.cluster.errors import QuorumNotReached
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.run import run_seed

END_OF_LOAD_S = 8.0
CLASS_AND_VERB: dict[str, tuple[Any, str]] = {
    "registers": (AsyncRegisters, "get"),
    "merging": (AsyncSets, "get"),
    "keyspaces": (AsyncKeyspaces, "list"),
    "sloppy": (AsyncKeyspace, "get"),
}


def calm(subject: str) -> SimulationOptions:
    return SimulationOptions(
        (subject,), nodes=3, faults=(), core=0.0, longest_s=6.0, quiet_s=30.0 if subject == "sloppy" else 10.0
    )


@pytest.mark.parametrize("subject", CLASS_AND_VERB)
def test_a_last_question_that_nobody_answers_is_red(subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, verb = CLASS_AND_VERB[subject]
    asked = getattr(owner, verb)

    async def refused_in_the_end(*given: Any, **more: Any) -> Any:
        if asyncio.get_running_loop().time() > END_OF_LOAD_S:
            raise QuorumNotReached("0 of 2 owners")
        return await asked(*given, **more)

    monkeypatch.setattr(owner, verb, refused_in_the_end)
    assert {found.property for found in run_seed(1, calm(subject)).violations} & {"C2", "C18"}


@pytest.mark.parametrize("subject", CLASS_AND_VERB)
def test_a_call_that_hangs_under_load_is_red(subject: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, verb = CLASS_AND_VERB[subject]
    verb = {"registers": "incr", "sloppy": "put"}.get(subject, verb)  # of calls that are all kept
    asked = getattr(owner, verb)
    hung: list[None] = []

    async def hangs_once(*given: Any, **more: Any) -> Any:
        if not hung:
            hung.append(None)
            await asyncio.sleep(3600.0)
        return await asked(*given, **more)

    monkeypatch.setattr(owner, verb, hangs_once)
    assert "C22" in {found.property for found in run_seed(1, calm(subject)).violations}
