"""`python -m node`: one node in the foreground; logs on stderr, nothing on stdout."""

from __future__ import annotations

import logging
import os
import sys

# Read when gRPC is imported: its core would write lines of its own among ours, and hook into forks.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

import uvloop

from cluster.errors import RingmillError
from node.config import parse_arguments
from node.lifecycle import run_node

__all__ = ["main"]


def main() -> int:
    """0 after an orderly stop; what forbids a start is an error of one line, and 1 or 2."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)-7s %(name)s  %(message)s", stream=sys.stderr
    )
    try:
        uvloop.run(run_node(parse_arguments(sys.argv[1:])))
    except BlockingIOError as error:
        return _refuse(f"the data folder is in use by another process ({error.filename})", 1)
    except OSError as error:
        return _refuse(str(error), 1)
    except RingmillError as error:
        return _refuse(f"{error}{f' ({error.hint})' if error.hint else ''}", error.exit_code)
    return 0


def _refuse(why: str, code: int) -> int:
    logging.getLogger("node").error("cannot run: %s", why)
    return code


if __name__ == "__main__":
    sys.exit(main())
