"""Figures as Markdown: what was measured where, and one table of the chosen columns."""

from __future__ import annotations

from typing import Any

from markdown import as_markdown

DOCUMENT: dict[str, Any] = {
    "started": "2026-11-27T06:00:00Z",
    "machine": {"processor": "AMD EPYC", "cores": "2 cores"},
    "versions": {"python": "3.11.7"},
    "settings": {"nodes": 3, "w": "default"},
    "rows": [
        {"case": "put", "in_flight": 64, "store": "ringmill", "per_s": 2252.4, "p99_ms": 84.123},
        {"case": "put", "in_flight": 64, "store": "etcd", "per_s": 3818.0, "errors": 1},
    ],
    "notes": ["skipped: redis"],
}


def test_a_table_says_where_it_is_from_and_has_an_empty_cell_for_what_was_not_measured() -> None:
    assert list(as_markdown(DOCUMENT)) == [
        "2026-11-27, AMD EPYC, 2 cores, Python 3.11.7.",
        "nodes 3, w default.",
        "",
        "| case | in flight | store | per s | p99 ms | errors |",
        "|---|---:|---|---:|---:|---:|",
        "| put | 64 | ringmill | 2,252 | 84.1 |  |",
        "| put | 64 | etcd | 3,818 |  | 1 |",
        "",
        "- skipped: redis",
    ]


def test_chosen_columns_keep_what_tells_the_rows_apart() -> None:
    assert "| case | in flight | store | per s |" in list(as_markdown(DOCUMENT, ["per_s"]))
