"""The simulated Transport tells what the real one tells: answers, errors, refusals, silence."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ringmill.cluster.deadline_wheel import TICK_S
from ringmill.cluster.errors import DeadlineExceeded, InvalidArgument, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Incoming, Priority
from ringmill.simulator.trace import Trace
from ringmill.simulator.world.clocks import SimulatedClock
from ringmill.simulator.world.network import Network
from ringmill.simulator.world.seeds import stream
from ringmill.simulator.world.transport import SimulatedTransport
from ringmill.simulator.world.virtual_loop import Process, VirtualLoop

N1, N2 = NodeId("n1"), NodeId("n2")


class _Pair:
    """n1 asks, n2 answers "echo" and refuses "refuse"."""

    def __init__(self, seed: int = 1) -> None:
        self.loop = VirtualLoop(stream(seed, "schedule"))
        self.trace = Trace(self.loop.time)
        self.network = Network(self.loop, stream(seed, "network"), self.trace)
        self.heard: list[bytes] = []
        self.processes: dict[str, Process] = {}
        self.asks = self._transport("n1")
        self.answers = self._transport("n2")
        self.answers.serve("echo", self._echo)
        self.answers.serve("refuse", self._refuse)

    def _transport(self, name: str) -> SimulatedTransport:
        process = self.processes[name] = self.loop.process(name)
        transport = SimulatedTransport(
            name, loop=self.loop, network=self.network, process=process, clock=SimulatedClock(self.loop)
        )
        transport.set_peers({N1: "", N2: ""})
        return transport

    async def _echo(self, incoming: Incoming) -> bytes:
        assert incoming.sender == N1
        self.heard.append(incoming.body)
        return incoming.body

    def _refuse(self, incoming: Incoming) -> bytes:
        raise InvalidArgument("no", detail={"size": 3})

    async def ask(self, method: str, body: bytes = b"x", timeout_s: float = 1.0) -> bytes:
        return await self.asks.call(N2, method, body, timeout_s=timeout_s, priority=Priority.READ)

    def run(self, story: Callable[[], Awaitable[None]]) -> None:
        self.loop.run_until_complete(story())
        assert self.loop.unhandled() == []


def test_a_call_is_answered_and_an_error_crosses_as_itself() -> None:
    pair = _Pair()

    async def story() -> None:
        assert await pair.ask("echo", b"hello") == b"hello"
        with pytest.raises(InvalidArgument) as error:
            await pair.ask("refuse")
        assert error.value.detail == {"size": 3}

    pair.run(story)


def test_a_cut_link_is_silence_until_the_deadline() -> None:
    pair = _Pair()
    pair.network.link("n1", "n2").is_cut = True

    async def story() -> None:
        with pytest.raises(DeadlineExceeded) as error:
            await pair.ask("echo", timeout_s=0.5)
        assert error.value.outcome == "unknown"
        assert 0.5 <= pair.loop.time() <= 0.5 + TICK_S

    pair.run(story)
    assert pair.trace.faults["cut"] == 1


def test_the_first_call_after_a_death_is_unknown_and_the_next_certainly_not_sent() -> None:
    pair = _Pair()

    async def story() -> None:
        await pair.ask("echo")
        pair.loop.kill(pair.processes["n2"])
        outcomes = []
        for _ in range(2):
            with pytest.raises(Unavailable) as error:
                await pair.ask("echo")
            outcomes.append(error.value.outcome)
        assert outcomes == ["unknown", "failed"]

    pair.run(story)


def test_what_was_sent_to_a_paused_process_is_heard_when_it_goes_on_if_somebody_still_waits() -> None:
    pair = _Pair()

    async def story() -> None:
        pair.loop.pause(pair.processes["n2"])
        patient = asyncio.ensure_future(pair.ask("echo", b"patient", timeout_s=5.0))
        with pytest.raises(DeadlineExceeded):
            await pair.ask("echo", b"late", timeout_s=0.5)
        assert pair.heard == []
        pair.loop.resume(pair.processes["n2"])
        assert await patient == b"patient"
        assert pair.heard == [b"patient"]
        assert pair.trace.faults["late_work"] == 1

    pair.run(story)


def test_a_duplicated_message_is_answered_twice_and_heard_once_by_the_caller() -> None:
    pair = _Pair()
    pair.network.link("n1", "n2").duplicate = 1.0

    async def story() -> None:
        assert await pair.ask("echo", b"twice") == b"twice"
        await asyncio.sleep(0.1)
        assert pair.heard == [b"twice", b"twice"]

    pair.run(story)


def test_a_link_that_is_stuck_no_longer_lets_go_what_it_holds_in_order() -> None:
    pair = _Pair()

    async def story() -> None:
        link = pair.network.link("n1", "n2")
        link.stuck_until = pair.loop.time() + 15.0
        calls = [asyncio.ensure_future(pair.ask("echo", b"%d" % number, 60.0)) for number in range(9)]
        await asyncio.sleep(1.0)
        assert pair.heard == []
        pair.network.let_go(link)
        assert await pair.ask("echo", b"after") == b"after"
        await asyncio.gather(*calls)
        assert pair.loop.time() < 2.5, "nothing waits for what is stuck no longer"

    pair.run(story)
    assert pair.heard == [b"%d" % number for number in range(9)] + [b"after"]
