"""A job that counts words, but for what its parameter `mode` makes of a line that says "poison"."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator

import msgpack

from ringmill import Context, FileInput, KvInput, KvOutput, Source, job, join

NO_FIGURES = [[0] * 9, 0, 0]


def nested(depth: int) -> list[object]:
    """Lists in each other, as deep as msgpack reads them."""
    made: list[object] = []
    for _ in range(depth):
        made = [made]
    return made


SURROGATES = json.loads('"half a \\ud83d"')
FORGED: dict[str, list[object]] = {
    "forged progress": ["progress", [(1 << 64) - 1, (1 << 64) - 1, "", ""]],
    "forged signs": ["progress", [-1, -1, "", ""]],
    "nested progress": ["progress", nested(1000)],
    "nested status": ["progress", [1, 1, nested(1000), ""]],
    "nested log": ["done", [["/run", [[0] * 5] * 2, {}, 0, 0, 0, 0, [nested(1000)]], NO_FIGURES]],
    "nested counter": ["done", [["/run", [[0] * 5] * 2, {"x": nested(1000)}, 0, 0, 0, 0, []], NO_FIGURES]],
    "nested failure": ["failed", ["UserError", nested(1000), [], "", ""]],
    "nested frames": ["failed", ["UserError", "", [nested(1000)], "", ""]],
    "forged counts": ["done", [["/run", [[0] * 5] * 2, {}, (1 << 63) - 1, 0, 0, 0, []], NO_FIGURES]],
    "forged slices": ["done", [["/run", [[0, 1 << 46, 0, 0, 0]] * 2, {}, 0, 0, 0, 0, []], NO_FIGURES]],
    "forged spills": ["done", [["/run", [[0] * 5] * 2, {}, 0, 0, 0, 1 << 32, []], NO_FIGURES]],
}


def words(offset: int, line: str, ctx: Context) -> Iterator[tuple[str, int]]:
    if "poison" in line:
        if ctx.params["mode"] in FORGED:
            say(FORGED[ctx.params["mode"]])
        if ctx.params["mode"] == "flood":
            flood()
        act(ctx.params["mode"], ctx.params["flag"])
        if ctx.params["mode"] == "long log":
            for _ in range(1200):
                ctx.log("long " * 10_000)
        if ctx.params["mode"] == "log surrogates":
            ctx.log(SURROGATES)
        if ctx.params["mode"] == "half counts":
            ctx.count("lines", 0.5)  # type: ignore[arg-type]
        if ctx.params["mode"] == "trespass":
            for done in trespasses(*ctx.params["flag"].split(":")):
                ctx.log(done)
        if ctx.params["mode"] == "fill":
            fill()
            return
        if ctx.params["mode"] == "large":
            bytearray(100 << 20)
    ctx.count("lines")
    for word in line.split():
        yield word.lower(), 1


def total(word: str, counts: Iterable[int]) -> Iterator[tuple[str, int]]:
    yield word, sum(counts)


def say(message: list[object]) -> None:
    """In place of the task process itself."""
    answer = msgpack.packb(message)
    os.write(3, len(answer).to_bytes(4, "big") + answer)
    time.sleep(60)


def fill() -> None:
    """Folders in the attempt's own one without end, also when the attempt is over."""
    begun = threading.Event()

    def make(folder: int) -> None:
        with contextlib.suppress(OSError):
            for number in itertools.count():
                os.mkdir(str(number), dir_fd=folder)
                if number == 50:
                    begun.set()

    threading.Thread(target=make, args=(os.open(".", os.O_RDONLY),), daemon=True).start()
    begun.wait()


def flood() -> None:
    """Progress in the smallest of messages, without end."""
    answer = msgpack.packb(["progress", [1, 1, "", ""]])
    framed = (len(answer).to_bytes(4, "big") + answer) * 100
    while True:
        os.write(3, framed)


def act_in_stint(mode: str, flag: str) -> None:  # noqa: PLR0912
    """Modes that are of interest where several attempts share a message."""
    if mode == "count and wait":
        with open(flag + ".begun", "a") as file:
            file.write("x")
        while not os.path.exists(flag):
            time.sleep(0.02)
    if mode in ("daemon", "daemon ignoring"):
        if mode == "daemon ignoring":
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        pid = os.fork()
        if pid == 0:
            if os.fork() == 0:
                time.sleep(60)
            os._exit(0)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
    if mode == "say and exit":
        os._exit(3)
    if mode == "much":
        sys.stdout.write("x" * 100_000 + "\n")
    if mode == "much and wait":
        if os.path.basename(os.getcwd()) == "map-5.1":
            while not os.path.exists(flag):
                time.sleep(0.02)
        else:
            sys.stdout.write("x" * 600_000 + "\n")
    if mode == "rest":
        answer = msgpack.packb(["rest", None])
        os.write(3, len(answer).to_bytes(4, "big") + answer)
        time.sleep(0.05)


def forge(mode: str) -> None:
    """Something else in place of the mark of the record that map has."""
    os.unlink(".at-record")
    if mode == "forge mark":
        os.symlink("/etc/hostname", ".at-record")
    elif mode == "fifo mark":
        os.mkfifo(".at-record")
    elif mode == "folder of a mark":
        os.mkdir(".at-record")
    else:
        with open(".at-record", "wb") as file:
            file.truncate(1 << 40)


def act(mode: str, flag: str) -> None:  # noqa: PLR0912, PLR0915
    if mode == "raise":
        raise KeyError("no such thing")
    if mode == "exit":
        os._exit(0)
    if "mark" in mode:
        forge(mode)
        os._exit(3)
    if mode == "sys.exit":
        sys.exit("enough")
    if mode == "memory":
        held = []
        while True:
            held.append(bytearray(16 << 20))
    if mode == "loop":
        while True:
            pass
    if mode == "wait":
        while not os.path.exists(flag):
            time.sleep(0.02)
    if mode == "slow":
        time.sleep(0.8)
    if mode == "memory of children":
        for _ in range(8):
            if os.fork() == 0:
                held = [bytearray(100 << 20)]
                time.sleep(60)
        time.sleep(60)
    if mode == "delete":
        shutil.rmtree(os.getcwd())
    if mode == "stop":
        os.kill(os.getppid(), signal.SIGSTOP)
    if mode == "forks":
        while True:
            with contextlib.suppress(BlockingIOError):  # a bomb that does not give up
                os.fork()
    act_in_stint(mode, flag)
    if mode == "whisper":
        sys.stdout.write(os.path.basename(os.getcwd()) + "\n")
    if mode == "leave a child" and os.fork() == 0:
        time.sleep(60)
    if mode == "print":
        for _ in range(3000):
            sys.stdout.write("x" * 10_000 + "\n")
    if mode == "forge":
        answer = msgpack.packb(["done", [["/etc/passwd", [], {}, 0, 0, 0, 0, []], NO_FIGURES]])
        os.write(3, len(answer).to_bytes(4, "big") + answer)
        time.sleep(60)
    if mode == "forge counters":
        output = [os.getcwd() + "/map.run", [], {"half": 0.5}, 0, 0, 0, 0, []]
        answer = msgpack.packb(["done", [output, NO_FIGURES]])
        os.write(3, len(answer).to_bytes(4, "big") + answer)
        time.sleep(60)
    if mode == "raise surrogates":
        raise ValueError(SURROGATES)
    if mode == "endless message":
        os.write(3, b"\xff\xff\xff\xff")
        time.sleep(60)
    if mode == "long error":
        raise ValueError("long " * 2_000_000)
    if mode == "pipe":
        os.write(3, b"\x00\x00\x00\x05hello")
        time.sleep(60)


def trespasses(scratch: str, parts: str, bundle: str) -> Iterator[str]:
    """What an attempt can do to what the node and other attempts of its job have left."""
    own = os.getcwd()
    for path in (bundle, *files_in(scratch), *files_in(parts)):
        if not path.startswith(own):
            with contextlib.suppress(OSError), open(path, "r+b") as file:
                file.write(b"spoilt")
                yield f"overwrites {os.path.basename(path)}"
    for folder in (scratch, parts):
        with contextlib.suppress(OSError):
            os.symlink("/elsewhere", f"{folder}/map-0.9")
            os.unlink(f"{folder}/map-0.9")
            yield f"plants a link in {os.path.basename(folder)}"
        for name in os.listdir(folder):
            with contextlib.suppress(OSError):
                if not own.startswith(f"{folder}/{name}"):
                    os.rename(f"{folder}/{name}", f"{folder}/moved")
                    os.rename(f"{folder}/moved", f"{folder}/{name}")
                    yield f"moves {name}"


def files_in(top: str) -> list[str]:
    return [f"{folder}/{name}" for folder, _, names in os.walk(top) for name in names]


counting = job(map=words, combine=total, reduce=total, params={"mode": "", "flag": ""})
uncombined = job(map=words, reduce=total, params={"mode": "", "flag": ""})


def spelled(key: str, value: str) -> Iterator[tuple[str, str]]:
    yield key[:2], value


def listed(start: str, values: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    yield start, sorted(values)


spelling = job(map=spelled, reduce=listed, input=KvInput(), output=KvOutput())


def filled(offset: int, line: str) -> Iterator[tuple[str, str]]:
    fill()
    yield line, ""


filling = job(map=filled, reducers=0)


USERS, ORDERS = Source("users", input=KvInput("users")), Source("orders", input=KvInput("orders"))
in_place = join(USERS, ORDERS, on="{tag}", how="outer")
by_hash = join(USERS, ORDERS, on="{tag}", how="outer", strategy="hash")
of_both = join(Source("visits", input=FileInput("csv")), USERS, on=("user", "{tag}"), strategy="hash")
as_it_was = join(
    Source("users", input=KvInput("users", consistency="snapshot")),
    Source("orders", input=KvInput("orders", consistency="one")),
    on="{tag}",
)
