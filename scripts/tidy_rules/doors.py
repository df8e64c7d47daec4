"""The five doors: time, randomness, network, files and processes are asked for at a port, never taken.

See: docs/architecture.md, "The five doors".  The same code has to run in a simulator that replays a seed,
so what depends on the machine, the hash seed or an address in memory is refused too.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tidy_rules.finding import Finding, SourceFile, imported

__all__ = ["determinism", "doors", "error_numbers"]

OPEN_ROOMS = (
    "cluster/adapters",
    "client/bench",  # a load generator takes the time and draws keys of a real cluster
    "client/chaos",  # disturbs the processes of a local cluster
    "client/checked",  # draws what a checked load asks for
    "client/cli",
    "client/gateway/jobs/reading_main.py",  # runs a caller's module, contained
    "client/gateway/http/http_door.py",  # listens for callers of the gateway
    "client/gateway/http/tls_listener.py",  # the same, with TLS
    "client/gateway/protection/vanished_callers.py",  # options of sockets that these have accepted
    "client/jobs/importing.py",  # one lock: sys.modules and sys.path are those of all threads
    "client/local",
    "client/testing",  # starts the processes of a local cluster for a test, and ends them
    "client/twins/loop_thread.py",
    "client/twins/blocking_pipeline.py",
    "node/config.py",
    "node/task_main.py",
    "simulator/__main__.py",
    "simulator/campaign/many.py",
    "simulator/world/stepped.py",  # one baton: the thread is a way to stop plain code
    "cluster/mapreduce/kernel/collector_pace.py",  # one lock: the collector's rate is that of all threads
    "examples/deploy",
    "examples/kv",
    "scripts",
    "tests",
)

ERRNO_ROOMS = ("cluster/adapters", "cluster/os_errors.py", "simulator", "scripts", "tests")

CLOCK, ENTROPY = "ask the Clock", "ask Entropy for a named stream"
NETWORK, FILES, PROCESSES = "use the Transport", "use the FileSystem", "use the Spawner"

MODULES = {
    "time": CLOCK,
    "random": ENTROPY,
    "uuid": ENTROPY,
    "secrets": ENTROPY,
    "socket": NETWORK,
    "ssl": NETWORK,
    "select": NETWORK,
    "tempfile": FILES,
    "shutil": FILES,
    "glob": FILES,
    "threading": PROCESSES,
    "subprocess": PROCESSES,
    "multiprocessing": PROCESSES,
    "concurrent": PROCESSES,
}

OS_FILES = (
    "open", "fdopen", "read", "write", "fsync", "fdatasync", "truncate", "link", "symlink", "unlink",
    "remove", "rename", "replace", "mkdir", "makedirs", "rmdir", "listdir", "scandir", "walk", "stat",
    "path.exists", "path.isfile", "path.isdir", "path.getsize", "path.getmtime",
)  # fmt: skip

NAMES = {
    "datetime.now": CLOCK,
    "datetime.utcnow": CLOCK,
    "datetime.today": CLOCK,
    "date.today": CLOCK,
    "os.urandom": ENTROPY,
    "os.getrandom": ENTROPY,
    "asyncio.open_connection": NETWORK,
    "asyncio.start_server": NETWORK,
    "asyncio.to_thread": PROCESSES,
    "asyncio.create_subprocess_exec": PROCESSES,
    "asyncio.create_subprocess_shell": PROCESSES,
    "os.fork": PROCESSES,
    "os.system": PROCESSES,
    "io.open": FILES,
    **{f"os.{name}": FILES for name in OS_FILES},
}

METHODS = {"run_in_executor": PROCESSES, "read_text": FILES, "write_text": FILES, "write_bytes": FILES}


def doors(source: SourceFile) -> Iterator[Finding]:
    """Imports and calls that go round the ports."""
    if source.is_in(*OPEN_ROOMS):
        return
    for node in source.nodes:
        for module in imported(node):
            top = module.split(".")[0]
            if top in MODULES and not (top == "random" and source.is_in("simulator")):
                what = f"imports {module} outside the open rooms; {MODULES[top]} (cluster/ports.py)"
                yield source.finding(_line(node), what)
        for name, remedy in _passed_by(node):
            yield source.finding(_line(node), f"{name} outside the open rooms; {remedy} (cluster/ports.py)")


def error_numbers(source: SourceFile) -> Iterator[Finding]:
    """What an errno means is decided once, so that one fault is not told in two ways."""
    if source.is_in(*ERRNO_ROOMS):
        return
    for node in source.nodes:
        if "errno" in imported(node):
            yield source.finding(_line(node), "imports errno; ask meaning_of(error) (cluster/os_errors.py)")


def determinism(source: SourceFile) -> Iterator[Finding]:
    """What differs between two runs of one seed: hash() of strings, id(), the order of a set."""
    if source.room not in {"cluster", "node", "simulator"}:
        return
    exempt = [call for node in source.nodes if _is_dunder_hash(node) for call in ast.walk(node)]
    for node in source.nodes:
        if (name := _called(node)) in {"hash", "id"} and node not in exempt:
            what = (
                f"{name}() differs from run to run; hash bytes with xxhash, name things by an id of their own"
            )
            yield source.finding(_line(node), what)
        if isinstance(node, ast.For | ast.AsyncFor | ast.comprehension) and _is_set(node.iter):
            yield source.finding(node.iter.lineno, "walks a set, whose order is chance; use sorted(...)")


def _line(node: ast.AST) -> int:
    return int(getattr(node, "lineno", 1))


def _passed_by(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Names at a node that lead past a door, with the remedy."""
    if _called(node) == "open":
        yield "bare open", FILES
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in METHODS:
        yield f".{node.func.attr}", METHODS[node.func.attr]
    if isinstance(node, ast.Attribute):
        dotted = _dotted(node).replace("datetime.date", "date", 1)  # datetime.datetime.now
        if dotted in NAMES:
            yield dotted, NAMES[dotted]
    if isinstance(node, ast.ImportFrom):
        for alias in node.names:
            name = f"{node.module}.{alias.name}"
            if name in NAMES:
                yield name, NAMES[name]


def _dotted(expression: ast.AST) -> str:
    if isinstance(expression, ast.Name):
        return expression.id
    if isinstance(expression, ast.Attribute):
        inner = _dotted(expression.value)
        return f"{inner}.{expression.attr}" if inner else ""
    return ""


def _is_dunder_hash(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == "__hash__"


def _is_set(expression: ast.expr) -> bool:
    return isinstance(expression, ast.Set | ast.SetComp) or _called(expression) in {"set", "frozenset"}


def _called(node: ast.AST) -> str:
    """The plain name that a call is made by, or ""."""
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
