"""The log of a node or a gateway: each record begins a line with its time, and nothing else does.

What other processes send is quoted in records: the name that a link came with, the error that a peer gave.
So a line break within a record is followed by an indent, and any other control character is escaped.  A
stranger cannot write a line that looks like one of the process's.
"""

from __future__ import annotations

import logging

from ringmill.cluster.printable import printable

__all__ = ["log_by"]

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s  %(message)s"


def log_by(handler: logging.Handler) -> None:
    """Log all of this process by `handler` alone, from level INFO on."""
    handler.setFormatter(_Indented(_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class _Indented(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n\t").replace("\n", "\n    ")
