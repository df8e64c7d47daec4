"""`python -m ringmill.node`: what forbids a start is one line and an exit code, and SIGTERM ends it within 5
s."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest

from tests.node.services.raw_http2 import RawHttp2

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 60.0


def free_port() -> int:
    for port in range(25000 + os.getpid() % 1000 * 3, 32000):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


IMPATIENT = """
import sys
from ringmill.node.services.grpc_calls import unread_answers
from ringmill.node import __main__ as program
unread_answers.READ_S, unread_answers._LOOK_S, unread_answers._SLOWEST = 0.3, 0.05, 1 << 30
sys.exit(program.main())
"""
"""A node that closes a connection as soon as an answer was not read for 0.3 s."""


def command(*place: str, program: tuple[str, str] = ("-m", "ringmill.node")) -> list[str]:
    return [sys.executable, *program, "--id", "n1", *place]


def refusal(*place: str) -> tuple[int, list[str]]:
    """Exit code, and what was said after "cannot run"."""
    done = subprocess.run(command(*place), cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, [line.partition("cannot run: ")[2] or line for line in done.stderr.splitlines()]


@contextmanager
def running(
    data: Path,
    port: int,
    prepare: str = ":",
    *options: str,
    program: tuple[str, str] = ("-m", "ringmill.node"),
) -> Iterator[subprocess.Popen[bytes]]:
    """A node that answers, with its log beside its data; the shell says `prepare` first."""
    with open(f"{data}.log", "wb") as log:
        process = subprocess.Popen(
            [
                "sh", "-c", f'{prepare}; exec "$@"', "sh",
                *command("--listen", f"127.0.0.1:{port}", "--data", str(data), *options, program=program),
            ],
            cwd=ROOT, stderr=log,
        )  # fmt: skip
    try:
        until(lambda: answers(port))
        yield process
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            health_pb2_grpc.HealthStub(channel).Check(HealthCheckRequest(service="liveness"), timeout=2)
        except grpc.RpcError:
            return False
    return True


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_data_folder_that_cannot_be_made_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    token, file = tmp_path / "token", tmp_path / "file"
    token.write_text("secret")
    token.chmod(0o600)
    file.touch()
    place = ("--listen", "127.0.0.1:7991", "--data", f"{file}/data", "--token-file", str(token))
    assert refusal(*place) == (1, [f"[Errno 20] Not a directory: '{file}/data/store'"])


def test_a_taken_port_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    port = free_port()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        code, said = refusal("--listen", f"127.0.0.1:{port}", "--data", str(tmp_path / "data"))
    assert code == 2 and len(said) == 1
    assert said[0].startswith(f"cannot listen on 127.0.0.1:{port}: the port is taken")


@pytest.mark.parametrize("option", ["--peer-transport", "--client-transport"])
def test_an_unknown_transport_is_one_line_and_no_traceback(tmp_path: Path, option: str) -> None:
    code, said = refusal("--listen", "127.0.0.1:7991", "--data", str(tmp_path / "data"), option, "udp")
    assert code == 2 and len(said) == 1
    assert f"{option} 'udp': grpc, tcp or unix" in said[0]


def test_a_folder_too_deep_for_a_socket_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    data = tmp_path / ("deep" * 30)
    place = ("--listen", f"127.0.0.1:{free_port()}", "--data", str(data), "--peer-transport", "unix")
    code, said = refusal(*place)
    assert code == 2 and len(said) == 1
    assert said[0].startswith(f"a Unix socket cannot have the path {data}/frames.sock: it has ")


def test_an_invalid_address_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    code, said = refusal("--listen", "127.999.1.1:7991", "--data", str(tmp_path / "data"))
    assert code == 2 and len(said) == 1 and "'127.999.1.1:7991'" in said[0]


def test_the_folder_of_another_node_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path / "data", port) as process:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    place = ("--id", "n2", "--listen", f"127.0.0.1:{port}", "--data", str(tmp_path / "data"))
    code, said = refusal(*place)
    assert code != 0 and len(said) == 1 and "n1" in said[0]


@pytest.mark.skipif(os.geteuid() != 0 or not os.path.isdir("/dev/shm"), reason="needs a small disk")
def test_a_full_disk_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("nothing may be mounted here")
    try:
        (disk / "ballast").write_bytes(bytes(60 * 1024))
        code, said = refusal("--listen", f"127.0.0.1:{free_port()}", "--data", str(disk / "data"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert code == 1 and len(said) == 1 and said[0].startswith("the disk is full")


def test_what_a_node_keeps_is_its_users_alone_whatever_the_umask(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(0o755)
    with running(data, free_port(), "umask 0", "--peer-transport", "unix") as process:
        modes = {path: path.stat().st_mode & 0o077 for path in [data, *data.rglob("*")]}
        assert len(modes) > 5 and not any(modes.values()), modes
        process.terminate()
        process.wait(PATIENCE_S)


def test_connections_that_say_nothing_end_and_are_told_of_while_they_last(tmp_path: Path) -> None:
    limit, port = 128, free_port()
    with running(tmp_path / "data", port, f"ulimit -n {limit}") as process, ExitStack() as stack:
        log = Path(f"{tmp_path}/data.log")
        for _ in range(3 * limit):
            silent = stack.enter_context(socket.socket())
            silent.connect(("127.0.0.1", port))
        until(lambda: "short of file descriptors" in log.read_text())
        until(lambda: answers(port))  # with all of them still open on this side
        until(lambda: "file descriptors are there again" in log.read_text())
        assert log.read_text().count("short of file descriptors") == 1
        assert process.poll() is None


def test_the_limit_of_descriptors_is_raised_at_the_start(tmp_path: Path) -> None:
    lower = "ulimit -S -n 256; ulimit -H -n 512"
    with running(tmp_path / "data", free_port(), lower) as process:
        assert resource.prlimit(process.pid, resource.RLIMIT_NOFILE) == (512, 512)


def test_sigterm_ends_a_node_though_a_stream_never_ends(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path / "data", port) as process, grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        watching = health_pb2_grpc.HealthStub(channel).Watch(HealthCheckRequest(service="liveness"))
        next(watching)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0


def test_a_node_that_cannot_stop_in_order_ends_all_the_same_and_says_where_it_hung(tmp_path: Path) -> None:
    port = free_port()
    hangs = (
        "import sys, ringmill.node.lifecycle as lifecycle\n"
        "async def close(self):\n"
        "    import time; time.sleep(600)\n"
        "lifecycle.STOP_LIMIT_S = 5.0\n"  # an orderly stop syncs what it leaves, on a busy disk too
        "lifecycle.ProcessSpawner.close = close\n"
        "from ringmill.node.__main__ import main\n"
        "sys.exit(main())\n"
    )
    place = ("--id", "n1", "--listen", f"127.0.0.1:{port}", "--data", str(tmp_path / "data"))
    process = subprocess.Popen(
        [sys.executable, "-c", hangs, *place], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    try:
        until(lambda: answers(port))
        process.terminate()
        _, said = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "Timeout (0:00:05" in said and "in close" in said


def test_a_line_that_does_not_parse_is_one_line_that_names_the_flag() -> None:
    for line, told in (
        (["--listen"], "--listen"),
        (["--data", "x"], "--listen"),
        (["--slots", "x"], "--slots"),
    ):
        code, said = refusal(*line)
        assert code == 2 and len(said) == 1 and told in said[0] and "--help" in said[0]


def test_a_log_file_is_rotated_and_one_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    log = tmp_path / "n1.log"
    log.write_text("former\n" * 1000)
    options = ("--log-file", str(log), "--log-bytes", "4096")
    with running(tmp_path / "data", free_port(), ":", *options) as process:
        until(lambda: "listens on" in log.read_text())
        assert Path(f"{log}.1").read_text() == "former\n" * 1000
        assert log.stat().st_mode & 0o777 == 0o600
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    assert "n1 stops" in log.read_text()
    place = ("--id", "n1", "--data", str(tmp_path / "d"), "--listen", f"127.0.0.1:{free_port()}")
    code, lines = refusal(*place, "--log-file", str(tmp_path / "absent" / "n1.log"))
    assert code == 2 and len(lines) == 1 and "--log-file" in lines[0] and "No such file" in lines[0]


async def test_a_node_closes_the_connection_of_who_does_not_read_its_answers(tmp_path: Path) -> None:
    port = free_port()
    with running(tmp_path / "data", port, program=("-c", IMPATIENT)):
        caller = await RawHttp2().open(f"127.0.0.1:{port}", window=10)
        caller.begin("/ringmill.v1.Membership/Metrics", 0, b"")
        async with asyncio.timeout(PATIENCE_S):
            await caller.until_closed()
        await caller.close()
        assert answers(port)
