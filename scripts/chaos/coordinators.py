"""Kill the coordinator of a job at a random moment, job after job; then hand one job over again and again.

    python scripts/chaos/coordinators.py --jobs 20 --handovers 10 --seed 7

Five nodes.  Each job counts words, and is watched.  When a random number of its tasks are done, and a random
part of a second later, the node that coordinates it is killed -9; it is started again when the job is over.
Every job has to succeed with the bytes of the same job in one process, and no task that was told as done on
another node may run again.  A takeover counts from the kill to the first word of another coordinator.  Then a
last job is handed over while it runs, a moment after each word of it.  Exit 0 when all of that held, 1
when not; data and logs are kept then.  Times are told, and nothing is judged by them.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from chaos.homes.own_cluster import judge_on_cluster  # noqa: E402
from chaos.jobs.comparing import differing  # noqa: E402
from chaos.jobs.job_nodes import JobNodes  # noqa: E402
from ringmill.client.connection import AsyncClient, connect  # noqa: E402
from ringmill.client.jobs.job_modules import load_job_module  # noqa: E402
from ringmill.client.jobs.run_local import run_local  # noqa: E402
from ringmill.client.local.local_state import LocalCluster, read_token  # noqa: E402
from ringmill.cluster.adapters.files.os_files import OsFileSystem  # noqa: E402

__all__ = ["main"]

MOST: Final = 100
FILES: Final = 24
LINES_A_FILE: Final = 9000  # of 70 bytes: two files have more than a mebibyte, so each is a split
MAP_S: Final = {"map_s": "0.25"}  # of a job whose coordinator is killed
LONG_MAP_S: Final = {"map_s": "2"}  # of the one that is handed over
PATIENT_S: Final = 90.0
BETWEEN_S: Final = 0.2  # two handovers
LATEST_KILL_S: Final = 0.2
MODULE: Final = """
import time
from collections.abc import Iterable, Iterator
from ringmill import Context, job

def words(offset: int, line: str, ctx: Context) -> Iterator[tuple[str, int]]:
    if offset == 0:
        time.sleep(float(ctx.params["map_s"]))
    for word in line.split():
        yield word, 1

def total(word: str, counts: Iterable[int]) -> Iterator[tuple[str, int]]:
    yield word, sum(counts)

counted = job(map=words, combine=total, reduce=total, split_mib=1, params={"map_s": "0"})
"""


@dataclass(slots=True)
class Round:
    """What came of one job."""

    at: int  # tasks that were to be done before the coordinator was killed
    killed: str = ""
    done: dict[str, int] = field(default_factory=dict)  # attempts of tasks that other nodes had done by then
    takeover_s: float = 0.0
    seconds: float = 0.0
    violation: str = ""

    def line(self) -> str:
        return (
            f"{self.at:>10} {self.killed:>6} {len(self.done):>5} {self.takeover_s:>10.2f} "
            f"{self.seconds:>7.1f}  {self.violation or 'ok'}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--jobs", type=int, default=5, help=f"whose coordinator is killed, 1 to {MOST}  [5]")
    parser.add_argument("--handovers", type=int, default=10, help=f"of one job, 1 to {MOST}  [10]")
    parser.add_argument("--seed", type=int, default=1, help="seed of the words and of the moments  [1]")
    given = parser.parse_args()
    for name in ("jobs", "handovers"):
        if not 1 <= getattr(given, name) <= MOST:
            parser.error(f"--{name} {getattr(given, name)}: 1 to {MOST}")
    return judge_on_cluster(
        "coordinators",
        nodes=5,
        lowest_port=19600,
        run_and_judge=lambda cluster: asyncio.run(
            _run_and_judge(cluster, given.jobs, given.handovers, random.Random(given.seed))
        ),
    )


async def _run_and_judge(cluster: LocalCluster, jobs: int, handovers: int, chance: random.Random) -> bool:
    home = Path(cluster.folder).parent
    target, texts = _written(home, chance)
    with closing(OsFileSystem()) as files:
        definition = load_job_module(target, files, str(home)).definition
    reference = home / "reference"
    await asyncio.to_thread(run_local, definition, texts, str(reference))
    rounds, nodes = [], JobNodes(cluster)
    print("done tasks killed  kept takeover s seconds", flush=True)
    async with connect(nodes.addresses, token=read_token(cluster.folder)) as db:
        for number in range(jobs):
            one = Round(chance.randrange(FILES))
            await _run_and_kill(db, nodes, target, texts, home / f"out-{number}", one, chance)
            one.violation = one.violation or differing(reference, home / f"out-{number}")
            rounds.append(one)
            print(one.line(), flush=True)
        took, ended = await _handed_over(db, target, texts, home / "out-handed-over", handovers)
    violation = differing(reference, home / "out-handed-over") if ended == "SUCCEEDED" else f"it {ended}"
    return _judge(rounds, took, handovers, violation)


def _judge(rounds: Sequence[Round], took: Sequence[float], handovers: int, violation: str) -> bool:
    bad = sum(bool(one.violation) for one in rounds)
    waits = [one.takeover_s for one in rounds if one.takeover_s]
    if waits:
        print(
            f"{len(rounds)} jobs, {len(waits)} taken over: median {statistics.median(waits):.1f} s, "
            f"longest {max(waits):.1f} s; {bad} with a violation"
        )
    if took:
        print(
            f"{len(took)} handovers of one job: median {statistics.median(took):.2f} s, "
            f"longest {max(took):.2f} s; {violation or 'its output is equal'}"
        )
    return bool(waits) and not bad and len(took) == handovers and not violation


def _written(home: Path, chance: random.Random) -> tuple[str, str]:
    """A module with the job, and text for it.  Returns the job's name and a glob."""
    (home / "words.py").write_text(MODULE)
    folder = home / "texts"
    folder.mkdir()
    some = [f"w{number:05}" for number in range(2000)]
    for number in range(FILES):
        lines = (" ".join(chance.choices(some, k=10)) for _ in range(LINES_A_FILE))
        (folder / f"{number:02}.txt").write_text("\n".join(lines) + "\n")
    return f"{home}/words.py:counted", f"{folder}/*.txt"


async def _run_and_kill(
    db: AsyncClient,
    nodes: JobNodes,
    target: str,
    texts: str,
    output: Path,
    one: Round,
    chance: random.Random,
) -> None:
    """Run a job and kill its coordinator on the way; the node is back when this returns."""
    job = await db.jobs.submit(target, input=texts, output=str(output), params=MAP_S)
    begun, killed_at, state = time.monotonic(), 0.0, None
    async with asyncio.timeout(PATIENT_S):
        async for state in db.jobs.watch(job):
            done = {each.task: each for each in state.tasks if each.state == "done"}
            if not one.killed and (len(done) >= one.at or state.is_over):
                await asyncio.sleep(chance.random() * LATEST_KILL_S)
                one.killed = state.node
                one.done = {task: each.attempts for task, each in done.items() if each.node != one.killed}
                nodes.kill(one.killed)
                killed_at = time.monotonic()
            elif one.killed and not one.takeover_s and state.node != one.killed:
                one.takeover_s = time.monotonic() - killed_at
    assert state is not None
    one.seconds = time.monotonic() - begun
    again = {each.task for each in state.tasks if each.attempts > one.done.get(each.task, each.attempts)}
    if state.state != "SUCCEEDED":
        one.violation = f"{state.state}: {state.error}"
    elif again:
        one.violation = f"done tasks ran again: {', '.join(sorted(again))}"
    await nodes.restored()


async def _handed_over(
    db: AsyncClient, target: str, texts: str, output: Path, handovers: int
) -> tuple[list[float], str]:
    """How long each handover of one job took, and how the job ended."""
    job = await db.jobs.submit(target, input=texts, output=str(output), params=LONG_MAP_S)
    took: list[float] = []
    async with asyncio.timeout(PATIENT_S):
        async for state in db.jobs.watch(job):
            if len(took) < handovers and not state.is_over:
                await asyncio.sleep(BETWEEN_S)
                begun = time.monotonic()
                await db.jobs.handover()
                took.append(time.monotonic() - begun)
    return took, state.state


if __name__ == "__main__":
    raise SystemExit(main())
