"""`python -m ringmill`, and where the command `ringmill` starts: the same program under two names.

Until it is loaded, Ctrl-C ends the process without a trace, as there is nothing to tidy up yet.
"""

from __future__ import annotations

import signal
import sys

__all__ = ["main"]


def main() -> int:
    """Run the command line of this process; the exit code."""
    former = signal.getsignal(signal.SIGINT)
    if former is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ringmill.client.cli.main import main as run

    if former is signal.default_int_handler:
        signal.signal(signal.SIGINT, former)
    return run()


if __name__ == "__main__":
    sys.exit(main())
