"""What the gateway and the process that imports a caller's module tell each other.

Pure.  The answer is made in a process in which the caller's code ran: whatever it says is only ever submitted
with the caller's own token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any, Final, NoReturn, TypeAlias

import msgpack

from ringmill.client.jobs.job_packing import JobOptions
from ringmill.cluster.errors import InvalidArgument

__all__ = ["JobRequest", "PathsAsSent", "ReadingOrder", "answer_of_error", "answer_of_job", "job_in_answer"]

PathsAsSent: TypeAlias = str | Sequence[str] | Mapping[str, str | Sequence[str]] | None

_JOB: Final = "job"
_ERROR: Final = "error"
_MOST_TOLD: Final = 4000
_LONGEST_TEXT_BYTES: Final = 4 * _MOST_TOLD


@dataclass(frozen=True, slots=True)
class JobRequest:
    """What a caller submits: FILE.py:NAME in `sources`, and what the run reads and writes."""

    target: str
    sources: Mapping[str, bytes]
    input: PathsAsSent
    output: str | None
    options: JobOptions


@dataclass(frozen=True, slots=True)
class ReadingOrder:
    """A request, the id of its job, and what the gateway says of its own files.

    In `folder`, which is absolute, an output lies that nobody names, and parts for keyspaces are staged; ""
    for none.  `secrets` are absolute paths that the module does not read, wherever they lie.
    """

    request: JobRequest
    job: str
    folder: str
    secrets: tuple[str, ...] = ()

    def encode(self) -> bytes:
        """The order in msgpack."""
        data: bytes = msgpack.packb(asdict(self), unicode_errors="surrogateescape")
        return data

    @classmethod
    def decode(cls, data: bytes) -> ReadingOrder:
        """The order in bytes that the gateway made."""
        fields: dict[str, Any] = msgpack.unpackb(data, unicode_errors="surrogateescape")
        request = fields["request"]
        options = JobOptions(**request.pop("options"))
        return cls(
            JobRequest(**request, options=options), fields["job"], fields["folder"], tuple(fields["secrets"])
        )


def answer_of_job(bundle: bytes, module: str, spec: bytes) -> bytes:
    """The packed code and the description."""
    data: bytes = msgpack.packb([_JOB, bundle, module, spec])
    return data


def answer_of_error(message: str, hint: str) -> bytes:
    """Why the job cannot be submitted."""
    record = [_ERROR, message[:_MOST_TOLD], hint[:_MOST_TOLD]]
    data: bytes = msgpack.packb(record, unicode_errors="replace")
    return data


def job_in_answer(data: bytes) -> tuple[bytes, str, bytes]:
    """Bundle, module and description.  Raises InvalidArgument, as told or for an answer that is none.

    An answer is one array of bytes and short texts: whatever else the module says is refused before it takes
    memory of the gateway.
    """
    arrays = count(1)

    def the_one(fields: list[Any]) -> list[Any]:
        if next(arrays) > 1:
            raise ValueError("an array in an array")
        return fields

    try:
        kind, first, second, *rest = msgpack.unpackb(
            data, max_array_len=4, max_map_len=0, max_ext_len=0, max_str_len=_LONGEST_TEXT_BYTES,
            list_hook=the_one, object_pairs_hook=_refuse, ext_hook=_refuse,
        )  # fmt: skip
    except (ValueError, TypeError) as error:
        raise InvalidArgument("the module has spoilt what was said of it") from error
    if kind == _ERROR and isinstance(first, str) and isinstance(second, str):
        raise InvalidArgument(first, hint=second)
    if kind != _JOB or not isinstance(first, bytes) or not isinstance(second, str):
        raise InvalidArgument("the module has spoilt what was said of it")
    if len(rest) != 1 or not isinstance(rest[0], bytes):
        raise InvalidArgument("the module has spoilt what was said of it")
    return first, second, rest[0]


def _refuse(*given: object) -> NoReturn:
    raise ValueError("a map or an extension")
