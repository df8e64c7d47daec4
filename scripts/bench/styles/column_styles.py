"""The word count of job_styles.py on columns of Arrow; apart from it, as only this one needs pyarrow."""

from __future__ import annotations

from typing import Annotated

import pyarrow as pa
import pyarrow.compute as pc

from ringmill import Sum, job


def words_of_column(lines: pa.StringArray) -> Annotated[pa.RecordBatch, tuple[str, int]]:
    words = pc.ascii_split_whitespace(pc.ascii_lower(lines)).flatten()
    return pa.RecordBatch.from_struct_array(words.filter(pc.not_equal(words, "")).value_counts())


words_columns = job(map_batch=words_of_column, reduce=Sum())
