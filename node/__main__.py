"""`python -m ringmill.node`: one node in the foreground; logs on stderr or in a file, nothing on stdout.

`python -m ringmill.node reset` turns a folder into that of a new node, and says so on stdout;
`python -m ringmill.node config` prints the settings.
"""

from __future__ import annotations

import gc
import logging
import os
import sys

# What importing makes stays, and looking for garbage in it was a seventh of a start.  run_node turns it on.
gc.disable()

from ringmill.cluster.adapters.serving_process import prepare_grpc

prepare_grpc()

import uvloop

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.gathering import first_error
from ringmill.cluster.logs.log_lines import log_by
from ringmill.cluster.os_errors import is_full
from ringmill.node.config import parse_arguments, show_settings
from ringmill.node.lifecycle import run_node
from ringmill.node.reset import run_reset

__all__ = ["main"]


def main() -> int:
    """Run a node: 0 after a clean stop; 1 or 2, and one line of error, when it cannot start."""
    os.umask(0o077)  # only the node's user may read what it writes
    log_by(logging.StreamHandler())
    try:
        if sys.argv[1:2] == ["reset"]:
            run_reset(sys.argv[2:])
        elif sys.argv[1:2] == ["config"]:
            show_settings(sys.argv[2:])
        else:
            uvloop.run(run_node(parse_arguments(sys.argv[1:])))
    except (OSError, RingmillError) as error:
        return _refuse(error)
    except ExceptionGroup as group:  # a TaskGroup wraps what ends its body
        refusals = group.subgroup((OSError, RingmillError))
        if refusals is None:
            raise
        return _refuse(first_error(refusals))
    return 0


def _refuse(error: BaseException) -> int:
    code = error.exit_code if isinstance(error, RingmillError) else 1
    logging.getLogger("node").error("cannot run: %s", _why(error))
    return code


def _why(error: BaseException) -> str:
    if isinstance(error, RingmillError):
        return f"{error}{f' ({error.hint})' if error.hint else ''}"
    if isinstance(error, BlockingIOError):
        return f"the data folder is in use by another process ({error.filename})"
    if isinstance(error, OSError) and is_full(error):
        return f"the disk is full ({error.filename}): free some space and start the node again"
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
