"""The confinement that a task process applies to itself before it runs user code.

Own session and process group, resource limits, a clean environment, its own folder, no file descriptors but
its pipe, and a signal that ends it when the forkserver ends.  Linux gives all of these; elsewhere the
parent-death signal and the subreaper are missing, and only the end of the control socket ends a task.

Runs in a freshly forked, single-threaded child.  Nothing here knows what the task will do.
See: docs/architecture.md, "Task processes".
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from ringmill.cluster.adapters.c_library import C_LIBRARY
from ringmill.cluster.adapters.processes.process_table import threads_of_machine

__all__ = [
    "adopt_orphans",
    "be_ended_first",
    "confine",
    "die_with_parent",
    "resource_limits",
    "wake_with_parent_gone",
]

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_TASK_SOCKET_FD: Final = 3
_OUT_OF_THE_WAY: Final = 16
_NICER_THAN_NODES: Final = 5  # requests and probes are served before tasks compute
_ENDED_BEFORE_WORKERS: Final = 800  # of 1000, by the kernel when memory runs out
_MORE_THAN_NODES: Final = 200
_MANY: Final = 4096
_ROOM_FOR_LAST_WORDS_BYTES: Final = 32 * 1024 * 1024

_RLIMITS: Final[Mapping[str, int]] = {
    "as_bytes": resource.RLIMIT_AS,
    "cpu_s": resource.RLIMIT_CPU,
    "open_files": resource.RLIMIT_NOFILE,
    "file_bytes": resource.RLIMIT_FSIZE,
    "processes": resource.RLIMIT_NPROC,
}


def confine(
    socket_fd: int, output_fd: int, *, workdir: str, environment: Mapping[str, str], limits: Mapping[str, int]
) -> int:
    """Turn this process into a task process; returns the descriptor that the task socket has now.

    `output_fd` becomes stdout and stderr.  Raises OSError when the folder or a limit is refused.
    """
    os.setsid()
    _rearrange_descriptors(socket_fd, output_fd)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(workdir)
    os.nice(_NICER_THAN_NODES)
    be_ended_first(_ENDED_BEFORE_WORKERS)
    for kind, value in resource_limits(limits).items():
        _set_limit(kind, value)
    return _TASK_SOCKET_FD


def resource_limits(limits: Mapping[str, int]) -> dict[int, int]:
    """The rlimits that `limits` asks for, with no core file.  Raises ValueError for an unknown name.

    The kernel counts processes per user, so what this task may add comes on top of what is there already;
    it does not count root's, for whom the forkserver's watch is the only limit.
    """
    unknown = sorted(set(limits) - set(_RLIMITS))
    if unknown:
        raise ValueError(f"unknown limits {', '.join(unknown)}; known are {', '.join(_RLIMITS)}")
    found = {_RLIMITS[name]: value for name, value in limits.items()}
    if "processes" in limits:
        found[resource.RLIMIT_NPROC] = limits["processes"] + (threads_of_machine() or _MANY)
    return {**found, resource.RLIMIT_CORE: 0}


def die_with_parent(parent: int) -> None:
    """Ask for SIGKILL when the parent ends; exits at once when `parent` is gone already."""
    if C_LIBRARY is not None:
        C_LIBRARY.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def wake_with_parent_gone() -> None:
    """Ask for SIGCONT when the parent ends: one that was stopped before can then see it and clean up."""
    if C_LIBRARY is not None:
        C_LIBRARY.prctl(_PR_SET_PDEATHSIG, signal.SIGCONT, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that they can be found and ended."""
    if C_LIBRARY is not None:
        C_LIBRARY.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def be_ended_first(score: int) -> None:
    """Where memory runs out, the kernel ends this process and its children, not the node.

    `score` is of 1000, and more where the node has a high one itself, as in many containers.
    """
    with suppress(OSError, ValueError), open("/proc/self/oom_score_adj", "r+", encoding="ascii") as file:
        own = int(file.read())
        file.seek(0)
        file.write(str(min(max(score, own + _MORE_THAN_NODES), 1000)))


def _rearrange_descriptors(socket_fd: int, output_fd: int) -> None:
    """stdin from nothing, stdout and stderr to the pipe, the socket at 3 (closed on exec), no other."""
    nothing, output, pipe = (
        fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _OUT_OF_THE_WAY)
        for descriptor in (os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), output_fd, socket_fd)
    )
    os.dup2(nothing, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(pipe, _TASK_SOCKET_FD, inheritable=False)
    os.closerange(_TASK_SOCKET_FD + 1, os.sysconf("SC_OPEN_MAX"))


def _set_limit(kind: int, value: int) -> None:
    """Soft limits are told apart from hard ones only where a task must still be able to say what happened."""
    _, highest = resource.getrlimit(kind)
    headroom = {resource.RLIMIT_CPU: 1, resource.RLIMIT_AS: _ROOM_FOR_LAST_WORDS_BYTES}.get(kind, 0)
    soft, hard = value, value + headroom
    if highest != resource.RLIM_INFINITY:
        soft, hard = min(soft, highest), min(hard, highest)
    resource.setrlimit(kind, (soft, hard))
