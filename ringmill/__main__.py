"""`python -m ringmill` and the command `ringmill`: the same program under two names.

While it loads, Ctrl-C ends the process without a traceback, because there is nothing to clean up yet.  Later
it may strike within asyncio itself: what is half made then complains when it is freed, and only --debug shows
that.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from itertools import pairwise

__all__ = ["main"]


def main() -> int:
    """Run the command line of this process and return its exit code."""
    if {("job", "local"), ("job", "replay")} & set(pairwise(sys.argv)):
        _take_hash_seed_of_nodes()
    former = signal.getsignal(signal.SIGINT)
    if former is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ringmill.client.cli.main import main as run

    if former is signal.default_int_handler:
        signal.signal(signal.SIGINT, former)
    if "--debug" not in sys.argv and not sys.warnoptions:
        sys.unraisablehook = _tell_nothing
        warnings.simplefilter("ignore")
    return run()


def _take_hash_seed_of_nodes() -> None:
    """Begin again with the hash seed of tasks on nodes: who goes through a set of texts gets theirs."""
    if os.environ.get("PYTHONHASHSEED") != "0" and sys.executable:
        os.execve(sys.executable, sys.orig_argv, {**os.environ, "PYTHONHASHSEED": "0"})  # noqa: S606


def _tell_nothing(_unraisable: object) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
