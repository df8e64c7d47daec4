"""The job of a verb that runs its code in this process."""

from __future__ import annotations

import os
import sys
from contextlib import closing

from ringmill.client.jobs.job_modules import LoadedJob, load_job_module
from ringmill.cluster.adapters.files.os_files import OsFileSystem

__all__ = ["job_here"]


def job_here(target: str) -> LoadedJob:
    """The job that MODULE.py:NAME says, with its folder where Python looks for modules.

    Raises like `load_job_module`.
    """
    with closing(OsFileSystem()) as files:
        loaded = load_job_module(target, files, os.getcwd())
    sys.path.insert(0, loaded.root)  # functions may import when they run, as on a node
    return loaded
