"""`python -m ringmill` and the command `ringmill`: the same program under two names.

While it loads, Ctrl-C ends the process without a traceback, because there is nothing to clean up yet.
"""

from __future__ import annotations

import signal
import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line of this process and return its exit code."""
    former = signal.getsignal(signal.SIGINT)
    if former is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ringmill.client.cli.main import main as run

    if former is signal.default_int_handler:
        signal.signal(signal.SIGINT, former)
    return run()


if __name__ == "__main__":
    sys.exit(main())
