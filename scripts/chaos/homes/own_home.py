"""The folder of one chaos run, which goes when all has held; and a run that a signal ends in order."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

__all__ = ["INTERRUPTED", "judge_in_home"]

INTERRUPTED = 130


def judge_in_home(name: str, run_and_judge: Callable[[Path], Awaitable[bool]]) -> int:
    """Run and judge something in a new folder.  Returns 0 when it held, 1 when not, 130 when interrupted.

    SIGTERM, and SIGHUP of a terminal that is closed, interrupt as Ctrl-C does: with everything stopped and
    removed.  What did not hold is kept.
    """
    home = Path(tempfile.mkdtemp(prefix=f"ringmill-{name}-"))
    is_kept = True
    try:
        is_kept = not asyncio.run(_until_interrupted(run_and_judge(home)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        is_kept = False
        return INTERRUPTED
    finally:
        if is_kept:
            print(f"data, logs and histories are kept in {home}", file=sys.stderr)
        else:
            shutil.rmtree(home, ignore_errors=True)
    return 1 if is_kept else 0


async def _until_interrupted(run: Awaitable[bool]) -> bool:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # one that is ignored stays so, as under nohup
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await run
