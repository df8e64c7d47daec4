"""What the gateway's door for HTTP needs to take jobs."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable
from typing import Final

from ringmill.client.gateway.jobs.gateway_jobs import GatewayJobs
from ringmill.client.gateway.jobs.kept_inputs import KeptInputs
from ringmill.client.gateway.jobs.module_reader import ModuleReader
from ringmill.client.gateway.jobs.shown_parts import ShownParts
from ringmill.cluster.adapters.containment.level import level_of_kernel
from ringmill.cluster.adapters.containment.software import software_folders
from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.processes.task_processes import TaskProcesses
from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.messages.reach import is_within

__all__ = ["checked_jobs_folder", "door_jobs"]

_READER: Final = "ringmill.client.gateway.jobs.reading_main"


def checked_jobs_folder(folder: str | None) -> str:
    """The absolute path of the folder, "" for none.

    Raises InvalidArgument when it is not there, cannot be written, or holds the software of this machine.
    """
    if folder is None:
        return ""
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise InvalidArgument(
            f"--jobs-folder {folder[:200]!r} is not a folder that this user can write",
            hint="make a folder that all nodes see at the same path",
        )
    if any(is_within(each, os.path.realpath(folder)) for each in software_folders()):
        raise InvalidArgument(
            f"--jobs-folder {folder[:200]!r} holds software that modules of jobs import",
            hint="make a folder for jobs alone: no module reads what is in it",
        )
    return os.path.abspath(folder)


def door_jobs(folder: str, secrets: Iterable[str]) -> GatewayJobs:
    """`folder` is absolute; "" for none.  No module reads what is there, nor `secrets`, files and folders."""
    files, entropy = OsFileSystem(), OsEntropy()
    processes = TaskProcesses((sys.executable, "-P", "-m", _READER, "--forkserver"))
    lack = level_of_kernel().lack

    async def close() -> None:
        await processes.close()
        files.close()

    return GatewayJobs(
        ModuleReader(processes, files, _new_folder),
        ShownParts(files),
        entropy,
        close,
        folder=folder,
        secrets=tuple(os.path.abspath(each) for each in (*secrets, folder) if each),
        inputs=KeptInputs(files, folder, entropy) if folder else None,
        refusal=f"this gateway imports no modules: its kernel lacks {lack} to contain them" if lack else "",
    )


def _new_folder() -> str:
    """A new folder of this user alone; whoever asks for it removes it."""
    return tempfile.mkdtemp(prefix="ringmill-module-")
