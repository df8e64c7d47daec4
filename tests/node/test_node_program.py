"""`python -m ringmill.node`: what forbids a start is one line and an exit code, and SIGTERM ends it within 5
s."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest

from tests.node.services.raw_http2 import RawHttp2
from tests.ports import free_port

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 60.0


IMPATIENT = """
import sys
from ringmill.node.services.grpc_calls import unread_answers
from ringmill.node import __main__ as program
unread_answers.READ_S, unread_answers._LOOK_S, unread_answers._SLOWEST = 0.3, 0.05, 1 << 30
sys.exit(program.main())
"""
"""A node that closes a connection as soon as an answer was not read for 0.3 s."""


REFUSALS = """
import json, os, signal, sys
from ringmill.node import __main__ as program
for line in sys.stdin:
    user, said, arguments = json.loads(line)
    if not (child := os.fork()):
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT, 0o600), 2)
if user != os.geteuid():
    os.setgid(user)
    os.setuid(user)
signal.alarm(60)
sys.argv[1:] = arguments
sys.exit(program.main())
"""
"""Runs one node after the other, each in a process of its own and as a user, who may not be able to read the
files of the program: to import it takes most of the time of a node that cannot start."""


def command(*place: str, program: tuple[str, str] = ("-m", "ringmill.node")) -> list[str]:
    return [sys.executable, *program, "--id", "n1", *place]


@dataclass(frozen=True)
class Refusals:
    process: subprocess.Popen[str]
    said: Path

    def __call__(self, *place: str, user: int | None = None) -> tuple[int, list[str]]:
        """Exit code of a node, and what was said after "cannot run"."""
        assert self.process.stdin is not None and self.process.stdout is not None
        user = os.geteuid() if user is None else user
        self.said.unlink(missing_ok=True)
        line = json.dumps([user, str(self.said), ["--id", "n1", *place]])
        print(line, file=self.process.stdin, flush=True)
        code = int(self.process.stdout.readline())
        return code, without_beginning(self.said.read_text())


@pytest.fixture(scope="module")
def refusal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refusals]:
    """Runs nodes that cannot start."""
    line, said = [sys.executable, "-c", REFUSALS], tmp_path_factory.mktemp("refusals") / "said"
    with subprocess.Popen(
        line, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Refusals(process, said)
    assert process.returncode == 0


def without_beginning(said: str) -> list[str]:
    return [line.partition("cannot run: ")[2] or line for line in said.splitlines()]


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


def test_a_data_folder_that_cannot_be_made_is_one_line_and_no_traceback(
    tmp_path: Path, refusal: Refusals
) -> None:
    token, file = tmp_path / "token", tmp_path / "file"
    token.write_text("secret")
    token.chmod(0o600)
    file.touch()
    place = ("--listen", "127.0.0.1:7991", "--data", f"{file}/data", "--token-file", str(token))
    assert refusal(*place) == (1, [f"[Errno 20] Not a directory: '{file}/data/store'"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away, and starts as another user")
@pytest.mark.parametrize(("owner", "user"), [(65534, 0), (0, 65534), (65533, 65534)])
def test_a_data_folder_of_another_user_is_refused_and_left_as_it_was(
    tmp_path: Path, refusal: Refusals, owner: int, user: int
) -> None:
    """Also by root: its owner could lead elsewhere what root writes."""
    data = tmp_path / "data"
    data.mkdir(0o755)
    os.chown(data, owner, owner)
    for folder in (tmp_path, *tmp_path.parents[:-2]):  # pytest's are root's alone
        folder.chmod(folder.stat().st_mode | 0o055)
    code, said = refusal("--listen", f"127.0.0.1:{free_port()}", "--data", str(data), user=user)
    assert (code, said) == (
        1,
        [f"[Errno 1] belongs to uid {owner}, and this process is uid {user}: '{data}'"],
    )
    assert os.listdir(data) == [] and data.stat().st_mode & 0o777 == 0o755


def test_a_taken_port_is_one_line_and_no_traceback(tmp_path: Path, refusal: Refusals) -> None:
    port = free_port()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        code, said = refusal("--listen", f"127.0.0.1:{port}", "--data", str(tmp_path / "data"))
    assert code == 2 and len(said) == 1
    assert said[0].startswith(f"cannot listen on 127.0.0.1:{port}: the port is taken")


@pytest.mark.parametrize("option", ["--peer-transport", "--client-transport"])
def test_an_unknown_transport_is_one_line_and_no_traceback(
    tmp_path: Path, refusal: Refusals, option: str
) -> None:
    code, said = refusal("--listen", "127.0.0.1:7991", "--data", str(tmp_path / "data"), option, "udp")
    assert code == 2 and len(said) == 1
    assert f"{option} 'udp': grpc, tcp or unix" in said[0]


def test_a_folder_too_deep_for_a_socket_is_one_line_and_no_traceback(
    tmp_path: Path, refusal: Refusals
) -> None:
    data = tmp_path / ("deep" * 30)
    place = ("--listen", f"127.0.0.1:{free_port()}", "--data", str(data), "--peer-transport", "unix")
    code, said = refusal(*place)
    assert code == 2 and len(said) == 1
    assert said[0].startswith(f"a Unix socket cannot have the path {data}/frames.sock: it has ")


def test_an_invalid_address_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    line = command("--listen", "127.999.1.1:7991", "--data", str(tmp_path / "data"))
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    code, said = done.returncode, without_beginning(done.stderr)
    assert code == 2 and len(said) == 1 and "'127.999.1.1:7991'" in said[0]


def test_the_folder_of_another_node_is_one_line_and_no_traceback(tmp_path: Path, refusal: Refusals) -> None:
    port = free_port()
    with running(tmp_path / "data", port) as process:
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    place = ("--id", "n2", "--listen", f"127.0.0.1:{port}", "--data", str(tmp_path / "data"))
    code, said = refusal(*place)
    assert code != 0 and len(said) == 1 and "n1" in said[0]


@pytest.mark.skipif(os.geteuid() != 0 or not os.path.isdir("/dev/shm"), reason="needs a small disk")
def test_a_full_disk_is_one_line_and_no_traceback(tmp_path: Path, refusal: Refusals) -> None:
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


@pytest.fixture(scope="module")
def lax(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, int]]:
    """The folder and the process of a node that was started with a umask and limits too low."""
    data = tmp_path_factory.mktemp("lax") / "data"
    data.mkdir(0o755)
    prepare = "umask 0; ulimit -S -n 256; ulimit -H -n 512"
    with running(data, free_port(), prepare, "--peer-transport", "unix") as process:
        yield data, process.pid


def test_what_a_node_keeps_is_its_users_alone_whatever_the_umask(lax: tuple[Path, int]) -> None:
    data, _ = lax
    modes = {path: path.stat().st_mode & 0o077 for path in [data, *data.rglob("*")]}
    assert len(modes) > 5 and not any(modes.values()), modes


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


def test_the_limit_of_descriptors_is_raised_at_the_start(lax: tuple[Path, int]) -> None:
    _, pid = lax
    assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (512, 512)


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


def test_a_line_that_does_not_parse_is_one_line_that_names_the_flag(refusal: Refusals) -> None:
    for line, told in (
        (["--listen"], "--listen"),
        (["--data", "x"], "--listen"),
        (["--slots", "x"], "--slots"),
    ):
        code, said = refusal(*line)
        assert code == 2 and len(said) == 1 and told in said[0] and "--help" in said[0]


def test_a_log_file_is_rotated_and_one_that_cannot_be_written_is_one_line(
    tmp_path: Path, refusal: Refusals
) -> None:
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
