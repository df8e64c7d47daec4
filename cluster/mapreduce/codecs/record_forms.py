"""The forms in which map, or map_batch, may take what a format gives, and which of them a hint chooses.

Pure.  One function answers both whether a hint is allowed and what is handed out, so that the two cannot
differ.  Columns of Arrow are no forms here (arrow_hints.py), nor what keyspaces and typed records give.

See: docs/formats/job.md, "Records".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ringmill.cluster.mapreduce.codecs.signatures import Hint, fits

__all__ = ["BATCH_FORMS", "RECORD_FORMS", "form_of"]

RECORD_FORMS: Final[Mapping[str, tuple[Hint, ...]]] = {
    "lines": (str,),
    "bytes": (bytes,),
    "raw": (bytes,),
    "jsonl": (Any,),
    "csv": (dict[str, str], list[str]),
    "file": (str, bytes),
}
"""What map may take as its second parameter, by format; the first that fits its hint is what it gets."""

BATCH_FORMS: Final[Mapping[str, tuple[Hint, ...]]] = {
    "lines": (list[str], list[bytes], bytes),
    "bytes": (list[bytes], bytes),
    "raw": (list[bytes], bytes),
    "jsonl": (list[Any],),
    "csv": (list[dict[str, str]], list[list[str]]),
    "parquet": (),
    "arrow": (),
}
"""The same of map_batch."""


def form_of(format: str, hint: Hint, *, is_batch: bool) -> Hint | None:
    """The form in which a function gets records that declares `hint`; None when it can take none.

    Parsed values of jsonl are of any type, and fit what is declared as long as they do.
    """
    forms = (BATCH_FORMS if is_batch else RECORD_FORMS).get(format, ())
    if format == "jsonl":
        return forms[0]
    return next((form for form in forms if fits(form, hint)), None)
