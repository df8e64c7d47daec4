"""The public Python API: everything a user imports, loaded on first use.

Names live in their own rooms; nothing is defined here, and `import ringmill` loads neither gRPC nor the
store's client.

    from ringmill import FileInput, FileOutput, job     # declare a job (docs/guide.md)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cluster.errors import RingmillError
    from cluster.mapreduce.context import Context
    from cluster.mapreduce.definition import FileInput, FileOutput, JobDefinition, job

__all__ = ["Context", "FileInput", "FileOutput", "JobDefinition", "RingmillError", "job"]

_HOMES: Final = {
    "Context": "cluster.mapreduce.context",
    "FileInput": "cluster.mapreduce.definition",
    "FileOutput": "cluster.mapreduce.definition",
    "JobDefinition": "cluster.mapreduce.definition",
    "RingmillError": "cluster.errors",
    "job": "cluster.mapreduce.definition",
}


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'ringmill' has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
