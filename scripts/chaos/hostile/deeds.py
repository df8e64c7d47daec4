"""A job whose map does one hostile deed, which its parameter names: what hostile_jobs.py submits.

`place` tells a deed what it needs to know: pids, ports and paths of the cluster, as JSON.
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack

from ringmill import Context, job


class Evil(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no text for you")

    __str__ = __repr__


class Base(BaseException):
    pass


def deeds(offset: int, line: str, ctx: Context) -> Iterator[tuple[str, int]]:
    place = json.loads(ctx.params["place"])
    given = DEEDS[ctx.params["deed"]](place, ctx)
    yield (given if isinstance(given, str) else "done"), 1


def wrong(offset: int, line: str) -> Iterator[tuple[str, int]]:
    yield object(), 1  # type: ignore[misc]


def repeated(word: str, counts: Iterator[int]) -> Iterator[tuple[str, int]]:
    yield word, sum(counts)


hostile = job(map=deeds, reduce=repeated, params={"deed": "", "place": "{}"}, reducers=1)
unpicklable = job(map=wrong, reducers=1, params={"deed": "", "place": "{}"})


def _fork_bomb(leaves_session: bool) -> None:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with contextlib.suppress(BlockingIOError):
            if os.fork() == 0 and leaves_session:
                os.setsid()


def _memory_of_children() -> None:
    for _ in range(6):
        if os.fork() == 0:
            held = bytearray(700 << 20)
            time.sleep(20)
            os._exit(len(held) % 1)
    time.sleep(20)


def _threads() -> None:
    for _ in range(100_000):
        threading.Thread(target=time.sleep, args=(30,), daemon=True).start()


def _daemon(is_shell: bool) -> None:
    if is_shell:
        subprocess.Popen(["setsid", "nohup", "sleep", "77"])
    elif os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(77)
        os._exit(0)


def _say(text: bytes) -> None:
    os.write(3, text)
    time.sleep(20)


def _forged(file: str) -> None:
    answer = msgpack.packb(["done", [[file, [[0, 1, 1, 1, 0]], {}, 0, 1, 1, 0, []], [[0] * 9, 0, 0]]])
    _say(len(answer).to_bytes(4, "big") + answer)


def _dialled(family: int, kind: int, address: Any) -> None:
    with socket.socket(family, kind) as made:
        made.connect(address)
        made.send(b"x")


def _of_libc(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def _printed_for(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        sys.stdout.write("x" * 100_000 + "\n")


def _opened() -> None:
    held = [open(os.devnull) for _ in range(100_000)]  # noqa: SIM115
    held.clear()


def _deep(n: int = 0) -> int:
    return _deep(n + 1) + 1


def _long_log(ctx: Context) -> None:
    for _ in range(1500):
        ctx.log("long " * 10_000)


def _removed_scratch() -> None:
    for name in os.listdir("."):
        os.unlink(name)
    os.rmdir(os.getcwd())


def _nested(levels: int) -> None:
    for _ in range(levels):
        os.mkdir("deeper")
        os.chdir("deeper")


def _raised(error: BaseException) -> None:
    raise error


def _linked(place: Any) -> None:
    folder = next(Path(place["home"]).glob(".out-symlink*/map-*"), None) or Path.cwd()
    (folder / "part-00000").symlink_to(place["token"])


def _read_by_link(path: str) -> str:
    os.symlink(path, "link")
    return Path("link").read_text()


def _replaced(place: Any) -> None:
    Path("map.run").symlink_to(place["token"])


DEEDS: dict[str, Callable[[Any, Context], object]] = {
    "exit_0": lambda p, c: os._exit(0),
    "exit_7": lambda p, c: os._exit(7),
    "sys_exit": lambda p, c: sys.exit("enough"),
    "segv": lambda p, c: ctypes.string_at(0),
    "abort": lambda p, c: os.abort(),
    "kill_itself": lambda p, c: os.kill(os.getpid(), signal.SIGKILL),
    "kill_group": lambda p, c: os.killpg(0, signal.SIGKILL),
    "kill_parent": lambda p, c: os.kill(os.getppid(), signal.SIGKILL),
    "stop_parent": lambda p, c: os.kill(os.getppid(), signal.SIGSTOP),
    "kill_node": lambda p, c: os.kill(p["node"], signal.SIGKILL),
    "recursion": lambda p, c: _deep(),
    "descriptors": lambda p, c: _opened(),
    "threads": lambda p, c: _threads(),
    "fork_bomb": lambda p, c: _fork_bomb(leaves_session=False),
    "fork_bomb_setsid": lambda p, c: _fork_bomb(leaves_session=True),
    "memory": lambda p, c: bytearray(4 << 30),
    "memory_of_children": lambda p, c: _memory_of_children(),
    "print_3_s": lambda p, c: _printed_for(3),
    "print_binary": lambda p, c: sys.stdout.buffer.write(bytes(range(256)) * 4000),
    "symlink_output": lambda p, c: _linked(p),
    "symlink_run": lambda p, c: _replaced(p),
    "forge_done": lambda p, c: _forged(p["token"]),
    "forge_own_file": lambda p, c: _forged(f"{os.getcwd()}/map.run"),
    "spoil_pipe": lambda p, c: _say(b"\xff\xff\xff\xff"),
    "close_pipe": lambda p, c: os.closerange(0, 100),
    "evil_repr": lambda p, c: _raised(Evil()),
    "base_exception": lambda p, c: _raised(Base("base")),
    "long_error": lambda p, c: _raised(ValueError("long " * 2_000_000)),
    "long_log": lambda p, c: _long_log(c),
    "forged_count": lambda p, c: c.count("half", 0.5),  # type: ignore[arg-type]
    "read_token": lambda p, c: Path(p["token"]).read_text(),
    "read_token_by_link": lambda p, c: _read_by_link(p["token"]),
    "read_token_in_child": lambda p, c: subprocess.check_output(["cat", p["token"]], text=True),
    "list_data": lambda p, c: str(os.listdir(p["data"])),
    "corrupt_data": lambda p, c: Path(p["data"], "IDENTITY").write_text("x"),
    "read_home": lambda p, c: Path(p["home"], "diary").read_text(),
    "write_home": lambda p, c: Path(p["home"], "planted").write_text("x"),
    "chmod_token": lambda p, c: os.chmod(p["token"], 0o644),
    "connect_node": lambda p, c: _dialled(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", p["port"])),
    "send_udp": lambda p, c: _dialled(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", 9)),
    "unix_socket": lambda p, c: _dialled(socket.AF_UNIX, socket.SOCK_STREAM, "/run/x"),
    "listen": lambda p, c: socket.create_server(("127.0.0.1", 0)),
    "ptrace_node": lambda p, c: _of_libc("ptrace", 16, p["node"], 0, 0),
    "limit_node": lambda p, c: str(resource.prlimit(p["node"], resource.RLIMIT_NOFILE)),
    "environ_of_node": lambda p, c: Path(f"/proc/{p['node']}/environ").read_text(),
    "namespace": lambda p, c: _of_libc("unshare", 0x10020000),
    "daemon": lambda p, c: _daemon(is_shell=False),
    "daemon_nohup": lambda p, c: _daemon(is_shell=True),
    "remove_scratch": lambda p, c: _removed_scratch(),
    "lock_scratch": lambda p, c: os.fchmod(os.open(".", os.O_RDONLY), 0),
    "deep_folders": lambda p, c: _nested(3000),
    "huge_value": lambda p, c: c.count("x", 1 << 200),
    "spoil_bundle": lambda p, c: open(sys.path[0], "r+b").close(),
    "make_anothers_folder": lambda p, c: os.mkdir("../../map-0.2"),
}
