"""Registers on real processes under kill -9, SIGSTOP and bent links; the history goes to two judges.

    python scripts/chaos/registers.py --seconds 200 --operations 60000 --seed 7

The workload, the sessions and the first judge are the simulator's (C7: docs/testing.md); the second one is
Porcupine (scripts/judges), which needs Go.  Clients work in groups on a few keys, which change every round,
so that they meet.  In the end each register is read once more: a counter has to be the sum of all answered
changes and of some of those of unknown outcome.  Exit 0: no judge that could be asked objects; 1: one does,
and data and logs are kept.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC's core would tell of every reset connection

from chaos.network.links import Links  # noqa: E402
from chaos.real_faults import RealInjector, draw_real_faults  # noqa: E402
from chaos.real_nodes import RealNodes  # noqa: E402
from judges.register_lines import Verdict, judge, write_lines  # noqa: E402
from ringmill.client.connection import open_link  # noqa: E402
from ringmill.cluster.adapters.os_entropy import OsEntropy  # noqa: E402
from ringmill.cluster.adapters.system_clock import SystemClock  # noqa: E402
from ringmill.simulator.register_history import RegisterCall  # noqa: E402
from ringmill.simulator.subjects.registers.sessions import RegisterSession  # noqa: E402
from ringmill.simulator.subjects.registers.workload import KEYS, PlannedCall, draw_calls  # noqa: E402
from ringmill.simulator.world.seeds import stream  # noqa: E402

__all__ = ["RegisterChaos", "run"]

LONGEST_S = 600.0
FORM_S = 90.0
FLIGHT_S = 6.0  # the longest a change may still be under way at its coordinator
LAST_READ_S = 10.0
LAST_READS = 30  # of one key, until one is answered
PAUSE_S = 0.002
APART_S = (3.0, 12.0)  # from one fault to the next: calls that are answered tell more than others
ROUND_CALLS = 400
SESSIONS = 6  # of a group


@dataclass(frozen=True, slots=True)
class Options:
    seed: int
    seconds: float
    operations: int
    nodes: int
    groups: int


@dataclass(slots=True)
class RegisterChaos:
    """What a run asked and did."""

    calls: list[RegisterCall] = field(default_factory=list)
    faults: dict[str, int] = field(default_factory=dict)
    load_s: float = 0.0


async def _until_interrupted(options: Options, folder: str, result: RegisterChaos) -> None:
    """SIGTERM ends the run as Ctrl-C does: with everything stopped."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await run(options, folder, result)


async def run(options: Options, folder: str, result: RegisterChaos) -> None:
    """Load and faults side by side, until either is used up; then every register is read.

    Its processes are gone afterwards.  Raises RingmillError when the cluster does not come up.
    """
    nodes = RealNodes(folder, options.nodes)
    try:
        async with Links(nodes.ports, lambda: nodes.pids) as links:
            await nodes.form(FORM_S)
            injector = RealInjector(nodes, links)
            await _under_faults(options, nodes, injector, result)
            result.faults = dict(sorted(injector.fired.items()))
            await nodes.wait_ready(FORM_S)
            await asyncio.sleep(FLIGHT_S)
            await _look(nodes, result.calls)
    finally:
        nodes.stop()


async def _under_faults(
    options: Options, nodes: RealNodes, injector: RealInjector, result: RegisterChaos
) -> None:
    faults = draw_real_faults(stream(options.seed, "faults"), nodes.names, options.seconds, APART_S)
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        is_over = asyncio.Event()
        groups = []
        for group in range(options.groups):
            draws = stream(options.seed, f"sessions/{group}")
            sessions = [
                _session(f"g{group}r{number}", nodes, draws.choice((0.3, 1.0, 5.0)))
                for number in range(SESSIONS)
            ]
            for session in sessions:
                await stack.enter_async_context(session)
            groups.append(_Group(group, options, sessions, result.calls, is_over))
        load = asyncio.gather(*(group.work() for group in groups))
        load.add_done_callback(lambda _: is_over.set())
        await injector.run(faults, options.seconds, is_over)
        is_over.set()
        await load
    result.load_s = time.monotonic() - began


class _Group:
    """Clients that work on the same few keys, round after round, until time or operations are used up."""

    def __init__(
        self,
        number: int,
        options: Options,
        sessions: Sequence[RegisterSession],
        calls: list[RegisterCall],
        is_over: asyncio.Event,
    ) -> None:
        self._number = number
        self._options = options
        self._sessions = sessions
        self._calls = calls
        self._is_over = is_over

    async def work(self) -> None:
        number = 0
        while len(self._calls) < self._options.operations and not self._is_over.is_set():
            mark = f"{self._number}/{number}"
            plans = draw_calls(
                stream(self._options.seed, f"registers/{mark}"),
                [key + b" " + mark.encode() for key in KEYS],
                calls=ROUND_CALLS,
                sessions=len(self._sessions),
                pause_s=PAUSE_S,
            )
            async with asyncio.TaskGroup() as group:
                for place, session in enumerate(self._sessions):
                    mine = [plan for plan in plans if plan.session == f"r{place}"]
                    group.create_task(self._work_off(session, mine))
            number += 1

    async def _work_off(self, session: RegisterSession, plans: Sequence[PlannedCall]) -> None:
        for plan in plans:
            await asyncio.sleep(plan.pause_s)
            if self._is_over.is_set():
                return
            await session.make(plan, self._calls)


async def _look(nodes: RealNodes, calls: list[RegisterCall]) -> None:
    """Read every register until it is told."""
    plan = PlannedCall(0, "last", "get", b"", 0.0, 0, by_version=False, deletes=False)
    async with _session("last", nodes, LAST_READ_S) as session:
        for key in sorted({call.key for call in calls}):
            for _ in range(LAST_READS):
                if (await session.make(replace(plan, key=key), calls)).outcome == "ok":
                    break


def _session(name: str, nodes: RealNodes, timeout_s: float) -> RegisterSession:
    return RegisterSession(
        name,
        addresses=list(nodes.proxied.values()),
        dial=partial(open_link, session=True),
        entropy=OsEntropy(),
        clock=SystemClock(),
        timeout_s=timeout_s,
    )


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    if not 0 < given.seconds <= LONGEST_S:
        print(f"--seconds {given.seconds:g}: above 0, up to {LONGEST_S:g}", file=sys.stderr)
        return 2
    options = Options(given.seed, given.seconds, given.operations, given.nodes, given.groups)
    home = Path(tempfile.mkdtemp(prefix="ringmill-registers-"))
    history = Path(given.history) if given.history else home / "history.jsonl"
    has_held = False
    try:
        result = RegisterChaos()
        try:
            asyncio.run(_until_interrupted(options, str(home / "chaos"), result))
        finally:
            write_lines(result.calls, history)
        verdicts = judge(history)
        _tell(options, result, verdicts)
        has_held = not any(verdict.stories for verdict in verdicts)
    finally:
        if has_held:
            shutil.rmtree(home, ignore_errors=True)
        else:
            print(f"data, logs and history are kept in {home}", file=sys.stderr)
    return 0 if has_held else 1


def _tell(options: Options, result: RegisterChaos, verdicts: Sequence[Verdict]) -> None:
    ends = Counter(call.outcome for call in result.calls)
    kinds = Counter(call.kind for call in result.calls)
    keys = len({call.key for call in result.calls})
    counted = {kind: ends[kind] for kind in ("ok", "conflict", "failed", "unknown")}
    clients = options.groups * SESSIONS
    of = f"{options.nodes} node processes, {clients} clients"
    print(f"seed {options.seed}, {of}, {result.load_s:.0f} s of load")
    print(f"operations    {len(result.calls):,} on {keys:,} keys: {_list(kinds)}; {_list(counted)}")
    print(f"faults fired  {sum(result.faults.values())}: {_list(result.faults)}")
    for verdict in verdicts:
        print(f"{verdict.judge:13} {verdict.told}")
        for story in verdict.stories[:10]:
            print(f"    {story}")


def _list(counts: Mapping[Any, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items())) or "none"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="time of load and faults, up to 600  [60]"
    )
    parser.add_argument("--operations", type=int, default=60_000, help="the load ends after these  [60000]")
    parser.add_argument("--seed", type=int, default=1, help="seed of workload and faults  [1]")
    parser.add_argument("--nodes", type=int, default=5, help="number of node processes, 3 or more  [5]")
    parser.add_argument("--groups", type=int, default=2, help="of 6 clients each, on 5 keys at a time  [2]")
    parser.add_argument("--history", default="", help="where the history goes, as JSON lines  [nowhere]")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
