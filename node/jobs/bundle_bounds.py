"""Drops code of jobs that this node keeps beyond its bounds, and that no open job of the cluster needs.

A node may keep the code of a job that it has no part in, so that it can take the job over, and learns of the
end of a job only if it coordinates it.  So before anything is dropped the list of jobs is read.  When it
cannot be read, all is kept until the next look.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from ringmill.cluster.errors import RingmillError
from ringmill.node.contracts import BundleShelf
from ringmill.node.jobs.job_history import JobHistory
from ringmill.node.node_options import BundleOptions

__all__ = ["drop_excess", "keep_bundles_bounded"]

_log = logging.getLogger(__name__)


async def keep_bundles_bounded(shelf: BundleShelf, history: JobHistory, options: BundleOptions) -> None:
    """Look every `options.every_s` seconds, never with 0."""
    while options.every_s > 0:
        await asyncio.sleep(options.every_s)
        try:
            await drop_excess(shelf, history, options)
        except (OSError, RingmillError) as error:
            _log.warning("bundles beyond their bounds are kept: %s", error)


async def drop_excess(shelf: BundleShelf, history: JobHistory, options: BundleOptions) -> None:
    """Look once.  Raises OSError, and RingmillError when it cannot be told which jobs are open."""
    excess = partial(
        shelf.excess,
        most_bytes=options.most_bytes,
        longest_s=options.longest_s,
        least_s=options.least_s,
    )
    if not excess():  # nearly always, and then nobody is asked
        return
    dropped = excess(await history.code_in_use())
    for bundle in dropped:
        shelf.drop(bundle)
    if dropped:
        size = sum(bundle.size for bundle in dropped)
        _log.info("dropped bundles that no open job needs: %d, of %d bytes", len(dropped), size)
