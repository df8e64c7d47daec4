"""The fields of a job's description as they are read: each of its type, or refused.

Pure.  Layout: docs/formats/job.md, "Description".
"""

from __future__ import annotations

from dataclasses import astuple
from itertools import chain
from typing import Any, NamedTuple

from ringmill.cluster.errors import ProtocolMismatch
from ringmill.cluster.mapreduce.api.chains.stages import LinkOf
from ringmill.cluster.mapreduce.files.splits import InputFile

__all__ = ["SourceOf", "read_links", "read_noted", "read_sources", "typed_fields"]


class SourceOf(NamedTuple):
    """One of several inputs: its name, its format, and how many of the paths are its."""

    name: str
    format: str
    inputs: int


def read_sources(rows: Any) -> tuple[SourceOf, ...] | None:
    try:
        sources = tuple(SourceOf(*row) for row in rows)
    except TypeError:
        return None
    return sources if all((str, str, int) == tuple(map(type, each)) for each in sources) else None


def read_links(rows: Any) -> tuple[LinkOf, ...] | None:
    try:
        links = tuple(LinkOf(*row) for row in rows)
    except TypeError:
        return None
    return links if all((bytes, int, str, bool) == tuple(map(type, each)) for each in links) else None


def read_noted(rows: Any) -> dict[str, tuple[InputFile, ...]] | None:
    try:
        noted = {name: tuple(InputFile(*row) for row in files) for name, files in rows.items()}
    except (TypeError, AttributeError):
        return None
    every = [each for files in noted.values() for each in files]
    return noted if all((str, int, int) == tuple(map(type, astuple(each))) for each in every) else None


def typed_fields(values: dict[str, Any]) -> dict[str, Any]:
    """Refuse fields of a wrong type before they are used."""
    wanted: dict[str, type] = {
        "inputs": tuple, "reducers": int, "overwrite": bool, "seed": int, "params": dict, "memory_bytes": int,
        "task_memory_mib": int, "split_bytes": int, "bad_records": int, "weight": int, "sources": tuple,
        "chain": tuple, "levels": tuple, "side": dict, "broadcast": tuple, "broadcast_bytes": int,
        "noted": dict, "collect_bytes": int, "network": bool, "keeps_states": bool, "has_states": bool,
    }  # fmt: skip
    for name, value in values.items():
        if type(value) is not wanted.get(name, str):
            raise ProtocolMismatch(f"field {name!r} of a job description is a {type(value).__name__}")
    for each in (*values["inputs"], *values["broadcast"], *values["levels"], *chain(*values["side"].items())):
        if not isinstance(each, str):
            raise ProtocolMismatch("an input of a job description is no text")
    return values
