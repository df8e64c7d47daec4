"""What the product itself wrote into the log: libraries write there too, at times of their own."""

from __future__ import annotations

import logging

import pytest

__all__ = ["own_records"]


def own_records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """The records of ringmill's loggers. grpcio's poller complains to asyncio's about closed loops."""
    return [record for record in caplog.records if record.name.partition(".")[0] == "ringmill"]
