"""The jobs as one would write them for DuckDB: each is a query, none of which runs Python for a row."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import duckdb

from others.measured import Work, run_job

_LINES = (
    "read_csv($files, columns={'line': 'VARCHAR'}, delim='\\x01', quote='', escape='', header=false, "
    "auto_detect=false)"
)
_WORDS = f"""
    SELECT word, count(*) AS n
    FROM (SELECT unnest(string_split(lower(line), ' ')) AS word FROM {_LINES})
    WHERE word <> '' GROUP BY word ORDER BY word
"""
_GREP = f"SELECT line FROM {_LINES} WHERE contains(line, 'ing')"
_SORT = f"SELECT line FROM {_LINES} ORDER BY line"
_INDEX = """
    SELECT word, to_json(list(name ORDER BY name)) FROM (
        SELECT DISTINCT parse_filename(filename) AS name,
               unnest(string_split_regex(trim(content, E' \\n'), '[ \\n]+')) AS word
        FROM read_text($files))
    GROUP BY word ORDER BY word
"""
_JOIN = """
    SELECT o."order", o.customer || ' ' || c.name || ' ' || o.cents
    FROM read_csv($files, all_varchar=true, header=true) o
    JOIN read_csv($customers, all_varchar=true, header=true) c
    ON o.customer = c.customer
"""


def run(query: str, files: list[str], output: str) -> None:
    given = {"files": files}
    if "$customers" in query:
        *orders, customers = files
        given = {"files": orders, "customers": customers}  # type: ignore[dict-item]
    said = f"COPY ({query}) TO '{output}' (FORMAT csv, DELIM '\t', HEADER false, QUOTE '', ESCAPE '')"
    duckdb.execute(said, given)


TABLE: dict[str, Work] = {
    **dict.fromkeys(("words_function", "words_record", "words_batch", "words_columns"), partial(run, _WORDS)),
    **dict.fromkeys(("grep_record", "grep_batch"), partial(run, _GREP)),
    **dict.fromkeys(("sort_record", "sort_batch"), partial(run, _SORT)),
    "index_record": partial(run, _INDEX),
    **dict.fromkeys(("join_broadcast", "join_hash", "join_merge"), partial(run, _JOIN)),
}

if __name__ == "__main__":
    run_job(TABLE)
