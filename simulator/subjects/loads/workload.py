"""Draws what a run of loads does: the keys that are there, the job that reads them, and which of its records
a client overwrites."""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from ringmill.cluster.ids import KeyspaceId
from ringmill.cluster.mapreduce.api.bundle import Bundle, build_bundle
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.ring.topology_entries import KeyspaceEntry
from ringmill.simulator.subjects.jobs.sessions import PlannedJob
from ringmill.simulator.subjects.loads import words_of_keys
from ringmill.simulator.world.node_process import SHARED

__all__ = [
    "FORMER",
    "INDEX",
    "SNAPSHOT_CHANCE",
    "ONLY_BEFORE",
    "SOURCE",
    "LoadPlan",
    "draw_load",
    "load_keyspaces",
    "packed_load",
]

SOURCE: Final = "source"
INDEX: Final = "index"
_MODULE: Final = "words_of_keys"
_WORDS: Final = tuple(f"w{number:02}" for number in range(12))
_EVERY_WORD: Final = " ".join(_WORDS).encode()
_SOURCES: Final = 10
SNAPSHOT_CHANCE: Final = 0.4
_REPLACES_CHANCE: Final = 0.4
FORMER: Final = b"former"
ONLY_BEFORE: Final = b"only-before"
"""A key that no job gives."""


@dataclass(frozen=True, slots=True)
class LoadPlan:
    source: Mapping[bytes, bytes]
    records: Mapping[bytes, bytes]  # what the job is to put
    taken: Collection[bytes]  # keys of the index that a client overwrites as soon as it sees them
    job: PlannedJob
    former: Mapping[bytes, bytes]  # what the index holds before a job that replaces it; else empty
    late: Mapping[bytes, bytes]  # what a client puts into the source once a job of a snapshot is accepted

    @property
    def replaces(self) -> bool:
        return bool(self.former)


def load_keyspaces(n: int) -> tuple[KeyspaceEntry, ...]:
    majority = n // 2 + 1
    return tuple(
        KeyspaceEntry(KeyspaceId(1, ordinal), name, r=majority, w=majority)
        for ordinal, name in enumerate((SOURCE, INDEX), 20)
    )


def packed_load() -> Bundle:
    """The job, packed by the real packer."""
    sources = {f"{_MODULE}.py": inspect.getsource(words_of_keys).encode()}
    return build_bundle(_MODULE, sources.get)


def draw_load(draws: Random, bundle_sha256: str, *, reads_snapshot: bool) -> LoadPlan:
    texts = {f"s{number}": draws.sample(_WORDS, 3) for number in range(_SOURCES)}
    held = {word: sorted(key for key, words in texts.items() if word in words) for word in _WORDS}
    records = {
        word.encode(): json.dumps(keys, separators=(",", ":")).encode() for word, keys in held.items() if keys
    }
    replaces = draws.random() < _REPLACES_CHANCE
    spec = JobSpec(
        job="job-load", module=_MODULE, name="holders", bundle_sha256=bundle_sha256,
        inputs=(f"kv:{SOURCE}",), output=f"{SHARED}/{INDEX}.job-load", input_format="kv",
        output_format="kv", reducers=2, output_keyspace=INDEX,
        consistency="snapshot" if reads_snapshot else "quorum",
        split_bytes=draws.choice((40, 1 << 20)), overwrite=replaces,
    )  # fmt: skip
    return LoadPlan(
        {key.encode(): " ".join(words).encode() for key, words in texts.items()},
        records,
        frozenset(draws.sample(sorted(records), len(records) // 2)),
        PlannedJob(0, spec, 0.0, None, is_repeated=True),
        dict.fromkeys([*records, ONLY_BEFORE], FORMER) if replaces else {},
        {f"{kind}{number}".encode(): _EVERY_WORD for number in range(_SOURCES) for kind in ("s", "late")}
        if reads_snapshot
        else {},
    )
