"""Task processes are made, confined and ended, shown with real processes."""

import asyncio
import json
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from ringmill.cluster.adapters.processes import task_processes
from ringmill.cluster.adapters.processes.captured_output import KEPT_BYTES
from ringmill.cluster.adapters.processes.task_processes import MAX_MESSAGE_BYTES, ForkedTask, TaskProcesses

SNIPPETS = str(Path(__file__).with_name("snippet_forkserver.py"))
ROOT = Path(__file__).parents[3]


@pytest.fixture
async def processes() -> AsyncIterator[TaskProcesses]:
    made = TaskProcesses((sys.executable, SNIPPETS))
    yield made
    await made.close()


async def start(maker: TaskProcesses, folder: Path, **limits: int) -> ForkedTask:
    return await maker.start_task(workdir=str(folder), environment={"HELLO": "task"}, limits=limits)


async def ask(task: ForkedTask, snippet: str) -> str:
    await task.send(textwrap.dedent(snippet).encode())
    return (await task.receive()).decode()


async def until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(1500):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"never happened: {what}")


def environment_of(pid: int | None) -> str:
    return Path(f"/proc/{pid}/environ").read_text()


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


async def test_a_task_lives_in_its_own_session_and_folder_with_nothing_of_the_nodes(
    processes: TaskProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RINGMILL_SECRET", "token")
    task = await start(processes, tmp_path)
    seen = json.loads(
        await ask(
            task,
            """
            import json, os
            answer(json.dumps({
                "pid": os.getpid(), "session": os.getsid(0), "group": os.getpgid(0), "folder": os.getcwd(),
                "environment": dict(os.environ), "score": open("/proc/self/oom_score_adj").read(),
                "descriptors": sorted(map(int, os.listdir("/proc/self/fd"))),
            }))
            """,
        )
    )
    assert seen["pid"] == seen["session"] == seen["group"] == task.pid
    assert seen["folder"] == str(tmp_path)
    assert int(seen["score"]) >= 800, "the kernel ends a task before its node when memory runs out"
    assert seen["environment"].pop("RINGMILL_TASKS_OF") in environment_of(processes.forkserver_pid)
    assert seen["environment"] == {"HELLO": "task"}
    assert seen["descriptors"] == [0, 1, 2, 3, 4]  # 4 is the listing's own
    assert "SECRET" not in environment_of(processes.forkserver_pid)


async def test_one_task_answers_many_messages_and_ends_when_its_pipe_does(
    processes: TaskProcesses, tmp_path: Path
) -> None:
    task = await start(processes, tmp_path)
    assert [await ask(task, f"answer(str({n} * 2))") for n in range(5)] == ["0", "2", "4", "6", "8"]
    assert len(await ask(task, "answer('x' * 3_000_000)")) == 3_000_000
    await task.send(b"raise SystemExit(0)")
    with pytest.raises(EOFError):
        await task.receive()
    assert await task.wait() == 1
    assert task.peak_bytes > 1_000_000
    assert b"SystemExit" in task.output()


@pytest.mark.parametrize(
    ("snippet", "code"),
    [
        ("import os; os._exit(0)", 0),
        ("import os; os._exit(7)", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -9),
        ("import os, signal; os.kill(0, signal.SIGTERM)", -15),
    ],
)
async def test_how_a_task_ended_is_reported(
    processes: TaskProcesses, tmp_path: Path, snippet: str, code: int
) -> None:
    task = await start(processes, tmp_path)
    await task.send(snippet.encode())
    with pytest.raises(EOFError):
        await task.receive()
    assert await task.wait() == code


async def test_limits_hold_for_memory_cpu_files_and_file_size(
    processes: TaskProcesses, tmp_path: Path
) -> None:
    limits = {"as_bytes": 400 << 20, "open_files": 32, "file_bytes": 1 << 20, "cpu_s": 1}
    task = await start(processes, tmp_path, **limits)
    memory = await ask(task, "try: bytearray(600 << 20)\nexcept MemoryError: answer('MemoryError')")
    files = await ask(
        task,
        "try: kept = [open('/dev/null') for _ in range(40)]\nexcept OSError as e: answer(e.strerror)",
    )
    size = await ask(
        task,
        "try: open('big', 'wb', 0).write(bytes(1 << 20)); open('big', 'ab', 0).write(b'x')\n"
        "except OSError as e: answer(e.strerror)",
    )
    assert (memory, files, size) == ("MemoryError", "Too many open files", "File too large")
    await task.send(b"while True: pass")
    assert await task.wait() == -signal.SIGXCPU


async def test_only_the_last_mebibyte_of_endless_output_is_kept(
    processes: TaskProcesses, tmp_path: Path
) -> None:
    task = await start(processes, tmp_path)
    said = await ask(
        task,
        """
        import sys
        for n in range(200):
            sys.stdout.write(f"{n:>9}\\n" * 10_000)
        sys.stdout.flush(); sys.stderr.write("the end"); sys.stderr.flush()
        answer("said")
        """,
    )
    await until(lambda: task.output().endswith(b"the end"), "all output arrived")
    assert said == "said"
    assert len(task.output()) == KEPT_BYTES
    task.kill()
    assert await task.wait() == -9


async def test_kill_reaches_the_whole_group_and_those_who_left_the_session(
    processes: TaskProcesses, tmp_path: Path
) -> None:
    task = await start(processes, tmp_path)
    pids = json.loads(
        await ask(
            task,
            """
            import json, os, subprocess, sys
            wait = [sys.executable, "-c", "import time; time.sleep(600)"]
            child = subprocess.Popen(wait)
            escaped = subprocess.Popen(wait, start_new_session=True)
            answer(json.dumps([child.pid, escaped.pid]))
            """,
        )
    )
    assert all(map(is_alive, [*pids, task.pid]))
    task.kill()
    assert await task.wait() == -9
    await until(lambda: not any(map(is_alive, [*pids, task.pid])), "the task's family is gone")
    task.kill()  # harmless


async def test_a_task_that_ends_well_takes_its_descendants_along(
    processes: TaskProcesses, tmp_path: Path
) -> None:
    task = await start(processes, tmp_path)
    pid = int(
        await ask(
            task,
            "import subprocess, sys\n"
            "answer(str(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']).pid))",
        )
    )
    await task.send(b"import os; os._exit(0)")
    assert await task.wait() == 0
    await until(lambda: not is_alive(pid), "the descendant is gone")


async def test_a_fork_bomb_is_ended_by_name_and_the_forkserver_goes_on(
    processes: TaskProcesses, tmp_path: Path
) -> None:
    bomb = await start(processes, tmp_path, processes=40)
    await bomb.send(
        b"import os, time\nfor _ in range(400):\n    if os.fork() == 0: time.sleep(600)\ntime.sleep(600)"
    )
    assert await bomb.wait() in {-9, 1}, "killed by the watch, or refused a child by the kernel before"
    assert b"the limit is 40" in bomb.output()
    task = await start(processes, tmp_path)
    assert await ask(task, "answer('still here')") == "still here"


async def test_an_over_long_message_ends_the_conversation(processes: TaskProcesses, tmp_path: Path) -> None:
    task = await start(processes, tmp_path)
    await task.send(f"import os; os.write(3, ({MAX_MESSAGE_BYTES} + 1).to_bytes(4, 'big'))".encode())
    with pytest.raises(EOFError, match="16777217 bytes"):
        await task.receive()


async def test_a_folder_that_is_missing_ends_the_task_with_the_reason(
    processes: TaskProcesses, tmp_path: Path
) -> None:
    task = await start(processes, tmp_path / "missing")
    assert await task.wait() == 1
    assert b"FileNotFoundError" in task.output()


async def test_a_forkserver_that_stands_still_is_replaced_and_the_start_goes_on_with_the_new_one(
    processes: TaskProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_processes, "_PING_EVERY_S", 0.4)
    former = await start(processes, tmp_path)
    escaped = int(
        await ask(
            former,
            "import subprocess, sys\n"
            "wait = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
            "answer(str(subprocess.Popen(wait, start_new_session=True, env={}).pid))",
        )
    )
    stopped = processes.forkserver_pid
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    async with asyncio.timeout(60):
        task = await start(processes, tmp_path)
        assert await former.wait() == -9
    assert processes.forkserver_pid not in {None, stopped}
    assert await ask(task, "answer('fresh')") == "fresh"
    assert b"the forkserver was silent for" in former.output()
    await until(lambda: not any(map(is_alive, (stopped, former.pid, escaped))), "the former family is gone")


async def test_a_forkserver_that_answers_a_ping_while_a_task_starts_tells_of_its_end(
    processes: TaskProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pings are numbered, too: the answer to one with a task's number says nothing of the task."""
    send = processes._send

    def after_a_ping(fields: list[Any], descriptors: list[int]) -> None:
        if fields[0] == "fork":
            send(["ping", fields[1]], [])
        send(fields, descriptors)

    monkeypatch.setattr(processes, "_send", after_a_ping)
    task = await start(processes, tmp_path)
    task.kill()
    async with asyncio.timeout(60):
        assert await task.wait() == -9


async def test_a_start_that_is_cancelled_as_its_answer_comes_leaves_no_process(
    processes: TaskProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await start(processes, tmp_path)
    starting = asyncio.create_task(start(processes, tmp_path))
    answer, pids = processes._on_answer, []

    def answer_and_cancel(verb: str, number: int, *fields: Any) -> None:
        answer(verb, number, *fields)
        if verb == "forked":
            pids.append(fields[0])
            starting.cancel()

    monkeypatch.setattr(processes, "_on_answer", answer_and_cancel)
    with pytest.raises(asyncio.CancelledError):
        await starting
    await until(lambda: not is_alive(pids[0]), "the end of a task that nobody wants any more")
    assert is_alive(first.pid)


async def test_a_task_that_stops_its_forkserver_is_killed_when_it_is_told_to(
    processes: TaskProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_processes, "_PING_EVERY_S", 0.4)
    task = await start(processes, tmp_path)
    await task.send(b"import os, signal, time; os.kill(os.getppid(), signal.SIGSTOP); time.sleep(600)")
    await asyncio.sleep(0.1)
    task.kill()
    async with asyncio.timeout(60):
        assert await task.wait() == -9


async def test_a_forkserver_answers_while_its_task_works(
    processes: TaskProcesses, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pongs: list[int] = []
    on_answer = processes._on_answer

    def hear(verb: str, number: int, *fields: object) -> None:
        pongs.extend([number] if verb == "pong" else [])
        on_answer(verb, number, *fields)

    monkeypatch.setattr(task_processes, "_PING_EVERY_S", 0.02)
    monkeypatch.setattr(task_processes, "_SILENT_PINGS", 1_000)
    monkeypatch.setattr(processes, "_on_answer", hear)
    task = await start(processes, tmp_path)
    await task.send(b"while True: pass")
    await until(lambda: len(pongs) > 5, "pings are answered")


async def test_a_forkserver_that_ends_at_once_is_tried_three_times_and_told(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    script = f"open({str(starts)!r}, 'a').write('x')"
    processes = TaskProcesses((sys.executable, "-c", script))
    with pytest.raises(ChildProcessError, match=r"the forkserver has ended.*, 3 times"):
        await start(processes, tmp_path)
    assert starts.read_text() == "xxx"
    await processes.close()


async def test_what_an_attempt_printed_is_taken_whole_and_not_told_again(
    processes: TaskProcesses, tmp_path: Path
) -> None:
    task = await start(processes, tmp_path)
    for name in ("first", "second"):
        await ask(task, f"import sys; sys.stdout.write('{name} ' * 50_000); sys.stdout.flush(); answer('')")
        assert await task.finish_work() == f"{name} ".encode() * 50_000
    assert await task.finish_work() == b""


LEFT_BEHIND = {
    "a child": "answer(str(subprocess.Popen(wait).pid))",
    "a child in a session of its own": "answer(str(subprocess.Popen(wait, start_new_session=True).pid))",
    "an orphan in the task's session": """
        shell = subprocess.run(["/bin/sh", "-c", "nohup sleep 600 >/dev/null 2>&1 & echo $!"],
            stdout=subprocess.PIPE)
        answer(shell.stdout.decode().strip())""",
}


@pytest.mark.parametrize("what", LEFT_BEHIND)
async def test_what_an_attempt_leaves_behind_ends_with_it_and_the_process_goes_on(
    processes: TaskProcesses, tmp_path: Path, what: str
) -> None:
    task = await start(processes, tmp_path)
    beginning = "import subprocess, sys\nwait = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
    pid = int(await ask(task, beginning + textwrap.dedent(LEFT_BEHIND[what]).strip()))
    assert is_alive(pid)
    await task.finish_work()
    await until(lambda: not is_alive(pid), "what was left behind is gone")
    assert await ask(task, "answer('still here')") == "still here"


async def test_a_fork_bomb_of_sessions_is_ended_by_name_with_everybody(
    processes: TaskProcesses, tmp_path: Path
) -> None:
    """It stops by itself at some hundreds, each forking on in a session of its own."""
    quiet = await start(processes, tmp_path, processes=40)
    bomb = await start(processes, tmp_path, processes=40)
    await bomb.send(
        textwrap.dedent(
            """
            import os, time
            def count():
                try:
                    os.mkdir(f"one-{os.getpid()}")
                except OSError:
                    pass
                return len(os.listdir("."))
            while count() < 300:
                if os.fork() == 0:
                    os.setsid()
                time.sleep(0.002)
            time.sleep(30)
            os._exit(0)
            """
        ).encode()
    )
    async with asyncio.timeout(60):
        assert await bomb.wait() in {-9, 1}, "killed by the watch, or refused a child by the kernel before"
    assert b"the limit is 40" in bomb.output()
    assert bomb.breach == "processes"
    born = [int(name.partition("-")[2]) for name in os.listdir(tmp_path)]
    await until(lambda: not any(map(is_alive, born)), "nobody of the bomb is left")
    assert await ask(quiet, "answer('not of it')") == "not of it" and not quiet.breach
    task = await start(processes, tmp_path)
    assert await ask(task, "answer('still here')") == "still here"


async def test_memory_is_limited_for_a_family_together_and_shared_pages_count_once(
    processes: TaskProcesses, tmp_path: Path
) -> None:
    story = """
        import os, time
        held = bytearray(60 << 20)
        for n in range({children}):
            if os.fork() == 0:
                mine = bytearray({own} << 20)
                time.sleep(600)
        time.sleep({wait})
        answer("well")
        """
    limits = {"as_bytes": 600 << 20, "family_bytes": 300 << 20}
    sharing = await start(processes, tmp_path, **limits)
    assert await ask(sharing, story.format(children=8, own=0, wait=1)) == "well"
    hog = await start(processes, tmp_path, **limits)
    await hog.send(textwrap.dedent(story.format(children=6, own=80, wait=60)).encode())
    async with asyncio.timeout(60):
        assert await hog.wait() == -9
    assert hog.breach == "family_bytes"
    assert b" MiB of memory" in hog.output()
    assert b"the limit is 300 MiB" in hog.output()


async def test_a_killed_forkserver_takes_its_tasks_along_and_the_next_task_starts_another(
    processes: TaskProcesses, tmp_path: Path
) -> None:
    task = await start(processes, tmp_path)
    first = processes.forkserver_pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    assert await task.wait() == -9
    await until(lambda: not is_alive(task.pid), "the task is gone")
    again = await start(processes, tmp_path)
    assert processes.forkserver_pid not in {None, first}
    assert await ask(again, "answer('fresh')") == "fresh"


async def test_a_killed_forkserver_takes_along_who_had_left_the_session(
    processes: TaskProcesses, tmp_path: Path
) -> None:
    task = await start(processes, tmp_path)
    pid = int(
        await ask(
            task,
            "import subprocess, sys\n"
            "wait = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
            "answer(str(subprocess.Popen(wait, start_new_session=True).pid))",
        )
    )
    forkserver = processes.forkserver_pid
    assert forkserver is not None
    os.kill(forkserver, signal.SIGKILL)
    assert await task.wait() == -9
    await until(lambda: not is_alive(pid), "the one in a session of its own is gone")


@pytest.mark.parametrize("is_stopped", [False, True])
async def test_a_node_killed_by_sigkill_leaves_no_forkserver_no_task_and_no_descendant(
    tmp_path: Path, is_stopped: bool
) -> None:
    """Nor when its forkserver had been stopped by a task before."""
    story = """
        import asyncio, sys
        from ringmill.cluster.adapters.processes.task_processes import TaskProcesses

        async def main():
            processes = TaskProcesses((sys.executable, sys.argv[1]))
            tasks = [await processes.start_task(workdir=sys.argv[2], environment={}, limits={}) for _ in "12"]
            pids = [processes.forkserver_pid]
            for task in tasks:
                await task.send(
                    b"import subprocess, sys\\n"
                    b"wait = [sys.executable, '-c', 'import time; time.sleep(600)']\\n"
                    b"a = subprocess.Popen(wait); b = subprocess.Popen(wait, start_new_session=True)\\n"
                    b"answer(f'{a.pid} {b.pid}')\\n"
                    b"while True: pass"
                )
                pids += [task.pid, *map(int, (await task.receive()).split())]
            print(*pids, flush=True)
            await asyncio.sleep(600)

        asyncio.run(main())
    """
    node = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(story), SNIPPETS, str(tmp_path),
        stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    assert node.stdout is not None
    pids = list(map(int, (await node.stdout.readline()).split()))
    assert len(pids) == 7
    assert all(map(is_alive, pids))
    if is_stopped:
        os.kill(pids[0], signal.SIGSTOP)
    node.kill()
    await node.wait()
    await until(lambda: not any(map(is_alive, pids)), "nothing of the node's is left")
