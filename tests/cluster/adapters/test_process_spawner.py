"""Functions in real worker processes, which end with their parent whatever happens to it."""

from __future__ import annotations

import asyncio
import errno
import operator
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ringmill.cluster.adapters.processes.captured_output import CapturedOutput
from ringmill.cluster.adapters.processes.process_spawner import ProcessSpawner
from ringmill.cluster.adapters.processes.task_processes import TaskProcesses
from ringmill.cluster.errors import InvalidArgument, ProtocolMismatch
from ringmill.cluster.os_errors import passes
from ringmill.cluster.wire.frames import decode_operations

PARENT = """
import asyncio, os, sys, time
from ringmill.cluster.adapters.processes.process_spawner import ProcessSpawner

async def main():
    spawner = ProcessSpawner()
    print(await spawner.run(os.getpid), flush=True)
    await spawner.run(time.sleep, 1000)

asyncio.run(main())
"""


@pytest.fixture
async def spawner() -> AsyncIterator[ProcessSpawner]:
    async with ProcessSpawner() as spawner:
        yield spawner


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(20):
        while is_running(pid):  # noqa: ASYNC110  another process has no event to wait for
            await asyncio.sleep(0.01)


async def test_the_kernel_ends_a_worker_before_its_node_when_memory_runs_out(spawner: ProcessSpawner) -> None:
    place, score_of = Path("/proc/self/oom_score_adj"), Path.read_text
    assert int(await spawner.run(score_of, place)) == min(max(500, int(score_of(place)) + 200), 1000)


async def test_a_function_runs_in_another_process_that_stays_for_the_next(spawner: ProcessSpawner) -> None:
    pid = await spawner.run(os.getpid)
    assert pid != os.getpid()
    assert await spawner.run(operator.add, b"x" * 1_000_000, b"y") == b"x" * 1_000_000 + b"y"
    assert await spawner.run(os.getpid) == pid


async def test_two_functions_run_at_a_time(spawner: ProcessSpawner) -> None:
    pids = await asyncio.gather(*(spawner.run(os.getpid) for _ in range(4)))
    assert len(set(pids)) == 2


async def test_a_worker_gives_way_to_its_node(spawner: ProcessSpawner) -> None:
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert await spawner.run(os.getpriority, os.PRIO_PROCESS, 0) == min(ours + 5, 19)


async def test_what_a_function_raises_is_raised_here_with_its_trace(spawner: ProcessSpawner) -> None:
    with pytest.raises(ValueError, match="invalid literal") as caught:
        await spawner.run(int, "no number")
    assert "in a worker process" in caught.value.__notes__[0]


async def test_want_of_memory_in_a_worker_is_an_error_that_passes(spawner: ProcessSpawner) -> None:
    with pytest.raises(OSError, match="Cannot allocate memory") as caught:
        await spawner.run(operator.mul, b"x", 1 << 62)
    assert passes(caught.value)
    assert "MemoryError" in caught.value.__notes__[0]


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EPERM, errno.EMFILE])
async def test_where_the_system_gives_no_pidfd_the_end_of_a_worker_is_heard_all_the_same(
    monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(pid: int) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    spawner = ProcessSpawner()
    pid = await spawner.run(os.getpid)
    with pytest.raises(ChildProcessError, match="ended with code 7"):
        await spawner.run(os._exit, 7)
    await spawner.run(os.getpid)
    await spawner.close()
    assert not is_running(pid)


async def test_an_error_of_ours_is_the_same_error_here(spawner: ProcessSpawner) -> None:
    with pytest.raises(ProtocolMismatch, match="shorter than its header"):
        await spawner.run(decode_operations, b"")


async def test_printing_does_not_disturb_the_answers(spawner: ProcessSpawner) -> None:
    await spawner.run(print, "hello", flush=True)
    assert await spawner.run(operator.add, 1, 2) == 3


async def test_cancelling_ends_the_worker(spawner: ProcessSpawner) -> None:
    pid = await spawner.run(os.getpid)
    call = asyncio.create_task(spawner.run(time.sleep, 1000))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until_gone(pid)
    assert await spawner.run(os.getpid) != pid


async def test_a_worker_that_dies_is_a_child_process_error_and_replaced(spawner: ProcessSpawner) -> None:
    with pytest.raises(ChildProcessError, match="ended with code 7"):
        await spawner.run(os._exit, 7)
    assert await spawner.run(operator.add, 1, 2) == 3


async def test_a_worker_killed_while_idle_is_replaced(spawner: ProcessSpawner) -> None:
    pid = await spawner.run(os.getpid)
    os.kill(pid, signal.SIGKILL)
    await until_gone(pid)
    async with asyncio.timeout(20):
        while True:
            try:
                assert await spawner.run(operator.add, 1, 2) == 3
                break
            except ChildProcessError:
                continue


async def test_a_function_without_an_importable_name_is_refused(spawner: ProcessSpawner) -> None:
    with pytest.raises(InvalidArgument, match="cannot run in a worker process"):
        await spawner.run(lambda: 1)


async def test_closing_leaves_no_process() -> None:
    spawner = ProcessSpawner()
    pid = await spawner.run(os.getpid)
    busy = asyncio.create_task(spawner.run(time.sleep, 1000))
    await asyncio.sleep(0.01)
    await spawner.close()
    with pytest.raises(ChildProcessError):
        await busy
    assert not is_running(pid)


async def test_kill_9_of_the_parent_leaves_no_process() -> None:
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert parent.stdout is not None
    worker = int(await parent.stdout.readline())
    assert is_running(worker)
    parent.kill()
    await parent.wait()
    await until_gone(worker)


async def test_a_task_process_starts_in_its_folder_and_ends_with_the_spawner(tmp_path: Path) -> None:
    spawner = ProcessSpawner()
    task = await spawner.start_task(workdir=str(tmp_path), environment={}, limits={})
    async with asyncio.timeout(20):
        while psutil.Process(task.pid).cwd() != str(tmp_path):  # noqa: ASYNC110  it moves there by itself
            await asyncio.sleep(0.01)
    await spawner.close()
    await until_gone(task.pid)


@pytest.mark.parametrize(("where", "name"), [(socket, "socketpair"), (CapturedOutput, "open")])
async def test_a_node_without_descriptors_makes_no_task_process_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: Any, name: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    processes = TaskProcesses()
    try:
        for _ in range(2):
            with monkeypatch.context() as patched:
                patched.setattr(where, name, refuse)
                with pytest.raises(ChildProcessError, match="Too many open files"):
                    await processes.start_task(workdir=str(tmp_path), environment={}, limits={})
            task = await processes.start_task(workdir=str(tmp_path), environment={}, limits={})
            task.kill()
            await task.wait()
    finally:
        await processes.close()
