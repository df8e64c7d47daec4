"""Processes, ports and files of a local cluster."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

import pytest
import uvloop

from ringmill.client.local import local_cluster, local_state, processes, tcp_ports
from ringmill.client.local.local_cluster import Plan
from ringmill.client.local.local_state import LocalCluster, LocalNode
from ringmill.client.local.log_files import tail
from ringmill.client.local.machine_facts import machine_facts
from ringmill.cluster.errors import CorruptData, InvalidArgument, NotFound, RingmillError

START = 14000 + os.getpid() % 1000 * 6  # another place for another test process


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[LocalNode]:
    process = processes.spawn(
        ["-c", "import time; print('awake', flush=True); time.sleep(600)"],
        log_path=str(tmp_path / "log"),
        folder=str(tmp_path),
    )
    yield LocalNode("n1", "127.0.0.1:7101", "", process.pid, processes.start_mark(process.pid))
    process.kill()
    process.wait()


HALF_ENDED = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
print("awake", flush=True)
ctypes.CDLL(None).pthread_exit(None)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="the system shows no threads")
def test_a_process_whose_first_thread_has_ended_runs_until_its_last_one_has(tmp_path: Path) -> None:
    process = processes.spawn(["-c", HALF_ENDED], log_path=str(tmp_path / "log"), folder=str(tmp_path))
    try:
        mark = processes.start_mark(process.pid)
        until = time.monotonic() + 60
        while ") Z " not in Path(f"/proc/{process.pid}/stat").read_text() and time.monotonic() < until:
            time.sleep(0.01)
        assert processes.is_running(process.pid, mark)
    finally:
        process.kill()
    assert processes.wait_gone(process.pid, mark, 60)


def test_a_process_is_known_by_its_pid_and_its_start(sleeper: LocalNode) -> None:
    assert processes.is_running(sleeper.pid, sleeper.started)
    assert not processes.is_running(sleeper.pid, "another start")
    assert not processes.signal_process(sleeper.pid, "another start", signal.SIGKILL)
    assert processes.is_running(sleeper.pid, sleeper.started)


@pytest.mark.parametrize(
    ("name", "text", "is_kept"),
    [
        ("METRICS", "9101", False),  # all would have one port, and all but one not start
        ("TRACES", "file:{}/spans.jsonl", False),
        ("TRACES", "file:{}", True),
        ("TRACES", "file:.", True),
        ("TRACES", "http://127.0.0.1:4318", True),
        ("SLOTS", "2", True),
    ],
)
def test_nodes_of_one_cluster_do_not_share_what_is_of_one_node(
    name: str, text: str, is_kept: bool, tmp_path: Path
) -> None:
    told = {f"RINGMILL_{name}": text.format(tmp_path), "PATH": "/bin"}
    left = told if is_kept else {"PATH": "/bin"}
    assert processes._of_nodes(told, str(tmp_path)) == left


def test_a_started_process_leads_a_session_of_its_own(sleeper: LocalNode) -> None:
    assert os.getsid(sleeper.pid) == sleeper.pid


def test_stopped_paused_and_running_are_told_apart(sleeper: LocalNode) -> None:
    assert local_cluster.node_state(sleeper) == "running"
    local_cluster.signal_node(sleeper, signal.SIGSTOP)
    while local_cluster.node_state(sleeper) == "running":
        pass
    assert local_cluster.node_state(sleeper) == "paused"
    assert local_cluster.stop_nodes([sleeper]) == {"n1": "stopped"}
    assert local_cluster.node_state(sleeper) == "stopped"
    assert local_cluster.stop_nodes([sleeper]) == {"n1": "was not running"}
    with pytest.raises(NotFound, match="n1 is not running"):
        local_cluster.signal_node(sleeper, signal.SIGKILL)


def test_a_taken_port_is_named_with_its_owner_and_another_range_is_offered() -> None:
    base = tcp_ports.free_base(2, START)
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((tcp_ports.HOST, base + 1))
        holder.listen()
        with pytest.raises(RingmillError, match=rf"port {base + 1} is taken by pid {os.getpid()}") as taken:
            local_cluster.planned("c", "/nowhere", Plan(nodes=2, base_port=base))
        assert taken.value.code == "PORT_TAKEN", "no fault of this program"
        assert tcp_ports.free_base(2, base) > base + 1
        roomy = tcp_ports.free_base(2, base, apart=16)
        assert roomy > base and (roomy - base) % 16 == 0


def test_no_other_range_is_offered_for_nodes_that_exist() -> None:
    base = tcp_ports.free_base(1, START)
    node = LocalNode("n1", f"{tcp_ports.HOST}:{base}", "", pid=1, started="boot/1")
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((tcp_ports.HOST, base))
        holder.listen()
        with pytest.raises(tcp_ports.PortTaken, match=f"port {base} is taken") as taken:
            local_cluster.start_nodes(LocalCluster("c", "/nowhere", 1, 16, (node,)), [node])
    assert "--base-port" not in taken.value.hint


def test_the_owner_of_a_port_is_told_on_one_line() -> None:
    base = tcp_ports.free_base(1, START)
    lines = (
        "import socket, sys",
        f"server = socket.create_server(('{tcp_ports.HOST}', {base}))",
        "print(1, flush=True)",
        "sys.stdin.read()",
    )
    command = [sys.executable, "-c", "\n".join(lines)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"1\n"
        owner = tcp_ports.owner_of(base)
        holder.communicate()
    assert owner.startswith(f"pid {holder.pid} (") and "\n" not in owner


@pytest.mark.parametrize("base", [80, 40000, 32767])
def test_ports_that_the_system_may_hand_out_are_refused(base: int) -> None:
    with pytest.raises(InvalidArgument, match="out of range"):
        local_cluster.planned("c", "/nowhere", Plan(nodes=2, base_port=base))


def test_zones_are_dealt_in_turn() -> None:
    base = tcp_ports.free_base(4, 21100)
    cluster = local_cluster.planned("c", "/nowhere", Plan(nodes=4, base_port=base, zones=2))
    assert [node.zone for node in cluster.nodes] == ["z1", "z2", "z1", "z2"]


def test_what_was_saved_is_loaded_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    node = LocalNode("n1", "127.0.0.1:7101", "z1", 12, "boot/3")
    cluster = LocalCluster("c", str(tmp_path / "c"), 3, 256, (node,))
    local_state.save_cluster(cluster)
    assert local_state.load_cluster(cluster.folder) == cluster
    assert local_state.cluster_names(str(tmp_path)) == ["c"]
    (tmp_path / "c" / "cluster.json").write_text('{"format": 1}')
    with pytest.raises(CorruptData, match=r"cluster\.json"):
        local_state.load_cluster(cluster.folder)
    assert local_state.load_cluster(str(tmp_path / "absent")) is None


def test_the_token_is_for_its_owner_alone_and_stays_the_same(tmp_path: Path) -> None:
    folder = str(tmp_path / "c")
    local_state.make_token(folder)
    token = local_state.read_token(folder)
    local_state.make_token(folder)
    assert local_state.read_token(folder) == token and len(token) >= 32
    assert os.stat(local_state.token_path(folder)).st_mode & 0o777 == 0o600


def test_the_last_lines_of_a_log_are_shown(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * 100_000 + b"\none\ntwo \xff\n")
    assert tail(str(tmp_path / "log"), 2) == ["one", "two \ufffd"]
    assert tail(str(tmp_path / "absent"), 2) == []


@pytest.fixture
def usual_signals() -> Iterator[None]:
    """Those of a command that has just begun."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    former = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("usual_signals")
def test_a_closed_terminal_interrupts_once_and_one_that_is_ignored_does_not() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    processes.end_as_by_ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGHUP)
    signal.raise_signal(signal.SIGHUP)  # the second does not interrupt what ends the nodes
    signal.raise_signal(signal.SIGTERM)


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_signal_within_a_loop_ends_what_runs_and_not_what_it_cleans_up_with(
    run: Callable[[Coroutine[object, object, None]], None], number: signal.Signals
) -> None:
    cleaned: list[str] = []

    async def main() -> None:
        requests: asyncio.Queue[asyncio.Future[str]] = asyncio.Queue()

        async def answer() -> None:
            while True:
                (await requests.get()).set_result("deleted")

        connection = asyncio.create_task(answer())
        loop = asyncio.get_running_loop()
        try:
            loop.call_later(0.01, signal.raise_signal, number)
            await asyncio.sleep(20)
        finally:
            await requests.put(answered := loop.create_future())
            cleaned.append(await asyncio.wait_for(answered, 5))
            connection.cancel()

    processes.end_as_by_ctrl_c()
    with pytest.raises(KeyboardInterrupt):
        run(main())
    assert cleaned == ["deleted"]


@pytest.mark.usefixtures("usual_signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_comes_while_a_node_starts_comes_when_its_process_is_written_down(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes.end_as_by_ctrl_c()
    spawn, spawned = processes.spawn, []

    def interrupted(_: object, **more: str) -> subprocess.Popen[bytes]:
        spawned.append(spawn(["-c", "import time; time.sleep(20)"], **more))
        signal.raise_signal(number)
        return spawned[0]

    monkeypatch.setattr(processes, "spawn", interrupted)
    cluster = local_cluster.planned(
        "c", str(tmp_path / "c"), Plan(nodes=2, base_port=tcp_ports.free_base(2, 7300))
    )
    for folder in (cluster.folder, f"{cluster.folder}/logs"):
        os.makedirs(folder, mode=0o700, exist_ok=True)
    with pytest.raises(KeyboardInterrupt):
        local_cluster.start_nodes(cluster, cluster.nodes)
    assert len(spawned) == 1, "the next one was not started"
    saved = local_state.load_cluster(cluster.folder)
    assert saved is not None and saved.nodes[0].pid == spawned[0].pid
    assert local_cluster.node_state(saved.nodes[0]) == "stopped"


@pytest.mark.parametrize("is_open", [False, True])
def test_the_doctor_is_told_the_mode_of_a_folder_on_another_disk(is_open: bool, tmp_path: Path) -> None:
    nodes = LocalNode("n1", "127.0.0.1:7101", ""), LocalNode("n2", "127.0.0.1:7102", "")
    cluster = LocalCluster("c", str(tmp_path / "c"), 1, 16, nodes)
    (there := tmp_path / "disk" / "n1").mkdir(parents=True)
    there.chmod(0o755 if is_open else 0o700)
    (tmp_path / "c").mkdir(mode=0o700)
    (tmp_path / "c" / "n1").symlink_to(there)
    (tmp_path / "c" / "n2").symlink_to(tmp_path / "gone")
    modes = machine_facts(cluster).modes
    assert modes == {cluster.folder: 0o700, str(there): 0o755 if is_open else 0o700}
