"""Runs in which nothing goes wrong, and calls that their driver gives up: C22 finds nothing in them."""

from __future__ import annotations

import asyncio

from google.protobuf.message import Message

from ringmill.client.routing.links import Abandon, Method
from ringmill.cluster.ports import Ended
from ringmill.simulator.history import Operation
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.run import run_seed
from ringmill.simulator.subjects.objects.sessions import Answer, Session
from ringmill.simulator.subjects.objects.workload import PlannedOperation
from ringmill.simulator.world.seeds import SeededEntropy

UNTROUBLED = SimulationOptions(operations=60, faults=(), core=0.0, load_s=2.0)
GET = PlannedOperation(0, "a", "get", b"k", b"", "none", "", "", 0.0)


def test_hardly_any_call_fails_where_nothing_goes_wrong() -> None:
    results = [run_seed(seed, UNTROUBLED) for seed in range(1, 9)]
    assert [(each.seed, each.violations) for each in results if not each.is_ok] == []
    assert all(len(each.history.operations) >= 60 for each in results)
    assert all(not each.history.first_fired_at.keys() - {"late_work", "child_cut"} for each in results)


class Silent:
    """A link to a node that never answers."""

    async def call(self, method: Method[Answer], request: Message, timeout_s: float) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    def send(self, method: Method[Message], request: Message, timeout_s: float, ended: Ended) -> Abandon:
        return lambda: None

    async def close(self) -> None:
        """Nothing is held."""


async def given_up(timeout_s: float, after_s: float) -> Operation:
    session = Session(
        "a", addresses=["n1"], dial=lambda _: Silent(), entropy=SeededEntropy(1, "a"), timeout_s=timeout_s
    )
    operations: list[Operation] = []
    asking = asyncio.ensure_future(session.ask(GET, operations))
    await asyncio.sleep(after_s)
    assert not asking.done()
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()
    return operations[0]


async def test_a_call_that_is_given_up_within_its_time_is_not_a_late_one() -> None:
    operation = await given_up(60.0, 0.01)
    assert (operation.outcome, operation.returned, operation.timeout_s) == ("unknown", None, None)
