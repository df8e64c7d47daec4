"""What a job does about a record at which its map raises an error: fail, or set a number of them aside.

Pure.
"""

from __future__ import annotations

import re
from typing import Final

from ringmill.cluster.errors import InvalidArgument
from ringmill.cluster.mapreduce.failures import shown

__all__ = ["BAD_RECORDS", "MOST_BAD_RECORDS", "bad_records_of"]

BAD_RECORDS: Final = "_BAD_RECORDS"
"""Name of the file in the output that holds them; readers of folders skip names with a leading `_`."""
MOST_BAD_RECORDS: Final = 100_000
_QUARANTINE: Final = re.compile(r"quarantine:([0-9]{1,6})", re.ASCII)


def bad_records_of(on_bad_record: str) -> int:
    """How many records of a job may be set aside: 0 for "fail", N for "quarantine:N".

    Raises InvalidArgument.
    """
    if on_bad_record == "fail":
        return 0
    found = _QUARANTINE.fullmatch(on_bad_record) if isinstance(on_bad_record, str) else None
    if found is None or not 1 <= int(found[1]) <= MOST_BAD_RECORDS:
        raise InvalidArgument(
            f"on_bad_record is {shown(on_bad_record, 40)}; it must be 'fail', or 'quarantine:N' with N from "
            f"1 to {MOST_BAD_RECORDS}, the number of records that may be set aside"
        )
    return int(found[1])
