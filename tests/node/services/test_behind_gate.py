"""A plain call that waits at the gate has less time when it is begun."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import Overloaded
from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.overload.work_limit import WorkLimitOptions
from ringmill.cluster.ports import Priority
from ringmill.node.services.behind_gate import behind_gate
from ringmill.node.services.explain_service import ExplainService
from ringmill.node.services.kv_service import KvService
from ringmill.node.services.scans_service import ScansService
from ringmill.node.services.table import Call, Unary

ONE = WorkLimitOptions(first_limit=1, least_limit=1, most_limit=1, least_queue=6, first_rate=1)


class MovedClock(SystemClock):
    """Stands until it is moved."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now

    def boottime(self) -> float:
        return self.now


async def test_a_call_is_begun_with_what_its_wait_has_left_of_its_time() -> None:
    clock = MovedClock()
    core = cast("Any", SimpleNamespace(clock=clock, gate=Gate("n1", clock, ONE)))
    first_may_end = asyncio.Event()
    begun = list[float | None]()

    async def put(body: bytes, call: Call) -> bytes:
        begun.append(call.left_s)
        if len(begun) == 1:
            await first_may_end.wait()
        return body

    method = behind_gate(core, "kv.put", Unary(put, tells_clock=True), Priority.WRITE)
    calls = [asyncio.ensure_future(method.run(b"", Call(left_s, {}))) for left_s in (1.0, 1.0, None)]
    await asyncio.sleep(0)
    assert begun == [1.0], "the others wait"
    clock.now += 0.6
    first_may_end.set()
    await asyncio.gather(*calls)
    assert begun[1] is not None
    assert abs(begun[1] - 0.4) < 1e-9
    assert begun[2] is None, "without a limit"


class NeverEnding:
    """A room of requests that answers nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda _: asyncio.Event().wait()


@pytest.mark.parametrize(
    "name", ["Explain/Get", "Kv/Get", "Kv/Watch", "Kv/WatchPrefix", "Kv/Locate", "Scans/Page"]
)
async def test_what_reads_is_let_in_kept_waiting_or_refused(name: str) -> None:
    clock = MovedClock()
    gate = Gate("n1", clock, ONE)
    core = cast("Any", SimpleNamespace(clock=clock, gate=gate))
    requests = cast("Any", NeverEnding())
    services = [
        ExplainService(core, requests).service(),
        KvService(core, requests).service(),
        ScansService(core, requests).service(),
    ]
    service, _, verb = name.partition("/")
    (method,) = [each.methods[verb] for each in services if each.name == f"ringmill.v1.{service}"]
    assert isinstance(method, Unary)
    asked = [asyncio.ensure_future(method.run(b"", Call())) for _ in range(20)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert (gate.in_use, gate.waiting) == (1, 6)
    refused = [each for each in asked if each.done()]
    assert len(refused) == 13
    assert all(isinstance(each.exception(), Overloaded) for each in refused)
    for each in asked:
        each.cancel()
    await asyncio.gather(*asked, return_exceptions=True)
