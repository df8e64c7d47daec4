"""Schemas of what bodies hold (JSON Schema 2020-12, as OpenAPI 3.1 has it)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = [
    "ALTERED", "BATCH", "BYTES", "COUNT", "CREATED", "DROPPED", "EVENTS", "HEALTH", "ITEM", "JOB", "JOBS",
    "KEYSPACE", "KEYSPACES", "LINES", "LOGS", "MAP", "MULTIPART", "OBJECT", "OUTCOMES", "PARTS", "PROBLEM",
    "RECEIPT", "REGISTER", "SET", "STATUS", "SUBMISSION", "SUM", "TAKEN", "VERSION",
]  # fmt: skip

Schema = Mapping[str, Any]
TEXT: Final = {"type": "string"}
WHOLE: Final = {"type": "integer"}
NUMBER: Final = {"type": "number"}
FLAG: Final = {"type": "boolean"}


def object_of(members: Mapping[str, Schema], *optional: str) -> dict[str, Any]:
    """An object with these members; all are there but the optional ones.  Newer releases may add others."""
    required = [name for name in members if name not in optional]
    return {"type": "object", "properties": dict(members), "required": required}


def list_of(schema: Schema) -> dict[str, Any]:
    return {"type": "array", "items": schema}


def or_null(schema: Schema) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def json_content(schema: Schema) -> dict[str, Schema]:
    """A body of JSON."""
    return {"application/json": schema}


BYTES: Final[dict[str, Schema]] = {"application/octet-stream": {}}
MULTIPART: Final[dict[str, Schema]] = {"multipart/mixed": {}}

_VALUE: Final = {"value": or_null(TEXT), "value_b64": {**TEXT, "contentEncoding": "base64"}}
_KEY: Final = {"key": TEXT, "key_b64": {**TEXT, "contentEncoding": "base64"}}
_EITHER: Final = ("key", "key_b64", "value", "value_b64")

ITEM_SCHEMA: Final = object_of(
    {
        **_KEY,
        **_VALUE,
        "conflict": FLAG,
        "siblings": list_of(object_of(_VALUE, *_VALUE)),
        "context": TEXT,
        "dots": list_of(TEXT),
        "expires_at": or_null(NUMBER),
        "ttl": or_null(NUMBER),
        "answered": list_of(TEXT),
        "repaired": WHOLE,
        "weak": FLAG,
        "epoch": WHOLE,
    },
    *_EITHER, "answered", "repaired",
)  # fmt: skip
RECEIPT_SCHEMA: Final = object_of(
    {
        **_KEY,
        "dot": TEXT,
        "context": or_null(TEXT),
        "epoch": WHOLE,
        "w": WHOLE,
        "weak": FLAG,
        "replicas": list_of(
            object_of(
                {"node": TEXT, "role": TEXT, "durability": TEXT, "stands_for": TEXT},
                "stands_for", "durability",
            )
        ),
        "hybrid_time": WHOLE,
    },
    *_EITHER,
)  # fmt: skip
PROBLEM: Final = object_of(
    {
        "type": TEXT,
        "title": TEXT,
        "status": WHOLE,
        "detail": TEXT,
        "code": TEXT,
        "outcome": {"type": "string", "enum": ["failed", "unknown"]},
        "request_id": TEXT,
        "hint": TEXT,
        "facts": {"type": "object"},
    },
    "request_id", "hint", "facts",
)  # fmt: skip
OBJECT: Final = json_content({"type": "object"})
ITEM: Final = json_content(ITEM_SCHEMA)
RECEIPT: Final = json_content(RECEIPT_SCHEMA)
REGISTER: Final = json_content(object_of({**_KEY, **_VALUE, "version": WHOLE}, *_EITHER))
VERSION: Final = json_content(object_of({**_KEY, "version": WHOLE}, *_KEY))
SUM: Final = json_content(object_of({**_KEY, "number": WHOLE}, *_KEY))
COUNT: Final = json_content(object_of({**_KEY, "count": WHOLE}, *_KEY))
_CODED: Final = {**TEXT, "contentEncoding": "base64"}
SET: Final = json_content(
    object_of(
        {
            **_KEY,
            "elements": list_of(
                object_of({"element": TEXT, "element_b64": _CODED}, "element", "element_b64")
            ),
        },
        *_KEY,
    )
)
MAP: Final = json_content(
    object_of(
        {
            **_KEY,
            "entries": list_of(
                object_of({"entry": TEXT, "entry_b64": _CODED, **_VALUE}, "entry", "entry_b64", *_VALUE)
            ),
        },
        *_KEY,
    )
)
LINES: Final[dict[str, Schema]] = {"application/x-ndjson": {}}
EVENTS: Final[dict[str, Schema]] = {"text/event-stream": {}}

_OPERATION: Final = {
    "type": "object",
    "required": ["op"],
    "additionalProperties": False,
    "properties": {
        "op": {"type": "string", "enum": ["get", "put", "delete"]},
        "key": TEXT,
        "key_b64": _CODED,
        "value": TEXT,
        "value_b64": _CODED,
        "ttl": {"type": "number", "exclusiveMinimum": 0},
        "context": TEXT,
    },
}
BATCH: Final = json_content(
    {
        "type": "object",
        "required": ["operations"],
        "additionalProperties": False,
        "properties": {"operations": {**list_of(_OPERATION), "minItems": 1, "maxItems": 1000}},
    }
)
OUTCOMES: Final = json_content(object_of({"outcomes": list_of(object_of({**_KEY, "status": WHOLE}, *_KEY))}))

_LEVEL: Final = {"type": "integer", "minimum": 1, "maximum": 1000}
_ALTERABLE: Final[dict[str, Schema]] = {
    "r": _LEVEL,
    "w": _LEVEL,
    "ttl": {"type": "number", "minimum": 0},
    "durability": {"type": "string", "enum": ["synced", "buffered", "memory"]},
}
ALTERED: Final = json_content(
    {"type": "object", "additionalProperties": False, "properties": _ALTERABLE, "minProperties": 1}
)
CREATED: Final = json_content(
    {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            **_ALTERABLE,
            "ttl": {"type": "number", "exclusiveMinimum": 0},
            "kind": {"type": "string", "enum": ["objects", "registers"]},
            "policy": {"type": "string", "enum": ["siblings", "lww", "counter", "set", "map"]},
            "quorum": {"type": "string", "enum": ["strict", "sloppy"]},
        },
    }
)
_KEYSPACE: Final = object_of(
    {
        "name": TEXT, "kind": TEXT, "policy": TEXT, "r": WHOLE, "w": WHOLE, "ttl_s": NUMBER,
        "durability": TEXT, "quorum": TEXT, "made_in": WHOLE, "epoch": WHOLE, "changed": FLAG,
    },
    "changed",
)  # fmt: skip
KEYSPACE: Final = json_content(_KEYSPACE)
KEYSPACES: Final = json_content(object_of({"keyspaces": list_of(_KEYSPACE)}))
DROPPED: Final = json_content(object_of({"name": TEXT, "epoch": WHOLE}))
_JOB: Final = object_of(
    {
        "job": TEXT, "name": TEXT, "state": TEXT, "node": TEXT, "of_journal": FLAG, "output": TEXT,
        "seconds": NUMBER,
    },
    "of_journal",
)  # fmt: skip
JOB: Final = json_content(_JOB)
JOBS: Final = json_content(object_of({"jobs": list_of(_JOB), "silent": list_of(TEXT)}))
LOGS: Final = json_content(object_of({"logs": list_of({"type": "object"})}))
TAKEN: Final = json_content(object_of({"job": TEXT, "output": TEXT}))
PARTS: Final = json_content(
    object_of(
        {
            "job": TEXT,
            "output": TEXT,
            "parts": list_of(object_of({"name": TEXT, "bytes": WHOLE, "records": WHOLE})),
        }
    )
)
_TEXTS: Final = {"type": "object", "additionalProperties": TEXT}
_PATHS: Final = {"anyOf": [TEXT, list_of(TEXT)]}
_JOB_SETTINGS: Final[dict[str, Schema]] = {
    "target": {**TEXT, "pattern": r"^[^:]+\.py:[A-Za-z_][A-Za-z0-9_]*$"},
    "input": {"anyOf": [*_PATHS["anyOf"], {"type": "object", "additionalProperties": _PATHS}]},
    "output": TEXT,
    "reducers": {"type": "integer", "minimum": 0},
    "params": _TEXTS,
    "overwrite": FLAG,
    "split_mib": {"type": "integer", "minimum": 1},
    "side": _TEXTS,
    "on_bad_record": {**TEXT, "pattern": "^(fail|quarantine:[0-9]+)$"},
    "weight": {"type": "integer", "minimum": 1, "maximum": 1000},
    "network": FLAG,
    "task_memory_mib": {"type": "integer", "minimum": 0, "maximum": 1048576},
}
_FILES: Final = list_of({"type": "string", "format": "binary"})


def _submission(members: Mapping[str, Schema], *required: str) -> dict[str, Any]:
    return {
        "type": "object", "required": list(required), "additionalProperties": False, "properties": members,
    }  # fmt: skip


SUBMISSION: Final = {
    **json_content(
        _submission({"sources": {**_TEXTS, "minProperties": 1}, **_JOB_SETTINGS}, "target", "sources")
    ),
    "multipart/form-data": _submission(
        {"settings": _submission(_JOB_SETTINGS, "target"), "sources": _FILES, "input": _FILES},
        "settings", "sources",
    ),
}  # fmt: skip
STATUS: Final = json_content(object_of({"cluster": TEXT, "epoch": WHOLE, "health": TEXT}))
HEALTH: Final = json_content(object_of({"status": TEXT}))
