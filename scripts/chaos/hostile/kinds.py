"""The kinds of hostile job, and how each has to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = ["KINDS", "Kind"]

_USER: Final = ("UserError",)
_KILLED: Final = ("Killed",)
_WELL: Final = ("SUCCEEDED",)


@dataclass(frozen=True, slots=True)
class Kind:
    """`ends` are the causes of failure that are right, or SUCCEEDED; `text` has to be in the error."""

    deed: str
    ends: tuple[str, ...]
    text: str = ""
    job: str = "hostile"


_CONTAINED: Final = "tasks are contained"

KINDS: Final = (
    Kind("exit_0", _USER, "exit code 0"),
    Kind("exit_7", _USER, "exit code 7"),
    Kind("sys_exit", _USER, "enough"),
    Kind("segv", _KILLED, "SIGSEGV"),
    Kind("abort", _KILLED, "SIGABRT"),
    Kind("kill_itself", _KILLED, "SIGKILL"),
    Kind("kill_group", _KILLED, "SIGKILL"),
    Kind("kill_parent", _USER, _CONTAINED),
    Kind("stop_parent", _USER, _CONTAINED),
    Kind("kill_node", _USER, _CONTAINED),
    Kind("recursion", _USER, "RecursionError"),
    Kind("unpicklable", _USER, "", "unpicklable"),
    Kind("descriptors", _USER, "Too many open files"),
    Kind("threads", (*_USER, *_KILLED, "OutOfMemory")),
    Kind("fork_bomb", (*_KILLED, *_USER), ""),
    Kind("fork_bomb_setsid", (*_KILLED, *_USER), ""),
    Kind("memory", ("OutOfMemory",), "the limit is"),
    Kind("memory_of_children", ("OutOfMemory",), "the limit is"),
    Kind("print_3_s", _WELL),
    Kind("print_binary", _WELL),
    Kind("symlink_output", (*_USER, *_WELL)),
    Kind("symlink_run", _USER, "made a file"),
    Kind("forge_done", _USER, "own pipe"),
    Kind("forge_own_file", (*_USER, "EngineError", "FetchFailed", "CorruptData")),
    Kind("spoil_pipe", _USER, "own pipe"),
    Kind("close_pipe", (*_USER, *_KILLED)),
    Kind("evil_repr", _USER),
    Kind("base_exception", _USER, "Base: base"),
    Kind("long_error", _USER, "characters)"),
    Kind("long_log", (*_USER, *_WELL)),
    Kind("forged_count", _USER),
    Kind("read_token", _USER, _CONTAINED),
    Kind("read_token_by_link", _USER, _CONTAINED),
    Kind("read_token_in_child", _USER, "exit status 1"),
    Kind("list_data", _USER, _CONTAINED),
    Kind("corrupt_data", _USER, _CONTAINED),
    Kind("read_home", _USER, _CONTAINED),
    Kind("write_home", _USER, _CONTAINED),
    Kind("chmod_token", _USER, _CONTAINED),
    Kind("connect_node", _USER, _CONTAINED),
    Kind("send_udp", _USER, _CONTAINED),
    Kind("unix_socket", _USER, _CONTAINED),
    Kind("listen", _USER, _CONTAINED),
    Kind("ptrace_node", _USER, _CONTAINED),
    Kind("limit_node", _USER, _CONTAINED),
    Kind("environ_of_node", _USER, "PermissionError"),
    Kind("namespace", _USER, _CONTAINED),
    Kind("daemon", _WELL),
    Kind("daemon_nohup", _WELL),
    Kind("remove_scratch", _USER, "deleted or locked"),
    Kind("lock_scratch", (*_USER, *_WELL)),
    Kind("deep_folders", (*_USER, *_WELL)),
    Kind("huge_value", _USER),
    Kind("spoil_bundle", _USER, _CONTAINED),
    Kind("make_anothers_folder", _USER, _CONTAINED),
)
