"""A job whose input lines each name one thing to try; what came of each is left in a file of its folder."""

import asyncio
import ctypes
import fcntl
import json
import multiprocessing
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from ringmill import Context, job

FOUND = "found.json"


def tries(offset: int, line: str, ctx: Context) -> Iterator[tuple[str, int]]:
    name, _, argument = line.partition(" ")
    if name == "raise":
        name, _, argument = argument.partition(" ")
        raise AssertionError(f"nothing stopped it: {TRIES[name](argument)}")
    found = json.loads(Path(FOUND).read_text()) if os.path.exists(FOUND) else {}
    try:
        found[name] = str(USES[name]() if name in USES else TRIES[name](argument))
    except Exception as error:  # noqa: BLE001  whatever it is, it is told
        found[name] = f"{type(error).__name__}: {error}"
    Path(FOUND).write_text(json.dumps(found))
    yield name, 1


trying = job(map=tries)


def _connect(family: int, kind: int, address: tuple[str, int] | str) -> str:
    with socket.socket(family, kind) as made:
        made.connect(address)
        made.send(b"x")
    return "sent"


def _of_libc(name: str, *arguments: object) -> int:
    """In a child, as some of these change who calls them."""
    libc = ctypes.CDLL(None, use_errno=True)
    child = os.fork()
    if child == 0:
        os._exit(0 if getattr(libc, name)(*arguments) >= 0 else ctypes.get_errno())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise OSError(code, os.strerror(code))
    return code


def _by_link(path: str) -> str:
    os.symlink(path, "link")
    return Path("link").read_text()


def _renamed(path: str) -> None:
    os.rename(path, f"{path}.away")
    os.rename(f"{path}.away", path)


def _shortened(path: str) -> None:
    os.truncate(path, os.path.getsize(path))


def _made_folder(path: str) -> None:
    os.mkdir(path)
    os.rmdir(path)


def _leased(_: str) -> None:
    """Of a file that this process may write, as it is in its folder."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    with open("leased", "w") as file:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)


def _started(path: str) -> str:
    return subprocess.run(["cat", path], check=True, capture_output=True, text=True).stdout


def _by_datagram(path: str, kind: int = socket.SOCK_DGRAM) -> int:
    one, other = socket.socketpair(socket.AF_UNIX, kind)
    with one, other:
        return one.sendto(b"x", path)


TRIES: dict[str, Callable[[str], object]] = {
    "read": lambda path: Path(path).read_text(),
    "list": os.listdir,
    "read_by_link": _by_link,
    "link": lambda path: os.link(path, "linked"),
    "write": lambda path: Path(path).write_text("x"),
    "append": lambda path: open(path, "a").close(),
    "shorten": _shortened,
    "rename": _renamed,
    "mkdir": _made_folder,
    "chmod": lambda path: os.chmod(path, 0o600),
    "read_in_a_child": _started,
    "tcp": lambda port: _connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", int(port))),
    "udp": lambda port: _connect(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", int(port))),
    "unix": lambda path: _connect(socket.AF_UNIX, socket.SOCK_STREAM, path),
    "abstract": lambda name: _connect(socket.AF_UNIX, socket.SOCK_STREAM, f"\0{name}"),
    "datagram": _by_datagram,
    "raw": lambda path: _by_datagram(path, socket.SOCK_RAW),  # Linux makes a datagram socket of it
    "listen": lambda _: socket.create_server(("127.0.0.1", 0)).close(),
    "signal": lambda pid: os.kill(int(pid), 0),
    "signal_parent": lambda _: os.kill(os.getppid(), 0),
    "environment": lambda _: Path(f"/proc/{os.getppid()}/environ").read_bytes()[:1],
    "memory": lambda _: open(f"/proc/{os.getppid()}/mem", "rb").close(),
    "limits": lambda _: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE),
    "priority": lambda _: os.setpriority(
        os.PRIO_PROCESS, os.getppid(), os.getpriority(os.PRIO_PROCESS, os.getppid())
    ),
    "schedule": lambda _: os.sched_setscheduler(os.getppid(), os.SCHED_OTHER, os.sched_param(0)),
    "processors": lambda pid: os.sched_setaffinity(int(pid), os.sched_getaffinity(int(pid))),
    "reading": lambda pid: _of_libc(
        "syscall", 251 if os.uname().machine == "x86_64" else 30, 1, int(pid), 2 << 13 | 4
    ),
    "lease": _leased,
    "ptrace": lambda _: _of_libc("ptrace", 0, 0, 0, 0),
    "unshare": lambda _: _of_libc("unshare", 0x10000000),  # CLONE_NEWUSER
    "shmget": lambda _: _of_libc("shmget", 0, 4096, 0o1600),
    "shmctl": lambda number: _of_libc("shmctl", int(number), 2, ctypes.create_string_buffer(256)),  # IPC_STAT
    "memfd": lambda _: os.close(os.memfd_create("x")),
    "keyctl": lambda _: _of_libc("syscall", 250 if os.uname().machine == "x86_64" else 219, 0, -3, 0),
}


def _temporary() -> bool:
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x")
        return os.path.dirname(file.name) == os.getcwd()


def _in_processes() -> list[int]:
    fork = multiprocessing.get_context("fork")
    queue, lock = fork.Queue(), fork.Lock()

    def put() -> None:
        with lock:
            queue.put(3)

    child = fork.Process(target=put)
    child.start()
    got = queue.get(timeout=10)
    child.join()
    with fork.Pool(2) as pool:
        return [got, *pool.map(abs, [-1, 2])]


async def _pair() -> bytes:
    one, other = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=one)
    other.sendall(b"paired")
    got = await reader.readexactly(6)
    writer.close()
    return got


def _sorted() -> str:
    return subprocess.run(["sort"], check=True, input="b\na\n", capture_output=True, text=True).stdout


def _in_thread() -> list[int]:
    got: list[int] = []
    thread = threading.Thread(target=got.append, args=(1,))
    thread.start()
    thread.join()
    return got


def _signalled() -> int:
    child = subprocess.Popen(["sleep", "60"])
    os.kill(child.pid, signal.SIGTERM)
    return child.wait()


def _database() -> list[tuple[int]]:
    with sqlite3.connect("rows.db") as rows:
        return rows.execute("select 1").fetchall()


def _own_processors() -> bool:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before)
    return os.sched_getaffinity(0) == before


USES: dict[str, Callable[[], object]] = {
    "tempfile": _temporary,
    "multiprocessing": _in_processes,
    "asyncio": lambda: asyncio.run(_pair()),
    "sort": _sorted,
    "thread": _in_thread,
    "signal_child": _signalled,
    "sqlite": _database,
    "print": lambda: sys.stdout.write("printed\n"),
    "null": lambda: Path(os.devnull).write_text("x"),
    "python": lambda: subprocess.run([sys.executable, "-c", "import json"], check=True).returncode,
    "processors_told": lambda: "processor" in Path("/proc/cpuinfo").read_text(),
    "users": lambda: os.path.expanduser("~root") != "~root",
    "own_processors": _own_processors,
    "own": lambda: len(os.listdir("/proc/self/fd")) > 3,
}
